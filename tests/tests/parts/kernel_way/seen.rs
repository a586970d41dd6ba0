//! What became of a packet, by what arrived where.

use std::{
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

use netpath::{
    kernel_way::{Answer, End, IcmpError, Leaving, NextHopState, Packet, Transport},
    probe::{
        capture::Direction,
        frame::{self, ParsedFrame, ParsedIp},
    },
};
use netpath_common::Family;
use netpath_tests::random_rules::ip;

use super::{
    packets::{MARKER, Sent},
    world::{ALIVE, SIDES, World, side},
};

/// How long something may take that is not said; and something that is.
const QUIET: Duration = Duration::from_millis(4);
/// How long the router looks for who is not there.
const GIVEN_UP: Duration = Duration::from_millis(120);
const LATE: Duration = Duration::from_millis(400);

/// A packet of the case's that arrived, as far as it can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub ports: Option<(u16, u16)>,
    pub ttl: u8,
    pub tos: u8,
    pub length: usize,
    pub number: u16,
}

/// What was seen of a case.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// At each side.
    arrived: Vec<(usize, Arrived)>,
    /// The source and ports of what the router took in.
    delivered: Vec<(IpAddr, (u16, u16), u16)>,
    /// ICMP errors at each side: type, code, MTU.
    errors: Vec<(usize, u8, u8, u16)>,
    resets: usize,
    /// Lengths of fragments that arrived, with those of the first.
    fragments: Vec<usize>,
}

impl World {
    /// Looks until what is said has happened, or long enough that it would have.
    pub fn observe(&mut self, answer: &Answer, sent: &Sent) -> Seen {
        let begun = Instant::now();
        let mut seen = Seen::default();
        let mut agreed = None;
        // An error about who is not there comes late, wherever it goes, and is not to be taken for the next packet's. Where it is
        // all that can happen it is waited for.
        let is_certain = answer.ways.len() == 1;
        let comes_late = answer.ways.iter().any(|way| {
            let is_awaited = is_certain && !seen.agrees(self, &way.end, sent);
            matches!(&way.end, End::Leaves(leaving) if self.asks_in_vain(leaving)) && !is_awaited
        });
        let quiet = if comes_late { GIVEN_UP } else { QUIET };
        loop {
            self.look(&mut seen, Duration::from_micros(200));
            let agrees = answer
                .ways
                .iter()
                .any(|way| seen.agrees(self, &way.end, sent));
            match (agrees, agreed) {
                (true, None) => agreed = Some(Instant::now()),
                (true, Some(since)) if since.elapsed() > quiet => return seen,
                (true, Some(_)) => {}
                (false, _) => agreed = None,
            }
            if begun.elapsed() > LATE {
                return seen;
            }
        }
    }

    /// Whether a packet leaves to somebody who does not answer.
    fn asks_in_vain(&self, leaving: &Leaving) -> bool {
        let links = &self.links;
        let at = links.iter().position(|(it, ..)| *it == leaving.ifindex);
        let is_known = matches!(leaving.neighbour, NextHopState::Known { .. });
        let answers = |at| ALIVE.map(move |last| ip(self.family, [side(at), 0, last]));
        !is_known && at.is_some_and(|at| !answers(at).any(|it| it == leaving.next_hop))
    }

    fn look(&mut self, seen: &mut Seen, within: Duration) {
        for side in 0..SIDES {
            while let Some(frame) = self.captures[side].next(within).expect("a capture") {
                if frame.direction != Direction::Outgoing {
                    seen.frame(side, &frame.bytes);
                }
            }
        }
        for socket in &self.delivered {
            while let Some((source, bytes)) = socket.next() {
                seen.taken_in(source, socket.protocol, &bytes);
            }
        }
    }
}

fn number(payload: &[u8]) -> Option<u16> {
    let rest = payload.strip_prefix(&MARKER)?;
    Some(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]))
}

/// Ports, or an echo's identifier, and the number in the payload.
fn of_transport(transport: &frame::Transport<'_>) -> (Option<(u16, u16)>, Option<u16>) {
    match transport {
        frame::Transport::Udp {
            source_port,
            destination_port,
            payload,
            ..
        }
        | frame::Transport::Tcp {
            source_port,
            destination_port,
            payload,
            ..
        } => (Some((*source_port, *destination_port)), number(payload)),
        frame::Transport::Icmp {
            rest: [a, b, ..],
            payload,
            ..
        } => (Some((u16::from_be_bytes([*a, *b]), 0)), number(payload)),
        frame::Transport::Other(_) => (None, None),
    }
}

impl Seen {
    fn frame(&mut self, side: usize, bytes: &[u8]) {
        let Ok(packet) = ParsedFrame::parse(bytes).and_then(|frame| frame.ip()) else {
            return;
        };
        if packet.is_fragment() {
            self.fragments.push(packet.length);
        }
        let Ok(transport) = packet.transport() else {
            return;
        };
        let (ports, number) = of_transport(&transport);
        if let Some(number) = number {
            self.arrived.push((
                side,
                Arrived {
                    source: packet.source,
                    destination: packet.destination,
                    ports,
                    ttl: packet.ttl,
                    tos: packet.tos,
                    length: packet.length,
                    number,
                },
            ));
            return;
        }
        match transport {
            frame::Transport::Tcp { flags, .. } if flags & 4 != 0 => self.resets += 1,
            frame::Transport::Icmp {
                kind,
                code,
                rest: [_, _, c, d],
                ..
            } if is_error(&packet, kind) => {
                let mtu = u16::from_be_bytes([c, d]);
                self.errors.push((side, kind, code, mtu));
            }
            _ => {}
        }
    }

