//! A random question, and how its packet is sent.

use netpath::{
    explain::{Protocol, Question, Target, Way},
    kernel_way::{Packet, Transport},
    probe::{ProbeError, frame::FrameBuilder},
    random::SplitMix64,
};
use netpath_common::{Family, Mac};
use netpath_tests::random_rules::{DEAD, chance, ip, one};
use std::{net::IpAddr, os::fd::OwnedFd};

use super::{
    changes::{OUTSIDE, SERVICE, SPOOFED},
    socket::Shot,
    topology::Uplink,
    world::{PORTS, World},
};

/// Who sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A socket of a place's.
    Place(String),
    /// Somebody behind a node's uplink.
    Outside,
}

#[derive(Clone, Debug)]
pub struct Case {
    pub question: Question,
    pub sender: Sender,
    /// The source port, or an echo's identifier: no other case's.
    pub port: u16,
    /// The source is left to the kernel.
    pub is_unbound: bool,
}

impl Case {
    pub fn random(world: &World, number: usize, random: &mut SplitMix64) -> Self {
        let port = 20_000 + u16::try_from(number).expect("few");
        let family = Family::ALL[random.below(2)];
        let (sender, source, node) = source(world, family, random);
        let (destination, name) = destination(world, family, random);
        // One end by its name: IPv4 where both have it.
        if let (Sender::Place(place), IpAddr::V4(_)) = (&sender, &source)
            && chance(random, 25)
            && source != ip(family, SPOOFED)
        {
            return Self::with(
                world,
                (
                    Target::Name(name_of(world, place)),
                    Target::Address(destination),
                ),
                (sender, None, port, true),
                random,
            );
        }
        let target = match name {
            Some(name) if chance(random, 30) => Target::Name(name_of(world, &name)),
            _ => Target::Address(destination),
        };
        Self::with(
            world,
            (Target::Address(source), target),
            (sender, Some(node), port, false),
            random,
        )
    }

    fn with(
        world: &World,
        (source, destination): (Target, Target),
        (sender, node, port, is_unbound): (Sender, Option<String>, u16, bool),
        random: &mut SplitMix64,
    ) -> Self {
        let is_v4 = match (&source, &destination) {
            (Target::Address(address), _) | (_, Target::Address(address)) => address.is_ipv4(),
            _ => true,
        };
        let protocol = one(random, &[Protocol::Udp, Protocol::Tcp, Protocol::Icmp]);
        let size = one(random, &[100, 100, 100, 600, 1290, 1310, 1410, 1480, 1500]);
        let dont_fragment = chance(random, 40);
        // What connect(2) sends.
        let (size, dont_fragment) = match (protocol, is_v4) {
            (Protocol::Tcp, true) => (60, true),
            (Protocol::Tcp, false) => (80, false),
            _ => (size, dont_fragment && is_v4),
        };
        let question = Question {
            source,
            destination,
            protocol,
            source_port: Some(port),
            destination_port: Some(one(random, &PORTS)),
            ttl: one(
                random,
                &[
                    None,
                    None,
                    None,
                    Some(64),
                    Some(33),
                    Some(3),
                    Some(2),
                    Some(1),
                ],
            ),
            size: Some(size),
            dont_fragment,
            mark: match sender {
                Sender::Place(_) => one(random, &[0, 0, 0, 0, 1, 2]),
                Sender::Outside => 0,
            },
            dscp: one(random, &[0, 0, 0, 4, 46, 10]),
            reply: Some(sender != Sender::Outside && chance(random, 60)),
            node: node.map(|node| name_of(world, &node)),
            diff: false,
        };
        Self {
            question,
            sender,
            port,
            is_unbound,
        }
    }

    /// Sends the packet that the way is of; `Err`: the wire does not take it.
    pub fn send(
        &self,
        world: &World,
        way: &Way,
    ) -> Result<Option<(OwnedFd, nix::Result<()>)>, ProbeError> {
        let packet = self.numbered(&way.packet);
        match &self.sender {
            Sender::Place(place) => {
                let shot = Shot {
                    from: (!self.is_unbound).then_some(packet.source),
                    packet,
                };
                Ok(Some(world.lab.inside(place, || shot.send())))
            }
            Sender::Outside => {
                let first = way.hops.first().expect("it comes in somewhere");
                let dev = first.ingress.as_deref().expect("by an uplink");
                let (injector, mac) = world.injector(&world.short(&first.name), dev);
                injector.send(&frame(&packet, *mac)).map(|()| None)
            }
        }
    }

