//! Stage 2: may this packet come from here? netpath's redirects pass the kernel's reverse-path filter by,
//! so the check is made here, for every packet.

use netpath_common::{DropReason, EndpointEntry, PuntReason, RouteKind, Verdict};

use crate::{
    access::{Skb, View as _},
    destination::Tables,
    family::{AddressClass, Family, V4, V6},
    features::Features,
    parse::{ETHERNET, FRAGMENT_MASK, IPV4_END, IPV6_END, Parsed},
};

/// The source must be an address of the endpoint behind this interface, or of a prefix that is routed to it. Returns the
/// number of the reason for which packets between it and another that has one are the kernel's.
#[inline(always)]
pub fn of_endpoint<F: Tables>(skb: &Skb, packet: &Parsed<F>) -> Result<u16, Verdict> {
    let interface = skb.interface();
    let owner = match F::endpoint(&packet.source) {
        Some(owner) => owner,
        // A wide prefix may hold addresses that no packet may carry.
        None if F::classify(&packet.source) == AddressClass::Unicast => {
            match F::route(&packet.source) {
                Some(route) => route.endpoint,
                None => return Err(not_the_endpoints(packet)),
            }
        }
        None => return Err(not_the_endpoints(packet)),
    };
    if owner.ifindex == interface {
        Ok(owner.punt_between)
    } else {
        Err(not_the_endpoints(packet))
    }
}

/// Why a source that is not the endpoint's is refused.
#[inline(always)]
fn not_the_endpoints<F: Family>(packet: &Parsed<F>) -> Verdict {
    match F::classify(&packet.source) {
        AddressClass::Unicast => Verdict::Drop(DropReason::Spoofed),
        // The node's own on this very link.
        AddressClass::LinkLocal if packet.source == F::GATEWAY => {
            Verdict::Drop(DropReason::Spoofed)
        }
        AddressClass::LinkLocal => Verdict::Punt(link_scoped(packet)),
        // An address being looked for: DHCP's discover (RFC 2131), duplicate address detection (RFC 4862).
        AddressClass::Unspecified => match F::classify(&packet.destination) {
            AddressClass::Broadcast => Verdict::Punt(packet.punt.unwrap_or(PuntReason::Broadcast)),
            AddressClass::Multicast => Verdict::Punt(link_scoped(packet)),
            _ => Verdict::Drop(DropReason::MartianSource),
        },
        AddressClass::Multicast | AddressClass::Broadcast | AddressClass::Martian => {
            Verdict::Drop(DropReason::MartianSource)
        }
    }
}

/// A packet that no router forwards, for its source is good on this link only.
#[inline(always)]
fn link_scoped<F: Family>(packet: &Parsed<F>) -> PuntReason {
    match (packet.punt, F::classify(&packet.destination)) {
        (Some(reason), _) => reason,
        (None, AddressClass::Multicast) => PuntReason::Multicast,
        (None, _) => PuntReason::LinkLocal,
    }
}

/// From an uplink, no source may be an address of the node or of a local endpoint, nor of a prefix that is routed to one.
/// Returns what [`of_endpoint`] does for a source of another node's prefix, and nothing for one that is not routed.
#[inline(always)]
pub fn of_uplink<F: Tables>(packet: &Parsed<F>) -> Result<Option<u16>, Verdict> {
    match F::classify(&packet.source) {
        AddressClass::Unicast => {}
        AddressClass::LinkLocal => return Err(Verdict::Punt(link_scoped(packet))),
        AddressClass::Unspecified => match F::classify(&packet.destination) {
            AddressClass::Broadcast => {
                let reason = packet.punt.unwrap_or(PuntReason::Broadcast);
                return Err(Verdict::Punt(reason));
            }
            AddressClass::Multicast => return Err(Verdict::Punt(link_scoped(packet))),
            _ => return Err(Verdict::Drop(DropReason::MartianSource)),
        },
        AddressClass::Multicast | AddressClass::Broadcast | AddressClass::Martian => {
            return Err(Verdict::Drop(DropReason::MartianSource));
        }
    }
    if F::endpoint(&packet.source).is_some() {
        return Err(Verdict::Drop(DropReason::Spoofed));
    }
    match F::route(&packet.source) {
        Some(route) if route.kind() == RouteKind::Local => Err(Verdict::Drop(DropReason::Spoofed)),
        Some(route) => Ok(Some(route.endpoint.punt_between)),
        None => Ok(None),
    }
}

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

