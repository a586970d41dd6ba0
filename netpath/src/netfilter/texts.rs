//! Rules in the words of the programs that people write them with.

use std::{cell::RefCell, collections::BTreeMap};

use netpath_common::Family;

use super::{
    IPTABLES_TABLES,
    nft::{ChainId, Ruleset, TableFamily},
    save,
};
use crate::{command, netns::Inside};

/// Gives rules of nf_tables in the calling thread's namespace their texts: those of iptables as `iptables-save` prints them, others
/// as `nft` does. Where there is no such program, or a chain has changed meanwhile, there is none.
pub fn add_texts(_inside: &Inside<'_>, ruleset: &mut Ruleset) {
    if ruleset.chains.values().all(|chain| chain.rules.is_empty()) {
        return;
    }
    if let Ok(text) = command::run("nft", &["-a", "list", "ruleset"], "") {
        let mut printed = by_handle(&text);
        for (id, chain) in &mut ruleset.chains {
            let mut texts = printed.remove(id).unwrap_or_default();
            for rule in &mut chain.rules {
                rule.text = texts.remove(&rule.handle);
            }
        }
    }
    for (family, program) in [
        (Family::V4, "iptables-nft-save"),
        (Family::V6, "ip6tables-nft-save"),
    ] {
        let printed = command::run(program, &[], "").ok();
        let saved = printed.and_then(|text| save::parse(&text));
        for ((table, name), printed) in saved.into_iter().flatten() {
            let family = TableFamily::from(family);
            let id = ChainId {
                family,
                table,
                name,
            };
            let chain = ruleset.chains.get_mut(&id);
            let chain = chain.filter(|chain| chain.rules.len() == printed.rules.len());
            for (rule, printed) in chain
                .into_iter()
                .flat_map(|it| &mut it.rules)
                .zip(printed.rules)
            {
                rule.text = Some(printed.text);
            }
        }
    }
}

/// Asks for the words of rules in the calling thread's namespace, for each chain once.
pub struct RuleTexts<'a> {
    _inside: &'a Inside<'a>,
    known: RefCell<BTreeMap<ChainId, Words>>,
}

/// The rules of a chain in words.
enum Words {
    /// By their order.
    Iptables(Vec<String>),
    /// By their handles.
    Nft(BTreeMap<u64, String>),
}

impl<'a> RuleTexts<'a> {
    /// Nothing is asked yet.
    pub fn new(inside: &'a Inside<'a>) -> Self {
        Self {
            _inside: inside,
            known: RefCell::default(),
        }
    }

    /// A rule as `iptables -S` or `nft -a list chain` shows it, by its number in its chain, from 1, and its handle. `None`
    /// where neither is installed or shows it.
    pub fn of(&self, chain: &ChainId, number: usize, handle: u64) -> Option<String> {
        let mut known = self.known.borrow_mut();
        let words = known.entry(chain.clone()).or_insert_with(|| ask(chain));
        match words {
            Words::Iptables(rules) => rules.get(number.checked_sub(1)?).cloned(),
            Words::Nft(rules) => rules.get(&handle).cloned(),
        }
    }
}

fn ask(chain: &ChainId) -> Words {
    let iptables = match chain.family {
        TableFamily::Ip => Some("iptables-nft"),
        TableFamily::Ip6 => Some("ip6tables-nft"),
        _ => None,
    };
    if let Some(program) = iptables
        && IPTABLES_TABLES.contains(&chain.table.as_str())
    {
        let arguments = ["-w", "-t", &chain.table, "-S", &chain.name];
        // A table that iptables did not make it does not show.
        if let Ok(text) = command::run(program, &arguments, "") {
            return Words::Iptables(by_order(&text));
        }
    }
    let Some(family) = chain.family.name() else {
        return Words::Nft(BTreeMap::new());
    };
    let arguments = ["-a", "list", "chain", family, &chain.table, &chain.name];
    let text = command::run("nft", &arguments, "").unwrap_or_default();
    Words::Nft(by_handle(&text).remove(chain).unwrap_or_default())
}

fn by_order(text: &str) -> Vec<String> {
    let rules = text.lines().filter(|line| line.starts_with("-A "));
    rules.map(str::to_owned).collect()
}

/// What `nft -a list` prints: each rule with its number behind it.
fn by_handle(text: &str) -> BTreeMap<ChainId, BTreeMap<u64, String>> {
    let mut found: BTreeMap<ChainId, BTreeMap<u64, String>> = BTreeMap::new();
    let mut table: Option<(TableFamily, &str)> = None;
    let mut chain: Option<ChainId> = None;
    for line in text.lines() {
        let (line, handle) = match line.rsplit_once(" # handle ") {
            Some((line, handle)) => (line.trim(), handle.trim().parse::<u64>().ok()),
            None => (line.trim(), None),
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), &chain) {
            (["table", family, name, "{"], _) => {
                table = TableFamily::named(family).map(|family| (family, *name));
                chain = None;
            }
            (["chain", name, "{"], _) => {
                chain = table.map(|(family, table)| ChainId {
                    family,
                    table: table.to_owned(),
                    name: (*name).to_owned(),
                });
            }
            (_, Some(chain)) => {
                let rules = handle.map(|handle| (handle, line.to_owned()));
                found.entry(chain.clone()).or_default().extend(rules);
            }
            (_, None) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_known_by_their_order_or_their_handles() {
        let text = "-P FORWARD DROP\n-A FORWARD -i eth0 -j ACCEPT\n-A FORWARD -j DROP\n";
        let rules = ["-A FORWARD -i eth0 -j ACCEPT", "-A FORWARD -j DROP"];
        assert_eq!(by_order(text), rules);
        let text = "table inet t { # handle 7\n\tset s { # handle 2\n\t\ttype ipv4_addr\n\t}\n\n\tchain c { # handle 1\n\
            \t\ttype filter hook forward priority filter; policy accept;\n\t\tip saddr @s log prefix \"a # b\" drop # handle 5\n\
            \t}\n}\n";
        let chain = ChainId {
            family: TableFamily::Inet,
            table: "t".to_owned(),
            name: "c".to_owned(),
        };
        let rule = "ip saddr @s log prefix \"a # b\" drop".to_owned();
        let expected = BTreeMap::from([(chain, BTreeMap::from([(5, rule)]))]);
        assert_eq!(by_handle(text), expected);
    }
}
