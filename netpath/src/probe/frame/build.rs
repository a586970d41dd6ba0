//! Describing a frame to build.

use std::net::{Ipv4Addr, Ipv6Addr};

use netpath_common::Mac;

use super::{TPID_VLAN, Tag};

/// Builds one Ethernet frame. What is not set is computed (lengths, checksums, EtherType, protocol) or has
/// the usual value (TTL 64, all else 0). Integers are given in host byte order and written in network order.
///
/// Checksums cover what is built: set them for a fragment of something larger, and for a packet whose
/// routing header hides the final destination.
#[derive(Clone, Debug)]
pub struct FrameBuilder {
    pub(super) destination: Mac,
    pub(super) source: Mac,
    pub(super) tags: Vec<Tag>,
    pub(super) ethertype: Option<u16>,
    pub(super) network: Network,
    pub(super) tos: u8,
    pub(super) ttl: u8,
    pub(super) id: u32,
    pub(super) flow_label: u32,
    pub(super) dont_fragment: bool,
    pub(super) fragment: Option<(u16, bool)>,
    pub(super) options: Vec<u8>,
    pub(super) extensions: Vec<(u8, Vec<u8>)>,
    pub(super) transport: Transport,
    pub(super) payload: Vec<u8>,
    pub(super) pad_to: usize,
    pub(super) forged: Forged,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Network {
    None,
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Transport {
    Raw(u8),
    Udp(u16, u16),
    Tcp(u16, u16, u8, u32, u32),
    Icmp(u8, u8, [u8; 4]),
}

/// Values put in place of the computed ones.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Forged {
    pub(super) version: Option<u8>,
    pub(super) ihl: Option<u8>,
    pub(super) ip_length: Option<u16>,
    pub(super) protocol: Option<u8>,
    pub(super) header_checksum: Option<u16>,
    pub(super) transport_checksum: Option<u16>,
    pub(super) udp_length: Option<u16>,
}

impl FrameBuilder {
    /// A frame with no payload yet.
    pub fn new(source: Mac, destination: Mac) -> Self {
        Self {
            destination,
            source,
            tags: Vec::new(),
            ethertype: None,
            network: Network::None,
            tos: 0,
            ttl: 64,
            id: 0,
            flow_label: 0,
            dont_fragment: false,
            fragment: None,
            options: Vec::new(),
            extensions: Vec::new(),
            // 59: no next header (RFC 8200, 4.7).
            transport: Transport::Raw(59),
            payload: Vec::new(),
            pad_to: 0,
            forged: Forged::default(),
        }
    }

    /// Adds a VLAN tag inside those added before.
    pub fn tag(mut self, tag: Tag) -> Self {
        self.tags.push(tag);
        self
    }

    /// Adds an 802.1Q tag with this VLAN id, priority 0.
    pub fn vlan(self, id: u16) -> Self {
        self.tag(Tag {
            tpid: TPID_VLAN,
            tci: id,
        })
    }

    /// Sets the EtherType, whatever the payload is.
    pub fn ethertype(mut self, ethertype: u16) -> Self {
        self.ethertype = Some(ethertype);
        self
    }

    /// An IPv4 packet.
    pub fn ipv4(mut self, source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        self.network = Network::V4(source, destination);
        self
    }

    /// An IPv6 packet.
    pub fn ipv6(mut self, source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        self.network = Network::V6(source, destination);
        self
    }

    /// TTL or hop limit.
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// The TOS or traffic class byte: DSCP in the upper 6 bits, ECN in the lower 2.
    pub fn tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self
    }

    /// Identification; IPv4 takes the lower 16 bits, IPv6 has one in a fragment header only.
    pub fn id(mut self, id: u32) -> Self {
        self.id = id;
        self
    }

    /// IPv6 flow label, 20 bits.
    pub fn flow_label(mut self, label: u32) -> Self {
        self.flow_label = label & 0xf_ffff;
        self
    }

    /// Sets IPv4's DF.
    pub fn dont_fragment(mut self) -> Self {
        self.dont_fragment = true;
        self
    }

    /// Makes it a fragment: `offset` in bytes, a multiple of 8; IPv6 gets a fragment header after all others.
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.fragment = Some((offset, more));
        self
    }

    /// IPv4 options, padded with End of Option List to a multiple of 4 bytes.
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self.options.resize(options.len().next_multiple_of(4), 0);
        self
    }

    /// Adds an IPv6 extension header after those added before. `data` follows the header's first two bytes
    /// (next header, length) and is padded with zeros to a multiple of 8 bytes in all.
    pub fn extension(mut self, number: u8, data: &[u8]) -> Self {
        self.extensions.push((number, data.to_vec()));
        self
    }

    /// A UDP datagram.
    pub fn udp(mut self, source_port: u16, destination_port: u16) -> Self {
        self.transport = Transport::Udp(source_port, destination_port);
        self
    }

    /// A TCP segment without options, sequence and acknowledgement 0, window 65,535.
    pub fn tcp(mut self, source_port: u16, destination_port: u16, flags: u8) -> Self {
        self.transport = Transport::Tcp(source_port, destination_port, flags, 0, 0);
        self
    }

    /// TCP's sequence and acknowledgement numbers; call it after [`Self::tcp`].
    pub fn tcp_numbers(mut self, sequence: u32, acknowledgement: u32) -> Self {
        if let Transport::Tcp(_, _, _, seq, ack) = &mut self.transport {
            (*seq, *ack) = (sequence, acknowledgement);
        }
        self
    }

    /// An ICMP message, ICMPv6 in an IPv6 packet; `rest` are the last 4 bytes of its header, as on the wire.
    pub fn icmp(mut self, kind: u8, code: u8, rest: [u8; 4]) -> Self {
        self.transport = Transport::Icmp(kind, code, rest);
        self
    }

    /// Any other protocol; all of its bytes are the payload.
    pub fn protocol(mut self, protocol: u8) -> Self {
        self.transport = Transport::Raw(protocol);
        self
    }

    /// What follows the last header.
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// Pads the frame with zeros to this many bytes, as Ethernet does to 60.
    pub fn pad_to(mut self, length: usize) -> Self {
        self.pad_to = length;
        self
    }

    /// Forges the IP version, 4 bits.
    pub fn forge_version(mut self, version: u8) -> Self {
        self.forged.version = Some(version);
        self
    }

    /// Forges IPv4's header length, in 32-bit words.
    pub fn forge_ihl(mut self, words: u8) -> Self {
        self.forged.ihl = Some(words);
        self
    }

    /// Forges IPv4's total length, or IPv6's payload length, in bytes.
    pub fn forge_ip_length(mut self, length: u16) -> Self {
        self.forged.ip_length = Some(length);
        self
    }

    /// Forges the protocol, or the next header of the last header before the payload.
    pub fn forge_protocol(mut self, protocol: u8) -> Self {
        self.forged.protocol = Some(protocol);
        self
    }

    /// Forges IPv4's header checksum.
    pub fn forge_header_checksum(mut self, checksum: u16) -> Self {
        self.forged.header_checksum = Some(checksum);
        self
    }

    /// Forges the UDP, TCP or ICMP checksum; 0 means none for UDP over IPv4.
    pub fn forge_transport_checksum(mut self, checksum: u16) -> Self {
        self.forged.transport_checksum = Some(checksum);
        self
    }

    /// Forges UDP's length, in bytes.
    pub fn forge_udp_length(mut self, length: u16) -> Self {
        self.forged.udp_length = Some(length);
        self
    }
}
