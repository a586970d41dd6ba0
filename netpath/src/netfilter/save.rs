//! What `iptables-save -c` prints: the texts of rules, and of legacy xtables, which netlink does not list, the rules themselves.

use std::collections::BTreeMap;

use ipnet::IpNet;
use netpath_common::Family;

use super::{
    Count, Policy,
    nft::{
        About, Base, Chain, ChainId, Comparison, Expression, Header, Hook, Register, Rule, Ruleset,
        Source, TableFamily, Verdict, is_of_packet,
    },
};

/// A rule as it is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedRule {
    /// `-A CHAIN ...`.
    pub text: String,
    /// What it has matched.
    pub count: Option<Count>,
}

/// A chain as it is printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedChain {
    /// The policy of a built-in one, and what that has decided.
    pub policy: Option<(Policy, Count)>,
    /// Its rules, in their order.
    pub rules: Vec<SavedRule>,
}

/// By table and chain.
pub type Saved = BTreeMap<(String, String), SavedChain>;

/// Reads what was printed; `None` where it is not in the form that is known.
pub fn parse(text: &str) -> Option<Saved> {
    let mut saved = Saved::new();
    let mut table = String::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('*') {
            name.clone_into(&mut table);
        } else if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split_whitespace();
            let name = words.next()?;
            let policy = match words.next()? {
                "-" => None,
                policy => {
                    let counted = words.next().map_or(Some(Count::default()), count)?;
                    Some((policy.parse().ok()?, counted))
                }
            };
            let chain = SavedChain {
                policy,
                ..SavedChain::default()
            };
            saved.insert((table.clone(), name.to_owned()), chain);
        } else if line.starts_with('[') || line.starts_with("-A ") {
            let (count, text) = match line.split_once("] ") {
                Some((counted, text)) if line.starts_with('[') => {
                    (Some(self::count(&format!("{counted}]"))?), text)
                }
                _ => (None, line),
            };
            let chain = text.strip_prefix("-A ")?.split_whitespace().next()?;
            let chain = saved.get_mut(&(table.clone(), chain.to_owned()))?;
            chain.rules.push(SavedRule {
                text: text.to_owned(),
                count,
            });
        }
    }
    Some(saved)
}

/// `[packets:bytes]`.
fn count(text: &str) -> Option<Count> {
    let (packets, bytes) = text.strip_prefix('[')?.strip_suffix(']')?.split_once(':')?;
    Some(Count {
        packets: packets.parse().ok()?,
        bytes: bytes.parse().ok()?,
    })
}

/// The rules of legacy xtables as if they were of nf_tables. Whatever is not understood is kept by its name.
pub fn as_ruleset(saved: &Saved, family: Family) -> Ruleset {
    let of_family = match family {
        Family::V4 => TableFamily::Ip,
        Family::V6 => TableFamily::Ip6,
    };
    let id = |table: &str, name: &str| ChainId {
        family: of_family,
        table: table.to_owned(),
        name: name.to_owned(),
    };
    let mut chains = BTreeMap::new();
    for ((table, name), chain) in saved {
        let is_chain = |target: &str| saved.contains_key(&(table.clone(), target.to_owned()));
        let rules = (1..).zip(&chain.rules).map(|(handle, rule)| Rule {
            handle,
            expressions: expressions(rule, family, &is_chain),
        });
        let base = chain.policy.as_ref().and_then(|(policy, count)| {
            let (hook, priority) = place(table, name)?;
            Some(Base {
                kind: if table == "nat" { "nat" } else { "filter" }.to_owned(),
                hook,
                priority,
                policy: *policy,
                devices: Vec::new(),
                count: Some(*count),
            })
        });
        let chain = Chain {
            base,
            dormant: false,
            rules: rules.collect(),
        };
        chains.insert(id(table, name), chain);
    }
    Ruleset {
        chains,
        verdict_maps: BTreeMap::new(),
    }
}

/// Where a built-in chain is called: `NF_IP_PRI_*` of linux/netfilter_ipv4.h.
pub(super) fn place(table: &str, chain: &str) -> Option<(Hook, i32)> {
    let hook = match chain {
        "PREROUTING" => Hook::Prerouting,
        "INPUT" => Hook::Input,
        "FORWARD" => Hook::Forward,
        "OUTPUT" => Hook::Output,
        "POSTROUTING" => Hook::Postrouting,
        _ => return None,
    };
    let priority = match (table, hook) {
        ("raw", _) => -300,
        ("mangle", _) => -150,
        ("nat", Hook::Postrouting | Hook::Input) => 100,
        ("nat", _) => -100,
        ("security", _) => 50,
        _ => 0,
    };
    Some((hook, priority))
}

