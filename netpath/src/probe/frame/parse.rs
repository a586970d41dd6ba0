//! Taking frames apart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netpath_common::Mac;

use super::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, EXTENSION_AUTHENTICATION, EXTENSION_DESTINATION,
    EXTENSION_FRAGMENT, EXTENSION_HOP_BY_HOP, EXTENSION_ROUTING, FrameError, PROTOCOL_ICMP,
    PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP, TPID_QINQ, TPID_VLAN, Tag,
};

/// An Ethernet frame's addresses and payload. Integers are in host byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedFrame<'a> {
    /// Destination MAC.
    pub destination: Mac,
    /// Source MAC.
    pub source: Mac,
    /// VLAN tags, the outermost first.
    pub tags: Vec<Tag>,
    /// EtherType after the tags.
    pub ethertype: u16,
    /// All after the EtherType, padding included.
    pub payload: &'a [u8],
}

/// An IP packet. Integers are in host byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedIp<'a> {
    /// Source address.
    pub source: IpAddr,
    /// Destination address of the IP header itself.
    pub destination: IpAddr,
    /// TOS or traffic class: DSCP in the upper 6 bits, ECN in the lower 2.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Identification; in IPv6 that of the fragment header, 0 without one.
    pub id: u32,
    /// IPv6 flow label; 0 in IPv4.
    pub flow_label: u32,
    /// IPv4's DF; false in IPv6.
    pub dont_fragment: bool,
    /// More fragments follow.
    pub more_fragments: bool,
    /// Offset of this fragment, in bytes.
    pub fragment_offset: u16,
    /// IPv6 extension headers in their order, by number.
    pub extensions: Vec<u8>,
    /// What the payload is: the next header after those in `extensions`.
    pub protocol: u8,
    /// Length of the whole packet as its header states it, in bytes.
    pub length: usize,
    /// The header with options or extension headers.
    pub header: &'a [u8],
    /// From the transport header on; Ethernet's padding is cut off. Shorter than `length` says when the
    /// packet is only quoted in part, as in an ICMP error.
    pub payload: &'a [u8],
}

/// The transport header. Ports and numbers are in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport<'a> {
    /// UDP.
    Udp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
        /// Length field: header and payload, in bytes.
        length: u16,
        /// All after the header.
        payload: &'a [u8],
    },
    /// TCP.
    Tcp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
        /// Sequence number.
        sequence: u32,
        /// Acknowledgement number.
        acknowledgement: u32,
        /// CWR to FIN, FIN in bit 0.
        flags: u8,
        /// All after the options.
        payload: &'a [u8],
    },
    /// ICMP or ICMPv6.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// The last 4 bytes of the header, as on the wire.
        rest: [u8; 4],
        /// All after the header.
        payload: &'a [u8],
    },
    /// Another protocol, or a fragment other than the first.
    Other(&'a [u8]),
}

impl<'a> ParsedFrame<'a> {
    /// Reads the Ethernet header and VLAN tags.
    ///
    /// # Errors
    /// When the bytes end before the EtherType.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        need("Ethernet header", bytes, 14)?;
        let mut tags = Vec::new();
        let mut at = 12;
        loop {
            need("VLAN tag", bytes, at + 2)?;
            let tpid = be16(bytes, at);
            if tpid != TPID_VLAN && tpid != TPID_QINQ {
                break;
            }
            need("VLAN tag", bytes, at + 4)?;
            let tci = be16(bytes, at + 2);
            tags.push(Tag { tpid, tci });
            at += 4;
        }
        Ok(Self {
            destination: Mac(array(bytes, 0)),
            source: Mac(array(bytes, 6)),
            tags,
            ethertype: be16(bytes, at),
            payload: &bytes[at + 2..],
        })
    }

    /// The IP packet inside.
    ///
    /// # Errors
    /// When there is none, or its headers are cut short or contradict themselves.
    pub fn ip(&self) -> Result<ParsedIp<'a>, FrameError> {
        match self.ethertype {
            ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => ParsedIp::parse(self.payload),
            other => Err(FrameError::NotIp(other)),
        }
    }
}

