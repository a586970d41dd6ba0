//! What parse decides from bytes alone.

use super::*;
use crate::access::{HeaderMut, tests::Frame as Bytes};

const VLAN: u16 = 0x8100u16.to_be();
const SERVICE: u16 = 0x88a8u16.to_be();
const IPV4: [u8; 2] = [0x08, 0x00];

/// A frame: an Ethernet header whose EtherType is not looked at here, and what follows.
fn frame(behind: &[&[u8]]) -> Bytes {
    Bytes::new([&[0; ETHERNET][..], &behind.concat()].concat())
}

/// Where the packet is, why it is punted, and whether it is for others; or the verdict.
type Found = Result<(u32, PuntReason, bool), Verdict>;

fn unwrap(outer: u16, is_tagged: bool, behind: &[&[u8]]) -> Found {
    let found = wrapped(&frame(behind), outer, is_tagged, false)?;
    assert!(matches!(found.network, Network::V4));
    Ok((found.packet, found.reason, found.for_others))
}

const PUNT: Found = Err(Verdict::Punt(PuntReason::Vlan));

#[test]
fn a_packet_is_found_behind_its_tags() {
    let vlan = PuntReason::Vlan;
    let zero = [0xa0, 0];
    let inner = [0x81, 0x00];
    for (outer, behind, expected) in [
        (VLAN, vec![&zero[..], &IPV4], Ok((18, vlan, false))),
        (SERVICE, vec![&zero, &IPV4], Ok((18, vlan, false))),
        (VLAN, vec![&[0xaf, 0xff], &IPV4], Ok((18, vlan, true))),
        (VLAN, vec![&[0x00, 0x01], &IPV4], Ok((18, vlan, true))),
        // The first that has a VLAN of its own decides.
        (
            VLAN,
            vec![&zero, &inner, &[0, 7], &IPV4],
            Ok((22, vlan, true)),
        ),
        (
            VLAN,
            vec![&[0, 7], &inner, &zero, &IPV4],
            Ok((22, vlan, true)),
        ),
        (
            VLAN,
            vec![&zero, &inner, &zero, &IPV4],
            Ok((22, vlan, false)),
        ),
        // Cut short, and nothing that IP is in.
        (VLAN, vec![&zero, &IPV4[..1]], PUNT),
        (VLAN, vec![], PUNT),
        (VLAN, vec![&zero, &[0x08, 0x06]], PUNT),
    ] {
        assert_eq!(unwrap(outer, false, &behind), expected, "{behind:02x?}");
    }
}

#[test]
fn eight_tags_are_looked_behind() {
    for (tags, expected) in [
        (7, Ok((42, PuntReason::Vlan, false))),
        (8, Ok((46, PuntReason::Vlan, false))),
        (9, Err(Verdict::Drop(DropReason::Malformed))),
        (10, Err(Verdict::Drop(DropReason::Malformed))),
    ] {
        let mut behind = vec![0, 0];
        for _ in 1..tags {
            behind.extend([0x81, 0x00, 0, 0]);
        }
        assert_eq!(unwrap(VLAN, true, &[&behind, &IPV4]), expected, "{tags}");
    }
}

#[test]
fn a_packet_is_found_behind_llc_and_snap() {
    let length = 0x05ffu16.to_be();
    let other = Err(Verdict::Punt(PuntReason::EtherType));
    let found = Ok((22, PuntReason::EtherType, false));
    for (outer, llc, expected) in [
        (length, [0xaa, 0xaa, 3], found),
        (0, [0xaa, 0xaa, 3], found),
        // No length, another LLC, and a frame that ends there.
        (0x0600u16.to_be(), [0xaa, 0xaa, 3], other),
        (length, [0xaa, 0xab, 3], other),
        (length, [0xaa, 0xaa, 0x13], other),
    ] {
        let found = unwrap(outer, false, &[&llc, &[0; 3], &IPV4]);
        assert_eq!(found, expected, "{llc:02x?}");
    }
    assert_eq!(
        unwrap(length, false, &[&[0xaa, 0xaa, 3, 0, 0, 0, 8]]),
        other
    );
    // Within a tag, also one that the kernel has taken out.
    let vlan = PuntReason::Vlan;
    let snap: [&[u8]; 3] = [&[0xaa, 0xaa, 3], &[0, 0, 0xf8], &IPV4];
    assert_eq!(unwrap(length, true, &snap), Ok((22, vlan, false)));
    let tagged = [&[0, 0, 0, 50][..], snap[0], snap[1], snap[2]];
    assert_eq!(unwrap(VLAN, false, &tagged), Ok((26, vlan, false)));
}

