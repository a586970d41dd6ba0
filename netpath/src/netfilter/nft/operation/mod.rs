//! The expressions of a rule with all that they say, so that a packet can be followed through them.
//!
//! [`Expression`](super::Expression) says as much as is needed to know what a rule may do; this says what it does.

mod decode;

pub(super) use self::decode::decode;
use super::expression::{Header, Register, Verdict};
use crate::netfilter::Count;

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
    /// `NFT_META_*`.
    Meta(u32),
    /// `NFT_CT_*`.
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

/// How a register is compared: `NFT_CMP_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Which end of a connection is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// Its source.
    Source,
    /// Its destination.
    Destination,
}

/// What a packet is refused with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// ICMP of the packet's family, with this code.
    Icmp(u8),
    /// The same by a code that means the same in both families (`NFT_REJECT_ICMPX_*`).
    Icmpx(u8),
    /// A TCP reset.
    TcpReset,
}

/// What an expression does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Loads a value.
    Load {
        /// Which.
        value: Value,
        /// Where to.
        into: Register,
    },
    /// Writes a register.
    Store {
        /// To where.
        to: Value,
        /// Which.
        from: Register,
    },
    /// Goes on if a register is so.
    Compare {
        /// Which.
        register: Register,
        /// How.
        relation: Relation,
        /// To this.
        data: Vec<u8>,
    },
    /// Goes on if a register is between two values, or not.
    Range {
        /// Which.
        register: Register,
        /// If it is not.
        outside: bool,
        /// The least.
        from: Vec<u8>,
        /// The greatest.
        to: Vec<u8>,
    },
    /// `into = from & mask ^ xor`.
    Mask {
        /// From this register.
        from: Register,
        /// To this one.
        into: Register,
        /// The bits that are kept.
        mask: Vec<u8>,
        /// The bits that are turned.
        xor: Vec<u8>,
    },
    /// Shifts a word.
    Shift {
        /// From this register.
        from: Register,
        /// To this one.
        into: Register,
        /// How many bytes, by fours.
        length: u32,
        /// By how many bits.
        bits: u32,
        /// To the right.
        right: bool,
    },
    /// Turns the bytes of each number round.
    ByteOrder {
        /// From this register.
        from: Register,
        /// To this one.
        into: Register,
        /// How many bytes.
        length: u32,
        /// Of each number.
        size: u32,
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
    /// Counts. `None`: by a named counter.
    Counter(Option<Count>),
    /// Looks a register up in a set or a map.
    Lookup {
        /// Its name.
        set: String,
        /// Which.
        key: Register,
        /// Goes on if it is not there.
        invert: bool,
        /// Where a map's value goes.
        into: Option<Register>,
        /// The map holds verdicts.
        decides: bool,
    },
    /// Translates.
    Nat {
        /// What.
        translation: Translation,
        /// For which family: `NFPROTO_*`.
        family: u32,
        /// The least and the greatest address.
        addresses: Option<(Register, Register)>,
        /// The least and the greatest port.
        ports: Option<(Register, Register)>,
        /// `NF_NAT_RANGE_*`.
        flags: u32,
    },
    /// Translates the source to that of the interface.
    Masquerade {
        /// As of [`Operation::Nat`].
        ports: Option<(Register, Register)>,
        /// As of [`Operation::Nat`].
        flags: u32,
    },
    /// Translates the destination to this machine.
    Redirect {
        /// As of [`Operation::Nat`].
        ports: Option<(Register, Register)>,
    },
    /// Refuses.
    Reject(Refusal),
    /// The packet is not tracked.
    Notrack,
    /// A match of xtables.
    Match {
        /// Its name.
        name: String,
        /// Its revision.
        revision: u32,
        /// Its own structure.
        data: Vec<u8>,
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
    /// Goes on in some cases, which depend on more than the packet; its name.
    Condition(String),
    /// Gives the packet away: `queue`, `fwd`, `tproxy`, `synproxy`.
    Take(String),
    /// Nothing that the packet's way depends on: `log`, `dup`, ...
    Nothing(String),
    /// Not understood; its name.
    Other(String),
}
