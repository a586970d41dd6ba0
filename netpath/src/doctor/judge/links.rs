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
    let mut all = Vec::new();
    for (one, other) in seen.pairs() {
        for (wire, link) in on_wires(one) {
            for (_, its) in on_wires(other).filter(|it| it.0 == wire) {
                if link.mtu != its.mtu {
                    let fault = differ((one.1, link), (other, its));
                    let object = Object::Uplink.told(&link.name, &one.0.name);
                    all.push(found(fault, object));
                }
            }
        }
    }
    all
}

/// The uplinks of a node that are on wires of a lab, with the name of the wire.
fn on_wires<'a>(
    (wanted, world): (&'a Wanted, &'a World),
) -> impl Iterator<Item = (&'a String, &'a Link)> {
    wanted.uplinks.iter().filter_map(|uplink| {
        let wire = uplink.wire.as_ref()?;
        Some((&wire.name, world.observed.node.link(&uplink.dev)?))
    })
}

/// The one with the larger MTU is to have the smaller one.
fn differ(
    (world, link): (&World, &Link),
    ((other, its_world), its): ((&Wanted, &World), &Link),
) -> Fault {
    let (entry, name) = match link.mtu > its.mtu {
        true => (&world.observed.entry, &link.name),
        false => (&its_world.observed.entry, &its.name),
    };
    let least = link.mtu.min(its.mtu);
    Fault::WireMtusDiffer {
        own: (link.name.clone(), link.mtu),
        other: (other.name.clone(), its.name.clone(), its.mtu),
        command: format!("{entry}ip link set dev {name} mtu {least}"),
    }
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
