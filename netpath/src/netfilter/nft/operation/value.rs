//! Where values come from, and where they go.

use std::fmt;

/// A register, by the number of its first word of four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(pub u8);

impl Register {
    /// As many words as there are.
    pub(in super::super) const WORDS: u8 = 16;
    pub(super) const VERDICT: u32 = 0;

    /// `enum nft_registers`: four old ones of 16 bytes are numbered 1 to 4, the words from 8 on.
    pub(super) fn of(number: u32) -> Option<Self> {
        let word = match number {
            1..=4 => (number - 1) * 4,
            8..=23 => number - 8,
            _ => return None,
        };
        u8::try_from(word).ok().map(Self)
    }
}

/// A header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Ethernet.
    Link,
    /// IP.
    Network,
    /// TCP, UDP, ...
    Transport,
    /// Any other number.
    Other(u32),
}

/// A value that is loaded into a register, or written from one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Bytes of the packet.
    Payload {
        /// Of which header.
        header: Header,
        /// From which byte of it.
        offset: u32,
        /// How many.
        length: u32,
    },
    /// What the kernel knows about the packet: [`meta`].
    Meta(u32),
    /// Connection tracking: [`ct`].
    Connection {
        /// Which.
        key: u32,
        /// Of which direction, where that is said: 0 original, 1 reply.
        direction: Option<u8>,
    },
    /// What the routes say of an address (`NFT_FIB_RESULT_*`, `NFTA_FIB_F_*`).
    Fib {
        /// 1 interface, 2 its name, 3 type of address.
        result: u32,
        /// Of which address, and what the lookup goes by.
        flags: u32,
    },
    /// An extension header of IPv6, or an option.
    Extension {
        /// 0 IPv6, 1 TCP options, ...
        of: u32,
        /// Whether it is there at all is asked, and nothing else.
        present: bool,
    },
    /// Somebody's choice of so many, from this one on: a random number, a counter, a hash.
    Choice {
        /// By what.
        by: &'static str,
        /// How many.
        modulus: u32,
        /// The first.
        offset: u32,
    },
    /// Another expression, by its name.
    Other(String),
}

impl Value {
    /// Whether it is a field of the packet that is neither an address nor what the kernel knows of it besides.
    pub(in super::super) fn is_of_packet(&self) -> bool {
        const OF_PACKET: [u32; 4] = [meta::LEN, meta::L4PROTO, meta::PKTTYPE, meta::PRANDOM];
        match self {
            Self::Payload {
                header: Header::Network,
                offset,
                length,
            } => *offset + *length <= 8 || *offset == 9,
            Self::Payload { header, .. } => *header == Header::Transport,
            Self::Meta(key) => OF_PACKET.contains(key),
            Self::Extension { .. } | Self::Choice { .. } => true,
            Self::Connection { .. } | Self::Fib { .. } | Self::Other(_) => false,
        }
    }
}

/// As `nft` writes it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |f: &mut fmt::Formatter<'_>, of: &str, names: &[&str], number: u32| match names
            .get(number as usize)
        {
            Some(name) => write!(f, "{of} {name}"),
            None => write!(f, "{of} {number}"),
        };
        match self {
            Self::Payload {
                header,
                offset,
                length,
            } => {
                let header = match header {
                    Header::Link => "ll",
                    Header::Network => "nh",
                    Header::Transport => "th",
                    Header::Other(_) => "payload",
                };
                let bits = |bytes: u32| u64::from(bytes) * 8;
                write!(f, "@{header},{},{}", bits(*offset), bits(*length))
            }
            Self::Meta(key) => named(f, "meta", &meta::NAMES, *key),
            Self::Connection { key, .. } => named(f, "ct", &ct::NAMES, *key),
            Self::Fib { .. } => f.write_str("fib"),
            Self::Extension { .. } => f.write_str("exthdr"),
            Self::Choice { by, .. } => f.write_str(by),
            Self::Other(name) => f.write_str(name),
        }
    }
}

#[expect(missing_docs, reason = "the kernel's names")]
pub mod meta {
    //! `enum nft_meta_keys` of linux/netfilter/nf_tables.h.
    pub const LEN: u32 = 0;
    pub const PROTOCOL: u32 = 1;
    pub const PRIORITY: u32 = 2;
    pub const MARK: u32 = 3;
    pub const IIF: u32 = 4;
    pub const OIF: u32 = 5;
    pub const IIFNAME: u32 = 6;
    pub const OIFNAME: u32 = 7;
    pub const IIFTYPE: u32 = 8;
    pub const OIFTYPE: u32 = 9;
    pub const SKUID: u32 = 10;
    pub const SKGID: u32 = 11;
    pub const NFTRACE: u32 = 12;
    pub const SECMARK: u32 = 14;
    pub const NFPROTO: u32 = 15;
    pub const L4PROTO: u32 = 16;
    pub const PKTTYPE: u32 = 19;
    pub const CGROUP: u32 = 23;
    pub const PRANDOM: u32 = 24;
    pub const IIFKIND: u32 = 26;
    pub const OIFKIND: u32 = 27;

    /// As `nft` writes them.
    pub(super) const NAMES: [&str; 26] = [
        "length",
        "protocol",
        "priority",
        "mark",
        "iif",
        "oif",
        "iifname",
        "oifname",
        "iiftype",
        "oiftype",
        "skuid",
        "skgid",
        "nftrace",
        "rtclassid",
        "secmark",
        "nfproto",
        "l4proto",
        "ibrname",
        "obrname",
        "pkttype",
        "cpu",
        "iifgroup",
        "oifgroup",
        "cgroup",
        "random",
        "ipsec",
    ];
}

#[expect(missing_docs, reason = "the kernel's names")]
pub mod ct {
    //! `enum nft_ct_keys` of linux/netfilter/nf_tables.h.
    pub const STATE: u32 = 0;
    pub const DIRECTION: u32 = 1;
    pub const STATUS: u32 = 2;
    pub const MARK: u32 = 3;
    pub const L3PROTOCOL: u32 = 7;
    pub const SRC: u32 = 8;
    pub const DST: u32 = 9;
    pub const PROTOCOL: u32 = 10;
    pub const PROTO_SRC: u32 = 11;
    pub const PROTO_DST: u32 = 12;
    pub const ZONE: u32 = 17;
    pub const SRC_IP: u32 = 19;
    pub const DST_IP: u32 = 20;
    pub const SRC_IP6: u32 = 21;
    pub const DST_IP6: u32 = 22;

    /// As `nft` writes them.
    pub(super) const NAMES: [&str; 18] = [
        "state",
        "direction",
        "status",
        "mark",
        "secmark",
        "expiration",
        "helper",
        "l3proto",
        "saddr",
        "daddr",
        "protocol",
        "proto-src",
        "proto-dst",
        "label",
        "packets",
        "bytes",
        "avgpkt",
        "zone",
    ];
}
