//! What `iptables-legacy-save -c` says of a table.

use std::collections::BTreeSet;

use netpath_common::Family;

use super::rule;
use crate::netfilter::{
    Count, Policy,
    nft::{Base, ChainId, Hook, TableFamily, WholeChain},
    save,
};

/// The table's chains; `None` where a line makes no sense.
pub(super) fn read(family: Family, table: &str, text: &str) -> Option<Vec<(ChainId, WholeChain)>> {
    let saved = save::parse(text)?;
    let own: BTreeSet<String> = saved.keys().map(|(_, name)| name.clone()).collect();
    let chains = saved.into_iter().map(|((_, name), saved)| {
        let base = match saved.policy {
            Some((policy, count)) => Some(base(table, &name, policy, count)?),
            None => None,
        };
        let rules = (1..).zip(saved.rules).map(|(number, saved)| {
            let words = save::words(saved.text.strip_prefix("-A ")?);
            let mut rule = rule::of(family, words.get(1..)?, &own, saved.count?);
            rule.handle = number;
            rule.text = Some(saved.text);
            Some(rule)
        });
        let id = ChainId {
            family: match family {
                Family::V4 => TableFamily::Ip,
                Family::V6 => TableFamily::Ip6,
            },
            table: format!("{table} (legacy)"),
            name,
        };
        let rules = rules.collect::<Option<_>>()?;
        Some((id, WholeChain { base, rules }))
    });
    chains.collect()
}

fn base(table: &str, name: &str, policy: Policy, count: Count) -> Option<Base> {
    let (hook, priority) = save::place(table, name)?;
    let kind = match (table, hook) {
        ("mangle", Hook::Output) => "route",
        ("nat", _) => "nat",
        _ => "filter",
    };
    Some(Base {
        kind: kind.to_owned(),
        hook,
        priority,
        policy,
        devices: Vec::new(),
        count: Some(count),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netfilter::nft::{Operation, Verdict};

    #[test]
    fn a_table_is_read_with_its_policies_and_counters() {
        let text = "# Generated\n*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [3:252]\n:OWN - [0:0]\n\
                    [5:420] -A FORWARD -m comment --comment \"a \\\"b\\\" -j DROP\" -g OWN\nCOMMIT\n";
        let chains = read(Family::V4, "filter", text).expect("a table");
        assert_eq!(chains.len(), 3);
        let (id, forward) = &chains[0];
        assert_eq!(
            (id.name.as_str(), id.table.as_str()),
            ("FORWARD", "filter (legacy)")
        );
        let base = forward.base.as_ref().expect("a base chain");
        assert_eq!((base.hook, base.policy), (Hook::Forward, Policy::Drop));
        assert_eq!(base.count.map(|count| count.packets), Some(3));
        assert_eq!(chains[2].1.base, None);
        let [rule] = forward.rules.as_slice() else {
            panic!("{forward:?}");
        };
        let goes = Operation::Verdict(Verdict::Goto("OWN".to_owned()));
        assert_eq!(rule.operations.last(), Some(&goes));
        assert_eq!(rule.operations.len(), 2);
    }

    #[test]
    fn what_makes_no_sense_is_no_table() {
        assert_eq!(read(Family::V4, "filter", ":INPUT MAYBE [0:0]\n"), None);
        assert_eq!(read(Family::V4, "filter", "[0:0] -A INPUT -j DROP\n"), None);
    }
}
