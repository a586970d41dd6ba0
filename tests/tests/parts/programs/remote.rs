//! `from_endpoint` to another node: the route table says that it is remote, the kernel's FIB says where.

use netpath_common::PuntReason;
use netpath_tests::{Addresses as _, Family, TestNode, between, fib_lookup_takes_marks};

use super::redirect::kinds;

#[test]
fn packets_of_every_kind() {
    let node = TestNode::new();
    for family in Family::ALL {
        let base = between(node.a.frame(), family.a(), family.remote());
        for frame in kinds(&base, family) {
            node.from_a(frame).goes_out();
        }
    }
}

#[test]
fn padding_is_trimmed() {
    let node = TestNode::new();
    for family in Family::ALL {
        let frame = between(node.a.frame(), family.a(), family.remote()).udp(1, 2);
        let length = frame.build().len();
        node.from_a(frame.pad_to(length + 20))
            .trimmed_to(length)
            .goes_out();
    }
}

/// The next hop need not be resolved yet, nor have an address of the packet's family.
#[test]
fn next_hops_of_every_kind() {
    let node = TestNode::new();
    node.ip("route add 10.0.4.0/24 via inet6 fd00:198::253 dev up0\n\
             route add 10.0.5.0/24 dev up0\n\
             route add fd00:5::/64 dev up0\n\
             route add 10.0.6.0/24 nexthop via 100.100.198.253 nexthop via 100.100.198.252\n\
             route add fd00:6::/64 nexthop via fd00:198::253 nexthop via fd00:198::252\n\
             nexthop add id 7 via 100.100.198.253 dev up0\n\
             route add 10.0.7.0/24 nhid 7\n\
             route add 10.0.8.0/24 via 100.100.198.252");
    for (family, subnet) in [
        (Family::V4, 4),
        (Family::V4, 5),
        (Family::V6, 5),
        (Family::V4, 6),
        (Family::V6, 6),
        (Family::V4, 7),
        (Family::V4, 8),
    ] {
        let frame = between(node.a.frame(), family.a(), family.subnet(subnet, 2)).udp(1, 2);
        node.from_a(frame).goes_out();
    }
}

/// Policy rules are the kernel's own: by source, and by mark; where the FIB cannot be asked about marks, marked
/// packets are the kernel's.
#[test]
fn policy_rules_are_followed() {
    let node = TestNode::new();
    let by_mark = if fib_lookup_takes_marks() {
        PuntReason::FibBlackhole
    } else {
        PuntReason::FibUnsupported
    };
    for family in Family::ALL {
        node.ip_of(
            family,
            &format!(
                "rule add fwmark 0x77 lookup 100\n\
             rule add from {} lookup 101\n\
             route add blackhole default table 100\n\
             route add prohibit default table 101",
                family.a_too()
            ),
        );
        let from = |source| node.from_a(between(node.a.frame(), source, family.remote()).udp(1, 2));
        from(family.a()).marked(0).goes_out();
        from(family.a()).marked(0x77).is_punted(by_mark);
        from(family.a_too()).is_punted(PuntReason::FibProhibit);
    }
}
