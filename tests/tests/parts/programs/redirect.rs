//! `from_endpoint` to an endpoint of the same node.

use netpath::probe::frame::{
    EXTENSION_DESTINATION, EXTENSION_ROUTING, FrameBuilder, PROTOCOL_ICMPV6, PROTOCOL_TCP,
    PROTOCOL_UDP, ParsedFrame,
};
use netpath_tests::{Addresses as _, Family, MARK, TestNode, as_forwarded, between};

/// Packets of every kind that a router forwards without a thought, with the headers given.
pub fn kinds(base: &FrameBuilder, family: Family) -> Vec<FrameBuilder> {
    let small = base.clone().payload(b"netpath");
    let full = base.clone().payload(&[0xa5; 1500 - 40 - 20]);
    let mut kinds = vec![
        small.clone().udp(1000, 53),
        full.clone().udp(1000, 53),
        base.clone().udp(1000, 53),
        small.clone().tcp(1000, 80, 0x02),
        full.clone().tcp(1000, 80, 0x10),
        // SCTP, UDP-Lite, GRE.
        small.clone().protocol(132),
        small.clone().protocol(136),
        small.clone().protocol(47),
        // Too short for the ports of its protocol: a router does not look.
        base.clone().protocol(PROTOCOL_TCP).payload(&[1, 2]),
        base.clone().protocol(PROTOCOL_UDP),
        small.clone().udp(1, 2).tos(0xb9).id(7).flow_label(0x5_4321),
        // Fragments: the first, one from the middle, the last.
        small.clone().udp(1, 2).fragment(0, true),
        small.clone().protocol(PROTOCOL_UDP).fragment(1008, true),
        base.clone()
            .protocol(PROTOCOL_UDP)
            .payload(&[7])
            .fragment(2048, false),
    ];
    match family {
        Family::V4 => kinds.extend([
            small.clone().icmp(8, 0, [0, 1, 0, 1]),
            small.clone().icmp(3, 4, [0, 0, 5, 0]),
            small.clone().udp(1, 2).dont_fragment(),
            small.clone().udp(1, 2).forge_transport_checksum(0),
        ]),
        Family::V6 => kinds.extend([
            small.clone().icmp(128, 0, [0, 1, 0, 1]),
            small.clone().icmp(2, 0, [0, 0, 5, 0]),
            // The numbers beside neighbour discovery's.
            small.clone().icmp(132, 0, [0; 4]),
            small.clone().icmp(138, 0, [0; 4]),
            // ICMPv6 without even a type.
            base.clone().protocol(PROTOCOL_ICMPV6),
            small
                .clone()
                .udp(1, 2)
                .extension(EXTENSION_DESTINATION, &[1, 4, 0, 0, 0, 0]),
            small
                .clone()
                .udp(1, 2)
                .extension(EXTENSION_ROUTING, &[0; 6]),
            // What looks like neighbour discovery is the middle of something else.
            small.clone().icmp(135, 0, [0; 4]).fragment(1480, false),
        ]),
    }
    kinds
}

#[test]
fn packets_of_every_kind() {
    let node = TestNode::new();
    for family in Family::ALL {
        let base = between(node.a.frame(), family.a(), family.b());
        for frame in kinds(&base, family) {
            node.from_a(frame).marked(MARK).goes_to(node.b);
        }
    }
}

#[test]
fn ttl_of_two_and_more() {
    let node = TestNode::new();
    for family in Family::ALL {
        let base = between(node.a.frame(), family.a_too(), family.b()).udp(1, 2);
        for ttl in [2, 3, 64, 128, 255] {
            node.from_a(base.clone().ttl(ttl)).goes_to(node.b);
        }
    }
}

/// The checksum is mended incrementally: every carry has to come round.
#[test]
fn checksums_stay_right() {
    let node = TestNode::new();
    let family = Family::V4;
    let base = between(node.a.frame(), family.a(), family.b()).udp(1, 2);
    let checksum = |id: u32| {
        let frame = base.clone().id(id).build();
        u16::from_be_bytes([frame[24], frame[25]])
    };
    // The identification sets the checksum: each value of it has one, found here.
    let ids: Vec<u32> = (0..=0xffff)
        .filter(|&id| matches!(checksum(id), 0..=1 | 0xfe..=0x101 | 0xfefd..=0xff01 | 0xfffe..))
        .collect();
    assert!(ids.len() >= 12, "{ids:?}");
    for id in ids {
        let outcome = node.from_a(base.clone().id(id)).goes_to(node.b);
        let parsed = ParsedFrame::parse(&outcome.frame).expect("a frame");
        parsed
            .ip()
            .expect("a packet")
            .verify_checksums()
            .expect("right checksums");
    }
    // 0xffff in the place of 0 is the same number in one's complement, and the kernel takes it.
    let id = (0..=0xffff).find(|&id| checksum(id) == 0).expect("one has");
    let frame = base.id(id);
    let expected = as_forwarded(&frame.build(), Some((node.b.far_mac, node.b.mac)));
    let outcome = node
        .from_a(frame.forge_header_checksum(0xffff))
        .goes_to(node.b);
    assert_eq!(outcome.frame, expected);
}

/// Ethernet pads short frames to 60 bytes; what is redirected is as long as its packet says.
#[test]
fn padding_is_trimmed() {
    let node = TestNode::new();
    for family in Family::ALL {
        let base = between(node.a.frame(), family.a(), family.b()).udp(1, 2);
        let length = base.build().len();
        for padding in [1, 18, 64] {
            let padded = base.clone().pad_to(length + padding);
            node.from_a(padded).trimmed_to(length).goes_to(node.b);
        }
        // The padding does not count where the packet has to fit.
        let full = base.payload(&[1; 1300]);
        let length = full.build().len();
        let padded = full.pad_to(length + 300);
        node.from_a(padded).trimmed_to(length).goes_to(node.b);
    }
}

#[test]
fn mtu_is_reached_exactly() {
    let node = TestNode::new();
    node.ip("link set epb mtu 1400");
    for family in Family::ALL {
        let payload = vec![1; 1400 - (family.headers() - 14) - 8];
        let frame = between(node.a.frame(), family.a(), family.b()).udp(1, 2);
        node.from_a(frame.payload(&payload)).goes_to(node.b);
    }
}

/// Segments longer than the header's length field can say (BIG TCP): it is 0 then, and the packet is as long
/// as its buffer.
#[test]
fn length_of_a_big_segmented_packet() {
    let node = TestNode::new();
    for family in Family::ALL {
        let big = between(node.a.frame(), family.a(), family.b())
            .tcp(1, 2, 0x10)
            .payload(&[1; 1200])
            .forge_ip_length(0);
        node.from_a(big).segmented(600).goes_to(node.b);
    }
}
