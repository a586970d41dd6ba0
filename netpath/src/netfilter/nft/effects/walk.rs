//! Following a base chain's rules: each thing that they do, and to which packets.

use netpath_common::Family;

use super::{
    super::{
        about::About,
        compare::Registers,
        condition::{Conditions, FamilyTest},
        operation::{Operation, Relation, Value, Verdict, meta},
        ruleset::{Base, ChainId, Rule, Ruleset, TableFamily},
    },
    Effect, EffectKind, Effects, Ended,
};
use crate::netfilter::Policy;

/// How many rules are followed for one base chain: jumps can lead to the same rules again and again.
const RULES: usize = 1_000_000;
/// How deep: the kernel refuses more than 16 jumps (`NFT_JUMP_STACK_SIZE`).
const DEPTH: usize = 32;

impl Effects {
    /// Follows the rules of a base chain.
    pub fn of(ruleset: &Ruleset, id: &ChainId, base: &Base) -> Self {
        let mut walk = Walk {
            ruleset,
            id,
            rules: 0,
            found: Self {
                hook: base.hook,
                devices: base.devices.clone(),
                effects: Vec::new(),
                ended: Vec::new(),
            },
        };
        let conditions = of_family(id.family);
        let accepted = walk.chain(&id.name, &conditions, None, 0);
        if base.policy == Policy::Drop {
            let mut after = None;
            for (conditions, is_lost) in accepted {
                after = walk.end(conditions, is_lost, after);
            }
            walk.found.effects.push(Effect {
                kind: EffectKind::Drop,
                conditions,
                chain: id.name.clone(),
                rule: None,
                after,
            });
        }
        walk.found
    }
}

/// What the family of a chain's table says about its packets.
fn of_family(family: TableFamily) -> Conditions {
    let family = match family {
        TableFamily::Ip => Some(Family::V4),
        TableFamily::Ip6 => Some(Family::V6),
        TableFamily::Arp => None,
        _ => return Conditions::default(),
    };
    Conditions {
        family: vec![FamilyTest {
            family,
            negated: false,
        }],
        ..Conditions::default()
    }
}

struct Walk<'a> {
    ruleset: &'a Ruleset,
    /// The base chain; its table is all the others' too.
    id: &'a ChainId,
    rules: usize,
    found: Effects,
}

/// A rule on the way.
struct Here<'a> {
    chain: &'a str,
    rule: u64,
    depth: usize,
    /// What ends the way of packets to the next rule of this chain.
    after: Option<usize>,
    /// What ends it for the whole base chain.
    accepted: Vec<(Conditions, bool)>,
}

