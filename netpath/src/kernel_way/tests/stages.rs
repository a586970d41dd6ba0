//! The order of the stages, and what ends a packet's way in each.

use super::*;

#[test]
fn a_packet_leaves_one_hop_older() {
    let end = certain(&state(), &Told::default(), &question(Family::V4));
    let leaving = leaving(&end);
    assert_eq!((leaving.ifindex, leaving.packet.ttl), (OUT, 63));
    assert_eq!(leaving.next_hop, ip("10.9.0.1"));
    let known = NextHopState::Known {
        mac: NEXT,
        state: NeighbourState::Reachable,
    };
    assert_eq!(leaving.neighbour, known);
}

#[test]
fn the_last_hop_is_told_before_the_size() {
    for (family, ttl, size) in [(Family::V4, (11, 0), (3, 4)), (Family::V6, (3, 0), (2, 0))] {
        let mut question = question(family);
        question.packet.length = 1501;
        let told = |question: &Question| match certain(&state(), &Told::default(), question) {
            End::Answered {
                error: IcmpError::Icmp { kind, code, .. },
                ..
            } => (kind, code),
            other => panic!("{other}"),
        };
        assert_eq!(told(&question), size);
        question.packet.ttl = 1;
        assert_eq!(told(&question), ttl);
    }
}

#[test]
fn what_may_be_cut_is_cut_in_ipv4_alone() {
    let mut question = question(Family::V4);
    (question.packet.length, question.packet.dont_fragment) = (1501, false);
    let end = certain(&state(), &Told::default(), &question);
    assert_eq!(leaving(&end).fragments, Some(1500));
}

/// It goes on as fragments where each fits, and IPv4's are cut once more where they do not.
#[test]
fn fragments_are_measured_one_by_one() {
    let mut question = question(Family::V4);
    question.packet.length = 2000;
    (question.packet.dont_fragment, question.packet.fragments) = (false, Some(1500));
    let end = certain(&state(), &Told::default(), &question);
    let found = leaving(&end);
    assert_eq!(
        (found.fragments, found.packet.fragments),
        (None, Some(1500))
    );
    let narrow = Resolved {
        mtu: Some(1401),
        ..out()
    };
    let mut told = Told::default();
    told.routes.insert(question.packet.destination, Ok(narrow));
    let end = certain(&state(), &told, &question);
    let found = leaving(&end);
    // A payload of whole units behind the header: 172 of 8 bytes.
    assert_eq!(
        (found.fragments, found.packet.fragments),
        (Some(1401), Some(1396))
    );
    let mut question = super::question(Family::V6);
    (question.packet.length, question.packet.fragments) = (2000, Some(1496));
    let end = certain(&state(), &Told::default(), &question);
    assert_eq!(leaving(&end).packet.fragments, Some(1496));
    question.packet.fragments = Some(1501);
    let end = certain(&state(), &Told::default(), &question);
    assert!(matches!(end, End::Answered { .. }), "{end}");
}

/// Rules see each fragment, unless a rule has connection tracking put them together before.
#[test]
fn what_rules_make_of_fragments_is_not_known_without_connection_tracking() {
    let mut question = question(Family::V4);
    question.packet.length = 2000;
    (question.packet.dont_fragment, question.packet.fragments) = (false, Some(1500));
    let accepts = vec![verdict(Verdict::Accept)];
    let mut state = state();
    let at = (Hook::Forward, 0);
    chain(&mut state, "forward", at, Policy::Accept, &[accepts]);
    let found = answer(&state, &Told::default(), &question);
    let unknown = found.unknown();
    assert_eq!(unknown[0].what, "what forward makes of fragments");
    let tracks = vec![Operation::Notrack];
    let at = (Hook::Output, -300);
    chain(&mut state, "raw", at, Policy::Accept, &[tracks]);
    let end = certain(&state, &Told::default(), &question);
    assert_eq!(leaving(&end).packet.fragments, Some(1500));
}

#[test]
fn an_mtu_that_was_learnt_counts_in_ipv4_if_it_is_locked_or_a_setting_says_so() {
    let mut question = question(Family::V4);
    question.packet.length = 1400;
    let mut told = Told::default();
    let mut way = Resolved {
        mtu: Some(1300),
        learnt: true,
        ..out()
    };
    let mut is_too_big = |way: Resolved, uses: i64| {
        told.routes.insert(question.packet.destination, Ok(way));
        told.settings.insert("ipv4/ip_forward_use_pmtu", uses);
        matches!(
            certain(&state(), &told, &question),
            End::Answered {
                cause: Cause::TooBig { mtu: 1300 },
                ..
            }
        )
    };
    assert!(!is_too_big(way, 0));
    assert!(is_too_big(way, 1));
    way.mtu_locked = true;
    assert!(is_too_big(way, 0));
    (way.mtu_locked, way.learnt) = (false, false);
    assert!(is_too_big(way, 0));
}

