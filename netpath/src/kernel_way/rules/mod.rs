//! Following a packet through the rules of a chain.

mod fib;
mod headers;
mod load;
mod lookup;
mod registers;
mod target;
mod translate;
mod xt_match;

use self::{
    load::Loaded,
    registers::{Bits, Registers, known},
};
use super::{
    Cause, End, IcmpError, Outcome, RuleAt, Unknown,
    kernel::Kernel,
    walk::{At, Going, Walk, stop},
};
use crate::netfilter::nft::{
    ChainId, Operation, Refusal, Register, Rule, Value, Verdict, in_words,
};

/// Deeper than the kernel allows chains to call each other.
const DEPTH: usize = 64;

/// How a chain was left.
pub(super) enum Flowing {
    /// At its end, or by a return.
    Through,
    /// A rule accepted the packet.
    Accepted(RuleAt),
}

/// A rule that is being followed.
struct Here<'a> {
    kernel: &'a dyn Kernel,
    id: &'a ChainId,
    number: usize,
    rule: &'a Rule,
    registers: Registers,
    /// What was loaded last of which not all is known.
    unclear: String,
    /// What has to be so for the rule to come this far, and is not known.
    pending: Vec<String>,
}

/// How a rule goes on.
enum Next {
    /// With its next expression.
    On,
    /// The packet does not match.
    Miss,
    /// The rule decides.
    Decides(Verdict),
}

impl Here<'_> {
    fn at(&self) -> RuleAt {
        let ask = || self.kernel.rule(self.id, self.number, self.rule.handle);
        let told = self.rule.text.clone().or_else(ask);
        RuleAt {
            family: self.id.family,
            table: self.id.table.clone(),
            chain: self.id.name.clone(),
            handle: Some(self.rule.handle),
            number: self.number,
            text: told.unwrap_or_else(|| in_words(&self.rule.operations)),
            count: self
                .rule
                .operations
                .iter()
                .find_map(|operation| match operation {
                    Operation::Counter(count) => *count,
                    _ => None,
                }),
        }
    }
}

