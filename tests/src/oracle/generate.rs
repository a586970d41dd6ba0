//! Random packets for random tables: mostly such as get far, and some of every other kind.

use std::net::IpAddr;

use netpath::{
    datapath::ProgramKind,
    probe::frame::{
        ETHERTYPE_ARP, EXTENSION_DESTINATION, EXTENSION_HOP_BY_HOP, EXTENSION_ROUTING,
        FrameBuilder, TPID_QINQ, TPID_VLAN, Tag,
    },
};
use netpath_common::Mac;

use super::{
    Packet, Tables,
    prefix::{Address, Prefix},
};
use crate::{UNKNOWN_MAC, Wrapping, between, fuzz::Rng};

/// Addresses that routers treat in their own ways, and the ordinary ones beside them.
const SPECIAL_V4: [&str; 20] = [
    "0.0.0.0",
    "0.0.0.1",
    "0.255.255.255",
    "1.0.0.0",
    "126.255.255.255",
    "127.0.0.1",
    "128.0.0.0",
    "169.253.255.255",
    "169.254.0.0",
    "169.254.255.255",
    "169.255.0.0",
    "223.255.255.255",
    "224.0.0.0",
    "239.255.255.255",
    "240.0.0.0",
    "255.255.255.254",
    "255.255.255.255",
    "100.100.198.253",
    "100.100.198.255",
    "10.0.3.2",
];
/// The same for IPv6.
const SPECIAL_V6: [&str; 18] = [
    "::",
    "::1",
    "::2",
    "::fffe:ffff:ffff",
    "::ffff:10.0.1.2",
    "::1:0:0:0",
    "64:ff9b::a00:1",
    "fe7f:ffff::1",
    "fe80::",
    "fe80::1",
    "febf:ffff::1",
    "fec0::1",
    "feff::1",
    "ff00::",
    "ff02::1",
    "fd00:198::",
    "fd00:198::253",
    "fd00:3::2",
];

/// A random packet.
pub fn packet(rng: &mut Rng, tables: &Tables) -> Packet {
    let interface = rng.pick(&tables.interfaces);
    let ingress = interface.device.ifindex;
    let program = if interface.is_uplink() {
        ProgramKind::FromUplink
    } else {
        ProgramKind::FromEndpoint
    };
    let width = rng.pick(&[32, 128]);
    let own = tables.addresses_of(ingress);
    let routed = tables.prefixes_of(ingress);
    let own: Vec<_> = own
        .into_iter()
        .chain(routed.into_iter().map(|prefix| at_edge(rng, prefix)))
        .filter(|a| a.width == width)
        .collect();
    let remote = of_width(rng, &tables.remote, |p| p.first.width == width);
    let source = match (own.is_empty(), remote) {
        (false, _) if rng.chance(85) => rng.pick(&own),
        (true, Some(prefix)) if interface.is_uplink() && rng.chance(70) => at_edge(rng, prefix),
        _ => anyone(rng, tables, width),
    };
    let destination = anyone(rng, tables, width);
    let mac = match rng.below(100) {
        0 => Mac([0xff; 6]),
        1 => Mac([0x33, 0x33, 0, 0, 0, 1]),
        2 => UNKNOWN_MAC,
        _ => interface.device.mac,
    };
    let empty = FrameBuilder::new(interface.device.far_mac, mac);
    let (source, destination) = (source.ip(), destination.ip());
    let other = anyone(rng, tables, width).ip();
    let mut frame = match rng.below(40) {
        0 => error_about(rng, empty, source, destination, other).build(),
        _ => describe(rng, empty, source, destination).build(),
    };
    if rng.chance(8) {
        let wrapping = match rng.below(40) {
            0 => Wrapping::TOO_DEEP,
            _ => rng.pick(&Wrapping::ALL),
        };
        frame = wrapping.wrap(&frame);
    }
    damage(rng, &mut frame);
    Packet {
        program,
        ingress,
        frame,
    }
}

/// An address: somebody's, one at the edge of a prefix, a special one, or one beside those.
fn anyone(rng: &mut Rng, tables: &Tables, width: u32) -> Address {
    let address = match rng.below(22) {
        0..=6 => {
            let all: Vec<_> = tables
                .endpoints
                .iter()
                .map(|&(address, _)| address)
                .collect();
            of_width(rng, &all, |a| a.width == width)
        }
        7..=13 => {
            let prefix = of_width(rng, &tables.remote, |p| p.first.width == width);
            prefix.map(|prefix| at_edge(rng, prefix))
        }
        14 | 15 => {
            let all: Vec<_> = tables.routes.iter().map(|&(prefix, _)| prefix).collect();
            let prefix = of_width(rng, &all, |p| p.first.width == width);
            prefix.map(|prefix| at_edge(rng, prefix))
        }
        16 => of_width(rng, &tables.node, |a| a.width == width),
        17 | 18 => {
            let all: Vec<_> = tables.local.iter().map(|&(prefix, _)| prefix).collect();
            let prefix = of_width(rng, &all, |p| p.first.width == width);
            prefix.map(|prefix| at_edge(rng, prefix))
        }
        _ => None,
    };
    let address = address.unwrap_or_else(|| {
        Address::of(match width {
            32 => rng.pick(&SPECIAL_V4),
            _ => rng.pick(&SPECIAL_V6),
        })
    });
    if rng.chance(8) {
        address.flipped(rng.below(width as usize) as u32)
    } else {
        address
    }
}

