//! What the fast path bypasses, before it bites: which of the kernel's rules, policies, filters and settings the packets would
//! have met that go between what is routed, and what that would have done to them.
//!
//! Here is no I/O: who reads what the kernel has is [`provision`](crate::provision).

mod interfaces;
mod item;
mod rules;
mod shadow;
#[cfg(test)]
mod tests;

pub use self::{
    interfaces::{Setting, Shapers, of_interfaces},
    item::{Act, Group, Item, ItemKind},
    rules::{FILTER, SECURITY, Treated, is_heeded, is_routed, of_rules, treated},
    shadow::{Compared, Comparison, Met, Moment, Spared, compare},
};

use ipnet::IpNet;
use netpath_common::Bypass;

use crate::{
    netfilter::nft::{Device, Ruleset},
    reconcile::Census,
};

/// One side of what is routed.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// An address or a prefix.
    pub net: IpNet,
    /// What its packets come in by, and what is for it leaves by; `None` where it is not known.
    pub dev: Option<Device<'a>>,
}

/// What is looked at of a node.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// From each of these to each other packets may go.
    pub ends: &'a [End<'a>],
    /// What of them is the kernel's already.
    pub census: &'a Census,
    /// What may be passed by knowingly.
    pub bypass: Bypass,
}

/// A set of rules, with what they are called.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Those of legacy xtables are not in nf_tables.
    pub is_legacy: bool,
    /// The rules.
    pub ruleset: &'a Ruleset,
}

/// How many ends of each family are paired with all others: each further one costs as many questions of each rule.
const PAIRED: usize = 64;

/// Packets from one end to another.
type Pair<'s> = (End<'s>, End<'s>);

impl<'a> Subject<'a> {
    /// What the fast path takes, in both directions: from each end to each other one of its family that is behind another
    /// interface. Beyond so many ends each is paired with the first few only.
    /// What is the kernel's is none of the fast path's, unless it is wanted here.
    fn pairs(&self, with_kernels: bool) -> Vec<Pair<'a>> {
        let mut pairs = Vec::new();
        for is_v4 in [true, false] {
            let of_family = self
                .ends
                .iter()
                .filter(|end| end.net.addr().is_ipv4() == is_v4);
            let ends: Vec<End<'a>> = of_family.copied().collect();
            for (index, &from) in ends.iter().enumerate() {
                let few = ends.iter().take(PAIRED).enumerate();
                for (_, &to) in few.filter(|(other, _)| *other != index) {
                    pairs.push((from, to));
                    if index >= PAIRED {
                        pairs.push((to, from));
                    }
                }
            }
        }
        let is_taken = |(from, to): &Pair<'a>| {
            let name = |end: &End<'a>| end.dev.map(|dev| dev.name);
            let turns_back = name(from).is_some() && name(from) == name(to);
            !turns_back && (with_kernels || !self.is_kernels(from, to))
        };
        pairs.retain(is_taken);
        pairs
    }

    /// Whether what goes from here to there is left to the kernel for what is in the census.
    fn is_kernels(&self, from: &End<'_>, to: &End<'_>) -> bool {
        use netpath_common::EndpointEntry;
        let [source, destination] = [from, to].map(|end| self.census.address(end.net, self.bypass));
        let either = source.between | destination.between;
        let between = source.between != 0 && destination.between != 0;
        let of_interfaces = [from, to].iter().any(|end| {
            let ifindex = end.dev.map(|dev| dev.ifindex);
            ifindex.is_some_and(|ifindex| {
                let punts = self.census.interface(ifindex, self.bypass);
                punts.ingress != 0 || punts.egress != 0
            })
        });
        between || either & EndpointEntry::ALONE != 0 || of_interfaces
    }
}
