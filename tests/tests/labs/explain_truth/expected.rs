//! What an explanation says would be seen.

use std::{fs::File, io::Read as _, io::Seek as _, net::IpAddr};

use netpath::{
    command,
    explain::{Hop, Way, WayEnd},
    kernel_way::{Packet, Transport},
};
use netpath_common::Family;
use netpath_tests::random_rules::ip;

use super::{
    case::Case,
    changes::OUTSIDE,
    seen::{Delivery, Leg, Seen, Sighting, Told},
    world::{World, outside},
};

/// Of one packet.
#[derive(Clone, Debug)]
pub struct Expected {
    leg: Leg,
    arrived: Vec<Sighting>,
    delivered: Option<Delivery>,
    /// Who says what; nobody.
    error: Option<(String, String)>,
    /// It comes by again and again, until its TTL is used up.
    is_loop: bool,
    /// What is said there does not leave, or nobody is there and that may be said.
    may_be_silent: bool,
    /// Who is to be told of one: the packet's source as it is there, or as it was sent, where the translation is undone.
    sender: IpAddr,
    first_sender: IpAddr,
    /// Traffic class of what was sent last: an ICMP error is of it, too, and is routed by it.
    tos: u8,
    /// Of such errors, before the packet was sent.
    counted: Option<(String, Family, String, u64)>,
}

fn ports(packet: &Packet) -> Option<(u16, u16)> {
    let ends = packet.tuple();
    match packet.transport {
        Transport::Udp { .. } | Transport::Tcp { .. } => {
            Some((ends.source_port, ends.destination_port))
        }
        Transport::Icmp { .. } | Transport::Other(_) => None,
    }
}

/// Source and ports of the packets of a way.
pub fn marks_of(case: &Case, way: &Way) -> Vec<(IpAddr, u16, u16)> {
    let packets = way.hops.iter().map(|hop| &hop.packet);
    let packets = packets.chain([&way.packet]);
    let marks = packets.filter_map(|packet| {
        let (source, destination) = ports(&case.numbered(packet))?;
        Some((packet.source, source, destination))
    });
    marks.collect()
}

impl Expected {
    /// Where a way that is certain leads.
    pub fn of(world: &World, leg: Leg, way: &Way) -> Self {
        let mut arrived = Vec::new();
        let mut packet = &way.packet;
        let mut is_cut = false;
        let is_syn_ack = leg == Leg::Back && matches!(packet.transport, Transport::Tcp { .. });
        let sighting = |place: String, dev: &str, packet: &Packet, is_cut: bool| Sighting {
            leg,
            place,
            dev: dev.to_owned(),
            source: packet.source,
            destination: packet.destination,
            ports: ports(packet),
            ttl: packet.ttl,
            tos: packet.tos,
            length: (!is_cut && !is_syn_ack).then_some(packet.length),
        };
        for hop in &way.hops {
            if let Some(dev) = &hop.ingress {
                arrived.push(sighting(world.short(&hop.name), dev, packet, is_cut));
            }
            packet = &hop.packet;
            is_cut = packet.fragments.is_some();
        }
        let mut expected = Self {
            leg,
            arrived,
            delivered: None,
            error: None,
            is_loop: false,
            may_be_silent: false,
            sender: way
                .hops
                .last()
                .map_or(way.packet.source, |hop| hop.packet.source),
            first_sender: way.packet.source,
            tos: way.hops.last().map_or(way.packet.tos, |hop| hop.packet.tos),
            counted: None,
        };
        match &way.end {
            WayEnd::Delivered { place, packet, .. } => {
                expected.delivered = Some(Delivery {
                    place: world.short(place),
                    source: packet.source,
                    ports: ports(packet),
                });
            }
            WayEnd::Leaves {
                place,
                dev,
                next_hop,
                packet,
                ..
            } => {
                let place = world.short(place);
                let wire = world.wire_of(&place, dev);
                let to = next_hop.unwrap_or(packet.destination);
                let family = Family::of(to);
                match wire {
                    Some(wire)
                        if world.has_outside(wire) && to == ip(family, [9, wire, OUTSIDE]) =>
                    {
                        let there = sighting(outside(wire), "eth0", packet, is_cut);
                        expected.arrived.push(there);
                    }
                    _ => expected.unreachable(&place, family),
                }
            }
            WayEnd::Lost { place, text } => {
                let place = world.short(place);
                let family = way.packet.family();
                let last = way.hops.last();
                let refused = last.and_then(|hop| hop.outcome.strip_prefix("refused with "));
                let refused = refused.map(str::to_owned);
                match refused.or_else(|| last.and_then(by_program)) {
                    Some(error) => {
                        let is_own = way.hops.len() == 1 && way.hops[0].ingress.is_none();
                        expected.may_be_silent = is_own;
                        expected.counted = kind_of(&error).map(|kind| {
                            let count = counted(world, &place, family, &kind);
                            (place.clone(), family, kind, count)
                        });
                        expected.error = Some((place, error));
                    }
                    // Whoever asked says so, and that sent it last.
                    None if text.contains("answers for") => {
                        let asking = last.map_or(place, |hop| world.short(&hop.name));
                        expected.unreachable(&asking, family);
                    }
                    None if text.contains("round in circles") => expected.is_loop = true,
                    // Nothing comes in by what is down.
                    None if way.hops.len() == 1 && last.is_some_and(is_down_itself) => {
                        expected.arrived.clear();
                    }
                    None => {}
                }
            }
            WayEnd::TooMany => {}
        }
        expected.arrived.sort_unstable();
        expected
    }

