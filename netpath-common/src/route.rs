//! Longest-prefix-match route table: the `routes_v4` and `routes_v6` maps. A key is the prefix length in
//! bits (u32, host order) and the address in network order.

use crate::{EndpointEntry, EndpointId, Ifindex, Mac, map_type};

/// What a prefix leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// Endpoints of another node: the kernel's FIB knows the next hop.
    Remote,
    /// An endpoint of this node, to which the whole prefix is routed.
    Local,
}

impl RouteKind {
    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Remote => "remote",
            Self::Local => "local",
        }
    }
}

/// Value of a prefix. It says all that is needed to send a packet on, so that a prefix costs one lookup; and
/// with an IPv6 key it still fits the 64 bytes that the kernel allocates for a node of the trie.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteEntry {
    /// The host-side veth of the endpoint that the prefix is routed to, in the node's namespace; 0 for a prefix
    /// of another node's endpoints.
    pub ifindex: Ifindex,
    /// That endpoint, else 0.
    pub id: EndpointId,
    /// MAC of the interface inside that endpoint, else zero.
    pub endpoint_mac: Mac,
    /// MAC of the host-side veth, else zero.
    pub host_mac: Mac,
}

impl RouteEntry {
    /// The entry of a prefix of another node's endpoints.
    pub const REMOTE: Self = Self {
        ifindex: Ifindex(0),
        id: EndpointId(0),
        endpoint_mac: Mac([0; 6]),
        host_mac: Mac([0; 6]),
    };

    /// The entry of a prefix that is routed to the endpoint which has this address entry.
    pub const fn local(endpoint: &EndpointEntry) -> Self {
        Self {
            ifindex: endpoint.ifindex,
            id: endpoint.id,
            endpoint_mac: endpoint.endpoint_mac,
            host_mac: endpoint.host_mac,
        }
    }

    /// What the prefix leads to.
    #[inline(always)]
    pub const fn kind(&self) -> RouteKind {
        match self.ifindex {
            Ifindex(0) => RouteKind::Remote,
            Ifindex(_) => RouteKind::Local,
        }
    }

    /// Where packets to a local prefix go: the entry of any of the endpoint's addresses.
    #[inline(always)]
    pub const fn endpoint(&self) -> EndpointEntry {
        EndpointEntry {
            ifindex: self.ifindex,
            id: self.id,
            endpoint_mac: self.endpoint_mac,
            host_mac: self.host_mac,
        }
    }
}

map_type!(RouteEntry, 20);
