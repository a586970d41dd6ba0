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
    /// What the fast path would have done beside what happened; null unless it was asked for.
    pub shadow: Option<AuditedShadow>,
}

impl From<&provision::AuditedNode> for AuditedNode {
    fn from(node: &provision::AuditedNode) -> Self {
        Self {
            node: node.name.clone(),
            fast_path: node.fast_path.map(provision::FastPathMode::name),
            changes_behaviour: node.changes_behaviour(),
            items: node.items.iter().map(AuditItem::from).collect(),
            shadow: None,
        }
    }
}

/// What the fast path would have done, in shadow mode, beside what happened meanwhile.
#[derive(Clone, Debug, Serialize)]
pub struct AuditedShadow {
    /// For how long that was watched.
    pub seconds: f64,
    /// Whether all went as the fast path would have had it, and no rule acted on packets.
    pub agrees: bool,
    /// By where packets would have gone.
    pub hops: Vec<ComparedHop>,
    /// What would have been dropped.
    pub would_drop: Vec<WouldDrop>,
    /// Rules and policies that do something, would be passed by, and have met packets meanwhile.
    pub rules: Vec<MetRule>,
}

/// Packets that the fast path would have taken from one interface to another.
#[derive(Clone, Debug, Serialize)]
pub struct ComparedHop {
    /// They came in by this interface; null where that is not told apart.
    pub ingress: Option<String>,
    /// They would have left by this one.
    pub egress: String,
    /// Packets that would have gone this way.
    pub would: u64,
    /// Packets that the kernel delivered this way, or sent by this uplink.
    pub happened: u64,
    /// Whether as many went this way, or more, which are left to the kernel anyway.
    pub agrees: bool,
}

/// Packets that the fast path would have dropped.
#[derive(Clone, Debug, Serialize)]
pub struct WouldDrop {
    /// They came in by this interface.
    pub ingress: String,
    /// As which they were counted (`punt` in `netpath stats`).
    pub reason: &'static str,
    /// How many.
    pub packets: u64,
}

/// A rule that has met packets meanwhile.
#[derive(Clone, Debug, Serialize)]
pub struct MetRule {
    /// Where it is, and what it does.
    pub rule: String,
    /// What it does: `drop`, `rewrite`, `mark`, `queue`, `log`.
    pub acts: Vec<&'static str>,
    /// How many packets it has met, of all.
    pub packets: u64,
}

impl AuditedShadow {
    /// Of what was compared over so many seconds.
    #[must_use]
    pub fn new(compared: &audit::Comparison, seconds: f64) -> Self {
        let hop = |it: &audit::Compared| ComparedHop {
            ingress: it.ingress.clone(),
            egress: it.egress.clone(),
            would: it.would,
            happened: it.happened,
            agrees: it.agrees(),
        };
        let spared = |it: &audit::Spared| WouldDrop {
            ingress: it.ingress.clone(),
            reason: it.reason,
            packets: it.packets,
        };
        let met = |it: &audit::Met| MetRule {
            rule: it.rule.clone(),
            acts: it.acts.iter().map(|act| act.name()).collect(),
            packets: it.packets,
        };
        Self {
            seconds,
            agrees: compared.agrees(),
            hops: compared.hops.iter().map(hop).collect(),
            would_drop: compared.spared.iter().map(spared).collect(),
            rules: compared.met.iter().map(met).collect(),
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
