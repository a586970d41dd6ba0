//! Random packets.

use std::net::{IpAddr, UdpSocket};

use netpath::{
    kernel_way::{Entry, Leaving, Packet, Tracked, Transport},
    probe::frame::FrameBuilder,
    random::SplitMix64,
};
use netpath_common::{Family, Ifindex, Mac};
use netpath_tests::{
    random_rules::{DEAD, ip, one},
    raw::set_option,
};

use super::world::World;

/// What a payload begins with; the packet's number follows.
pub const MARKER: [u8; 6] = *b"kernel";

/// A packet to be sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub packet: Packet,
    pub entry: Entry,
    /// From which side; `None`: from a socket of the router.
    pub side: Option<usize>,
    pub tracked: Option<Tracked>,
    /// Its number, which its payload has.
    pub number: u16,
}

impl Sent {
    pub fn random(world: &World, number: usize, random: &mut SplitMix64) -> Self {
        let family = world.family;
        let number = u16::try_from(number).expect("few");
        let last = 2 + number as u8;
        let is_local = random.below(8) == 0;
        let source = match random.below(16) {
            // Another side's, nobody's, the router's own.
            0 => ip(family, [2, 0, 77]),
            1 => ip(family, [70, 0, 1]),
            2 => ip(family, [2, 0, 1]),
            _ => ip(family, [1, 0, last]),
        };
        let destination = destination(family, random);
        let ports = [53, 80, 443, 5000, 8080, 9000];
        let (source_port, destination_port) = (20_000 + number, one(random, &ports));
        let transport = match random.below(if is_local { 1 } else { 5 }) {
            0 | 1 => Transport::Udp {
                source_port,
                destination_port,
            },
            2 | 3 => Transport::Tcp {
                source_port,
                destination_port,
                flags: one(random, &[2, 2, 2, 2, 16, 18, 4, 17, 1, 0]),
            },
            _ => Transport::Icmp {
                kind: if family == Family::V4 { 8 } else { 128 },
                code: 0,
                id: source_port,
            },
        };
        let length = one(random, &[100, 100, 100, 100, 600, 1290, 1310, 1410, 1500]);
        let packet = Packet {
            source: match is_local {
                true => ip(family, [1 + random.below(3) as u8, 0, 1]),
                false => source,
            },
            destination,
            transport,
            ttl: one(random, &[64, 64, 64, 64, 33, 2, 1]),
            tos: one(random, &[0, 0, 0, 0x10, 0xb8, 0x28]),
            length: if is_local { 100 } else { length },
            dont_fragment: family == Family::V4 && !is_local && random.below(2) == 0,
            mark: 0,
            flow_label: 0,
            fragments: None,
        };
        let (ifindex, _, mac) = world.links[0];
        Self {
            packet,
            entry: match is_local {
                true => Entry::Sent,
                false => by(ifindex, mac),
            },
            side: (!is_local).then_some(0),
            tracked: None,
            number,
        }
    }

    /// What whoever got the packet would answer.
    pub fn reply(&self, world: &World, leaving: &Leaving, tracked: Tracked) -> Option<Self> {
        let links = &world.links;
        let side = links
            .iter()
            .position(|(ifindex, ..)| *ifindex == leaving.ifindex)?;
        let got = &leaving.packet;
        let transport = match got.transport {
            Transport::Udp {
                source_port,
                destination_port,
            } => Transport::Udp {
                source_port: destination_port,
                destination_port: source_port,
            },
            Transport::Tcp {
                source_port,
                destination_port,
                flags: 2,
            } => Transport::Tcp {
                source_port: destination_port,
                destination_port: source_port,
                flags: 18,
            },
            Transport::Icmp { kind, id, .. } => Transport::Icmp {
                kind: if kind == 8 { 0 } else { 129 },
                code: 0,
                id,
            },
            _ => return None,
        };
        let (ifindex, _, mac) = links[side];
        Some(Self {
            packet: Packet {
                source: got.destination,
                destination: got.source,
                transport,
                ttl: 64,
                tos: 0,
                length: 100,
                dont_fragment: false,
                mark: 0,
                flow_label: 0,
                fragments: None,
            },
            entry: by(ifindex, mac),
            side: Some(side),
            tracked: Some(tracked),
            number: self.number + 100,
        })
    }

