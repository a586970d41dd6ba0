//! Prefixes that are routed to an endpoint: every address in them is its own, as destination and as source.

use std::net::IpAddr;

use netpath_common::{DropReason, FeatureBits, InterfaceState, PuntReason, RouteEntry};
use netpath_tests::{Addresses as _, Device, Family, TestNode, between};

use super::redirect::kinds;

/// Endpoint a's prefixes; inside the first of each family are a's and b's own addresses.
const OF_A: [&str; 4] = ["10.0.0.0/22", "10.9.0.0/28", "fd00::/30", "fd00:9::/64"];
/// Endpoint b's.
const OF_B: [&str; 2] = ["10.9.0.16/28", "fd00:9:0:1::/64"];

/// Other nodes', and not in one of a's.
const REMOTE: [&str; 2] = ["10.20.0.0/16", "fd20::/32"];

/// An address in [`REMOTE`].
fn elsewhere(family: Family) -> IpAddr {
    match family {
        Family::V4 => address("10.20.0.1"),
        Family::V6 => address("fd20::1"),
    }
}

fn node_with_prefixes() -> TestNode {
    let mut node = TestNode::new();
    for prefix in REMOTE {
        node.set_route(prefix, &RouteEntry::REMOTE);
    }
    for prefix in OF_A {
        node.route_to(node.a, prefix);
    }
    for prefix in OF_B {
        node.route_to(node.b, prefix);
    }
    node
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The first, one within and the last address of a's prefix.
fn of_a(family: Family) -> [IpAddr; 3] {
    match family {
        Family::V4 => ["10.9.0.0", "10.9.0.9", "10.9.0.15"],
        Family::V6 => ["fd00:9::", "fd00:9::9", "fd00:9::ffff:ffff:ffff:ffff"],
    }
    .map(address)
}

/// The same of b's.
fn of_b(family: Family) -> [IpAddr; 3] {
    match family {
        Family::V4 => ["10.9.0.16", "10.9.0.20", "10.9.0.31"],
        Family::V6 => [
            "fd00:9:0:1::",
            "fd00:9:0:1::9",
            "fd00:9:0:1:ffff:ffff:ffff:ffff",
        ],
    }
    .map(address)
}

/// Just outside of both.
fn of_nobody(family: Family) -> [IpAddr; 2] {
    match family {
        Family::V4 => ["10.8.255.255", "10.9.0.32"],
        Family::V6 => ["fd00:8:ffff:ffff:ffff::", "fd00:9:0:2::"],
    }
    .map(address)
}

#[test]
fn packets_of_every_kind() {
    let node = node_with_prefixes();
    for family in Family::ALL {
        let [_, source, _] = of_a(family);
        let [_, destination, _] = of_b(family);
        for frame in kinds(&between(node.a.frame(), source, destination), family) {
            node.from_a(frame).goes_to(node.b);
        }
        for frame in kinds(
            &between(node.uplink.frame(), elsewhere(family), destination),
            family,
        ) {
            node.from_uplink(frame).goes_to(node.b);
        }
    }
}

#[test]
fn every_address_is_a_destination() {
    let node = node_with_prefixes();
    for family in Family::ALL {
        for destination in of_b(family) {
            let frame = between(node.a.frame(), family.a(), destination).udp(1, 2);
            node.from_a(frame.clone()).goes_to(node.b);
            node.from_a(frame.ttl(1)).is_punted(PuntReason::TtlExceeded);
        }
        for (destinations, device) in [(of_a(family), node.a), (of_b(family), node.b)] {
            for destination in destinations {
                let frame = between(node.uplink.frame(), elsewhere(family), destination);
                node.from_uplink(frame.udp(1, 2)).goes_to(device);
            }
        }
        // Its own prefix: the kernel sends it back where it came from.
        for destination in of_a(family) {
            let frame = between(node.a.frame(), family.a(), destination).udp(1, 2);
            node.from_a(frame).is_punted(PuntReason::SameInterface);
        }
        // An address beats the prefix around it, and the longer prefix the shorter.
        let frame = between(node.a.frame(), family.a(), family.b()).udp(1, 2);
        node.from_a(frame).goes_to(node.b);
        // Around the IPv6 prefixes there is another node's, to which the kernel has no route here.
        let reason = match family {
            Family::V4 => PuntReason::NoRoute,
            Family::V6 => PuntReason::FibNotForwarded,
        };
        for destination in of_nobody(family) {
            let frame = between(node.uplink.frame(), elsewhere(family), destination).udp(1, 2);
            node.from_uplink(frame).is_punted(reason);
        }
        // Remote ones are looked up as before.
        let frame = between(node.a.frame(), family.a(), family.subnet(3, 7)).udp(1, 2);
        node.from_a(frame).is_punted(PuntReason::SameInterface);
        let beyond = family.subnet(8, 1);
        let frame = between(node.uplink.frame(), elsewhere(family), beyond).udp(1, 2);
        node.from_uplink(frame)
            .is_punted(PuntReason::FibNotForwarded);
    }
}

#[test]
fn every_address_is_a_source() {
    let node = node_with_prefixes();
    for family in Family::ALL {
        for source in of_a(family) {
            let frame = between(node.a.frame(), source, family.b()).udp(1, 2);
            node.from_a(frame.clone()).goes_to(node.b);
            // Nobody else's: not from outside, and not from another endpoint.
            let frame = between(node.uplink.frame(), source, family.b()).udp(1, 2);
            node.from_uplink(frame).is_dropped(DropReason::Spoofed);
        }
        for source in of_b(family).into_iter().chain(of_nobody(family)) {
            for destination in [family.b(), family.outside(), family.node()] {
                let frame = between(node.a.frame(), source, destination).udp(1, 2);
                node.from_a(frame).is_dropped(DropReason::Spoofed);
            }
        }
        // Another's address inside its prefix, and the node's own, are not its own.
        for source in [family.b(), family.node()] {
            let frame = between(node.a.frame(), source, family.b()).udp(1, 2);
            node.from_a(frame).is_dropped(DropReason::Spoofed);
        }
        // What is left to the kernel is left to it from there, too.
        let [source, ..] = of_a(family);
        let frame = between(node.a.frame(), source, family.node()).udp(1, 2);
        node.from_a(frame).is_punted(PuntReason::NodeAddress);
    }
}

/// A prefix so wide that addresses are in it that nobody may have.
#[test]
fn martians_stay_martians() {
    let mut node = TestNode::new();
    for prefix in ["96.0.0.0/3", "160.0.0.0/3", "::/8", "fe00::/8"] {
        node.route_to(node.a, prefix);
    }
    for (family, martian, link_local) in [
        (Family::V4, "127.0.0.1", "169.254.7.7"),
        (Family::V6, "::1", "fe80::7"),
    ] {
        let (martian, link_local) = (address(martian), address(link_local));
        let from = |source| node.from_a(between(node.a.frame(), source, family.b()).udp(1, 2));
        from(martian).is_dropped(DropReason::MartianSource);
        from(link_local).is_punted(PuntReason::LinkLocal);
        let to = |destination| {
            let frame = between(node.uplink.frame(), elsewhere(family), destination);
            node.from_uplink(frame.udp(1, 2))
        };
        to(martian).is_punted(PuntReason::MartianDestination);
        to(link_local).is_punted(PuntReason::LinkLocal);
    }
}

/// Before its interface is complete, an endpoint sends from its prefixes no more than from its addresses, be they in
/// the table or not; and before they are in it, nobody reaches them.
#[test]
fn not_before_it_is_ready() {
    let mut node = node_with_prefixes();
    node.set_interface(node.a, InterfaceState::Preparing);
    let sent = |node: &TestNode, family| {
        let [_, source, _] = of_a(family);
        let frame = between(node.a.frame(), source, family.b()).udp(1, 2);
        node.from_a(frame).is_dropped(DropReason::NotReady);
    };
    for family in Family::ALL {
        sent(&node, family);
    }
    for prefix in OF_A {
        node.remove_route(prefix);
    }
    for family in Family::ALL {
        sent(&node, family);
        let [_, source, _] = of_a(family);
        let frame = between(node.uplink.frame(), elsewhere(family), source).udp(1, 2);
        // Around the IPv6 prefix there is another node's, to which the kernel has no route here.
        let reason = match family {
            Family::V4 => PuntReason::NoRoute,
            Family::V6 => PuntReason::FibNotForwarded,
        };
        node.from_uplink(frame).is_punted(reason);
    }
}

/// A prefix that changes hands is at no moment anybody else's.
#[test]
fn the_entry_says_whose_it_is() {
    let mut node = node_with_prefixes();
    let moved = |node: &TestNode, family, to: Device| {
        let [_, destination, _] = of_b(family);
        let frame = between(node.uplink.frame(), elsewhere(family), destination).udp(1, 2);
        node.from_uplink(frame).goes_to(to);
    };
    for (family, prefix) in Family::ALL.into_iter().zip(OF_B) {
        moved(&node, family, node.b);
        node.route_to(node.a, prefix);
        moved(&node, family, node.a);
        node.set_route(prefix, &RouteEntry::REMOTE);
        let [_, destination, _] = of_b(family);
        let frame = between(node.uplink.frame(), elsewhere(family), destination).udp(1, 2);
        node.from_uplink(frame)
            .is_punted(PuntReason::FibNotForwarded);
    }
    // The bit that spares other nodes the look-up is what the tests above rest on.
    let features = node.datapath().maps.features.get().expect("it is pinned");
    assert_eq!(features.bits, FeatureBits::LOCAL_PREFIXES);
}
