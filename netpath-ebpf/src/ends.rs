//! The two ends that a packet goes between, as connection tracking has them: addresses, protocol and ports, or an ICMP echo's
//! identifier; of an ICMP error those of the packet that it quotes.

use netpath_common::has_ports;
use network_types::ip::IpProto;

use crate::{
    access::{Skb, View},
    family::{Family, V4, V6},
    once::once,
    parse::{ETHERNET, FRAGMENT_MASK, IPV6_END, Parse},
};

/// IPv4's fragment offset, without its flags (RFC 791).
const OFFSET_MASK: u16 = 0x1fff;
/// Extension headers that are looked behind: each that there is once, the destination's twice, as RFC 8200 (section 4.1) has
/// them. Connection tracking looks behind any number.
const EXTENSIONS: u32 = 6;
/// Length of an ICMP header, in bytes; what it quotes follows.
const ICMP_HEADER: u32 = 8;

/// Two ends. Ports in the host's order; 0 where there are none.
#[derive(Clone, Copy)]
pub struct Ends<F: Family> {
    /// Source address.
    pub source: F::Address,
    /// Destination address.
    pub destination: F::Address,
    /// Source port, or the identifier of an ICMP echo.
    pub source_port: u16,
    /// Destination port, or the same identifier.
    pub destination_port: u16,
    /// Protocol, in IPv6 that behind extension headers.
    pub protocol: u8,
}

/// What a packet is to the connection between its ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// One of its packets.
    Packet,
    /// The first fragment of one.
    FirstFragment,
    /// Another fragment, which has no ports.
    Fragment,
    /// An ICMP error, which quotes one.
    Error,
}

/// Where a packet has what is behind its IP header.
#[derive(Clone, Copy)]
pub struct Transport {
    protocol: u8,
    /// In bytes from the start of the frame.
    at: u32,
    /// It is a piece of a packet: where the number stands that all pieces have, in bytes from the start of the frame. 0 for a
    /// whole packet.
    identification: u32,
    /// It has the packet's beginning.
    is_first: bool,
}

impl Transport {
    /// In a number that is not zero.
    #[inline(always)]
    fn packed(self) -> u64 {
        const IS_ONE: u64 = 1 << 9;
        IS_ONE
            | u64::from(self.protocol)
            | u64::from(self.is_first) << 8
            | u64::from(self.identification as u16) << 16
            | u64::from(self.at) << 32
    }

    /// That of such a number; `None` of zero.
    #[inline(always)]
    pub fn unpacked(number: u64) -> Option<Self> {
        if number == 0 {
            return None;
        }
        Some(Self {
            protocol: number as u8,
            at: (number >> 32) as u32,
            identification: (number >> 16) as u16 as u32,
            is_first: number & 1 << 8 != 0,
        })
    }
}

/// What kind of ICMP message it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// One about a packet, which it quotes, and which routers send on.
    Error,
    /// One with an identifier, as its answer has it.
    Identified,
    /// Any other.
    Other,
}

/// What families do differently.
pub trait Between: Parse {
    /// The protocol number of the family's ICMP.
    const ICMP: u8;

    /// What is behind the IP header so many bytes from the start of the frame, and behind so many extension headers.
    fn transport(view: &impl View, at: u32) -> Option<Transport>;

    /// The number at this place that all pieces of a packet have.
    fn identification(view: &impl View, at: u32) -> Option<u32>;

    /// What an ICMP type says.
    fn message(kind: u8) -> Message;
}

impl Between for V4 {
    const ICMP: u8 = IpProto::Icmp as u8;

    #[inline(always)]
    fn transport(view: &impl View, at: u32) -> Option<Transport> {
        let [version_and_length] = view.copy(at)?;
        let [high, low, _ttl, protocol] = view.copy(at + 6)?;
        let fragment = u16::from_be_bytes([high, low]);
        let identification = if fragment & FRAGMENT_MASK != 0 {
            at + 4
        } else {
            0
        };
        Some(Transport {
            protocol,
            at: at + u32::from(version_and_length & 0xf) * 4,
            identification,
            is_first: fragment & OFFSET_MASK == 0,
        })
    }

    #[inline(always)]
    fn identification(view: &impl View, at: u32) -> Option<u32> {
        view.copy(at).map(u16::from_be_bytes).map(u32::from)
    }

    /// Destination Unreachable, Time Exceeded, Parameter Problem; echoes, timestamps, information (RFC 792), address masks (RFC
    /// 950).
    #[inline(always)]
    fn message(kind: u8) -> Message {
        match kind {
            3 | 11 | 12 => Message::Error,
            0 | 8 | 13..=18 => Message::Identified,
            _ => Message::Other,
        }
    }
}

impl Between for V6 {
    const ICMP: u8 = IpProto::Ipv6Icmp as u8;

    #[inline(always)]
    fn transport(view: &impl View, at: u32) -> Option<Transport> {
        view.transport_v6(at)
    }

    #[inline(always)]
    fn identification(view: &impl View, at: u32) -> Option<u32> {
        view.copy(at).map(u32::from_be_bytes)
    }

