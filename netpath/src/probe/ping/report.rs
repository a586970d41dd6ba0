//! What came of a ping.

use std::{net::IpAddr, time::Duration};

use nix::errno::Errno;

use super::icmp::ECHO_HEADER;

/// What came of a ping.
#[derive(Clone, Debug, Default)]
pub struct PingReport {
    /// Requests that the kernel took.
    pub sent: u16,
    /// Requests with an intact reply.
    pub received: u16,
    /// Further intact replies to the same requests.
    pub duplicates: u64,
    /// Replies whose payload or checksum is wrong.
    pub corrupted: u64,
    /// The first intact reply to each request, in the order of arrival.
    pub replies: Vec<Reply>,
    /// ICMP errors about our requests, in the order of arrival.
    pub errors: Vec<IcmpError>,
    /// Requests that this side's kernel refused to send.
    pub refused: Vec<Refusal>,
}

/// An intact reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The request it answers, counted from 0.
    pub sequence: u16,
    /// Who sent it.
    pub source: IpAddr,
    /// TTL or hop limit it arrived with.
    pub ttl: u8,
    /// From the request to the reply.
    pub rtt: Duration,
}

/// An ICMP or ICMPv6 error about one of our requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// The request it is about, counted from 0.
    pub sequence: u16,
    /// Who sent it.
    pub source: IpAddr,
    /// TTL or hop limit it arrived with.
    pub ttl: u8,
    /// ICMP type, for example 11 (ICMP) or 3 (ICMPv6) for Time Exceeded.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// The whole ICMP message as on the wire; from byte 8 on it quotes the packet in question.
    pub message: Vec<u8>,
}

/// A request that this side's kernel refused to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The request, counted from 0.
    pub sequence: u16,
    /// Why, for example `EMSGSIZE`, `ENETUNREACH`, or `EPERM` for a netfilter rule.
    pub errno: Errno,
}

impl PingReport {
    /// Round-trip times, in the order of arrival.
    pub fn rtts(&self) -> impl Iterator<Item = Duration> {
        self.replies.iter().map(|reply| reply.rtt)
    }

    /// Whether each request was sent and had exactly one reply, an intact one, and nothing else came.
    pub fn is_clean(&self) -> bool {
        self.received == self.sent
            && self.duplicates == 0
            && self.corrupted == 0
            && self.errors.is_empty()
            && self.refused.is_empty()
    }
}

impl IcmpError {
    /// The MTU that Fragmentation Needed or Packet Too Big reports, in bytes.
    pub fn mtu(&self) -> Option<u32> {
        let word = self.message.get(4..8)?;
        let word = u32::from_be_bytes([word[0], word[1], word[2], word[3]]);
        match (self.source, self.kind, self.code) {
            // RFC 1191, 4: the lower 16 bits.
            (IpAddr::V4(_), 3, 4) => Some(word & 0xffff),
            // RFC 4443, 3.2.
            (IpAddr::V6(_), 2, _) => Some(word),
            _ => None,
        }
    }

    /// The quoted packet, from its IP header on; mostly not all of it.
    pub fn quoted(&self) -> &[u8] {
        self.message.get(ECHO_HEADER..).unwrap_or_default()
    }
}
