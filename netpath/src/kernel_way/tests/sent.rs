//! What a socket of the namespace sends.

use super::*;
use crate::netlink::{Link, Rule, RuleAction};

/// Another way for who asks with ports than for who asks without.
struct ByPorts;

impl Kernel for ByPorts {
    fn resolve(&self, lookup: &Lookup) -> Result<Result<Resolved, NoWay>, KernelWayError> {
        let ifindex = if lookup.ports.is_some() { OUT } else { IN };
        Ok(Ok(Resolved { ifindex, ..out() }))
    }

    fn setting(&self, _key: &str) -> Result<Option<i64>, KernelWayError> {
        Ok(Some(0))
    }
}

fn sent() -> Question {
    let mut question = question(Family::V4);
    question.packet.source = ip("10.9.0.2");
    question.entry = Entry::Sent;
    question
}

fn leaves_by(state: &State) -> Ifindex {
    let answer = ask(state, &ByPorts, &sent()).expect("the test says all");
    leaving(answer.certain().expect("one end")).ifindex
}

/// A chain that marks all that is sent.
fn marked_on_output(state: &mut State) {
    let marks = vec![
        immediate(&7u32.to_ne_bytes()),
        Operation::Store {
            to: Value::Meta(3),
            from: Register(0),
        },
    ];
    let at = (Hook::Output, -150);
    chain(state, "filter", at, Policy::Accept, &[marks]);
}

/// The same chain of type route.
fn has_packets_routed_anew(state: &mut State) {
    let chain = state.rules.chains.get_mut(&chain_id("filter"));
    let base = chain.and_then(|chain| chain.base.as_mut());
    "route".clone_into(&mut base.expect("a base chain").kind);
}

#[test]
fn a_packet_that_was_marked_is_routed_anew_without_its_ports_unless_rules_look_at_them() {
    let mut state = state();
    assert_eq!(leaves_by(&state), OUT);
    marked_on_output(&mut state);
    // A chain of type filter has no packet routed anew.
    assert_eq!(leaves_by(&state), OUT);
    has_packets_routed_anew(&mut state);
    assert_eq!(leaves_by(&state), IN);
    state.routing.push(Rule {
        ipv6: false,
        priority: 7,
        action: RuleAction::Table(100),
        selectors: vec!["ipproto 6".to_owned()],
    });
    assert_eq!(leaves_by(&state), OUT);
}

#[test]
fn a_source_of_somebody_else_is_refused() {
    let mut question = sent();
    question.packet.source = ip("10.1.0.2");
    let end = certain(&state(), &Told::default(), &question);
    let cause = Cause::SourceNotHere;
    assert_eq!(end, End::Dropped { cause });
}

/// Who sends a packet cuts it, in IPv6 too, unless that is forbidden; and without ARP sends it to itself.
#[test]
fn a_sender_cuts_and_asks_nobody_where_arp_is_off() {
    for (family, source, longest) in [
        (Family::V4, "10.9.0.2", 1500),
        (Family::V6, "fd00:9::2", 1496),
    ] {
        let mut state = state();
        let (_, mut own) = state.addresses[1];
        own.address = format!("{source}/32").parse().expect(source);
        state.addresses.push((OUT, own));
        state.links[1].no_arp = true;
        state.neighbours.clear();
        let mut question = question(family);
        question.packet.source = ip(source);
        question.entry = Entry::Sent;
        (question.packet.length, question.packet.dont_fragment) = (2000, false);
        let end = certain(&state, &Told::default(), &question);
        let found = leaving(&end);
        assert_eq!(found.fragments, Some(1500));
        assert_eq!(found.packet.fragments, Some(longest));
        let own = NextHopState::Known {
            mac: state.links[1].mac.expect("it has one"),
            state: NeighbourState::NoArp,
        };
        assert_eq!(found.neighbour, own);
        question.packet.dont_fragment = true;
        let end = certain(&state, &Told::default(), &question);
        assert!(matches!(end, End::Answered { .. }), "{end}");
    }
}

/// A socket judges by the way that it knows, whatever rules lead the packet to.
#[test]
fn what_may_not_be_cut_has_to_fit_before_it_is_routed_anew() {
    let mut state = state();
    marked_on_output(&mut state);
    has_packets_routed_anew(&mut state);
    let is_out = |link: &&mut Link| link.ifindex == OUT;
    let narrow = state.links.iter_mut().find(is_out);
    narrow.expect("it is there").mtu = 1300;
    let mut question = sent();
    question.packet.length = 1400;
    for (dont_fragment, refused) in [(true, true), (false, false)] {
        question.packet.dont_fragment = dont_fragment;
        let answer = ask(&state, &ByPorts, &question).expect("the test says all");
        let end = answer.certain().expect("one end");
        assert_eq!(matches!(end, End::Answered { .. }), refused, "{end}");
        if !refused {
            assert_eq!(leaving(end).ifindex, IN);
        }
    }
}

/// What masquerading takes of several addresses, whatever a route prefers.
#[test]
fn the_closest_address_is_taken() {
    let mut state = state();
    let (_, own) = state.addresses[1];
    for net in ["fd00:3::3/48", "fd00:70::1/128", "2001:db8::1/64"] {
        let mut own = own;
        own.address = net.parse().expect(net);
        state.addresses.push((OUT, own));
    }
    for (to, expected) in [
        ("fd00:3::9", "fd00:3::3"),
        ("fd00:71::9", "fd00:70::1"),
        // As much in common with both: the first.
        ("fd00:90::1", "fd00:3::3"),
        ("2001:db8:1::1", "2001:db8::1"),
    ] {
        assert_eq!(state.closest_v6(OUT, ip(to)), Some(ip(expected)), "{to}");
    }
}
