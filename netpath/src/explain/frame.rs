//! The packet in a frame, for the programs. Pure.

use netpath_common::{Family, Mac};

use super::question::headers;
use crate::{
    kernel_way::{Packet, Transport},
    probe::frame::FrameBuilder,
};

/// Lengths of headers, in bytes.
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;
const FRAGMENT_HEADER: u32 = 8;

/// The frame that carries a packet from one Ethernet address to another; of one in fragments the frames of the first and the last.
pub(super) fn of(packet: &Packet, source: Mac, destination: Mac) -> (Vec<u8>, Option<Vec<u8>>) {
    let frame = FrameBuilder::new(source, destination)
        .ttl(packet.ttl)
        .tos(packet.tos)
        .flow_label(packet.flow_label);
    let frame = match packet.dont_fragment {
        true => frame.dont_fragment(),
        false => frame,
    };
    use std::net::IpAddr::{V4, V6};
    let frame = match (packet.source, packet.destination) {
        (V4(source), V4(destination)) => frame.ipv4(source, destination),
        (V6(source), V6(destination)) => frame.ipv6(source, destination),
        // There is no such packet: whoever asks has checked it.
        (V4(_), V6(_)) | (V6(_), V4(_)) => frame,
    };
    let whole = packet.length.saturating_sub(headers(packet)) as usize;
    let (frame, payload, last) = match packet.fragments {
        None => (frame, whole, None),
        Some(longest) => {
            let pieces = Pieces::of(packet, longest);
            let last = frame
                .clone()
                .protocol(packet.protocol())
                .fragment(pieces.offset, false)
                .payload(&vec![0; pieces.last]);
            (frame.fragment(0, true), pieces.first, Some(last.build()))
        }
    };
    let frame = match packet.transport {
        Transport::Tcp {
            source_port,
            destination_port,
            flags,
        } => frame.tcp(source_port, destination_port, flags),
        Transport::Udp {
            source_port,
            destination_port,
        } => frame.udp(source_port, destination_port),
        Transport::Icmp { kind, code, id } => {
            let [high, low] = id.to_be_bytes();
            frame.icmp(kind, code, [high, low, 0, 1])
        }
        Transport::Other(number) => frame.protocol(number),
    };
    (frame.payload(&vec![0; payload]).build(), last)
}

/// The first and the last fragment of a packet, in bytes.
struct Pieces {
    /// Behind the transport header.
    first: usize,
    /// Where the last begins, in what is behind the IP header.
    offset: u16,
    /// Behind the IP header.
    last: usize,
}

impl Pieces {
    fn of(packet: &Packet, longest: u32) -> Self {
        let header = match packet.family() {
            Family::V4 => IPV4_HEADER,
            Family::V6 => IPV6_HEADER + FRAGMENT_HEADER,
        };
        let transport = headers(packet) - network(packet);
        let body = packet.length.saturating_sub(network(packet));
        // Whoever has cut it has done so at whole units.
        let each = longest.saturating_sub(header).max(transport).max(8);
        let offset = body.saturating_sub(1) / each * each;
        Self {
            first: each.saturating_sub(transport) as usize,
            offset: u16::try_from(offset).unwrap_or(u16::MAX),
            last: body.saturating_sub(offset) as usize,
        }
    }
}

fn network(packet: &Packet) -> u32 {
    match packet.family() {
        Family::V4 => IPV4_HEADER,
        Family::V6 => IPV6_HEADER,
    }
}

/// The TTL or hop limit of the packet in a frame.
pub(super) fn ttl(frame: &[u8]) -> Option<u8> {
    match frame.get(12..14)? {
        [0x08, 0x00] => frame.get(22).copied(),
        [0x86, 0xdd] => frame.get(21).copied(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::frame::ParsedFrame;

    #[test]
    fn a_packet_is_in_its_frame_as_it_is() {
        for [source, destination] in [["10.0.1.2", "10.0.3.2"], ["fd00:1::2", "fd00:3::2"]] {
            let packet = Packet {
                source: source.parse().expect(source),
                destination: destination.parse().expect(destination),
                transport: Transport::Udp {
                    source_port: 7,
                    destination_port: 9,
                },
                ttl: 3,
                tos: 184,
                length: 1280,
                dont_fragment: source.contains('.'),
                mark: 1,
                flow_label: 0,
                fragments: None,
            };
            let (frame, last) = of(&packet, Mac([2; 6]), Mac([4; 6]));
            assert_eq!(last, None);
            assert_eq!(frame.len(), 14 + 1280);
            assert_eq!(ttl(&frame), Some(3));
            assert_eq!(frame[..6], [4; 6]);
            let parsed = ParsedFrame::parse(&frame).expect("a frame");
            let ip = parsed.ip().expect("a packet");
            assert_eq!(
                (ip.source, ip.destination),
                (packet.source, packet.destination)
            );
        }
    }
}
