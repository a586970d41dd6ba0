//! Rules and policies, of nf_tables and of legacy xtables.

use std::collections::BTreeSet;

use netpath_common::PuntReason;

use super::{Act, Group, Item, ItemKind, Pair, Rules, Subject};
use crate::{
    netfilter::{
        Count, Policy,
        nft::{
            Base, Chain, ChainId, Effect, EffectKind, Effects, Hook, Judged, Operation, Packets,
            Rule, TableFamily, Verdict, in_words,
        },
    },
    reconcile::Destination,
};

/// The priority of filter FORWARD (`NF_IP_PRI_FILTER`), which the fast path is there to pass by. What is called before it
/// at the same hook is something else: `mangle`.
pub const FILTER: i32 = 0;

/// The table of iptables that marks packets for security modules. It stands behind filter FORWARD, and is none of it; other
/// chains there are taken for more of it: firewalls put theirs there.
pub const SECURITY: &str = "security";

/// What changes nothing of a packet.
const HARMLESS: [&str; 10] = [
    "trace",
    "TRACE",
    "counter",
    "limit",
    "quota",
    "comment",
    "CT",
    "notrack",
    "NOTRACK",
    "meta nftrace",
];

/// What tells somebody of a packet.
const LOGS: [&str; 5] = ["log", "LOG", "NFLOG", "ULOG", "nflog"];

/// Targets and statements that change a packet or what the kernel does with it.
const REWRITES: [&str; 18] = [
    "TCPMSS",
    "TCPOPTSTRIP",
    "DSCP",
    "TOS",
    "TTL",
    "HL",
    "ECN",
    "CLASSIFY",
    "CHECKSUM",
    "SYNPROXY",
    "synproxy",
    "SECMARK",
    "CONNSECMARK",
    "meta priority",
    "exthdr",
    "SET",
    "RATEEST",
    "flow_offload",
];

/// How the fast path treats what a base chain's rules do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treated {
    /// It passes them by.
    Bypassed,
    /// It leaves to the kernel what they drop, mark or lead elsewhere.
    Heeded,
}

/// How the fast path treats a base chain that forwarded packets meet; `None` where they meet it not, or at an interface's hook.
#[must_use]
pub fn treated(id: &ChainId, base: &Base) -> Option<Treated> {
    if !is_routed(id) {
        return None;
    }
    match base.hook {
        Hook::Prerouting | Hook::Postrouting if base.kind == "nat" => Some(Treated::Bypassed),
        Hook::Prerouting | Hook::Postrouting => Some(Treated::Heeded),
        Hook::Forward if base.priority < FILTER || id.table == SECURITY => Some(Treated::Heeded),
        Hook::Forward => Some(Treated::Bypassed),
        _ => None,
    }
}

/// Whether a chain's table is of IPv4, IPv6 or both.
#[must_use]
pub fn is_routed(id: &ChainId) -> bool {
    matches!(
        id.family,
        TableFamily::Ip | TableFamily::Ip6 | TableFamily::Inet
    )
}

/// Whether the fast path leaves to the kernel what this is done to, in a chain that it heeds.
#[must_use]
pub fn is_heeded(kind: &EffectKind) -> bool {
    match kind {
        EffectKind::Drop | EffectKind::Mark | EffectKind::Redirect(_) | EffectKind::Queue => true,
        EffectKind::Notrack => false,
        EffectKind::Other(name) => {
            !HARMLESS.contains(&name.as_str()) && !LOGS.contains(&name.as_str())
        }
    }
}

/// What an effect does to a packet; `Err` where that is not known.
fn act(kind: &EffectKind) -> Result<Option<Act>, &str> {
    Ok(Some(match kind {
        EffectKind::Drop => Act::Drop,
        EffectKind::Mark => Act::Mark,
        EffectKind::Redirect(_) => Act::Rewrite,
        EffectKind::Queue => Act::Queue,
        EffectKind::Notrack => return Ok(None),
        EffectKind::Other(name) => match name.as_str() {
            name if HARMLESS.contains(&name) => return Ok(None),
            name if LOGS.contains(&name) => Act::Log,
            name if REWRITES.contains(&name) || name.starts_with('@') => Act::Rewrite,
            "CONNMARK" | "ct mark" => Act::Mark,
            name => return Err(name),
        },
    }))
}

