//! What somebody does that is told, and mostly for others to mend.

use super::{Damage, namespace::link_mut};
use crate::{
    model::NodePlace,
    reconcile::{BRIDGE, ForwardDrop, Op, Place, World},
};

impl Damage {
    /// Most of it is for others to mend.
    pub(super) fn inflict_on_what_is_told(&self, world: &mut World) {
        let Some(node) = world.recorded.clone() else {
            return;
        };
        match self.kind {
            40 => {
                let there = &world.observed.node;
                let routes = node.routes.keys().filter_map(|dst| there.route_to(dst));
                let hops = routes.flat_map(|route| &route.hops);
                let hops = hops.filter_map(|hop| Some((hop.ifindex?, hop.via?)));
                if let Some(hop) = self.pick(hops) {
                    world.observed.node.silent.insert(hop);
                }
            }
            41 => {
                let ours = |(_, dev): &(Place, String)| dev != "lo" && dev != BRIDGE;
                if let Some((place, dev)) = self.pick(Self::links(world).into_iter().filter(ours)) {
                    // Never the same at both ends.
                    let mtu = if place == Place::Node { 1400 } else { 1450 };
                    world.apply(&Op::SetMtu { place, dev, mtu });
                }
            }
            42 if node.place == NodePlace::Host && !node.uplinks.is_empty() => {
                if let Some(link) = link_mut(world, &Place::Node, "up0") {
                    link.carrier = false;
                }
            }
            43 => {
                let endpoints = node.endpoints.values();
                let off = endpoints.filter(|it| {
                    it.fast_path.wants(node.fast_path) != netpath_common::FastPathMode::On
                });
                if let Some(endpoint) = self.pick(off) {
                    let address = endpoint.addresses[0].addr();
                    world.observed.census.forward_drops.push(ForwardDrop {
                        iif: None,
                        certain: true,
                        source: address.into(),
                        destination: address.into(),
                        chain: "FORWARD".to_owned(),
                    });
                }
            }
            _ => {}
        }
    }
}
