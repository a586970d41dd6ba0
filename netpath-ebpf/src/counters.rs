//! Counts every packet exactly once.

use core::ops::AddAssign;

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    btf_maps::{HashMap, PerCpuArray, PerCpuHashMap},
    macros::btf_map,
};
use netpath_common::{HOP_ROWS as ROWS, HOPS_MAX, HopCounter, HopKey, OVERFLOW_ROWS};

use crate::once::once;

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

/// Hops whose packets are counted at an index of [`HOP_HITS`]. Each keeps it for as long as both interfaces are there.
#[btf_map(name = "hop_rows")]
pub static HOP_ROWS: HashMap<u32, HopKey, { ROWS as usize }> = HashMap::new();

/// What the decision cache has decided, without a lookup in a hash table: it counts beside [`HOPS`].
#[btf_map(name = "hop_hits")]
pub static HOP_HITS: PerCpuArray<HopCounter, { ROWS as usize }> = PerCpuArray::new();

/// No index of [`HOP_HITS`].
pub const NO_ROW: u32 = u32::MAX;

/// Rows of counters, of which this CPU has a slot in each.
pub trait Rows<K, V> {
    /// Adds to a row; false where there is none.
    fn add(&self, key: &K, one: V) -> bool;

    /// Makes a row that starts so; false where it is there already, or there is no room.
    fn make(&self, key: &K, one: V) -> bool;
}

impl<K, V: AddAssign, const MAX: usize, const FLAGS: usize> Rows<K, V>
    for PerCpuHashMap<K, V, MAX, FLAGS>
{
    #[inline(always)]
    fn add(&self, key: &K, one: V) -> bool {
        match self.get_ptr_mut(key) {
            Some(counter) => {
                // SAFETY: this CPU's slot; programs on one CPU do not interrupt each other on these hooks.
                unsafe { *counter += one };
                true
            }
            None => false,
        }
    }

    #[inline(always)]
    fn make(&self, key: &K, one: V) -> bool {
        // The per-CPU slots of other CPUs start at zero. NOEXIST, because another CPU may have made the row
        // meanwhile, and this one's slot in it is not to be lost.
        self.insert(key, one, u64::from(BPF_NOEXIST)).is_ok()
    }
}

/// Counts one packet of `length` bytes.
#[inline(always)]
pub fn count(hop: &HopKey, length: u32) {
    let one = HopCounter {
        packets: 1,
        bytes: u64::from(length),
    };
    if !count_in(&HOPS, hop, one) {
        let [_, _, why] = hop.words();
        counters_count_overflow(why, one.bytes);
    }
}

/// Counts in a map; false where it has neither the row nor room for it.
#[inline(always)]
pub fn count_in<K, V: Copy>(rows: &impl Rows<K, V>, key: &K, one: V) -> bool {
    // What another CPU has made between the first and the second is there to be added to.
    rows.add(key, one) || rows.make(key, one) || rows.add(key, one)
}

/// The index of a hop in [`HOP_HITS`], which it may get now; [`NO_ROW`] where others have those that it could get.
#[inline(always)]
pub fn row(hop: &HopKey) -> u32 {
    // Multiplied by 2^32 divided by the golden ratio, as what the cache goes by.
    let hash = (hop.ingress.0 ^ hop.egress.0.rotate_left(16)).wrapping_mul(0x9e37_79b9);
    let first = hash >> 16 & (ROWS - 1);
    for row in [first, first ^ 1] {
        // SAFETY: a few numbers are compared, and at once.
        match unsafe { HOP_ROWS.get(row) } {
            Some(taken) if taken == hop => return row,
            Some(_) => {}
            None if HOP_ROWS.insert(row, hop, u64::from(BPF_NOEXIST)).is_ok() => return row,
            // Another CPU was quicker.
            None => {}
        }
    }
    NO_ROW
}

/// Counts one packet of `length` bytes of a hop that has this index.
#[inline(always)]
pub fn count_hit(row: u32, hop: &HopKey, length: u32) {
    match HOP_HITS.get_ptr_mut(row) {
        Some(counter) => {
            let one = HopCounter {
                packets: 1,
                bytes: u64::from(length),
            };
            // SAFETY: as in `Rows::add`.
            unsafe { *counter += one };
        }
        None => count(hop, length),
    }
}

/// Counts in the row of an outcome and a reason, whatever the interfaces are.
#[inline(always)]
fn count_overflow(why: u32, bytes: u64) {
    let row = HopKey::from_words([0, 0, why]);
    let one = HopCounter { packets: 1, bytes };
    // It is preallocated, with a row for every outcome and reason there is: there is room.
    let _always = count_in(&HOP_OVERFLOW, &row, one);
}

once!(fn counters_count_overflow(why: u32, bytes: u64) = count_overflow);

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use netpath_common::{DropReason, Ifindex, Verdict};

    use super::*;

    /// Rows as one CPU finds them, while another one makes the same.
    #[derive(Default)]
    struct Raced {
        rows: RefCell<Vec<(HopKey, HopCounter)>>,
        /// The other CPU makes the row once this one has not found it.
        other_is_quicker: bool,
        is_full: bool,
        tries: Cell<u32>,
    }

    impl Rows<HopKey, HopCounter> for Raced {
        fn add(&self, hop: &HopKey, one: HopCounter) -> bool {
            let mut rows = self.rows.borrow_mut();
            let row = rows.iter_mut().find(|(key, _)| key == hop);
            let found = row.map(|(_, counter)| *counter += one).is_some();
            if !found && self.other_is_quicker {
                // This CPU's slot of a row that another one makes starts at zero.
                rows.push((*hop, HopCounter::default()));
            }
            found
        }

        fn make(&self, hop: &HopKey, one: HopCounter) -> bool {
            self.tries.set(self.tries.get() + 1);
            let mut rows = self.rows.borrow_mut();
            let is_there = rows.iter().any(|(key, _)| key == hop);
            if is_there || self.is_full {
                return false;
            }
            rows.push((*hop, one));
            true
        }
    }

    const ONE: HopCounter = HopCounter {
        packets: 1,
        bytes: 60,
    };

    fn hop() -> HopKey {
        HopKey::new(Ifindex(3), Ifindex(0), Verdict::Drop(DropReason::Spoofed))
    }

    #[test]
    fn a_row_is_made_once_and_added_to() {
        let rows = Raced::default();
        for packets in 1..=3 {
            assert!(count_in(&rows, &hop(), ONE));
            let bytes = 60 * packets;
            let expected = [(hop(), HopCounter { packets, bytes })];
            assert_eq!(*rows.rows.borrow(), expected);
        }
        assert_eq!(rows.tries.get(), 1);
    }

    #[test]
    fn the_packet_that_lost_the_race_is_counted() {
        let rows = Raced {
            other_is_quicker: true,
            ..Raced::default()
        };
        assert!(count_in(&rows, &hop(), ONE));
        assert_eq!(*rows.rows.borrow(), [(hop(), ONE)]);
    }

    #[test]
    fn without_room_nothing_is_counted_and_it_is_said() {
        let rows = Raced {
            is_full: true,
            ..Raced::default()
        };
        assert!(!count_in(&rows, &hop(), ONE));
        assert_eq!(*rows.rows.borrow(), []);
    }
}
