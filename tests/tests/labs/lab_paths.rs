//! Packets through whole labs: every one that is sent arrives as a router would have delivered it, and is
//! counted once.

use std::{net::IpAddr, time::Duration};

use netpath::{
    probe::{
        capture::{Capture, Direction},
        frame::{FrameBuilder, ParsedFrame, Transport, internet_checksum},
        ping::PingOptions,
        stream::{StreamOptions, StreamReport, udp_stream},
        tcp::{TransferOptions, tcp_transfer},
    },
    provision::{GATEWAY_V4, GATEWAY_V6, UpOptions},
};
use netpath_common::Mac;
use netpath_tests::lab::{
    Bytes::{Any, Exactly},
    Lab, TWO_NODES, addresses, sized, udp_port,
};

const ETHERNET: u64 = 14;
const UDP: u64 = 8;

/// Every pair of addresses of two endpoints, IPv4 and IPv6.
fn pairs(from: &str, to: &str) -> impl Iterator<Item = (IpAddr, IpAddr)> {
    addresses(from).into_iter().zip(addresses(to))
}

fn ip_header(address: IpAddr) -> u64 {
    if address.is_ipv4() { 20 } else { 40 }
}

/// A stream of which every datagram has to arrive, its source address intact.
fn exact_stream(lab: &Lab, from: &str, to: &str, options: &StreamOptions) -> StreamReport {
    let report = udp_stream(&lab.netns(from), &lab.netns(to), options)
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(report.is_exact(options.packets), "{report:?}");
    let sources: Vec<IpAddr> = report.sources.iter().map(|source| source.ip()).collect();
    assert_eq!(sources, [options.src]);
    report
}

#[test]
fn same_node_counts_every_packet_of_a_stream() {
    let lab = Lab::up(TWO_NODES);
    for (src, dst) in pairs("a1", "a2") {
        let (before, forwarded) = (lab.traffic("A"), lab.forward_counters("A"));
        let options = StreamOptions {
            packets: 10_000,
            payload_len: 300,
            ..StreamOptions::new(src, dst)
        };
        let report = exact_stream(&lab, "a1", "a2", &options);
        assert_eq!(Vec::from_iter(report.ttls), [63]);
        let bytes = 10_000 * (300 + UDP + ip_header(src) + ETHERNET);
        let row = ("va1 > va2 redirect_peer", 10_000, Exactly(bytes));
        lab.assert_counted("A", &before, &[row]);
        assert_eq!(lab.forward_counters("A"), forwarded, "the FORWARD chain");
    }
}

#[test]
fn across_nodes_counts_every_packet_of_a_stream_on_both() {
    let lab = Lab::up(TWO_NODES);
    for (src, dst) in pairs("a2", "b1") {
        let before = (lab.traffic("A"), lab.traffic("B"));
        let forwarded = (lab.forward_counters("A"), lab.forward_counters("B"));
        let options = StreamOptions {
            packets: 10_000,
            payload_len: 128,
            ..StreamOptions::new(src, dst)
        };
        let report = exact_stream(&lab, "a2", "b1", &options);
        assert_eq!(Vec::from_iter(report.ttls), [62]);
        let bytes = Exactly(10_000 * (128 + UDP + ip_header(src) + ETHERNET));
        lab.assert_counted(
            "A",
            &before.0,
            &[("va2 > up0 redirect_neigh", 10_000, bytes)],
        );
        lab.assert_counted(
            "B",
            &before.1,
            &[("up0 > vb1 redirect_peer", 10_000, bytes)],
        );
        let after = (lab.forward_counters("A"), lab.forward_counters("B"));
        assert_eq!(after, forwarded, "the FORWARD chains");
    }
}

#[test]
fn pings_pass_with_forward_at_drop_and_count_both_ways() {
    let lab = Lab::up(TWO_NODES);
    for dst in addresses("a2") {
        let before = lab.traffic("A");
        lab.assert_reaches("a1", dst, 63);
        let bytes = Exactly(3 * (56 + 8 + ip_header(dst) + ETHERNET));
        let there = ("va1 > va2 redirect_peer", 3, bytes);
        let back = ("va2 > va1 redirect_peer", 3, bytes);
        lab.assert_counted("A", &before, &[there, back]);
    }
    for dst in addresses("a1") {
        let before = (lab.traffic("A"), lab.traffic("B"));
        lab.assert_reaches("b2", dst, 62);
        let bytes = Exactly(3 * (56 + 8 + ip_header(dst) + ETHERNET));
        let there = ("vb2 > up0 redirect_neigh", 3, bytes);
        let back = ("up0 > vb2 redirect_peer", 3, bytes);
        lab.assert_counted("B", &before.1, &[there, back]);
        let there = ("up0 > va1 redirect_peer", 3, bytes);
        let back = ("va1 > up0 redirect_neigh", 3, bytes);
        lab.assert_counted("A", &before.0, &[there, back]);
    }
}

