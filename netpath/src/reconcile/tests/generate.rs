//! Topologies, and what somebody destroys of a node.

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::{
    Bypass, EndpointEntry, EndpointId, FastPathWish, Ifindex, Mac, Origin, RouteEntry,
};
use proptest::{prelude::*, sample::Index};

use super::super::*;
use crate::model::NodePlace;

fn net(text: &str) -> IpNet {
    text.parse().expect(text)
}

/// A machine with an uplink `up0` and another interface.
pub fn host_world() -> World {
    let link = |index: u32, name: &str, addresses: &[&str]| Link {
        xdp: false,
        ifindex: Ifindex(index),
        name: name.to_owned(),
        mac: Some(Mac([2, 0, 0, 0, 0, index as u8])),
        framing: Framing::Ethernet,
        veth: false,
        up: true,
        carrier: true,
        no_arp: false,
        mtu: 1500,
        controller: Ifindex(0),
        other_end: None,
        addresses: addresses.iter().map(|text| net(text)).collect(),
        no_sources: Default::default(),
        altnames: Vec::new(),
    };
    let sysctls = [
        ("ipv4/conf/up0/forwarding", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv6/conf/up0/forwarding", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/up0/rp_filter", "2"),
    ];
    World {
        recorded: None,
        observed: Observed {
            node: Namespace {
                state: NamespaceState::Present(77),
                links: vec![
                    link(1, "lo", &["127.0.0.1/8", "::1/128"]),
                    link(2, "up0", &["100.64.0.1/24", "fd64::1/64"]),
                    link(3, "eth9", &["192.168.9.9/24"]),
                ],
                routes: vec![],
                neighbours: vec![],
                silent: Default::default(),
                known: Default::default(),
                sysctls: sysctls
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            },
            pins_links: true,
            own: ["192.168.9.9/32", "100.64.0.1/32", "fd64::1/128"]
                .map(|text| net(text).addr())
                .into(),
            ..Observed::default()
        },
    }
}

/// The uplink of [`host_world`].
pub fn host_uplink() -> WantedUplink {
    uplink(NodePlace::Host, 0, 0, 1)
}

fn uplink(place: NodePlace, index: usize, wire: usize, last: u8) -> WantedUplink {
    let dev = format!("up{index}");
    let node = "n".parse().expect("a name");
    let name = dev.parse().expect("a name");
    let addresses = match place {
        NodePlace::Lab => vec![
            net(&format!("100.64.{index}.{last}/24")),
            net(&format!("fd64:{index}::{last}/64")),
        ],
        NodePlace::Host => vec![net("100.64.0.1/24"), net("fd64::1/64")],
    };
    let wire = (place == NodePlace::Lab).then(|| format!("w{wire}"));
    WantedUplink {
        wire: wire.map(|wire| WantedWire {
            namespace: format!("netpath-wire-{wire}"),
            port: crate::model::wire_port(&node, &name).to_string(),
            name: wire,
        }),
        addresses,
        mac: crate::model::derived_mac(&node, &name, "uplink"),
        port_mac: crate::model::derived_mac(&node, &name, "port"),
        position: index as u32,
        dev,
    }
}

/// Each endpoint has its own addresses, one of two inner names and one of three outer ones.
fn endpoint(index: usize, families: u8, prefix: bool, inner: bool, home: u8) -> WantedEndpoint {
    let v4 = [
        net(&format!("10.0.{index}.2/24")),
        net(&format!("10.0.{index}.3/24")),
    ];
    let v6 = [net(&format!("fd00:{index}::2/64"))];
    let addresses = match families {
        0 => v4.to_vec(),
        1 => v6.to_vec(),
        2 => vec![v4[0], v6[0]],
        _ => vec![v4[1], v6[0]],
    };
    let has_v4 = families != 1;
    let prefixes = match (prefix, has_v4) {
        (false, _) => vec![],
        (true, true) => vec![net(&format!("10.9.{index}.0/24"))],
        (true, false) => vec![net(&format!("fd99:{index}::/64"))],
    };
    WantedEndpoint {
        name: format!("e{index}"),
        origin: Origin::File,
        home: Home::Made,
        addresses,
        prefixes,
        mtu: match (has_v4 && families == 0, inner) {
            (true, true) => Some(1000),
            (false, true) => Some(1400),
            (_, false) => None,
        },
        dev: if inner { "inner" } else { "eth0" }.to_owned(),
        host_dev: format!("v{}", (index + usize::from(home)) % 3),
        fast_path: match home {
            0 => None,
            1 => Some(FastPathWish::Off),
            _ => Some(FastPathWish::AsNode),
        },
    }
}