/// A rule's options, as they are printed: each begins with a `-`, and `!` stands before what it turns.
fn expressions(
    rule: &SavedRule,
    family: Family,
    is_chain: &dyn Fn(&str) -> bool,
) -> Vec<Expression> {
    let mut found = Vec::new();
    let words = words(&rule.text);
    let mut at = 2;
    let mut negated = false;
    let mut matched: Option<String> = None;
    while let Some(word) = words.get(at) {
        let value = words.get(at + 1).map(String::as_str);
        let mut taken = 2;
        match (word.as_str(), value) {
            ("!", _) => {
                negated = true;
                at += 1;
                continue;
            }
            ("-s", Some(net)) => found.extend(address(net, family, true, negated)),
            ("-d", Some(net)) => found.extend(address(net, family, false, negated)),
            ("-i", Some(dev)) => found.extend(interface(dev, IIFNAME, negated)),
            ("-o", Some(dev)) => found.extend(interface(dev, OIFNAME, negated)),
            ("-p", Some(protocol)) => found.push(asked(protocol, About::Packet)),
            ("-m", Some("mark" | "conntrack" | "state")) => matched = None,
            ("-m", Some(name)) => {
                let about = match is_of_packet(name) {
                    true => About::Packet,
                    false => About::Unknown,
                };
                found.push(asked(name, about));
                matched = Some(name.to_owned());
            }
            ("--ctstate" | "--state", Some(states)) => {
                found.push(asked(
                    "conntrack",
                    About::States(self::states(states, negated)),
                ));
            }
            ("--mark", Some(mark)) if matched.is_none() => {
                found.push(asked("mark", self::mark(mark, negated)));
            }
            ("-j" | "-g", Some(target)) => {
                found.extend(rule.count.map(|it| Expression::Counter { count: Some(it) }));
                found.push(self::target(target, word == "-g", is_chain));
                // What follows are the target's own.
                break;
            }
            // An option of the last match.
            (option, _) if option.starts_with("--") => {
                let has_value = value.is_some_and(|it| !it.starts_with('-') && it != "!");
                taken = 1 + usize::from(has_value);
                if matched.is_none() && !is_of_packet_option(option) {
                    found.push(asked(option, About::Unknown));
                }
            }
            _ => taken = 1,
        }
        negated = false;
        at += taken;
    }
    found
}

/// Of protocols that are matched without `-m`, which `iptables-save` never prints so, and the comment of a rule.
fn is_of_packet_option(option: &str) -> bool {
    [
        "--dport",
        "--sport",
        "--icmp-type",
        "--icmpv6-type",
        "--comment",
    ]
    .contains(&option)
}

/// Words, of which one in double quotes may have blanks.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quoted, mut escaped) = (false, false);
    for letter in text.chars() {
        match letter {
            _ if escaped => {
                word.push(letter);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => {
                words.extend(Some(std::mem::take(&mut word)).filter(|it| !it.is_empty()))
            }
            _ => word.push(letter),
        }
    }
    words.extend(Some(word).filter(|it| !it.is_empty()));
    words
}

const IIFNAME: u32 = 6;
const OIFNAME: u32 = 7;
const IFNAMSIZ: usize = 16;

fn asked(name: &str, about: About) -> Expression {
    Expression::Match {
        name: name.to_owned(),
        revision: 0,
        about,
    }
}

/// An address or a prefix, also with a mask that is none.
fn address(text: &str, family: Family, is_source: bool, negated: bool) -> Vec<Expression> {
    let Ok(net) = text.parse::<IpNet>().or_else(|_| text.parse().map(single)) else {
        return vec![asked("an address", About::Unknown)];
    };
    let (source, destination, length) = match family {
        Family::V4 => (12, 16, 4),
        Family::V6 => (8, 24, 16),
    };
    let (value, mask) = match net {
        IpNet::V4(net) => (
            net.network().octets().to_vec(),
            net.netmask().octets().to_vec(),
        ),
        IpNet::V6(net) => (
            net.network().octets().to_vec(),
            net.netmask().octets().to_vec(),
        ),
    };
    let register = Register(0);
    vec![
        Expression::Load {
            source: Source::Payload {
                header: Header::Network,
                offset: if is_source { source } else { destination },
                length,
            },
            into: Some(register),
        },
        Expression::Bitwise {
            from: register,
            into: register,
            xor: vec![0; mask.len()],
            mask,
        },
        Expression::Compare {
            register,
            comparison: comparison(negated),
            data: value,
        },
    ]
}

fn single(address: std::net::IpAddr) -> IpNet {
    address.into()
}

fn comparison(negated: bool) -> Comparison {
    match negated {
        true => Comparison::NotEqual,
        false => Comparison::Equal,
    }
}

