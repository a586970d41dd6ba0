//! Where the kernel leads packets otherwise than the file says: by rules, other tables, longer prefixes, types of service.

use std::collections::BTreeSet;

use super::super::{
    super::{Drift, Object, Recorded, RecordedEndpoint, Way, WayHop},
    Planner,
};

impl Planner<'_> {
    /// Of each part of what is routed that is led elsewhere, once, whoever it comes from.
    pub(super) fn tell_ways(&mut self, node: &Recorded) {
        let mut told = BTreeSet::new();
        for way in self.world.observed.census.ways.clone() {
            let is_its =
                |endpoint: &RecordedEndpoint| Some(&endpoint.host_dev) == way.veth.as_ref();
            let mut endpoints = node.endpoints.iter();
            let object = match endpoints.find(|(_, endpoint)| is_its(endpoint)) {
                Some((name, _)) => (Object::Endpoint, name.clone()),
                None => (Object::Route, way.of.to_string()),
            };
            if !self.is_as_asked(&way) || self.is_right(node, &way) {
                continue;
            }
            if told.insert((object.clone(), way.dst, way.tos)) {
                self.tell_of(object.0, &object.1, drift(way));
            }
        }
    }

    /// Whether the main table leads there as it did when the kernel was asked: what comes or goes in these steps is its own
    /// drift.
    fn is_as_asked(&self, way: &Way) -> bool {
        let [before, after] = [self.initial, &self.world].map(|world| {
            let route = world.observed.node.route_to(&way.of);
            route.map(|route| (route.via, route.ifindex, &route.hops))
        });
        before == after
    }

    /// Whether packets go as the file says, or where the main table leads all that is for this destination: whoever leads
    /// that elsewhere on a machine may do so. Of what this table refuses as a whole is told by its route.
    fn is_right(&self, node: &Recorded, way: &Way) -> bool {
        let there = &self.world.observed.node;
        if way.veth.is_some() {
            return !way.hops.is_empty() && way.hops.iter().all(|hop| hop.dev == way.veth);
        }
        let main = there.route_to(&way.of);
        if way.hops.is_empty() {
            return main.is_some_and(|route| route.hops.is_empty());
        }
        let of_file = node.routes.get(&way.of).and_then(|record| record.via);
        let is_its = |hop: &WayHop| {
            let mut hops = main.iter().flat_map(|route| &route.hops);
            let dev = |ifindex| there.name_of(ifindex).map(str::to_owned);
            hop.via.is_some() && hop.via == of_file
                || hops.any(|it| it.via == hop.via && it.ifindex.and_then(dev) == hop.dev)
        };
        way.hops.iter().all(is_its)
    }
}

fn drift(way: Way) -> Drift {
    match way.hops.is_empty() && way.tos == 0 {
        true => Drift::RouteRefuses {
            dst: way.dst,
            told: way.told,
        },
        false => Drift::LedElsewhere(Box::new(way)),
    }
}
