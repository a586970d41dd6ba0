//! The topology files of the labs.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::place::{Place, SPARES, UPLINK, UPLINK_TO_C};
use crate::Family;

/// The namespaces of a lab but for its wires, and what their names end in.
pub(super) const LAB: [(Place, &str); 8] = [
    (Place::NodeA, "a"),
    (Place::NodeB, "b"),
    (Place::NodeC, "c"),
    (Place::A1, "a1"),
    (Place::A2, "a2"),
    (Place::A3, "a3"),
    (Place::B1, "b1"),
    (Place::C1, "c1"),
];
/// Those of two machines.
pub(super) const MACHINES: [(Place, &str); 6] = [LAB[0], LAB[1], LAB[3], LAB[4], LAB[5], LAB[6]];

pub(super) fn named(prefix: &str, places: &[(Place, &str)]) -> BTreeMap<Place, String> {
    let name = |(place, suffix): &(Place, &str)| (*place, format!("{prefix}{suffix}"));
    places.iter().map(name).collect()
}

/// An uplink in 10.`net`.0.0/24 and fd00:`net`::/64, by which nodes' prefixes are reached.
struct Link<'t> {
    dev: &'t str,
    wire: Option<&'t str>,
    net: u8,
    /// The node's own number in the subnet, and the next hop's.
    hosts: [u8; 2],
    /// The numbers of the nodes behind it.
    to: &'t [u8],
}

/// The topology of a lab. Nodes A, B and C have the numbers 1, 2 and 3.
pub(super) fn lab_nodes(prefix: &str) -> String {
    let wires = ["b", "c"].map(|other| format!("{prefix}{other}"));
    let [to_b, to_c] = [8, 9];
    let link = |dev, net: u8, hosts, to| Link {
        dev,
        wire: Some(&wires[usize::from(net - to_b)]),
        net,
        hosts,
        to,
    };
    let uplinks = [
        vec![
            link(UPLINK, to_b, [1, 2], &[2][..]),
            link(UPLINK_TO_C, to_c, [1, 2], &[3]),
        ],
        vec![link(UPLINK, to_b, [2, 1], &[1, 3])],
        vec![link(UPLINK, to_c, [2, 1], &[1, 2])],
    ];
    let nodes = (1..).zip(&uplinks);
    nodes
        .map(|(own, links)| node(prefix, own, "", links))
        .collect()
}

/// The topologies of two machines.
pub(super) fn machine_nodes(prefix: &str) -> [String; 2] {
    [1u8, 2].map(|own| {
        let link = Link {
            dev: UPLINK,
            wire: None,
            net: 8,
            hosts: [own, 3 - own],
            to: &[3 - own],
        };
        let routes = LIKE_FRAMES.iter().filter(|_| own == 1).map(|dst| {
            let via = match dst.contains(':') {
                true => "fd00:8::2",
                false => "10.8.0.2",
            };
            format!("[[node.route]]\ndst = \"{dst}\"\nvia = \"{via}\"\n")
        });
        let text = node(prefix, own, "netns = \"host\"\n", &[link]);
        text + &routes.collect::<String>()
    })
}

/// Prefixes behind machine B, of addresses that stand where a frame has its EtherType: those of IPv4, ARP, VLAN tags and IPv6.
/// Of IPv4 it is the first half of the address, of IPv6 the third group.
const LIKE_FRAMES: [&str; 8] = [
    "8.0.0.0/16",
    "8.6.0.0/16",
    "129.0.0.0/16",
    "134.221.0.0/16",
    "2001:db8:800::/48",
    "2001:db8:806::/48",
    "2001:db8:8100::/48",
    "2001:db8:86dd::/48",
];

/// An address in each of them of a family.
pub(super) fn like_frames(family: Family) -> impl Iterator<Item = IpAddr> {
    let prefixes = LIKE_FRAMES
        .iter()
        .map(|prefix| prefix.parse().expect(prefix));
    prefixes.filter_map(move |prefix: IpNet| match (prefix.network(), family) {
        (IpAddr::V4(first), Family::V4) => Some(IpAddr::V4((u32::from(first) + 0x102).into())),
        (IpAddr::V6(first), Family::V6) => Some(IpAddr::V6((u128::from(first) + 2).into())),
        _ => None,
    })
}

fn node(prefix: &str, own: u8, place: &str, links: &[Link<'_>]) -> String {
    let letter = char::from(b'a' + own - 1);
    let mut text = format!("[[node]]\nname = \"{prefix}{letter}\"\n{place}");
    for Link {
        dev,
        wire,
        net,
        hosts: [host, other],
        to,
    } in links
    {
        let wire = wire.map(|wire| format!("wire = \"{wire}\"\n"));
        text += &format!(
            "[[node.uplink]]\ndev = \"{dev}\"\n{}\
             addresses = [\"10.{net}.0.{host}/24\", \"fd00:{net}::{host}/64\"]\n",
            wire.unwrap_or_default()
        );
        for to in *to {
            text += &format!(
                "[[node.route]]\ndst = \"10.{to}.0.0/16\"\nvia = \"10.{net}.0.{other}\"\n\
                 [[node.route]]\ndst = \"fd00:{to}::/32\"\nvia = \"fd00:{net}::{other}\"\n"
            );
        }
    }
    let is_its = |(place, suffix): &&(Place, &str)| {
        Place::ENDPOINTS.contains(place) && suffix.starts_with(letter)
    };
    for (number, (place, endpoint)) in (1..).zip(LAB.iter().filter(is_its)) {
        text += &endpoint_of(prefix, own, number, *place, endpoint);
    }
    text
}

fn endpoint_of(prefix: &str, own: u8, number: u8, place: Place, endpoint: &str) -> String {
    let spares: String = match place {
        Place::A1 => (0..SPARES)
            .map(|spare| format!(", \"10.1.1.{}/24\"", 10 + spare))
            .collect(),
        _ => format!(", \"{}/24\"", place.second_address(Family::V4)),
    };
    let second = place.second_address(Family::V6);
    let [v4, v6] = Family::ALL.map(|family| place.prefix(family));
    format!(
        "[[node.endpoint]]\nname = \"{prefix}{endpoint}\"\nhost_dev = \"v{endpoint}\"\n\
         addresses = [\"10.{own}.{number}.2/24\", \"fd00:{own}:{number}::2/64\"{spares}, \"{second}/64\"]\n\
         prefixes = [\"{v4}\", \"{v6}\"]\n"
    )
}
