//! What was counted between two reads.

use std::collections::BTreeMap;

use netpath_common::HopCounter;

use super::{
    HopRow,
    row::{Identity, counter},
};

/// What was counted between two reads: rows that moved. A row that counts less than before was forgotten
/// with its interface meanwhile and began again, so all that it holds is new.
#[must_use]
pub fn difference(before: &[HopRow], after: &[HopRow]) -> Vec<HopRow> {
    let mut counted: BTreeMap<Identity<'_>, HopCounter> = BTreeMap::new();
    for row in before {
        *counted.entry(row.identity()).or_default() += counter(row);
    }
    let mut now: BTreeMap<Identity<'_>, (&HopRow, HopCounter)> = BTreeMap::new();
    for row in after {
        now.entry(row.identity())
            .or_insert((row, HopCounter::default()))
            .1 += counter(row);
    }
    now.into_iter()
        .filter_map(|(identity, (row, after))| {
            let before = counted.get(&identity).copied().unwrap_or_default();
            let moved = match after.packets.checked_sub(before.packets) {
                Some(packets) => HopCounter {
                    packets,
                    bytes: after.bytes.saturating_sub(before.bytes),
                },
                None => after,
            };
            (moved.packets != 0).then(|| HopRow {
                packets: moved.packets,
                bytes: moved.bytes,
                ..row.clone()
            })
        })
        .collect()
}
