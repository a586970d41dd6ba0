//! What is dropped because of where it comes from.

use std::net::IpAddr;

use netpath::{
    datapath::ProgramKind,
    probe::frame::{ETHERTYPE_ARP, EXTENSION_HOP_BY_HOP, FrameBuilder},
};
use netpath_common::{DropReason, InterfaceState};
use netpath_tests::{Addresses as _, Device, Family, Passage, TestNode, Wrapping, between};

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
    for family in Family::ALL {
        let gateway = match family {
            Family::V4 => address("169.254.1.1"),
            Family::V6 => address("fe80::1"),
        };
        // The gateway's, another endpoint's, the node's own, another node's endpoint's, and nobody's.
        for source in [
            gateway,
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

/// Whatever entries there are: as long as the interface is not ready, nothing of an endpoint is let in.
pub fn not_ready(reason: DropReason) {
    let mut node = TestNode::new();
    let frames = |device: Device, own: &dyn Fn(Family) -> IpAddr| {
        let mut frames = vec![
            device
                .frame()
                .ethertype(ETHERTYPE_ARP)
                .payload(&[1; 28])
                .build(),
        ];
        for family in Family::ALL {
            for source in [own(family), family.outside()] {
                for destination in destinations(family) {
                    let frame = between(device.frame(), source, destination).udp(1, 2);
                    frames.push(frame.payload(b"netpath").build());
                }
            }
            let frame = between(device.frame(), own(family), family.b()).udp(1, 2);
            frames.extend(Wrapping::ALL.map(|wrapping| wrapping.wrap(&frame.build())));
        }
        frames
    };
    let from = |node: &TestNode, device: Device, frame: Vec<u8>| {
        Passage::new(node, ProgramKind::FromEndpoint, device, frame).is_dropped(reason);
    };
    let to_b = |node: &TestNode, device: Device, own: &dyn Fn(Family) -> IpAddr| {
        for family in Family::ALL {
            let frame = between(device.frame(), own(family), family.b()).udp(1, 2);
            Passage::new(node, ProgramKind::FromEndpoint, device, frame.build()).goes_to(node.b);
        }
    };
    // The last two: the last index that has a bit, and the first that has none.
    let last = node.add("epx", 1_048_575, 6);
    let beyond = node.add("epy", 1_048_576, 7);
    let devices = [(node.a, 1), (last, 6), (beyond, 7)];
    for (device, subnet) in devices {
        let own = move |family: Family| family.subnet(subnet, 2);
        for family in Family::ALL {
            node.set_endpoint(own(family), device);
        }
        for state in [Some(InterfaceState::Preparing), None] {
            match state {
                Some(state) => node.set_interface(device, state),
                None => node.remove_interface(device),
            }
            for frame in frames(device, &own) {
                from(&node, device, frame);
            }
            // Nobody else is touched.
            for (other, subnet) in devices.into_iter().filter(|(other, _)| *other != device) {
                if node.is_ready(other) {
                    to_b(&node, other, &move |family: Family| {
                        family.subnet(subnet, 2)
                    });
                }
            }
            node.set_interface(device, InterfaceState::Ready);
            to_b(&node, device, &own);
        }
        // Now that it is complete, another's address is simply not its own.
        for family in Family::ALL {
            let frame = between(device.frame(), family.outside(), family.b()).udp(1, 2);
            Passage::new(&node, ProgramKind::FromEndpoint, device, frame.build())
                .is_dropped(DropReason::Spoofed);
        }
    }
}

/// To drop what an uplink brings would cut the machine off: it is not asked whether it is ready.
#[test]
fn an_uplink_is_always_let_in() {
    let mut node = TestNode::new();
    node.set_interface(node.uplink, InterfaceState::Preparing);
    for family in Family::ALL {
        let frame = between(node.uplink.frame(), family.remote(), family.b()).udp(1, 2);
        node.from_uplink(frame).goes_to(node.b);
    }
}
