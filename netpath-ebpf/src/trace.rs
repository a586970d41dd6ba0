//! Tells `netpath trace` what was decided of the packets that it follows. Where nobody traces it costs a packet that the stages
//! decide of a look at one number, and one that the cache decides of nothing: while somebody does, the cache keeps nothing.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, LruHashMap, RingBuf},
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
    macros::btf_map,
};
use netpath_common::{
    HopKey,
    trace::{IS_DECISION, TRACE_RING, TRACED_MAX, TRACES, TraceDecision, TraceLease},
};

use crate::{access::Skb, once::once};

/// Until when somebody traces, and behind that until when each trace goes on, which only user space reads.
#[btf_map(name = "cache_trace")]
pub static LEASES: Array<TraceLease, { 1 + TRACES as usize }> = Array::new();

/// The packets that each trace follows, by their addresses in the kernel: the observers' own maps.
#[btf_map(name = "cache_traced")]
pub static TRACED: ArrayOfMaps<LruHashMap<u64, u64, { TRACED_MAX as usize }>, { TRACES as usize }> =
    ArrayOfMaps::new();

/// Where each trace is told: the observers' own ring buffers.
#[btf_map(name = "cache_told")]
pub static TOLD: ArrayOfMaps<RingBuf<TraceDecision, { TRACE_RING as usize }>, { TRACES as usize }> =
    ArrayOfMaps::new();

/// Whether somebody traces.
#[inline(always)]
pub fn is_wanted() -> bool {
    let until = LEASES.get(0).map_or(0, |lease| lease.until);
    // SAFETY: it takes nothing.
    until != 0 && until > unsafe { bpf_ktime_get_ns() }
}

/// Tells what was decided of a packet, if it is followed.
#[inline(always)]
pub fn decision(skb: &Skb, hop: &HopKey, length: u32) {
    if is_wanted() {
        let [ingress, egress, why] = hop.words();
        let ends = u64::from(ingress) | u64::from(egress) << 32;
        trace_tell_all(skb, ends, why, length);
    }
}

once!(fn trace_tell_all(&context, ends: u64, why: u32, length: u32) = tell_all);

#[inline(always)]
fn tell_all(skb: &Skb, ends: u64, why: u32, length: u32) {
    let hop = HopKey::from_words([ends as u32, (ends >> 32) as u32, why]);
    for trace in 0..TRACES {
        tell(trace, skb.address(), &hop, length);
    }
}

#[inline(always)]
fn tell(trace: u32, skb: u64, hop: &HopKey, length: u32) {
    let (Some(traced), Some(told)) = (TRACED.get(trace), TOLD.get(trace)) else {
        return;
    };
    // SAFETY: whether it is there is all that is asked.
    if unsafe { traced.get(skb) }.is_none() {
        return;
    }
    let decision = TraceDecision {
        kind: IS_DECISION,
        // SAFETY: it takes nothing.
        cpu: unsafe { bpf_get_smp_processor_id() },
        // SAFETY: as above.
        time: unsafe { bpf_ktime_get_ns() },
        skb,
        hop: *hop,
        length,
    };
    // Without room it is lost, which the trace notices: a packet goes on that nobody has decided of.
    let _lost = told.output(decision, 0);
}
