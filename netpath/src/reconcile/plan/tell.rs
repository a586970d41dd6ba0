//! What is wrong and not netpath's to mend: of next hops, of settings of the machine, of others' rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use netpath_common::Ifindex;

use super::{
    super::{Drift, ForwardDrop, Object, Recorded, RecordedEndpoint, Told},
    Planner,
    sysctls::forwarding_v6,
};
use crate::model::NodePlace;

impl Planner<'_> {
    /// Tells what is still wrong in the planned world.
    pub(super) fn tell(&mut self) {
        let Some(node) = self.world.recorded.clone() else {
            return;
        };
        if self.is_elsewhere() {
            return;
        }
        if node.place == NodePlace::Host {
            self.tell_uplinks(&node);
        }
        self.tell_routes(&node);
        self.tell_forward(&node);
    }

    fn tell_of(&mut self, object: Object, name: &str, drift: Drift) {
        self.plan.told.push(Told {
            object: (object, name.to_owned()),
            drift,
        });
    }

    /// What is not IPv4's is not asked for as a whole before: without it an uplink's packets are only slower.
    fn tell_uplinks(&mut self, node: &Recorded) {
        for (dev, uplink) in &node.uplinks {
            if !uplink.addresses.iter().any(|net| net.addr().is_ipv6()) {
                continue;
            }
            let key = forwarding_v6(self.world.observed.node.kernel_name(dev));
            let found = self.world.observed.node.sysctls.get(&key).cloned();
            if let Some(found) = found.filter(|found| found != "1") {
                let drift = Drift::UplinkNotForwarding { key, found };
                self.tell_of(Object::Uplink, dev, drift);
            }
        }
    }

    /// Of the routes to other nodes: those that lead nowhere, and next hops where nobody answers, each once.
    fn tell_routes(&mut self, node: &Recorded) {
        let there = &self.world.observed.node;
        let mut refusing = Vec::new();
        let mut silent: BTreeMap<(Ifindex, IpAddr), BTreeSet<IpNet>> = BTreeMap::new();
        for dst in node.routes.keys() {
            let Some(route) = there.route_to(dst) else {
                continue;
            };
            if route.hops.is_empty() {
                refusing.push((*dst, route.told.clone()));
            }
            let hops = route
                .hops
                .iter()
                .filter_map(|hop| Some((hop.ifindex?, hop.via?)));
            for hop in hops.filter(|hop| there.silent.contains(hop)) {
                silent.entry(hop).or_default().insert(*dst);
            }
        }
        let name = |ifindex| there.name_of(ifindex).unwrap_or_default().to_owned();
        let silent = silent
            .into_iter()
            .map(|((ifindex, via), routes)| Drift::NextHopSilent {
                via,
                dev: name(ifindex),
                routes: routes.len(),
            });
        let silent: Vec<Drift> = silent.collect();
        for (dst, told) in refusing {
            let drift = Drift::RouteRefuses { dst, told };
            self.tell_of(Object::Route, &dst.to_string(), drift);
        }
        for drift in silent {
            self.tell_of(Object::Node, &self.wanted.name, drift);
        }
    }

    /// What the kernel is left, because the fast path is off or something else is to act on it, and drops: an example of
    /// each family, of the node as a whole if that is off, and otherwise of each endpoint.
    fn tell_forward(&mut self, node: &Recorded) {
        let mut told = BTreeSet::new();
        for drop in self.world.observed.census.forward_drops.clone() {
            let Some((name, endpoint)) = owner(node, &drop.source) else {
                continue;
            };
            if !self.is_the_kernels(node, endpoint, &drop) {
                continue;
            }
            let object = match node.fast_path {
                true => (Object::Endpoint, name.clone()),
                false => (Object::Node, self.wanted.name.clone()),
            };
            if told.insert((object.clone(), drop.source.addr().is_ipv4())) {
                let drift = Drift::ForwardDrops {
                    source: drop.source,
                    destination: drop.destination,
                    chain: drop.chain,
                };
                self.tell_of(object.0, &object.1, drift);
            }
        }
    }

    /// Whether packets of an endpoint to that destination are left to the kernel.
    fn is_the_kernels(
        &self,
        node: &Recorded,
        endpoint: &RecordedEndpoint,
        drop: &ForwardDrop,
    ) -> bool {
        if !endpoint.fast_path.wants(node.fast_path) {
            return true;
        }
        let ifindex = self.world.ifindex(&endpoint.host_dev);
        let behind = owner(node, &drop.destination);
        let behind = behind.map_or(Ifindex(0), |(_, other)| self.world.ifindex(&other.host_dev));
        let source = self.address_punts(ifindex, drop.source);
        let destination = self.address_punts(behind, drop.destination);
        self.interface_punts(ifindex).ingress != 0
            || destination.to != 0
            || (source.between != 0 && destination.between != 0)
    }
}

/// The endpoint that has an address of these.
fn owner<'n>(node: &'n Recorded, net: &IpNet) -> Option<(&'n String, &'n RecordedEndpoint)> {
    let has = |endpoint: &RecordedEndpoint| {
        let mut addresses = endpoint.addresses.iter();
        addresses.any(|address| net.contains(&address.addr())) || endpoint.prefixes.contains(net)
    };
    node.endpoints.iter().find(|(_, endpoint)| has(endpoint))
}
