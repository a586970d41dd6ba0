//! Which routes are netpath's.

use std::collections::{BTreeMap, BTreeSet};

use netpath_common::Ifindex;

use super::{
    super::{Home, Route, World},
    names::own_veth,
};
use crate::model::NodePlace;

/// Takes for netpath's, of the routes that carry its protocol number, only those that records prove: on a machine, which
/// has routes of others, those through the veths of endpoints and those that were made to other nodes' prefixes; in a
/// namespace that was given, those through the endpoint's interface. What is in namespaces that netpath made is its own.
pub fn prove_routes(world: &mut World) {
    let Some(node) = world.recorded.clone() else {
        disown(world);
        return;
    };
    let veths = node.endpoints.iter().filter_map(|(name, record)| {
        let link = own_veth(world, name, record)?;
        Some((name.clone(), link.ifindex))
    });
    let veths: BTreeMap<String, Ifindex> = veths.collect();
    if node.place == NodePlace::Host {
        let through: BTreeSet<Ifindex> = veths.values().copied().collect();
        for route in &mut world.observed.node.routes {
            let is_recorded = node
                .routes
                .get(&route.dst)
                .is_some_and(|record| record.made);
            let is_through = route
                .ifindex
                .is_some_and(|ifindex| through.contains(&ifindex));
            route.ours &= is_recorded || is_through;
        }
    }
    for (name, there) in &mut world.observed.endpoints {
        let record = node.endpoints.get(name);
        if record.is_some_and(|record| record.home == Home::Made) {
            continue;
        }
        let inside = there.links.iter().find(|link| {
            record.is_some_and(|record| link.mac == Some(record.endpoint_mac))
                || link
                    .other_end
                    .is_some_and(|end| veths.get(name) == Some(&end))
        });
        let inside = inside.map(|link| link.ifindex);
        for route in &mut there.routes {
            route.ours &= inside.is_some() && route.ifindex == inside;
        }
    }
}

/// Without a record nothing is.
fn disown(world: &mut World) {
    let endpoints = world.observed.endpoints.values_mut();
    for there in endpoints.chain(std::iter::once(&mut world.observed.node)) {
        for route in &mut there.routes {
            route.ours = false;
        }
    }
}

/// The node's routes that look as if netpath had made them, and which no record proves its own: neither one of this node's
/// nor one of another's in the same namespace.
#[must_use]
pub fn left_routes(world: &World) -> Vec<&Route> {
    let observed = &world.observed;
    let is_others = |route: &Route| {
        let mut links = observed.node.links.iter();
        let link = links.find(|link| Some(link.ifindex) == route.ifindex);
        let mac = link.and_then(|link| link.mac);
        observed.others.values().any(|other| {
            let mut endpoints = other.endpoints.values();
            other.routes.contains_key(&route.dst)
                || endpoints.any(|endpoint| Some(endpoint.host_mac) == mac)
        })
    };
    let routes = observed.node.routes.iter();
    let left = routes.filter(|route| route.like_ours && !route.ours && !is_others(route));
    left.collect()
}
