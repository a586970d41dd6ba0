//! What is left to the kernel because of what somebody else put on an interface, or on the way between two addresses.

use netpath_common::{
    DropReason, EndpointEntry, FeatureBits, InterfaceEntry, InterfaceState, PuntReason, RouteEntry,
};
use netpath_tests::{Addresses as _, Device, Family, Passage, TestNode, between};

/// From endpoint a, to each kind of place.
fn to(node: &TestNode, family: Family, destination: std::net::IpAddr) -> Passage<'_> {
    let frame = between(node.a.frame(), family.a(), destination);
    node.from_a(frame.udp(1000, 2000).payload(b"netpath"))
}

/// From another node to endpoint b.
fn from_outside(node: &TestNode, family: Family) -> Passage<'_> {
    let frame = between(node.uplink.frame(), family.remote(), family.b());
    node.from_uplink(frame.udp(1000, 2000).payload(b"netpath"))
}

/// Says of a device that what comes in by it, or would leave by it, is the kernel's.
fn describe(node: &TestNode, device: Device, ingress: u16, egress: u16) {
    let entry = InterfaceEntry {
        punt_ingress: ingress,
        punt_egress: egress,
        ..device.entry(InterfaceState::Ready)
    };
    node.change(|maps| maps.set_interface(device.ifindex, &entry));
}

fn of_an_interface(reason: PuntReason) {
    let number = reason.number();
    let node = TestNode::new();
    describe(&node, node.a, number, 0);
    for family in Family::ALL {
        for destination in [family.b(), family.remote(), family.outside()] {
            to(&node, family, destination).is_punted(reason);
        }
        // What is forged is dropped all the same.
        let forged = between(node.a.frame(), family.b(), family.remote()).udp(1, 2);
        node.from_a(forged).is_dropped(DropReason::Spoofed);
        from_outside(&node, family).goes_to(node.b);
    }
    describe(&node, node.a, 0, 0);
    describe(&node, node.uplink, 0, number);
    for family in Family::ALL {
        to(&node, family, family.remote()).is_punted(reason);
        to(&node, family, family.b()).goes_to(node.b);
    }
    describe(&node, node.uplink, number, 0);
    node.change(|maps| {
        maps.features
            .update(|features| features.bits |= FeatureBits::PUNT_INGRESS)
    });
    for family in Family::ALL {
        from_outside(&node, family).is_punted(reason);
        to(&node, family, family.remote()).goes_out();
    }
    describe(&node, node.uplink, 0, 0);
    let entry = EndpointEntry {
        punt_to: number,
        ..node.b.address()
    };
    for family in Family::ALL {
        node.change(|maps| maps.set_endpoint(family.b(), &entry));
        to(&node, family, family.b()).is_punted(reason);
        from_outside(&node, family).is_punted(reason);
        to(&node, family, family.remote()).goes_out();
    }
}

pub fn vrf(reason: PuntReason) {
    of_an_interface(reason);
}

pub fn bridge_port(reason: PuntReason) {
    of_an_interface(reason);
}

pub fn fast_path_off(reason: PuntReason) {
    of_an_interface(reason);
}

pub fn shaped(reason: PuntReason) {
    of_an_interface(reason);
}

pub fn netdev_hook(reason: PuntReason) {
    of_an_interface(reason);
}

pub fn xdp(reason: PuntReason) {
    of_an_interface(reason);
}

/// What comes in by the interface, of this family, and nothing of the other.
fn of_a_family(reason: PuntReason, is_its: fn(Family) -> bool) {
    let node = TestNode::new();
    let number = reason.number();
    describe(&node, node.a, number, 0);
    for family in Family::ALL {
        for destination in [family.b(), family.remote()] {
            let passage = to(&node, family, destination);
            match (is_its(family), destination == family.b()) {
                (true, _) => passage.is_punted(reason),
                (false, true) => passage.goes_to(node.b),
                (false, false) => passage.goes_out(),
            };
        }
        let forged = between(node.a.frame(), family.b(), family.remote()).udp(1, 2);
        node.from_a(forged).is_dropped(DropReason::Spoofed);
    }
    describe(&node, node.a, 0, 0);
    describe(&node, node.uplink, number, 0);
    node.change(|maps| {
        maps.features
            .update(|features| features.bits |= FeatureBits::PUNT_INGRESS)
    });
    for family in Family::ALL {
        match is_its(family) {
            true => from_outside(&node, family).is_punted(reason),
            false => from_outside(&node, family).goes_to(node.b),
        };
    }
}

