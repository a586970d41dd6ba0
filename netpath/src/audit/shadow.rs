//! Shadow mode: what the fast path would have done with packets, beside what has become of them.

use std::collections::{BTreeMap, BTreeSet};

use netpath_common::Outcome;

use super::{Act, Group, Item};
use crate::counters::{HopRow, Reason};

/// What was counted at one moment, since the node is up.
#[derive(Clone, Debug, Default)]
pub struct Moment {
    /// The node's hops, as the programs counted them.
    pub hops: Vec<HopRow>,
    /// The same, read so much earlier or later that no packet is seen delivered and not seen coming.
    pub deliveries: Vec<HopRow>,
    /// The host-side veths of its endpoints.
    pub veths: BTreeSet<String>,
    /// Packets that each interface has sent, as the kernel counts them.
    pub sent: BTreeMap<String, u64>,
    /// What packets would have met, with its counters.
    pub items: Vec<Item>,
}

/// Packets that the fast path would have taken from one interface to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// They came in by this interface; `None` where it is not told apart: an uplink sends what comes from anywhere.
    pub ingress: Option<String>,
    /// They would have left by this one.
    pub egress: String,
    /// How many.
    pub would: u64,
    /// How many the kernel has delivered that way, or sent.
    pub happened: u64,
}

impl Compared {
    /// Whether as many went that way. More are what is left to the kernel anyway.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.happened >= self.would
    }
}

/// Packets that the fast path would have dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spared {
    /// They came in by this interface.
    pub ingress: String,
    /// As which they were left to the kernel.
    pub reason: &'static str,
    /// How many.
    pub packets: u64,
}

/// A rule that does something and has met packets meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// Where it is, and what it does.
    pub rule: String,
    /// What it does.
    pub acts: Vec<Act>,
    /// How many packets it has met, of all.
    pub packets: u64,
}

/// What is told of the time between two moments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// By where packets would have gone.
    pub hops: Vec<Compared>,
    /// What would have been dropped.
    pub spared: Vec<Spared>,
    /// Rules that would have been passed by.
    pub met: Vec<Met>,
}

impl Comparison {
    /// Whether all went as the fast path would have had it, and nothing acted on it.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.hops.iter().all(Compared::agrees) && self.spared.is_empty() && self.met.is_empty()
    }
}

/// Compares what was counted since.
#[must_use]
pub fn compare(before: &Moment, after: &Moment) -> Comparison {
    let counted = crate::counters::difference(&before.hops, &after.hops);
    let delivered = crate::counters::difference(&before.deliveries, &after.deliveries);
    let is_delivered = |row: &&HopRow| row.outcome == Outcome::Deliver;
    let delivered: BTreeMap<(&str, &str), u64> = delivered
        .iter()
        .filter(is_delivered)
        .filter_map(|row| Some(((row.ingress.as_str(), row.egress.as_deref()?), row.packets)))
        .collect();
    let mut hops = Vec::new();
    let mut by_uplink: BTreeMap<&str, u64> = BTreeMap::new();
    let mut spared = Vec::new();
    for row in &counted {
        let Some(Reason::Punt(reason)) = row.reason.filter(|_| row.outcome == Outcome::Punt) else {
            continue;
        };
        match &row.egress {
            Some(egress) if reason.is_shadow() && after.veths.contains(egress) => {
                let way = (row.ingress.as_str(), egress.as_str());
                hops.push(Compared {
                    ingress: Some(row.ingress.clone()),
                    egress: egress.clone(),
                    would: row.packets,
                    happened: delivered.get(&way).copied().unwrap_or(0),
                });
            }
            Some(egress) if reason.is_shadow() => {
                *by_uplink.entry(egress).or_default() += row.packets;
            }
            None if reason.is_shadow() => spared.push(Spared {
                ingress: row.ingress.clone(),
                reason: reason.name(),
                packets: row.packets,
            }),
            _ => {}
        }
    }
    hops.extend(by_uplink.into_iter().map(|(egress, would)| {
        let sent = |moment: &Moment| moment.sent.get(egress).copied().unwrap_or(0);
        Compared {
            ingress: None,
            egress: egress.to_owned(),
            would,
            happened: sent(after).saturating_sub(sent(before)),
        }
    }));
    Comparison {
        hops,
        spared,
        met: met(&before.items, &after.items),
    }
}

