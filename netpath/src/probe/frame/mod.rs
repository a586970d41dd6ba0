//! Frames for tests: built with the right lengths and checksums, or deliberately wrong ones, and taken
//! apart again. Pure: nothing is sent here.

mod assemble;
mod build;
mod checksum;
mod parse;
#[cfg(test)]
mod tests;
mod verify;

pub use build::FrameBuilder;
pub use checksum::{internet_checksum, transport_checksum};
pub use parse::{ParsedFrame, ParsedIp, Transport};

/// EtherType of IPv4 (IANA, IEEE 802 Numbers).
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// TPID of a customer VLAN tag (IEEE 802.1Q).
pub const TPID_VLAN: u16 = 0x8100;
/// TPID of a service VLAN tag (IEEE 802.1ad, QinQ).
pub const TPID_QINQ: u16 = 0x88a8;

/// Protocol number of ICMP (IANA, Protocol Numbers).
pub const PROTOCOL_ICMP: u8 = 1;
/// Protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// Protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// Protocol number of ICMPv6.
pub const PROTOCOL_ICMPV6: u8 = 58;

/// IPv6 extension header: hop-by-hop options (RFC 8200, 4.3).
pub const EXTENSION_HOP_BY_HOP: u8 = 0;
/// IPv6 extension header: routing (RFC 8200, 4.4).
pub const EXTENSION_ROUTING: u8 = 43;
/// IPv6 extension header: fragment (RFC 8200, 4.5).
pub const EXTENSION_FRAGMENT: u8 = 44;
/// IPv6 extension header: authentication (RFC 4302).
pub const EXTENSION_AUTHENTICATION: u8 = 51;
/// IPv6 extension header: destination options (RFC 8200, 4.6).
pub const EXTENSION_DESTINATION: u8 = 60;

/// One VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Tag protocol identifier: [`TPID_VLAN`] or [`TPID_QINQ`].
    pub tpid: u16,
    /// Priority (3 bits), drop eligible (1 bit), VLAN id (12 bits).
    pub tci: u16,
}

/// Why bytes are not the frame they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fewer bytes than the headers claim.
    #[error("{layer}: {needed} bytes needed, {present} present")]
    Truncated {
        /// The header or payload that is cut short.
        layer: &'static str,
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        present: usize,
    },
    /// The frame holds no IP packet.
    #[error("EtherType {0:#06x} is not IP")]
    NotIp(u16),
    /// The version in the IP header is neither 4 nor 6.
    #[error("IP version {0}")]
    Version(u8),
    /// A length field that contradicts its own header.
    #[error("{layer}: length {length} in its header is too small")]
    Length {
        /// The header.
        layer: &'static str,
        /// The field's value, in bytes.
        length: usize,
    },
    /// A checksum that does not match.
    #[error("{layer}: checksum {found:#06x}, should be {expected:#06x}")]
    Checksum {
        /// The header that holds it.
        layer: &'static str,
        /// What it holds.
        found: u16,
        /// What it should hold.
        expected: u16,
    },
}