/// A name; one that ends with a `+` is the beginning of some.
fn interface(dev: &str, key: u32, negated: bool) -> Vec<Expression> {
    let mut data = dev.strip_suffix('+').unwrap_or(dev).as_bytes().to_vec();
    if !dev.ends_with('+') {
        data.resize(IFNAMSIZ, 0);
    }
    let register = Register(0);
    vec![
        Expression::Load {
            source: Source::Meta(key),
            into: Some(register),
        },
        Expression::Compare {
            register,
            comparison: comparison(negated),
            data,
        },
    ]
}

/// As bits of `XT_CONNTRACK_STATE_*`.
fn states(names: &str, negated: bool) -> u32 {
    let bit = |name: &str| match name {
        "INVALID" => 1,
        "ESTABLISHED" => 1 << 1,
        "RELATED" => 1 << 2,
        "NEW" => 1 << 3,
        "SNAT" => 1 << 6,
        "DNAT" => 1 << 7,
        "UNTRACKED" => 1 << 8,
        _ => 0,
    };
    let states = names.split(',').map(bit).fold(0, |all, it| all | it);
    if negated { !states } else { states }
}

fn mark(text: &str, negated: bool) -> About {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (number(value), number(mask)),
        None => (number(text), Some(u32::MAX)),
    };
    match (value, mask) {
        (Some(value), Some(mask)) => About::Mark {
            value,
            mask,
            negated,
        },
        _ => About::Unknown,
    }
}

fn target(name: &str, goes: bool, is_chain: &dyn Fn(&str) -> bool) -> Expression {
    let verdict = match name {
        "ACCEPT" => Verdict::Accept,
        "DROP" => Verdict::Drop,
        "RETURN" => Verdict::Return,
        chain if is_chain(chain) && goes => Verdict::Goto(chain.to_owned()),
        chain if is_chain(chain) => Verdict::Jump(chain.to_owned()),
        target => {
            return Expression::Target {
                name: target.to_owned(),
                revision: 0,
                data: Vec::new(),
            };
        }
    };
    Expression::Verdict(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netfilter::nft::{EffectKind, Effects, Judged, Packets};

    const TEXT: &str = r#"
# Generated by iptables-save
*filter
:INPUT ACCEPT [9:9]
:FORWARD DROP [3:252]
:OWN - [0:0]
[5:420] -A FORWARD -s 10.1.0.0/16 -d 10.1.0.0/16 -m comment --comment "pods -j DROP" -j ACCEPT
[0:0] -A FORWARD ! -i eth+ -m comment --comment c -m mark --mark 0x4000/0x4000 -j DROP
[1:84] -A FORWARD -m conntrack --ctstate INVALID -j OWN
[2:168] -A OWN -p tcp -m tcp --dport 23 -j LOG --log-prefix "own: "
[1:84] -A OWN -j DROP
COMMIT
"#;

    fn judged(source: &str, destination: &str) -> Vec<(EffectKind, Option<u64>, Judged)> {
        let saved = parse(TEXT).expect("it is known");
        let ruleset = as_ruleset(&saved, Family::V4);
        let mut chains = ruleset.base_chains();
        let (id, _, base) = chains.find(|(id, ..)| id.name == "FORWARD").expect("it");
        let effects = Effects::of(&ruleset, id, base);
        let packets = Packets {
            source: source.parse().expect("prefix"),
            destination: destination.parse().expect("prefix"),
            iif: None,
            oif: None,
        };
        let judged = effects.judged(&packets).into_iter();
        judged
            .map(|(effect, judged)| (effect.kind.clone(), effect.rule, judged))
            .collect()
    }

    #[test]
    fn rules_of_legacy_tables_are_followed() {
        let log = || EffectKind::Other("LOG".to_owned());
        use EffectKind::Drop;
        use Judged::{Never, Rarely, Surely};
        assert_eq!(
            judged("10.1.2.0/24", "10.1.3.4/32"),
            [
                (Drop, Some(2), Never),
                (log(), Some(1), Never),
                (Drop, Some(2), Never),
                (Drop, None, Never)
            ]
        );
        assert_eq!(
            judged("10.2.0.0/24", "10.1.3.4/32"),
            [
                // Nobody marks them.
                (Drop, Some(2), Never),
                (log(), Some(1), Rarely),
                (Drop, Some(2), Rarely),
                (Drop, None, Surely)
            ]
        );
    }

    #[test]
    fn texts_and_counters_are_kept() {
        let saved = parse(TEXT).expect("it is known");
        let forward = &saved[&("filter".to_owned(), "FORWARD".to_owned())];
        let fallen = Count {
            packets: 3,
            bytes: 252,
        };
        assert_eq!(forward.policy, Some((Policy::Drop, fallen)));
        assert_eq!(forward.rules.len(), 3);
        assert!(forward.rules[0].text.ends_with("-j ACCEPT"));
        assert_eq!(forward.rules[0].count.expect("counted").packets, 5);
        assert_eq!(parse("*filter\n-A NONE -j DROP\n"), None);
    }
}
