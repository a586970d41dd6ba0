//! The expressions that rules are made of.

use std::fmt;

use super::about::About;
use crate::netlink::attribute::Attributes;

/// A register, by the number of its first word of four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(pub u8);

impl Register {
    /// As many words as there are.
    pub(super) const WORDS: u8 = 16;
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

/// Where a value comes from, or goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Bytes of the packet.
    Payload {
        /// Of which header.
        header: Header,
        /// From which byte of it.
        offset: u32,
        /// How many bytes.
        length: u32,
    },
    /// What the kernel knows about the packet: `NFT_META_*`.
    Meta(u32),
    /// Connection tracking: `NFT_CT_*`.
    Connection(u32),
    /// Another expression, by its name.
    Other(String),
}

pub(super) mod meta {
    //! `enum nft_meta_keys`.
    pub const PROTOCOL: u32 = 1;
    pub const MARK: u32 = 3;
    pub const IIF: u32 = 4;
    pub const OIF: u32 = 5;
    pub const IIFNAME: u32 = 6;
    pub const OIFNAME: u32 = 7;
    pub const NFPROTO: u32 = 15;
    pub const L4PROTO: u32 = 16;

    /// As `nft` writes them.
    pub const NAMES: [&str; 26] = [
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

pub(super) mod connection {
    //! `enum nft_ct_keys`.
    pub const STATE: u32 = 0;

    /// As `nft` writes them.
    pub const NAMES: [&str; 18] = [
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

impl Source {
    /// Whether it is a field of the packet that is neither an address nor what the kernel knows of it besides.
    pub(super) fn is_of_packet(&self) -> bool {
        /// `NFT_META_LEN`, `NFT_META_L4PROTO`, `NFT_META_PKTTYPE`, `NFT_META_PRANDOM`.
        const OF_PACKET: [u32; 4] = [0, meta::L4PROTO, 19, 24];
        match self {
            Self::Payload {
                header: Header::Network,
                offset,
                length,
            } => *offset + *length <= 8 || *offset == 9,
            Self::Payload { header, .. } => *header == Header::Transport,
            Self::Meta(key) => OF_PACKET.contains(key),
            Self::Connection(_) => false,
            Self::Other(name) => ["exthdr", "numgen", "hash"].contains(&name.as_str()),
        }
    }
}

impl fmt::Display for Source {
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
                    Header::Link => "link header",
                    Header::Network => "network header",
                    Header::Transport => "transport header",
                    Header::Other(_) => "payload",
                };
                write!(f, "{header} byte {offset}, {length} long")
            }
            Self::Meta(number) => named(f, "meta", &meta::NAMES, *number),
            Self::Connection(number) => named(f, "ct", &connection::NAMES, *number),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// How a register is compared: `NFT_CMP_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// Less, or greater, or equal to one of the two.
    Ordered,
}

/// What a rule decides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The packet passes this base chain.
    Accept,
    /// It does not.
    Drop,
    /// It goes to a program.
    Queue,
    /// On with the next rule.
    Continue,
    /// Back behind the jump; in a base chain, to its policy.
    Return,
    /// On in another chain of the table, and then back.
    Jump(String),
    /// On in another chain, and from its end to where this one would return.
    Goto(String),
    /// Any other number.
    Other(i32),
}

/// What a rule asks or does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Loads a value.
    Load {
        /// Which.
        source: Source,
        /// Where to. `None`: any register.
        into: Option<Register>,
    },
    /// Writes a value.
    Store {
        /// To where.
        to: Source,
    },
    /// Goes on if a register compares so.
    Compare {
        /// Which.
        register: Register,
        /// How.
        comparison: Comparison,
        /// With what.
        data: Vec<u8>,
    },
    /// `into = from & mask ^ xor`.
    Bitwise {
        /// From this register.
        from: Register,
        /// To this one.
        into: Register,
        /// The bits that are kept.
        mask: Vec<u8>,
        /// The bits that are turned.
        xor: Vec<u8>,
    },
    /// A constant.
    Immediate {
        /// Where to.
        into: Register,
        /// What.
        data: Vec<u8>,
    },
    /// Decides.
    Verdict(Verdict),
    /// Counts.
    Counter {
        /// What it has counted; `None` of a named counter.
        count: Option<crate::netfilter::Count>,
    },
    /// Goes on if a register is in a set; or loads what a map has for it.
    Lookup {
        /// Its name.
        set: String,
        /// Goes on if it is not in the set.
        invert: bool,
        /// Where a map's value goes.
        into: Option<Register>,
    },
    /// Looks up a verdict for a register.
    VerdictMap {
        /// The map's name.
        map: String,
    },
    /// A match of xtables (`xt_*`).
    Match {
        /// Its name.
        name: String,
        /// Its revision.
        revision: u32,
        /// What it asks.
        about: About,
    },
    /// A target of xtables.
    Target {
        /// Its name.
        name: String,
        /// Its revision.
        revision: u32,
        /// Its own structure.
        data: Vec<u8>,
    },
    /// Goes on in some cases, and changes nothing: `limit`, `quota`, ...; its name.
    Condition(String),
    /// Does something by its name alone: `masq`, `nat`, `queue`, `reject`, `notrack`, ...
    Action(String),
    /// Not understood; its name.
    Other(String),
}

