//! Valid frames of every kind, from which inputs are made.

use std::net::IpAddr;

use netpath::{
    datapath::ProgramKind,
    probe::frame::{
        ETHERTYPE_ARP, EXTENSION_AUTHENTICATION, EXTENSION_DESTINATION, EXTENSION_HOP_BY_HOP,
        EXTENSION_ROUTING, FrameBuilder, PROTOCOL_TCP, PROTOCOL_UDP, TPID_QINQ, TPID_VLAN, Tag,
    },
};
use netpath_common::Mac;

use crate::{Addresses as _, Device, Family, TestNode, Wrapping, between};

/// A frame on a hook.
#[derive(Clone, Debug)]
pub struct Case {
    /// Whose hook.
    pub program: ProgramKind,
    /// Where.
    pub device: Device,
    /// What comes in.
    pub frame: Vec<u8>,
}

/// Frames of all kinds, on all hooks, between all sorts of addresses.
pub fn corpus(node: &TestNode) -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        for (program, device, source, destination) in ways(node, family) {
            let base = between(device.frame(), source, destination);
            let plain = base.clone().udp(1, 2).build();
            let wrapped = Wrapping::ALL.map(|wrapping| wrapping.wrap(&plain));
            let frames = kinds(&base, family).into_iter();
            let frames = frames.map(|frame| frame.build()).chain(wrapped);
            cases.extend(frames.map(|frame| Case {
                program,
                device,
                frame,
            }));
        }
    }
    for (program, device) in [
        (ProgramKind::FromEndpoint, node.a),
        (ProgramKind::FromUplink, node.uplink),
    ] {
        cases.extend(local_frames(device).into_iter().map(|frame| Case {
            program,
            device,
            frame: frame.build(),
        }));
    }
    cases
}

type Way = (ProgramKind, Device, IpAddr, IpAddr);

fn ways(node: &TestNode, family: Family) -> Vec<Way> {
    let mut ways = Vec::new();
    let mut add = |program, device, sources: &[IpAddr], destinations: &[IpAddr]| {
        for &source in sources {
            for &destination in destinations {
                ways.push((program, device, source, destination));
            }
        }
    };
    let (a, a_too, b) = (family.a(), family.a_too(), family.b());
    let (remote, outside) = (family.remote(), family.outside());
    let beside = family.subnet(5, 2);
    let endpoint = ProgramKind::FromEndpoint;
    // Of a prefix that is routed to endpoint a.
    let routed = family.routed();
    add(endpoint, node.a, &[a, a_too, routed], &[b, remote]);
    add(endpoint, node.b, &[b], &[a, a_too, routed, remote, beside]);
    add(endpoint, node.b, &[routed], &[b, remote]);
    add(endpoint, node.a, &[a], &[a_too, outside, family.node()]);
    let uplink = ProgramKind::FromUplink;
    add(uplink, node.uplink, &[remote, outside], &[a, b, routed]);
    add(uplink, node.uplink, &[routed], &[b]);
    add(
        uplink,
        node.uplink,
        &[remote],
        &[outside, family.node(), beside],
    );
    add(ProgramKind::ToEndpoint, node.b, &[a, outside], &[b]);
    add(ProgramKind::ToUplink, node.uplink, &[a, b], &[remote]);
    ways
}

/// Packets of every kind with the headers given.
fn kinds(base: &FrameBuilder, family: Family) -> Vec<FrameBuilder> {
    let small = base.clone().payload(b"netpath");
    let full = base.clone().payload(&[0xa5; 1400]);
    let mut kinds = vec![
        base.clone().udp(1000, 53),
        small.clone().udp(1000, 53),
        small.clone().tcp(1000, 80, 0x02),
        full.clone().tcp(1000, 80, 0x10),
        full.clone().udp(1, 2).payload(&[1; 1600]),
        base.clone().tcp(1, 2, 0x10).payload(&[3; 3000]),
        small.clone().protocol(132),
        base.clone().protocol(PROTOCOL_TCP).payload(&[1, 2]),
        base.clone().protocol(PROTOCOL_UDP),
        base.clone().udp(1, 2).pad_to(200),
        small.clone().udp(1, 2).tos(0xb9).id(7).flow_label(0x5_4321),
        small.clone().udp(1, 2).fragment(0, true),
        small.clone().protocol(PROTOCOL_UDP).fragment(1008, true),
        base.clone()
            .protocol(PROTOCOL_UDP)
            .payload(&[7])
            .fragment(2048, false),
        small.clone().udp(1, 2).ttl(1),
        small.clone().udp(1, 2).ttl(2),
        small.clone().tcp(1, 2, 0x10).forge_ip_length(0),
        small.clone().udp(1, 2).tag(Tag {
            tpid: TPID_VLAN,
            tci: 5,
        }),
        small.clone().udp(1, 2).tag(Tag {
            tpid: TPID_QINQ,
            tci: 0xe005,
        }),
    ];
    match family {
        Family::V4 => kinds.extend([
            small.clone().icmp(8, 0, [0, 1, 0, 1]),
            small.clone().icmp(3, 4, [0, 0, 5, 0]),
            small.clone().udp(1, 2).dont_fragment(),
            small.clone().udp(1, 2).options(&[0x94, 4, 0, 0]),
            small.udp(1, 2).options(&[1; 40]),
        ]),
        Family::V6 => kinds.extend([
            small.clone().icmp(128, 0, [0, 1, 0, 1]),
            small.clone().icmp(135, 0, [0; 4]),
            small
                .clone()
                .udp(1, 2)
                .extension(EXTENSION_DESTINATION, &[1, 4, 0, 0, 0, 0]),
            small
                .clone()
                .udp(1, 2)
                .extension(EXTENSION_HOP_BY_HOP, &[5, 2, 0, 0])
                .extension(EXTENSION_ROUTING, &[0; 22]),
            small
                .clone()
                .tcp(1, 2, 0x10)
                .extension(EXTENSION_ROUTING, &[0; 6])
                .extension(EXTENSION_AUTHENTICATION, &[1; 22]),
            small.icmp(135, 0, [0; 4]).fragment(1480, false),
        ]),
    }
    kinds
}

/// What does not leave the link.
fn local_frames(device: Device) -> Vec<FrameBuilder> {
    let address = |text: &str| -> IpAddr { text.parse().expect("an address") };
    let everybody = FrameBuilder::new(device.far_mac, Mac([0xff; 6]));
    let group = FrameBuilder::new(device.far_mac, Mac([0x33, 0x33, 0, 0, 0, 0x16]));
    let listener = between(group.clone(), address("::"), address("ff02::16"));
    let solicitation = between(group, address("fe80::5"), address("ff02::1:ff00:1"));
    vec![
        everybody
            .clone()
            .ethertype(ETHERTYPE_ARP)
            .payload(&[1; 28])
            .pad_to(60),
        device.frame().ethertype(0x88cc).payload(&[0x45; 60]),
        device.frame().ethertype(0x0040).payload(&[0x45; 60]),
        device.frame().ethertype(0x88cc),
        between(everybody, address("0.0.0.0"), address("255.255.255.255"))
            .udp(68, 67)
            .payload(&[1; 300]),
        listener
            .extension(EXTENSION_HOP_BY_HOP, &[5, 2, 0, 0])
            .icmp(143, 0, [0; 4]),
        solicitation.ttl(255).icmp(135, 0, [0; 4]).payload(&[0; 16]),
    ]
}
