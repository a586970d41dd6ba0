//! Connections that are the kernel's: what it delivers or sends on itself is noted, and comes back past the fast path.

use std::net::IpAddr;

use netpath::{datapath::ProgramKind, probe::frame::FrameBuilder};
use netpath_common::{ConnectionEntry, ConnectionFamily, ConnectionKey, Ifindex, PuntReason};
use netpath_tests::{Addresses as _, Device, Family, Passage, TestNode, between};

/// ICMP types: an echo's request and answer, and an error with its code.
fn echo_and_error(family: Family) -> (u8, u8, u8, u8) {
    match family {
        Family::V4 => (8, 0, 3, 1),
        Family::V6 => (128, 129, 1, 4),
    }
}

/// A packet, and what answers it.
type Exchange = (FrameBuilder, FrameBuilder);

/// Packets of every protocol between two ends, and what answers each.
fn exchanges(family: Family, there: &FrameBuilder, back: &FrameBuilder) -> Vec<Exchange> {
    let (request, reply, _, _) = echo_and_error(family);
    let (there, back) = (|| there.clone(), || back.clone());
    let echo = [0x12, 0x34, 0, 1];
    vec![
        (there().udp(1000, 53), back().udp(53, 1000)),
        (there().tcp(1000, 80, 0x02), back().tcp(80, 1000, 0x12)),
        (there().icmp(request, 0, echo), back().icmp(reply, 0, echo)),
        // SCTP, by its ports; and a protocol without any.
        (
            there().protocol(132).payload(&[3, 232, 0, 80, 1, 1, 1, 1]),
            back().protocol(132).payload(&[0, 80, 3, 232, 2, 2, 2, 2]),
        ),
        (
            there().protocol(47).payload(&[0; 8]),
            back().protocol(47).payload(&[0; 8]),
        ),
    ]
}

/// The kernel delivers a packet to endpoint b that came in by another device, or none.
fn delivered<'a>(node: &'a TestNode, frame: &FrameBuilder, arrived: Option<Device>) -> Passage<'a> {
    Passage::new(node, ProgramKind::ToEndpoint, node.b, frame.build()).arrived(arrived)
}

fn from_b<'a>(node: &'a TestNode, frame: &FrameBuilder) -> Passage<'a> {
    Passage::new(node, ProgramKind::FromEndpoint, node.b, frame.build())
}

/// How many connections are entered, of both families, and how many were.
fn entered(node: &TestNode) -> (usize, u64) {
    let maps = &node.datapath().maps;
    let v4 = maps.connections_v4.all().expect("connections").len();
    let v6 = maps.connections_v6.all().expect("connections").len();
    let counts = maps.connection_counts.all().expect("counts");
    (v4 + v6, counts.values().map(|count| count.entered).sum())
}

/// Of all that the kernel delivers from one endpoint to another, both directions are the kernel's from then on; what has
/// another port, identifier, protocol or end is not.
pub fn kernel_connection(reason: PuntReason) {
    for family in Family::ALL {
        let ends = [(family.a(), family.b()), (family.a_too(), family.b())];
        let frames = |(one, other): (IpAddr, IpAddr), node: &TestNode| {
            let there = between(node.a.frame(), one, other);
            let back = between(node.b.frame(), other, one);
            exchanges(family, &there, &back)
        };
        let count = frames(ends[0], &TestNode::new()).len();
        for index in 0..count {
            let node = TestNode::new();
            let others = frames(ends[1], &node);
            let all = frames(ends[0], &node);
            let (there, back) = &all[index];
            node.from_a(there.clone()).goes_to(node.b);
            from_b(&node, back).goes_to(node.a);
            delivered(&node, there, Some(node.a)).is_delivered();
            from_b(&node, back).is_punted(reason);
            node.from_a(there.clone()).is_punted(reason);
            for (other, (_, back)) in all.iter().enumerate() {
                if other != index {
                    from_b(&node, back).goes_to(node.a);
                }
            }
            from_b(&node, &others[index].1).goes_to(node.a);
        }
    }
}

