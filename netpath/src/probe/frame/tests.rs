//! What is built is what is parsed; what is wrong is found.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netpath_common::Mac;

use super::*;

const FROM: Mac = Mac([2, 0, 0, 0, 0, 1]);
const TO: Mac = Mac([2, 0, 0, 0, 0, 2]);
const V4: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 0, 1, 2), Ipv4Addr::new(10, 0, 2, 2));
const V6: (Ipv6Addr, Ipv6Addr) = (
    Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 2),
    Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 2),
);

fn v4() -> FrameBuilder {
    FrameBuilder::new(FROM, TO).ipv4(V4.0, V4.1)
}

fn v6() -> FrameBuilder {
    FrameBuilder::new(FROM, TO).ipv6(V6.0, V6.1)
}

fn verdict(frame: &[u8]) -> Result<(), FrameError> {
    ParsedFrame::parse(frame)?.ip()?.verify_checksums()
}

#[test]
fn udp_over_ipv4_byte_for_byte() {
    let frame = v4()
        .udp(1, 2)
        .id(0x1234)
        .ttl(3)
        .tos(0xb9)
        .dont_fragment()
        .payload(&[3])
        .build();
    // Header sum: 45b9+001d+1234+4000+0311+0a00+0102+0a00+0202 = b21f -> 4de0.
    // UDP sum: 0a00+0102+0a00+0202+0011+0009 + 0001+0002+0009+0300 = 1a2a -> e5d5.
    let expected = [
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00, // Ethernet
        0x45, 0xb9, 0, 29, 0x12, 0x34, 0x40, 0, 3, 17, 0x4d, 0xe0, 10, 0, 1, 2, 10, 0, 2,
        2, // IP
        0, 1, 0, 2, 0, 9, 0xe5, 0xd5, 3, // UDP
    ];
    assert_eq!(frame, expected);
    verdict(&frame).expect("right");
}

#[test]
fn ipv4_fields_survive_the_round_trip() {
    let options = [7, 7, 4, 0, 0, 0, 0];
    let frame = v4()
        .vlan(5)
        .tag(Tag {
            tpid: TPID_QINQ,
            tci: 0x2007,
        })
        .options(&options)
        .fragment(1480, true)
        .id(77)
        .protocol(200)
        .payload(b"payload")
        .pad_to(90)
        .build();
    assert_eq!(frame.len(), 90);
    let parsed = ParsedFrame::parse(&frame).expect("frame");
    assert_eq!((parsed.source, parsed.destination), (FROM, TO));
    assert_eq!(
        parsed.tags,
        [
            Tag {
                tpid: TPID_VLAN,
                tci: 5
            },
            Tag {
                tpid: TPID_QINQ,
                tci: 0x2007
            }
        ]
    );
    let ip = parsed.ip().expect("packet");
    assert_eq!(
        ip,
        ParsedIp {
            source: V4.0.into(),
            destination: V4.1.into(),
            tos: 0,
            ttl: 64,
            id: 77,
            flow_label: 0,
            dont_fragment: false,
            more_fragments: true,
            fragment_offset: 1480,
            extensions: vec![],
            protocol: 200,
            length: 35,
            header: &frame[22..50],
            payload: b"payload",
        }
    );
    assert_eq!(ip.header[20..], [7, 7, 4, 0, 0, 0, 0, 0]);
    assert_eq!(ip.transport(), Ok(Transport::Other(b"payload")));
    ip.verify_checksums().expect("header right");
}

#[test]
fn ipv6_extension_headers_are_walked() {
    let frame = v6()
        .tos(0x2e)
        .ttl(9)
        .flow_label(0x12345)
        .id(0xdead_beef)
        .extension(EXTENSION_HOP_BY_HOP, &[1, 4, 0, 0, 0, 0])
        .extension(EXTENSION_ROUTING, &[0; 14])
        .extension(EXTENSION_AUTHENTICATION, &[0; 22])
        .extension(EXTENSION_DESTINATION, &[1])
        .fragment(0, true)
        .udp(1000, 2000)
        .payload(b"x")
        .build();
    let parsed = ParsedFrame::parse(&frame).expect("frame");
    assert_eq!(parsed.ethertype, ETHERTYPE_IPV6);
    let ip = parsed.ip().expect("packet");
    assert_eq!((ip.tos, ip.ttl, ip.flow_label), (0x2e, 9, 0x12345));
    assert_eq!((ip.id, ip.more_fragments), (0xdead_beef, true));
    assert_eq!(ip.extensions, [0, 43, 51, 60, 44]);
    assert_eq!(ip.header.len(), 40 + 8 + 16 + 24 + 8 + 8);
    assert_eq!(ip.length, ip.header.len() + 9);
    assert_eq!(
        ip.transport(),
        Ok(Transport::Udp {
            source_port: 1000,
            destination_port: 2000,
            length: 9,
            payload: b"x"
        })
    );
    // Later fragments have no transport header.
    let later = v6().fragment(8, false).udp(1, 2).build();
    let ip = ParsedFrame::parse(&later).expect("frame").ip();
    let ip = ip.expect("packet");
    assert!(ip.is_fragment() && matches!(ip.transport(), Ok(Transport::Other(_))));
}

