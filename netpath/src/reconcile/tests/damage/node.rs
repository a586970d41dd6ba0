//! What somebody alters of a node as a whole: its programs and their pins, its records, its settings, its addresses.

use netpath_common::{EndpointId, Ifindex};

use super::Damage;
use crate::{
    model::NodePlace,
    reconcile::{World, tests::generate::net},
};

/// Addresses that a node may have beside those of its uplinks.
const OTHERS: [&str; 3] = ["192.168.9.9/32", "10.8.9.9/32", "fd88::9/128"];

impl Damage {
    pub(super) fn inflict_on_node(&self, world: &mut World) {
        match self.kind {
            20 | 21 => {
                if let Some(attached) = self.pick(world.observed.attached.iter().copied()) {
                    world.observed.attached.remove(&attached);
                }
            }
            22 => {
                let node = world.recorded.as_ref();
                if let Some(node) = node.filter(|node| node.place == NodePlace::Lab) {
                    let mut drops = world.observed.forward_drop.unwrap_or_default();
                    let family = self.which.index(2);
                    drops[family] = !drops[family];
                    // Done twice it is as it was.
                    let is_asked = node.forward_drop || drops.contains(&true);
                    world.observed.forward_drop = is_asked.then_some(drops);
                }
            }
            23 => {
                if let Some(node) = &mut world.recorded
                    && let Some(name) = self.pick(node.endpoints.keys().cloned())
                    && let Some(endpoint) = node.endpoints.get_mut(&name)
                {
                    endpoint.complete = false;
                }
            }
            24 => {
                if let Some(uplink) = self.uplink(world) {
                    uplink.complete = false;
                }
            }
            _ => self.inflict_on_records(world),
        }
    }

    /// Numbers that are altered.
    fn inflict_on_records(&self, world: &mut World) {
        match self.kind {
            25 => {
                if let Some(node) = &mut world.recorded {
                    node.next_id = node.next_id.min(EndpointId(1));
                }
            }
            26 => world.observed.maps.features.bits = 0,
            27 => world.observed.settings_sound = false,
            28 => {
                if let Some(node) = &mut world.recorded
                    && let Some(name) = self.pick(node.endpoints.keys().cloned())
                    && let Some(endpoint) = node.endpoints.get_mut(&name)
                {
                    endpoint.ifindex = Ifindex(1);
                }
            }
            29 | 30 => {
                let ifindex = Ifindex(u32::from(self.kind == 30));
                if let Some(uplink) = self.uplink(world).filter(|uplink| uplink.made) {
                    uplink.ifindex = ifindex;
                }
            }
            31 => world.observed.maps.features.route_mtu = 1280,
            // An address comes, or goes, that is neither the topology's nor an endpoint's.
            32 => {
                let address = self.which.get(&OTHERS);
                world.observed.own.insert(net(address).addr());
            }
            34 => {
                let attached = world.observed.attached.iter().copied();
                let picked = self.pick(attached);
                world.observed.loose.extend(picked);
            }
            35 => {
                let program = netpath_common::ProgramKind::ToEndpoint;
                world
                    .observed
                    .link_pins
                    .insert((program, "nobodys".to_owned()));
            }
            36 => drop(world.observed.maps.strange_gates.insert(Ifindex(7))),
            37 => {
                let known = world.observed.maps.interfaces.keys().copied();
                let picked = self.pick(known);
                world.observed.maps.retired.extend(picked);
            }
            38 => world.observed.maps.features.bits |= 1 << 30,
            39 => {
                let node = world.recorded.as_ref().expect("made");
                let uplinks = node
                    .uplinks
                    .keys()
                    .map(|dev| ("uplink_records", dev.clone()));
                let endpoints = node
                    .endpoints
                    .keys()
                    .map(|name| ("endpoint_records", name.clone()));
                let routes = node
                    .routes
                    .keys()
                    .map(|dst| ("route_records", dst.to_string()));
                let picked = self.pick(uplinks.chain(endpoints).chain(routes));
                world.observed.overwritten.extend(picked);
            }
            _ => {
                let others = OTHERS.map(|address| net(address).addr());
                let own = &mut world.observed.own;
                if let Some(gone) = self.pick(others.into_iter().filter(|it| own.contains(it))) {
                    own.remove(&gone);
                }
            }
        }
    }
}
