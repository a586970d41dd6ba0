//! One thing that packets would have met.

use netpath_common::PuntReason;

use crate::netfilter::Count;

/// What passing it by comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// It does nothing to what the fast path takes.
    NoEffect,
    /// The fast path leaves to the kernel what it acts on.
    Heeded,
    /// It would have done something, and passing it by was accepted.
    Accepted,
    /// It cannot be told what it would have done.
    Unknown,
    /// It would have done something.
    Changes,
}

impl Group {
    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoEffect => "no_effect",
            Self::Heeded => "heeded",
            Self::Accepted => "accepted",
            Self::Unknown => "unknown",
            Self::Changes => "changes_behaviour",
        }
    }
}

/// What kind of thing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemKind {
    /// A rule of a chain.
    Rule,
    /// A chain's policy.
    Policy,
    /// Rules that could not be read.
    Unread,
    /// A queueing discipline, a filter or a program at an interface, or what the interface is a port of.
    Interface,
    /// An IPsec policy, a policy rule, or rules that are followed as a whole.
    Addresses,
    /// The kernel's reverse-path filter.
    ReversePathFilter,
}

impl ItemKind {
    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Policy => "policy",
            Self::Unread => "unread",
            Self::Interface => "interface",
            Self::Addresses => "addresses",
            Self::ReversePathFilter => "rp_filter",
        }
    }
}

/// What is done to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// It is dropped, or answered with an error.
    Drop,
    /// An address, a port or another field of it is changed, or it goes elsewhere.
    Rewrite,
    /// Its mark, or its connection's, is set.
    Mark,
    /// It goes to a program.
    Queue,
    /// It is logged.
    Log,
}

impl Act {
    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Rewrite => "rewrite",
            Self::Mark => "mark",
            Self::Queue => "queue",
            Self::Log => "log",
        }
    }
}

/// One thing that packets would have met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: ItemKind,
    /// What passing it by comes to.
    pub group: Group,
    /// Where it is: a table and a chain, or an interface.
    pub place: String,
    /// A rule's number in its table, or its place in a chain of legacy xtables.
    pub handle: Option<u64>,
    /// As a program prints it; else what it does, in words.
    pub text: String,
    /// What it does.
    pub acts: Vec<Act>,
    /// Why it is in its group, where that is not plain.
    pub why: String,
    /// What it has met, of all packets, where that is counted.
    pub count: Option<Count>,
    /// As which packets are left to the kernel for it.
    pub reason: Option<PuntReason>,
    /// It drops packets, and which of them is in a set or in a match that is not known here: whoever passes it by has to say so.
    pub may_drop: bool,
}

impl Item {
    /// Whether it would have done something that nobody has accepted, or may have dropped packets.
    #[must_use]
    pub fn is_unaccepted(&self) -> bool {
        self.group == Group::Changes || self.may_drop
    }

    /// Where it is, and what it does: in a line.
    #[must_use]
    pub fn line(&self) -> String {
        match self.kind {
            ItemKind::Policy => format!("{}: {}", self.place, self.text),
            _ => match self.handle {
                Some(handle) => format!("{} rule {handle}: {}", self.place, self.text),
                None => format!("{}: {}", self.place, self.text),
            },
        }
    }
}