impl Walk<'_> {
    /// Follows a chain's rules for packets of which this is true. Returns those that it lets out of the base chain, each
    /// with whether they are lost.
    fn chain(
        &mut self,
        name: &str,
        conditions: &Conditions,
        after: Option<usize>,
        depth: usize,
    ) -> Vec<(Conditions, bool)> {
        let mut here = Here {
            chain: name,
            rule: 0,
            depth,
            after,
            accepted: Vec::new(),
        };
        let chain = self.ruleset.chains.get(&self.named(name));
        let Some(chain) = chain.filter(|_| depth <= DEPTH) else {
            let what = format!("chain {name}, which cannot be followed");
            self.effect(&here, EffectKind::Other(what), conditions);
            return here.accepted;
        };
        for rule in &chain.rules {
            here.rule = rule.handle;
            self.rules += 1;
            if self.rules > RULES {
                self.stop(&here);
                break;
            }
            self.rule(&mut here, rule, conditions.clone());
        }
        here.accepted
    }

    /// The rules that are left may do anything to anybody.
    fn stop(&mut self, here: &Here<'_>) {
        if self.rules > RULES + 1 {
            return;
        }
        let mut conditions = of_family(self.id.family);
        conditions.ask("rules that were not followed", About::Unknown);
        self.found.effects.push(Effect {
            kind: EffectKind::Other(format!("more than {RULES} rules")),
            conditions,
            chain: here.chain.to_owned(),
            rule: Some(here.rule),
            after: None,
        });
    }

    fn named(&self, name: &str) -> ChainId {
        ChainId {
            name: name.to_owned(),
            ..self.id.clone()
        }
    }

    fn rule(&mut self, here: &mut Here<'_>, rule: &Rule, mut conditions: Conditions) {
        let mut registers = Registers::default();
        for operation in &rule.operations {
            match operation {
                Operation::Load { value, into } => registers.load(value.clone(), *into),
                Operation::Mask {
                    from,
                    into,
                    mask,
                    xor,
                } => registers.mask(*from, *into, mask, xor),
                // What they make of a value is not followed.
                Operation::Shift { into, .. } => registers.load(made_by("bitwise"), *into),
                Operation::ByteOrder { into, .. } => registers.load(made_by("byteorder"), *into),
                Operation::Immediate { into, .. } => registers.forget(*into),
                Operation::Compare {
                    register,
                    relation,
                    data,
                } => registers.compare(*register, negated(*relation), data, &mut conditions),
                Operation::Range { register, from, .. } => {
                    registers.compare(*register, None, from, &mut conditions);
                }
                Operation::Lookup {
                    set, decides: true, ..
                } => {
                    conditions.ask(format!("map {set}"), About::Unknown);
                    self.verdicts(here, set, &conditions);
                }
                Operation::Lookup { set, into, .. } => {
                    conditions.ask(format!("set {set}"), About::Unknown);
                    if let Some(into) = into {
                        registers.forget(*into);
                    }
                }
                Operation::Verdict(verdict) => self.verdict(here, verdict, &conditions),
                Operation::Counter(_) => {}
                Operation::Match { name, .. } if name == "comment" => {}
                Operation::Match {
                    name,
                    revision,
                    data,
                } => {
                    let about = About::of_match(name, *revision, data);
                    conditions.ask(format!("match {name}"), about);
                }
                Operation::Condition(name) => conditions.ask(name, About::of_condition(name)),
                Operation::Store { to, .. } => self.effect(here, stored(to), &conditions),
                Operation::Nat { .. } => self.effect(here, redirected("nat"), &conditions),
                Operation::Masquerade { .. } => self.effect(here, redirected("masq"), &conditions),
                Operation::Redirect { .. } => self.effect(here, redirected("redir"), &conditions),
                Operation::Reject(_) => self.done(here, EffectKind::Drop, &conditions),
                Operation::Notrack => self.effect(here, EffectKind::Notrack, &conditions),
                Operation::Target {
                    name,
                    revision,
                    data,
                } => self.done(here, target(name, *revision, data), &conditions),
                // It changes nothing that a packet notices.
                Operation::Nothing(name) if name == "last" => {}
                Operation::Nothing(name) | Operation::Take(name) => {
                    self.done(here, action(name), &conditions);
                }
                Operation::Dynset { .. } => self.unclear(here, "dynset", &mut conditions),
                Operation::Other(name) => {
                    self.unclear(here, name, &mut conditions);
                    // It may have written to any register.
                    registers = Registers::default();
                }
            }
        }
    }

    /// What may do anything, to packets of which it asks anything.
    fn unclear(&mut self, here: &Here<'_>, name: &str, conditions: &mut Conditions) {
        self.effect(here, EffectKind::Other(name.to_owned()), conditions);
        conditions.ask(name, About::Unknown);
    }

    fn verdicts(&mut self, here: &mut Here<'_>, map: &str, conditions: &Conditions) {
        match self.ruleset.sets.get(&self.named(map)) {
            Some(map) => {
                for verdict in map.verdicts() {
                    self.verdict(here, verdict, conditions);
                }
            }
            None => {
                let what = EffectKind::Other(format!("verdict map {map}"));
                self.effect(here, what, conditions);
            }
        }
    }

    fn verdict(&mut self, here: &mut Here<'_>, verdict: &Verdict, conditions: &Conditions) {
        match verdict {
            Verdict::Accept => self.accept(here, conditions, false),
            Verdict::Drop => self.done(here, EffectKind::Drop, conditions),
            Verdict::Queue => self.done(here, EffectKind::Queue, conditions),
            Verdict::Continue => {}
            Verdict::Return => here.after = self.end(conditions.clone(), false, here.after),
            Verdict::Jump(chain) => self.jump(here, chain, conditions),
            Verdict::Goto(chain) => {
                self.jump(here, chain, conditions);
                here.after = self.end(conditions.clone(), false, here.after);
            }
            Verdict::Other(number) => {
                let what = EffectKind::Other(format!("verdict {number}"));
                self.effect(here, what, conditions);
            }
        }
    }

    fn jump(&mut self, here: &mut Here<'_>, chain: &str, conditions: &Conditions) {
        let accepted = self.chain(chain, conditions, here.after, here.depth + 1);
        for (accepted, is_lost) in accepted {
            self.accept(here, &accepted, is_lost);
        }
    }

    /// An effect, after which dropped and queued packets go no further.
    fn done(&mut self, here: &mut Here<'_>, kind: EffectKind, conditions: &Conditions) {
        let ends = matches!(kind, EffectKind::Drop | EffectKind::Queue);
        self.effect(here, kind, conditions);
        if ends {
            self.accept(here, conditions, true);
        }
    }

    fn effect(&mut self, here: &Here<'_>, kind: EffectKind, conditions: &Conditions) {
        self.found.effects.push(Effect {
            kind,
            conditions: conditions.clone(),
            chain: here.chain.to_owned(),
            rule: Some(here.rule),
            after: here.after,
        });
    }

    /// These packets leave the base chain.
    fn accept(&mut self, here: &mut Here<'_>, conditions: &Conditions, is_lost: bool) {
        here.accepted.push((conditions.clone(), is_lost));
        here.after = self.end(conditions.clone(), is_lost, here.after);
    }

    fn end(
        &mut self,
        conditions: Conditions,
        is_lost: bool,
        before: Option<usize>,
    ) -> Option<usize> {
        self.found.ended.push(Ended {
            conditions,
            before,
            is_lost,
        });
        Some(self.found.ended.len() - 1)
    }
}

