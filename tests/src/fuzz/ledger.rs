//! What the counters have to show after a number of packets, and whether they do.

use std::collections::BTreeMap;

use netpath::datapath::Maps;
use netpath_common::{DropReason, HopCounter, HopKey, Ifindex, Outcome, PuntReason};

use super::Violation;

/// The row that one packet is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// This one.
    Exact(HopKey),
    /// One of an interface's punts or drops, whatever the reason.
    Some(Ifindex, Outcome),
    /// None: it was counted where it came in.
    Nowhere,
}

type Rows = BTreeMap<HopKey, HopCounter>;

/// A node's counters, and what has been added to them.
#[derive(Debug)]
pub struct Ledger<'a> {
    maps: &'a Maps,
    before: Rows,
    expected: BTreeMap<Row, HopCounter>,
}

impl<'a> Ledger<'a> {
    /// Begins with what the counters show now.
    pub fn open(maps: &'a Maps) -> Self {
        Self {
            maps,
            before: read(maps),
            expected: BTreeMap::new(),
        }
    }

    /// One more packet of so many bytes has to be counted.
    pub fn expect(&mut self, row: Row, bytes: usize) {
        if row == Row::Nowhere {
            return;
        }
        *self.expected.entry(row).or_default() += HopCounter {
            packets: 1,
            bytes: bytes as u64,
        };
    }

    /// Reads the counters, and begins anew with what they show.
    ///
    /// # Errors
    /// When the difference is not what was expected.
    pub fn settle(&mut self) -> Result<(), Violation> {
        let now = read(self.maps);
        let mut found = BTreeMap::new();
        let mut rows = Rows::new();
        let expected = std::mem::take(&mut self.expected);
        for (&key, &counter) in &now {
            let before = self.before.get(&key).copied().unwrap_or_default();
            let difference = HopCounter {
                packets: counter.packets.wrapping_sub(before.packets),
                bytes: counter.bytes.wrapping_sub(before.bytes),
            };
            if difference != HopCounter::default() {
                *found.entry(row(key, &expected)).or_default() += difference;
                rows.insert(key, difference);
            }
        }
        let lost = self.before.keys().find(|&key| !now.contains_key(key));
        let lost = lost.copied();
        self.before = now;
        if found == expected && lost.is_none() {
            return Ok(());
        }
        Err(Violation::Counters {
            expected,
            found: rows,
            lost,
        })
    }
}

/// The row as it was expected: by its key, or as a punt or drop with a reason that exists.
fn row(key: HopKey, expected: &BTreeMap<Row, HopCounter>) -> Row {
    let exact = Row::Exact(key);
    if expected.contains_key(&exact) || key.egress != Ifindex(0) || key.padding != 0 {
        return exact;
    }
    match Outcome::from_number(key.outcome) {
        Some(Outcome::Punt) if PuntReason::from_number(key.reason).is_some() => {
            Row::Some(key.ingress, Outcome::Punt)
        }
        Some(Outcome::Drop) if DropReason::from_number(key.reason).is_some() => {
            Row::Some(key.ingress, Outcome::Drop)
        }
        _ => exact,
    }
}

fn read(maps: &Maps) -> Rows {
    let overflow = maps.hop_overflow.all().unwrap_or_else(|e| panic!("{e}"));
    assert!(overflow.is_empty(), "hop_overflow: {overflow:?}");
    maps.hops().unwrap_or_else(|e| panic!("{e}"))
}
