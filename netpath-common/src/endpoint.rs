//! Exact-match local addresses, of endpoints and of the node itself: the `endpoints_v4` and `endpoints_v6` maps, keyed by the address as
//! `[u8; 4]` or `[u8; 16]` in network order.

use crate::{EndpointId, Ifindex, Mac, map_type};

/// Where a local address is. An endpoint's entry is written only when the endpoint is complete, and lets packets for
/// this address take the fast path; those from it do so once the endpoint's interface is ready.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointEntry {
    /// The host-side veth, in the node's namespace; 0 for an address of the node itself.
    pub ifindex: Ifindex,
    /// The endpoint that owns the address; 0 for the node.
    pub id: EndpointId,
    /// MAC of the interface inside the endpoint. Stands before `host_mac` as in an Ethernet header.
    pub endpoint_mac: Mac,
    /// MAC of the host-side veth.
    pub host_mac: Mac,
    /// Number of the [`PuntReason`](crate::PuntReason) for which whatever is for this address is the kernel's; 0 for none.
    pub punt_to: u16,
    /// Number of the [`PuntReason`](crate::PuntReason) for which packets between this address and another that has one
    /// are the kernel's, in both directions; 0 for none. With [`EndpointEntry::ALONE`] it takes no other: all packets from
    /// and to this address are.
    pub punt_between: u16,
}

impl EndpointEntry {
    /// A bit of [`EndpointEntry::punt_between`]; no reason's number has it.
    pub const ALONE: u16 = 1 << 15;

    /// The entry of an address of the node itself: nobody else may send from it, and packets to it are the
    /// kernel's.
    pub const NODE: Self = Self {
        ifindex: Ifindex(0),
        id: EndpointId(0),
        endpoint_mac: Mac([0; 6]),
        host_mac: Mac([0; 6]),
        punt_to: 0,
        punt_between: 0,
    };

    /// The number of the reason in [`EndpointEntry::punt_between`].
    #[inline(always)]
    pub const fn between(&self) -> u16 {
        self.punt_between & !Self::ALONE
    }

    /// Whether the address is the node's own.
    #[inline(always)]
    pub const fn is_node(&self) -> bool {
        self.ifindex.0 == 0
    }
}

/// The host-side veth of an endpoint, in the `devices` map: `struct bpf_devmap_val` of `linux/bpf.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceEntry {
    /// The host-side veth, in the node's namespace.
    pub ifindex: Ifindex,
    /// Zero: an XDP program to run, of which netpath has none.
    pub program: u32,
}

map_type!(DeviceEntry, 8, [ifindex, program]);
map_type!(
    EndpointEntry,
    24,
    [ifindex, id, endpoint_mac, host_mac, punt_to, punt_between]
);
