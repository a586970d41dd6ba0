//! What arrived, freed of what differs from one run to the next with the same path.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use netpath::probe::{
    capture::{CapturedFrame, Direction},
    frame::{
        ETHERTYPE_ARP, ETHERTYPE_IPV4, PROTOCOL_ICMP, PROTOCOL_ICMPV6, ParsedFrame, ParsedIp,
        Transport, internet_checksum,
    },
};

use super::place::Place;

/// Identifier of the echo messages that mark a run's end.
pub(super) const MARKER: [u8; 2] = *b"np";

/// A frame that entered an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
    /// Where.
    pub place: Place,
    /// How the kernel there took it: its `sll_pkttype`.
    pub taken: String,
    /// From the destination MAC on, the VLAN tag where it was.
    pub bytes: Vec<u8>,
}

/// What one run of a case brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Sorted: frames of different ways through the node may overtake one another.
    pub arrivals: Vec<Arrival>,
    /// What the case's own work said.
    pub lines: Vec<String>,
}

impl Arrival {
    /// Of a frame that came in; `None` for one that went out.
    pub(super) fn new(place: Place, frame: &CapturedFrame, sent: &[Vec<u8>]) -> Option<Self> {
        if frame.direction == Direction::Outgoing {
            return None;
        }
        let mut bytes = frame.on_wire();
        forget_identification(&mut bytes, sent);
        Some(Self {
            place,
            taken: format!("{:?}", frame.direction),
            bytes,
        })
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, describe(&self.bytes))?;
        match self.taken.as_str() {
            "ToUs" => Ok(()),
            taken => write!(f, " ({taken})"),
        }
    }
}

/// "a2: UDP, TTL 63, 47 bytes ×2; a1: ICMP 11/0 from 10.8.0.1".
impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts: BTreeMap<(Place, String), usize> = BTreeMap::new();
        for arrival in &self.arrivals {
            *counts
                .entry((arrival.place, arrival.to_string()))
                .or_default() += 1;
        }
        let mut parts: Vec<String> = counts
            .into_iter()
            .map(|((_, text), count)| match count {
                1 => text,
                _ => format!("{text} ×{count}"),
            })
            .collect();
        if parts.len() > 6 {
            let rest = parts.len() - 5;
            parts.truncate(5);
            parts.push(format!("and {rest} more kinds of frame"));
        }
        parts.extend(self.lines.iter().cloned());
        if parts.is_empty() {
            parts.push("nothing arrives".into());
        }
        f.write_str(&parts.join("; "))
    }
}

/// Whether a frame is one of the markers or its answer.
pub(super) fn is_marker(bytes: &[u8]) -> Option<Marker> {
    let packet = ParsedFrame::parse(bytes).ok()?.ip().ok()?;
    match packet.transport().ok()? {
        Transport::Icmp {
            kind,
            rest: [a, b, c, d],
            ..
        } if [a, b] == MARKER => Some(Marker {
            number: u16::from_be_bytes([c, d]),
            // Echo replies of ICMP and ICMPv6.
            is_reply: kind == 0 || kind == 129,
        }),
        _ => None,
    }
}

/// A marker seen.
pub(super) struct Marker {
    pub(super) number: u16,
    pub(super) is_reply: bool,
}

/// ARP, and the ICMPv6 that hosts and routers say by themselves: MLD, RS, RA, NS, NA, redirects (RFC 2710, 3810, 4861).
pub(super) fn is_discovery(bytes: &[u8]) -> bool {
    let Ok(frame) = ParsedFrame::parse(bytes) else {
        return false;
    };
    if frame.ethertype == ETHERTYPE_ARP {
        return true;
    }
    let Ok(packet) = frame.ip() else { return false };
    packet.protocol == PROTOCOL_ICMPV6
        && packet.fragment_offset == 0
        && packet
            .payload
            .first()
            .is_some_and(|kind| matches!(kind, 130..=137 | 143))
}

/// An ICMPv6 redirect. The kernel sends so many a second for each target, so only the cases about them count.
pub(super) fn is_redirect(bytes: &[u8]) -> bool {
    ParsedFrame::parse(bytes)
        .and_then(|frame| frame.ip())
        .is_ok_and(|packet| {
            packet.protocol == PROTOCOL_ICMPV6 && packet.payload.first() == Some(&137)
        })
}

/// An ARP reply or a neighbour advertisement: an answer to a case, and never said unasked.
pub(super) fn is_discovery_answer(bytes: &[u8]) -> bool {
    let Ok(frame) = ParsedFrame::parse(bytes) else {
        return false;
    };
    if frame.ethertype == ETHERTYPE_ARP {
        return frame.payload.get(6..8) == Some(&[0, 2]);
    }
    let is_advertisement = |packet: ParsedIp<'_>| {
        packet.protocol == PROTOCOL_ICMPV6 && packet.payload.first() == Some(&136)
    };
    frame.ip().is_ok_and(is_advertisement)
}

