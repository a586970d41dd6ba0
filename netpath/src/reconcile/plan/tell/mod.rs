//! What is wrong and not netpath's to mend: of next hops, of settings of the machine, of others' rules.

mod forward;
mod ways;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use netpath_common::Ifindex;

use super::{
    super::{Drift, Home, Object, Recorded, RecordedEndpoint, Route, Told, Wanted, World},
    Fresh, Planner,
};
use crate::model::NodePlace;

/// What is wrong in a world that is as it is wanted, and not netpath's to mend.
#[must_use]
pub fn told(wanted: &Wanted, world: &World) -> Vec<Told> {
    let mut fresh = Fresh::new(0);
    let mut planner = Planner::new(wanted, world, &mut fresh);
    planner.tell();
    planner.plan.told
}

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
        self.tell_no_arp(&node);
        self.tell_filters(&node);
        self.tell_lost(&node);
        self.tell_routes(&node);
        self.tell_ways(&node);
        self.tell_forward(&node);
    }

    /// Endpoints whose namespace whoever gave it has taken away.
    fn tell_lost(&mut self, node: &Recorded) {
        for (name, record) in &node.endpoints {
            if let Home::Given(path) = &record.home
                && self.lost_its_namespace(name, record)
            {
                self.tell_of(Object::Endpoint, name, Drift::GivenGone(path.clone()));
            }
        }
    }

    fn tell_of(&mut self, object: Object, name: &str, drift: Drift) {
        self.plan.told.push(Told {
            object: (object, name.to_owned()),
            drift,
        });
    }

    fn tell_uplinks(&mut self, node: &Recorded) {
        for dev in node.uplinks.keys() {
            let link = self.world.observed.node.link(dev);
            if link.is_some_and(|link| link.up && !link.carrier) {
                self.tell_of(Object::Uplink, dev, Drift::NoCarrier(dev.clone()));
            }
        }
    }

    /// Filters that were attached in the other way.
    fn tell_filters(&mut self, node: &Recorded) {
        for dev in self.world.observed.census.beside.clone() {
            let mut endpoints = node.endpoints.iter();
            let object = match endpoints.find(|(_, record)| record.host_dev == dev) {
                Some((name, _)) => (Object::Endpoint, name.clone()),
                None => (Object::Uplink, dev.clone()),
            };
            self.tell_of(object.0, &object.1, Drift::FilterBeside(dev));
        }
    }

    /// Uplinks by which nobody is asked and nobody answered, unless somebody has set the Ethernet address of each next hop: then
    /// it is meant so.
    fn tell_no_arp(&mut self, node: &Recorded) {
        let there = &self.world.observed.node;
        let hops = there.routes.iter().flat_map(|route| &route.hops);
        let hops = hops.filter_map(|hop| Some((hop.ifindex?, hop.via?)));
        let hops: BTreeSet<(Ifindex, IpAddr)> = hops.collect();
        let is_lost = |dev: &&String| {
            let link = there.link(dev).filter(|link| link.up && link.no_arp);
            link.is_some_and(|link| {
                let mut own = hops.iter().filter(|(dev, _)| *dev == link.ifindex);
                own.clone().next().is_none() || !own.all(|hop| there.known.contains(hop))
            })
        };
        let lost: Vec<String> = node.uplinks.keys().filter(is_lost).cloned().collect();
        for dev in lost {
            self.tell_of(Object::Uplink, &dev, Drift::NoArp(dev.clone()));
        }
    }

    /// Of the routes to other nodes: those that lead nowhere, and next hops where nobody answers, each once.
    fn tell_routes(&mut self, node: &Recorded) {
        let there = &self.world.observed.node;
        let mut refusing: Vec<(IpNet, String)> = Vec::new();
        let mut silent: BTreeMap<(Ifindex, IpAddr), BTreeSet<IpNet>> = BTreeMap::new();
        let is_led = |route: &&Route| {
            let mut led = node
                .routes
                .iter()
                .filter(|(_, record)| record.via.is_none());
            led.any(|(dst, _)| dst.contains(&route.dst))
        };
        let ours = node
            .routes
            .iter()
            .filter(|(_, record)| record.via.is_some());
        let ours: Vec<&Route> = ours.filter_map(|(dst, _)| there.route_to(dst)).collect();
        // Where the kernel alone says where to, it may refuse what it likes: an aggregate is often a blackhole.
        let refuses = ours.iter().filter(|route| route.refuses);
        refusing.extend(refuses.map(|route| (route.dst, route.told.clone())));
        let kernels = there.routes.iter().filter(is_led);
        for route in ours.into_iter().chain(kernels) {
            let hops = route
                .hops
                .iter()
                .filter_map(|hop| Some((hop.ifindex?, hop.via?)));
            for hop in hops.filter(|hop| there.silent.contains(hop)) {
                silent.entry(hop).or_default().insert(route.dst);
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
}

/// The endpoint that has an address of these.
fn owner<'n>(node: &'n Recorded, net: &IpNet) -> Option<(&'n String, &'n RecordedEndpoint)> {
    let has = |endpoint: &RecordedEndpoint| {
        let mut addresses = endpoint.addresses.iter();
        addresses.any(|address| net.contains(&address.addr())) || endpoint.prefixes.contains(net)
    };
    node.endpoints.iter().find(|(_, endpoint)| has(endpoint))
}
