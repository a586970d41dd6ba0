//! Which packets are asked about, and which group what they meet is in.

use std::collections::{BTreeMap, BTreeSet};

use netpath_common::{Bypass, Ifindex, PuntReason};

use super::*;
use crate::{
    netfilter::read_legacy,
    reconcile::{InterfaceCensus, Matter},
};

fn end(net: &str, dev: &'static str, index: u32) -> End<'static> {
    End {
        net: net.parse().expect("a prefix"),
        dev: Some(Device {
            ifindex: Ifindex(index),
            name: dev,
        }),
    }
}

fn ends() -> Vec<End<'static>> {
    vec![
        end("10.0.1.2/32", "va1", 1),
        end("10.0.2.2/32", "va2", 2),
        end("10.0.3.0/24", "up0", 3),
        end("10.0.4.0/24", "up0", 3),
        end("fd00:1::2/128", "va1", 1),
    ]
}

fn told(subject: &Subject<'_>, with_kernels: bool) -> BTreeSet<String> {
    let pairs = subject.pairs(with_kernels).into_iter();
    pairs
        .map(|(from, to)| format!("{} {}", from.net, to.net))
        .collect()
}

#[test]
fn what_the_fast_path_takes_is_asked_about() {
    let ends = ends();
    let mut census = Census::default();
    fn subject<'a>(ends: &'a [End<'a>], census: &'a Census) -> Subject<'a> {
        Subject {
            ends,
            census,
            bypass: Bypass::default(),
        }
    }
    // Not from one prefix to another behind one uplink, nor from one family to the other: 4 * 3 - 2.
    let all = told(&subject(&ends, &census), false);
    assert_eq!(all.len(), 10, "{all:?}");
    assert!(!all.contains("10.0.3.0/24 10.0.4.0/24"));
    // What is left to the kernel is none of it.
    let ingress = BTreeSet::from([PuntReason::Shaped]);
    census.interfaces = BTreeMap::from([(
        Ifindex(2),
        InterfaceCensus {
            ingress,
            egress: BTreeSet::new(),
        },
    )]);
    let left = told(&subject(&ends, &census), false);
    assert!(
        left.iter().all(|pair| !pair.contains("10.0.2.2")),
        "{left:?}"
    );
    assert_eq!(
        (left.len(), told(&subject(&ends, &census), true)),
        (4, all.clone())
    );
    let accepted = Subject {
        bypass: Bypass::named("shaped").expect("it is one"),
        ..subject(&ends, &census)
    };
    assert_eq!(told(&accepted, false), all);
    census.interfaces.clear();
    let net = |text: &str| text.parse().expect("a prefix");
    census.matters = vec![Matter {
        reason: PuntReason::Ipsec,
        sources: BTreeSet::from([net("10.0.1.2/32")]),
        destinations: BTreeSet::from([net("10.0.3.0/24")]),
    }];
    let left = told(&subject(&ends, &census), false);
    let gone: Vec<&String> = all.difference(&left).collect();
    assert_eq!(gone, ["10.0.1.2/32 10.0.3.0/24", "10.0.3.0/24 10.0.1.2/32"]);
}

#[test]
fn many_ends_are_asked_about_in_both_directions() {
    let names: Vec<String> = (0..PAIRED + 3).map(|number| format!("v{number}")).collect();
    let ends: Vec<End<'_>> = names
        .iter()
        .zip(1..)
        .map(|(name, number)| End {
            net: std::net::IpAddr::from([10, 0, number, 2]).into(),
            dev: Some(Device {
                ifindex: Ifindex(number.into()),
                name,
            }),
        })
        .collect();
    let subject = Subject {
        ends: &ends,
        census: &Census::default(),
        bypass: Bypass::default(),
    };
    let asked = told(&subject, false);
    assert_eq!(asked.len(), PAIRED * (PAIRED - 1) + 3 * 2 * PAIRED);
    assert!(
        asked.contains("10.0.67.2/32 10.0.1.2/32") && asked.contains("10.0.1.2/32 10.0.67.2/32")
    );
}

const RULES: &str = "*mangle\n:PREROUTING ACCEPT [0:0]\n[7:420] -A PREROUTING -s 10.0.1.2/32 -j TTL --ttl-set 9\n\
    [0:0] -A PREROUTING -j LOG\nCOMMIT\n*filter\n:FORWARD DROP [5:300]\n[1:60] -A FORWARD -s 10.0.1.2/32 -j TELEPATHY\n\
    [2:120] -A FORWARD -m state --state INVALID -j DROP\n[3:180] -A FORWARD -m set --match-set s src -j ACCEPT\n\
    [0:0] -A FORWARD -d 10.0.0.0/8 -j ACCEPT\n:INPUT DROP [0:0]\n[4:9] -A INPUT -j DROP\nCOMMIT\n";

#[test]
fn groups_are_told_by_what_is_known() {
    let ruleset = read_legacy(netpath_common::Family::V4, RULES).expect("it is known");
    let rules = Rules {
        is_legacy: true,
        ruleset: &ruleset,
    };
    let ends = ends();
    let found = |bypass| {
        let subject = Subject {
            ends: &ends,
            census: &Census::default(),
            bypass,
        };
        let items = of_rules(&subject, rules).into_iter();
        items
            .map(|it| {
                let does = it.text.rsplit(" -j ").next().unwrap_or_default();
                (format!("{} {does}", it.place), it.group.name())
            })
            .collect::<Vec<_>>()
    };
    let expected = |passed_by| {
        [
            // Which packets it would change it says, and what it does nobody here knows.
            ("legacy ip filter FORWARD TELEPATHY", "unknown"),
            // It has met some, of whomever.
            ("legacy ip filter FORWARD DROP", "unknown"),
            ("legacy ip filter FORWARD ACCEPT", "no_effect"),
            ("legacy ip filter FORWARD ACCEPT", "no_effect"),
            ("legacy ip filter FORWARD policy DROP", "no_effect"),
            ("legacy ip mangle PREROUTING TTL --ttl-set 9", "heeded"),
            ("legacy ip mangle PREROUTING LOG", passed_by),
            ("legacy ip mangle PREROUTING policy ACCEPT", "no_effect"),
        ]
        .map(|(item, group)| (item.to_owned(), group))
    };
    assert_eq!(found(Bypass::default()), expected("changes_behaviour"));
    assert_eq!(found(Bypass::OF_FORWARD), expected("accepted"));
}

#[test]
fn what_is_done_before_filter_is_heeded() {
    let ruleset = read_legacy(netpath_common::Family::V4, RULES).expect("it is known");
    let ends = ends();
    for is_legacy in [false, true] {
        let groups = |bypass| {
            let subject = Subject {
                ends: &ends,
                census: &Census::default(),
                bypass,
            };
            let rules = Rules {
                is_legacy,
                ruleset: &ruleset,
            };
            let items = of_rules(&subject, rules).into_iter();
            items
                .filter(|it| it.place.ends_with("PREROUTING") && it.kind == ItemKind::Rule)
                .map(|it| it.group.name())
                .collect::<Vec<_>>()
        };
        assert_eq!(groups(Bypass::default()), ["heeded", "changes_behaviour"]);
        assert_eq!(groups(Bypass::OF_FORWARD), ["heeded", "accepted"]);
        let rules_too = Bypass::OF_FORWARD.and(Bypass::named("rules").expect("it is one"));
        assert_eq!(groups(rules_too), ["accepted", "accepted"]);
    }
}
