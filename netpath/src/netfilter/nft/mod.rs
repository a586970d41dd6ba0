//! nf_tables, read over nfnetlink: its chains with their rules, and what those would do to packets.
//!
//! `iptables-nft` and its kin write the same kind of rules, partly with the matches and targets of xtables. What legacy
//! xtables holds is not here ([`legacy_tables`](super::legacy_tables)).
//!
//! [`Ruleset::read`] reads; [`Effects::of`] follows a base chain's rules, without I/O, and answers what they may do to
//! which packets. Whatever is not understood is named, and counts as something that may be met.
//!
//! [`Whole::read`] reads all that rules say, and the elements of their sets, so that one packet can be followed through them.

mod about;
mod compare;
mod condition;
mod effects;
mod expression;
mod operation;
mod read;
mod ruleset;
mod set;
#[cfg(test)]
mod tests;
mod whole;

pub use self::{
    about::{About, is_of_packet},
    condition::{
        AddressTest, Conditions, Device, FamilyTest, Interface, InterfaceTest, NamePattern, Packets,
    },
    effects::{Effect, EffectKind, Effects, Judged, Meeting},
    expression::{Comparison, Expression, Header, Register, Source, Verdict},
    operation::{Operation, Refusal, Relation, Translation, Value},
    ruleset::{Base, Chain, ChainId, Hook, Rule, Ruleset, TableFamily},
    set::{Data, Element, Set},
    whole::{Whole, WholeChain, WholeRule},
};