prop_compose! {
    /// A node in a lab or on a machine, with up to three endpoints, up to two uplinks and up to two routes.
    pub fn wanted()(
        host: bool,
        fast_path in prop::option::of(any::<bool>()),
        forward_drop: bool,
        uplinks in prop::collection::vec((0..2usize, 1..4u8), 1..=2),
        routes in prop::collection::vec((0..3u8, 5..8u8, 0..6u8), 0..=2),
        shift in 0..3u8,
        endpoints in prop::collection::btree_map(0..3usize, (0..4u8, any::<bool>(), any::<bool>()), 0..=3),
    ) -> Wanted {
        let place = if host { NodePlace::Host } else { NodePlace::Lab };
        let uplinks: Vec<WantedUplink> = uplinks
            .into_iter()
            .take(if host { 1 } else { 2 })
            .enumerate()
            .map(|(index, (wire, last))| uplink(place, index, wire, last))
            .collect();
        let routes = routes.into_iter().map(|(third, last, kind)| {
            let dev = Some("up0".to_owned());
            let (via, dev) = match kind {
                0 => (None, None),
                1 => (Some(IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, last.into()])), dev),
                2 => (Some(IpAddr::from([203, 0, 113, last])), dev),
                _ => (Some(IpAddr::from([100, 64, 0, last])), None),
            };
            WantedRoute {
                dst: net(&format!("10.77.{third}.0/24")),
                via,
                dev,
            }
        });
        let routes: std::collections::BTreeMap<IpNet, WantedRoute> =
            routes.map(|route| (route.dst, route)).collect();
        Wanted {
            name: "n".to_owned(),
            place,
            bypass: Bypass::default(),
            forward_drop: forward_drop && !host,
            fast_path,
            room: (16, 16),
            scope: Scope::File,
            uplinks,
            routes: routes.into_values().collect(),
            endpoints: endpoints
                .into_iter()
                .map(|(index, (families, prefix, inner))| endpoint(index, families, prefix, inner, shift))
                .collect(),
        }
    }
}

/// One thing that somebody destroys or alters: which kind, of which object.
#[derive(Clone, Debug)]
pub struct Damage {
    kind: u8,
    which: Index,
}

const KINDS: u8 = 44;

/// Addresses that a node may have beside those of its uplinks.
const OTHERS: [&str; 3] = ["192.168.9.9/32", "10.8.9.9/32", "fd88::9/128"];

pub fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let damage = (0..KINDS, any::<Index>()).prop_map(|(kind, which)| Damage { kind, which });
    prop::collection::vec(damage, 0..6)
}

/// One of each kind, of some object.
pub fn each_damage() -> Vec<Damage> {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut which = || {
        let tree = any::<Index>().new_tree(&mut runner).expect("an index");
        proptest::strategy::ValueTree::current(&tree)
    };
    (0..KINDS)
        .map(|kind| Damage {
            kind,
            which: which(),
        })
        .collect()
}

impl Damage {
    /// Whether somebody gives an interface another MAC.
    pub fn gives_another_mac(&self) -> bool {
        self.kind == 5
    }

    fn pick<T: Clone>(&self, items: impl IntoIterator<Item = T>) -> Option<T> {
        let items: Vec<T> = items.into_iter().collect();
        (!items.is_empty()).then(|| self.which.get(&items).clone())
    }

    /// Does it. What is not netpath's on a machine is left alone: that is no damage to mend.
    pub fn inflict(&self, world: &mut World) {
        match self.kind {
            0..=9 => self.inflict_on_namespace(world),
            10..=19 => self.inflict_on_maps(world),
            40..=43 => self.inflict_on_what_is_told(world),
            _ => self.inflict_on_node(world),
        }
    }

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
    fn links(world: &World) -> Vec<(Place, String)> {
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

    fn inflict_on_namespace(&self, world: &mut World) {
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

    fn inflict_on_maps(&self, world: &mut World) {
        let maps = &mut world.observed.maps;
        let strange = EndpointEntry {
            id: EndpointId(99),
            ..EndpointEntry::NODE
        };
        match self.kind {
            10 => maps.endpoints.clear(),
            11 => {
                if let Some(key) = self.pick(maps.endpoints.keys().copied()) {
                    maps.endpoints.insert(key, strange);
                }
            }
            12 => {
                maps.endpoints.insert([10, 66, 6, 6].into(), strange);
            }
            13 => maps.routes.clear(),
            14 => {
                maps.routes.insert(net("10.66.0.0/16"), RouteEntry::REMOTE);
            }
            15 => maps.devices.clear(),
            16 => {
                if let Some(key) = self.pick(maps.interfaces.keys().copied()) {
                    maps.interfaces.remove(&key);
                }
            }
            17 => {
                if let Some(interface) = self
                    .pick(maps.interfaces.keys().copied())
                    .and_then(|key| maps.interfaces.get_mut(&key))
                {
                    interface.ready = false;
                }
            }
            18 => {
                if let Some(key) = self.pick(maps.routes.keys().copied()) {
                    maps.routes.insert(key, RouteEntry::local(&strange));
                }
            }
            _ => {
                if let Some(interface) = self
                    .pick(maps.interfaces.keys().copied())
                    .and_then(|key| maps.interfaces.get_mut(&key))
                {
                    interface.dev = "other".to_owned();
                }
            }
        }
    }

    fn inflict_on_node(&self, world: &mut World) {
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

    /// Most of it is for others to mend.
    fn inflict_on_what_is_told(&self, world: &mut World) {
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
                let off = endpoints.filter(|it| !it.fast_path.wants(node.fast_path));
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

    /// One of the recorded uplinks.
    fn uplink<'w>(&self, world: &'w mut World) -> Option<&'w mut RecordedUplink> {
        let node = world.recorded.as_mut()?;
        let dev = self.pick(node.uplinks.keys().cloned())?;
        node.uplinks.get_mut(&dev)
    }
}

fn namespace_mut<'w>(world: &'w mut World, place: &Place) -> &'w mut Namespace {
    match place {
        Place::Node => &mut world.observed.node,
        Place::Endpoint(name) => world.observed.endpoints.get_mut(name).expect("there"),
        Place::Wire(name) => world.observed.wires.get_mut(name).expect("there"),
    }
}

fn link_mut<'w>(world: &'w mut World, place: &Place, dev: &str) -> Option<&'w mut Link> {
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