    fn taken_in(&mut self, source: IpAddr, protocol: u8, bytes: &[u8]) {
        let segment = match source {
            IpAddr::V4(_) => &bytes[20..],
            IpAddr::V6(_) => bytes,
        };
        let word = |at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
        let (ports, header) = match protocol {
            // Errors quote packets.
            frame::PROTOCOL_ICMP if !matches!(segment[0], 0 | 8) => return,
            frame::PROTOCOL_ICMPV6 if !matches!(segment[0], 128 | 129) => return,
            frame::PROTOCOL_ICMP | frame::PROTOCOL_ICMPV6 => ((word(4), 0), 8),
            frame::PROTOCOL_TCP => ((word(0), word(2)), 20),
            _ => ((word(0), word(2)), 8),
        };
        let payload = segment.get(header..).unwrap_or_default();
        if let Some(number) = number(payload) {
            self.delivered.push((source, ports, number));
        }
    }

    /// Whether that is what an end says.
    pub fn agrees(&self, world: &World, end: &End, sent: &Sent) -> bool {
        let told = sent.side.and_then(|_| home(world, sent.packet.source));
        match end {
            End::Leaves(leaving) => self.left(world, leaving, sent, told),
            End::Delivered { packet } => {
                let delivered = self.delivered.as_slice();
                let [(source, ports, number)] = delivered else {
                    return false;
                };
                let ends = (packet.source, ports_of(packet), sent.number);
                self.arrived.is_empty() && (*source, Some(*ports), *number) == ends
            }
            End::Dropped { .. } | End::Taken { .. } => self.is_silent() && self.errors.is_empty(),
            End::Answered { error, .. } => {
                self.is_silent() && self.is_told(*error, sent.side, told)
            }
        }
    }

    fn is_silent(&self) -> bool {
        self.arrived.is_empty() && self.delivered.is_empty() && self.fragments.is_empty()
    }

    fn is_told(&self, error: IcmpError, side: Option<usize>, told: Option<usize>) -> bool {
        let IcmpError::Icmp { kind, code, mtu } = error else {
            let is_told = self.resets == 1 || told.is_none() && self.resets == 0;
            return is_told && self.errors.is_empty();
        };
        let is_it = |(_, its, its_code, its_mtu): &(usize, u8, u8, u16)| {
            let same_mtu = mtu.is_none_or(|mtu| mtu == u32::from(*its_mtu));
            (*its, *its_code) == (kind, code) && same_mtu
        };
        match (told, self.errors.as_slice()) {
            (Some(told), [error]) => error.0 == told && is_it(error),
            (Some(_), _) => false,
            // Who sends from a socket, or from an address of somebody else, may be told where nobody looks.
            (None, errors) => side.is_none() || errors.iter().all(is_it),
        }
    }

    fn left(&self, world: &World, leaving: &Leaving, sent: &Sent, told: Option<usize>) -> bool {
        let links = &world.links;
        let Some(at) = links
            .iter()
            .position(|(ifindex, ..)| *ifindex == leaving.ifindex)
        else {
            return false;
        };
        if world.asks_in_vain(leaving) {
            // Nobody is there: the sender hears that after a while.
            let (kind, code) = match world.family {
                Family::V4 => (3, 1),
                Family::V6 => (1, 3),
            };
            let mtu = None;
            let error = IcmpError::Icmp { kind, code, mtu };
            // Who is told is known while the source is still the sender's.
            let told = told.filter(|_| leaving.packet.source == sent.packet.source);
            return self.is_silent() && self.is_told(error, sent.side, told);
        }
        if !self.delivered.is_empty() || !self.errors.is_empty() {
            return false;
        }
        let [(side, arrived)] = self.arrived.as_slice() else {
            return false;
        };
        let packet = &leaving.packet;
        let whole = leaving.fragments.is_none();
        let wanted = Arrived {
            source: packet.source,
            destination: packet.destination,
            ports: ports_of(packet),
            ttl: packet.ttl,
            tos: packet.tos,
            length: if whole {
                packet.length as usize
            } else {
                arrived.length
            },
            number: sent.number,
        };
        // A port that the kernel chooses is shown as 0.
        let same_ports = match (wanted.ports, arrived.ports) {
            (Some((0, destination)), Some((_, its))) => destination == its,
            (wanted, its) => wanted == its,
        };
        let wanted = Arrived {
            ports: arrived.ports,
            ..wanted
        };
        let fits = match leaving.fragments {
            None => self.fragments.is_empty(),
            Some(mtu) => {
                let payload: usize = self.fragments.iter().map(|length| length - 20).sum();
                let fit = self.fragments.iter().all(|length| *length <= mtu as usize);
                fit && payload + 20 == packet.length as usize
            }
        };
        *side == at && *arrived == wanted && same_ports && fits
    }
}

fn is_error(packet: &ParsedIp<'_>, kind: u8) -> bool {
    match packet.source {
        IpAddr::V4(_) => matches!(kind, 3 | 4 | 11 | 12),
        IpAddr::V6(_) => kind < 128,
    }
}

fn ports_of(packet: &Packet) -> Option<(u16, u16)> {
    let ends = packet.tuple();
    match packet.transport {
        Transport::Other(_) => None,
        _ => Some((ends.source_port, ends.destination_port)),
    }
}

/// The side that has an address: an error about a packet from it comes there.
fn home(world: &World, source: IpAddr) -> Option<usize> {
    (0..SIDES).find(|index| {
        let mut its = ALIVE.map(|last| ip(world.family, [side(*index), 0, last]));
        its.any(|address| address == source)
    })
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "arrived {:?}, delivered {:?}, errors {:?}, {} resets, fragments {:?}",
            self.arrived, self.delivered, self.errors, self.resets, self.fragments
        )
    }
}
