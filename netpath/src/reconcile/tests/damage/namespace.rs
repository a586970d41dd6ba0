//! What somebody destroys in a namespace: links, addresses, routes, neighbours, sysctls.

use netpath_common::Mac;

use super::Damage;
use crate::{
    model::NodePlace,
    reconcile::{
        BRIDGE, Link, Namespace, NamespaceState, Neighbour, Op, Place, RecordedEndpoint, World,
    },
};

impl Damage {
    fn places(world: &World) -> Vec<Place> {
        let endpoints = world
            .observed
            .endpoints
            .iter()
            .filter(|(_, n)| n.state != NamespaceState::Absent);
        let wires = world
            .observed
            .wires
            .iter()
            .filter(|(_, n)| n.state != NamespaceState::Absent);
        std::iter::once(Place::Node)
            .chain(endpoints.map(|(name, _)| Place::Endpoint(name.clone())))
            .chain(wires.map(|(name, _)| Place::Wire(name.clone())))
            .collect()
    }

    /// Links that netpath made or set up.
    pub(super) fn links(world: &World) -> Vec<(Place, String)> {
        let mut links = Vec::new();
        for place in Self::places(world) {
            let names = world
                .namespace(&place)
                .into_iter()
                .flat_map(|n| &n.links)
                .map(|link| link.name.clone());
            let is_machines = |name: &String| {
                place == Place::Node
                    && ["up0", "eth9", "lo"].contains(&name.as_str())
                    && world
                        .recorded
                        .as_ref()
                        .is_some_and(|node| node.place == NodePlace::Host)
            };
            links.extend(
                names
                    .filter(|name| !is_machines(name))
                    .map(|name| (place.clone(), name)),
            );
        }
        links
    }

    pub(super) fn inflict_on_namespace(&self, world: &mut World) {
        let Some((place, dev)) = self.pick(Self::links(world)) else {
            return;
        };
        let is_lo = dev == "lo";
        match self.kind {
            0 if !is_lo => {
                let mac = Mac::default();
                world.apply(&Op::DeleteLink { place, dev, mac });
            }
            1 => set_down(world, &place, &dev),
            2 => {
                let address = world
                    .namespace(&place)
                    .and_then(|n| n.link(&dev))
                    .and_then(|l| l.addresses.first().copied());
                if let Some(address) = address {
                    world.apply(&Op::RemoveAddress {
                        place,
                        dev,
                        address,
                    });
                }
            }
            3 if !is_lo => rename(world, &place, &dev),
            4 if !is_lo && dev != BRIDGE => {
                if let Some(link) = link_mut(world, &place, &dev) {
                    link.mtu = 1000;
                    link.addresses.retain(|net| net.addr().is_ipv4());
                }
                let scope = format!("ipv6/conf/{dev}/");
                namespace_mut(world, &place)
                    .sysctls
                    .retain(|key, _| !key.starts_with(&scope));
            }
            // Somebody gave an end of a veth pair another MAC: both ends of one prove nothing any more.
            5 if matches!(place, Place::Endpoint(_))
                && !is_lo
                && outside_is_ours(world, &place) =>
            {
                if let Some(link) = link_mut(world, &place, &dev) {
                    link.mac = Some(Mac([6; 6]));
                }
            }
            5 if place == Place::Node && port_is_ours(world, &dev) => {
                let mac = Mac([6; 6]);
                world.apply(&Op::SetMac { dev, mac });
            }
            5 if place == Place::Node && inside_is_ours(world, &dev) => {
                let mac = Mac([6; 6]);
                world.apply(&Op::SetMac { dev, mac });
            }
            6 => {
                let namespace = namespace_mut(world, &place);
                if let Some(route) = self.pick(namespace.routes.clone()) {
                    namespace.routes.retain(|found| *found != route);
                }
            }
            7 => {
                let namespace = namespace_mut(world, &place);
                if let Some(neighbour) = self.pick(namespace.neighbours.clone()) {
                    namespace.neighbours.retain(|found| *found != neighbour);
                    if self.which.index(2) == 1 {
                        // Never as it was, however often.
                        let changed = Neighbour {
                            is_router: false,
                            mac: match neighbour.is_router {
                                true => neighbour.mac,
                                false => Mac([2, 0, 0, 0, 0, 0x77]),
                            },
                            ..neighbour
                        };
                        namespace.neighbours.push(changed);
                    }
                }
            }
            8 => {
                let is_host = world
                    .recorded
                    .as_ref()
                    .is_some_and(|node| node.place == NodePlace::Host);
                let keys = namespace_mut(world, &place)
                    .sysctls
                    .keys()
                    .cloned()
                    .collect::<Vec<_>>();
                let machines = |key: &String| {
                    key.contains("/up0/") || key.contains("/all/") || key.ends_with("ip_forward")
                };
                let key = self.pick(
                    keys.into_iter()
                        .filter(|key| !(is_host && place == Place::Node && machines(key))),
                );
                if let Some(key) = key {
                    let sysctls = &mut namespace_mut(world, &place).sysctls;
                    let other = if sysctls[&key] == "1" { "0" } else { "1" };
                    sysctls.insert(key, other.to_owned());
                }
            }
            9 => {
                if let Some(place) = self.pick(
                    Self::places(world)
                        .into_iter()
                        .filter(|p| *p != Place::Node),
                ) {
                    world.apply(&Op::RemoveNamespace(place));
                }
            }
            _ => {}
        }
    }
}

