//! The exact difference that a test makes to a node's counters.

use std::collections::BTreeMap;

use netpath::datapath::Maps;
use netpath_common::{HopCounter, HopKey};

/// Does `work` and checks that it changed exactly these counters of the node, by exactly this much.
pub fn counted<T>(maps: &Maps, expected: &[(HopKey, HopCounter)], work: impl FnOnce() -> T) -> T {
    let before = read(maps);
    let result = work();
    let mut difference = read(maps);
    for (key, counter) in before {
        let now = difference.entry(key).or_default();
        now.packets -= counter.packets;
        now.bytes -= counter.bytes;
    }
    difference.retain(|_, counter| *counter != HopCounter::default());
    let expected: BTreeMap<_, _> = expected.iter().copied().collect();
    assert_eq!(difference, expected, "the counters' difference");
    result
}

fn read(maps: &Maps) -> BTreeMap<HopKey, HopCounter> {
    let overflow = maps.hop_overflow.all().unwrap_or_else(|e| panic!("{e}"));
    assert!(overflow.is_empty(), "hop_overflow: {overflow:?}");
    maps.hops().unwrap_or_else(|e| panic!("{e}"))
}
