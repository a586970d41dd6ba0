//! Adding and removing routes of netpath's in table main.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::{
    RouteNetlinkMessage,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol,
        RouteScope, RouteType, RouteVia,
    },
};
use netpath_common::Ifindex;

use super::{KnownRoutes, ROUTE_PROTOCOL, Route, Table, known::default_metric};
use crate::netlink::{Link, Netlink, NetlinkError, channel::About, family};

/// A route to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewRoute {
    /// Destination.
    pub dst: IpNet,
    /// Next hop; `None` on the link.
    pub via: Option<IpAddr>,
    /// Egress interface; `None` to let the kernel find it by the next hop.
    pub ifindex: Option<Ifindex>,
    /// The next hop is on the link whatever the addresses say.
    pub onlink: bool,
    /// Source address that the node itself uses.
    pub source: Option<IpAddr>,
}

/// What to do where there is a route already to the same destination, with the same type of service and metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// Fail.
    No,
    /// Take its place if it is netpath's, in one step. Fail if it is somebody else's.
    Ours,
    /// Take its place, whosever it is: only for a namespace that is netpath's own.
    Any,
}

impl Netlink {
    /// Puts a route into the main table.
    ///
    /// # Errors
    /// [`NetlinkError::RouteExists`] for a route that is not to be replaced; it is left alone. Or when the kernel
    /// refuses.
    pub fn add_route(&self, new: &NewRoute, replace: Replace) -> Result<(), NetlinkError> {
        if replace == Replace::Any {
            return self.put(new, NLM_F_CREATE | NLM_F_REPLACE);
        }
        match self.put(new, NLM_F_CREATE | NLM_F_EXCL) {
            Err(error) if error.errno() == Some(libc::EEXIST) => {
                self.put_in_place(new, replace, &self.known_routes()?, error)
            }
            result => result,
        }
    }

    /// As [`Netlink::add_route`], for many: `known` is asked for what is there, so that the table is not listed for each.
    /// It must be as new as the caller's own changes, and nobody else may have changed it; a route that has come since
    /// then is not overlooked, but one that has taken the place of a known one of netpath's is.
    ///
    /// # Errors
    /// As for [`Netlink::add_route`].
    pub fn add_route_among(
        &self,
        known: &KnownRoutes,
        new: &NewRoute,
        replace: Replace,
    ) -> Result<(), NetlinkError> {
        let there = known.in_place_of(new);
        if there.is_empty() {
            return self.add_route(new, replace);
        }
        may_replace(there, replace)?;
        self.put(new, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// The routes of the main table, for [`Netlink::add_route_among`].
    ///
    /// # Errors
    /// When they cannot be listed, all of them.
    pub fn known_routes(&self) -> Result<KnownRoutes, NetlinkError> {
        Ok(KnownRoutes::of(self.routes(Table::Main)?))
    }

    /// Puts a route into the main table in the place of these, which the caller knows to be its own: beside them first, so
    /// that there is one all the time. Nothing else is replaced or removed, whatever stands there by now: NLM_F_REPLACE
    /// would take the place of whatever it finds.
    ///
    /// # Errors
    /// [`NetlinkError::RouteExists`] where something else stands there; all is left as it is then. Or when the kernel
    /// refuses.
    pub fn exchange_routes(&self, old: &[NewRoute], new: &NewRoute) -> Result<(), NetlinkError> {
        let refused = match self.put(new, NLM_F_CREATE | NLM_F_EXCL) {
            Err(error) if error.errno() == Some(libc::EEXIST) => error,
            result => return result,
        };
        let known = self.known_routes()?;
        let there = known.in_place_of(new);
        if there.is_empty() {
            return Err(refused);
        }
        let mut own = Vec::new();
        for found in there {
            let exact = exactly(found).filter(|exact| old.iter().any(|old| is_same(exact, old)));
            own.push(exact.ok_or_else(|| NetlinkError::RouteExists {
                found: Box::new(found.clone()),
            })?);
        }
        let is_beside = match self.put(new, NLM_F_CREATE | NLM_F_APPEND) {
            Ok(()) => true,
            // IPv6 has no two that lead the same way.
            Err(error) if error.errno() == Some(libc::EEXIST) => false,
            Err(error) => return Err(error),
        };
        own.iter().try_for_each(|own| self.delete_route(own))?;
        match is_beside {
            true => Ok(()),
            false => self.put(new, NLM_F_CREATE | NLM_F_EXCL),
        }
    }

    fn put_in_place(
        &self,
        new: &NewRoute,
        replace: Replace,
        known: &KnownRoutes,
        refused: NetlinkError,
    ) -> Result<(), NetlinkError> {
        let there = known.in_place_of(new);
        if there.is_empty() {
            return Err(refused);
        }
        may_replace(there, replace)?;
        self.put(new, NLM_F_CREATE | NLM_F_REPLACE)
    }

    fn put(&self, new: &NewRoute, flags: u16) -> Result<(), NetlinkError> {
        let about = About {
            action: "add route",
            object: &new.dst.to_string(),
        };
        let request = RouteNetlinkMessage::NewRoute(message(new));
        self.channel.request(about, request, flags)
    }

    /// Takes a route of netpath's out of the main table: the one that is exactly so. One that is gone already is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_route(&self, old: &NewRoute) -> Result<(), NetlinkError> {
        let mut message = message(old);
        // Of IPv4 the kernel takes the one with the least, and nothing is less than netpath's.
        if old.dst.addr().is_ipv6() {
            let metric = default_metric(old.dst);
            message.attributes.push(RouteAttribute::Priority(metric));
        }
        self.delete(old.dst, message)
    }

    /// Takes netpath's route to a prefix through an interface out of the main table, whatever its next hop. One that
    /// is gone already is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_route_through(&self, link: &Link, dst: IpNet) -> Result<(), NetlinkError> {
        let mut message = message(&NewRoute {
            dst,
            via: None,
            ifindex: Some(link.ifindex),
            onlink: false,
            source: None,
        });
        // Any: with a next hop it is another one than without.
        message.header.scope = RouteScope::NoWhere;
        self.delete(dst, message)
    }

