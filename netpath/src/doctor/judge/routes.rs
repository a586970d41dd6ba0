//! Routes with several next hops, and the table of neighbours.

use netpath_common::Family;

use super::{
    super::{Fault, Found, Seen},
    found, is_nearly_full,
};
use crate::reconcile::Object;

/// Destinations to which several next hops lead, each once.
pub(in super::super) fn ecmp(seen: &Seen) -> Vec<Found> {
    let mut all = Vec::new();
    for (node, wanted, world) in seen.looked_at() {
        let routes = world.observed.node.routes.iter();
        let is_led = |dst| wanted.routes.iter().any(|route| route.dst.contains(dst));
        for route in routes.filter(|it| it.hops.len() > 1 && is_led(&it.dst)) {
            let (key, name) = match route.dst.addr().is_ipv4() {
                true => (
                    "ipv4/fib_multipath_hash_policy",
                    "net.ipv4.fib_multipath_hash_policy",
                ),
                false => (
                    "ipv6/fib_multipath_hash_policy",
                    "net.ipv6.fib_multipath_hash_policy",
                ),
            };
            if node.beyond.sysctls.get(key) == Some(&0) {
                let fault = Fault::EcmpByAddresses {
                    dst: route.dst,
                    key: name,
                };
                let object = Object::Route.told(&route.dst.to_string(), &wanted.name);
                all.push(found(fault, object));
            }
        }
    }
    all
}

/// The table is one of the whole machine, which a namespace sees its own part of.
pub(in super::super) fn neighbours(seen: &Seen) -> Vec<Found> {
    let mut all = Vec::new();
    for (node, wanted, _) in seen.looked_at() {
        for (family, count) in &node.beyond.neighbours {
            let key = match family {
                Family::V4 => "ipv4/neigh/default/gc_thresh3",
                Family::V6 => "ipv6/neigh/default/gc_thresh3",
            };
            let Some(max) = node.beyond.sysctls.get(key) else {
                continue;
            };
            if is_nearly_full(*count, *max) {
                let fault = Fault::NeighboursNearlyFull {
                    family: *family,
                    count: *count,
                    max: *max,
                };
                all.push(found(fault, Object::Node.told(&wanted.name, &wanted.name)));
            }
        }
    }
    all
}