fn made_by(name: &str) -> Value {
    Value::Other(name.to_owned())
}

/// Whether a comparison is for what is not equal; `None` for one of an order.
fn negated(relation: Relation) -> Option<bool> {
    match relation {
        Relation::Equal => Some(false),
        Relation::NotEqual => Some(true),
        Relation::Less | Relation::LessOrEqual | Relation::Greater | Relation::GreaterOrEqual => {
            None
        }
    }
}

fn stored(to: &Value) -> EffectKind {
    match to {
        Value::Meta(meta::MARK) => EffectKind::Mark,
        other => EffectKind::Other(other.to_string()),
    }
}

fn redirected(by: &str) -> EffectKind {
    EffectKind::Redirect(by.to_owned())
}

fn action(name: &str) -> EffectKind {
    match name {
        "queue" => EffectKind::Queue,
        "tproxy" | "dup" | "fwd" => redirected(name),
        other => EffectKind::Other(other.to_owned()),
    }
}

/// A target of xtables (linux/netfilter/xt_*.h).
fn target(name: &str, revision: u32, data: &[u8]) -> EffectKind {
    /// `XT_CT_NOTRACK`, of the flags that `struct xt_ct_target_info` begins with.
    const NOTRACK: u8 = 1;
    /// `XT_CONNMARK_RESTORE`.
    const RESTORE: u8 = 2;
    // Where the mode is in `struct xt_connmark_tginfo1`, and in that of revision 2.
    let mode = if revision < 2 { 12 } else { 14 };
    match name {
        "REJECT" | "DROP" => EffectKind::Drop,
        "MARK" | "HMARK" => EffectKind::Mark,
        "CONNMARK" if data.get(mode) == Some(&RESTORE) => EffectKind::Mark,
        "NFQUEUE" => EffectKind::Queue,
        "NOTRACK" => EffectKind::Notrack,
        "CT" if data.first().is_some_and(|flags| flags & NOTRACK != 0) => EffectKind::Notrack,
        "DNAT" | "SNAT" | "MASQUERADE" | "REDIRECT" | "NETMAP" | "TPROXY" | "TEE" => {
            redirected(name)
        }
        other => EffectKind::Other(other.to_owned()),
    }
}
