//! What is in a forged packet.

use std::net::IpAddr;

use netpath::probe::frame::FrameBuilder;
use netpath_common::Mac;
use netpath_tests::between;

/// The ports of what is forged, and of what is honest beside it.
pub const PORTS: (u16, u16) = (4_000, 4_001);

/// A sender's MAC that is nobody's, and no destination's either: the wire's bridge would learn where that is.
const FORGED_MAC: Mac = Mac([2, 0, 0, 0, 0x5a, 0x5a]);

/// In every forged frame, and in no other.
pub const MARK: [u8; 25] = *b"nobody sends such a thing";

/// What is in a packet, by a number below this.
pub const SHAPES: usize = 10;

fn shaped(frame: FrameBuilder, shape: usize, is_ipv4: bool) -> FrameBuilder {
    // Router alert (RFC 2113, RFC 2711), record route (RFC 791), padding.
    let options: &[u8] = if shape == 3 {
        &[148, 4, 0, 0]
    } else {
        &[7, 7, 4, 0, 0, 0, 0]
    };
    let extension = |number: u8, data: &[u8]| (number, data.to_vec());
    let (number, data) = match shape {
        3 => extension(0, &[5, 2, 0, 0]),
        4 => extension(60, &[1, 4, 0, 0, 0, 0]),
        _ => extension(43, &[4, 0, 0, 0, 0, 0]),
    };
    let udp = |frame: FrameBuilder| frame.udp(PORTS.0, PORTS.1);
    match shape {
        0 => udp(frame),
        1 => udp(frame).fragment(0, true),
        2 => frame.protocol(17).fragment(1_480, false),
        3..=5 if is_ipv4 && shape < 5 => udp(frame.options(options)),
        5 if is_ipv4 => udp(frame.dont_fragment()),
        3..=5 => udp(frame.extension(number, &data)),
        6 => frame.tcp(PORTS.0, PORTS.1, 2),
        7 if is_ipv4 => frame.icmp(8, 0, [0, 1, 0, 1]),
        7 => frame.icmp(128, 0, [0, 1, 0, 1]),
        8 => udp(frame).ttl(1),
        9 => frame.protocol(47),
        other => panic!("{other}"),
    }
}

/// A plain Ethernet frame. Rounds differ in the sender's MAC, in the type of service, in the payload's length.
pub fn packet(macs: (Mac, Mac), ends: (IpAddr, IpAddr), shape: usize, round: usize) -> Vec<u8> {
    let mac = if round & 1 == 0 { macs.0 } else { FORGED_MAC };
    let frame = between(FrameBuilder::new(mac, macs.1), ends.0, ends.1);
    let frame = shaped(frame, shape, ends.0.is_ipv4());
    let tos = (round as u8 >> 1) << 2;
    let mut payload = MARK.to_vec();
    payload.resize(40 + 8 * round, 0);
    frame.tos(tos).payload(&payload).build()
}
