//! Frames that are shorter than they say, or contradict themselves.

use netpath::probe::frame::{TPID_VLAN, Tag};

use super::List;
use crate::{Addresses as _, Family, conformance::case::Flow};

pub(super) fn add(list: &mut List<'_>) {
    for flow in list.flows() {
        truncated(list, &flow);
        match flow.family {
            Family::V4 => ipv4(list, &flow),
            Family::V6 => ipv6(list, &flow),
        }
    }
}

fn truncated(list: &mut List<'_>, flow: &Flow) {
    let headers = flow.family.headers();
    let whole = [
        ("UDP", flow.udp().build(), headers + 8),
        (
            "TCP",
            flow.ip().tcp(40_000, 40_001, 2).payload(b"abc").build(),
            headers + 20,
        ),
        (
            "fragment",
            flow.ip()
                .protocol(17)
                .fragment(800, true)
                .payload(&[7; 32])
                .build(),
            headers + 16,
        ),
    ];
    let (echo, extension) = match flow.family {
        Family::V4 => (8, flow.udp().options(&[1; 8]).build()),
        Family::V6 => {
            let options = [1, 4, 0, 0, 0, 0];
            (
                128,
                flow.udp()
                    .extension(60, &options)
                    .extension(43, &options)
                    .build(),
            )
        }
    };
    let echo = flow.ip().icmp(echo, 0, [0, 7, 0, 1]).payload(b"abc");
    let tagged = flow.udp().tag(Tag {
        tpid: TPID_VLAN,
        tci: 7,
    });
    let twice = tagged.clone().tag(Tag {
        tpid: TPID_VLAN,
        tci: 8,
    });
    let more = [
        ("ICMP", echo.build(), headers + 8),
        ("options or extension headers", extension, headers + 8 + 16),
        ("VLAN-tagged UDP", tagged.build(), headers + 4 + 8),
        ("twice tagged UDP", twice.build(), headers + 8 + 8),
    ];
    for (name, frame, to) in whole.into_iter().chain(more) {
        // A frame that ends within a tag, or in the EtherType behind it, the kernel drops before TC sees it
        // (`skb_vlan_untag`), and a bridge within the second.
        let from = match name {
            "VLAN-tagged UDP" => 14 + 4 + 2,
            "twice tagged UDP" => 14 + 8 + 2,
            _ => 14,
        };
        let cuts = (from..=to).map(|length| frame[..length.min(frame.len())].to_vec());
        list.frames(
            flow,
            format!("malformed: {name} cut off after every byte of its headers"),
            "RFC 1812, 5.2.2",
            cuts,
        );
        list.frames(
            flow,
            format!("malformed: {name} without its last byte"),
            "RFC 1812, 5.2.2",
            [frame[..frame.len() - 1].to_vec()],
        );
    }
}

fn versions(list: &mut List<'_>, flow: &Flow, source: &'static str, versions: [u8; 5]) {
    for version in versions {
        let frame = flow.udp().forge_version(version).build();
        let name = format!("malformed: version {version}");
        list.frames(flow, name, source, [frame]);
    }
}

fn ipv4(list: &mut List<'_>, flow: &Flow) {
    const SOURCE: &str = "RFC 1812, 5.2.2";
    versions(list, flow, SOURCE, [0, 3, 5, 6, 15]);
    for words in [0, 1, 4, 6, 15] {
        let frame = flow.udp().forge_ihl(words).build();
        list.frames(flow, format!("malformed: IHL {words}"), SOURCE, [frame]);
    }
    for length in [0, 1, 19, 20, 27, 28, 46, 48, 1000, 65_535] {
        let frame = flow.udp().forge_ip_length(length).build();
        let name = format!("malformed: total length {length} of 47");
        list.frames(flow, name, SOURCE, [frame]);
        let frame = flow.udp().forge_ip_length(length).ttl(1).build();
        let name = format!("malformed: total length {length} of 47, TTL 1");
        list.frames(flow, name, SOURCE, [frame]);
    }
    let right = flow.udp().build();
    let checksum = u16::from_be_bytes([right[24], right[25]]);
    for (name, checksum) in [
        ("0", 0),
        ("0xffff", 0xffff),
        ("one more", checksum.wrapping_add(1)),
        ("complemented", !checksum),
    ] {
        for ttl in [1, 64] {
            let frame = flow.udp().ttl(ttl).forge_header_checksum(checksum).build();
            let name = format!("malformed: header checksum {name}, TTL {ttl}");
            list.frames(flow, name, SOURCE, [frame]);
        }
    }
    // Where the checksum's right value is zero, all ones are as good to the sum.
    let zero = (0..=0xffff)
        .map(|id| flow.udp().id(id))
        .find(|frame| frame.build()[24..26] == [0, 0])
        .expect("one of all identifications");
    let ones = zero.clone().forge_header_checksum(0xffff).build();
    list.frames(
        flow,
        "field: header checksum that is 0",
        "RFC 1624",
        [zero.build()],
    );
    list.frames(
        flow,
        "field: header checksum 0xffff for 0",
        "RFC 1624",
        [ones],
    );
    let v6 = flow.udp().ethertype(0x86dd).build();
    list.frames(
        flow,
        "malformed: IPv4 packet with IPv6's EtherType",
        SOURCE,
        [v6],
    );
}

fn ipv6(list: &mut List<'_>, flow: &Flow) {
    const SOURCE: &str = "RFC 8200, 3";
    versions(list, flow, SOURCE, [0, 4, 5, 7, 15]);
    for length in [0, 1, 7, 8, 26, 28, 1000, 65_535] {
        for ttl in [1, 64] {
            let frame = flow.udp().forge_ip_length(length).ttl(ttl).build();
            let name = format!("malformed: payload length {length} of 27, hop limit {ttl}");
            list.frames(flow, name, SOURCE, [frame]);
        }
    }
    let v4 = flow.udp().ethertype(0x0800).build();
    list.frames(
        flow,
        "malformed: IPv6 packet with IPv4's EtherType",
        SOURCE,
        [v4],
    );
}