/// All rules that packets between these ends would have met, and the policies.
#[must_use]
pub fn of_rules(subject: &Subject<'_>, rules: Rules<'_>) -> Vec<Item> {
    let mut items = Vec::new();
    for (id, chain, base) in rules.ruleset.base_chains() {
        let Some(treated) = treated(id, base) else {
            continue;
        };
        let pairs = subject.pairs(treated == Treated::Heeded);
        let effects = Effects::of(rules.ruleset, id, base);
        let found = Found {
            subject,
            rules,
            id,
            treated,
            judged: judge(&effects, base, &pairs),
        };
        found.chain(chain, &mut items);
        items.push(found.policy(base));
    }
    items
}

/// What the effects of a base chain come to, each with two ends between which it does most.
fn judge<'e, 's>(
    effects: &'e Effects,
    base: &Base,
    pairs: &[Pair<'s>],
) -> Vec<(&'e Effect, Judged, Option<Pair<'s>>)> {
    let mut found: Vec<_> = effects.iter().map(|it| (it, Judged::Never, None)).collect();
    for &(from, to) in pairs {
        let packets = Packets {
            source: from.net,
            destination: to.net,
            iif: from.dev,
            oif: to.dev.filter(|_| base.hook != Hook::Prerouting),
        };
        for (known, (_, judged)) in found.iter_mut().zip(effects.judged(&packets)) {
            if weight(&judged) > weight(&known.1) {
                (known.1, known.2) = (judged, Some((from, to)));
            }
        }
        if found.iter().all(|(_, judged, _)| *judged == Judged::Surely) {
            break;
        }
    }
    found
}

fn weight(judged: &Judged) -> u8 {
    match judged {
        Judged::Never => 0,
        Judged::Rarely => 1,
        Judged::Perhaps(_) => 2,
        Judged::Surely => 3,
    }
}

/// A base chain with what its effects come to.
struct Found<'a, 's> {
    subject: &'a Subject<'s>,
    rules: Rules<'a>,
    id: &'a ChainId,
    treated: Treated,
    judged: Vec<(&'a Effect, Judged, Option<Pair<'s>>)>,
}

impl Found<'_, '_> {
    /// Its rules and those of the chains that it leads to, in the order in which they are met first.
    fn chain(&self, chain: &Chain, items: &mut Vec<Item>) {
        let mut seen = BTreeSet::from([self.id.clone()]);
        let mut to_come = vec![(self.id.clone(), chain)];
        while let Some((id, chain)) = to_come.pop() {
            for rule in &chain.rules {
                items.push(self.rule(&id, rule));
            }
            for target in self.targets(chain).into_iter().rev() {
                let target = ChainId {
                    name: target,
                    ..self.id.clone()
                };
                if let Some(chain) = self.rules.ruleset.chains.get(&target)
                    && seen.insert(target.clone())
                {
                    to_come.push((target, chain));
                }
            }
        }
    }

    /// The chains that a chain's rules lead to.
    fn targets(&self, chain: &Chain) -> Vec<String> {
        let mut targets = Vec::new();
        let mut lead = |verdict: &Verdict| {
            if let Verdict::Jump(chain) | Verdict::Goto(chain) = verdict {
                targets.push(chain.clone());
            }
        };
        for operation in chain.rules.iter().flat_map(|rule| &rule.operations) {
            match operation {
                Operation::Verdict(verdict) => lead(verdict),
                Operation::Lookup {
                    set, decides: true, ..
                } => {
                    let map = ChainId {
                        name: set.clone(),
                        ..self.id.clone()
                    };
                    let map = self.rules.ruleset.sets.get(&map);
                    map.iter()
                        .flat_map(|map| map.verdicts())
                        .for_each(&mut lead);
                }
                _ => {}
            }
        }
        targets
    }

    fn rule(&self, id: &ChainId, rule: &Rule) -> Item {
        let mut counts = rule.operations.iter().filter_map(|it| match it {
            Operation::Counter(count) => *count,
            _ => None,
        });
        let text = rule.text.clone();
        let item = Item {
            kind: ItemKind::Rule,
            place: self.place(id),
            handle: Some(rule.handle),
            text: text.unwrap_or_else(|| in_words(&rule.operations)),
            count: counts.next_back(),
            ..empty()
        };
        let effects = self
            .judged
            .iter()
            .filter(|(effect, ..)| effect.rule == Some(rule.handle) && effect.chain == id.name);
        self.grouped(item, effects)
    }

    fn policy(&self, base: &Base) -> Item {
        let item = Item {
            kind: ItemKind::Policy,
            place: self.place(self.id),
            text: format!("policy {}", base.policy),
            count: base.count,
            ..empty()
        };
        let effects = self
            .judged
            .iter()
            .filter(|(effect, ..)| effect.rule.is_none());
        let item = self.grouped(item, effects);
        match (base.policy, item.group) {
            (Policy::Drop, Group::NoEffect) => Item {
                why: "rules before it accept all that is routed".to_owned(),
                ..item
            },
            _ => item,
        }
    }

    fn place(&self, id: &ChainId) -> String {
        let legacy = if self.rules.is_legacy { "legacy " } else { "" };
        format!("{legacy}{} {} {}", id.family, id.table, id.name)
    }

    /// The item in the group of the effect that does most.
    fn grouped<'e, 's: 'e>(
        &self,
        mut item: Item,
        effects: impl Iterator<Item = &'e (&'e Effect, Judged, Option<Pair<'s>>)>,
    ) -> Item {
        for (effect, judged, pair) in effects {
            let act = act(&effect.kind);
            item.acts.extend(act.ok().flatten());
            let (group, why) = self.group(effect, judged, pair.as_ref(), item.count);
            if group > item.group {
                item.reason = (group == Group::Heeded).then_some(PuntReason::Rules);
                item.may_drop = group == Group::Unknown
                    && !self.subject.bypass.accepts_forward()
                    && effect.kind == EffectKind::Drop
                    && matches!(judged, Judged::Perhaps(_));
                (item.group, item.why) = (group, why);
            }
        }
        item.acts.sort();
        item.acts.dedup();
        item
    }

    fn group(
        &self,
        effect: &Effect,
        judged: &Judged,
        pair: Option<&Pair<'_>>,
        count: Option<Count>,
    ) -> (Group, String) {
        let none = (Group::NoEffect, String::new());
        let is_heeded = self.treated == Treated::Heeded && is_heeded(&effect.kind);
        let accepts = match is_heeded {
            true => self.subject.bypass.has(PuntReason::Rules),
            false => self.subject.bypass.accepts_forward(),
        };
        match (act(&effect.kind), judged) {
            (Ok(None), _) | (_, Judged::Never) => none,
            _ if is_heeded && !accepts => {
                (Group::Heeded, "these packets stay the kernel's".to_owned())
            }
            (Err(name), _) => (Group::Unknown, format!("it is not known what {name} does")),
            (_, Judged::Perhaps(doubts)) => (
                Group::Unknown,
                format!("it is not known which packets meet {}", doubts.join(", ")),
            ),
            (_, Judged::Rarely) => match count {
                Some(Count { packets: 0, .. }) => none,
                _ => (
                    Group::Unknown,
                    "it meets only what connection tracking takes for invalid".to_owned(),
                ),
            },
            (_, Judged::Surely) => {
                let why = pair.map_or_else(String::new, example);
                let group = if accepts {
                    Group::Accepted
                } else {
                    Group::Changes
                };
                (group, why)
            }
        }
    }
}

fn example((from, to): &Pair<'_>) -> String {
    format!("from {} to {}", Destination(from.net), Destination(to.net))
}

fn empty() -> Item {
    Item {
        kind: ItemKind::Rule,
        group: Group::NoEffect,
        place: String::new(),
        handle: None,
        text: String::new(),
        acts: Vec::new(),
        why: String::new(),
        count: None,
        reason: None,
        may_drop: false,
    }
}
