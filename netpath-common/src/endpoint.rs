//! Exact-match endpoint addresses: the `endpoints_v4` and `endpoints_v6` maps, keyed by the address as
//! `[u8; 4]` or `[u8; 16]` in network order.

use crate::{EndpointId, Ifindex, Mac, map_type};

/// Where a local address is. An entry is written only when the endpoint is complete, and is the only thing
/// that lets packets of this address in or out of the fast path.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointEntry {
    /// The host-side veth, in the node's namespace.
    pub ifindex: Ifindex,
    /// The endpoint that owns the address.
    pub id: EndpointId,
    /// MAC of the interface inside the endpoint. Stands before `host_mac` as in an Ethernet header.
    pub endpoint_mac: Mac,
    /// MAC of the host-side veth.
    pub host_mac: Mac,
}

map_type!(EndpointEntry, 20);
