//! A packet whose source is not its sender's goes nowhere, and is counted.

use std::{
    io,
    net::{IpAddr, UdpSocket},
    time::Duration,
};

use netpath::probe::{
    capture::Capture,
    frame::{FrameBuilder, ParsedFrame},
    stream::{StreamOptions, udp_stream},
};
use netpath_common::Mac;
use netpath_tests::{
    Wrapping,
    lab::{
        Bytes::{self, Any, Exactly},
        Lab, TWO_NODES, addresses, again_with_clsact, udp_port,
    },
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
    let seen = capture
        .wait_for(
            |frame| matches!(udp_port(&frame.bytes), Some(FORGED | HONEST)),
            Duration::from_secs(3),
        )
        .expect("capture")
        .expect("the honest datagram");
    assert_eq!(udp_port(&seen.bytes), Some(HONEST));
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

/// A socket that takes datagrams to a port of any address of a namespace, of both families.
fn socket(lab: &Lab, short: &str, port: u16) -> UdpSocket {
    let socket = lab.inside(short, || netpath_tests::lab::listener(port));
    let wait = Some(Duration::from_secs(3));
    socket.set_read_timeout(wait).expect("a time limit");
    socket
}

/// Fails if a forged datagram has arrived at a socket.
fn assert_silent(socket: &UdpSocket, what: &str) {
    socket.set_nonblocking(true).expect("not blocking");
    let error = socket.recv(&mut [0; 64]).expect_err(what);
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{what}");
}

/// Sends what is forged in every wrapping and fails if any of it arrives, or is not counted as spoofed.
fn forge(
    lab: &Lab,
    (node, from): (&str, &str),
    (place, dev): (&str, &str),
    macs: (Mac, Mac),
    (sources, receivers): (&[IpAddr], &[&str]),
) {
    let injector = lab.injector(place, dev);
    let sockets = receivers.iter().map(|at| socket(lab, at, FORGED));
    let sockets: Vec<UdpSocket> = sockets.collect();
    let row = format!("{from} > - drop spoofed");
    for wrapping in Wrapping::ALL {
        let before = lab.traffic(node);
        let (mut packets, mut bytes) = (0, 0);
        for receiver in receivers {
            for destination in addresses(receiver) {
                let sources = sources.iter();
                for source in sources.filter(|s| s.is_ipv4() == destination.is_ipv4()) {
                    let plain = datagram(macs, *source, destination, FORGED);
                    let frame = wrapping.wrap(&plain);
                    injector.send(&frame).expect("send");
                    packets += 1;
                    bytes += wrapping.seen(&frame) as u64;
                }
            }
        }
        lab.assert_counted(node, &before, &[(&row, packets, Exactly(bytes))]);
        for (socket, at) in sockets.iter().zip(receivers) {
            assert_silent(socket, &format!("{}: {from} to {at}", wrapping.name));
        }
    }
}

/// Sends what is right and takes the way of the kernel in a wrapping that the kernel looks behind: it arrives, so what
/// is forged would have arrived too.
fn honest(lab: &Lab, (place, dev): (&str, &str), macs: (Mac, Mac), from: &str, receivers: &[&str]) {
    let injector = lab.injector(place, dev);
    let opened = Wrapping::ALL.into_iter().filter(|wrapping| {
        wrapping.tags.iter().all(|tag| tag.tci & 0xfff == 0)
            && wrapping.destination.is_none()
            && wrapping.snap.is_none()
    });
    for wrapping in opened {
        for receiver in receivers {
            let socket = socket(lab, receiver, HONEST);
            for family in [0, 1] {
                let (source, destination) = (addresses(from)[family], addresses(receiver)[family]);
                let plain = datagram(macs, source, destination, HONEST);
                injector.send(&wrapping.wrap(&plain)).expect("send");
                let mut payload = [0; 64];
                let (length, sender) = socket.recv_from(&mut payload).unwrap_or_else(|error| {
                    panic!("{}: {from} to {destination}: {error}", wrapping.name)
                });
                assert_eq!(payload[..length], PAYLOAD);
                assert_eq!(sender.ip().to_canonical(), source, "{}", wrapping.name);
            }
        }
    }
}

#[test]
fn nothing_around_a_forged_packet_helps_an_endpoint() {
    let lab = Lab::up(TWO_NODES);
    let record = lab.record("A", "a1");
    let macs = (record.endpoint_mac, record.host_mac);
    // What is left to the kernel is let through by it.
    for command in ["iptables", "ip6tables"] {
        lab.run("A", &format!("{command} -w -P FORWARD ACCEPT"));
        lab.run("B", &format!("{command} -w -P FORWARD ACCEPT"));
    }
    let unknown = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().expect("an address"));
    let sources = ["a2", "b1", "A"].map(addresses);
    let sources: Vec<IpAddr> = sources.into_iter().flatten().chain(unknown).collect();
    let receivers = ["a2", "b1", "A"];
    let outside = ("a1", "eth0");
    forge(&lab, ("A", "va1"), outside, macs, (&sources, &receivers));
    honest(&lab, outside, macs, "a1", &receivers);
}

#[test]
fn nothing_around_a_forged_packet_helps_on_the_wire() {
    let lab = Lab::up(TWO_NODES);
    let macs = (lab.uplink_mac("A"), lab.uplink_mac("B"));
    for command in ["iptables", "ip6tables"] {
        lab.run("B", &format!("{command} -w -P FORWARD ACCEPT"));
    }
    let sources = ["b1", "b2", "B"].map(addresses);
    let sources: Vec<IpAddr> = sources.into_iter().flatten().collect();
    let receivers = ["b1", "b2", "B"];
    let outside = ("A", "up0");
    forge(&lab, ("B", "up0"), outside, macs, (&sources, &receivers));
    honest(&lab, outside, macs, "a1", &receivers);
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
    let macs = (lab.uplink_mac("A"), lab.uplink_mac("B"));
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

/// The same where programs are clsact filters.
#[test]
fn with_clsact() {
    again_with_clsact(&[
        "an_endpoint_sends_with_its_own_addresses_only",
        "nothing_around_a_forged_packet_helps_an_endpoint",
        "nothing_around_a_forged_packet_helps_on_the_wire",
        "an_address_that_an_endpoint_gave_itself_is_not_its_own",
        "nobody_on_the_wire_speaks_for_a_local_endpoint",
        "sources_that_no_packet_may_carry_are_dropped_as_martians",
    ]);
}
