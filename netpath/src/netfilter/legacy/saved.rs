//! What `iptables-legacy-save -c` says of a table.

use std::collections::BTreeSet;

use netpath_common::Family;

use super::rule;
use crate::netfilter::{
    Count, Policy,
    nft::{Base, ChainId, Hook, TableFamily, WholeChain},
};

/// The table's chains; `None` where a line makes no sense.
pub(super) fn read(family: Family, table: &str, text: &str) -> Option<Vec<(ChainId, WholeChain)>> {
    let id = |name: &str| ChainId {
        family: match family {
            Family::V4 => TableFamily::Ip,
            Family::V6 => TableFamily::Ip6,
        },
        table: format!("{table} (legacy)"),
        name: name.to_owned(),
    };
    let mut chains: Vec<(ChainId, WholeChain)> = Vec::new();
    for line in text.lines() {
        if let Some(line) = line.strip_prefix(':') {
            let (name, rest) = line.split_once(' ')?;
            let (policy, count) = rest.split_once(' ')?;
            let rules = Vec::new();
            let base = match policy {
                "-" => None,
                policy => Some(base(table, name, policy.parse().ok()?, counted(count)?)?),
            };
            chains.push((id(name), WholeChain { base, rules }));
        } else if let Some((count, line)) = line.split_once(" -A ") {
            let words = words(line);
            let (name, words) = words.split_first()?;
            let own: BTreeSet<String> = chains.iter().map(|(id, _)| id.name.clone()).collect();
            let (_, chain) = chains.iter_mut().find(|(id, _)| id.name == *name)?;
            let number = chain.rules.len() as u64 + 1;
            let mut rule = rule::of(family, words, &own, counted(count)?);
            rule.handle = number;
            rule.text = Some(format!("-A {line}"));
            chain.rules.push(rule);
        }
    }
    Some(chains)
}

/// `[packets:bytes]`.
fn counted(text: &str) -> Option<Count> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let (packets, bytes) = inner.split_once(':')?;
    Some(Count {
        packets: packets.parse().ok()?,
        bytes: bytes.parse().ok()?,
    })
}

fn base(table: &str, name: &str, policy: Policy, count: Count) -> Option<Base> {
    let hook = match name {
        "PREROUTING" => Hook::Prerouting,
        "INPUT" => Hook::Input,
        "FORWARD" => Hook::Forward,
        "OUTPUT" => Hook::Output,
        "POSTROUTING" => Hook::Postrouting,
        _ => return None,
    };
    // linux/netfilter_ipv4.h.
    let (kind, priority) = match (table, hook) {
        ("raw", _) => ("filter", -300),
        ("mangle", Hook::Output) => ("route", -150),
        ("mangle", _) => ("filter", -150),
        ("nat", Hook::Prerouting | Hook::Output) => ("nat", -100),
        ("nat", _) => ("nat", 100),
        ("security", _) => ("filter", 50),
        _ => ("filter", 0),
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

/// The words of a line; what is in quotes is one.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut is_quoted = false;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            '\\' if is_quoted => word.get_or_insert_default().extend(letters.next()),
            ' ' if !is_quoted => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
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
        let (id, forward) = &chains[1];
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
