//! Topologies, and a machine to have them on.

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::{Bypass, FastPathMode, FastPathWish, Ifindex, Mac, Origin};
use proptest::prelude::*;

use super::super::*;
use crate::model::{Capacity, NodePlace};

/// Room for so many endpoint addresses and prefixes.
pub(super) fn room_for(endpoints: u32, routes: u32) -> Capacity {
    Capacity {
        endpoints,
        routes,
        ..Capacity::default()
    }
}

pub fn net(text: &str) -> IpNet {
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
            1 if prefix => Some(FastPathWish::Shadow),
            1 => Some(FastPathWish::Off),
            _ => Some(FastPathWish::AsNode),
        },
    }
}

/// What the fast path may be wanted to be.
pub fn mode() -> impl Strategy<Value = FastPathMode> {
    use FastPathMode::{Off, On, Shadow};
    prop::sample::select(vec![Off, On, Shadow])
}

prop_compose! {
    /// A node in a lab or on a machine, with up to three endpoints, up to two uplinks and up to two routes.
    pub fn wanted()(
        host: bool,
        fast_path in prop::option::of(mode()),
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
            room: room_for(16, 16),
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