/// Reads one expression. What is not in the form that is known is kept by its name.
///
/// # Errors
/// When it has no name, or an attribute does not fit.
pub(super) fn decode(bytes: &[u8]) -> Result<Expression, String> {
    const NAME: u16 = 1;
    const DATA: u16 = 2;
    let attributes = Attributes::parse(bytes)?;
    let name = attributes.text(NAME).ok_or("an expression has no name")?;
    let known = match attributes.nested(DATA)? {
        Some(data) => known(&name, &data).ok().flatten(),
        // `notrack` has nothing to say.
        None => by_name(&name),
    };
    Ok(known.unwrap_or(Expression::Other(name)))
}

/// `None` for one that is not known.
fn known(name: &str, data: &Attributes<'_>) -> Result<Option<Expression>, String> {
    match name {
        "payload" => {
            let header = match data.be32(2)? {
                Some(0) => Header::Link,
                Some(1) => Header::Network,
                Some(2) => Header::Transport,
                other => Header::Other(other.ok_or("no header")?),
            };
            let source = Source::Payload {
                header,
                offset: data.be32(3)?.ok_or("no offset")?,
                length: data.be32(4)?.ok_or("no length")?,
            };
            moved(data, source, 1, 5)
        }
        "meta" => moved(data, Source::Meta(data.be32(2)?.ok_or("no key")?), 1, 3),
        "ct" => moved(
            data,
            Source::Connection(data.be32(2)?.ok_or("no key")?),
            1,
            4,
        ),
        "cmp" => compare(data).map(Some),
        "bitwise" => bitwise(data),
        "immediate" => immediate(data),
        "counter" => Ok(Some(Expression::Counter {
            count: Some(count(data)?),
        })),
        "lookup" => lookup(data).map(Some),
        "match" => {
            let name = data.text(1).ok_or("no name")?;
            let revision = data.be32(2)?.ok_or("no revision")?;
            let about = About::of_match(&name, revision, data.get(3).unwrap_or_default());
            Ok(Some(Expression::Match {
                name,
                revision,
                about,
            }))
        }
        "target" => Ok(Some(Expression::Target {
            name: data.text(1).ok_or("no name")?,
            revision: data.be32(2)?.ok_or("no revision")?,
            data: data.get(3).unwrap_or_default().to_vec(),
        })),
        "objref" => Ok(object(data.be32(1)?)),
        // What they load is not followed.
        "fib" | "rt" | "exthdr" | "numgen" | "osf" | "xfrm" => {
            const EXTHDR_SREG: u16 = 7;
            let source = Source::Other(name.to_owned());
            moved(data, source, 1, EXTHDR_SREG)
        }
        "hash" | "socket" | "tunnel" | "byteorder" => {
            moved(data, Source::Other(name.to_owned()), 2, u16::MAX)
        }
        _ => Ok(by_name(name)),
    }
}

fn by_name(name: &str) -> Option<Expression> {
    let owned = name.to_owned();
    match name {
        "limit" | "quota" | "connlimit" | "range" => Some(Expression::Condition(owned)),
        // A change of its own, which no packet notices.
        "last" => Some(Expression::Counter { count: None }),
        "masq" | "nat" | "redir" | "tproxy" | "dup" | "fwd" | "queue" | "reject" | "notrack"
        | "log" | "synproxy" | "flow_offload" => Some(Expression::Action(owned)),
        _ => None,
    }
}

/// A register that a value is loaded into, or else one that it is written from.
fn moved(
    data: &Attributes<'_>,
    value: Source,
    into: u16,
    from: u16,
) -> Result<Option<Expression>, String> {
    if let Some(number) = data.be32(into)? {
        let into = Register::of(number);
        return Ok(Some(Expression::Load {
            source: value,
            into,
        }));
    }
    let written = data.get(from).is_some();
    Ok(written.then_some(Expression::Store { to: value }))
}

