//! What is left to the kernel because its own FIB does not forward it.

use netpath_common::PuntReason;
use netpath_tests::{Addresses as _, Family, Passage, TestNode, between};

/// From endpoint a to a subnet that the route table calls remote.
fn to_subnet(node: &TestNode, family: Family, subnet: u8) -> Passage<'_> {
    let frame = between(node.a.frame(), family.a(), family.subnet(subnet, 2));
    node.from_a(frame.udp(1, 2).payload(b"netpath"))
}

fn route_of_type(kind: &str, reason: PuntReason) {
    let node = TestNode::new();
    node.ip(&format!(
        "route add {kind} 10.0.4.0/24\nroute add {kind} fd00:4::/64"
    ));
    for family in Family::ALL {
        to_subnet(&node, family, 4).is_punted(reason);
    }
}

pub fn blackhole(reason: PuntReason) {
    route_of_type("blackhole", reason);
}

pub fn unreachable(reason: PuntReason) {
    route_of_type("unreachable", reason);
}

pub fn prohibit(reason: PuntReason) {
    route_of_type("prohibit", reason);
}

pub fn not_forwarded(reason: PuntReason) {
    let node = TestNode::new();
    node.ip("route add local 10.0.4.0/24 dev lo\n\
             route add local fd00:4::/64 dev lo\n\
             route add broadcast 10.0.5.0/24 dev up0\n\
             route add multicast 10.0.6.0/24 dev up0\n\
             route add throw 10.0.7.0/24");
    for family in Family::ALL {
        to_subnet(&node, family, 4).is_punted(reason);
        // No route at all.
        to_subnet(&node, family, 9).is_punted(reason);
    }
    for subnet in [5, 6, 7] {
        to_subnet(&node, Family::V4, subnet).is_punted(reason);
    }
}

pub fn forwarding_disabled(reason: PuntReason) {
    let node = TestNode::new();
    for family in Family::ALL {
        to_subnet(&node, family, 3).goes_out();
        let key = format!("{family}/conf/{}/forwarding", node.a.name);
        node.sysctl(&key, 0);
        to_subnet(&node, family, 3).is_punted(reason);
    }
}

pub fn unsupported(reason: PuntReason) {
    let node = TestNode::new();
    node.ip(
        "route add 10.0.4.0/24 encap seg6 mode encap segs fd00:198::253 dev up0\n\
             route add fd00:4::/64 encap seg6 mode encap segs fd00:198::253 dev up0",
    );
    for family in Family::ALL {
        to_subnet(&node, family, 4).is_punted(reason);
    }
}
