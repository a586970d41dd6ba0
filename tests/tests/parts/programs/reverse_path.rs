//! The reverse-path filter on an uplink: what the kernel's would not accept, or may not, is left to it.

use std::net::{IpAddr, Ipv4Addr};

use netpath_common::{PuntReason, RouteEntry};
use netpath_tests::{Addresses as _, Family, Passage, TestNode, between};

const OFF: u32 = 0;
const STRICT: u32 = 1;
const LOOSE: u32 = 2;

/// Sources: behind the uplink; behind endpoint a, by the kernel's routes only; nowhere; and refused.
const BEHIND_UPLINK: Ipv4Addr = Ipv4Addr::new(10, 0, 3, 2);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 0, 66, 2);
const NOWHERE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const BLACKHOLE: Ipv4Addr = Ipv4Addr::new(10, 0, 67, 2);

fn from_uplink(node: &TestNode, source: Ipv4Addr) -> Passage<'_> {
    let frame = between(node.uplink.frame(), source.into(), Family::V4.b());
    node.from_uplink(frame.udp(1, 2)).marked(0)
}

fn node(mode: u32) -> TestNode {
    let mut node = TestNode::new();
    node.ip("route add 10.0.66.0/24 dev epa\nroute add blackhole 10.0.67.0/24");
    node.filter_reverse_path(node.uplink, mode);
    // What is not routed does not come so far.
    for source in [
        "10.0.66.0/24",
        "10.0.67.0/24",
        "198.51.100.0/24",
        "2001:db8::/32",
    ] {
        node.set_route(source, &RouteEntry::REMOTE);
    }
    node
}

pub fn reverse_path(reason: PuntReason) {
    let strict = node(STRICT);
    from_uplink(&strict, BEHIND_UPLINK).goes_to(strict.b);
    for source in [ELSEWHERE, NOWHERE, BLACKHOLE] {
        from_uplink(&strict, source).is_punted(reason);
    }
    let loose = node(LOOSE);
    for source in [BEHIND_UPLINK, ELSEWHERE] {
        from_uplink(&loose, source).goes_to(loose.b);
    }
    for source in [NOWHERE, BLACKHOLE] {
        from_uplink(&loose, source).is_punted(reason);
    }
    // The kernel goes by the mark only where it is told to, which netpath does not know.
    for node in [&strict, &loose] {
        from_uplink(node, BEHIND_UPLINK).marked(7).is_punted(reason);
    }
}

#[test]
fn another_uplink_may_have_none() {
    // The node has one that filters, and this is not it.
    let mut node = node(STRICT);
    node.filter_reverse_path(node.uplink, OFF);
    for source in [BEHIND_UPLINK, ELSEWHERE, NOWHERE, BLACKHOLE] {
        from_uplink(&node, source).goes_to(node.b);
    }
}

#[test]
fn ipv6_has_no_such_filter() {
    let node = node(STRICT);
    let source: IpAddr = "2001:db8::1".parse().expect("an address");
    let frame = between(node.uplink.frame(), source, Family::V6.b()).udp(1, 2);
    node.from_uplink(frame).goes_to(node.b);
}

/// What is wrong otherwise is told as before.
#[test]
fn a_prefix_is_judged_too() {
    let mut node = node(STRICT);
    node.route_to(node.b, "10.9.0.0/28");
    let to = |source: Ipv4Addr| {
        let frame = between(node.uplink.frame(), source.into(), Family::V4.routed());
        node.from_uplink(frame.udp(1, 2)).marked(0)
    };
    to(BEHIND_UPLINK).goes_to(node.b);
    to(NOWHERE).is_punted(PuntReason::ReversePath);
}

/// The rules of the node are asked as the kernel's filter asks: as if an answer came in by the endpoint's veth.
#[test]
fn policy_rules_are_followed() {
    let node = node(STRICT);
    node.ip("route add default dev up0 table 90\n\
             rule add from 10.0.2.2 iif epb lookup 90 priority 90");
    for source in [BEHIND_UPLINK, ELSEWHERE, NOWHERE] {
        from_uplink(&node, source).goes_to(node.b);
    }
}
