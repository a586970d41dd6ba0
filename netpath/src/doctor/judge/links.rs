//! MTUs along the ways between endpoints.

use ipnet::IpNet;

use super::{
    super::{Fault, Found, Seen},
    found,
};
use crate::reconcile::{Link, Object, Wanted, World};

pub(in super::super) fn mtu(seen: &Seen) -> Vec<Found> {
    let mut all = segments(seen);
    for (node, wanted, world) in seen.looked_at() {
        all.extend(beyond_uplinks(wanted, world));
        for (dst, mtu) in &node.beyond.learnt {
            all.extend(learnt(wanted, world, dst, *mtu));
        }
    }
    all
}

/// Each pair of uplinks on one segment, once.
fn segments(seen: &Seen) -> Vec<Found> {
    let mut uplinks: Vec<(&str, &Wanted, &World, &Link)> = Vec::new();
    for (_, wanted, world) in seen.looked_at() {
        for uplink in &wanted.uplinks {
            let link = world.observed.node.link(&uplink.dev);
            if let (Some(wire), Some(link)) = (&uplink.wire, link) {
                uplinks.push((&wire.name, wanted, world, link));
            }
        }
    }
    let mut all = Vec::new();
    for (index, (wire, wanted, world, link)) in uplinks.iter().enumerate() {
        for (_, other, _, its) in uplinks[index + 1..].iter().filter(|it| it.0 == *wire) {
            if link.mtu == its.mtu {
                continue;
            }
            let least = link.mtu.min(its.mtu);
            // The one with the larger MTU is to have the smaller one.
            let (name, entry) = match link.mtu > its.mtu {
                true => (&link.name, world.observed.entry.clone()),
                false => (&its.name, entry_of(seen, &other.name)),
            };
            let fault = Fault::WireMtusDiffer {
                own: (link.name.clone(), link.mtu),
                other: (other.name.clone(), its.name.clone(), its.mtu),
                command: format!("{entry}ip link set dev {name} mtu {least}"),
            };
            all.push(found(fault, Object::Uplink.told(&link.name, &wanted.name)));
        }
    }
    all
}

fn entry_of(seen: &Seen, node: &str) -> String {
    let mut nodes = seen
        .looked_at()
        .filter(|(_, wanted, _)| wanted.name == node);
    nodes
        .next()
        .map_or_else(String::new, |(.., world)| world.observed.entry.clone())
}

/// Only an MTU that somebody has written is larger than the uplinks'.
fn beyond_uplinks(wanted: &Wanted, world: &World) -> Vec<Found> {
    let uplinks = wanted.uplinks.iter();
    let links = uplinks.filter_map(|uplink| world.observed.node.link(&uplink.dev));
    let Some(least) = links.min_by_key(|link| link.mtu) else {
        return Vec::new();
    };
    let endpoints = wanted.endpoints.iter();
    let larger = endpoints.filter_map(|endpoint| {
        let mtu = endpoint.mtu.filter(|mtu| *mtu > least.mtu)?;
        let fault = Fault::MtuBeyondUplink {
            own: (endpoint.host_dev.clone(), mtu),
            uplink: (least.name.clone(), least.mtu),
        };
        Some(found(
            fault,
            Object::Endpoint.told(&endpoint.name, &wanted.name),
        ))
    });
    larger.collect()
}

/// Of destinations that are other nodes' by the topology.
fn learnt(wanted: &Wanted, world: &World, dst: &IpNet, mtu: u32) -> Option<Found> {
    let mut routes = wanted.routes.iter().filter(|route| route.dst.contains(dst));
    let route = routes.next()?;
    let family = if dst.addr().is_ipv4() { "-4" } else { "-6" };
    let command = format!("{}ip {family} route flush cache", world.observed.entry);
    let fault = Fault::PathMtu {
        dst: *dst,
        mtu,
        command,
    };
    Some(found(
        fault,
        Object::Route.told(&route.dst.to_string(), &wanted.name),
    ))
}