#[test]
fn who_is_refused_is_told_unless_forwarding_is_off() {
    let question = question(Family::V4);
    let mut told = Told::default();
    let destination = question.packet.destination;
    for (refused, code) in [
        (NoWay::Unreachable, 1),
        (NoWay::NoRoute, 0),
        (NoWay::Prohibited, 13),
    ] {
        told.routes.insert(destination, Err(refused));
        let end = certain(&state(), &told, &question);
        let error = IcmpError::Icmp {
            kind: 3,
            code,
            mtu: None,
        };
        assert!(
            matches!(end, End::Answered { error: its, .. } if its == error),
            "{end}"
        );
    }
    told.settings.insert("ipv4/conf/in1/forwarding", 0);
    let end = certain(&state(), &told, &question);
    let key = "ipv4/conf/in1/forwarding".to_owned();
    let cause = Cause::ForwardingOff { key };
    assert_eq!(end, End::Dropped { cause });
}

#[test]
fn a_drop_without_a_word_has_a_reason() {
    let mut question = question(Family::V4);
    let mut told = Told::default();
    let destination = question.packet.destination;
    told.routes.insert(destination, Err(NoWay::Dropped));
    let cause = |told: &Told, question: &Question| match certain(&state(), told, question) {
        End::Dropped { cause } => cause,
        other => panic!("{other}"),
    };
    let kind = RouteKind::Blackhole;
    assert_eq!(cause(&told, &question), Cause::Route { kind });
    told.settings.insert("ipv4/conf/in1/rp_filter", 1);
    told.settings.insert("ipv4/conf/all/rp_filter", 2);
    let dev = "all".to_owned();
    assert_eq!(cause(&told, &question), Cause::ReversePath { dev, mode: 2 });
    question.packet.source = ip("127.0.0.1");
    assert!(matches!(cause(&told, &question), Cause::Martian { .. }));
}

#[test]
fn nobody_is_told_about_an_icmp_error() {
    let mut question = question(Family::V4);
    question.packet.ttl = 1;
    question.packet.transport = Transport::Icmp {
        kind: 11,
        code: 0,
        id: 0,
    };
    // Connection tracking does not know what it quotes, and it does not matter.
    let end = certain(&state(), &Told::default(), &question);
    assert_eq!(end, End::Dropped { cause: Cause::Ttl });
}

#[test]
fn a_neighbour_that_is_not_known_is_asked() {
    let mut state = state();
    state.neighbours[0].state = NeighbourState::Failed;
    let end = certain(&state, &Told::default(), &question(Family::V4));
    let failed = NextHopState::Asked {
        state: Some(NeighbourState::Failed),
    };
    assert_eq!(leaving(&end).neighbour, failed);
    state.neighbours.clear();
    let end = certain(&state, &Told::default(), &question(Family::V4));
    assert_eq!(leaving(&end).neighbour, NextHopState::Asked { state: None });
}

#[test]
fn an_interface_that_is_not_there_is_an_error() {
    let mut question = question(Family::V4);
    question.entry = Entry::By {
        ifindex: Ifindex(77),
        source_mac: None,
    };
    assert!(matches!(
        ask(&state(), &Told::default(), &question),
        Err(KernelWayError::NoInterface { index: 77 })
    ));
}

#[test]
fn a_program_that_is_not_followed_leaves_it_open() {
    let mut state = state();
    state.programs.push(Program {
        ifindex: IN,
        hook: netpath_common::Hook::Ingress,
        id: Some(7),
        text: "XDP program 7".to_owned(),
    });
    let answer = answer(&state, &Told::default(), &question(Family::V4));
    assert_eq!(answer.certain(), None);
    assert_eq!(answer.unknown()[0].what, "XDP program 7 on in1");
    assert_eq!(answer.ways.len(), 2);
}

#[test]
fn an_ipsec_policy_about_the_packet_leaves_it_open() {
    use crate::netlink::{XfrmAction, XfrmDirection, XfrmPolicy, XfrmPorts, XfrmSelector};
    let policy = |source: &str| XfrmPolicy {
        selector: Some(XfrmSelector {
            source: source.parse().expect(source),
            destination: "0.0.0.0/0".parse().expect("all"),
            protocol: 0,
            source_ports: XfrmPorts::default(),
            destination_ports: XfrmPorts::default(),
            ifindex: None,
        }),
        direction: XfrmDirection::Out,
        action: XfrmAction::Allow,
        templates: 1,
        priority: 0,
        mark: None,
        if_id: 0,
    };
    let mut state = state();
    state.xfrm.policies.push(policy("10.77.0.0/16"));
    certain(&state, &Told::default(), &question(Family::V4));
    state.xfrm.policies.push(policy("10.1.0.0/16"));
    let answer = answer(&state, &Told::default(), &question(Family::V4));
    assert_eq!(answer.unknown()[0].what, "IPsec policy");
}
