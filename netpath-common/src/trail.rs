//! What the programs found of a packet that was made to be asked about (`netpath explain`). It is theirs alone: not pinned, gone
//! with the programs, and no part of the ABI.
//!
//! Such a packet carries [`TRAIL_SIGN`] and a random [`TrailKey`] in `cb` of its `__sk_buff`, and user space has put an entry of that
//! key into the map `trail` before it runs a program on it. A packet for whose key there is no entry is none, whatever it carries.

use crate::{EndpointId, Ifindex, map_type};

/// The first word of `cb` of a packet that may be asked about: the letters `nptr`.
pub const TRAIL_SIGN: u32 = 0x6e70_7472;

/// How many may be asked about at the same time.
pub const TRAILS: u32 = 64;

/// Key of the `trail` map: the other four words of `cb`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrailKey {
    /// Random.
    pub secret: [u32; 4],
}

/// Value of the `trail` map: what the stages found, and zero in what none of them has come to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// When user space made the entry, in nanoseconds of `CLOCK_MONOTONIC`.
    pub begun: u64,
    /// Whose the source of what an endpoint sends is: [`Trail::OWNED`] or [`Trail::ELSEWHERE`].
    pub source: u32,
    /// The host-side veth of the source's owner, where it is owned.
    pub source_ifindex: Ifindex,
    /// The owner, where it is owned.
    pub source_id: EndpointId,
    /// What the destination is: [`Trail::OWNED`] or [`Trail::ELSEWHERE`].
    pub destination: u32,
    /// The host-side veth of the endpoint that it is for, where it is owned.
    pub destination_ifindex: Ifindex,
    /// That endpoint.
    pub destination_id: EndpointId,
    /// 1 once the connection was found not to be the kernel's.
    pub is_fast: u32,
    /// Number of the [`Outcome`](crate::Outcome).
    pub outcome: u32,
    /// Number of the reason, as in [`HopKey`](crate::HopKey).
    pub reason: u32,
    /// The egress that was found, also where it is not taken in the end.
    pub egress: Ifindex,
    /// MTU of the path there as the kernel's FIB has it, in bytes; 0 where that was not asked.
    pub mtu: u32,
    /// `AF_INET` or `AF_INET6` of the next hop's address; less where it is reached without one.
    pub family: u32,
    /// The next hop's address, as its bytes lie in memory in network order; IPv4 uses the first word.
    pub gateway: [u32; 4],
}

impl Trail {
    /// An endpoint of this node has it, by address or by prefix.
    pub const OWNED: u32 = 1;
    /// It is of a prefix that is routed to other nodes, or the node's own.
    pub const ELSEWHERE: u32 = 2;
}

map_type!(TrailKey, 16, [secret]);
map_type!(
    Trail,
    72,
    [
        begun,
        source,
        source_ifindex,
        source_id,
        destination,
        destination_ifindex,
        destination_id,
        is_fast,
        outcome,
        reason,
        egress,
        mtu,
        family,
        gateway
    ]
);