    /// Nobody is there, and whoever looked for it says so after a while.
    fn unreachable(&mut self, place: &str, family: Family) {
        let error = match family {
            Family::V4 => "ICMP 3/1",
            Family::V6 => "ICMP 1/3",
        };
        self.error = Some((place.to_owned(), error.to_owned()));
        self.may_be_silent = true;
    }

    /// Whether that is what was seen.
    pub fn agrees(&self, world: &World, seen: &Seen) -> bool {
        let mut arrived: Vec<&Sighting> = seen
            .arrived
            .iter()
            .filter(|it| it.leg == self.leg)
            .collect();
        arrived.sort_unstable();
        // Fragments behind the first have no ports, and are not seen as the packet's.
        let is_same = |(wanted, found): (&Sighting, &&Sighting)| {
            let length = wanted.length.and(found.length);
            *wanted
                == Sighting {
                    length,
                    ..(*found).clone()
                }
        };
        if self.is_loop {
            let is_seen = |it: &Sighting| arrived.iter().any(|found| is_same((it, found)));
            return self.arrived.iter().all(is_seen)
                && !seen.delivered.iter().any(|it| it.0 == self.leg);
        }
        let arrives =
            arrived.len() == self.arrived.len() && self.arrived.iter().zip(&arrived).all(is_same);
        let delivered: Vec<_> = seen
            .delivered
            .iter()
            .filter(|it| it.0 == self.leg)
            .collect();
        let is_delivered = match (&self.delivered, delivered.as_slice()) {
            (None, []) => true,
            (Some(wanted), [(_, found)]) => wanted == found,
            _ => false,
        };
        arrives && is_delivered && self.is_told(world, seen)
    }

    /// Whether whoever is to be told can be reached: without a way to them nothing is made.
    fn has_way_back(&self, world: &World) -> bool {
        let Some((place, _)) = &self.error else {
            return true;
        };
        let to = self.sender.to_string();
        let mut get = vec!["route", "get", &to];
        // Errors of IPv6 have none; rules of IPv4 look at these bits.
        let tos = format!("{:#x}", self.tos & 0x1c);
        if self.sender.is_ipv4() {
            get.extend(["tos", &tos, "ipproto", "icmp"]);
        }
        let got = world.lab.inside(place, || command::run("ip", &get, ""));
        got.is_ok_and(|got| !got.starts_with("local"))
    }

    fn is_told(&self, world: &World, seen: &Seen) -> bool {
        let told: Vec<_> = seen
            .errors
            .iter()
            .filter(|it| it.about == self.leg)
            .collect();
        match (&self.error, told.as_slice()) {
            (None, []) => true,
            // Delivered elsewhere than it was to, it finds nobody who waits for it there.
            (None, told) => {
                let is_its = |it: &&Told| {
                    let is_there = self
                        .delivered
                        .as_ref()
                        .is_some_and(|its| its.place == it.place);
                    is_there && NOBODY_LISTENS.contains(&it.text.as_str())
                };
                told.iter().all(is_its)
            }
            // It was made, but a rule or the lack of a route keeps it from leaving.
            (Some((_, error)), []) => {
                let was_counted =
                    self.counted
                        .as_ref()
                        .is_some_and(|(place, family, kind, before)| {
                            counted(world, place, *family, kind) > *before
                        });
                self.may_be_silent
                    || was_counted
                    || error == "a TCP reset"
                    || !self.has_way_back(world)
            }
            // Forwarded by nodes, it is seen there too.
            (Some((place, error)), [first, ..]) => {
                let is_to = first.to == self.sender || first.to == self.first_sender;
                is_to && first.place == *place && first.text == *error
            }
        }
    }
}

/// What a host says of a packet that no socket is for.
const NOBODY_LISTENS: [&str; 3] = ["a TCP reset", "ICMP 3/3", "ICMP 1/4"];

/// Whether the interface is down that the packet would come in by.
fn is_down_itself(hop: &Hop) -> bool {
    let ingress = hop.ingress.as_deref();
    ingress.is_some_and(|dev| hop.outcome.ends_with(&format!(" {dev} is down")))
}

/// What the programs themselves tell a sender, by what the next hop takes.
fn by_program(hop: &Hop) -> Option<String> {
    if hop.outcome != "dropped (packet_too_big)" {
        return None;
    }
    let next_hop = hop.steps.iter().find(|step| step.what == "next hop")?;
    let (_, mtu) = next_hop.text.rsplit_once("MTU ")?;
    Some(format!("ICMP 2/0, MTU {mtu}"))
}

/// The name of a counter of errors of this kind.
fn kind_of(error: &str) -> Option<String> {
    let kind = error.strip_prefix("ICMP ")?.split('/').next()?;
    Some(format!("OutType{kind}"))
}

/// How many a place's ICMP has sent.
fn counted(world: &World, place: &str, family: Family, kind: &str) -> u64 {
    let mut file: &File = &world.insides[place].icmp[&family];
    file.rewind().expect("seek");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("read");
    let found = match family {
        // Names in one line, numbers in the next.
        Family::V4 => {
            let lines: Vec<&str> = text
                .lines()
                .filter(|line| line.starts_with("IcmpMsg:"))
                .collect();
            let at = lines
                .first()
                .and_then(|names| names.split_whitespace().position(|name| name == kind));
            at.and_then(|at| lines.get(1)?.split_whitespace().nth(at))
        }
        Family::V6 => {
            let mut lines = text.lines().map(str::split_whitespace);
            let wanted = format!("Icmp6{kind}");
            lines.find_map(|mut words| (words.next() == Some(&wanted)).then(|| words.next())?)
        }
    };
    found.map_or(0, |number| number.parse().expect("a number"))
}
