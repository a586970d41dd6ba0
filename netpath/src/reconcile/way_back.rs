//! Routes between nodes that are looked at together: whoever is sent packets must know a way back.

use std::{collections::BTreeSet, net::IpAddr};

use super::{Drift, Object, Told, Wanted, WantedEndpoint, WantedRoute, WantedUplink, World};

/// For each node, by its name, what is sent to another one of these that has no route back, not even a default one: once for
/// each other node and family.
#[must_use]
pub fn missing_ways_back(nodes: &[(&Wanted, &World)]) -> Vec<(String, Told)> {
    let mut missing = Vec::new();
    for &(node, _) in nodes {
        let mut told = BTreeSet::new();
        for route in &node.routes {
            // Where the kernel's own routes lead is theirs to know.
            let Some(via) = route.via else {
                continue;
            };
            let others = nodes
                .iter()
                .filter(|(other, _)| leads_to(node, route, other));
            for &(other, world) in others {
                let back = addresses(node, route.dst.addr());
                let lost = back
                    .into_iter()
                    .find(|address| !knows(other, world, *address));
                let Some(address) = lost else {
                    continue;
                };
                if told.insert((&other.name, address.is_ipv4())) {
                    let drift = Drift::NoWayBack {
                        via,
                        other: other.name.clone(),
                        address,
                    };
                    let object = (Object::Node, node.name.clone());
                    missing.push((node.name.clone(), Told { object, drift }));
                }
            }
        }
    }
    missing
}

/// Whether a route's next hop is that node, on a wire or a network that both are on.
fn leads_to(node: &Wanted, route: &WantedRoute, other: &Wanted) -> bool {
    let wire = |uplink: &WantedUplink| uplink.wire.as_ref().map(|wire| wire.name.clone());
    let wires: BTreeSet<Option<String>> = node.uplinks.iter().map(wire).collect();
    let is_it = |uplink: &&WantedUplink| {
        let mut addresses = uplink.addresses.iter();
        addresses.any(|net| Some(net.addr()) == route.via) && wires.contains(&wire(uplink))
    };
    other.name != node.name && other.uplinks.iter().any(|uplink| is_it(&uplink))
}

/// The addresses of a node's endpoints, and the first ones of prefixes that are routed to them, that are of the family of
/// another address.
fn addresses(node: &Wanted, other: IpAddr) -> Vec<IpAddr> {
    let of = |endpoint: &WantedEndpoint| {
        let nets = endpoint.addresses.iter().chain(&endpoint.prefixes);
        nets.map(|net| net.addr()).collect::<Vec<_>>()
    };
    let addresses = node.endpoints.iter().flat_map(of);
    addresses
        .filter(|address| address.is_ipv4() == other.is_ipv4())
        .collect()
}

/// Whether a node has a route to an address, or is to have one.
fn knows(node: &Wanted, world: &World, address: IpAddr) -> bool {
    let wanted = node.routes.iter().any(|route| route.dst.contains(&address));
    let mut routes = world.observed.node.routes.iter();
    wanted || routes.any(|route| route.for_all && route.dst.contains(&address) && !route.refuses)
}
