//! What a namespace's nf_tables hold.

use std::{collections::BTreeMap, fmt};

use netpath_common::Family;

use super::{
    condition::NamePattern,
    operation::{Operation, Value},
    set::Set,
};
use crate::netfilter::{Count, Policy};

/// The family of a table, which says what packets its chains see: `NFPROTO_*` of linux/netfilter.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableFamily {
    /// IPv4 and IPv6.
    Inet,
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// ARP.
    Arp,
    /// What bridges forward.
    Bridge,
    /// All that an interface receives or sends.
    Netdev,
    /// Any other number.
    Other(u8),
}

impl TableFamily {
    /// The one that `nft` calls so.
    pub(in super::super) fn named(name: &str) -> Option<Self> {
        let known = [
            Self::Inet,
            Self::Ip,
            Self::Ip6,
            Self::Arp,
            Self::Bridge,
            Self::Netdev,
        ];
        known.into_iter().find(|family| family.name() == Some(name))
    }

    /// As `nft` calls it; `None` for a number that it has no word for.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Arp => "arp",
            Self::Bridge => "bridge",
            Self::Netdev => "netdev",
            Self::Other(_) => return None,
        })
    }
}

impl From<Family> for TableFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::Ip,
            Family::V6 => Self::Ip6,
        }
    }
}

impl fmt::Display for TableFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self) {
            (None, Self::Other(number)) => write!(f, "family {number}"),
            (name, _) => f.pad(name.unwrap_or_default()),
        }
    }
}

/// Where a base chain is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Before routing.
    Prerouting,
    /// For the node itself.
    Input,
    /// Forwarded.
    Forward,
    /// From the node itself.
    Output,
    /// After routing.
    Postrouting,
    /// At an interface, received. It is behind TC's ingress.
    Ingress,
    /// At an interface, to be sent. It is before TC's egress.
    Egress,
    /// Any other number.
    Other(u32),
}

/// A chain's name, unique in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId {
    /// Its table's family.
    pub family: TableFamily,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
}

/// What makes a chain one that the kernel calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// `filter`, `nat` or `route`.
    pub kind: String,
    /// Where it is called.
    pub hook: Hook,
    /// The chain with the lowest number is called first.
    pub priority: i32,
    /// What becomes of packets that no rule decides.
    pub policy: Policy,
    /// The interfaces of a chain at [`Hook::Ingress`] or [`Hook::Egress`].
    pub devices: Vec<NamePattern>,
    /// What the policy has decided, if that is counted.
    pub count: Option<Count>,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Of a base chain.
    pub base: Option<Base>,
    /// Its rules, in their order.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its number in its table, as `nft -a` shows it.
    pub handle: u64,
    /// Each is carried out if all before it were true.
    pub operations: Vec<Operation>,
    /// Its text, where it was read from one.
    pub text: Option<String>,
}

/// What a namespace's nf_tables hold, without tables that are switched off. Empty in a kernel without nf_tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// By name.
    pub chains: BTreeMap<ChainId, Chain>,
    /// The sets and maps that rules look into, of those that were asked for. The name of one stands where a chain's would.
    pub sets: BTreeMap<ChainId, Set>,
}

impl Ruleset {
    /// The chains that the kernel calls.
    pub fn base_chains(&self) -> impl Iterator<Item = (&ChainId, &Chain, &Base)> {
        let chains = self.chains.iter();
        chains.filter_map(|(id, chain)| Some((id, chain, chain.base.as_ref()?)))
    }

    /// Whether a rule has connection tracking look at the packets of a family; what is not understood may.
    pub fn tracks(&self, family: Family) -> bool {
        let sees = |id: &ChainId| match id.family {
            TableFamily::Inet => true,
            TableFamily::Ip => family == Family::V4,
            TableFamily::Ip6 => family == Family::V6,
            _ => false,
        };
        let chains = self.chains.iter().filter(|(id, _)| sees(id));
        let rules = chains.flat_map(|(_, chain)| &chain.rules);
        let mut operations = rules.flat_map(|rule| &rule.operations);
        operations.any(tracks)
    }
}

/// Whether an expression needs connection tracking (`nf_ct_netns_get`).
fn tracks(operation: &Operation) -> bool {
    match operation {
        Operation::Load { value, .. } | Operation::Store { to: value, .. } => {
            matches!(value, Value::Connection { .. })
        }
        Operation::Nat { .. }
        | Operation::Masquerade { .. }
        | Operation::Redirect { .. }
        | Operation::Notrack
        | Operation::Other(_)
        | Operation::Take(_) => true,
        Operation::Condition(name) => name.starts_with("conn"),
        Operation::Match { name, .. } => {
            name.starts_with("conn")
                || matches!(name.as_str(), "state" | "helper" | "cluster" | "socket")
        }
        Operation::Target { name, .. } => matches!(
            name.as_str(),
            "CT" | "NOTRACK"
                | "CONNMARK"
                | "CONNSECMARK"
                | "SNAT"
                | "DNAT"
                | "MASQUERADE"
                | "REDIRECT"
                | "NETMAP"
                | "SYNPROXY"
                | "TPROXY"
        ),
        _ => false,
    }
}
