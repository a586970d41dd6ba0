//! Rules in the words of the programs that people write them with.

use std::{cell::RefCell, collections::BTreeMap};

use super::nft::{ChainId, TableFamily};
use crate::{command, netns::Inside};

/// Tables of iptables.
const IPTABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];

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
        && IPTABLES.contains(&chain.table.as_str())
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
    Words::Nft(by_handle(&text))
}

fn by_order(text: &str) -> Vec<String> {
    let rules = text.lines().filter(|line| line.starts_with("-A "));
    rules.map(str::to_owned).collect()
}

fn by_handle(text: &str) -> BTreeMap<u64, String> {
    text.lines()
        .filter_map(|line| {
            let (rule, handle) = line.trim().rsplit_once(" # handle ")?;
            Some((handle.parse().ok()?, rule.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_known_by_their_order_or_their_handles() {
        let text = "-P FORWARD DROP\n-A FORWARD -i eth0 -j ACCEPT\n-A FORWARD -j DROP\n";
        let rules = ["-A FORWARD -i eth0 -j ACCEPT", "-A FORWARD -j DROP"];
        assert_eq!(by_order(text), rules);
        let text = "table ip t { # handle 1\n\tchain c { # handle 2\n\t\ttype filter hook forward priority 0;\n\t\t\
                    tcp dport 22 drop # handle 5\n\t}\n}\n";
        assert_eq!(by_handle(text)[&5], "tcp dport 22 drop");
    }
}