/// The same for what the kernel sends on by an uplink.
#[test]
fn what_leaves_by_an_uplink() {
    for family in Family::ALL {
        let node = TestNode::new();
        let there = between(node.uplink.frame(), family.a(), family.remote());
        let back = between(node.uplink.frame(), family.remote(), family.a());
        for (there, back) in exchanges(family, &there, &back) {
            node.from_uplink(back.clone()).goes_to(node.a);
            leaves(&node, &there, Some(node.a));
            let reason = PuntReason::KernelConnection;
            node.from_uplink(back).is_punted(reason);
        }
    }
}

/// A packet at the uplink's egress, which is counted nowhere.
fn leaves(node: &TestNode, frame: &FrameBuilder, arrived: Option<Device>) {
    Passage::new(node, ProgramKind::ToUplink, node.uplink, frame.build())
        .arrived(arrived)
        .is_seen();
}

/// What the node sends itself, and what goes between ends of which one is not routed, is the kernel's anyway, and takes no room.
#[test]
fn what_is_the_kernels_anyway_is_not_entered() {
    let node = TestNode::new();
    for family in Family::ALL {
        let (a, b) = (family.a(), family.b());
        let udp = |source, destination| between(node.b.frame(), source, destination).udp(1, 2);
        delivered(&node, &udp(a, b), None).is_delivered();
        delivered(&node, &udp(family.outside(), b), Some(node.uplink)).is_delivered();
        delivered(&node, &udp(family.node(), b), Some(node.uplink)).is_delivered();
        leaves(&node, &udp(a, family.remote()), None);
        leaves(&node, &udp(a, family.outside()), Some(node.a));
        leaves(&node, &udp(family.node(), family.remote()), Some(node.a));
        // An error makes nothing the kernel's.
        let (_, _, error, code) = echo_and_error(family);
        let quoted = between(node.b.frame(), b, a).udp(7, 8).build();
        let error = between(node.b.frame(), a, b)
            .icmp(error, code, [0; 4])
            .payload(&quoted[14..]);
        delivered(&node, &error, Some(node.a)).is_delivered();
    }
    assert_eq!(entered(&node), (0, 0));
}

/// Each connection is entered once, with a second entry for its fragments.
#[test]
fn entries_are_counted() {
    let node = TestNode::new();
    let udp = |from, to| between(node.a.frame(), Family::V4.a(), Family::V4.b()).udp(from, to);
    for _ in 0..3 {
        delivered(&node, &udp(1000, 53), Some(node.a)).is_delivered();
    }
    assert_eq!(entered(&node), (2, 2));
    delivered(&node, &udp(1001, 53), Some(node.a)).is_delivered();
    assert_eq!(entered(&node), (3, 3));
    let find = |low_port, high_port| {
        let key = ConnectionKey {
            low: [10, 0, 1, 2],
            high: [10, 0, 2, 2],
            low_port,
            high_port,
            protocol: 17,
        };
        let maps = &node.datapath().maps;
        maps.connections_v4.get(&key).expect("connections")
    };
    let ConnectionEntry {
        entered,
        seen,
        ingress,
        from_high,
        translated,
    } = find(1000, 53).expect("it was entered");
    assert_eq!((ingress, from_high, translated), (node.a.ifindex, 0, 0));
    assert!(entered > 0 && seen >= entered, "{entered} {seen}");
    assert!(find(0, 0).is_some());
    assert!(find(53, 1000).is_none());
    // The answer of another: it comes from the end that is second.
    let answer = between(node.b.frame(), Family::V4.b(), Family::V4.a()).udp(67, 68);
    Passage::new(&node, ProgramKind::ToEndpoint, node.a, answer.build())
        .arrived_by(node.b)
        .is_delivered();
    let answer = find(68, 67).expect("it was entered");
    assert_eq!((answer.ingress, answer.from_high), (node.b.ifindex, 1));
}