#[test]
fn gateways_and_nodes_answer() {
    let lab = Lab::up(TWO_NODES);
    for (node, endpoint) in [("A", "a1"), ("B", "b2")] {
        lab.assert_reaches(endpoint, GATEWAY_V4.into(), 64);
        assert_gateway_v6_answers(&lab, node, endpoint);
    }
    for address in addresses("A") {
        lab.assert_reaches("a1", address, 64);
    }
    // No endpoint's, and in no route of the file: it is for the kernel to say, and its policy is DROP.
    for address in addresses("B") {
        let before = lab.traffic("A");
        lab.assert_loses("a1", address);
        lab.assert_counted("A", &before, &[("va1 > - punt no_route", 1, Any)]);
    }
}

/// A link-local address needs its interface, which the pings of the probe library cannot name.
fn assert_gateway_v6_answers(lab: &Lab, node: &str, endpoint: &str) {
    let IpAddr::V6(address) = addresses(endpoint)[1] else {
        unreachable!("the second is IPv6");
    };
    let record = lab.record(node, endpoint);
    let request = FrameBuilder::new(record.endpoint_mac, record.host_mac)
        .ipv6(address, GATEWAY_V6)
        .icmp(128, 0, [0, 7, 0, 1]);
    let mut capture = lab.capture(endpoint, "eth0");
    let injector = lab.injector(endpoint, "eth0");
    injector.send(&request.build()).expect("send");
    let is_reply = |bytes: &[u8]| {
        let ip = ParsedFrame::parse(bytes).ok()?.ip().ok()?;
        let (source, message) = (ip.source, ip.transport().ok()?);
        let is_echo_reply = matches!(
            message,
            Transport::Icmp {
                kind: 129,
                code: 0,
                rest: [0, 7, 0, 1],
                ..
            }
        );
        Some(source == IpAddr::from(GATEWAY_V6) && is_echo_reply)
    };
    let reply = capture.wait_for(
        |frame| is_reply(&frame.bytes) == Some(true),
        Duration::from_secs(3),
    );
    assert!(
        reply.expect("capture").is_some(),
        "{endpoint}: no reply of fe80::1"
    );
}

/// The MAC address of an interface, as the kernel tells it.
fn mac(lab: &Lab, short: &str, dev: &str) -> Mac {
    let line = lab.ip(short, &format!("-o link show dev {dev}"));
    let mut words = line
        .split_whitespace()
        .skip_while(|word| *word != "link/ether");
    let text = words.nth(1).expect("a MAC address");
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal"))
        .collect();
    Mac(bytes.try_into().expect("six bytes"))
}

/// What a datagram has to look like on an interface.
struct OnTheWire {
    port: u16,
    /// Source and destination.
    macs: (Mac, Mac),
    /// Source and destination.
    addresses: (IpAddr, IpAddr),
    ttl: u8,
}

impl OnTheWire {
    fn check(&self, capture: &mut Capture) {
        let seen = capture
            .wait_for(
                |frame| udp_port(&frame.bytes) == Some(self.port),
                Duration::from_secs(3),
            )
            .expect("capture")
            .expect("the datagram");
        assert_eq!(seen.direction, Direction::ToUs);
        let frame = ParsedFrame::parse(&seen.bytes).expect("frame");
        assert_eq!((frame.source, frame.destination), self.macs);
        let ip = frame.ip().expect("IP");
        assert_eq!((ip.source, ip.destination), self.addresses);
        assert_eq!(ip.ttl, self.ttl);
        if ip.source.is_ipv4() {
            assert_eq!(internet_checksum(ip.header), 0, "IPv4 header checksum");
        }
        if !seen.csum_not_ready {
            ip.verify_checksums().expect("checksums");
        }
    }
}

fn one_datagram(lab: &Lab, to: &str, (src, dst): (IpAddr, IpAddr)) -> u16 {
    let options = StreamOptions {
        packets: 1,
        ..StreamOptions::new(src, dst)
    };
    exact_stream(lab, "a1", to, &options).port
}

