//! Routes towards other nodes: in the kernel's table, and as "remote" in netpath's.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use ipnet::IpNet;
use netpath_common::{RouteEntry, RouteRecord};
use rtnetlink::packet_route::route::RouteType;

use super::{
    error::ProvisionError,
    netlink::{Netlink, NewRoute, Route},
    node::Node,
};
use crate::{
    datapath::{from_bytes, to_bytes},
    model,
};

fn request(dst: IpNet, record: &RouteRecord) -> Option<NewRoute> {
    Some(NewRoute {
        dst,
        via: Some(from_bytes(&record.via)?.addr()),
        ifindex: None,
        onlink: false,
        source: None,
    })
}

/// A node's routing table, read and opened once for any number of routes.
pub struct Table {
    netlink: Netlink,
    /// What others have put there, by destination.
    foreign: HashMap<IpNet, Route>,
}

impl Table {
    /// The table as it is now.
    pub fn of(node: &Node) -> Result<Self, ProvisionError> {
        // The socket stays in the namespace that it was made in.
        let netlink = node.inside(Netlink::open)?;
        let foreign = netlink.routes()?.into_iter().filter(|route| !route.ours);
        Ok(Self {
            foreign: foreign.map(|route| (route.dst, route)).collect(),
            netlink,
        })
    }

    /// Makes a route true. One that the machine has already, to the same next hop, is used and left alone.
    pub fn ensure(&self, node: &Node, wanted: &model::Route) -> Result<(), ProvisionError> {
        let key = to_bytes(wanted.dst);
        let foreign = self.foreign.get(&wanted.dst);
        if let Some(route) = foreign
            && route.via != Some(wanted.via)
        {
            return Err(foreign_route(route));
        }
        let record = RouteRecord {
            via: to_bytes(IpNet::from(wanted.via)),
            made: u32::from(foreign.is_none()),
        };
        node.datapath().maps.set_route_record(key, &record)?;
        if record.made != 0
            && let Some(new) = request(wanted.dst, &record)
        {
            self.netlink.add_route(&new)?;
        }
        let maps = &mut node.datapath().maps;
        Ok(maps.set_route(wanted.dst, &RouteEntry::REMOTE)?)
    }

    /// As [`remove`].
    pub fn remove(
        &self,
        node: &Node,
        dst: IpNet,
        record: &RouteRecord,
    ) -> Result<(), ProvisionError> {
        remove(&self.netlink, node, dst, record)
    }
}

/// Removes a route; from the kernel's table only if netpath put it there. `netlink` is open in the node's namespace.
pub fn remove(
    netlink: &Netlink,
    node: &Node,
    dst: IpNet,
    record: &RouteRecord,
) -> Result<(), ProvisionError> {
    node.datapath().maps.remove_route(dst)?;
    if record.made != 0
        && let Some(old) = request(dst, record)
    {
        netlink.delete_route(&old)?;
    }
    Ok(node.datapath().maps.remove_route_record(to_bytes(dst))?)
}

/// The error for a route of somebody else's to the same destination.
pub fn foreign_route(found: &Route) -> ProvisionError {
    ProvisionError::Unmet {
        problem: already_routed(found),
        remedy: format!(
            "write that next hop into the topology file, or remove it with {}",
            deletion(found)
        ),
    }
}

/// The error for a route of somebody else's to an address that is to be an endpoint's.
pub fn foreign_to_address(address: IpAddr, found: &Route) -> ProvisionError {
    ProvisionError::Unmet {
        problem: format!(
            "{}, and {address} is to be an endpoint's",
            already_routed(found)
        ),
        remedy: format!(
            "give the endpoint another address, or remove the route with {}",
            deletion(found)
        ),
    }
}

/// The error for a route of somebody else's to some of what is to be routed to an endpoint.
pub fn foreign_prefix(prefix: IpNet, found: &Route) -> ProvisionError {
    ProvisionError::Unmet {
        problem: format!(
            "{}, and {prefix} is to be an endpoint's",
            already_routed(found)
        ),
        remedy: format!(
            "route only prefixes to an endpoint that are wholly its own, or remove the route with {}",
            deletion(found)
        ),
    }
}

fn already_routed(found: &Route) -> String {
    let (kind, dst) = (kind(found), found.dst);
    let via = match found.via {
        Some(via) => format!(" via {via}"),
        None if found.kind == RouteType::Unicast => " on the link".to_owned(),
        None => String::new(),
    };
    format!("the machine already has a route to {kind}{dst}{via}")
}

fn deletion(found: &Route) -> String {
    format!("`ip route del {}{}`", kind(found), found.dst)
}

/// The route's type as `ip route` writes it; a usual one has none.
fn kind(found: &Route) -> String {
    match found.kind {
        RouteType::Unicast => String::new(),
        RouteType::Local => "local ".to_owned(),
        RouteType::Broadcast => "broadcast ".to_owned(),
        RouteType::Anycast => "anycast ".to_owned(),
        RouteType::Multicast => "multicast ".to_owned(),
        RouteType::BlackHole => "blackhole ".to_owned(),
        RouteType::Unreachable => "unreachable ".to_owned(),
        RouteType::Prohibit => "prohibit ".to_owned(),
        RouteType::Throw => "throw ".to_owned(),
        other => format!("type {} ", u8::from(other)),
    }
}

/// Destinations and next hops of a node's routes, to look up many.
pub struct Ways(HashSet<(IpNet, Option<IpAddr>)>);

impl Ways {
    /// Of these routes.
    pub fn of(routes: &[Route]) -> Self {
        Self(routes.iter().map(|route| (route.dst, route.via)).collect())
    }

    /// Whether the kernel's table still has a route.
    pub fn has(&self, dst: IpNet, record: &RouteRecord) -> bool {
        let via = from_bytes(&record.via).map(|via| via.addr());
        self.0.contains(&(dst, via))
    }
}
