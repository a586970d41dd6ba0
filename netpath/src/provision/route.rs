//! Routes towards other nodes: in the kernel's table, and as "remote" in netpath's.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use ipnet::IpNet;
use netpath_common::{RouteEntry, RouteRecord};

use super::{error::ProvisionError, node::Node};
use crate::{
    datapath::{from_bytes, to_bytes},
    model,
    netlink::{self, KnownRoutes, Netlink, NewRoute, Replace, Route},
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
    /// What there is, for adding many.
    known: KnownRoutes,
    /// What others have put there, by destination.
    foreign: HashMap<IpNet, Route>,
}

impl Table {
    /// The table as it is now.
    pub fn of(node: &Node) -> Result<Self, ProvisionError> {
        // The socket stays in the namespace that it was made in.
        let netlink = node.netlink()?;
        let routes = netlink.routes(netlink::Table::Main)?;
        let mut foreign = HashMap::new();
        // Of several the one with the lowest metric is used, and the kernel lists it first.
        for route in routes.iter().filter(|route| !route.is_ours()) {
            foreign.entry(route.dst).or_insert_with(|| route.clone());
        }
        Ok(Self {
            known: KnownRoutes::of(routes),
            foreign,
            netlink,
        })
    }

    /// Makes a route true. One that the machine has already, to the same next hop, is used and left alone.
    pub fn ensure(&self, node: &Node, wanted: &model::Route) -> Result<(), ProvisionError> {
        let key = to_bytes(wanted.dst);
        let foreign = self.foreign.get(&wanted.dst);
        if let Some(route) = foreign
            && !route.is_only_via(wanted.via)
        {
            return Err(foreign_route(wanted, route));
        }
        let record = RouteRecord {
            via: to_bytes(IpNet::from(wanted.via)),
            made: u32::from(foreign.is_none()),
        };
        node.datapath().maps.set_route_record(key, &record)?;
        if record.made != 0
            && let Some(new) = request(wanted.dst, &record)
        {
            self.put(&new, Replace::Ours)?;
        }
        let maps = &mut node.datapath().maps;
        Ok(maps.set_route(wanted.dst, &RouteEntry::REMOTE)?)
    }

    /// The socket that it was read with.
    pub fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// Puts a route into it.
    pub fn put(&self, new: &NewRoute, replace: Replace) -> Result<(), ProvisionError> {
        Ok(self.netlink.add_route_among(&self.known, new, replace)?)
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
pub fn foreign_route(wanted: &model::Route, found: &Route) -> ProvisionError {
    ProvisionError::Unmet {
        problem: already_routed(wanted.dst, found),
        remedy: format!(
            "write that next hop into the topology file, or remove it with `ip route del {}`",
            wanted.dst
        ),
    }
}

/// The error for a route of somebody else's to some of what is to be routed to an endpoint.
pub fn foreign_prefix(prefix: IpNet, found: &Route) -> ProvisionError {
    ProvisionError::Unmet {
        problem: format!(
            "{}, and {prefix} is to be an endpoint's",
            already_routed(found.dst, found)
        ),
        remedy: format!(
            "route only prefixes to an endpoint that are wholly its own, or remove the route with \
             `ip route del {}`",
            found.dst
        ),
    }
}

fn already_routed(dst: IpNet, found: &Route) -> String {
    format!("the machine already has a route to {dst} {}", found.way())
}

/// Destinations and next hops of a node's routes that lead one way only, to look up many.
pub struct Ways(HashSet<(IpNet, Option<IpAddr>)>);

impl Ways {
    /// Of these routes.
    pub fn of(routes: &[Route]) -> Self {
        let one_way = |route: &Route| Some((route.dst, route.single_next_hop()?.via));
        Self(routes.iter().filter_map(one_way).collect())
    }

    /// Whether the kernel's table still has a route.
    pub fn has(&self, dst: IpNet, record: &RouteRecord) -> bool {
        let via = from_bytes(&record.via).map(|via| via.addr());
        self.0.contains(&(dst, via))
    }
}
