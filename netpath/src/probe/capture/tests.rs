use std::net::{IpAddr, SocketAddr, UdpSocket};

use netpath_common::Mac;

use super::*;
use crate::{
    netns::Netns,
    probe::{
        frame::{FrameBuilder, ParsedFrame, Transport},
        lab::{DEV, Lab, MAC_A, MAC_B, address_pairs},
        ping::{PingOptions, ping},
        stream::{StreamOptions, udp_stream},
    },
};

const SECOND: Duration = Duration::from_secs(1);

fn capture(netns: &Netns) -> Capture {
    netns
        .run(|| Capture::open(DEV))
        .expect("enter")
        .expect("capture")
}

fn injector(netns: &Netns) -> Injector {
    netns
        .run(|| Injector::open(DEV))
        .expect("enter")
        .expect("injector")
}

/// A frame from a to b whose UDP payload is `payload`.
fn datagram(from: IpAddr, to: IpAddr, port: u16, payload: &[u8]) -> FrameBuilder {
    let builder = FrameBuilder::new(MAC_A, MAC_B);
    let builder = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => builder.ipv4(from, to),
        (IpAddr::V6(from), IpAddr::V6(to)) => builder.ipv6(from, to),
        _ => panic!("{from} and {to}"),
    };
    builder.udp(4000, port).payload(payload)
}

fn is_datagram(frame: &CapturedFrame) -> bool {
    ParsedFrame::parse(&frame.bytes)
        .and_then(|frame| frame.ip())
        .and_then(|ip| ip.transport().map(|t| matches!(t, Transport::Udp { .. })))
        .unwrap_or(false)
}

#[test]
fn the_kernel_takes_what_is_built_and_refuses_what_is_forged() {
    let lab = Lab::new();
    let injector = injector(&lab.a);
    for (a, b) in address_pairs() {
        let socket = lab
            .b
            .run(|| UdpSocket::bind((b, 0)))
            .expect("enter")
            .expect("bind");
        socket.set_read_timeout(Some(SECOND)).expect("timeout");
        let port = socket.local_addr().expect("address").port();
        let forged = |payload: &[u8]| datagram(a, b, port, payload);
        for frame in [
            forged(b"bad UDP checksum")
                .forge_transport_checksum(0x1234)
                .build(),
            forged(b"short packet").forge_ip_length(15).build(),
            forged(b"short UDP").forge_udp_length(7).build(),
            forged(b"other version").forge_version(5).build(),
            forged(b"good").build(),
        ] {
            injector.send(&frame).expect("send");
        }
        if b.is_ipv4() {
            for frame in [
                forged(b"bad header checksum")
                    .forge_header_checksum(1)
                    .build(),
                forged(b"short header").forge_ihl(4).build(),
                forged(b"no UDP checksum")
                    .forge_transport_checksum(0)
                    .build(),
                forged(b"options").options(&[1, 1, 1]).build(),
            ] {
                injector.send(&frame).expect("send");
            }
        } else {
            let extended = forged(b"options")
                .extension(0, &[1, 4])
                .extension(60, &[1, 4]);
            injector.send(&extended.build()).expect("send");
        }
        let expected: &[&[u8]] = if b.is_ipv4() {
            &[b"good", b"no UDP checksum", b"options"]
        } else {
            &[b"good", b"options"]
        };
        let mut buffer = [0; 100];
        for expected in expected {
            let (len, source) = socket.recv_from(&mut buffer).expect("receive");
            assert_eq!(&buffer[..len], *expected);
            assert_eq!(source, SocketAddr::new(a, 4000));
        }
        socket.set_nonblocking(true).expect("non-blocking");
        socket.recv_from(&mut buffer).expect_err("no more");
    }
}

