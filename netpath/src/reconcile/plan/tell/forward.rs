//! What filter FORWARD drops of what the kernel is left.

use std::collections::BTreeSet;

use netpath_common::{EndpointEntry, FastPathMode, FastPathWish, Ifindex};

use super::{
    super::{
        super::{Drift, ForwardDrop, Object, Recorded},
        Planner,
    },
    owner,
};

impl Planner<'_> {
    /// What the kernel is left, because the fast path is off or something else is to act on it, and drops: an example of each
    /// object and family. Of what goes from one other node to another nobody here knows whether there is any.
    pub(super) fn tell_forward(&mut self, node: &Recorded) {
        let mut told = BTreeSet::new();
        for drop in self.world.observed.census.forward_drops.clone() {
            let Some(object) = self.left_to_the_kernel(node, &drop) else {
                continue;
            };
            let is_through = owner(node, &drop.source)
                .or(owner(node, &drop.destination))
                .is_none();
            if !told.insert((object.clone(), drop.source.addr().is_ipv4(), is_through)) {
                continue;
            }
            let (source, destination, chain) = (drop.source, drop.destination, drop.chain);
            let drift = match (is_through, drop.certain) {
                (false, true) => Drift::ForwardDrops {
                    source,
                    destination,
                    chain,
                },
                _ => Drift::ForwardMayDrop {
                    through: is_through,
                    source,
                    destination,
                    chain,
                },
            };
            self.tell_of(object.0, &object.1, drift);
        }
    }

    /// The object for whose sake packets from there to there are left to the kernel, if they are.
    fn left_to_the_kernel(&self, node: &Recorded, drop: &ForwardDrop) -> Option<(Object, String)> {
        let [from, to] = [&drop.source, &drop.destination].map(|net| owner(node, net));
        let whole = || (Object::Node, self.wanted.name.clone());
        if let Some((name, endpoint)) = from
            && endpoint.fast_path.wants(node.fast_path) != FastPathMode::On
        {
            return Some(match node.fast_path {
                FastPathMode::On => (Object::Endpoint, name.clone()),
                FastPathMode::Off | FastPathMode::Shadow => whole(),
            });
        }
        if from.is_none() && node.fast_path != FastPathMode::On {
            return Some(whole());
        }
        if let Some((name, endpoint)) = to
            && endpoint.fast_path == FastPathWish::Shadow
        {
            return Some((Object::Endpoint, name.clone()));
        }
        let index = |side: Option<(_, &super::RecordedEndpoint)>| {
            side.map_or(Ifindex(0), |(_, it)| self.world.ifindex(&it.host_dev))
        };
        let ingress = match (from, &drop.iif) {
            (None, Some(uplink)) => self.world.ifindex(uplink),
            _ => index(from),
        };
        let is_on = |side: Option<(_, &super::RecordedEndpoint)>| {
            let mode = side.map_or(node.fast_path, |(_, it)| it.fast_path.wants(node.fast_path));
            mode.attaches()
        };
        let source = self.address_punts(index(from), drop.source, is_on(from));
        let destination = self.address_punts(index(to), drop.destination, is_on(to));
        let by_ingress = self.interface_punts(ingress).ingress != 0;
        let is_left = by_ingress
            || destination.to != 0
            || (source.between != 0 && destination.between != 0)
            || (source.between | destination.between) & EndpointEntry::ALONE != 0;
        is_left.then(|| match (from, to, &drop.iif) {
            (Some((name, _)), ..) => (Object::Endpoint, name.clone()),
            (None, _, Some(uplink)) if by_ingress => (Object::Uplink, uplink.clone()),
            (None, Some((name, _)), _) => (Object::Endpoint, name.clone()),
            (None, None, _) => whole(),
        })
    }
}