    /// The protocol number in the message keeps the kernel from removing somebody else's.
    fn delete(&self, dst: IpNet, message: RouteMessage) -> Result<(), NetlinkError> {
        let about = About {
            action: "remove route",
            object: &dst.to_string(),
        };
        let request = RouteNetlinkMessage::DelRoute(message);
        match self.channel.request(about, request, 0) {
            Err(error) if error.errno() == Some(libc::ESRCH) => Ok(()),
            result => result,
        }
    }
}

/// A route that carries netpath's number, so that it can be taken for no other; `None` for one that netpath never makes.
fn exactly(found: &Route) -> Option<NewRoute> {
    let hop = found.single_next_hop().filter(|_| found.is_as_made())?;
    Some(NewRoute {
        dst: found.dst,
        via: hop.via,
        ifindex: hop.ifindex,
        onlink: hop.onlink,
        source: found.source,
    })
}

/// Whether two lead the same way. The kernel changes the preferred source itself, when that address goes.
fn is_same(found: &NewRoute, old: &NewRoute) -> bool {
    (found.dst, found.via, found.ifindex) == (old.dst, old.via, old.ifindex)
}

/// NLM_F_REPLACE takes the place of anybody's route, so all that may be meant must be netpath's.
fn may_replace(there: &[Route], replace: Replace) -> Result<(), NetlinkError> {
    let in_the_way = there.iter().find(|route| match replace {
        Replace::No => true,
        Replace::Ours => !route.is_ours(),
        Replace::Any => false,
    });
    match in_the_way {
        None => Ok(()),
        Some(found) => Err(NetlinkError::RouteExists {
            found: Box::new(found.clone()),
        }),
    }
}

fn message(new: &NewRoute) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(new.dst.addr());
    message.header.destination_prefix_length = new.dst.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Other(ROUTE_PROTOCOL);
    message.header.kind = RouteType::Unicast;
    message.header.scope = match new.via {
        Some(_) => RouteScope::Universe,
        None if new.dst.addr().is_ipv4() => RouteScope::Link,
        None => RouteScope::Universe,
    };
    if new.dst.prefix_len() != 0 {
        let attribute = RouteAttribute::Destination(RouteAddress::from(new.dst.addr()));
        message.attributes.push(attribute);
    }
    if let Some(via) = new.via {
        message
            .attributes
            .push(if via.is_ipv4() == new.dst.addr().is_ipv4() {
                RouteAttribute::Gateway(RouteAddress::from(via))
            } else {
                RouteAttribute::Via(RouteVia::from(via))
            });
    }
    if let Some(ifindex) = new.ifindex {
        message.attributes.push(RouteAttribute::Oif(ifindex.0));
    }
    if let Some(source) = new.source {
        message
            .attributes
            .push(RouteAttribute::PrefSource(RouteAddress::from(source)));
    }
    if new.onlink {
        message.header.flags |= RouteFlags::Onlink;
    }
    message
}
