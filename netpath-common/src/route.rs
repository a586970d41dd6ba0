//! Longest-prefix-match route table: the `routes_v4` and `routes_v6` maps. A key is the prefix length in
//! bits (u32, host order) and the address in network order.

use crate::{EndpointEntry, Ifindex, PuntReason, map_type};

/// A prefix, as the key of the tries: `struct bpf_lpm_trie_key_u8` of `linux/bpf.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrieKey<const N: usize> {
    length: u32,
    address: [u8; N],
}

impl<const N: usize> TrieKey<N> {
    /// The prefix of this length, in bits, that holds an address in network order.
    pub const fn new(length: u32, address: [u8; N]) -> Self {
        Self { length, address }
    }

    /// Length in bits.
    pub const fn length(&self) -> u32 {
        self.length
    }

    /// The address, in network order.
    pub const fn address(&self) -> [u8; N] {
        self.address
    }
}

/// By address, and shorter prefixes first: neighbours in this order are neighbours in the trie.
impl<const N: usize> Ord for TrieKey<N> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.address, self.length).cmp(&(other.address, other.length))
    }
}

impl<const N: usize> PartialOrd for TrieKey<N> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(feature = "user")]
impl<const N: usize> crate::Layout for TrieKey<N> {
    const FIELDS: &'static [crate::Field] = &[
        crate::Field {
            name: "length",
            offset: core::mem::offset_of!(Self, length),
            size: 4,
        },
        crate::Field {
            name: "address",
            offset: core::mem::offset_of!(Self, address),
            size: N,
        },
    ];
}

const _: () = assert!(size_of::<TrieKey<4>>() == 8 && size_of::<TrieKey<16>>() == 20);
// SAFETY: Copy, no invalid bit pattern, and no padding: an integer and an array of bytes that is a multiple of four
// long, as the assertion above says for both families.
#[cfg(feature = "user")]
unsafe impl aya::Pod for TrieKey<4> {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for TrieKey<16> {}

/// Index of the loopback device in every namespace (`LOOPBACK_IFINDEX` in net/flow.h).
const LOOPBACK: Ifindex = Ifindex(1);

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
    /// The endpoint that the prefix is routed to, as at any of its addresses; [`EndpointEntry::NODE`], but for
    /// `punt_between`, for a prefix of another node's endpoints, which the kernel's routes know the way to.
    pub endpoint: EndpointEntry,
}

impl RouteEntry {
    /// The entry of a prefix of another node's endpoints.
    pub const REMOTE: Self = Self {
        endpoint: EndpointEntry::NODE,
    };

    /// The entry of a prefix that the node takes for itself as a whole: nobody else may send from it, and packets to it are
    /// the kernel's. It is as if an endpoint without an id had it, behind the loopback device.
    pub const NODE: Self = Self {
        endpoint: EndpointEntry {
            ifindex: LOOPBACK,
            punt_to: PuntReason::NodeAddress as u16,
            ..EndpointEntry::NODE
        },
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

map_type!(RouteEntry, 24, [endpoint]);
