//! Counters summed up.

use serde::Serialize;

use super::Hops;
use crate::counters::{Group, GroupBy};

/// `netpath stats --by WHAT -j`. Schema: docs/schema/stats.json.
#[derive(Clone, Debug, Serialize)]
pub struct Groups {
    /// `interface`, `endpoint` or `reason`.
    pub by: &'static str,
    /// A row for each.
    pub groups: Vec<GroupRow>,
    /// Time between two looks, whose difference the counters are, to a millisecond; null for what was counted ever.
    pub seconds: Option<f64>,
    /// [`Hops::VERSION`].
    pub version: u32,
}

/// One interface, endpoint or reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupRow {
    /// The node.
    pub node: String,
    /// The interface's or the endpoint's name; null for a reason.
    pub name: Option<String>,
    /// Of a reason, as of a hop; null otherwise.
    pub outcome: Option<&'static str>,
    /// As of a hop.
    pub reason: Option<String>,
    /// What came from it; of a reason, all that it counts.
    pub from: Count,
    /// Packets of `from` that were redirected.
    pub redirected: u64,
    /// Packets of `from` that were left to the kernel.
    pub punted: u64,
    /// Packets of `from` that were dropped.
    pub dropped: u64,
    /// What went to it: redirected, or delivered by the kernel.
    pub to: Count,
}

/// Packets and bytes, as of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    /// A GSO packet counts once.
    pub packets: u64,
    /// Sum of `skb->len`, in bytes.
    pub bytes: u64,
}

impl Groups {
    /// Of groups, and of the time in which they were counted.
    #[must_use]
    pub fn new(by: GroupBy, groups: &[Group], seconds: Option<f64>) -> Self {
        Self {
            by: by.name(),
            groups: groups.iter().map(GroupRow::from).collect(),
            seconds,
            version: Hops::VERSION,
        }
    }
}

impl From<&Group> for GroupRow {
    fn from(group: &Group) -> Self {
        let count = |counter: &netpath_common::HopCounter| Count {
            packets: counter.packets,
            bytes: counter.bytes,
        };
        Self {
            node: group.node.clone(),
            name: group.name.clone(),
            outcome: group.outcome.map(|outcome| outcome.name()),
            reason: group.reason.map(|reason| reason.to_string()),
            from: count(&group.from),
            redirected: group.redirected,
            punted: group.punted,
            dropped: group.dropped,
            to: count(&group.to),
        }
    }
}
