//! Shadow mode: what would have been done is counted, and every packet is the kernel's as it came.

use std::net::IpAddr;

use netpath_common::{DropReason, FeatureBits, InterfaceEntry, InterfaceState, PuntReason};
use netpath_tests::{Addresses as _, Device, Family, Passage, TestNode, between};

/// Puts devices into shadow mode.
fn shadowed(node: &TestNode, devices: &[Device]) {
    node.change(|maps| {
        maps.features
            .update(|features| features.bits |= FeatureBits::SHADOW)
    });
    for device in devices {
        let entry = InterfaceEntry {
            state: InterfaceState::Ready as u32 | InterfaceEntry::SHADOW,
            ..device.entry(InterfaceState::Ready)
        };
        node.change(|maps| maps.set_interface(device.ifindex, &entry));
    }
}

fn from_a(node: &TestNode, source: IpAddr, destination: IpAddr) -> Passage<'_> {
    let frame = between(node.a.frame(), source, destination);
    node.from_a(frame.udp(1000, 2000).payload(b"netpath"))
}

fn from_outside(node: &TestNode, family: Family) -> Passage<'_> {
    let frame = between(node.uplink.frame(), family.remote(), family.b());
    node.from_uplink(frame.udp(1000, 2000).payload(b"netpath"))
}

/// Whichever of a packet's two interfaces is in shadow mode: then the answer's are, too.
pub fn shadow(_: PuntReason) {
    let node = TestNode::new();
    for family in Family::ALL {
        // The cache knows the flow, and lets it go with the next epoch.
        from_a(&node, family.a(), family.b()).is_cached();
    }
    shadowed(&node, &[node.b]);
    for family in Family::ALL {
        from_a(&node, family.a(), family.b()).is_in_shadow(node.b);
        from_a(&node, family.a(), family.b()).is_never_cached();
        from_a(&node, family.a(), family.remote()).goes_out();
        from_outside(&node, family).is_in_shadow(node.b);
    }
    shadowed(&node, &[node.a]);
    for family in Family::ALL {
        from_a(&node, family.a(), family.remote()).is_in_shadow(node.uplink);
    }
    let node = TestNode::new();
    shadowed(&node, &[node.uplink]);
    for family in Family::ALL {
        from_a(&node, family.a(), family.remote()).is_in_shadow(node.uplink);
        from_outside(&node, family).is_in_shadow(node.b);
        from_a(&node, family.a(), family.b()).goes_to(node.b);
    }
}

/// What would be left to the kernel anyway is counted so; padding is not cut off.
#[test]
fn what_is_the_kernels_anyway_is_counted_as_ever() {
    let node = TestNode::new();
    shadowed(&node, &[node.a, node.b, node.uplink]);
    for family in Family::ALL {
        from_a(&node, family.a(), family.outside()).is_punted(PuntReason::NoRoute);
        let dying = between(node.a.frame(), family.a(), family.b()).ttl(1);
        node.from_a(dying.udp(1, 2))
            .is_punted(PuntReason::TtlExceeded);
        from_a(&node, family.a(), family.b())
            .with(|frame| frame.extend([0; 20]))
            .is_in_shadow(node.b);
    }
}

/// The bit of the node alone does nothing, nor does that of an interface alone.
#[test]
fn both_bits_are_needed() {
    let node = TestNode::new();
    shadowed(&node, &[]);
    for family in Family::ALL {
        from_a(&node, family.a(), family.b()).goes_to(node.b);
        let forged = from_a(&node, family.b(), family.remote());
        forged.is_dropped(DropReason::Spoofed);
    }
    shadowed(&node, &[node.a]);
    node.change(|maps| {
        maps.features
            .update(|features| features.bits &= !FeatureBits::SHADOW)
    });
    for family in Family::ALL {
        from_a(&node, family.a(), family.b()).goes_to(node.b);
    }
}

/// Until an interface is ready nothing of it passes, in shadow mode either.
#[test]
fn what_is_not_ready_is_dropped() {
    let node = TestNode::new();
    shadowed(&node, &[]);
    let entry = InterfaceEntry {
        state: InterfaceState::Preparing as u32 | InterfaceEntry::SHADOW,
        ..node.a.entry(InterfaceState::Preparing)
    };
    node.change(|maps| maps.set_interface(node.a.ifindex, &entry));
    for family in Family::ALL {
        from_a(&node, family.a(), family.b()).is_dropped(DropReason::NotReady);
    }
}

fn in_shadow() -> TestNode {
    let node = TestNode::new();
    shadowed(&node, &[node.a, node.uplink]);
    node
}

pub fn malformed(reason: PuntReason) {
    let node = in_shadow();
    for family in Family::ALL {
        let frame = between(node.a.frame(), family.a(), family.b()).udp(1, 2);
        // Longer than the frame.
        node.from_a(frame.forge_ip_length(u16::MAX))
            .is_punted(reason);
    }
}

pub fn bad_checksum(reason: PuntReason) {
    let node = in_shadow();
    for family in Family::ALL.into_iter().filter(|it| it.a().is_ipv4()) {
        from_a(&node, family.a(), family.b())
            .with(|frame| frame[24] ^= 1)
            .is_punted(reason);
    }
}

pub fn spoofed(reason: PuntReason) {
    let node = in_shadow();
    for family in Family::ALL {
        from_a(&node, family.b(), family.remote()).is_punted(reason);
        // Nobody outside has an endpoint's address.
        let forged = between(node.uplink.frame(), family.a(), family.b()).udp(1, 2);
        node.from_uplink(forged).is_punted(reason);
    }
}

pub fn martian_source(reason: PuntReason) {
    let node = in_shadow();
    for family in Family::ALL {
        let martian = match family.a().is_ipv4() {
            true => IpAddr::from([127, 0, 0, 1]),
            false => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        };
        from_a(&node, martian, family.b()).is_punted(reason);
    }
}
