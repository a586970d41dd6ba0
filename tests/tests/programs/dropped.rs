//! What is dropped because of where it comes from.

use std::net::IpAddr;

use netpath::probe::frame::{EXTENSION_HOP_BY_HOP, FrameBuilder};
use netpath_common::{DropReason, InterfaceState};
use netpath_tests::{Family, TestNode, Wrapping, between};

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Where a packet with a wrong source may want to go: everywhere.
fn destinations(family: Family) -> Vec<IpAddr> {
    let special = match family {
        Family::V4 => ["224.0.0.1", "255.255.255.255", "169.254.1.1", "127.0.0.1"],
        Family::V6 => ["ff02::1", "fe80::1", "::1", "::"],
    };
    [
        family.a(),
        family.b(),
        family.remote(),
        family.node(),
        family.outside(),
    ]
    .into_iter()
    .chain(special.map(address))
    .collect()
}

pub fn spoofed(reason: DropReason) {
    let node = TestNode::new();
    for family in Family::BOTH {
        // Another endpoint's, the node's own, another node's endpoint's, and nobody's.
        for source in [
            family.b(),
            family.node(),
            family.remote(),
            family.outside(),
            family.subnet(1, 9),
        ] {
            for destination in destinations(family) {
                let frame = between(node.a.frame(), source, destination).udp(1, 2);
                node.from_a(frame.clone()).is_dropped(reason);
                node.from_a(frame.ttl(1).pad_to(120)).is_dropped(reason);
            }
            for frame in
                punted_but_for_the_source(between(node.a.frame(), source, family.b()), family)
            {
                node.from_a(frame).is_dropped(reason);
            }
            for destination in destinations(family) {
                let frame = between(node.a.frame(), source, destination).udp(1, 2);
                for wrapping in Wrapping::ALL {
                    node.from_a(frame.clone())
                        .with(|frame| *frame = wrapping.wrap(frame))
                        .is_dropped(reason);
                }
            }
        }
        // From outside: no address of this node nor of an endpoint of it.
        for source in [family.a(), family.b(), family.node()] {
            for destination in destinations(family) {
                let frame = between(node.uplink.frame(), source, destination).udp(1, 2);
                node.from_uplink(frame).is_dropped(reason);
            }
            for frame in
                punted_but_for_the_source(between(node.uplink.frame(), source, family.b()), family)
            {
                node.from_uplink(frame).is_dropped(reason);
            }
            for wrapping in Wrapping::ALL {
                let to = match wrapping.is_for_others() {
                    true => vec![family.a(), family.b(), family.node()],
                    false => destinations(family),
                };
                for destination in to {
                    let frame = between(node.uplink.frame(), source, destination).udp(1, 2);
                    node.from_uplink(frame)
                        .with(|frame| *frame = wrapping.wrap(frame))
                        .is_dropped(reason);
                }
            }
        }
    }
}

/// Packets that would be left to the kernel: with a wrong source they must not get that far.
fn punted_but_for_the_source(frame: FrameBuilder, family: Family) -> Vec<FrameBuilder> {
    match family {
        Family::V4 => vec![
            frame.clone().udp(1, 2).options(&[0x94, 4, 0, 0]),
            frame.udp(1, 2).options(&[1; 40]),
        ],
        Family::V6 => vec![
            frame
                .clone()
                .ttl(255)
                .icmp(135, 0, [0; 4])
                .payload(&[0; 16]),
            frame
                .clone()
                .ttl(255)
                .icmp(137, 0, [0; 4])
                .payload(&[0; 32]),
            frame.udp(1, 2).extension(EXTENSION_HOP_BY_HOP, &[0; 6]),
        ],
    }
}

pub fn martian_source(reason: DropReason) {
    let node = TestNode::new();
    let v4 = [
        "0.1.2.3",
        "127.0.0.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
    ];
    let v6 = ["::1", "ff02::1", "ff0e::1", "::ffff:10.0.1.2"];
    for (family, sources) in [(Family::V4, &v4[..]), (Family::V6, &v6)] {
        for source in sources.iter().copied().map(address) {
            for destination in destinations(family) {
                let packet = |frame| between(frame, source, destination).udp(1, 2);
                node.from_a(packet(node.a.frame())).is_dropped(reason);
                node.from_uplink(packet(node.uplink.frame()))
                    .is_dropped(reason);
                for wrapping in Wrapping::ALL {
                    node.from_a(packet(node.a.frame()))
                        .with(|frame| *frame = wrapping.wrap(frame))
                        .is_dropped(reason);
                }
                for wrapping in Wrapping::ALL.iter().filter(|w| !w.is_for_others()) {
                    node.from_uplink(packet(node.uplink.frame()))
                        .with(|frame| *frame = wrapping.wrap(frame))
                        .is_dropped(reason);
                }
            }
        }
    }
    // The unspecified address may look for an address, and nothing else.
    for (family, source) in [(Family::V4, "0.0.0.0"), (Family::V6, "::")] {
        for destination in [family.b(), family.remote(), family.node(), family.outside()] {
            let packet = |frame| between(frame, address(source), destination).udp(1, 2);
            node.from_a(packet(node.a.frame())).is_dropped(reason);
            node.from_uplink(packet(node.uplink.frame()))
                .is_dropped(reason);
        }
    }
}

pub fn not_ready(reason: DropReason) {
    let mut node = TestNode::new();
    for family in Family::BOTH {
        node.remove_endpoint(family.a());
    }
    let packet = |node: &TestNode, family: Family, source| {
        between(node.a.frame(), source, family.b())
            .udp(1, 2)
            .payload(b"netpath")
    };
    node.set_interface(node.a, InterfaceState::Preparing);
    for family in Family::BOTH {
        for source in [family.a(), family.outside()] {
            node.from_a(packet(&node, family, source))
                .is_dropped(reason);
        }
    }
    node.remove_interface(node.a);
    for family in Family::BOTH {
        node.from_a(packet(&node, family, family.a()))
            .is_dropped(reason);
    }
    // Once it is complete, the same address is simply not its own.
    node.set_interface(node.a, InterfaceState::Ready);
    for family in Family::BOTH {
        node.from_a(packet(&node, family, family.a()))
            .is_dropped(DropReason::Spoofed);
        node.set_endpoint(family.a(), node.a);
        node.from_a(packet(&node, family, family.a()))
            .goes_to(node.b);
    }
}
