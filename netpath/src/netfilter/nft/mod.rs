//! nf_tables, read over nfnetlink: its chains with their rules, and what those would do to packets.
//!
//! `iptables-nft` and its kin write the same kind of rules, partly with the matches and targets of xtables. What legacy
//! xtables holds is not here ([`legacy_tables`](super::legacy_tables)).
//!
//! [`Ruleset::read`] reads; [`Effects::of`] follows a base chain's rules, without I/O, and answers what they may do to
//! which packets. Whatever is not understood is named, and counts as something that may be met. One packet is followed through
//! them by [`kernel_way`](crate::kernel_way).

mod about;
mod compare;
mod condition;
mod effects;
mod operation;
mod read;
mod ruleset;
mod set;
#[cfg(test)]
mod tests;

pub use self::{
    about::About,
    condition::{
        AddressTest, Conditions, Device, FamilyTest, Interface, InterfaceTest, NamePattern, Packets,
    },
    effects::{Effect, EffectKind, Effects, Judged, Meeting},
    operation::{
        Header, Operation, Refusal, Register, Relation, Translation, Value, Verdict, ct, in_words,
        meta,
    },
    read::Elements,
    ruleset::{Base, Chain, ChainId, Hook, Rule, Ruleset, TableFamily},
    set::{Data, Element, Set},
};