pub fn ipv4_forwarding_disabled(reason: PuntReason) {
    of_a_family(reason, |family| family == Family::V4);
}

pub fn ipv6_forwarding_disabled(reason: PuntReason) {
    of_a_family(reason, |family| family == Family::V6);
}

/// Only where both ends have a reason.
fn of_two_addresses(reason: PuntReason) {
    let node = TestNode::new();
    let marked = |entry: EndpointEntry| EndpointEntry {
        punt_between: reason.number(),
        ..entry
    };
    for family in Family::ALL {
        node.change(|maps| maps.set_endpoint(family.a(), &marked(node.a.address())));
        for destination in [family.b(), family.remote()] {
            let passage = to(&node, family, destination);
            match destination == family.b() {
                true => passage.goes_to(node.b),
                false => passage.goes_out(),
            };
        }
        node.change(|maps| maps.set_endpoint(family.b(), &marked(node.b.address())));
        to(&node, family, family.b()).is_punted(reason);
        to(&node, family, family.remote()).goes_out();
        // Between b and other nodes nothing was found.
        from_outside(&node, family).goes_to(node.b);
        let all = match family {
            Family::V4 => "10.0.0.0/16",
            Family::V6 => "fd00::/24",
        };
        let remote = RouteEntry {
            endpoint: marked(EndpointEntry::NODE),
        };
        node.change(|maps| maps.set_route(all.parse().expect("a prefix"), &remote));
        to(&node, family, family.remote()).is_punted(reason);
        from_outside(&node, family).is_punted(reason);
    }
}

pub fn ipsec(reason: PuntReason) {
    of_two_addresses(reason);
}

pub fn rules(reason: PuntReason) {
    of_two_addresses(reason);
}

/// The kernel would send it out of an interface that nobody listed.
pub fn not_an_uplink(reason: PuntReason) {
    let mut node = TestNode::new();
    node.remove_interface(node.uplink);
    for family in Family::ALL {
        to(&node, family, family.remote()).is_punted(reason);
        to(&node, family, family.b()).goes_to(node.b);
    }
}

/// Bytes behind the packet: cut off where it is one packet, the kernel's to cut where it is to become several.
pub fn padded_gso(reason: PuntReason) {
    let node = TestNode::new();
    for family in Family::ALL {
        for destination in [family.b(), family.remote()] {
            let frame = |padding: usize| {
                let frame = between(node.a.frame(), family.a(), destination);
                let frame = frame.udp(1000, 2000).payload(&[7; 1200]);
                node.from_a(frame)
                    .with(|bytes| bytes.extend(vec![0; padding]))
            };
            frame(10).segmented(600).is_punted(reason);
            let whole = frame(0).segmented(600);
            match destination == family.b() {
                true => whole.goes_to(node.b),
                false => whole.goes_out(),
            };
        }
    }
}

/// IPv4 forwarding goes by the route's own MTU and the device's, and not by what is known of the path.
#[test]
fn the_mtu_of_a_route() {
    let node = TestNode::new();
    for family in Family::ALL {
        let large = |node: &'_ TestNode| {
            let frame = between(node.a.frame(), family.a(), family.remote());
            frame.udp(1000, 2000).payload(&[7; 1300])
        };
        node.from_a(large(&node)).goes_out();
        node.change(|maps| maps.features.update(|features| features.route_mtu = 1299));
        node.from_a(large(&node)).is_punted(PuntReason::MtuExceeded);
        to(&node, family, family.remote()).goes_out();
        node.change(|maps| maps.features.update(|features| features.route_mtu = 0));
    }
}

/// As `ip_forward` and `ip6_forward` set it: by the type of service of IPv4 what leaves, and nothing else.
#[test]
fn the_priority_follows_the_type_of_service() {
    let node = TestNode::new();
    for family in Family::ALL {
        for (tos, of_ipv4) in [(0x00, 0), (0x08, 2), (0x10, 6), (0x18, 4), (0xb8, 4)] {
            let frame = |destination| {
                let frame = between(node.a.frame(), family.a(), destination);
                node.from_a(frame.udp(1000, 2000).tos(tos))
            };
            let expected = match family {
                Family::V4 => of_ipv4,
                Family::V6 => 0,
            };
            let outcome = frame(family.remote()).goes_out();
            assert_eq!(outcome.priority, expected, "{family} {tos:#x}");
            assert_eq!(frame(family.b()).goes_to(node.b).priority, 0, "{tos:#x}");
        }
    }
}