#[test]
fn frames_look_as_if_the_kernel_had_forwarded_them() {
    let lab = Lab::up(TWO_NODES);
    let uplinks = (mac(&lab, "A", "up0"), mac(&lab, "B", "up0"));
    let into_a2 = (mac(&lab, "A", "va2"), mac(&lab, "a2", "eth0"));
    let into_b1 = (mac(&lab, "B", "vb1"), mac(&lab, "b1", "eth0"));
    for addresses in pairs("a1", "a2") {
        let mut inside = lab.capture("a2", "eth0");
        let port = one_datagram(&lab, "a2", addresses);
        let expected = OnTheWire {
            port,
            macs: into_a2,
            addresses,
            ttl: 63,
        };
        expected.check(&mut inside);
    }
    for addresses in pairs("a1", "b1") {
        let (mut uplink, mut inside) = (lab.capture("B", "up0"), lab.capture("b1", "eth0"));
        let port = one_datagram(&lab, "b1", addresses);
        let expected = OnTheWire {
            port,
            macs: uplinks,
            addresses,
            ttl: 63,
        };
        expected.check(&mut uplink);
        let expected = OnTheWire {
            port,
            macs: into_b1,
            addresses,
            ttl: 62,
        };
        expected.check(&mut inside);
    }
}

#[test]
fn tcp_arrives_unaltered_in_packets_larger_than_the_mtu() {
    let lab = Lab::up(TWO_NODES);
    for (to, row) in [
        ("a2", "va1 > va2 redirect_peer"),
        ("b1", "va1 > up0 redirect_neigh"),
    ] {
        for (src, dst) in pairs("a1", to) {
            let (before, forwarded) = (lab.traffic("A"), lab.forward_counters("A"));
            let options = TransferOptions {
                src: Some(src),
                bytes: 6_000_000,
                ..TransferOptions::new(dst)
            };
            let report = tcp_transfer(&lab.netns("a1"), &lab.netns(to), &options)
                .unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(report.peer.ip(), src);
            let difference = lab.traffic("A").since(&before);
            let (packets, bytes) = difference.row(row);
            assert!(bytes > options.bytes, "{difference:?}");
            assert!(bytes / packets > 1514, "no GSO packets: {difference:?}");
            assert!(difference.obeys_the_law(), "{difference:?}");
            // There and back.
            assert_eq!(difference.without_chatter().count(), 2, "{difference:?}");
            assert_eq!(lab.forward_counters("A"), forwarded, "the FORWARD chain");
        }
    }
}

/// Type and code of Time Exceeded in transit (RFC 792; RFC 4443, 3.3).
fn time_exceeded(address: IpAddr) -> (u8, u8) {
    if address.is_ipv4() { (11, 0) } else { (3, 0) }
}

/// Type and code of Fragmentation Needed (RFC 792) and Packet Too Big (RFC 4443, 3.2).
fn too_big(address: IpAddr) -> (u8, u8) {
    if address.is_ipv4() { (3, 4) } else { (2, 0) }
}

#[test]
fn time_exceeded_comes_from_the_node_where_it_happens() {
    let lab = Lab::up(TWO_NODES);
    for family in [0, 1] {
        let dst = addresses("b1")[family];
        for (ttl, node) in [(1, "A"), (2, "B")] {
            let before = (lab.traffic("A"), lab.traffic("B"));
            let options = PingOptions {
                ttl: Some(ttl),
                ..PingOptions::default()
            };
            let report = lab.ping("a1", dst, &options);
            let [error] = report.errors.as_slice() else {
                panic!("{report:?}");
            };
            assert_eq!(error.source, addresses(node)[family]);
            assert_eq!((error.kind, error.code), time_exceeded(dst));
            if node == "A" {
                lab.assert_counted("A", &before.0, &[("va1 > - punt ttl_exceeded", 1, Any)]);
                lab.assert_counted("B", &before.1, &[]);
            } else {
                let there = ("va1 > up0 redirect_neigh", 1, Any);
                let back = ("up0 > va1 redirect_peer", 1, Any);
                lab.assert_counted("A", &before.0, &[there, back]);
                lab.assert_counted("B", &before.1, &[("up0 > - punt ttl_exceeded", 1, Any)]);
            }
        }
    }
}

