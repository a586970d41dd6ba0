//! A packet whose source is not its sender's goes nowhere, and is counted.

use std::{net::IpAddr, time::Duration};

use netpath::probe::{
    capture::Capture,
    frame::{FrameBuilder, ParsedFrame, Transport},
    stream::{StreamOptions, udp_stream},
};
use netpath_common::Mac;
use netpath_tests::lab::{
    Bytes::{self, Any, Exactly},
    Lab, TWO_NODES, addresses,
};

/// Destination ports of forged and of honest datagrams.
const FORGED: u16 = 4_001;
const HONEST: u16 = 4_002;

/// Forged datagrams per source.
const COUNT: u64 = 25;

const PAYLOAD: [u8; 40] = [0x5a; 40];

fn datagram(macs: (Mac, Mac), source: IpAddr, destination: IpAddr, port: u16) -> Vec<u8> {
    let frame = FrameBuilder::new(macs.0, macs.1);
    let frame = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => frame.ipv4(source, destination),
        (IpAddr::V6(source), IpAddr::V6(destination)) => frame.ipv6(source, destination),
        mixed => panic!("{mixed:?}"),
    };
    frame.udp(4_000, port).payload(&PAYLOAD).build()
}

fn bytes(packets: u64, address: IpAddr) -> Bytes {
    let header = if address.is_ipv4() { 20 } else { 40 };
    Exactly(packets * (14 + header + 8 + PAYLOAD.len() as u64))
}

/// Fails if a forged datagram has arrived before the honest one.
fn assert_only_the_honest(capture: &mut Capture, source: IpAddr) {
    let port = |bytes: &[u8]| match ParsedFrame::parse(bytes)
        .ok()?
        .ip()
        .ok()?
        .transport()
        .ok()?
    {
        Transport::Udp {
            destination_port, ..
        } => Some(destination_port),
        _ => None,
    };
    let seen = capture
        .wait_for(
            |frame| matches!(port(&frame.bytes), Some(FORGED | HONEST)),
            Duration::from_secs(3),
        )
        .expect("capture")
        .expect("the honest datagram");
    assert_eq!(port(&seen.bytes), Some(HONEST));
    let frame = ParsedFrame::parse(&seen.bytes).expect("frame");
    assert_eq!(frame.ip().expect("IP").source, source);
}

#[test]
fn an_endpoint_sends_with_its_own_addresses_only() {
    let lab = Lab::up(TWO_NODES);
    let record = lab.record("A", "a1");
    let macs = (record.endpoint_mac, record.host_mac);
    let injector = lab.injector("a1", "eth0");
    for family in [0, 1] {
        let own = addresses("a1")[family];
        let unknown: IpAddr = ["192.0.2.1", "2001:db8::1"][family]
            .parse()
            .expect("address");
        // The neighbour's, another node's endpoint's, the node's own, nobody's; to the neighbour, to
        // another node and to the node itself.
        let sources = ["a2", "b1", "A"].map(|of| addresses(of)[family]);
        for (to, receiver, hop) in [
            ("a2", "a2", "va1 > va2 redirect_peer"),
            ("b1", "b1", "va1 > up0 redirect_neigh"),
        ] {
            let dst = addresses(to)[family];
            let mut capture = lab.capture(receiver, "eth0");
            let before = lab.traffic("A");
            let mut forged = 0;
            for source in sources.into_iter().chain([unknown]) {
                for _ in 0..COUNT {
                    injector
                        .send(&datagram(macs, source, dst, FORGED))
                        .expect("send");
                    forged += 1;
                }
            }
            injector
                .send(&datagram(macs, own, dst, HONEST))
                .expect("send");
            assert_only_the_honest(&mut capture, own);
            // The receiver answers the honest one with Port Unreachable.
            let back = hop_back(hop);
            lab.assert_counted(
                "A",
                &before,
                &[
                    ("va1 > - drop spoofed", forged, bytes(forged, dst)),
                    (hop, 1, bytes(1, dst)),
                    (back, 1, Any),
                ],
            );
        }
        let before = lab.traffic("A");
        for _ in 0..COUNT {
            injector
                .send(&datagram(
                    macs,
                    addresses("a2")[family],
                    addresses("A")[family],
                    FORGED,
                ))
                .expect("send");
        }
        lab.assert_counted(
            "A",
            &before,
            &[("va1 > - drop spoofed", COUNT, bytes(COUNT, own))],
        );
    }
}

