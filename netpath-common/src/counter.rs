//! Per-hop counters: the `hops` map.

use crate::{Ifindex, Verdict, map_type};

/// Indexes of `hop_hits`, and entries of `hop_rows`: hops whose packets are counted without a lookup in a hash table. What finds
/// no room is counted in `hops`.
pub const HOP_ROWS: u32 = 1024;

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
    ///
    /// It is put together in words, as the kernel's hash reads it: a processor that is to read a word just written in
    /// parts waits until they are in its cache, which is a good part of what counting a packet costs.
    #[inline(always)]
    pub const fn new(ingress: Ifindex, egress: Ifindex, verdict: Verdict) -> Self {
        let packed = verdict.packed();
        let why = if cfg!(target_endian = "little") {
            packed
        } else {
            packed << 16 | packed >> 8 & 0xff00
        };
        Self::from_words([ingress.0, egress.0, why])
    }

    /// The row of these [words](Self::words).
    #[inline(always)]
    pub const fn from_words(words: [u32; 3]) -> Self {
        // SAFETY: a `repr(C)` structure of two indexes and, in the third word, the reason, the outcome and a zero, which may be
        // anything.
        unsafe { core::mem::transmute::<[u32; 3], Self>(words) }
    }

    /// Ingress, egress, and in the third word reason and outcome.
    #[inline(always)]
    pub const fn words(self) -> [u32; 3] {
        // SAFETY: as in `from_words`.
        unsafe { core::mem::transmute::<Self, [u32; 3]>(self) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DropReason, PuntReason};

    #[test]
    fn a_row_holds_each_number_in_its_field() {
        for verdict in [
            Verdict::RedirectPeer,
            Verdict::RedirectNeigh,
            Verdict::Punt(PuntReason::Arp),
            Verdict::Drop(DropReason::Spoofed),
            Verdict::Deliver,
        ] {
            let (outcome, reason) = verdict.numbers();
            let expected = HopKey {
                ingress: Ifindex(0x0102_0304),
                egress: Ifindex(0x0506_0708),
                reason,
                outcome: outcome.number(),
                padding: 0,
            };
            let row = HopKey::new(expected.ingress, expected.egress, verdict);
            assert_eq!(row, expected, "{verdict:?}");
        }
    }
}
