//! What was seen of a case.

use std::{fmt, net::IpAddr, time::Duration};

use netpath::probe::{
    capture::Direction,
    frame::{self, ParsedFrame, ParsedIp, Transport},
};

use super::world::World;

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
/// What hosts send errors with.
const FRESH: u8 = 64;

/// Which packet of a case's it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leg {
    There,
    Back,
}

/// A packet that came by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sighting {
    pub leg: Leg,
    pub place: String,
    pub dev: String,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub ports: Option<(u16, u16)>,
    pub ttl: u8,
    pub tos: u8,
    /// Of the whole, where it is not in fragments and its length is its sender's.
    pub length: Option<u32>,
}

/// Something that tells a sender of a fate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    pub about: Leg,
    pub place: String,
    /// As explanations have it.
    pub text: String,
    /// To whom.
    pub to: IpAddr,
}

/// A packet that was taken in: where, from whom, and its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub place: String,
    pub source: IpAddr,
    pub ports: Option<(u16, u16)>,
}

/// How the packets of a case are known.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// The source port, or an echo's identifier.
    pub port: u16,
    /// Source and ports of the packet, and those of its answer, as they are said to be translated.
    pub there: Vec<(IpAddr, u16, u16)>,
    pub back: Vec<(IpAddr, u16, u16)>,
}

impl Marks {
    fn leg(&self, from: IpAddr, source: u16, destination: u16) -> Option<Leg> {
        let ports = (from, source, destination);
        match (source == self.port, destination == self.port) {
            (true, _) => Some(Leg::There),
            (_, true) => Some(Leg::Back),
            _ if self.there.contains(&ports) => Some(Leg::There),
            _ if self.back.contains(&ports) => Some(Leg::Back),
            _ => None,
        }
    }
}

/// What was seen of a case.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// What came in anywhere.
    pub arrived: Vec<Sighting>,
    /// What was taken in, by place.
    pub delivered: Vec<(Leg, Delivery)>,
    /// Errors that were sent.
    pub errors: Vec<Told>,
}

impl Seen {
    /// Looks once at all places.
    pub fn look(&mut self, world: &mut World, marks: &Marks) {
        for watched in &mut world.watched {
            while let Ok(Some(frame)) = watched.capture.next(Duration::ZERO) {
                let is_in = match frame.direction {
                    Direction::ToUs => true,
                    Direction::Outgoing => false,
                    _ => continue,
                };
                let Ok(packet) = ParsedFrame::parse(&frame.bytes).and_then(|it| it.ip()) else {
                    continue;
                };
                self.frame((&watched.place, &watched.dev), is_in, &packet, marks);
            }
        }
        for (place, inside) in &world.insides {
            for raw in inside.raw.values().flatten() {
                while let Some((source, bytes)) = raw.next() {
                    self.taken_in(place, source, raw.protocol, &bytes, marks);
                }
            }
        }
    }

    fn frame(
        &mut self,
        (place, dev): (&str, &str),
        is_in: bool,
        packet: &ParsedIp<'_>,
        marks: &Marks,
    ) {
        let Ok(transport) = packet.transport() else {
            return;
        };
        if let Some((leg, ports)) = leg(packet.source, &transport, marks) {
            if is_in {
                let is_syn_ack = leg == Leg::Back && matches!(transport, Transport::Tcp { .. });
                let is_whole = !packet.is_fragment() && !is_syn_ack;
                self.arrived.push(Sighting {
                    leg,
                    place: place.to_owned(),
                    dev: dev.to_owned(),
                    source: packet.source,
                    destination: packet.destination,
                    ports,
                    ttl: packet.ttl,
                    tos: packet.tos,
                    length: is_whole.then(|| u32::try_from(packet.length).expect("small")),
                });
            }
            return;
        }
        if is_in || packet.ttl != FRESH {
            return;
        }
        if let Some((about, text)) = error(packet, &transport, marks) {
            self.errors.push(Told {
                about,
                place: place.to_owned(),
                text,
                to: packet.destination,
            });
        }
    }

    fn taken_in(&mut self, place: &str, source: IpAddr, protocol: u8, bytes: &[u8], marks: &Marks) {
        let segment = match source {
            IpAddr::V4(_) => bytes.get(20..).unwrap_or_default(),
            IpAddr::V6(_) => bytes,
        };
        let [a, b, c, d, e, f, ..] = *segment else {
            return;
        };
        let [first, second, third] = [[a, b], [c, d], [e, f]].map(u16::from_be_bytes);
        let transport = match protocol {
            frame::PROTOCOL_UDP => Transport::Udp {
                source_port: first,
                destination_port: second,
                length: 0,
                payload: &[],
            },
            frame::PROTOCOL_TCP => Transport::Tcp {
                source_port: first,
                destination_port: second,
                sequence: 0,
                acknowledgement: 0,
                flags: segment.get(13).copied().unwrap_or_default(),
                payload: &[],
            },
            _ => {
                let [id, other] = third.to_be_bytes();
                Transport::Icmp {
                    kind: a,
                    code: b,
                    rest: [id, other, 0, 0],
                    payload: &[],
                }
            }
        };
        if let Some((leg, ports)) = leg(source, &transport, marks) {
            let place = place.to_owned();
            let delivery = Delivery {
                place,
                source,
                ports,
            };
            self.delivered.push((leg, delivery));
        }
    }
}