/// As [`of_endpoint`] returns it, for a source of which nobody has looked whether there is a reason: one with another's, but
/// none by itself.
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

/// What an uplink carries for another interface (of its VLAN) or another host (behind a macvlan, a bridge) of this
/// machine is not netpath's to judge, and what an endpoint sends may well come back there, on its way to one of them.
/// But from one address of this node to another nothing comes from outside.
#[inline(always)]
pub fn of_others<F: Tables>(packet: &Parsed<F>, features: Features) -> Result<(), Verdict> {
    if is_here::<F>(&packet.source, features) && is_here::<F>(&packet.destination, features) {
        return Err(Verdict::Drop(DropReason::Spoofed));
    }
    Ok(())
}

/// Whether an address is the node's or of an endpoint of it, by itself or by a prefix that is routed to one.
#[inline(always)]
fn is_here<F: Tables>(address: &F::Address, features: Features) -> bool {
    F::endpoint(address).is_some() || features.local_prefixes() && is_routed_here::<F>(address)
}

/// Whether an address is of a prefix that is routed to an endpoint of this node.
#[inline(always)]
fn is_routed_here<F: Tables>(address: &F::Address) -> bool {
    F::route(address).is_some_and(|route| route.kind() == RouteKind::Local)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From an endpoint, of sources that are not its own.
    fn refused(source: [u8; 4], destination: [u8; 4], punt: Option<PuntReason>) -> Verdict {
        not_the_endpoints(&Parsed::<V4> {
            punt,
            ..Parsed::with_addresses(source, destination)
        })
    }

    #[test]
    fn a_source_that_is_not_the_endpoints() {
        use {DropReason::*, Verdict::*};
        const NONE: [u8; 4] = [0; 4];
        const LINK: [u8; 4] = [169, 254, 7, 7];
        const GATEWAY: [u8; 4] = V4::GATEWAY;
        const B: [u8; 4] = [10, 0, 2, 2];
        const GROUP: [u8; 4] = [224, 0, 0, 22];
        const ALL: [u8; 4] = [255; 4];
        let options = Some(PuntReason::IpOptions);
        let tagged = Some(PuntReason::Vlan);
        for (source, destination, punt, expected) in [
            // Forged, whatever else there is to say.
            (B, B, None, Drop(Spoofed)),
            (B, GROUP, None, Drop(Spoofed)),
            (B, B, options, Drop(Spoofed)),
            (B, ALL, tagged, Drop(Spoofed)),
            (GATEWAY, B, None, Drop(Spoofed)),
            (GATEWAY, GROUP, tagged, Drop(Spoofed)),
            ([127, 0, 0, 1], B, tagged, Drop(MartianSource)),
            (GROUP, B, None, Drop(MartianSource)),
            (ALL, ALL, options, Drop(MartianSource)),
            // It looks for an address, and nothing else.
            (NONE, B, tagged, Drop(MartianSource)),
            (NONE, ALL, None, Punt(PuntReason::Broadcast)),
            (NONE, ALL, tagged, Punt(PuntReason::Vlan)),
            (NONE, GROUP, None, Punt(PuntReason::Multicast)),
            (NONE, GROUP, options, Punt(PuntReason::IpOptions)),
            // Good on this link only.
            (LINK, B, None, Punt(PuntReason::LinkLocal)),
            (LINK, ALL, None, Punt(PuntReason::LinkLocal)),
            (LINK, GROUP, None, Punt(PuntReason::Multicast)),
            (LINK, GROUP, tagged, Punt(PuntReason::Vlan)),
        ] {
            let found = refused(source, destination, punt);
            assert_eq!(found, expected, "{source:?} {destination:?} {punt:?}");
        }
    }
}