impl Walk<'_> {
    /// Follows a chain from its beginning.
    pub(super) fn chain(&mut self, at: &At<'_>, id: &ChainId, depth: usize) -> Going<Flowing> {
        let state = self.state;
        let Some(chain) = state.rules.chains.get(id).filter(|_| depth < DEPTH) else {
            return Ok(Flowing::Through);
        };
        for (index, rule) in chain.rules.iter().enumerate() {
            let mut here = Here {
                kernel: self.kernel,
                id,
                number: index + 1,
                rule,
                registers: Registers::new(),
                unclear: String::new(),
                pending: Vec::new(),
            };
            let Some(verdict) = self.rule(at, &mut here)? else {
                continue;
            };
            match verdict {
                Verdict::Accept => return Ok(Flowing::Accepted(here.at())),
                Verdict::Return => return Ok(Flowing::Through),
                Verdict::Jump(name) => {
                    let name = ChainId { name, ..id.clone() };
                    if let Flowing::Accepted(rule) = self.chain(at, &name, depth + 1)? {
                        return Ok(Flowing::Accepted(rule));
                    }
                }
                Verdict::Goto(name) => {
                    let name = ChainId { name, ..id.clone() };
                    return self.chain(at, &name, depth + 1);
                }
                Verdict::Continue => {}
                Verdict::Drop => return self.dropped(at, &here),
                Verdict::Queue => return self.taken(at, &here, "queue"),
                Verdict::Other(number) => {
                    let what = format!("verdict {number}");
                    if self.either(&here, what) {
                        return self.dropped(at, &here);
                    }
                }
            }
        }
        Ok(Flowing::Through)
    }

    /// What a rule decides, if it matches and decides.
    fn rule(&mut self, at: &At<'_>, here: &mut Here<'_>) -> Going<Option<Verdict>> {
        for operation in &here.rule.operations {
            match self.operation(at, here, operation)? {
                Next::On => {}
                Next::Miss => return Ok(None),
                Next::Decides(Verdict::Continue) => {}
                Next::Decides(verdict) => {
                    return Ok(self.matches(here).then_some(verdict));
                }
            }
        }
        Ok(None)
    }

    /// Whether what is not known lets the rule come this far, now that it matters.
    fn matches(&mut self, here: &mut Here<'_>) -> bool {
        if here.pending.is_empty() {
            return true;
        }
        let unknown = Unknown {
            what: std::mem::take(&mut here.pending).join(", "),
            rule: Some(here.at()),
        };
        let so = ["it does not match".to_owned(), "it matches".to_owned()];
        self.suppose(unknown, &so) == 1
    }

    /// Whether something that is not understood ends the packet's way.
    fn either(&mut self, here: &Here<'_>, what: String) -> bool {
        let rule = Some(here.at());
        let so = ["it goes on".to_owned(), "it ends there".to_owned()];
        self.suppose(Unknown { what, rule }, &so) == 1
    }

    fn operation(
        &mut self,
        at: &At<'_>,
        here: &mut Here<'_>,
        operation: &Operation,
    ) -> Going<Next> {
        match operation {
            Operation::Load { value, into } => return self.loaded(here, value, *into),
            Operation::Store { to, from } => return self.stored(at, here, to, *from),
            Operation::Compare {
                register,
                relation,
                data,
            } => {
                let is_so = here.registers.compare(*register, *relation, data);
                return Ok(self.goes_on(here, is_so));
            }
            Operation::Range {
                register,
                outside,
                from,
                to,
            } => {
                let value = here.registers.known(*register, from.len());
                let within = value.map(|value| (from..=to).contains(&&value) != *outside);
                return Ok(self.goes_on(here, within));
            }
            Operation::Mask {
                from,
                into,
                mask,
                xor,
            } => here.registers.mask((*from, *into), mask, xor),
            Operation::Shift {
                from,
                into,
                length: 4,
                bits,
                right,
            } => here.registers.shift((*from, *into), *bits, *right),
            Operation::Shift { into, length, .. } => {
                here.registers
                    .load(*into, &vec![Bits::UNKNOWN; *length as usize]);
            }
            Operation::ByteOrder {
                from,
                into,
                length,
                size,
            } => {
                let (length, size) = (*length as usize, *size as usize);
                here.registers.turn((*from, *into), length, size);
            }
            Operation::Immediate { into, data } => here.registers.load(*into, &known(data)),
            Operation::Verdict(verdict) => return Ok(Next::Decides(verdict.clone())),
            Operation::Counter(_) | Operation::Nothing(_) => {}
            Operation::Lookup { .. } => return self.lookup(here, operation),
            Operation::Nat { .. } | Operation::Masquerade { .. } | Operation::Redirect { .. } => {
                return self.translated(at, here, operation);
            }
            Operation::Reject(refusal) => {
                if !self.matches(here) {
                    return Ok(Next::Miss);
                }
                return self.refused(at, here, *refusal);
            }
            Operation::Notrack => {
                if !self.matches(here) {
                    return Ok(Next::Miss);
                }
                self.untrack(at, here);
            }
            Operation::Match {
                name,
                revision,
                data,
            } => {
                let is_so = self.xt_match(name, *revision, data)?;
                name.clone_into(&mut here.unclear);
                here.unclear.insert_str(0, "match ");
                return Ok(self.goes_on(here, is_so));
            }
            Operation::Target {
                name,
                revision,
                data,
            } => return self.target(at, here, (name, *revision), data),
            Operation::Dynset { decides: false } => {}
            Operation::Dynset { decides: true } => here.pending.push("dynset".to_owned()),
            Operation::Condition(name) => here.pending.push(name.clone()),
            Operation::Take(by) => {
                if !self.matches(here) {
                    return Ok(Next::Miss);
                }
                return self.taken(at, here, by);
            }
            Operation::Other(name) => {
                if !self.matches(here) {
                    return Ok(Next::Miss);
                }
                if self.either(here, name.clone()) {
                    return self.dropped(at, here);
                }
            }
        }
        Ok(Next::On)
    }

    /// A comparison: `None` is one of what is not known.
    fn goes_on(&mut self, here: &mut Here<'_>, is_so: Option<bool>) -> Next {
        match is_so {
            Some(true) => Next::On,
            Some(false) => Next::Miss,
            None => {
                here.pending.push(here.unclear.clone());
                Next::On
            }
        }
    }

    fn loaded(&mut self, here: &mut Here<'_>, value: &Value, into: Register) -> Going<Next> {
        if let Value::Choice {
            by,
            modulus: modulus @ 1..=16,
            offset,
        } = value
        {
            let so: Vec<String> = (0..*modulus).map(|at| (offset + at).to_string()).collect();
            let unknown = Unknown {
                what: (*by).to_owned(),
                rule: Some(here.at()),
            };
            let chosen = self.suppose(unknown, &so) as u32;
            here.registers
                .load(into, &known(&(offset + chosen).to_ne_bytes()));
            return Ok(Next::On);
        }
        Ok(match self.load(value)? {
            Loaded::Bits(bits) => {
                if bits.iter().any(|bits| bits.known().is_none()) {
                    here.unclear = value.to_string();
                }
                here.registers.load(into, &bits);
                Next::On
            }
            Loaded::Break => Next::Miss,
        })
    }

    fn stored(
        &mut self,
        at: &At<'_>,
        here: &mut Here<'_>,
        to: &Value,
        from: Register,
    ) -> Going<Next> {
        if !load::matters(to) {
            return Ok(Next::On);
        }
        if !self.matches(here) {
            return Ok(Next::Miss);
        }
        let before = (self.packet.clone(), self.track.connection);
        let data = here.registers.rest(from);
        if self.store(to, &data).is_none() {
            let what = format!("{to} is written");
            if self.either(here, what) {
                return self.dropped(at, here);
            }
        } else if (self.packet.clone(), self.track.connection) != before {
            self.changed(at, here);
        }
        Ok(Next::On)
    }

    fn changed(&mut self, at: &At<'_>, here: &Here<'_>) {
        let rule = here.at();
        let text = format!("changed: {}", rule.text);
        self.note_rule(at.place(), Outcome::Changes, text, Some(rule));
    }

    fn untrack(&mut self, at: &At<'_>, here: &Here<'_>) {
        if self.track.untrack() {
            self.changed(at, here);
        }
    }

    fn dropped<T>(&mut self, at: &At<'_>, here: &Here<'_>) -> Going<T> {
        let rule = here.at();
        let text = format!("dropped: {}", rule.text);
        self.note_rule(at.place(), Outcome::Ends, text, Some(rule.clone()));
        let cause = Cause::Rule(rule);
        stop(End::Dropped { cause })
    }

    fn taken<T>(&mut self, at: &At<'_>, here: &Here<'_>, by: &str) -> Going<T> {
        let rule = here.at();
        let text = format!("taken by {by}: {}", rule.text);
        self.note_rule(at.place(), Outcome::Ends, text, Some(rule.clone()));
        let by = by.to_owned();
        stop(End::Taken { rule, by })
    }

    fn refused<T>(&mut self, at: &At<'_>, here: &Here<'_>, refusal: Refusal) -> Going<T> {
        let Some(error) = target::refusal(&self.packet, refusal).filter(|_| !self.is_error())
        else {
            return self.dropped(at, here);
        };
        let rule = here.at();
        let text = format!("refused with {error}: {}", rule.text);
        self.note_rule(at.place(), Outcome::Ends, text, Some(rule.clone()));
        let cause = Cause::Rule(rule);
        stop(End::Answered { cause, error })
    }
}

/// So much of the kernel's words for a refusal.
fn icmp(kind: u8, code: u8) -> IcmpError {
    let mtu = None;
    IcmpError::Icmp { kind, code, mtu }
}
