//! The hooks: who is called there, in which order.

use netpath_common::Family;

use super::{Going, Walk, stop};
use crate::{
    kernel_way::{Cause, End, Outcome, Place, RuleAt, Unknown, rules::Flowing},
    netfilter::{
        Policy, legacy_priority,
        nft::{Base, Chain, ChainId, Hook, NamePattern, TableFamily},
    },
};

/// `NF_IP_PRI_CONNTRACK`, `NF_IP_PRI_NAT_DST`, `NF_IP_PRI_NAT_SRC` of linux/netfilter_ipv4.h; IPv6 has the same.
const CONNTRACK: i32 = -200;
const NAT_DESTINATION: i32 = -100;
const NAT_SOURCE: i32 = 100;

/// A base chain that is being followed.
pub(in super::super) struct At<'a> {
    pub hook: Hook,
    pub id: &'a ChainId,
    pub base: &'a Base,
}

impl At<'_> {
    pub fn place(&self) -> Place {
        Place::Hook {
            hook: self.hook,
            family: self.id.family,
            table: self.id.table.clone(),
            chain: self.id.name.clone(),
            priority: self.base.priority,
        }
    }
}

/// Who is called at a hook.
enum Callee<'a> {
    Conntrack,
    /// All chains of type nat, in their own order.
    Nat(Vec<(&'a ChainId, &'a Chain, &'a Base)>),
    Chain(&'a ChainId, &'a Chain, &'a Base),
    /// A legacy table.
    Legacy(&'a str),
}

impl Walk<'_> {
    pub(super) fn hook(&mut self, hook: Hook) -> Going<()> {
        for callee in self.callees(hook) {
            match callee {
                Callee::Conntrack => self.conntrack()?,
                Callee::Nat(chains) => self.nat(hook, &chains)?,
                Callee::Chain(id, chain, base) => self.base_chain(hook, id, chain, base)?,
                Callee::Legacy(table) => self.legacy(table)?,
            }
        }
        Ok(())
    }

    fn callees<'b>(&mut self, hook: Hook) -> Vec<Callee<'b>>
    where
        Self: 'b,
    {
        let mut found = self.registered(hook);
        found.sort_by_key(|(priority, _)| *priority);
        let mut ordered = Vec::new();
        while !found.is_empty() {
            let priority = found[0].0;
            let same = found.iter().take_while(|(its, _)| *its == priority).count();
            let mut group: Vec<_> = found.drain(..same).map(|(_, callee)| callee).collect();
            // Of one priority the kernel calls first what came last, and does not tell when it came.
            if group.iter().filter(|callee| callee.matters()).count() > 1 {
                let what = format!("which of the chains of priority {priority} is called first");
                let so = ["the first by name", "the last by name"];
                if self.suppose(Unknown { what, rule: None }, &so.map(str::to_owned)) == 1 {
                    group.reverse();
                }
            }
            ordered.extend(group);
        }
        ordered
    }

    fn registered<'b>(&self, hook: Hook) -> Vec<(i32, Callee<'b>)>
    where
        Self: 'b,
    {
        let state = self.state;
        let mut found = Vec::new();
        let mut nat = Vec::new();
        for (id, chain) in &state.rules.chains {
            let Some(base) = &chain.base else { continue };
            let acts = !chain.rules.is_empty() || base.policy == Policy::Drop;
            if base.hook != hook || !acts || !self.is_called(id, base) {
                continue;
            }
            match base.kind.as_str() {
                "nat" => nat.push((id, chain, base)),
                _ => found.push((base.priority, Callee::Chain(id, chain, base))),
            }
        }
        for (family, table) in &state.legacy {
            if *family == self.family()
                && let Some(priority) = legacy_priority(table, hook)
            {
                found.push((priority, Callee::Legacy(table)));
            }
        }
        nat.sort_by_key(|(_, _, base)| base.priority);
        match hook {
            Hook::Prerouting | Hook::Output => {
                found.push((CONNTRACK, Callee::Conntrack));
                found.push((NAT_DESTINATION, Callee::Nat(nat)));
            }
            Hook::Input | Hook::Postrouting => found.push((NAT_SOURCE, Callee::Nat(nat))),
            Hook::Forward | Hook::Ingress | Hook::Egress | Hook::Other(_) => {}
        }
        found
    }

    /// Whether a base chain sees this packet.
    fn is_called(&self, id: &ChainId, base: &Base) -> bool {
        let device = match base.hook {
            Hook::Ingress => self.iif,
            Hook::Egress => self.oif,
            _ => {
                return match id.family {
                    TableFamily::Inet => true,
                    TableFamily::Ip => self.family() == Family::V4,
                    TableFamily::Ip6 => self.family() == Family::V6,
                    _ => false,
                };
            }
        };
        let Some(device) = device.map(|ifindex| self.state.dev(ifindex)) else {
            return false;
        };
        base.devices.iter().any(|pattern| match pattern {
            NamePattern::Exact(name) => *name == device,
            NamePattern::Prefix(start) => device.starts_with(start),
        })
    }

    pub(super) fn base_chain(
        &mut self,
        hook: Hook,
        id: &ChainId,
        chain: &Chain,
        base: &Base,
    ) -> Going<()> {
        let at = At { hook, id, base };
        if !chain.rules.is_empty() && self.is_in_pieces(hook) {
            let what = format!("what {} makes of fragments", id.name);
            let so = [
                "it takes each for the whole".to_owned(),
                "it drops one of them".to_owned(),
            ];
            if self.suppose(Unknown { what, rule: None }, &so) == 1 {
                let name = format!("chain {} (fragments)", id.name);
                return self.drop(at.place(), Cause::Program { name });
            }
        }
        let before = self.routed_by();
        match self.chain(&at, id, 0)? {
            Flowing::Accepted(rule) => {
                let text = format!("accepted: {}", rule.text);
                self.note_rule(at.place(), Outcome::Passes, text, Some(rule));
            }
            Flowing::Through => self.policy(&at, chain)?,
        }
        if base.kind == "route" && self.is_sent && self.routed_by() != before {
            self.reroute()?;
        }
        Ok(())
    }

    /// Whether rules see a packet in its pieces: connection tracking puts them together before it looks at them, and so does who
    /// takes the packet in.
    fn is_in_pieces(&self, hook: Hook) -> bool {
        self.packet.fragments.is_some()
            && match hook {
                Hook::Ingress | Hook::Egress => true,
                Hook::Input | Hook::Output => false,
                _ => !self.state.rules.tracks(self.family()),
            }
    }

    fn policy(&mut self, at: &At<'_>, chain: &Chain) -> Going<()> {
        let text = match at.base.policy {
            Policy::Accept => "policy accept",
            Policy::Drop => "policy drop",
        };
        let rule = RuleAt {
            family: at.id.family,
            table: at.id.table.clone(),
            chain: at.id.name.clone(),
            handle: None,
            number: 0,
            text: text.to_owned(),
            count: at.base.count,
        };
        let told = match chain.rules.len() {
            0 => text.to_owned(),
            rules => format!("none of its {rules} rules decides: {text}"),
        };
        match at.base.policy {
            Policy::Accept => {
                self.note_rule(at.place(), Outcome::Passes, told, Some(rule));
                Ok(())
            }
            Policy::Drop => {
                self.note_rule(at.place(), Outcome::Ends, told, Some(rule.clone()));
                let cause = Cause::Rule(rule);
                stop(End::Dropped { cause })
            }
        }
    }

    /// Its rules are not followed.
    fn legacy(&mut self, table: &str) -> Going<()> {
        let what = format!("legacy table {table}");
        let so = ["it lets it pass".to_owned(), "it drops it".to_owned()];
        if self.suppose(Unknown { what, rule: None }, &so) == 1 {
            let name = format!("legacy table {table}");
            return self.drop(Place::Programs, Cause::Program { name });
        }
        Ok(())
    }
}

impl Callee<'_> {
    /// Whether it makes a difference when it is called.
    fn matters(&self) -> bool {
        match self {
            Self::Nat(chains) => !chains.is_empty(),
            Self::Conntrack | Self::Chain(..) | Self::Legacy(_) => true,
        }
    }
}
