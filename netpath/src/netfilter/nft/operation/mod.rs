//! The expressions of a rule with all that they say: [`Effects`](super::Effects) takes from them what a rule may do to which
//! packets, and [`kernel_way`](crate::kernel_way) follows one packet through them.

mod decode;
mod value;
mod words;

pub(super) use self::decode::{count, decode, verdict};
pub use self::{
    value::{Header, Register, Value, ct, meta},
    words::in_words,
};
use crate::netfilter::Count;

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
    /// Adds to a set.
    Dynset {
        /// It goes on in some cases only: expressions of the set decide.
        decides: bool,
    },
    /// Goes on in some cases, which depend on more than the packet; its name.
    Condition(String),
    /// Gives the packet away: `queue`, `fwd`, `tproxy`, `synproxy`.
    Take(String),
    /// Does what the packet's way does not depend on: `log`, `dup`, ...
    Nothing(String),
    /// Not understood; its name.
    Other(String),
}