impl<'a> ParsedIp<'a> {
    /// Reads an IPv4 or IPv6 packet. A packet shorter than its header states is accepted.
    ///
    /// # Errors
    /// When its headers are cut short or contradict themselves.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        need("IP header", bytes, 1)?;
        match bytes[0] >> 4 {
            4 => Self::parse_v4(bytes),
            6 => Self::parse_v6(bytes),
            version => Err(FrameError::Version(version)),
        }
    }

    fn parse_v4(bytes: &'a [u8]) -> Result<Self, FrameError> {
        const LAYER: &str = "IPv4 header";
        need(LAYER, bytes, 20)?;
        let header_len = usize::from(bytes[0] & 0xf) * 4;
        at_least(LAYER, header_len, 20)?;
        need(LAYER, bytes, header_len)?;
        let length = usize::from(be16(bytes, 2));
        at_least(LAYER, length, header_len)?;
        let fragment = be16(bytes, 6);
        Ok(Self {
            source: Ipv4Addr::from(array(bytes, 12)).into(),
            destination: Ipv4Addr::from(array(bytes, 16)).into(),
            tos: bytes[1],
            ttl: bytes[8],
            id: be16(bytes, 4).into(),
            flow_label: 0,
            dont_fragment: fragment & 0x4000 != 0,
            more_fragments: fragment & 0x2000 != 0,
            fragment_offset: (fragment & 0x1fff) << 3,
            extensions: Vec::new(),
            protocol: bytes[9],
            length,
            header: &bytes[..header_len],
            payload: &bytes[header_len..length.min(bytes.len())],
        })
    }

    fn parse_v6(bytes: &'a [u8]) -> Result<Self, FrameError> {
        need("IPv6 header", bytes, 40)?;
        let first = be32(bytes, 0);
        let length = 40 + usize::from(be16(bytes, 4));
        let bytes = &bytes[..length.min(bytes.len())];
        let mut packet = Self {
            source: Ipv6Addr::from(array(bytes, 8)).into(),
            destination: Ipv6Addr::from(array(bytes, 24)).into(),
            tos: (first >> 20 & 0xff) as u8,
            ttl: bytes[7],
            id: 0,
            flow_label: first & 0xf_ffff,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            extensions: Vec::new(),
            protocol: bytes[6],
            length,
            header: &bytes[..40],
            payload: &bytes[40..],
        };
        // After a fragment header other than the first's comes the middle of something.
        while packet.fragment_offset == 0 {
            let at = packet.header.len();
            let rest = packet.payload;
            let units = || need("IPv6 extension header", rest, 8).map(|()| usize::from(rest[1]));
            let extension_len = match packet.protocol {
                EXTENSION_HOP_BY_HOP | EXTENSION_ROUTING | EXTENSION_DESTINATION => {
                    (units()? + 1) * 8
                }
                EXTENSION_AUTHENTICATION => (units()? + 2) * 4,
                EXTENSION_FRAGMENT => {
                    units()?;
                    let field = be16(rest, 2);
                    packet.fragment_offset = field & 0xfff8;
                    packet.more_fragments = field & 1 != 0;
                    packet.id = be32(rest, 4);
                    8
                }
                _ => break,
            };
            need("IPv6 extension header", rest, extension_len)?;
            packet.extensions.push(packet.protocol);
            packet.protocol = rest[0];
            packet.header = &bytes[..at + extension_len];
            packet.payload = &rest[extension_len..];
        }
        Ok(packet)
    }

    /// Whether it is a fragment of something larger.
    pub fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset != 0
    }

    /// Reads the transport header.
    ///
    /// # Errors
    /// When it is cut short or contradicts itself.
    pub fn transport(&self) -> Result<Transport<'a>, FrameError> {
        let bytes = self.payload;
        if self.fragment_offset != 0 {
            return Ok(Transport::Other(bytes));
        }
        Ok(match self.protocol {
            PROTOCOL_UDP => {
                need("UDP header", bytes, 8)?;
                Transport::Udp {
                    source_port: be16(bytes, 0),
                    destination_port: be16(bytes, 2),
                    length: be16(bytes, 4),
                    payload: &bytes[8..],
                }
            }
            PROTOCOL_TCP => {
                need("TCP header", bytes, 20)?;
                let header_len = usize::from(bytes[12] >> 4) * 4;
                at_least("TCP header", header_len, 20)?;
                need("TCP header", bytes, header_len)?;
                Transport::Tcp {
                    source_port: be16(bytes, 0),
                    destination_port: be16(bytes, 2),
                    sequence: be32(bytes, 4),
                    acknowledgement: be32(bytes, 8),
                    flags: bytes[13],
                    payload: &bytes[header_len..],
                }
            }
            PROTOCOL_ICMP | PROTOCOL_ICMPV6 => {
                need("ICMP header", bytes, 8)?;
                Transport::Icmp {
                    kind: bytes[0],
                    code: bytes[1],
                    rest: array(bytes, 4),
                    payload: &bytes[8..],
                }
            }
            _ => Transport::Other(bytes),
        })
    }
}

pub(super) fn need(layer: &'static str, bytes: &[u8], needed: usize) -> Result<(), FrameError> {
    if bytes.len() >= needed {
        return Ok(());
    }
    Err(FrameError::Truncated {
        layer,
        needed,
        present: bytes.len(),
    })
}

pub(super) fn at_least(layer: &'static str, length: usize, least: usize) -> Result<(), FrameError> {
    if length >= least {
        return Ok(());
    }
    Err(FrameError::Length { layer, length })
}

pub(super) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array(bytes, at))
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(bytes, at))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}
