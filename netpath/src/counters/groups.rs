//! Hops summed up: by interface, by endpoint, by reason.

use std::collections::BTreeMap;

use netpath_common::{HopCounter, Outcome};

use super::{Counters, HopRow, Reason, row::counter};

/// What hops are summed up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// The interface that packets came in by, or left by.
    Interface,
    /// The endpoint that sent them, or got them.
    Endpoint,
    /// What became of them, and why.
    Reason,
}

impl GroupBy {
    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Endpoint => "endpoint",
            Self::Reason => "reason",
        }
    }
}

/// The hops of one interface, endpoint or reason of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The node.
    pub node: String,
    /// The interface's or the endpoint's name; `None` for a reason.
    pub name: Option<String>,
    /// Of a reason: what became of the packets.
    pub outcome: Option<Outcome>,
    /// Why; `None` where there is no reason, as for redirects.
    pub reason: Option<Reason>,
    /// What came from it; of a reason, all that it counts.
    pub from: HopCounter,
    /// Packets of [`Self::from`] that were redirected.
    pub redirected: u64,
    /// Packets of it that were left to the kernel.
    pub punted: u64,
    /// Packets of it that were dropped.
    pub dropped: u64,
    /// What went to it: redirected, or delivered by the kernel. Of a reason, nothing.
    pub to: HopCounter,
}

impl Group {
    fn came(&mut self, row: &HopRow) {
        self.from += counter(row);
        match row.outcome {
            Outcome::RedirectPeer | Outcome::RedirectNeigh => self.redirected += row.packets,
            Outcome::Punt => self.punted += row.packets,
            Outcome::Drop => self.dropped += row.packets,
            Outcome::Deliver => {}
        }
    }
}

impl Counters {
    /// Who sent, and who got what a row counts, as far as endpoints of its node did.
    fn ends<'a>(&'a self, row: &'a HopRow) -> [Option<&'a str>; 2] {
        let of = |dev: Option<&String>| {
            let key = (row.node.clone(), dev?.clone());
            self.endpoints.get(&key).map(String::as_str)
        };
        [of(Some(&row.ingress)), of(row.egress.as_ref())]
    }

    /// Whether an endpoint of this name is known.
    #[must_use]
    pub fn knows_endpoint(&self, name: &str) -> bool {
        let mut known = self.endpoints.values();
        known.any(|known| known == name)
    }

    /// Keeps the rows of what an endpoint sent or got.
    pub fn retain_endpoint(&mut self, name: &str) {
        let rows = std::mem::take(&mut self.rows);
        let is_its = |row: &HopRow| {
            row.endpoint.as_deref() == Some(name) || self.ends(row).contains(&Some(name))
        };
        self.rows = rows.into_iter().filter(is_its).collect();
    }

    /// Sums rows up, in the order of their names. The rows are these counters', or a
    /// [`difference`](super::difference) of them.
    #[must_use]
    pub fn groups(&self, rows: &[HopRow], by: GroupBy) -> Vec<Group> {
        let mut sums = Sums::default();
        for row in rows {
            let [from, to] = match by {
                GroupBy::Interface => [Some(row.ingress.as_str()), row.egress.as_deref()],
                GroupBy::Endpoint => self.ends(row),
                GroupBy::Reason => {
                    sums.of_reason(row).came(row);
                    continue;
                }
            };
            // What the kernel delivers came in elsewhere, and was counted there.
            if let (Some(from), false) = (from, row.outcome == Outcome::Deliver) {
                sums.named(&row.node, from).came(row);
            }
            if let (Some(to), false) = (to, matches!(row.outcome, Outcome::Punt | Outcome::Drop)) {
                sums.named(&row.node, to).to += counter(row);
            }
        }
        sums.0.into_values().collect()
    }
}

/// Node, name, outcome and reason.
type Key = (String, Option<String>, Option<Outcome>, Option<Reason>);

#[derive(Default)]
struct Sums(BTreeMap<Key, Group>);

impl Sums {
    fn named(&mut self, node: &str, name: &str) -> &mut Group {
        self.one(Group {
            node: node.to_owned(),
            name: Some(name.to_owned()),
            ..Group::default()
        })
    }

    fn of_reason(&mut self, row: &HopRow) -> &mut Group {
        self.one(Group {
            node: row.node.clone(),
            outcome: Some(row.outcome),
            reason: row.reason,
            ..Group::default()
        })
    }

    fn one(&mut self, empty: Group) -> &mut Group {
        let key = (
            empty.node.clone(),
            empty.name.clone(),
            empty.outcome,
            empty.reason,
        );
        self.0.entry(key).or_insert(empty)
    }
}