    /// With this case's identifier, if it is an echo.
    pub fn numbered(&self, packet: &Packet) -> Packet {
        let mut packet = packet.clone();
        if let Transport::Icmp { id, .. } = &mut packet.transport {
            *id = self.port;
        }
        packet
    }
}

fn name_of(world: &World, short: &str) -> netpath::model::Name {
    world.lab.name(short).parse().expect("a name")
}

/// Who sends, from which address; and the node that is near.
fn source(world: &World, family: Family, random: &mut SplitMix64) -> (Sender, IpAddr, String) {
    let endpoints: Vec<_> = world.shape.endpoints().collect();
    let (node, endpoint) = endpoints[random.below(endpoints.len())];
    let nodes = &world.shape.nodes;
    match random.below(20) {
        0 | 1 => {
            let node = &nodes[random.below(nodes.len())];
            let uplinks: Vec<&Uplink> = node.uplinks.iter().collect();
            let uplink = uplinks[random.below(uplinks.len())];
            let source = ip(family, uplink.numbers());
            (Sender::Place(node.name.clone()), source, node.name.clone())
        }
        2 | 3 => {
            let node = &nodes[random.below(nodes.len())];
            let source = one(
                random,
                &[[80, 0, 5], [9, 1, 55], [127, 0, 1], [9, 2, OUTSIDE]],
            );
            (Sender::Outside, ip(family, source), node.name.clone())
        }
        4 | 5 => {
            let spoofing = endpoints
                .iter()
                .find(|(_, it)| world.has_spoofed(family, &it.name));
            match spoofing {
                Some((node, it)) => {
                    let source = ip(family, SPOOFED);
                    (Sender::Place(it.name.clone()), source, node.name.clone())
                }
                None => (Sender::Outside, ip(family, SPOOFED), node.name.clone()),
            }
        }
        _ => {
            let source = ip(family, endpoint.numbers);
            (
                Sender::Place(endpoint.name.clone()),
                source,
                node.name.clone(),
            )
        }
    }
}

/// Where to, and the endpoint that has that.
fn destination(world: &World, family: Family, random: &mut SplitMix64) -> (IpAddr, Option<String>) {
    let endpoints: Vec<_> = world.shape.endpoints().collect();
    let (_, endpoint) = endpoints[random.below(endpoints.len())];
    let [x, y, _] = endpoint.numbers;
    let nodes = &world.shape.nodes;
    let numbers = match random.below(32) {
        0 | 1 => {
            let node = &nodes[random.below(nodes.len())];
            node.uplinks[random.below(node.uplinks.len())].numbers()
        }
        2 | 3 => SERVICE,
        4 => [x, y, DEAD],
        5 => [40, 0, 1],
        6 => one(random, &[[60, 0, 1], [60, 0, 2], [9, 1, DEAD]]),
        7 => [9, 1 + random.below(2) as u8, OUTSIDE],
        _ => return (ip(family, endpoint.numbers), Some(endpoint.name.clone())),
    };
    (ip(family, numbers), None)
}

/// From nobody's Ethernet address.
fn frame(packet: &Packet, to: Mac) -> Vec<u8> {
    let frame = FrameBuilder::new(Mac([2, 0, 0, 0, 0, 0x42]), to)
        .ttl(packet.ttl)
        .tos(packet.tos);
    let frame = match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => frame.ipv4(source, destination),
        (IpAddr::V6(source), IpAddr::V6(destination)) => frame.ipv6(source, destination),
        _ => unreachable!("one family"),
    };
    let (frame, header) = match packet.transport {
        Transport::Udp {
            source_port,
            destination_port,
        } => (frame.udp(source_port, destination_port), 8),
        Transport::Tcp {
            source_port,
            destination_port,
            flags,
        } => (frame.tcp(source_port, destination_port, flags), 20),
        Transport::Icmp { kind, code, id } => {
            let [a, b] = id.to_be_bytes();
            (frame.icmp(kind, code, [a, b, 0, 1]), 8)
        }
        Transport::Other(_) => unreachable!("it is not asked about"),
    };
    let frame = match packet.dont_fragment {
        true => frame.dont_fragment(),
        false => frame,
    };
    let own = if packet.source.is_ipv4() { 20 } else { 40 };
    let payload = packet.length as usize - own - header;
    frame.payload(&vec![0; payload]).build()
}