/// An ICMP error goes the way of the connection that it quotes.
#[test]
fn errors_follow_what_they_quote() {
    let node = TestNode::new();
    for family in Family::ALL {
        let (a, b) = (family.a(), family.b());
        let (_, _, kind, code) = echo_and_error(family);
        let error = |quoted: FrameBuilder| {
            between(node.b.frame(), b, a)
                .icmp(kind, code, [0; 4])
                .payload(&quoted.build()[14..])
        };
        let there = between(node.a.frame(), a, b);
        let pairs = exchanges(family, &there, &between(node.b.frame(), b, a));
        for (there, _) in &pairs {
            from_b(&node, &error(there.clone())).goes_to(node.a);
        }
        for (there, _) in &pairs {
            delivered(&node, there, Some(node.a)).is_delivered();
            from_b(&node, &error(there.clone())).is_punted(PuntReason::KernelConnection);
        }
        from_b(&node, &error(there.clone().udp(1001, 53))).goes_to(node.a);
        // Cut short before the ports: nothing is known, and it goes by its own ends, which are not the kernel's.
        let cut = error(there.clone().udp(1000, 53));
        let length = 2 * family.headers() - 14 + 8 + 1;
        from_b(&node, &cut)
            .with(|frame| cut_to(frame, length, family))
            .goes_to(node.a);
    }
}