#[test]
fn what_exceeds_the_mtu_is_refused_by_the_node_where_it_happens() {
    let lab = Lab::up(TWO_NODES);
    let narrow = [
        ("A", "va2", "a2", 1_400, "va1 > - punt mtu_exceeded"),
        ("B", "vb1", "b1", 1_380, "up0 > - punt mtu_exceeded"),
        ("A", "up0", "b1", 1_300, "va1 > - punt mtu_exceeded"),
    ];
    for (node, dev, to, mtu, row) in narrow {
        lab.ip(node, &format!("link set {dev} mtu {mtu}"));
        for (family, dst) in addresses(to).into_iter().enumerate() {
            let before = lab.traffic(node);
            let report = lab.ping("a1", dst, &sized(mtu + 1, dst));
            let [error] = report.errors.as_slice() else {
                panic!("{dst}: {report:?}");
            };
            assert_eq!(error.source, addresses(node)[family]);
            assert_eq!((error.kind, error.code), too_big(dst));
            assert_eq!(error.mtu(), Some(mtu));
            let difference = lab.traffic(node).since(&before);
            assert_eq!(difference.row(row).0, 1, "{difference:?}");
            assert!(difference.obeys_the_law(), "{difference:?}");
        }
    }
}

#[test]
fn a_packet_as_large_as_the_mtu_passes() {
    let lab = Lab::up(TWO_NODES);
    for (node, dev) in [("A", "va2"), ("B", "vb1")] {
        lab.ip(node, &format!("link set {dev} mtu 1400"));
    }
    for to in ["a2", "b1"] {
        for dst in addresses(to) {
            let report = lab.ping("a1", dst, &sized(1_400, dst));
            assert!(
                report.is_clean() && report.received == 1,
                "{dst}: {report:?}"
            );
        }
    }
}

#[test]
fn a_datagram_that_may_be_fragmented_is_left_to_the_kernel() {
    let lab = Lab::up(&TWO_NODES.replace(r#""drop""#, r#""accept""#));
    lab.ip("A", "link set va2 mtu 1400");
    let [src, dst] = [addresses("a1")[0], addresses("a2")[0]];
    let before = lab.traffic("A");
    let options = StreamOptions {
        packets: 50,
        payload_len: 1_440,
        ..StreamOptions::new(src, dst)
    };
    exact_stream(&lab, "a1", "a2", &options);
    // Two fragments of each leave by the host-side veth.
    let whole = Exactly(50 * (1_440 + 8 + 20 + 14));
    let fragments = Exactly(50 * (1_440 + 8 + 2 * (20 + 14)));
    let punted = ("va1 > - punt mtu_exceeded", 50, whole);
    lab.assert_counted(
        "A",
        &before,
        &[punted, ("va1 > va2 deliver", 100, fragments)],
    );
}

#[test]
fn with_the_fast_path_off_the_kernel_does_it_all() {
    let mut lab = Lab::prepare(&TWO_NODES.replace(r#""drop""#, r#""accept""#));
    lab.set_options(UpOptions {
        fast_path: Some(false),
        ..UpOptions::default()
    });
    lab.converge();
    let before = (lab.traffic("A"), lab.traffic("B"));
    for dst in addresses("a2").into_iter().chain(addresses("B")) {
        lab.assert_reaches("a1", dst, 63);
    }
    for (src, dst) in pairs("a1", "b2") {
        lab.assert_reaches("a1", dst, 62);
        exact_stream(&lab, "a1", "b2", &StreamOptions::new(src, dst));
        let options = TransferOptions {
            bytes: 2_000_000,
            ..TransferOptions::new(dst)
        };
        tcp_transfer(&lab.netns("a1"), &lab.netns("b2"), &options)
            .unwrap_or_else(|error| panic!("{error}"));
    }
    // Nothing is attached, so nothing is counted.
    assert_eq!(lab.traffic("A").since(&before.0).rows(), 0);
    assert_eq!(lab.traffic("B").since(&before.1).rows(), 0);

    for command in ["iptables", "ip6tables"] {
        lab.run("A", &format!("{command} -w -P FORWARD DROP"));
    }
    for to in ["a2", "b1"] {
        for dst in addresses(to) {
            lab.assert_loses("a1", dst);
        }
    }
    let forwarded = lab.forward_counters("A");

    lab.fast_path(true, "A", None);
    lab.fast_path(true, "B", None);
    for (from, to, ttl) in [("a1", "a2", 63), ("a1", "b1", 62), ("b1", "a2", 62)] {
        for dst in addresses(to) {
            lab.assert_reaches(from, dst, ttl);
        }
    }
    assert_eq!(lab.forward_counters("A"), forwarded, "the FORWARD chain");

    lab.fast_path(false, "A", None);
    let before = lab.traffic("A");
    for dst in addresses("a2") {
        lab.assert_loses("a1", dst);
    }
    assert_eq!(lab.traffic("A").since(&before).rows(), 0);
    assert_ne!(lab.forward_counters("A"), forwarded, "the FORWARD chain");
}