fn of_width<T: Copy>(rng: &mut Rng, all: &[T], is: impl Fn(&T) -> bool) -> Option<T> {
    let fitting: Vec<_> = all.iter().copied().filter(is).collect();
    (!fitting.is_empty()).then(|| rng.pick(&fitting))
}

/// The first, the last, one within, or one just outside: with the prefix's last bit turned over.
fn at_edge(rng: &mut Rng, prefix: Prefix) -> Address {
    let rest = prefix.first.width - prefix.length;
    match rng.below(5) {
        0 => prefix.first,
        1 => prefix.last(),
        2 if prefix.length > 0 => prefix.first.flipped(prefix.length - 1),
        _ => {
            let mut address = prefix.first;
            for _ in 0..rest.min(8) {
                address = address.flipped(prefix.length + rng.below(rest as usize) as u32);
            }
            address
        }
    }
}

/// An ICMP message, an error more often than not, with a packet in it that its receiver sent.
fn error_about(
    rng: &mut Rng,
    frame: FrameBuilder,
    source: IpAddr,
    destination: IpAddr,
    other: IpAddr,
) -> FrameBuilder {
    let quoted = between(frame.clone(), destination, other).udp(1, 2).build();
    let kind = match source.is_ipv6() {
        true => rng.pick(&[1, 2, 3, 4, 127, 128]),
        false => rng.pick(&[3, 3, 4, 5, 11, 12]),
    };
    let packet = between(frame, source, destination).ttl(64);
    packet.icmp(kind, 0, [0; 4]).payload(&quoted[14..])
}

fn describe(
    rng: &mut Rng,
    frame: FrameBuilder,
    source: IpAddr,
    destination: IpAddr,
) -> FrameBuilder {
    let length = match rng.below(10) {
        0 => 1180 + rng.below(300),
        1 => rng.below(3000),
        _ => rng.below(100),
    };
    let ttl = match rng.below(10) {
        0 => rng.pick(&[0, 1, 2, 255]),
        _ => 64,
    };
    let payload: Vec<_> = (0..length).map(|_| rng.byte()).collect();
    let packet = between(frame, source, destination).ttl(ttl).tos(rng.byte());
    let packet = packet.payload(&payload);
    let is_v6 = source.is_ipv6();
    match rng.below(40) {
        0 => packet.ethertype(ETHERTYPE_ARP),
        1 => packet.ethertype(rng.pick(&[0x88cc, 0x888e, 0x8847, 0x0801, 0x05dc])),
        2 => packet.tag(Tag {
            tpid: rng.pick(&[TPID_VLAN, TPID_QINQ]),
            tci: rng.next() as u16,
        }),
        3 if is_v6 => packet.extension(EXTENSION_HOP_BY_HOP, &[5, 2, 0, 0]),
        3 => packet.options(&[0x94, 4, 0, 0]).udp(1, 2),
        4 if is_v6 => packet.icmp(rng.pick(&[1, 2, 3, 132, 133, 135, 137, 138]), 0, [0; 4]),
        4 => packet.options(&[1; 40]),
        5 if is_v6 => packet.extension(EXTENSION_DESTINATION, &[1, 4, 0, 0, 0, 0]),
        6 if is_v6 => packet.extension(EXTENSION_ROUTING, &[0; 6]).udp(1, 2),
        7 => packet.fragment(rng.pick(&[0, 8, 1480]), rng.chance(50)),
        8 if is_v6 => packet.icmp(128, 0, [0; 4]),
        8 | 9 => packet.icmp(8, 0, [0; 4]),
        10..20 => packet.tcp(1, 2, 0x10),
        20 => packet.protocol(rng.byte()),
        21 => packet.udp(1, 2).pad_to(60 + rng.below(1600)),
        22 => packet
            .udp(1, 2)
            .forge_ip_length(rng.pick(&[0, 1, 19, 20, 21, 39, 40, 41])),
        23 => packet.udp(1, 2).forge_version(rng.pick(&[0, 4, 5, 6, 15])),
        24 if !is_v6 => packet.udp(1, 2).forge_ihl(rng.pick(&[0, 4, 5, 6, 15])),
        25 => packet.udp(1, 2).dont_fragment(),
        _ => packet.udp(1, 2),
    }
}

/// What is on the wire is not always what was sent. The headers stay there: the kernel takes nothing shorter.
fn damage(rng: &mut Rng, frame: &mut Vec<u8>) {
    if rng.chance(3) {
        let at = 14 + rng.below(frame.len().min(54) - 14);
        frame[at] ^= 1 << rng.below(8);
    }
    if rng.chance(2) {
        let length = frame.len().saturating_sub(1 + rng.below(40));
        frame.truncate(length.max(54));
    }
    // An IPv4 frame may have become an IPv6 one, or be too short for one by its EtherType.
    if frame.len() < 54 && frame[12..14] == [0x86, 0xdd] {
        frame.resize(54, 0);
    }
}
