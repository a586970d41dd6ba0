//! Routes.

mod change;
mod decode;
mod known;
mod resolve;
mod way;

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use netlink_packet_route::{
    RouteNetlinkMessage,
    route::{RouteHeader, RouteMessage},
};
use netpath_common::Ifindex;

pub use self::{
    change::{NewRoute, Replace},
    known::KnownRoutes,
    resolve::{Lookup, Resolved},
    way::{Asked, Fate, NoWay},
};
use super::{FAMILIES, Netlink, NetlinkError, Scope, channel::About};

#[cfg(test)]
pub(super) use self::decode::decode;
use self::known::default_metric;

/// The protocol number that netpath's routes carry: the letter `n`, unassigned in iproute2's `rt_protos`.
pub const ROUTE_PROTOCOL: u8 = 110;

/// A route, as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination.
    pub dst: IpNet,
    /// The sources that it is for, where it is not for all (IPv6 `from`).
    pub from: Option<IpNet>,
    /// The number of its table: 254 is main.
    pub table: u32,
    /// What becomes of a packet that it matches.
    pub kind: RouteKind,
    /// Who made it: `RTPROT_*` of linux/rtnetlink.h.
    pub protocol: u8,
    /// Among routes to one destination the lowest wins.
    pub metric: u32,
    /// The type of service that it is for; 0 for all.
    pub tos: u8,
    /// How far away the destination is.
    pub scope: Scope,
    /// The source address of what the machine itself sends by it.
    pub source: Option<IpAddr>,
    /// Where it leads: several for multipath, none for most kinds but unicast. Those of a nexthop object are here too,
    /// unless the sysctl `nexthop_compat_mode` is off.
    pub next_hops: Vec<NextHop>,
    /// The number of the nexthop object (`ip nexthop`) that it leads by.
    pub nexthop_id: Option<u32>,
    /// The MTU that it has of its own, in bytes.
    pub mtu: Option<u32>,
}

/// One way on from a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The router, perhaps of the other family; `None` for a destination on the link.
    pub via: Option<IpAddr>,
    /// The interface.
    pub ifindex: Option<Ifindex>,
    /// Its share of the flows, among those of the route: 1 to 256.
    pub weight: u16,
    /// Not used by the kernel: its interface is down, or gone.
    pub dead: bool,
    /// Its interface has no carrier.
    pub linkdown: bool,
    /// The router is on the link whatever the addresses say.
    pub onlink: bool,
    /// Packets are put into a tunnel or given labels (`encap`).
    pub encapsulated: bool,
}

/// What becomes of a packet that a route matches: `RTN_*` of linux/rtnetlink.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// Sent to a next hop.
    Unicast,
    /// Taken in.
    Local,
    /// Taken in, sent as broadcast.
    Broadcast,
    /// Taken in, sent as unicast.
    Anycast,
    /// Sent to a group.
    Multicast,
    /// Dropped without a word.
    Blackhole,
    /// Refused with "unreachable".
    Unreachable,
    /// Refused with "prohibited".
    Prohibit,
    /// Looked up in the next table.
    Throw,
    /// Any other number.
    Other(u8),
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Unicast => "unicast",
            Self::Local => "local",
            Self::Broadcast => "broadcast",
            Self::Anycast => "anycast",
            Self::Multicast => "multicast",
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Prohibit => "prohibit",
            Self::Throw => "throw",
            Self::Other(number) => return write!(f, "of type {number}"),
        };
        f.write_str(name)
    }
}

impl Route {
    /// Whether it carries netpath's protocol number. That proves nothing: anybody may use it.
    pub fn is_ours(&self) -> bool {
        self.protocol == ROUTE_PROTOCOL
    }

    /// Whether it could be one that netpath made: it is where netpath puts its own, and leads as they do.
    pub fn is_as_made(&self) -> bool {
        self.is_ours()
            && self.nexthop_id.is_none()
            && self.single_next_hop().is_some()
            && (self.tos, self.from) == (0, None)
            && self.metric == default_metric(self.dst)
    }

    /// The one way on, of a route that leads there and does nothing else: unicast, not multipath, no tunnel.
    pub fn single_next_hop(&self) -> Option<&NextHop> {
        match self.next_hops.as_slice() {
            [hop] if self.kind == RouteKind::Unicast && !hop.encapsulated => Some(hop),
            _ => None,
        }
    }

    /// Whether it leads to this router and nowhere else.
    pub fn is_only_via(&self, router: IpAddr) -> bool {
        self.single_next_hop()
            .is_some_and(|hop| hop.via == Some(router))
    }

    /// Whether it leads out of this interface and of no other.
    pub fn is_only_through(&self, ifindex: Ifindex) -> bool {
        self.single_next_hop()
            .is_some_and(|hop| hop.ifindex == Some(ifindex))
    }

    /// Where it leads, for a message: `via 10.0.0.1`, `via 10.0.0.1 or via 10.0.0.2`, `on the link`, `blackhole`.
    pub fn way(&self) -> impl fmt::Display {
        Way(self)
    }
}

struct Way<'a>(&'a Route);

impl fmt::Display for Way<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let route = self.0;
        if route.kind != RouteKind::Unicast {
            return write!(f, "({})", route.kind);
        }
        for (number, hop) in route.next_hops.iter().enumerate() {
            if number != 0 {
                f.write_str(" or ")?;
            }
            match hop.via {
                Some(via) => write!(f, "via {via}")?,
                None => f.write_str("on the link")?,
            }
        }
        match (route.nexthop_id, route.next_hops.is_empty()) {
            (Some(id), true) => write!(f, "by nexthop object {id}"),
            (Some(id), false) => write!(f, " by nexthop object {id}"),
            (None, true) => f.write_str("without a next hop"),
            (None, false) => Ok(()),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.dst, self.way())?;
        if self.metric != 0 {
            write!(f, " metric {}", self.metric)?;
        }
        if self.tos != 0 {
            write!(f, " tos {:#x}", self.tos)?;
        }
        write!(f, " proto {}", self.protocol)
    }
}

/// Which routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Those of table main.
    Main,
    /// Those of table local: what the machine takes for itself.
    Local,
    /// Those of every table.
    All,
}

impl Table {
    fn number(self) -> u8 {
        match self {
            Self::Main => RouteHeader::RT_TABLE_MAIN,
            Self::Local => libc::RT_TABLE_LOCAL,
            Self::All => RouteHeader::RT_TABLE_UNSPEC,
        }
    }

    /// Whether a route is in it.
    pub fn has(self, route: &Route) -> bool {
        self == Self::All || route.table == u32::from(self.number())
    }
}

impl Netlink {
    /// The routes of both families, of every kind. Exceptions (path MTUs, redirects) are none.
    ///
    /// # Errors
    /// When they cannot be listed, all of them.
    pub fn routes(&self, table: Table) -> Result<Vec<Route>, NetlinkError> {
        let about = About {
            action: "list",
            object: "routes",
        };
        let mut routes = Vec::new();
        for family in FAMILIES {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            message.header.table = table.number();
            let request = RouteNetlinkMessage::GetRoute(message);
            let found = self.channel.dump(about, &request, |message| match message {
                RouteNetlinkMessage::NewRoute(message)
                    if message.header.address_family == family =>
                {
                    decode::decode(&message)
                }
                _ => Ok(None),
            });
            match found {
                Ok(found) => routes.extend(found),
                // The kernel makes a table with its first route.
                Err(error) if table != Table::All && error.errno() == Some(libc::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(routes)
    }
}
