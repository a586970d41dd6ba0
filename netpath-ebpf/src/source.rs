//! Stage 2: may this packet come from here? netpath's redirects pass the kernel's reverse-path filter by,
//! so the check is made here, for every packet.

use aya_ebpf::{bindings::BPF_F_NO_PREALLOC, btf_maps::HashMap, macros::btf_map};
use netpath_common::{DropReason, Ifindex, InterfaceEntry, InterfaceState, PuntReason, Verdict};

use crate::{
    access::Skb,
    destination::Tables,
    family::{AddressClass, Family},
    parse::Parsed,
};

/// The interfaces that programs are attached to, by ifindex: two per endpoint would be generous.
#[btf_map(name = "interfaces")]
pub static INTERFACES: HashMap<Ifindex, InterfaceEntry, 131_072, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// The source must be an address of the endpoint behind this interface.
#[inline(always)]
pub fn of_endpoint<F: Tables>(skb: &Skb, packet: &Parsed<F>) -> Result<(), Verdict> {
    match F::endpoint(&packet.source) {
        Some(owner) if owner.ifindex == skb.interface() => Ok(()),
        _ => Err(not_the_endpoints(skb, packet)),
    }
}

/// Why a source that is not the endpoint's is refused.
#[inline(always)]
fn not_the_endpoints<F: Family>(skb: &Skb, packet: &Parsed<F>) -> Verdict {
    // SAFETY: only the state is read, and at once.
    let ready = unsafe { INTERFACES.get(skb.interface()) }
        .is_some_and(|interface| interface.state == InterfaceState::Ready as u32);
    if !ready {
        return Verdict::Drop(DropReason::NotReady);
    }
    match F::classify(&packet.source) {
        AddressClass::Unicast => Verdict::Drop(DropReason::Spoofed),
        AddressClass::LinkLocal => Verdict::Punt(link_scoped(packet)),
        // An address being looked for: DHCP's discover (RFC 2131), duplicate address detection (RFC 4862).
        AddressClass::Unspecified => match F::classify(&packet.destination) {
            AddressClass::Broadcast => Verdict::Punt(PuntReason::Broadcast),
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

/// From outside, no source may be an address of a local endpoint or of the node.
#[inline(always)]
pub fn of_uplink<F: Tables>(packet: &Parsed<F>) -> Result<(), Verdict> {
    match F::classify(&packet.source) {
        AddressClass::Unicast => {}
        AddressClass::LinkLocal => return Err(Verdict::Punt(link_scoped(packet))),
        AddressClass::Unspecified => match F::classify(&packet.destination) {
            AddressClass::Broadcast => return Err(Verdict::Punt(PuntReason::Broadcast)),
            AddressClass::Multicast => return Err(Verdict::Punt(link_scoped(packet))),
            _ => return Err(Verdict::Drop(DropReason::MartianSource)),
        },
        AddressClass::Multicast | AddressClass::Broadcast | AddressClass::Martian => {
            return Err(Verdict::Drop(DropReason::MartianSource));
        }
    }
    match F::endpoint(&packet.source) {
        Some(_) => Err(Verdict::Drop(DropReason::Spoofed)),
        None => Ok(()),
    }
}