fn namespace_mut<'w>(world: &'w mut World, place: &Place) -> &'w mut Namespace {
    match place {
        Place::Node => &mut world.observed.node,
        Place::Endpoint(name) => world.observed.endpoints.get_mut(name).expect("there"),
        Place::Wire(name) => world.observed.wires.get_mut(name).expect("there"),
    }
}

pub(super) fn link_mut<'w>(world: &'w mut World, place: &Place, dev: &str) -> Option<&'w mut Link> {
    namespace_mut(world, place)
        .links
        .iter_mut()
        .find(|link| link.name == dev)
}

/// The recorded endpoint whose host-side veth has this name.
fn endpoint_of<'w>(world: &'w World, dev: &str) -> Option<(&'w String, &'w RecordedEndpoint)> {
    let node = world.recorded.as_ref()?;
    node.endpoints
        .iter()
        .find(|(_, endpoint)| endpoint.host_dev == dev)
}

fn inside_is_ours(world: &World, dev: &str) -> bool {
    let inside = endpoint_of(world, dev).and_then(|(name, endpoint)| {
        let there = world.namespace(&Place::Endpoint(name.clone()))?;
        there.link_with(endpoint.endpoint_mac)
    });
    inside.is_some()
}

/// Of an uplink that netpath made.
fn port_is_ours(world: &World, dev: &str) -> bool {
    let node = world.recorded.as_ref();
    let record = node.and_then(|node| node.uplinks.get(dev));
    record.is_some_and(|record| {
        let wire = world.namespace(&Place::Wire(record.wire.clone()));
        record.made && wire.is_some_and(|wire| wire.link_with(record.port_mac).is_some())
    })
}

fn outside_is_ours(world: &World, place: &Place) -> bool {
    let Place::Endpoint(name) = place else {
        return false;
    };
    let node = world.recorded.as_ref();
    let record = node.and_then(|node| node.endpoints.get(name));
    record.is_some_and(|record| world.observed.node.link_with(record.host_mac).is_some())
}

fn set_down(world: &mut World, place: &Place, dev: &str) {
    let Some(link) = link_mut(world, place, dev) else {
        return;
    };
    link.up = false;
    let ifindex = link.ifindex;
    namespace_mut(world, place)
        .routes
        .retain(|route| route.ifindex != Some(ifindex));
}

fn rename(world: &mut World, place: &Place, dev: &str) {
    if let Some(link) = link_mut(world, place, dev) {
        link.name = format!("{dev}x");
    }
    let scope = format!("/conf/{dev}/");
    namespace_mut(world, place)
        .sysctls
        .retain(|key, _| !key.contains(&scope));
}
