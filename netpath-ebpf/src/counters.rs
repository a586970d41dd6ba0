//! Counts every packet exactly once.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    btf_maps::PerCpuHashMap,
    macros::btf_map,
};
use netpath_common::{HOPS_MAX, HopCounter, HopKey, Ifindex, OVERFLOW_ROWS};

/// Per-hop counters.
#[btf_map(name = "hops")]
pub static HOPS: PerCpuHashMap<
    HopKey,
    HopCounter,
    { HOPS_MAX as usize },
    { BPF_F_NO_PREALLOC as usize },
> = PerCpuHashMap::new();

/// What found no room in `hops`, by outcome and reason only: preallocated, with room for all of them.
#[btf_map(name = "hop_overflow")]
pub static HOP_OVERFLOW: PerCpuHashMap<HopKey, HopCounter, { OVERFLOW_ROWS as usize }> =
    PerCpuHashMap::new();

/// Counts one packet of `length` bytes.
#[inline(always)]
pub fn count(hop: &HopKey, length: u32) {
    if add(hop, length) {
        return;
    }
    let one = HopCounter {
        packets: 1,
        bytes: u64::from(length),
    };
    // The per-CPU slots of other CPUs start at zero. NOEXIST, because another CPU may have made the row
    // meanwhile: then it is there to be added to.
    if HOPS.insert(hop, one, u64::from(BPF_NOEXIST)).is_ok() || add(hop, length) {
        return;
    }
    count_overflow(hop, length);
}

#[inline(always)]
fn add(hop: &HopKey, length: u32) -> bool {
    match HOPS.get_ptr_mut(hop) {
        Some(counter) => {
            // SAFETY: this CPU's slot; programs on one CPU do not interrupt each other on these hooks.
            unsafe {
                (*counter).packets += 1;
                (*counter).bytes += u64::from(length);
            }
            true
        }
        None => false,
    }
}

#[inline(never)]
fn count_overflow(hop: &HopKey, length: u32) {
    let row = HopKey {
        ingress: Ifindex(0),
        egress: Ifindex(0),
        ..*hop
    };
    if let Some(counter) = HOP_OVERFLOW.get_ptr_mut(row) {
        // SAFETY: as in `add`.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += u64::from(length);
        }
        return;
    }
    let one = HopCounter {
        packets: 1,
        bytes: u64::from(length),
    };
    // It holds a row for every outcome and reason there is, so it is never full; two CPUs that make the
    // same row at once are the one way to lose a count, and only the first of a row's.
    let _raced = HOP_OVERFLOW.insert(row, one, u64::from(BPF_NOEXIST));
}
