//! Stage 3: where does this packet go?

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{HashMap, LpmTrie},
    macros::btf_map,
};
use netpath_common::{
    ENDPOINTS_DEFAULT, EndpointEntry, PuntReason, ROUTES_DEFAULT, RouteEntry, RouteKind, Verdict,
};

use crate::{
    access::Skb,
    family::{AddressClass, Family},
    parse::Parsed,
    redirect::{self, NextHop},
};

/// Without preallocation, so that a node pays for the endpoints it has.
const FLAGS: usize = BPF_F_NO_PREALLOC as usize;

/// IPv4 addresses of the node's endpoints.
#[btf_map(name = "endpoints_v4")]
pub static ENDPOINTS_V4: HashMap<[u8; 4], EndpointEntry, { ENDPOINTS_DEFAULT as usize }, FLAGS> =
    HashMap::new();

/// IPv6 addresses of the node's endpoints.
#[btf_map(name = "endpoints_v6")]
pub static ENDPOINTS_V6: HashMap<[u8; 16], EndpointEntry, { ENDPOINTS_DEFAULT as usize }, FLAGS> =
    HashMap::new();

/// IPv4 prefixes that netpath routes.
#[btf_map(name = "routes_v4")]
pub static ROUTES_V4: LpmTrie<[u8; 4], RouteEntry, { ROUTES_DEFAULT as usize }> = LpmTrie::new();

/// IPv6 prefixes that netpath routes.
#[btf_map(name = "routes_v6")]
pub static ROUTES_V6: LpmTrie<[u8; 16], RouteEntry, { ROUTES_DEFAULT as usize }> = LpmTrie::new();

/// The way to a packet's destination.
pub enum Destination {
    /// An endpoint of this node.
    Local(EndpointEntry),
    /// Another node.
    Remote(NextHop),
}

/// For a packet of an endpoint: a local endpoint, or another node by the route table and the kernel's FIB.
#[inline(always)]
pub fn of_endpoint<F: Family>(skb: &Skb, packet: &Parsed<F>) -> Result<Destination, Verdict> {
    if let Some(entry) = F::endpoint(&packet.destination) {
        return Ok(Destination::Local(entry));
    }
    forwardable::<F>(&packet.destination)?;
    let Some(route) = F::route(&packet.destination) else {
        return Err(Verdict::Punt(PuntReason::NoRoute));
    };
    if route.kind == RouteKind::Remote as u32 {
        redirect::next_hop(skb, packet).map(Destination::Remote)
    } else if route.kind == RouteKind::Node as u32 {
        Err(Verdict::Punt(PuntReason::NodeAddress))
    } else {
        // A kind that this program does not know is one it does not understand.
        Err(Verdict::Punt(PuntReason::NoRoute))
    }
}

/// For a packet from outside: local endpoints only; all else is the kernel's.
#[inline(always)]
pub fn of_uplink<F: Family>(packet: &Parsed<F>) -> Result<EndpointEntry, Verdict> {
    if let Some(entry) = F::endpoint(&packet.destination) {
        return Ok(entry);
    }
    forwardable::<F>(&packet.destination)?;
    match F::route(&packet.destination) {
        Some(route) if route.kind == RouteKind::Node as u32 => {
            Err(Verdict::Punt(PuntReason::NodeAddress))
        }
        _ => Err(Verdict::Punt(PuntReason::NoRoute)),
    }
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
