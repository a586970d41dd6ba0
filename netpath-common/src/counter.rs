//! Per-hop counters: the `hops` map.

use crate::{Ifindex, Verdict, map_type};

/// One passage of packets through a node.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HopKey {
    /// Interface it came in by; 0 for what the node itself sent.
    pub ingress: Ifindex,
    /// Interface it left by; 0 where netpath did not choose one (punts, drops).
    pub egress: Ifindex,
    /// Number of the punt or drop reason; 0 for outcomes without one.
    pub reason: u16,
    /// Number of the [`Outcome`](crate::Outcome).
    pub outcome: u8,
    /// Zero.
    pub padding: u8,
}

impl HopKey {
    /// The row that a packet with this verdict is counted in.
    pub const fn new(ingress: Ifindex, egress: Ifindex, verdict: Verdict) -> Self {
        let (outcome, reason) = verdict.numbers();
        Self {
            ingress,
            egress,
            reason,
            outcome: outcome.number(),
            padding: 0,
        }
    }
}

/// Packets and bytes of one hop on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HopCounter {
    /// Packets as the hook sees them: a GSO packet counts once.
    pub packets: u64,
    /// Sum of `skb->len`, in bytes, with the Ethernet header.
    pub bytes: u64,
}

impl core::ops::AddAssign for HopCounter {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

map_type!(HopKey, 12, [ingress, egress, reason, outcome, padding]);
map_type!(HopCounter, 16, [packets, bytes]);