#[test]
fn what_is_sent_is_seen_byte_for_byte_at_both_ends() {
    let lab = Lab::new();
    let (mut at_a, mut at_b) = (capture(&lab.a), capture(&lab.b));
    let injector = injector(&lab.a);
    let (a, b) = address_pairs()[0];
    let to = |mac| FrameBuilder::new(MAC_A, mac);
    let broadcast = Mac([0xff; 6]);
    let tagged = to(MAC_B).vlan(0x2123).ethertype(0x88b5).payload(&[7; 50]);
    for (frame, direction) in [
        (datagram(a, b, 9, b"to b").build(), Direction::ToUs),
        (
            to(broadcast).ethertype(0x88b5).payload(&[1; 46]).build(),
            Direction::Broadcast,
        ),
        (
            to(Mac([1, 0, 0, 0, 0, 1])).ethertype(0x88b5).build(),
            Direction::Multicast,
        ),
        (
            to(Mac([2, 0, 0, 0, 0, 9])).ethertype(0x88b5).build(),
            Direction::ToOthers,
        ),
        (tagged.build(), Direction::ToUs),
    ] {
        injector.send(&frame).expect("send");
        for (capture, direction) in [(&mut at_a, Direction::Outgoing), (&mut at_b, direction)] {
            let seen = capture
                .wait_for(
                    |seen| seen.on_wire() == frame && seen.direction == direction,
                    SECOND,
                )
                .expect("capture")
                .unwrap_or_else(|| panic!("{direction:?} not seen"));
            assert_eq!(seen.length, seen.bytes.len());
            assert!(!seen.csum_not_ready);
        }
    }
    assert_eq!(
        (at_a.dropped().expect("a"), at_b.dropped().expect("b")),
        (0, 0)
    );
}

#[test]
fn offloaded_checksums_are_told_from_computed_ones() {
    let lab = Lab::new();
    for (a, b) in address_pairs() {
        let mut capture = capture(&lab.b);
        let options = StreamOptions {
            packets: 3,
            ..StreamOptions::new(a, b)
        };
        let report = udp_stream(&lab.a, &lab.b, &options).expect("stream");
        assert!(report.is_exact(3), "{report:?}");
        // The kernel leaves UDP's checksum to the veth, which leaves it alone.
        for _ in 0..3 {
            let frame = capture
                .wait_for(is_datagram, SECOND)
                .expect("capture")
                .expect("seen");
            assert!(frame.csum_not_ready);
            let frame = ParsedFrame::parse(&frame.bytes).expect("frame");
            assert_eq!((frame.source, frame.destination), (MAC_A, MAC_B));
            assert!(frame.ip().expect("packet").verify_checksums().is_err());
        }
        // ICMP's is computed in full.
        let report = ping(&lab.a, b, &PingOptions::default()).expect("ping");
        assert!(report.is_clean(), "{report:?}");
        for direction in [Direction::ToUs, Direction::Outgoing] {
            let frame = capture.wait_for(|frame| frame.direction == direction, SECOND);
            let frame = frame.expect("capture").expect("seen");
            assert!(!frame.csum_not_ready);
            let frame = ParsedFrame::parse(&frame.bytes).expect("frame");
            let ip = frame.ip().expect("packet");
            ip.verify_checksums().expect("right");
            assert!(matches!(ip.transport(), Ok(Transport::Icmp { .. })));
        }
    }
}

#[test]
fn silence_ends_in_time_and_errors_name_the_interface() {
    let lab = Lab::new();
    let mut capture = capture(&lab.b);
    let start = Instant::now();
    let within = Duration::from_millis(50);
    let none = capture
        .wait_for(|frame| frame.bytes.is_empty(), within)
        .expect("capture");
    assert_eq!(none, None);
    assert!(start.elapsed() >= within && start.elapsed() < SECOND);
    let opened = lab.b.run(|| Capture::open("nosuch0")).expect("enter");
    let error = opened.expect_err("no such interface").to_string();
    assert!(error.contains("nosuch0"), "{error}");
    let error = injector(&lab.a)
        .send(&[0; 5])
        .expect_err("no Ethernet header");
    assert!(error.to_string().contains(DEV), "{error}");
    lab.ip_b(&format!("link set {DEV} down"));
    let error = capture
        .wait_for(|_| false, SECOND)
        .expect_err("interface is down");
    assert!(error.to_string().contains(DEV), "{error}");
}
