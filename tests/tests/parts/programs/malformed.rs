//! What is dropped because its headers are wrong.

use netpath::probe::frame::FrameBuilder;
use netpath_common::DropReason;
use netpath_tests::{Addresses as _, Family, Passage, TestNode, Wrapping, between};

/// From endpoint a and from the uplink to endpoint b, UDP with a payload.
fn from_both(
    node: &TestNode,
    family: Family,
    change: impl Fn(FrameBuilder) -> FrameBuilder,
) -> [Passage<'_>; 2] {
    let packet = |frame, source| {
        change(
            between(frame, source, family.b())
                .udp(1, 2)
                .payload(b"netpath"),
        )
    };
    [
        node.from_a(packet(node.a.frame(), family.a())),
        node.from_uplink(packet(node.uplink.frame(), family.outside())),
    ]
}

pub fn malformed(reason: DropReason) {
    let node = TestNode::new();
    let dropped = |family, change: &dyn Fn(FrameBuilder) -> FrameBuilder| {
        for passage in from_both(&node, family, change) {
            passage.is_dropped(reason);
        }
    };
    for family in Family::ALL {
        // Cut anywhere behind the IP header; within it, see `wire`.
        let whole = between(node.a.frame(), family.a(), family.b()).udp(1, 2);
        for length in family.headers()..whole.build().len() {
            for passage in from_both(&node, family, |frame| frame) {
                passage
                    .with(|frame| frame.truncate(length))
                    .is_dropped(reason);
            }
        }
        for version in (0..16).filter(|&version| match family {
            Family::V4 => version != 4,
            Family::V6 => version != 6,
        }) {
            dropped(family, &|frame| frame.forge_version(version));
        }
        // Longer than the frame.
        dropped(family, &|frame| frame.forge_ip_length(u16::MAX));
        dropped(family, &|frame| {
            frame.forge_ip_length(36).payload(&[]).pad_to(49)
        });
    }
    for words in 0..5 {
        dropped(Family::V4, &|frame| frame.forge_ihl(words));
    }
    // Shorter than its own header.
    for length in 0..20 {
        dropped(Family::V4, &|frame| frame.forge_ip_length(length));
    }
    dropped(Family::V4, &|frame| {
        frame.options(&[1; 8]).forge_ip_length(27)
    });
}

/// In more VLAN tags than anybody looks behind, no source can be known; the kernel would deliver it.
#[test]
fn too_many_tags() {
    let node = TestNode::new();
    for family in Family::ALL {
        for passage in from_both(&node, family, |frame| frame) {
            passage
                .with(|frame| *frame = Wrapping::TOO_DEEP.wrap(frame))
                .is_dropped(DropReason::Malformed);
        }
    }
}

pub fn bad_checksum(reason: DropReason) {
    let node = TestNode::new();
    // Every single bit behind version and header length, which are told apart before.
    for bit in 8..20 * 8 {
        for passage in from_both(&node, Family::V4, |frame| frame) {
            passage
                .with(|frame| frame[14 + bit / 8] ^= 0x80 >> (bit % 8))
                .is_dropped(reason);
        }
    }
    for checksum in [0, 0xffff] {
        for passage in from_both(&node, Family::V4, |frame| {
            frame.forge_header_checksum(checksum)
        }) {
            passage.is_dropped(reason);
        }
    }
}
