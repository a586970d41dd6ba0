//! Stage 3: where does this packet go?

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{DevMapHash, HashMap, LpmTrie, lpm_trie::Key},
    macros::btf_map,
};
use netpath_common::{
    ENDPOINTS_DEFAULT, EndpointEntry, Ifindex, PuntReason, ROUTES_DEFAULT, RouteEntry, Verdict,
};

use crate::{
    family::{AddressClass, Family, V4, V6},
    parse::Parsed,
};

/// Without preallocation, so that a node pays for the endpoints it has.
const FLAGS: usize = BPF_F_NO_PREALLOC as usize;

/// IPv4 addresses of the node's endpoints, and its own.
#[btf_map(name = "endpoints_v4")]
pub static ENDPOINTS_V4: HashMap<[u8; 4], EndpointEntry, { ENDPOINTS_DEFAULT as usize }, FLAGS> =
    HashMap::new();

/// IPv6 addresses of the node's endpoints, and its own.
#[btf_map(name = "endpoints_v6")]
pub static ENDPOINTS_V6: HashMap<[u8; 16], EndpointEntry, { ENDPOINTS_DEFAULT as usize }, FLAGS> =
    HashMap::new();

/// The host-side veth of each endpoint, by the endpoint's id. The kernel takes an entry out when its device goes
/// (`dev_map_notification`), so that an index which another interface has got since is not taken for it.
#[btf_map(name = "devices")]
pub static DEVICES: DevMapHash<{ 2 * ENDPOINTS_DEFAULT as usize }> = DevMapHash::new();

/// IPv4 prefixes that netpath routes.
#[btf_map(name = "routes_v4")]
pub static ROUTES_V4: LpmTrie<[u8; 4], RouteEntry, { ROUTES_DEFAULT as usize }> = LpmTrie::new();

/// IPv6 prefixes that netpath routes.
#[btf_map(name = "routes_v6")]
pub static ROUTES_V6: LpmTrie<[u8; 16], RouteEntry, { ROUTES_DEFAULT as usize }> = LpmTrie::new();

/// The tables of a family.
pub trait Tables: Family {
    /// The endpoint that has exactly this address.
    fn endpoint(address: &Self::Address) -> Option<EndpointEntry>;

    /// The longest prefix of the route table that holds this address.
    fn route(address: &Self::Address) -> Option<RouteEntry>;
}

impl Tables for V4 {
    #[inline(always)]
    fn endpoint(address: &[u8; 4]) -> Option<EndpointEntry> {
        // SAFETY: the entry is copied out at once; user space replaces entries as a whole.
        unsafe { ENDPOINTS_V4.get(address) }.copied()
    }

    #[inline(always)]
    fn route(address: &[u8; 4]) -> Option<RouteEntry> {
        ROUTES_V4.get(&Key::new(32, *address)).copied()
    }
}

impl Tables for V6 {
    #[inline(always)]
    fn endpoint(address: &[u8; 16]) -> Option<EndpointEntry> {
        // SAFETY: as for IPv4.
        unsafe { ENDPOINTS_V6.get(address) }.copied()
    }

    #[inline(always)]
    fn route(address: &[u8; 16]) -> Option<RouteEntry> {
        ROUTES_V6.get(&Key::new(128, *address)).copied()
    }
}

/// The endpoint of this node that has a packet's destination as its address, if one has. The node's own
/// addresses are the kernel's.
#[inline(always)]
pub fn by_address<F: Tables>(packet: &Parsed<F>) -> Result<Option<EndpointEntry>, Verdict> {
    match F::endpoint(&packet.destination) {
        Some(entry) if entry.is_node() => Err(Verdict::Punt(PuntReason::NodeAddress)),
        Some(entry) => Ok(Some(entry)),
        None => forwardable::<F>(&packet.destination).map(|()| None),
    }
}

/// Whether an address is routed at all, be it here or behind another node.
#[inline(always)]
pub fn is_routed<F: Tables>(address: &F::Address) -> bool {
    match F::endpoint(address) {
        Some(entry) => !entry.is_node(),
        None => F::route(address).is_some(),
    }
}

/// Whether a packet's destination is. A function of its own, as it is rarely asked by itself.
#[inline(never)]
pub fn leads_on<F: Tables>(packet: &Parsed<F>) -> bool {
    is_routed::<F>(&packet.destination)
}

/// The host-side veth of an endpoint of this node, if it is still there.
#[inline(always)]
pub fn device(endpoint: &EndpointEntry) -> Result<Ifindex, Verdict> {
    match DEVICES.get_ifindex(endpoint.id.0) {
        Some(ifindex) => Ok(Ifindex(ifindex)),
        None => Err(Verdict::Punt(PuntReason::EndpointGone)),
    }
}

/// Where the longest prefix leads: to an endpoint of this node, or to another node. One lookup tells both.
#[inline(always)]
pub fn by_prefix<F: Tables>(packet: &Parsed<F>) -> Result<RouteEntry, Verdict> {
    F::route(&packet.destination).ok_or(Verdict::Punt(PuntReason::NoRoute))
}

/// `bpf_fib_lookup` finds a way even for what no router forwards, so such destinations stop here.
#[inline(always)]
fn forwardable<F: Family>(address: &F::Address) -> Result<(), Verdict> {
    let reason = match F::classify(address) {
        AddressClass::Unicast => return Ok(()),
        AddressClass::Multicast => PuntReason::Multicast,
        AddressClass::Broadcast => PuntReason::Broadcast,
        AddressClass::LinkLocal => PuntReason::LinkLocal,
        AddressClass::Unspecified | AddressClass::Martian => PuntReason::MartianDestination,
    };
    Err(Verdict::Punt(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_router_forwards_is_the_kernels() {
        let punt = |reason| Err(Verdict::Punt(reason));
        for (address, expected) in [
            ([10, 0, 2, 2], Ok(())),
            ([224, 0, 0, 1], punt(PuntReason::Multicast)),
            ([255; 4], punt(PuntReason::Broadcast)),
            ([169, 254, 1, 1], punt(PuntReason::LinkLocal)),
            ([0; 4], punt(PuntReason::MartianDestination)),
            ([127, 0, 0, 1], punt(PuntReason::MartianDestination)),
        ] {
            assert_eq!(forwardable::<V4>(&address), expected, "{address:?}");
        }
    }
}
