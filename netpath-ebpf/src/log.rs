//! Per-packet logging, for debugging only: an object built without the feature holds none of it.

use netpath_common::HopKey;

use crate::access::Skb;

/// Logs what was decided for one packet.
#[cfg(feature = "debug-log")]
#[inline(always)]
pub fn decision(skb: &Skb, hop: &HopKey, length: u32) {
    aya_log_ebpf::debug!(
        skb.context(),
        "ingress {} egress {} outcome {} reason {} bytes {}",
        hop.ingress.0,
        hop.egress.0,
        hop.outcome,
        hop.reason,
        length
    );
}

/// Nothing.
#[cfg(not(feature = "debug-log"))]
#[inline(always)]
pub fn decision(_skb: &Skb, _hop: &HopKey, _length: u32) {}