/// Cuts a frame, and lets its IP header say so.
fn cut_to(frame: &mut Vec<u8>, length: usize, family: Family) {
    frame.truncate(length);
    match family {
        Family::V4 => {
            frame[16..18].copy_from_slice(&((length - 14) as u16).to_be_bytes());
            frame[24..26].fill(0);
            let sum = netpath::probe::frame::internet_checksum(&frame[14..34]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        Family::V6 => frame[18..20].copy_from_slice(&((length - 54) as u16).to_be_bytes()),
    }
}

/// The first fragment of a connection that the kernel delivers tells its ports; all fragments between the two ends are the
/// kernel's then, in whatever order they come, and whole packets of others are not.
#[test]
fn fragments_follow_their_ends() {
    let node = TestNode::new();
    for family in Family::ALL {
        let (a, b) = (family.a(), family.b());
        let there = || between(node.a.frame(), a, b);
        let back = || between(node.b.frame(), b, a);
        let pieces = [
            back().udp(53, 1000).payload(&[1; 64]).fragment(0, true),
            back().protocol(17).payload(&[1; 64]).fragment(72, false),
        ];
        for piece in &pieces {
            from_b(&node, piece).goes_to(node.a);
        }
        let first = there().udp(1000, 53).payload(&[1; 64]).fragment(0, true);
        let second = there().protocol(17).payload(&[1; 64]).fragment(72, false);
        // One that is no first tells nothing.
        delivered(&node, &second, Some(node.a)).is_delivered();
        from_b(&node, &pieces[1]).goes_to(node.a);
        delivered(&node, &first, Some(node.a)).is_delivered();
        for piece in &pieces {
            from_b(&node, piece).is_punted(PuntReason::KernelConnection);
        }
        from_b(&node, &back().udp(53, 1000)).is_punted(PuntReason::KernelConnection);
        from_b(&node, &back().udp(53, 1001)).goes_to(node.a);
        let tcp = back().tcp(53, 1000, 0x10).fragment(0, true);
        from_b(&node, &tcp).goes_to(node.a);
    }
}

/// A connection with itself, as behind a hairpin: its ports tell the ends apart.
#[test]
fn one_address_at_both_ends() {
    let node = TestNode::new();
    let b = Family::V4.b();
    let frame = |from, to| between(node.b.frame(), b, b).udp(from, to);
    for (from, to) in [(1, 2), (4, 3), (5, 5)] {
        delivered(&node, &frame(from, to), Some(node.a)).is_delivered();
    }
    let all = node
        .datapath()
        .maps
        .connections_v4
        .all()
        .expect("connections");
    let mut ports: Vec<_> = all
        .iter()
        .map(|(key, entry)| (key.low_port, key.high_port, entry.from_high))
        .filter(|(port, _, _)| *port != 0)
        .collect();
    ports.sort_unstable();
    assert_eq!(ports, [(1, 2, 0), (3, 4, 1), (5, 5, 0)]);
}

/// Connection tracking looks behind any number of extension headers, authentication's too (`ipv6_skip_exthdr`); who notes a
/// connection and who asks for it behind as many as there may be (RFC 8200, section 4.1), whichever of its packets have them.
#[test]
fn extension_headers_are_no_part_of_a_connection() {
    const ROUTING: u8 = 43;
    const AUTHENTICATION: u8 = 51;
    const OPTIONS: u8 = 60;
    let (a, b) = (Family::V6.a(), Family::V6.b());
    let mut all: Vec<Vec<u8>> = (1..=6).map(|count| vec![OPTIONS; count]).collect();
    all.extend([
        vec![AUTHENTICATION],
        vec![OPTIONS, AUTHENTICATION],
        vec![ROUTING, OPTIONS, AUTHENTICATION, OPTIONS],
    ]);
    for headers in all {
        let behind = |frame: FrameBuilder| {
            let headers = headers.iter();
            headers.fold(frame, |frame, &number| frame.extension(number, &[0; 10]))
        };
        let there = |node: &TestNode| between(node.a.frame(), a, b).udp(1000, 53);
        let back = |node: &TestNode| between(node.b.frame(), b, a).udp(53, 1000);
        for are_asked in [true, false] {
            let node = TestNode::new();
            let (there, back) = match are_asked {
                true => (behind(there(&node)), back(&node)),
                false => (there(&node), behind(back(&node))),
            };
            delivered(&node, &there, Some(node.a)).is_delivered();
            from_b(&node, &back).is_punted(PuntReason::KernelConnection);
        }
    }
}

/// Of a connection that the kernel has translated, its client's packets look otherwise when they come in: what comes in like them
/// is of another connection with the same ports, and that the translated one was is forgotten.
#[test]
fn a_direct_connection_may_have_the_ports_of_a_translated_one() {
    let node = TestNode::new();
    let (a, b) = (Family::V4.a(), Family::V4.b());
    let there = || between(node.a.frame(), a, b);
    let back = || between(node.b.frame(), b, a);
    // What was read from the kernel's table came by no interface, and was not counted.
    let (by_a, by_none) = (node.a.ifindex, Ifindex(0));
    for (translated, ingress, taken_out) in
        [(0, by_a, None), (1, by_a, Some(1)), (1, by_none, Some(0))]
    {
        let key = ConnectionKey {
            low: [10, 0, 1, 2],
            high: [10, 0, 2, 2],
            low_port: 1000,
            high_port: 53,
            protocol: 17,
        };
        let entry = ConnectionEntry {
            translated,
            ingress,
            ..ConnectionEntry::default()
        };
        node.change(|maps| maps.connections_v4.set(&key, &entry));
        let counted = || {
            let v4 = ConnectionFamily { version: 4 };
            let counts = &node.datapath().maps.connection_counts;
            let count = counts.get(&v4).expect("counts");
            count.map_or(0, |count| count.entered)
        };
        let before = counted();
        let find = || {
            let maps = &node.datapath().maps;
            maps.connections_v4.get(&key).expect("connections")
        };
        let kernels = PuntReason::KernelConnection;
        // Its server's packets, others of its client's, and errors about it tell nothing.
        from_b(&node, &back().udp(53, 1000)).is_punted(kernels);
        node.from_a(there().udp(1001, 53)).goes_to(node.b);
        let about = there().udp(1000, 53).build();
        let error = back().icmp(3, 1, [0; 4]).payload(&about[14..]);
        from_b(&node, &error).is_punted(kernels);
        assert!(find().is_some());
        let direct = node.from_a(there().udp(1000, 53));
        if let Some(less) = taken_out {
            direct.goes_to(node.b);
            from_b(&node, &back().udp(53, 1000)).goes_to(node.a);
            assert_eq!(find(), None);
            assert_eq!(counted(), before.wrapping_sub(less));
        } else {
            direct.is_punted(kernels);
            from_b(&node, &back().udp(53, 1000)).is_punted(kernels);
            assert!(find().is_some());
            assert_eq!(counted(), before);
        }
    }
}