fn hop_back(hop: &str) -> &'static str {
    if hop.contains("up0") {
        "up0 > va1 redirect_peer"
    } else {
        "va2 > va1 redirect_peer"
    }
}

#[test]
fn an_address_that_an_endpoint_gave_itself_is_not_its_own() {
    let lab = Lab::up(TWO_NODES);
    let own: [IpAddr; 2] =
        ["10.0.1.77", "fd00:1::77"].map(|address| address.parse().expect("address"));
    // The second is of the endpoint's prefix and still not among its addresses.
    for (family, stolen) in [
        (0, addresses("a2")[0]),
        (1, addresses("a2")[1]),
        (0, own[0]),
        (1, own[1]),
    ] {
        let nodad = if stolen.is_ipv6() { "nodad" } else { "" };
        lab.ip("a1", &format!("addr add {stolen} dev eth0 {nodad}"));
        let before = (lab.traffic("A"), lab.traffic("B"));
        let options = StreamOptions {
            packets: COUNT,
            payload_len: PAYLOAD.len(),
            window: None,
            quiet: Duration::from_millis(100),
            ..StreamOptions::new(stolen, addresses("b2")[family])
        };
        let report = udp_stream(&lab.netns("a1"), &lab.netns("b2"), &options)
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((report.sent, report.received), (COUNT, 0), "{stolen}");
        lab.assert_counted(
            "A",
            &before.0,
            &[("va1 > - drop spoofed", COUNT, bytes(COUNT, stolen))],
        );
        lab.assert_counted("B", &before.1, &[]);
    }
}

#[test]
fn nobody_on_the_wire_speaks_for_a_local_endpoint() {
    let lab = Lab::up(TWO_NODES);
    let uplink = |node| {
        let records = lab
            .datapath(node)
            .maps
            .uplink_records
            .all()
            .expect("records");
        records.into_values().next().expect("an uplink").mac
    };
    let macs = (uplink("A"), uplink("B"));
    let injector = lab.injector("A", "up0");
    for family in [0, 1] {
        let dst = addresses("b1")[family];
        let mut capture = lab.capture("b1", "eth0");
        let before = lab.traffic("B");
        for of in ["b1", "b2"] {
            for _ in 0..COUNT {
                injector
                    .send(&datagram(macs, addresses(of)[family], dst, FORGED))
                    .expect("send");
            }
        }
        let honest = addresses("a1")[family];
        injector
            .send(&datagram(macs, honest, dst, HONEST))
            .expect("send");
        assert_only_the_honest(&mut capture, honest);
        lab.assert_counted(
            "B",
            &before,
            &[
                ("up0 > - drop spoofed", 2 * COUNT, bytes(2 * COUNT, dst)),
                ("up0 > vb1 redirect_peer", 1, bytes(1, dst)),
                ("vb1 > up0 redirect_neigh", 1, Any),
            ],
        );
    }
}

#[test]
fn sources_that_no_packet_may_carry_are_dropped_as_martians() {
    let lab = Lab::up(TWO_NODES);
    let record = lab.record("A", "a1");
    let macs = (record.endpoint_mac, record.host_mac);
    let injector = lab.injector("a1", "eth0");
    let martians = [
        "127.0.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "ff02::1",
    ];
    for martian in martians.map(|address| address.parse::<IpAddr>().expect("address")) {
        let dst = addresses("a2")[usize::from(martian.is_ipv6())];
        let before = lab.traffic("A");
        for _ in 0..COUNT {
            injector
                .send(&datagram(macs, martian, dst, FORGED))
                .expect("send");
        }
        let row = ("va1 > - drop martian_source", COUNT, bytes(COUNT, dst));
        lab.assert_counted("A", &before, &[row]);
    }
}
