//! One hop with its counters.

use netpath_common::{HopCounter, Outcome};
use serde::{Serialize, Serializer};

use super::{OVERFLOW, Reason};

/// One hop with its counters, as `netpath stats` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HopRow {
    /// The node.
    pub node: String,
    /// The interface it came in by; [`LOCAL`](super::LOCAL) for what the node itself sent; `if<index>` where the
    /// interface is gone; [`OVERFLOW`] where it is not known.
    pub ingress: String,
    /// The interface it left by; `None` where netpath chose none (punts, drops).
    pub egress: Option<String>,
    /// The endpoint that sent it, or, where it came from elsewhere, the one that it went to.
    pub endpoint: Option<String>,
    /// What became of it.
    #[serde(serialize_with = "outcome_name")]
    pub outcome: Outcome,
    /// Why, for punts and drops.
    pub reason: Option<Reason>,
    /// Packets as the hook sees them: a GSO packet counts once.
    pub packets: u64,
    /// Sum of `skb->len`, in bytes.
    pub bytes: u64,
}

impl HopRow {
    /// Whether the row counts what found no room in the per-hop counters.
    pub fn is_overflow(&self) -> bool {
        self.ingress == OVERFLOW
    }

    pub(super) fn identity(&self) -> Identity<'_> {
        (
            &self.node,
            &self.ingress,
            self.egress.as_deref(),
            self.endpoint.as_deref(),
            self.outcome,
            self.reason,
        )
    }
}

/// What tells one row from another, and their order.
pub(super) type Identity<'a> = (
    &'a str,
    &'a str,
    Option<&'a str>,
    Option<&'a str>,
    Outcome,
    Option<Reason>,
);

fn outcome_name<S: Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.name())
}

pub(super) fn counter(row: &HopRow) -> HopCounter {
    HopCounter {
        packets: row.packets,
        bytes: row.bytes,
    }
}
