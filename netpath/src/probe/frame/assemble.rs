//! Turning a [`FrameBuilder`]'s description into bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::BufMut as _;

use super::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, EXTENSION_AUTHENTICATION, EXTENSION_FRAGMENT, FrameBuilder,
    PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP,
    build::{Network, Transport},
    internet_checksum, transport_checksum,
};

impl FrameBuilder {
    /// The frame's bytes, without a frame check sequence. A length over 65,535 is written modulo 65,536.
    pub fn build(&self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(128 + self.payload.len());
        frame.put_slice(&self.destination.0);
        frame.put_slice(&self.source.0);
        for tag in &self.tags {
            frame.put_u16(tag.tpid);
            frame.put_u16(tag.tci);
        }
        let (ethertype, packet) = match self.network {
            Network::None => (0, self.payload.clone()),
            Network::V4(source, destination) => {
                (ETHERTYPE_IPV4, self.ipv4_packet(source, destination))
            }
            Network::V6(source, destination) => {
                (ETHERTYPE_IPV6, self.ipv6_packet(source, destination))
            }
        };
        frame.put_u16(self.ethertype.unwrap_or(ethertype));
        frame.put_slice(&packet);
        if frame.len() < self.pad_to {
            frame.resize(self.pad_to, 0);
        }
        frame
    }

    fn ipv4_packet(&self, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
        let (protocol, segment) = self.segment(source.into(), destination.into());
        let header_len = 20 + self.options.len();
        let ihl = self.forged.ihl.unwrap_or((header_len / 4) as u8);
        let (offset, more) = self.fragment.unwrap_or((0, false));
        let flags = u16::from(self.dont_fragment) << 14 | u16::from(more) << 13;
        let mut packet = Vec::with_capacity(header_len + segment.len());
        packet.put_u8(self.forged.version.unwrap_or(4) << 4 | ihl & 0xf);
        packet.put_u8(self.tos);
        let length = (header_len + segment.len()) as u16;
        packet.put_u16(self.forged.ip_length.unwrap_or(length));
        packet.put_u16(self.id as u16);
        packet.put_u16(flags | (offset / 8));
        packet.put_u8(self.ttl);
        packet.put_u8(self.forged.protocol.unwrap_or(protocol));
        packet.put_u16(0);
        packet.put_slice(&source.octets());
        packet.put_slice(&destination.octets());
        packet.put_slice(&self.options);
        let checksum = internet_checksum(&packet);
        let checksum = self.forged.header_checksum.unwrap_or(checksum);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        packet.put_slice(&segment);
        packet
    }

    fn ipv6_packet(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let (protocol, segment) = self.segment(source.into(), destination.into());
        // From the last header to the first: each holds the number of the one after it.
        let mut next = self.forged.protocol.unwrap_or(protocol);
        let mut body = segment;
        if let Some((offset, more)) = self.fragment {
            let mut header = vec![next, 0];
            header.put_u16(offset & 0xfff8 | u16::from(more));
            header.put_u32(self.id);
            header.append(&mut body);
            (next, body) = (EXTENSION_FRAGMENT, header);
        }
        for (number, data) in self.extensions.iter().rev() {
            let length = (data.len() + 2).next_multiple_of(8);
            let units = if *number == EXTENSION_AUTHENTICATION {
                length / 4 - 2
            } else {
                length / 8 - 1
            };
            let mut header = vec![next, units as u8];
            header.put_slice(data);
            header.resize(length, 0);
            header.append(&mut body);
            (next, body) = (*number, header);
        }
        let mut packet = Vec::with_capacity(40 + body.len());
        let version = u32::from(self.forged.version.unwrap_or(6));
        packet.put_u32(version << 28 | u32::from(self.tos) << 20 | self.flow_label);
        packet.put_u16(self.forged.ip_length.unwrap_or(body.len() as u16));
        packet.put_u8(next);
        packet.put_u8(self.ttl);
        packet.put_slice(&source.octets());
        packet.put_slice(&destination.octets());
        packet.put_slice(&body);
        packet
    }

    /// The transport header with the payload, and its protocol number.
    fn segment(&self, source: IpAddr, destination: IpAddr) -> (u8, Vec<u8>) {
        let mut segment = Vec::with_capacity(20 + self.payload.len());
        let (protocol, checksum_at) = match self.transport {
            Transport::Raw(protocol) => (protocol, None),
            Transport::Udp(source_port, destination_port) => {
                let length = (8 + self.payload.len()) as u16;
                segment.put_u16(source_port);
                segment.put_u16(destination_port);
                segment.put_u16(self.forged.udp_length.unwrap_or(length));
                segment.put_u16(0);
                (PROTOCOL_UDP, Some(6))
            }
            Transport::Tcp(source_port, destination_port, flags, sequence, acknowledgement) => {
                segment.put_u16(source_port);
                segment.put_u16(destination_port);
                segment.put_u32(sequence);
                segment.put_u32(acknowledgement);
                segment.put_slice(&[5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
                (PROTOCOL_TCP, Some(16))
            }
            Transport::Icmp(kind, code, rest) => {
                segment.put_slice(&[kind, code, 0, 0]);
                segment.put_slice(&rest);
                let protocol = if source.is_ipv4() {
                    PROTOCOL_ICMP
                } else {
                    PROTOCOL_ICMPV6
                };
                (protocol, Some(2))
            }
        };
        segment.put_slice(&self.payload);
        if let Some(at) = checksum_at {
            let computed = match protocol {
                PROTOCOL_ICMP => internet_checksum(&segment),
                _ => transport_checksum(source, destination, protocol, &segment),
            };
            let computed = if protocol == PROTOCOL_UDP && computed == 0 {
                0xffff
            } else {
                computed
            };
            let checksum = self.forged.transport_checksum.unwrap_or(computed);
            segment[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        }
        (protocol, segment)
    }
}
