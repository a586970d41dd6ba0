//! Hooks, chains, and what cannot be known of rules.

use super::*;
use crate::netfilter::nft::{
    Data, Element, Set, Translation,
    meta::{L4PROTO, MARK},
};

const FORWARD: Hook = Hook::Forward;

fn set_mark(mark: u32) -> Vec<Operation> {
    let from = Register(0);
    vec![
        immediate(&mark.to_ne_bytes()),
        Operation::Store {
            to: Value::Meta(MARK),
            from,
        },
    ]
}

fn rule(first: &[Operation], last: Operation) -> Vec<Operation> {
    let mut all = first.to_vec();
    all.push(last);
    all
}

#[test]
fn a_policy_ends_what_no_rule_decides() {
    let mut state = state();
    let udp = rule(&meta_is(L4PROTO, &[17]), verdict(Verdict::Accept));
    chain(&mut state, "forward", (FORWARD, 0), Policy::Drop, &[udp]);
    let end = certain(&state, &Told::default(), &question(Family::V4));
    let End::Dropped {
        cause: Cause::Rule(rule),
    } = end
    else {
        panic!("{end}");
    };
    assert_eq!((rule.handle, rule.text.as_str()), (None, "policy drop"));
    let tcp = rule_that_accepts_tcp();
    chain(&mut state, "forward", (FORWARD, 0), Policy::Drop, &[tcp]);
    let end = certain(&state, &Told::default(), &question(Family::V6));
    assert_eq!(leaving(&end).ifindex, OUT);
}

/// Where it makes a difference, it is named.
#[test]
fn the_order_of_chains_of_one_priority_is_not_known() {
    let mut state = state();
    let drops = vec![verdict(Verdict::Drop)];
    let refuses = vec![Operation::Reject(crate::netfilter::nft::Refusal::Icmpx(1))];
    chain(&mut state, "a", (FORWARD, 0), Policy::Accept, &[drops]);
    chain(&mut state, "b", (FORWARD, 0), Policy::Accept, &[refuses]);
    let found = answer(&state, &Told::default(), &question(Family::V4));
    assert_eq!(found.ways.len(), 2);
    let what: Vec<&str> = found.unknown().iter().map(|it| it.what.as_str()).collect();
    assert_eq!(what, ["which of the chains of priority 0 is called first"]);
    let accepts = vec![verdict(Verdict::Accept)];
    chain(&mut state, "b", (FORWARD, 0), Policy::Accept, &[accepts]);
    let end = certain(&state, &Told::default(), &question(Family::V4));
    assert!(matches!(end, End::Dropped { .. }), "{end}");
}

fn rule_that_accepts_tcp() -> Vec<Operation> {
    rule(&meta_is(L4PROTO, &[6]), verdict(Verdict::Accept))
}

#[test]
fn chains_are_called_by_priority_and_not_by_name() {
    for (first, second, marks) in [(-5, 5, true), (5, -5, false)] {
        let mut state = state();
        chain(
            &mut state,
            "z",
            (FORWARD, first),
            Policy::Accept,
            &[set_mark(7)],
        );
        let drops = rule(&meta_is(MARK, &7u32.to_ne_bytes()), verdict(Verdict::Drop));
        chain(&mut state, "a", (FORWARD, second), Policy::Accept, &[drops]);
        let end = certain(&state, &Told::default(), &question(Family::V4));
        assert_eq!(matches!(end, End::Dropped { .. }), marks, "{end}");
    }
}

#[test]
fn of_one_priority_both_orders_are_possible() {
    let mut state = state();
    chain(
        &mut state,
        "z",
        (FORWARD, 0),
        Policy::Accept,
        &[set_mark(7)],
    );
    let drops = rule(&meta_is(MARK, &7u32.to_ne_bytes()), verdict(Verdict::Drop));
    chain(&mut state, "a", (FORWARD, 0), Policy::Accept, &[drops]);
    let answer = answer(&state, &Told::default(), &question(Family::V4));
    assert_eq!(answer.ways.len(), 2, "{answer:?}");
}

#[test]
fn what_is_not_known_is_named_where_it_matters() {
    let mut state = state();
    let limit = Operation::Condition("limit".to_owned());
    let logs = vec![limit.clone(), Operation::Nothing("log".to_owned())];
    let drops = vec![limit, verdict(Verdict::Drop)];
    chain(&mut state, "log", (FORWARD, 0), Policy::Accept, &[logs]);
    certain(&state, &Told::default(), &question(Family::V4));
    chain(&mut state, "drop", (FORWARD, 1), Policy::Accept, &[drops]);
    let answer = answer(&state, &Told::default(), &question(Family::V4));
    let unknown = answer.unknown();
    let [unknown] = unknown.as_slice() else {
        panic!("{answer:?}");
    };
    assert_eq!(unknown.what, "limit");
    let at = unknown.rule.as_ref().expect("its rule");
    assert_eq!((at.chain.as_str(), at.number), ("drop", 1));
    let [passes, dropped] = answer.ways.as_slice() else {
        panic!("{answer:?}");
    };
    assert!(matches!(passes.end, End::Leaves(_)));
    assert!(matches!(dropped.end, End::Dropped { .. }));
}