    /// RFC 4443, sections 2.1 and 4.
    #[inline(always)]
    fn message(kind: u8) -> Message {
        match kind {
            0..=127 => Message::Error,
            128 | 129 => Message::Identified,
            _ => Message::Other,
        }
    }
}

/// What is behind the header of the IPv6 packet that begins so many bytes from the start of the frame.
///
/// Extension headers have their length in units of 8 bytes, the first not counted; a fragment's has its offset in the third
/// and fourth byte, with three flags (RFC 8200, section 4). An authentication header's is in units of 4, the first two not
/// counted (RFC 4302, section 2.2).
#[inline(always)]
pub fn transport_v6(view: &impl View, at: u32) -> Option<Transport> {
    const HOP_BY_HOP: u8 = IpProto::HopOpt as u8;
    const ROUTING: u8 = IpProto::Ipv6Route as u8;
    const OPTIONS: u8 = IpProto::Ipv6Opts as u8;
    const FRAGMENT: u8 = IpProto::Ipv6Frag as u8;
    const AUTHENTICATION: u8 = IpProto::Ah as u8;
    const NO_FLAGS: u16 = 0xfff8;
    let [first] = view.copy(at + 6)?;
    let mut found = Transport {
        protocol: first,
        at: at + (IPV6_END - ETHERNET) as u32,
        identification: 0,
        is_first: true,
    };
    for _ in 0..EXTENSIONS {
        match found.protocol {
            HOP_BY_HOP | ROUTING | OPTIONS => {
                let [next, units] = view.copy(found.at)?;
                found.protocol = next;
                found.at += (u32::from(units) + 1) * 8;
            }
            AUTHENTICATION => {
                let [next, units] = view.copy(found.at)?;
                found.protocol = next;
                found.at += (u32::from(units) + 2) * 4;
            }
            FRAGMENT => {
                let [next, _, high, low] = view.copy(found.at)?;
                found.protocol = next;
                found.identification = found.at + 4;
                found.at += 8;
                found.is_first = u16::from_be_bytes([high, low]) & NO_FLAGS == 0;
                if !found.is_first {
                    return Some(found);
                }
            }
            _ => return Some(found),
        }
    }
    Some(found)
}

#[inline(always)]
fn packed_transport_v6(skb: &Skb, at: u32) -> u64 {
    transport_v6(skb, at).map_or(0, Transport::packed)
}

once!(pub fn ends_transport_v6(&skb, at: u32) -> u64 = packed_transport_v6);

/// The ends of a packet; of an ICMP error those of what it quotes. None where it ends too early to tell.
#[inline(always)]
pub fn of<F: Between>(view: &impl View) -> Option<(Ends<F>, Part)> {
    let (ends, part, quoted) = at::<F>(view, ETHERNET as u32)?;
    if part != Part::Error {
        return Some((ends, part));
    }
    let (ends, _, _) = at::<F>(view, quoted)?;
    Some((ends, Part::Error))
}

/// The ends of a piece of a packet, without ports, and the number that all pieces have; none of a whole packet.
#[inline(always)]
pub fn of_piece<F: Between>(view: &impl View) -> Option<(Ends<F>, u32)> {
    let at = ETHERNET as u32;
    let transport = F::transport(view, at)?;
    if transport.identification == 0 {
        return None;
    }
    let number = F::identification(view, transport.identification)?;
    let (source, destination) = F::addresses(view, at)?;
    let ends = Ends {
        source,
        destination,
        source_port: 0,
        destination_port: 0,
        protocol: transport.protocol,
    };
    Some((ends, number))
}

/// The ends of the packet so many bytes from the start of the frame, and where what it quotes begins if it is an ICMP error.
#[inline(always)]
fn at<F: Between>(view: &impl View, at: u32) -> Option<(Ends<F>, Part, u32)> {
    let (source, destination) = F::addresses(view, at)?;
    let transport = F::transport(view, at)?;
    let mut ends = Ends {
        source,
        destination,
        source_port: 0,
        destination_port: 0,
        protocol: transport.protocol,
    };
    let part = match (transport.identification != 0, transport.is_first) {
        (false, _) => Part::Packet,
        (true, true) => Part::FirstFragment,
        (true, false) => return Some((ends, Part::Fragment, 0)),
    };
    if has_ports(transport.protocol) {
        let [a, b, c, d] = view.copy(transport.at)?;
        ends.source_port = u16::from_be_bytes([a, b]);
        ends.destination_port = u16::from_be_bytes([c, d]);
    } else if transport.protocol == F::ICMP {
        let [kind, _, _, _, high, low] = view.copy(transport.at)?;
        match F::message(kind) {
            // A piece of one is none that could be read whole.
            Message::Error if part == Part::Packet => {
                return Some((ends, Part::Error, transport.at + ICMP_HEADER));
            }
            Message::Identified => {
                let identifier = u16::from_be_bytes([high, low]);
                ends.source_port = identifier;
                ends.destination_port = identifier;
            }
            Message::Error | Message::Other => {}
        }
    }
    Some((ends, part, 0))
}
