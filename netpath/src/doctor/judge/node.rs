//! A node's programs, maps and counters, and conntrack beside them.

use std::collections::BTreeMap;

use super::{
    super::{Build, Fault, Found, Seen, SeenNode},
    found, is_nearly_full,
};
use crate::{
    provision::NodeStatus,
    reconcile::{Drift, Object},
};

pub(in super::super) fn programs(seen: &Seen) -> Vec<Found> {
    let mut all = Vec::new();
    for node in &seen.nodes {
        let name = &node.status.name;
        let object = Object::Node.told(name, name);
        match node.beyond.build {
            Build::Own => {}
            Build::Logging => all.push(found(Fault::ProgramsLog, object)),
            Build::Other => all.push(Found::told_of(name, &Drift::Programs.finding(object))),
        }
        all.extend(untaken(node));
    }
    all
}

/// What the fast path does not take. A program that is missing is drift; one that was switched off is not.
fn untaken(node: &SeenNode) -> Vec<Found> {
    let recorded = node.world.as_ref();
    let Some(recorded) = recorded.and_then(|(_, world)| world.recorded.as_ref()) else {
        return Vec::new();
    };
    let name = &node.status.name;
    // Then all is the kernel's, whatever acts on it.
    if !recorded.fast_path.attaches() {
        return vec![found(Fault::FastPathOff, Object::Node.told(name, name))];
    }
    let endpoints = recorded.endpoints.iter();
    let off = endpoints.filter(|(_, it)| !it.fast_path.wants(recorded.fast_path).attaches());
    let off = off.map(|(it, _)| found(Fault::FastPathOff, Object::Endpoint.told(it, name)));
    off.chain(left(&node.status)).collect()
}

/// What is left for the same reasons is told together: it may be all that is routed.
fn left(status: &NodeStatus) -> Vec<Found> {
    let name = &status.name;
    let uplinks = status.uplinks.iter().map(|uplink| {
        let object = Object::Uplink.told(&uplink.interface.dev, name);
        (object, &uplink.interface.kernel)
    });
    let endpoints = status.endpoints.iter().map(|endpoint| {
        let object = Object::Endpoint.told(&endpoint.name, name);
        (object, &endpoint.interface.kernel)
    });
    let routes = status.routes.iter().map(|route| {
        let object = Object::Route.told(&route.dst.to_string(), name);
        (object, &route.kernel)
    });
    let objects = uplinks.chain(endpoints).chain(routes);
    let mut left: BTreeMap<&[&'static str], Vec<String>> = BTreeMap::new();
    for (object, kernel) in objects.filter(|(_, kernel)| !kernel.is_empty()) {
        left.entry(kernel.as_slice()).or_default().push(object);
    }
    let left = left.into_iter().map(|(reasons, objects)| {
        let reasons = reasons.to_vec();
        let fault = Fault::LeftToKernel { reasons, objects };
        found(fault, Object::Node.told(name, name))
    });
    left.collect()
}

pub(in super::super) fn maps(seen: &Seen) -> Vec<Found> {
    let mut all = Vec::new();
    for node in &seen.nodes {
        let name = &node.status.name;
        let object = || Object::Node.told(name, name);
        for fill in &node.beyond.fills {
            if is_nearly_full(fill.entries, fill.room) {
                let fault = Fault::MapNearlyFull {
                    map: fill.map,
                    key: fill.key,
                    entries: fill.entries,
                    room: fill.room,
                };
                all.push(found(fault, object()));
            }
        }
        for &(family, entries, room, evicted) in &node.beyond.connections {
            // Where there is room, they went for another reason.
            if evicted > 0 && entries >= room / 2 {
                let fault = Fault::ConnectionsEvicted {
                    family,
                    evicted,
                    room,
                };
                all.push(found(fault, object()));
            }
        }
    }
    all
}

pub(in super::super) fn counters(seen: &Seen) -> Vec<Found> {
    let mut all = Vec::new();
    for node in &seen.nodes {
        let name = &node.status.name;
        if node.beyond.overflowed > 0 {
            let packets = node.beyond.overflowed;
            let fault = Fault::CountersOverflowed { packets };
            all.push(found(fault, Object::Node.told(name, name)));
        }
        for (endpoint, &packets) in &node.beyond.spoofed {
            let object = Object::Endpoint.told(endpoint, name);
            all.push(found(Fault::Spoofed { packets }, object));
        }
    }
    all
}

pub(in super::super) fn conntrack(seen: &Seen) -> Vec<Found> {
    let mut all = Vec::new();
    for node in &seen.nodes {
        let name = &node.status.name;
        let value = |key| node.beyond.sysctls.get(key).copied();
        let count = value("netfilter/nf_conntrack_count");
        if let (Some(count), Some(max)) = (count, value("netfilter/nf_conntrack_max"))
            && is_nearly_full(count, max)
        {
            let fault = Fault::ConntrackNearlyFull { count, max };
            all.push(found(fault, Object::Node.told(name, name)));
        }
        if let (Some((chain, source, destination)), Some(drops)) =
            (&node.beyond.one_way, &node.beyond.drops_by_state)
        {
            let fault = Fault::NotrackOneWay {
                chain: chain.clone(),
                source: *source,
                destination: *destination,
                drops: drops.clone(),
            };
            all.push(found(fault, Object::Node.told(name, name)));
        }
        let is_strict = value("netfilter/nf_conntrack_tcp_loose") == Some(0);
        if let (Some(chain), true) = (&node.beyond.drops_by_state, is_strict) {
            let chain = chain.clone();
            let fault = Fault::InvalidDropped { chain };
            all.push(found(fault, Object::Node.told(name, name)));
        }
    }
    all
}
