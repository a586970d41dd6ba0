//! Longest-prefix-match route table: the `routes_v4` and `routes_v6` maps. A key is the prefix length in
//! bits (u32, host order) and the address in network order.

use crate::{EndpointEntry, map_type};

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
    /// The endpoint that the prefix is routed to, as at any of its addresses; [`EndpointEntry::NODE`] for a prefix of
    /// another node's endpoints, which the kernel's routes know the way to.
    pub endpoint: EndpointEntry,
}

impl RouteEntry {
    /// The entry of a prefix of another node's endpoints.
    pub const REMOTE: Self = Self {
        endpoint: EndpointEntry::NODE,
    };

    /// The entry of a prefix that is routed to the endpoint which has this address entry.
    pub const fn local(endpoint: &EndpointEntry) -> Self {
        Self {
            endpoint: *endpoint,
        }
    }

    /// What the prefix leads to.
    #[inline(always)]
    pub const fn kind(&self) -> RouteKind {
        if self.endpoint.is_node() {
            RouteKind::Remote
        } else {
            RouteKind::Local
        }
    }
}

map_type!(RouteEntry, 20, [endpoint]);