#[test]
fn what_is_for_others_stays_so() {
    let frame = frame(&[&[0, 0], &IPV4]);
    let found = wrapped(&frame, VLAN, false, true).map(|found| found.for_others);
    assert_eq!(found, Ok(true));
}

#[test]
fn a_frame_s_packet_has_its_addresses_and_its_reason() {
    let around = Frame {
        network: Network::V4,
        reason: PuntReason::Vlan,
        for_others: false,
        packet: 18,
    };
    let bytes: Vec<u8> = (0..38).collect();
    let packet = around.packet::<V4>(&Bytes::new(bytes.clone()));
    let read = packet.map(|packet| (packet.source, packet.destination, packet.punt));
    let addresses = ([30, 31, 32, 33], [34, 35, 36, 37]);
    let expected = Ok((addresses.0, addresses.1, Some(PuntReason::Vlan)));
    assert_eq!(read, expected);
    let cut = around.packet::<V4>(&Bytes::new(&bytes[..37]));
    let punt = cut.map(|packet| packet.destination);
    assert_eq!(punt, Err(Verdict::Punt(PuntReason::Vlan)));
}

#[test]
fn addresses_are_read_where_the_packet_begins() {
    let bytes: Vec<u8> = (0..100).collect();
    let frame = Bytes::new(bytes);
    let v4 = ([30, 31, 32, 33], [34, 35, 36, 37]);
    assert_eq!(V4::addresses(&frame, 18), Some(v4));
    assert_eq!(V4::addresses(&frame, 81), None);
    let (source, destination) = V6::addresses(&frame, 18).expect("it is long enough");
    assert_eq!((source[0], source[15]), (26, 41));
    assert_eq!((destination[0], destination[15]), (42, 57));
    assert!(V6::addresses(&frame, 60).is_some());
    assert_eq!(V6::addresses(&frame, 61), None);
}

#[test]
fn a_length_of_zero_is_that_of_segments() {
    let one = frame(&[&[0; 1486]]);
    let several = Bytes {
        is_gso: true,
        ..one.clone()
    };
    assert_eq!(stated_length(&one, 1500u16.to_be(), 0), 1500);
    assert_eq!(stated_length(&one, 1460u16.to_be(), 40), 1500);
    assert_eq!(stated_length(&one, u16::MAX, 40), 65_575);
    assert_eq!(stated_length(&one, 0, 0), 0);
    assert_eq!(stated_length(&one, 0, 40), 40);
    assert_eq!(stated_length(&several, 0, 40), 1486);
    assert_eq!(stated_length(&several, 7u16.to_be(), 40), 47);
}

#[test]
fn a_frame_holds_all_of_its_packet() {
    let frame = frame(&[&[0; 100]]);
    assert_eq!(is_whole(&frame, 100), Ok(()));
    assert_eq!(is_whole(&frame, 0), Ok(()));
    let malformed = Err(Verdict::Drop(DropReason::Malformed));
    assert_eq!(is_whole(&frame, 101), malformed);
}