/// An error that comes by the clock, when the case that caused it is over: Fragment Reassembly Time Exceeded,
/// and Host or Address Unreachable about a packet that is not of this case.
pub(super) fn is_late(bytes: &[u8], sent: &[Vec<u8>]) -> bool {
    let addresses = |packet: &ParsedIp<'_>| (packet.source, packet.destination);
    let is_ours = |quoted: &[u8]| {
        let quoted = ParsedIp::parse(quoted).ok();
        let mut sent = sent.iter().filter_map(|frame| {
            let frame = ParsedFrame::parse(frame).ok()?;
            frame.ip().ok()
        });
        quoted.is_none_or(|quoted| sent.any(|packet| addresses(&packet) == addresses(&quoted)))
    };
    let Ok(packet) = ParsedFrame::parse(bytes).and_then(|frame| frame.ip()) else {
        return false;
    };
    match packet.transport() {
        Ok(Transport::Icmp {
            kind,
            code,
            payload,
            ..
        }) => match (packet.protocol, kind, code) {
            (PROTOCOL_ICMP, 11, 1) | (PROTOCOL_ICMPV6, 3, 1) => true,
            (PROTOCOL_ICMP, 3, 1) | (PROTOCOL_ICMPV6, 1, 3) => !is_ours(payload),
            _ => false,
        },
        _ => false,
    }
}

/// The kernel numbers the ICMP messages that it makes itself by a counter or at random.
fn forget_identification(bytes: &mut [u8], sent: &[Vec<u8>]) {
    const IP: usize = 14;
    let Ok(frame) = ParsedFrame::parse(bytes) else {
        return;
    };
    if frame.ethertype != ETHERTYPE_IPV4 || !frame.tags.is_empty() {
        return;
    }
    let Ok(packet) = frame.ip() else { return };
    // Echo reply, unreachable, redirect, time exceeded, parameter problem, timestamp reply.
    let made_by_kernel = packet.protocol == PROTOCOL_ICMP
        && packet.fragment_offset == 0
        && matches!(packet.payload.first(), Some(0 | 3 | 5 | 11 | 12 | 14))
        && !sent.iter().any(|frame| frame.ends_with(packet.payload));
    if made_by_kernel && internet_checksum(packet.header) == 0 {
        bytes[IP + 4..IP + 6].fill(0);
        bytes[IP + 10..IP + 12].fill(0);
    }
}

fn describe(bytes: &[u8]) -> String {
    let Ok(frame) = ParsedFrame::parse(bytes) else {
        return format!("{} bytes", bytes.len());
    };
    let tags = match frame.tags.len() {
        0 => String::new(),
        count => format!(", {count} VLAN tags"),
    };
    let Ok(packet) = frame.ip() else {
        return format!("EtherType {:#06x}{tags}", frame.ethertype);
    };
    let what = protocol(&packet);
    let fragment = match (packet.fragment_offset, packet.more_fragments) {
        (0, false) => String::new(),
        (offset, true) => format!(", fragment at {offset} and more"),
        (offset, false) => format!(", last fragment at {offset}"),
    };
    format!(
        "{what}{fragment}, TTL {}, {} bytes{tags}",
        packet.ttl, packet.length
    )
}

fn protocol(packet: &ParsedIp<'_>) -> String {
    match packet.transport() {
        Ok(Transport::Udp { .. }) => "UDP".into(),
        Ok(Transport::Tcp { flags, .. }) => match flags {
            flags if flags & 0x04 != 0 => "TCP RST".into(),
            flags if flags & 0x02 != 0 => "TCP SYN".into(),
            _ => "TCP".into(),
        },
        Ok(Transport::Icmp {
            kind, code, rest, ..
        }) => {
            let name = if packet.source.is_ipv4() {
                "ICMP"
            } else {
                "ICMPv6"
            };
            let mtu = match (name, kind, code) {
                ("ICMP", 3, 4) => format!(" (MTU {})", u16::from_be_bytes([rest[2], rest[3]])),
                ("ICMPv6", 2, _) => format!(" (MTU {})", u32::from_be_bytes(rest)),
                _ => String::new(),
            };
            format!("{name} {kind}/{code}{mtu} from {}", sender(packet.source))
        }
        Ok(Transport::Other(_)) => format!("protocol {}", packet.protocol),
        Err(_) => format!("protocol {} (cut short)", packet.protocol),
    }
}

/// An address, unless it is made from a random MAC (RFC 4291, appendix A): the page is the same every time.
fn sender(address: IpAddr) -> String {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() && v6.octets()[11..13] == [0xff, 0xfe] => {
            "a link-local address".into()
        }
        other => other.to_string(),
    }
}