#[test]
fn a_match_of_an_unknown_name_is_not_guessed() {
    let mut state = state();
    let unknown = Operation::Match {
        name: "recent".to_owned(),
        revision: 0,
        data: vec![0; 8],
    };
    let drops = vec![unknown, verdict(Verdict::Drop)];
    chain(
        &mut state,
        "forward",
        (FORWARD, 0),
        Policy::Accept,
        &[drops],
    );
    let answer = answer(&state, &Told::default(), &question(Family::V4));
    assert_eq!(answer.unknown()[0].what, "match recent");
}

#[test]
fn jumps_return_and_gotos_do_not() {
    for (way, is_dropped) in [
        (Verdict::Jump("user".to_owned()), true),
        (Verdict::Goto("user".to_owned()), false),
    ] {
        let mut state = state();
        let rules = [vec![verdict(way)], vec![verdict(Verdict::Drop)]];
        chain(&mut state, "forward", (FORWARD, 0), Policy::Accept, &rules);
        let user = Chain {
            base: None,
            rules: Vec::new(),
        };
        state.rules.chains.insert(chain_id("user"), user);
        let end = certain(&state, &Told::default(), &question(Family::V4));
        assert_eq!(matches!(end, End::Dropped { .. }), is_dropped, "{end}");
    }
}

#[test]
fn a_destination_that_is_translated_is_routed_anew_and_its_answer_translated_back() {
    let mut state = state();
    let nat = Operation::Nat {
        translation: Translation::Destination,
        family: 2,
        addresses: Some((Register(0), Register(0))),
        ports: None,
        flags: 0,
    };
    let rules = [vec![immediate(&[10, 7, 0, 7]), nat]];
    let at = (Hook::Prerouting, -100);
    chain(&mut state, "dnat", at, Policy::Accept, &rules);
    let mut told = Told::default();
    // Where it was sent to there is no way.
    told.routes.insert(ip("10.2.0.2"), Err(NoWay::NoRoute));
    let there = question(Family::V4);
    let answer = answer(&state, &told, &there);
    let way = &answer.ways[0];
    assert_eq!(leaving(&way.end).packet.destination, ip("10.7.0.7"));
    let tracked = way.tracked.expect("a connection");
    assert_eq!(tracked.reply.source, ip("10.7.0.7"));
    assert!(tracked.is_destination_translated() && !tracked.is_source_translated());

    let back = Question {
        packet: Packet {
            source: ip("10.7.0.7"),
            destination: ip("10.1.0.2"),
            transport: Transport::Tcp {
                source_port: 80,
                destination_port: 40_000,
                flags: 18,
            },
            ..there.packet.clone()
        },
        connection: Connection::Known(tracked),
        ..there
    };
    let end = certain(&state, &told, &back);
    assert_eq!(leaving(&end).packet.source, ip("10.2.0.2"));
}

#[test]
fn a_map_decides_by_port() {
    let mut state = state();
    let id = chain_id("fates");
    let element = |port: u16, fate: Verdict| Element {
        key: Some(port.to_be_bytes().to_vec()),
        end: None,
        is_end: false,
        data: Some(Data::Verdict(fate)),
        condition: None,
    };
    let set = Set {
        elements: vec![element(22, Verdict::Accept), element(80, Verdict::Drop)],
        ..Set::default()
    };
    state.rules.sets.insert(id, set);
    let port = Value::Payload {
        header: crate::netfilter::nft::Header::Transport,
        offset: 2,
        length: 2,
    };
    let rules = [vec![
        Operation::Load {
            value: port,
            into: Register(0),
        },
        Operation::Lookup {
            set: "fates".to_owned(),
            key: Register(0),
            invert: false,
            into: None,
            decides: true,
        },
    ]];
    chain(&mut state, "forward", (FORWARD, 0), Policy::Accept, &rules);
    let end = certain(&state, &Told::default(), &question(Family::V4));
    assert!(matches!(end, End::Dropped { .. }), "{end}");
}

#[test]
fn the_ends_of_another_connection_are_not_to_be_had() {
    use crate::netfilter::conntrack;
    let mut state = state();
    let nat = Operation::Nat {
        translation: Translation::Source,
        family: 2,
        addresses: Some((Register(0), Register(0))),
        ports: None,
        flags: 0,
    };
    let rules = [vec![immediate(&[10, 9, 0, 2]), nat]];
    let at = (Hook::Postrouting, 100);
    chain(&mut state, "snat", at, Policy::Accept, &rules);
    let end = certain(&state, &Told::default(), &question(Family::V4));
    let port = |end: &End| leaving(end).packet.tuple().source_port;
    assert_eq!(port(&end), 40_000);
    let original = conntrack::Tuple {
        source: ip("10.1.0.77"),
        destination: ip("10.2.0.2"),
        source_port: 40_000,
        destination_port: 80,
        protocol: 6,
    };
    let reply = conntrack::Tuple {
        destination: ip("10.9.0.2"),
        ..original.inverse()
    };
    let other = conntrack::Translated { original, reply };
    state.translated.insert(other);
    let end = certain(&state, &Told::default(), &question(Family::V4));
    assert_eq!(port(&end), 0);
}
