//! Operations that no ruleset of the tests on real kernels holds, and rulesets that would take too long to make there.

use std::collections::BTreeMap;

use netpath_common::{Family, Ifindex};

use super::{
    operation::{self, decode},
    *,
};
use crate::{
    netfilter::Policy,
    netlink::attribute::{Attributes, attribute},
};

/// An expression by its name and the attributes of its data.
fn expression(name: &str, data: &[(u16, Vec<u8>)]) -> Operation {
    let mut bytes = attribute(1, format!("{name}\0").as_bytes());
    let data: Vec<u8> = data
        .iter()
        .flat_map(|(kind, value)| attribute(*kind, value))
        .collect();
    bytes.extend(attribute(0x8002, &data));
    decode(&bytes).expect("attributes")
}

fn word(number: u32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

#[test]
fn what_this_kernel_lacks_is_known() {
    // NFTA_QUEUE_NUM and NFTA_QUEUE_FLAGS, NFTA_FLOW_TABLE_NAME.
    let queue = expression("queue", &[(1, vec![0, 3]), (3, vec![0, 0])]);
    assert_eq!(queue, Operation::Take("queue".to_owned()));
    let offload = expression("flow_offload", &[(1, b"f\0".to_vec())]);
    assert_eq!(offload, Operation::Nothing("flow_offload".to_owned()));
    let verdict = |code: i32| {
        let bytes = attribute(1, &code.to_be_bytes());
        operation::verdict(&Attributes::parse(&bytes).expect("whole"))
    };
    // NF_QUEUE to queue 7; NF_STOLEN; a jump without a chain.
    assert_eq!(verdict(7 << 16 | 3), Ok(Verdict::Queue));
    assert_eq!(verdict(2), Ok(Verdict::Other(2)));
    assert!(verdict(-3).is_err());
}

#[test]
fn what_is_not_known_keeps_its_name() {
    let other = |name: &str| Operation::Other(name.to_owned());
    assert_eq!(expression("telepathy", &[(1, word(9))]), other("telepathy"));
    // Known by its name, of another form: no comparison of that number, no register of that one, cut off.
    let data = attribute(1, &[7]);
    let compare = |register, comparison| {
        expression(
            "cmp",
            &[
                (1, word(register)),
                (2, word(comparison)),
                (0x8003, data.clone()),
            ],
        )
    };
    assert_eq!(
        compare(9, 0),
        Operation::Compare {
            register: Register(1),
            relation: Relation::Equal,
            data: vec![7]
        }
    );
    assert_eq!(compare(9, 17), other("cmp"));
    assert_eq!(compare(99, 0), other("cmp"));
    assert_eq!(expression("payload", &[(1, word(1))]), other("payload"));
    assert_eq!(expression("meta", &[(2, vec![1])]), other("meta"));
    assert!(decode(&[1, 2, 3]).is_err());
}

const ID: [&str; 2] = ["t", "c"];

fn id(name: &str) -> ChainId {
    ChainId {
        family: TableFamily::Inet,
        table: ID[0].to_owned(),
        name: name.to_owned(),
    }
}

fn base() -> Base {
    Base {
        kind: "filter".to_owned(),
        hook: Hook::Prerouting,
        priority: 0,
        policy: Policy::Accept,
        devices: Vec::new(),
        count: None,
    }
}

fn effects(chains: impl IntoIterator<Item = (String, Vec<Vec<Operation>>)>) -> Effects {
    let chain = |(name, rules): (String, Vec<Vec<Operation>>)| {
        let rule = |(handle, operations)| Rule {
            handle,
            operations,
            text: None,
        };
        let chain = Chain {
            base: None,
            rules: (1..).zip(rules).map(rule).collect(),
        };
        (id(&name), chain)
    };
    let ruleset = Ruleset {
        chains: chains.into_iter().map(chain).collect(),
        sets: BTreeMap::new(),
    };
    Effects::of(&ruleset, &id(ID[1]), &base())
}

fn one_rule(operations: Vec<Operation>) -> Effects {
    effects([(ID[1].to_owned(), vec![operations])])
}

fn packets(source: &str, iif: &'static str) -> Packets<'static> {
    let source: ipnet::IpNet = source.parse().expect("prefix");
    let destination = match Family::of(source.addr()) {
        Family::V4 => "10.0.0.0/8",
        Family::V6 => "fd00::/8",
    };
    Packets {
        source,
        destination: destination.parse().expect("prefix"),
        iif: Some(Device {
            ifindex: Ifindex(7),
            name: iif,
        }),
        oif: None,
    }
}

fn only(effects: &Effects) -> &Effect {
    let mut all = effects.iter();
    let first = all.next().expect("an effect");
    assert_eq!(all.next(), None);
    first
}

/// Of the only effect.
fn the_meeting(effects: &Effects, packets: &Packets<'_>) -> Meeting {
    only(effects);
    effects.meetings(packets)[0].1
}

fn load(value: Value, into: u8) -> Operation {
    let into = Register(into);
    Operation::Load { value, into }
}

fn equal(register: u8, data: &[u8]) -> Operation {
    Operation::Compare {
        register: Register(register),
        relation: Relation::Equal,
        data: data.to_vec(),
    }
}

fn network(offset: u32, length: u32) -> Value {
    Value::Payload {
        header: Header::Network,
        offset,
        length,
    }
}

const DROP: Operation = Operation::Verdict(Verdict::Drop);
const NFPROTO: Value = Value::Meta(15);

#[test]
fn an_index_is_compared_as_the_kernel_does() {
    let iif = load(Value::Meta(4), 0);
    for (index, expected) in [(7u32, Meeting::Yes), (8, Meeting::No)] {
        let found = one_rule(vec![iif.clone(), equal(0, &index.to_ne_bytes()), DROP]);
        let packets = packets("10.1.0.0/16", "a0");
        assert_eq!(the_meeting(&found, &packets), expected);
    }
}

#[test]
fn an_address_without_a_family_is_no_condition_that_is_understood() {
    let saddr = [load(network(12, 4), 0), equal(0, &[10, 9, 9, 9]), DROP];
    let found = one_rule(saddr.to_vec());
    let packets = packets("10.1.0.0/16", "a0");
    assert_eq!(the_meeting(&found, &packets), Meeting::Perhaps);
    assert!(only(&found).conditions.source.is_empty());
    // With one it is.
    let mut rule = vec![load(NFPROTO, 0), equal(0, &[2])];
    rule.extend(saddr);
    let found = one_rule(rule);
    assert_eq!(the_meeting(&found, &packets), Meeting::No);
    let prefix = only(&found).conditions.source[0].prefix();
    assert_eq!(prefix, Some("10.9.9.9/32".parse().expect("prefix")));
}

#[test]
fn a_register_that_was_overwritten_is_not_compared() {
    let mut rule = vec![load(NFPROTO, 0), equal(0, &[2])];
    rule.push(load(network(12, 8), 0));
    // The second half of what was loaded; an immediate in it.
    let into = Register(1);
    rule.push(Operation::Immediate {
        into,
        data: vec![0; 4],
    });
    rule.extend([equal(0, &[10, 9, 9, 9, 10, 8, 8, 8]), DROP]);
    let found = one_rule(rule);
    let conditions = &only(&found).conditions;
    assert!(conditions.source.is_empty() && !conditions.exact());
    // A value beside it stays.
    let rule = vec![
        load(NFPROTO, 2),
        load(Value::Meta(3), 1),
        equal(2, &[2]),
        DROP,
    ];
    let found = one_rule(rule);
    assert!(only(&found).conditions.exact());
}

#[test]
fn masks_are_understood() {
    let mut rule = vec![load(NFPROTO, 0), equal(0, &[2])];
    rule.extend([
        load(network(12, 4), 0),
        Operation::Mask {
            from: Register(0),
            into: Register(0),
            mask: vec![255, 240, 0, 0],
            xor: vec![0; 4],
        },
        equal(0, &[172, 16, 0, 0]),
        DROP,
    ]);
    let found = one_rule(rule);
    for (source, expected) in [
        ("172.16.0.0/12", Meeting::Yes),
        ("172.31.255.0/24", Meeting::Yes),
        ("172.0.0.0/8", Meeting::Yes),
        ("172.32.0.0/16", Meeting::No),
        ("fd00::/8", Meeting::No),
    ] {
        let packets = packets(source, "a0");
        assert_eq!(the_meeting(&found, &packets), expected, "{source}");
    }
    let prefix = only(&found).conditions.source[0].prefix();
    assert_eq!(prefix, Some("172.16.0.0/12".parse().expect("prefix")));
}

#[test]
fn what_is_too_much_to_follow_is_said() {
    // Ten jumps in each of eight chains: 10^8 rules.
    let jump = |n: usize| vec![Operation::Verdict(Verdict::Jump(format!("n{n}")))];
    let mut chains: Vec<_> = (0..8)
        .map(|n| (format!("n{n}"), vec![jump(n + 1); 10]))
        .collect();
    chains.push(("n8".to_owned(), vec![vec![]]));
    let accept = vec![Operation::Verdict(Verdict::Jump("n0".to_owned()))];
    chains.push((ID[1].to_owned(), vec![accept, vec![DROP]]));
    let found = effects(chains);
    let effect = only(&found);
    assert_eq!(
        effect.kind,
        EffectKind::Other("more than 1000000 rules".to_owned())
    );
    for source in ["10.1.0.0/16", "fd00:1::/32"] {
        let packets = packets(source, "a0");
        assert_eq!(the_meeting(&found, &packets), Meeting::Perhaps);
    }
}

#[test]
fn a_chain_that_is_not_there_is_said() {
    let jump = Operation::Verdict(Verdict::Jump("gone".to_owned()));
    let found = one_rule(vec![jump]);
    let what = "chain gone, which cannot be followed".to_owned();
    assert_eq!(only(&found).kind, EffectKind::Other(what));
    // So is a map.
    let map = Operation::Lookup {
        set: "gone".to_owned(),
        key: Register(0),
        invert: false,
        into: None,
        decides: true,
    };
    let found = one_rule(vec![map]);
    let what = "verdict map gone".to_owned();
    assert_eq!(only(&found).kind, EffectKind::Other(what));
    assert!(!only(&found).conditions.exact());
}

#[test]
fn an_interface_by_the_beginning_of_its_name() {
    // Linux 6.16 and a newer nft than most have.
    let mut ruleset = Ruleset::default();
    let chain = Chain {
        base: None,
        rules: Vec::new(),
    };
    ruleset.chains.insert(id(ID[1]), chain);
    let base = Base {
        hook: Hook::Egress,
        policy: Policy::Drop,
        devices: vec![
            NamePattern::Prefix("eth".to_owned()),
            NamePattern::Exact("b0".to_owned()),
        ],
        ..base()
    };
    let found = Effects::of(&ruleset, &id(ID[1]), &base);
    for (name, expected) in [
        ("eth7", Meeting::Yes),
        ("b0", Meeting::Yes),
        ("b01", Meeting::No),
    ] {
        let packets = Packets {
            oif: Some(Device {
                ifindex: Ifindex(7),
                name,
            }),
            ..packets("10.1.0.0/16", "a0")
        };
        assert_eq!(the_meeting(&found, &packets), expected, "{name}");
    }
}