/// RFC 1071's sum, word by word.
fn sum(header: &[u8]) -> u16 {
    let words = header
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[test]
fn a_header_with_its_checksum_sums_to_all_ones() {
    let mut rng = 0x2545_f491_4f6c_dd1du64;
    for _ in 0..10_000 {
        let mut frame = [0; IPV4_END];
        for byte in &mut frame[ETHERNET..] {
            // xorshift64*: George Marsaglia, "Xorshift RNGs" (2003).
            rng ^= rng >> 12;
            rng ^= rng << 25;
            rng ^= rng >> 27;
            *byte = (rng.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8;
        }
        let right = sum(&frame[ETHERNET..]) == 0xffff;
        assert_eq!(checksum_is_right(HeaderMut::of(&mut frame).read()), right);
        frame[24..26].fill(0);
        let checksum = !sum(&frame[ETHERNET..]);
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        assert!(checksum_is_right(HeaderMut::of(&mut frame).read()));
        frame[14] ^= 1;
        assert!(!checksum_is_right(HeaderMut::of(&mut frame).read()));
    }
    // Nothing but zeros has no checksum that could be right.
    assert!(!checksum_is_right(HeaderMut::of(&mut [0; IPV4_END]).read()));
}

const HOP: u8 = 0;
const TCP: u8 = 6;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AH: u8 = 51;
const DESTINATION: u8 = 60;

/// The protocol and ports, in host order, behind a fixed IPv6 header with this next header.
fn behind(first: u8, headers: &[&[u8]]) -> (u8, u16, u16) {
    let frame = Bytes::new([&[0; IPV6_END][..], &headers.concat()].concat());
    let (protocol, source, destination) = behind_extensions(&frame, first);
    (protocol, u16::from_be(source), u16::from_be(destination))
}

/// An extension header of 8 bytes and so many times 8 more.
fn extension(next: u8, units: u8) -> Vec<u8> {
    let mut header = vec![next, units];
    header.resize(8 * (usize::from(units) + 1), 0xee);
    header
}

#[test]
fn ports_are_found_behind_extension_headers() {
    let ports = [0x12, 0x34, 0x56, 0x78];
    let found = (TCP, 0x1234, 0x5678);
    assert_eq!(behind(TCP, &[&ports]), found);
    assert_eq!(behind(DESTINATION, &[&extension(TCP, 0), &ports]), found);
    let long = extension(TCP, 255);
    assert_eq!(behind(ROUTING, &[&long, &ports]), found);
    let two = [extension(ROUTING, 1), extension(TCP, 2)];
    assert_eq!(behind(DESTINATION, &[&two[0], &two[1], &ports]), found);
    // An authentication header has its SPI where others have ports, behind four bytes of its own.
    let authenticated = [TCP, 4, 0, 0, 0x12, 0x34, 0x56, 0x78];
    let found = behind(DESTINATION, &[&extension(AH, 0), &authenticated]);
    assert_eq!(found, (AH, 0x1234, 0x5678));
    // What has none.
    let found = behind(DESTINATION, &[&extension(58, 0), &ports]);
    assert_eq!(found, (58, 0, 0));
}

#[test]
fn of_a_fragment_the_protocol_alone_is_known() {
    let ports = [0x12, 0x34, 0x56, 0x78];
    for offset in [[0, 1], [5, 0xc8]] {
        let header = [TCP, 0, offset[0], offset[1], 0, 0, 0, 7];
        assert_eq!(behind(FRAGMENT, &[&header, &ports]), (TCP, 0, 0));
    }
    // Cut short, it is all that is known.
    assert_eq!(
        behind(FRAGMENT, &[&[TCP, 0, 0, 1, 0, 0, 0]]),
        (FRAGMENT, 0, 0)
    );
}

#[test]
fn the_walk_ends() {
    let ports = [0x12, 0x34, 0x56, 0x78];
    // With the frame.
    assert_eq!(behind(DESTINATION, &[&[TCP]]), (DESTINATION, 0, 0));
    assert_eq!(behind(DESTINATION, &[&extension(TCP, 9)[..8]]), (TCP, 0, 0));
    assert_eq!(
        behind(ROUTING, &[&extension(TCP, 0), &ports[..3]]),
        (TCP, 0, 0)
    );
    // With the last header that the kernel looks behind.
    let chain = |length: usize| {
        let mut headers = vec![extension(HOP, 0); length - 1];
        headers.push(extension(TCP, 0));
        headers.concat()
    };
    assert_eq!(behind(HOP, &[&chain(15), &ports]), (TCP, 0x1234, 0x5678));
    assert_eq!(behind(HOP, &[&chain(16), &ports]), (HOP, 0, 0));
}