    /// From the transport header's end on.
    pub fn payload(&self) -> Vec<u8> {
        let header = match (self.packet.family(), self.packet.transport) {
            (Family::V4, Transport::Tcp { .. }) => 40,
            (Family::V4, _) => 28,
            (Family::V6, Transport::Tcp { .. }) => 60,
            (Family::V6, _) => 48,
        };
        let mut payload = MARKER.to_vec();
        payload.extend(self.number.to_be_bytes());
        payload.resize(self.packet.length as usize - header, 0);
        payload
    }

    pub fn frame(&self, (_, router, side): (Ifindex, Mac, Mac)) -> Vec<u8> {
        let packet = &self.packet;
        let builder = FrameBuilder::new(side, router)
            .ttl(packet.ttl)
            .tos(packet.tos);
        let builder = match (packet.source, packet.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => builder.ipv4(source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => builder.ipv6(source, destination),
            _ => unreachable!("one family"),
        };
        let builder = match packet.transport {
            Transport::Udp {
                source_port,
                destination_port,
            } => builder.udp(source_port, destination_port),
            Transport::Tcp {
                source_port,
                destination_port,
                flags,
            } => builder
                .tcp(source_port, destination_port, flags)
                .tcp_numbers(7, if flags == 18 { 8 } else { 0 }),
            Transport::Icmp { kind, code, id } => {
                let [a, b] = id.to_be_bytes();
                builder.icmp(kind, code, [a, b, 0, 1])
            }
            Transport::Other(protocol) => builder.protocol(protocol),
        };
        let builder = match packet.dont_fragment {
            true => builder.dont_fragment(),
            false => builder,
        };
        builder.payload(&self.payload()).build()
    }

    /// Has a socket send it so.
    pub fn apply(&self, socket: &UdpSocket) {
        let (ttl, tos) = (i32::from(self.packet.ttl), i32::from(self.packet.tos));
        let options = match self.packet.family() {
            Family::V4 => [
                (libc::IPPROTO_IP, libc::IP_TTL, ttl),
                (libc::IPPROTO_IP, libc::IP_TOS, tos),
                (
                    libc::IPPROTO_IP,
                    libc::IP_MTU_DISCOVER,
                    libc::IP_PMTUDISC_DONT,
                ),
            ],
            Family::V6 => [
                (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, ttl),
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, tos),
                (
                    libc::IPPROTO_IPV6,
                    libc::IPV6_MTU_DISCOVER,
                    libc::IPV6_PMTUDISC_DONT,
                ),
            ],
        };
        for (level, name, value) in options {
            set_option(socket, level, name, value);
        }
    }
}

fn by(ifindex: Ifindex, mac: Mac) -> Entry {
    Entry::By {
        ifindex,
        source_mac: Some(mac),
    }
}

fn destination(family: Family, random: &mut SplitMix64) -> IpAddr {
    let [x, y, z] = match random.below(20) {
        0..5 => [2, 0, 2],
        5..8 => [3, 0, 3],
        8..10 => [20, random.below(8) as u8, 7],
        10 | 11 => [30, random.below(8) as u8, 7],
        12 => [2, 0, DEAD],
        13 => [50, 0, 1],
        14 => [60, 0, random.below(30) as u8],
        15 => [40 + random.below(3) as u8, 0, 1],
        16 => [1, 0, 1],
        17 => [2, 0, 1],
        18 => [99, 0, 1],
        _ => [1, 0, 13],
    };
    ip(family, [x, y, z])
}
