//! Addresses that somebody has twice.

use std::net::IpAddr;

use super::{
    super::{Fault, Found, Seen},
    found,
};
use crate::{
    model::{NodePlace, is_forwardable},
    netns::path_of,
    reconcile::{Home, Link, Namespace, Object, Recorded, Wanted, World},
};

pub(in super::super) fn duplicates(seen: &Seen) -> Vec<Found> {
    let mut all = Vec::new();
    for (node, wanted, world) in seen.looked_at() {
        all.extend(of_endpoints(wanted, world));
        for (dev, address) in &node.beyond.duplicates {
            let fault = Fault::AddressAnswered {
                address: *address,
                dev: dev.clone(),
                mac: None,
            };
            all.push(found(fault, Object::Uplink.told(dev, &wanted.name)));
        }
        for (dev, address, mac) in &node.beyond.answered {
            let fault = Fault::AddressAnswered {
                address: *address,
                dev: dev.clone(),
                mac: Some(mac.clone()),
            };
            all.push(found(fault, Object::Uplink.told(dev, &wanted.name)));
        }
    }
    all.extend(between_nodes(seen));
    all
}

/// An endpoint's address that the node has itself, or another endpoint. Of a machine `show` tells it.
fn of_endpoints(wanted: &Wanted, world: &World) -> Vec<Found> {
    let mut all = Vec::new();
    for endpoint in &wanted.endpoints {
        let object = || Object::Endpoint.told(&endpoint.name, &wanted.name);
        for address in endpoint.addresses.iter().map(|net| net.addr()) {
            let is_lab = wanted.place == NodePlace::Lab;
            let here = held_by(&world.observed.node, address).filter(|_| is_lab);
            if let Some((link, command)) = here {
                let fault = Fault::DuplicateAddress {
                    address,
                    other: format!("interface {link} of node {}", wanted.name),
                    command: Some(format!("{}{command}", world.observed.entry)),
                };
                all.push(found(fault, object()));
            }
            for (other, there) in &world.observed.endpoints {
                if *other == endpoint.name {
                    continue;
                }
                if let Some((_, command)) = held_by(there, address) {
                    let fault = Fault::DuplicateAddress {
                        address,
                        other: format!("endpoint {other}"),
                        command: Some(format!("{}{command}", entry(world, other))),
                    };
                    all.push(found(fault, object()));
                }
            }
        }
    }
    all
}

/// The interface of a namespace that has an address, and the command that takes it from there.
fn held_by(there: &Namespace, address: IpAddr) -> Option<(String, String)> {
    let has = |link: &&Link| link.addresses.iter().any(|net| net.addr() == address);
    let link = there.links.iter().find(has)?;
    let net = link.addresses.iter().find(|net| net.addr() == address)?;
    let command = format!("ip address del {net} dev {}", link.name);
    Some((link.name.clone(), command))
}

/// What goes before a command to run it in an endpoint's namespace.
fn entry(world: &World, endpoint: &str) -> String {
    let recorded = world.recorded.as_ref();
    let home = recorded.and_then(|node| Some(&node.endpoints.get(endpoint)?.home));
    match home {
        Some(Home::Given(path)) => format!("nsenter --net={path} "),
        _ => format!("nsenter --net={} ", path_of(endpoint).display()),
    }
}

/// Addresses of nodes that send to one another: those on a segment, and those in a network namespace.
fn between_nodes(seen: &Seen) -> Vec<Found> {
    let mut all = Vec::new();
    for ((one, world), (other, other_world)) in seen.pairs() {
        if !meet((one, world), (other, other_world)) {
            continue;
        }
        for (object, address) in addresses(one) {
            let mut others = addresses(other).into_iter();
            let Some((held, _)) = others.find(|(_, it)| *it == address) else {
                continue;
            };
            let fault = Fault::DuplicateAddress {
                address,
                other: held,
                command: None,
            };
            all.push(found(fault, object));
        }
    }
    all
}

fn meet(one: (&Wanted, &World), other: (&Wanted, &World)) -> bool {
    let wires = |wanted: &Wanted| -> Vec<String> {
        let wires = wanted.uplinks.iter().filter_map(|it| it.wire.as_ref());
        wires.map(|wire| wire.name.clone()).collect()
    };
    let (here, there) = (wires(one.0), wires(other.0));
    let cookie = |world: &World| world.recorded.as_ref().map(|it: &Recorded| it.cookie);
    here.iter().any(|wire| there.contains(wire)) || cookie(one.1) == cookie(other.1)
}

/// Of its uplinks and endpoints.
fn addresses(node: &Wanted) -> Vec<(String, IpAddr)> {
    let mut all = Vec::new();
    for uplink in &node.uplinks {
        let object = Object::Uplink.told(&uplink.dev, &node.name);
        let own = uplink.addresses.iter().map(|net| net.addr());
        all.extend(own.map(|address| (object.clone(), address)));
    }
    for endpoint in &node.endpoints {
        let object = Object::Endpoint.told(&endpoint.name, &node.name);
        let own = endpoint.addresses.iter().map(|net| net.addr());
        all.extend(own.map(|address| (object.clone(), address)));
    }
    all
}

/// Uplinks of a machine that have none.
pub(in super::super) fn unnumbered(seen: &Seen) -> Vec<Found> {
    let mut all = Vec::new();
    for (_, wanted, world) in seen.looked_at() {
        for uplink in wanted.uplinks.iter().filter(|it| it.addresses.is_empty()) {
            let Some(link) = world.observed.node.link(&uplink.dev) else {
                continue;
            };
            let mut addresses = link.addresses.iter();
            if !addresses.any(|net| is_forwardable(net.addr())) {
                let object = Object::Uplink.told(&uplink.dev, &wanted.name);
                all.push(found(Fault::UplinkWithoutAddress, object));
            }
        }
    }
    all
}

pub(in super::super) fn all(seen: &Seen) -> Vec<Found> {
    let mut all = duplicates(seen);
    all.extend(unnumbered(seen));
    all
}
