//! The packet in a frame, for the programs. Pure.

use netpath_common::Mac;

use super::question::headers;
use crate::{
    kernel_way::{Packet, Transport},
    probe::frame::FrameBuilder,
};

/// The frame that carries a packet from one Ethernet address to another.
pub(super) fn of(packet: &Packet, source: Mac, destination: Mac) -> Vec<u8> {
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
    let payload = packet.length.saturating_sub(headers(packet)) as usize;
    frame.payload(&vec![0; payload]).build()
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
            };
            let frame = of(&packet, Mac([2; 6]), Mac([4; 6]));
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