/// The rules and policies that do something to what the fast path would pass by, and have met packets meanwhile.
fn met(before: &[Item], after: &[Item]) -> Vec<Met> {
    let key = |item: &Item| (item.place.clone(), item.handle, item.kind);
    let counted = |item: &Item| item.count.map_or(0, |count| count.packets);
    let before: BTreeMap<_, u64> = before.iter().map(|it| (key(it), counted(it))).collect();
    let acting = after
        .iter()
        .filter(|item| !item.acts.is_empty() && item.group > Group::Heeded);
    let met = acting.filter_map(|item| {
        // A rule that was made meanwhile has met all that it counts since.
        let then = before.get(&key(item)).copied().unwrap_or(0);
        let packets = counted(item)
            .checked_sub(then)
            .filter(|packets| *packets != 0)?;
        Some(Met {
            rule: item.line(),
            acts: item.acts.clone(),
            packets,
        })
    });
    met.collect()
}

#[cfg(test)]
mod tests {
    use netpath_common::{DropReason, PuntReason};

    use super::*;

    fn row(
        ingress: &str,
        egress: Option<&str>,
        outcome: Outcome,
        reason: Option<PuntReason>,
        packets: u64,
    ) -> HopRow {
        HopRow {
            node: "n".to_owned(),
            ingress: ingress.to_owned(),
            egress: egress.map(str::to_owned),
            endpoint: None,
            outcome,
            reason: reason.map(Reason::Punt),
            packets,
            bytes: 60 * packets,
        }
    }

    fn moment(times: u64, delivered: u64) -> Moment {
        let shadow = Some(PuntReason::Shadow);
        let hops = vec![
            row("va1", Some("va2"), Outcome::Punt, shadow, 5 * times),
            row("va1", Some("up0"), Outcome::Punt, shadow, 2 * times),
            row("va2", Some("up0"), Outcome::Punt, shadow, times),
            row(
                "va1",
                None,
                Outcome::Punt,
                Some(PuntReason::ShadowSpoofed),
                times,
            ),
            row("va1", None, Outcome::Punt, Some(PuntReason::Arp), times),
            row("va1", Some("va2"), Outcome::Deliver, None, delivered),
        ];
        Moment {
            deliveries: hops.clone(),
            hops,
            veths: ["va1", "va2"].map(str::to_owned).into(),
            sent: [("up0".to_owned(), 3 * times + 1)].into(),
            items: Vec::new(),
        }
    }

    #[test]
    fn what_would_have_been_done_is_set_beside_what_was() {
        let compared = compare(&moment(1, 5), &moment(3, 15));
        let told: Vec<_> = compared
            .hops
            .iter()
            .map(|it| {
                (
                    it.ingress.as_deref(),
                    it.egress.as_str(),
                    it.would,
                    it.happened,
                    it.agrees(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (Some("va1"), "va2", 10, 10, true),
                (None, "up0", 6, 6, true)
            ]
        );
        assert_eq!(compared.spared.len(), 1);
        assert_eq!(
            (compared.spared[0].reason, compared.spared[0].packets),
            ("shadow_spoofed", 2)
        );
        assert_eq!(
            PuntReason::instead_of(DropReason::Spoofed).map(PuntReason::name),
            Some("shadow_spoofed")
        );
        let compared = compare(&moment(1, 5), &moment(3, 14));
        assert!(!compared.hops[0].agrees() && !compared.agrees());
    }
}
