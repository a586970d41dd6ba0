//! A packet's headers byte by byte, as rules look at them. What nobody said of it (checksums, numbers) is not known.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netpath_common::Mac;

use super::{
    super::packet::{Packet, Transport},
    registers::{Bits, known},
};

/// The Ethernet header.
pub(super) fn link(packet: &Packet, source: Option<Mac>, destination: Option<Mac>) -> Vec<Bits> {
    let mac = |mac: Option<Mac>| mac.map_or_else(|| vec![Bits::UNKNOWN; 6], |mac| known(&mac.0));
    let mut header = mac(destination);
    header.extend(mac(source));
    header.extend(known(match packet.destination {
        IpAddr::V4(_) => &[0x08, 0x00],
        IpAddr::V6(_) => &[0x86, 0xdd],
    }));
    header
}

/// The IP header.
pub(super) fn network(packet: &Packet) -> Vec<Bits> {
    let length = packet.length as u16;
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = known(&[0x45, packet.tos]);
            header.extend(known(&length.to_be_bytes()));
            header.extend([Bits::UNKNOWN; 2]);
            header.extend(known(&[u8::from(packet.dont_fragment) << 6, 0]));
            header.extend(known(&[packet.ttl, packet.protocol()]));
            header.extend([Bits::UNKNOWN; 2]);
            header.extend(known(&source.octets()));
            header.extend(known(&destination.octets()));
            header
        }
        (source, destination) => {
            let word = 6 << 28 | u32::from(packet.tos) << 20 | packet.flow_label & 0xf_ffff;
            let mut header = known(&word.to_be_bytes());
            header.extend(known(&length.saturating_sub(IPV6_HEADER).to_be_bytes()));
            header.extend(known(&[packet.protocol(), packet.ttl]));
            for address in [source, destination] {
                if let IpAddr::V6(v6) = address {
                    header.extend(known(&v6.octets()));
                }
            }
            header
        }
    }
}

const IPV4_HEADER: u16 = 20;
const IPV6_HEADER: u16 = 40;

/// What follows the IP header, to the packet's end.
pub(super) fn transport(packet: &Packet) -> Vec<Bits> {
    let header = match packet.destination {
        IpAddr::V4(_) => IPV4_HEADER,
        IpAddr::V6(_) => IPV6_HEADER,
    };
    let length = (packet.length as u16).saturating_sub(header);
    let mut bytes = Vec::new();
    match packet.transport {
        Transport::Tcp {
            source_port,
            destination_port,
            flags,
        } => {
            bytes.extend(known(&source_port.to_be_bytes()));
            bytes.extend(known(&destination_port.to_be_bytes()));
            bytes.extend([Bits::UNKNOWN; 8]);
            bytes.push(Bits::but(0, 0xf0));
            bytes.push(flags.into());
        }
        Transport::Udp {
            source_port,
            destination_port,
        } => {
            bytes.extend(known(&source_port.to_be_bytes()));
            bytes.extend(known(&destination_port.to_be_bytes()));
            bytes.extend(known(&length.to_be_bytes()));
        }
        Transport::Icmp { kind, code, id } => {
            bytes.extend(known(&[kind, code]));
            bytes.extend([Bits::UNKNOWN; 2]);
            bytes.extend(known(&id.to_be_bytes()));
        }
        Transport::Other(_) => {}
    }
    bytes.resize(usize::from(length), Bits::UNKNOWN);
    bytes
}

/// Writes into the IP header; `None` where the packet cannot say what would be written.
pub(super) fn write_network(packet: &mut Packet, offset: usize, data: &[Bits]) -> Option<()> {
    let mut header = network(packet);
    header
        .get_mut(offset..offset + data.len())?
        .copy_from_slice(data);
    let byte = |at: usize| header.get(at).and_then(|bits| bits.known());
    match packet.destination {
        IpAddr::V4(_) => {
            packet.tos = byte(1)?;
            packet.ttl = byte(8)?;
            let address = |at: usize| {
                let octets: Option<Vec<u8>> = (at..at + 4).map(byte).collect();
                let octets = <[u8; 4]>::try_from(octets?).ok()?;
                Some(IpAddr::V4(Ipv4Addr::from(octets)))
            };
            packet.source = address(12)?;
            packet.destination = address(16)?;
        }
        IpAddr::V6(_) => {
            packet.tos = byte(0)? << 4 | byte(1)? >> 4;
            packet.ttl = byte(7)?;
            let address = |at: usize| {
                let octets: Option<Vec<u8>> = (at..at + 16).map(byte).collect();
                let octets = <[u8; 16]>::try_from(octets?).ok()?;
                Some(IpAddr::V6(Ipv6Addr::from(octets)))
            };
            packet.source = address(8)?;
            packet.destination = address(24)?;
        }
    }
    Some(())
}

/// The same of the ports.
pub(super) fn write_transport(packet: &mut Packet, offset: usize, data: &[Bits]) -> Option<()> {
    let mut bytes = transport(packet);
    bytes
        .get_mut(offset..offset + data.len())?
        .copy_from_slice(data);
    let word = |at: usize| {
        Some(u16::from_be_bytes([
            bytes[at].known()?,
            bytes[at + 1].known()?,
        ]))
    };
    match &mut packet.transport {
        Transport::Tcp {
            source_port,
            destination_port,
            ..
        }
        | Transport::Udp {
            source_port,
            destination_port,
        } => {
            *source_port = word(0)?;
            *destination_port = word(2)?;
        }
        Transport::Icmp { .. } | Transport::Other(_) => {}
    }
    Some(())
}
