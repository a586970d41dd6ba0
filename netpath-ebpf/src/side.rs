//! Between source and destination: is this connection on the fast path's side, or on the kernel's? Both its ends have to be
//! routed. An endpoint's packets are, where their destination is in the table.

use netpath_common::{EndpointEntry, PuntReason, Verdict};

use crate::{
    access::{Skb, View as _},
    destination::Tables,
    family::{V4, V6},
    parse::{ETHERNET, FRAGMENT_MASK, IPV4_END, IPV6_END, Parsed},
};

/// A connection with what is not routed is the kernel's in both directions: its answers are already, for want of a route. An
/// ICMP error is of the connection that it quotes, whoever sends it.
#[inline(always)]
pub fn inside<F: Quote>(
    skb: &Skb,
    packet: &Parsed<F>,
    source: Option<u16>,
) -> Result<u16, Verdict> {
    match source {
        Some(punt_between) => Ok(punt_between),
        None if quotes_inside(skb, packet) => Ok(SOMEBODY),
        None => Err(Verdict::Punt(PuntReason::Outside)),
    }
}

/// As [`of_endpoint`](crate::source::of_endpoint) returns it, for a source of which nobody has looked whether there is a
/// reason: one with another's, but none by itself.
const SOMEBODY: u16 = !EndpointEntry::ALONE;

/// ICMP errors of a family, and what they quote.
pub trait Quote: Tables {
    /// Where the ICMP header begins, behind a header without options, in bytes from the start of the frame.
    const ICMP_AT: u32;
    /// Where the quoted header has its source, in bytes from its start; the destination follows.
    const SOURCE_AT: u32;

    /// Whether it is a whole ICMP error that routers send on.
    fn is_error(skb: &Skb) -> Option<bool>;

    /// The addresses that stand in a packet, one behind the other.
    fn addresses(skb: &Skb, at: u32) -> Option<[Self::Address; 2]>;
}

impl Quote for V4 {
    const ICMP_AT: u32 = IPV4_END as u32;
    const SOURCE_AT: u32 = 12;

    /// Destination Unreachable, Time Exceeded, Parameter Problem (RFC 792).
    #[inline(always)]
    fn is_error(skb: &Skb) -> Option<bool> {
        const ICMP: u8 = 1;
        let fragment: [u8; 2] = skb.copy(ETHERNET as u32 + 6)?;
        let [protocol] = skb.copy(ETHERNET as u32 + 9)?;
        let [kind] = skb.copy(Self::ICMP_AT)?;
        let is_whole = u16::from_be_bytes(fragment) & FRAGMENT_MASK == 0;
        Some(is_whole && protocol == ICMP && matches!(kind, 3 | 11 | 12))
    }

    #[inline(always)]
    fn addresses(skb: &Skb, at: u32) -> Option<[[u8; 4]; 2]> {
        Some([skb.copy(at)?, skb.copy(at + 4)?])
    }
}

impl Quote for V6 {
    const ICMP_AT: u32 = IPV6_END as u32;
    const SOURCE_AT: u32 = 8;

    /// RFC 4443, section 2.1. Behind extension headers, such as a fragment's, it is none.
    #[inline(always)]
    fn is_error(skb: &Skb) -> Option<bool> {
        const ICMPV6: u8 = 58;
        let [protocol] = skb.copy(ETHERNET as u32 + 6)?;
        let [kind] = skb.copy(Self::ICMP_AT)?;
        Some(protocol == ICMPV6 && kind < 128)
    }

    #[inline(always)]
    fn addresses(skb: &Skb, at: u32) -> Option<[[u8; 16]; 2]> {
        Some([skb.copy(at)?, skb.copy(at + 16)?])
    }
}

/// Whether it is an ICMP error about a packet that its receiver sent to what is routed. A function of its own, as it is rarely
/// asked.
#[inline(never)]
fn quotes_inside<F: Quote>(skb: &Skb, packet: &Parsed<F>) -> bool {
    const ICMP_HEADER: u32 = 8;
    if F::is_error(skb) != Some(true) {
        return false;
    }
    let Some([source, destination]) = F::addresses(skb, F::ICMP_AT + ICMP_HEADER + F::SOURCE_AT)
    else {
        return false;
    };
    source == packet.destination
        && (F::endpoint(&destination).is_some() || F::route(&destination).is_some())
}
