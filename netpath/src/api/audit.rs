//! What the fast path bypasses.

use serde::Serialize;

use crate::{audit, provision};

/// `netpath audit -j`. Schema: docs/schema/audit.json.
#[derive(Clone, Debug, Serialize)]
pub struct Audit {
    /// The nodes that were looked at.
    pub nodes: Vec<AuditedNode>,
    /// [`Audit::VERSION`].
    pub version: u32,
}

impl Audit {
    /// Of the document.
    pub const VERSION: u32 = 1;

    /// Of these nodes.
    #[must_use]
    pub fn new(nodes: &[provision::AuditedNode]) -> Self {
        Self {
            nodes: nodes.iter().map(AuditedNode::from).collect(),
            version: Self::VERSION,
        }
    }
}

/// One node.
#[derive(Clone, Debug, Serialize)]
pub struct AuditedNode {
    /// Its name.
    pub node: String,
    /// `on`, `shadow` or `off`; null where the node is not up.
    pub fast_path: Option<&'static str>,
    /// Whether something changes what becomes of packets and was not accepted.
    pub changes_behaviour: bool,
    /// All that packets between what is routed would have met.
    pub items: Vec<AuditItem>,
}

impl From<&provision::AuditedNode> for AuditedNode {
    fn from(node: &provision::AuditedNode) -> Self {
        Self {
            node: node.name.clone(),
            fast_path: node.fast_path.map(provision::FastPathMode::name),
            changes_behaviour: node.changes_behaviour(),
            items: node.items.iter().map(AuditItem::from).collect(),
        }
    }
}

/// One thing that packets would have met.
#[derive(Clone, Debug, Serialize)]
pub struct AuditItem {
    /// `no_effect`, `heeded`, `accepted`, `unknown` or `changes_behaviour`.
    pub group: &'static str,
    /// `rule`, `policy`, `unread`, `interface`, `addresses` or `rp_filter`.
    pub kind: &'static str,
    /// A table and a chain, or an interface.
    pub place: String,
    /// A rule's number in its table, or its place in a chain of legacy xtables; else null.
    pub handle: Option<u64>,
    /// As a program prints it; else what it does, in words.
    pub text: String,
    /// What it does: `drop`, `rewrite`, `mark`, `queue`, `log`.
    pub acts: Vec<&'static str>,
    /// Why it is in its group; empty where that is plain.
    pub why: String,
    /// What it has met, of all packets; null where that is not counted.
    pub packets: Option<u64>,
    /// The same in bytes, from the IP header on.
    pub bytes: Option<u64>,
    /// As which packets are left to the kernel for it (`punt` in `netpath stats`); else null.
    pub reason: Option<&'static str>,
}

impl From<&audit::Item> for AuditItem {
    fn from(item: &audit::Item) -> Self {
        Self {
            group: item.group.name(),
            kind: item.kind.name(),
            place: item.place.clone(),
            handle: item.handle,
            text: item.text.clone(),
            acts: item.acts.iter().map(|act| act.name()).collect(),
            why: item.why.clone(),
            packets: item.count.map(|count| count.packets),
            bytes: item.count.map(|count| count.bytes),
            reason: item.reason.map(netpath_common::PuntReason::name),
        }
    }
}
