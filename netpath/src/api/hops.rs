//! Per-hop counters and rates.

use serde::Serialize;

use crate::counters::HopRow;

/// `netpath stats -j`. Schema: docs/schema/stats.json.
#[derive(Clone, Debug, Serialize)]
pub struct Hops {
    /// A row for each hop.
    pub hops: Vec<Hop>,
    /// [`Hops::VERSION`].
    pub version: u32,
}

impl Hops {
    /// Of the document, and of [`Rates`].
    pub const VERSION: u32 = 1;
}

impl From<&[HopRow]> for Hops {
    fn from(rows: &[HopRow]) -> Self {
        Self {
            hops: rows.iter().map(Hop::from).collect(),
            version: Self::VERSION,
        }
    }
}

/// One hop with its counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// The node.
    pub node: String,
    /// The interface that packets came in by; `local` for what the node itself sent; `if<index>` where the interface
    /// is gone; `(overflow)` where it is not known.
    pub ingress: String,
    /// The interface that they left by; null where netpath chose none (punts, drops).
    pub egress: Option<String>,
    /// The endpoint that sent them, or, where they came from elsewhere, the one that they went to.
    pub endpoint: Option<String>,
    /// `redirect_peer`, `redirect_neigh`, `punt`, `drop` or `deliver`.
    pub outcome: &'static str,
    /// Why, for punts and drops: a name in snake_case.
    pub reason: Option<String>,
    /// Packets as the hook sees them: a GSO packet counts once.
    pub packets: u64,
    /// Sum of `skb->len`, in bytes.
    pub bytes: u64,
}

impl From<&HopRow> for Hop {
    fn from(row: &HopRow) -> Self {
        Self {
            node: row.node.clone(),
            ingress: row.ingress.clone(),
            egress: row.egress.clone(),
            endpoint: row.endpoint.clone(),
            outcome: row.outcome.name(),
            reason: row.reason.map(|reason| reason.to_string()),
            packets: row.packets,
            bytes: row.bytes,
        }
    }
}

/// One of the documents of `netpath stats --watch -j`. Schema: docs/schema/stats.json.
#[derive(Clone, Debug, Serialize)]
pub struct Rates {
    /// A row for each hop that packets took.
    pub hops: Vec<Rate>,
    /// Time between the two looks, to a millisecond.
    pub seconds: f64,
    /// [`Hops::VERSION`].
    pub version: u32,
}

/// What moved between two looks.
#[derive(Clone, Debug, Serialize)]
pub struct Rate {
    /// The hop, with what it counted meanwhile.
    #[serde(flatten)]
    pub hop: Hop,
    /// To a tenth.
    pub packets_per_second: f64,
    /// To a tenth.
    pub bytes_per_second: f64,
}