#[test]
fn every_checksum_is_computed_and_every_flipped_bit_found() {
    for (start, frame) in [v4(), v6()].into_iter().flat_map(|base| {
        let base = base.payload(&[1, 2, 3, 4, 5]);
        [
            base.clone().udp(5, 6),
            base.clone().tcp(5, 6, 0x12).tcp_numbers(7, 8),
            base.icmp(128, 0, [9, 9, 9, 9]),
        ]
        .map(|builder| (14, builder.build()))
    }) {
        verdict(&frame).expect("right");
        let ip_header = if frame[start] >> 4 == 4 { 20 } else { 40 };
        let tcp_offset = start + ip_header + 12;
        for bit in (start + ip_header) * 8..frame.len() * 8 {
            let mut bad = frame.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            // A UDP or TCP length field may make it unreadable instead; that too is an error.
            assert!(verdict(&bad).is_err(), "bit {bit} at {tcp_offset}");
        }
        if ip_header == 20 {
            let mut bad = frame;
            bad[start + 8] -= 1;
            assert!(matches!(
                verdict(&bad),
                Err(FrameError::Checksum {
                    layer: "IPv4 header",
                    ..
                })
            ));
        }
    }
}

#[test]
fn the_expected_checksum_is_the_right_one() {
    let right = v4().udp(5, 6).payload(b"abc").build();
    let field = u16::from_be_bytes([right[40], right[41]]);
    let forged = v4().udp(5, 6).payload(b"abc");
    assert_eq!(
        verdict(&forged.clone().forge_transport_checksum(0x1111).build()),
        Err(FrameError::Checksum {
            layer: "UDP",
            found: 0x1111,
            expected: field
        })
    );
    let header = forged.clone().forge_header_checksum(0x2222).build();
    assert_eq!(
        verdict(&header),
        Err(FrameError::Checksum {
            layer: "IPv4 header",
            found: 0x2222,
            expected: u16::from_be_bytes([right[24], right[25]])
        })
    );
    // No checksum: allowed for UDP over IPv4 (RFC 768), not over IPv6 (RFC 8200, 8.1).
    verdict(&forged.forge_transport_checksum(0).build()).expect("allowed");
    let forged = v6().udp(5, 6).forge_transport_checksum(0).build();
    assert!(verdict(&forged).is_err());
}

#[test]
fn udp_never_sends_a_zero_that_was_computed() {
    // Some payload makes the sum 0xffff; the checksum sent is then 0xffff, not 0.
    let with = |value: u16| v6().udp(5, 6).payload(&value.to_be_bytes()).build();
    let zero = (0..=u16::MAX)
        .map(with)
        .find(|frame| frame[60..62] == [0xff, 0xff])
        .expect("one in 65,535");
    verdict(&zero).expect("right");
    let mut bad = zero;
    bad[60..62].fill(0);
    assert_eq!(
        verdict(&bad),
        Err(FrameError::Checksum {
            layer: "UDP",
            found: 0,
            expected: 0xffff
        })
    );
}

#[test]
fn forged_lengths_are_written_and_found() {
    let ip_of = |frame: &[u8]| ParsedFrame::parse(frame).and_then(|f| f.ip().map(|ip| ip.length));
    let base = v4().udp(5, 6).payload(b"abc");
    assert_eq!(ip_of(&base.clone().forge_ip_length(900).build()), Ok(900));
    assert_eq!(
        verdict(&base.clone().forge_ip_length(900).build()),
        Err(FrameError::Truncated {
            layer: "IP payload",
            needed: 880,
            present: 11
        })
    );
    assert_eq!(
        ip_of(&base.clone().forge_ip_length(19).build()),
        Err(FrameError::Length {
            layer: "IPv4 header",
            length: 19
        })
    );
    assert_eq!(
        ip_of(&base.clone().forge_ihl(4).build()),
        Err(FrameError::Length {
            layer: "IPv4 header",
            length: 16
        })
    );
    assert_eq!(
        ip_of(&base.clone().forge_version(5).build()),
        Err(FrameError::Version(5))
    );
    assert_eq!(
        ip_of(&base.clone().ethertype(ETHERTYPE_ARP).build()),
        Err(FrameError::NotIp(ETHERTYPE_ARP))
    );
    assert!(verdict(&base.clone().forge_udp_length(7).build()).is_err());
    assert!(verdict(&base.forge_udp_length(12).build()).is_err());
    let protocol = v6().udp(5, 6).forge_protocol(99).build();
    let parsed = ParsedFrame::parse(&protocol).expect("frame");
    assert_eq!(parsed.ip().expect("packet").protocol, 99);
}

#[test]
fn no_truncation_is_misread() {
    for builder in [
        v4().vlan(1).options(&[1; 8]).tcp(5, 6, 2),
        v6().vlan(1)
            .extension(EXTENSION_HOP_BY_HOP, &[0; 6])
            .fragment(0, true)
            .udp(5, 6),
    ] {
        let frame = builder.payload(b"abcdef").build();
        verdict(&frame).expect("right");
        for length in 0..frame.len() {
            assert!(verdict(&frame[..length]).is_err(), "{length} bytes");
        }
    }
    let quoted: IpAddr = V4.0.into();
    let frame = v4().udp(5, 6).payload(&[0; 64]).build();
    // 28 bytes, as an ICMP error quotes (RFC 792).
    let ip = ParsedIp::parse(&frame[14..42]).expect("quote");
    assert_eq!((ip.source, ip.payload.len(), ip.length), (quoted, 8, 92));
}