fn register(data: &Attributes<'_>, kind: u16) -> Result<Register, String> {
    let number = data.be32(kind)?.ok_or("no register")?;
    Register::of(number).ok_or_else(|| format!("register {number}"))
}

/// The value in `struct nft_data`.
fn value(data: &Attributes<'_>, kind: u16) -> Result<Vec<u8>, String> {
    const VALUE: u16 = 1;
    let nested = data.nested(kind)?.ok_or("no data")?;
    Ok(nested.get(VALUE).ok_or("no value")?.to_vec())
}

fn compare(data: &Attributes<'_>) -> Result<Expression, String> {
    Ok(Expression::Compare {
        register: register(data, 1)?,
        comparison: match data.be32(2)? {
            Some(0) => Comparison::Equal,
            Some(1) => Comparison::NotEqual,
            Some(2..=5) => Comparison::Ordered,
            _ => return Err("unknown comparison".to_owned()),
        },
        data: value(data, 3)?,
    })
}

/// `None` for shifts and what is not with a constant.
fn bitwise(data: &Attributes<'_>) -> Result<Option<Expression>, String> {
    const OPERATION: u16 = 6;
    if data.be32(OPERATION)?.unwrap_or(0) != 0 {
        return moved(data, Source::Other("bitwise".to_owned()), 2, u16::MAX);
    }
    Ok(Some(Expression::Bitwise {
        from: register(data, 1)?,
        into: register(data, 2)?,
        mask: value(data, 4)?,
        xor: value(data, 5)?,
    }))
}

fn immediate(data: &Attributes<'_>) -> Result<Option<Expression>, String> {
    const VERDICT: u16 = 2;
    if data.be32(1)? != Some(Register::VERDICT) {
        return Ok(Some(Expression::Immediate {
            into: register(data, 1)?,
            data: value(data, 2)?,
        }));
    }
    let nested = data.nested(2)?.ok_or("no data")?;
    let verdict_of = nested.nested(VERDICT)?.ok_or("no verdict")?;
    Ok(Some(Expression::Verdict(verdict(&verdict_of)?)))
}

/// `NFTA_VERDICT_*`.
pub(super) fn verdict(data: &Attributes<'_>) -> Result<Verdict, String> {
    let code = data.be32(1)?.ok_or("no verdict")?.cast_signed();
    let chain = || data.text(2).ok_or("a jump to no chain".to_owned());
    Ok(match code {
        0 => Verdict::Drop,
        1 => Verdict::Accept,
        -1 => Verdict::Continue,
        -3 => Verdict::Jump(chain()?),
        -4 => Verdict::Goto(chain()?),
        -5 => Verdict::Return,
        // NF_QUEUE, with the queue's number above it.
        code if code & 0xff == 3 && code > 0 => Verdict::Queue,
        other => Verdict::Other(other),
    })
}

/// `NFTA_COUNTER_*`.
pub(super) fn count(data: &Attributes<'_>) -> Result<crate::netfilter::Count, String> {
    Ok(crate::netfilter::Count {
        packets: data.be64(2)?.ok_or("no packets")?,
        bytes: data.be64(1)?.ok_or("no bytes")?,
    })
}

fn lookup(data: &Attributes<'_>) -> Result<Expression, String> {
    const INVERT: u32 = 1;
    let set = data.text(1).ok_or("no set")?;
    let into = data.be32(3)?;
    if into == Some(Register::VERDICT) {
        return Ok(Expression::VerdictMap { map: set });
    }
    Ok(Expression::Lookup {
        set,
        invert: data.be32(5)?.unwrap_or(0) & INVERT != 0,
        into: match into {
            None => None,
            Some(number) => Some(Register::of(number).ok_or("no register")?),
        },
    })
}

/// A named object, by its type (`NFT_OBJECT_*`); `None` where a map chooses it.
fn object(kind: Option<u32>) -> Option<Expression> {
    match kind? {
        1 => Some(Expression::Counter { count: None }),
        2 => Some(Expression::Condition("quota".to_owned())),
        4 => Some(Expression::Condition("limit".to_owned())),
        5 => Some(Expression::Condition("connlimit".to_owned())),
        10 => Some(Expression::Action("synproxy".to_owned())),
        _ => None,
    }
}
