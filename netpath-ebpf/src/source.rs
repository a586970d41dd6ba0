//! Stage 2: may this packet come from here? netpath's redirects pass the kernel's reverse-path filter by,
//! so the check is made here, for every packet.

use netpath_common::{DropReason, PuntReason, RouteKind, Verdict};

use crate::{
    access::Skb,
    destination::Tables,
    family::{AddressClass, Family},
    features::Features,
    parse::Parsed,
    trail,
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
    trail::owner(skb, &owner);
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
    use crate::family::V4;

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