/// Which packet of a case's it is, and its ports.
fn leg(
    from: IpAddr,
    transport: &Transport<'_>,
    marks: &Marks,
) -> Option<(Leg, Option<(u16, u16)>)> {
    match *transport {
        Transport::Udp {
            source_port,
            destination_port,
            ..
        } => {
            let leg = marks.leg(from, source_port, destination_port)?;
            Some((leg, Some((source_port, destination_port))))
        }
        Transport::Tcp {
            source_port,
            destination_port,
            flags,
            ..
        } => {
            let leg = marks.leg(from, source_port, destination_port)?;
            let wanted = match leg {
                Leg::There => SYN,
                Leg::Back => SYN | ACK,
            };
            (flags & 0x3f == wanted).then_some((leg, Some((source_port, destination_port))))
        }
        Transport::Icmp {
            kind,
            rest: [a, b, ..],
            ..
        } => match kind {
            8 | 128 if u16::from_be_bytes([a, b]) == marks.port => Some((Leg::There, None)),
            0 | 129 if u16::from_be_bytes([a, b]) == marks.port => Some((Leg::Back, None)),
            _ => None,
        },
        Transport::Other(_) => None,
    }
}

/// What tells the sender of a case's packet of its fate, in the words of explanations.
fn error(packet: &ParsedIp<'_>, transport: &Transport<'_>, marks: &Marks) -> Option<(Leg, String)> {
    match *transport {
        Transport::Tcp {
            source_port,
            destination_port,
            flags,
            ..
        } if flags & RST != 0 => {
            // It goes the other way, and acknowledges what acknowledges nothing: a SYN. Of a handshake's end nothing is said.
            match (
                marks.leg(packet.source, source_port, destination_port)?,
                flags & ACK != 0,
            ) {
                (Leg::Back, true) => Some((Leg::There, "a TCP reset".to_owned())),
                (Leg::There, false) => Some((Leg::Back, "a TCP reset".to_owned())),
                _ => None,
            }
        }
        Transport::Icmp {
            kind,
            code,
            rest,
            payload,
        } => {
            let is_v4 = packet.source.is_ipv4();
            let (is_error, mtu) = match (is_v4, kind, code) {
                (true, 3, 4) => (
                    true,
                    Some(u32::from(u16::from_be_bytes([rest[2], rest[3]]))),
                ),
                (true, 3 | 11 | 12, _) => (true, None),
                (false, 2, _) => (true, Some(u32::from_be_bytes(rest))),
                (false, 1 | 3 | 4, _) => (true, None),
                _ => (false, None),
            };
            if !is_error {
                return None;
            }
            let quoted = ParsedIp::parse(payload).ok()?;
            let leg = quoted_leg(&quoted, marks)?;
            let mtu = mtu.map(|mtu| format!(", MTU {mtu}")).unwrap_or_default();
            Some((leg, format!("ICMP {kind}/{code}{mtu}")))
        }
        _ => None,
    }
}

/// Of a quoted packet only the first bytes are there.
fn quoted_leg(quoted: &ParsedIp<'_>, marks: &Marks) -> Option<Leg> {
    let [a, b, c, d, e, f, ..] = *quoted.payload else {
        return None;
    };
    let [first, second, third] = [[a, b], [c, d], [e, f]].map(u16::from_be_bytes);
    match quoted.protocol {
        frame::PROTOCOL_ICMP | frame::PROTOCOL_ICMPV6 if third == marks.port => match a {
            8 | 128 => Some(Leg::There),
            0 | 129 => Some(Leg::Back),
            _ => None,
        },
        frame::PROTOCOL_ICMP | frame::PROTOCOL_ICMPV6 => None,
        frame::PROTOCOL_TCP => {
            let leg = marks.leg(quoted.source, first, second)?;
            // A handshake's end is no packet of the case's.
            let flags = quoted.payload.get(13).map(|flags| flags & (SYN | ACK));
            let is_its = match leg {
                Leg::There => flags.is_none_or(|flags| flags == SYN),
                Leg::Back => flags.is_none_or(|flags| flags == SYN | ACK),
            };
            is_its.then_some(leg)
        }
        _ => marks.leg(quoted.source, first, second),
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for it in &self.arrived {
            let (source, destination) = (it.source, it.destination);
            writeln!(
                f,
                "    {:?}: in {} by {}: {source} -> {destination} {:?}, TTL {}, TOS {}, length {:?}",
                it.leg, it.place, it.dev, it.ports, it.ttl, it.tos, it.length
            )?;
        }
        for (leg, found) in &self.delivered {
            let Delivery {
                place,
                source,
                ports,
            } = found;
            writeln!(
                f,
                "    {leg:?}: delivered in {place} from {source} {ports:?}"
            )?;
        }
        for it in &self.errors {
            writeln!(
                f,
                "    about {:?}: {} says {} to {}",
                it.about, it.place, it.text, it.to
            )?;
        }
        Ok(())
    }
}
