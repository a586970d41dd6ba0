//! The law: packets in = redirected + punted + dropped.

use std::collections::BTreeMap;

use netpath_common::Outcome;
use serde::Serialize;

use super::HopRow;

/// What came in by one interface, in packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterfaceTotals {
    /// The node.
    pub node: String,
    /// The interface.
    pub interface: String,
    /// Everything that was counted there.
    pub packets_in: u64,
    /// Redirected to a peer or a neighbour.
    pub redirected: u64,
    /// Left to the kernel.
    pub punted: u64,
    /// Dropped.
    pub dropped: u64,
}

/// An interface whose counters do not add up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} on {}: {} packets came in, and {} are counted ({} redirected, {} punted, {} dropped)",
    .totals.interface, .totals.node, .expected, .totals.packets_in, .totals.redirected, .totals.punted,
    .totals.dropped
)]
pub struct LawBroken {
    /// What was counted.
    pub totals: InterfaceTotals,
    /// How many came in, as somebody else counted them.
    pub expected: u64,
}

impl InterfaceTotals {
    /// Holds the counters against a count of somebody else: the kernel's, or the sender's.
    ///
    /// # Errors
    /// When they differ.
    pub fn check(&self, expected: u64) -> Result<(), LawBroken> {
        if self.packets_in == expected
            && self.redirected + self.punted + self.dropped == self.packets_in
        {
            return Ok(());
        }
        Err(LawBroken {
            totals: self.clone(),
            expected,
        })
    }
}

/// Sums rows by ingress interface. What the kernel delivered is left out: it came in by another interface,
/// where it was counted as punted, or from the node itself.
#[must_use]
pub fn totals(rows: &[HopRow]) -> Vec<InterfaceTotals> {
    let mut totals: BTreeMap<(&str, &str), InterfaceTotals> = BTreeMap::new();
    for row in rows {
        if row.outcome == Outcome::Deliver {
            continue;
        }
        let sum = totals
            .entry((&row.node, &row.ingress))
            .or_insert_with(|| InterfaceTotals {
                node: row.node.clone(),
                interface: row.ingress.clone(),
                packets_in: 0,
                redirected: 0,
                punted: 0,
                dropped: 0,
            });
        sum.packets_in += row.packets;
        match row.outcome {
            Outcome::RedirectPeer | Outcome::RedirectNeigh => sum.redirected += row.packets,
            Outcome::Punt => sum.punted += row.packets,
            Outcome::Drop => sum.dropped += row.packets,
            Outcome::Deliver => {}
        }
    }
    totals.into_values().collect()
}
