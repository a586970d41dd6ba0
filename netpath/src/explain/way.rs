//! A way as it is told: namespace by namespace, each with what was looked at there. Pure.

use std::{fmt, path::PathBuf};

use netpath_common::Mac;

use crate::{
    finding::Finding,
    kernel_way::{Packet, Unknown},
};

/// Whether a packet arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arrives {
    /// It does.
    Yes,
    /// It may: something of it cannot be known from here.
    May,
    /// It does not.
    No,
}

impl Arrives {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::May => "may",
            Self::No => "no",
        }
    }
}

/// What was found out.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The way of the packet that was asked about.
    pub there: Way,
    /// The way of the answer, where it was asked about and the packet arrives.
    pub back: Option<Way>,
    /// Whether both arrive.
    pub arrives: Arrives,
    /// That in one sentence.
    pub verdict: String,
    /// What is wrong, with what, and what cures it.
    pub finding: Option<Finding>,
    /// Nodes that could not be read, and why.
    pub unread: Vec<String>,
}

/// The way of one packet.
#[derive(Clone, Debug)]
pub struct Way {
    /// The packet, as it is sent.
    pub packet: Packet,
    /// Where it comes by.
    pub hops: Vec<Hop>,
    /// Where it ends.
    pub end: WayEnd,
    /// Whether it arrives.
    pub arrives: Arrives,
    /// What cannot be known, and matters.
    pub unknown: Vec<Unknown>,
}

/// Where a way ends, as far as it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WayEnd {
    /// It is delivered in this namespace.
    Delivered {
        /// The endpoint's or node's name.
        place: String,
        /// The packet as it is then.
        packet: Packet,
        /// Whether that is where it was to go.
        is_wanted: bool,
    },
    /// It leaves what netpath knows.
    Leaves {
        /// The node or endpoint.
        place: String,
        /// By this interface.
        dev: String,
        /// To this next hop; without one where there is but the other end.
        next_hop: Option<std::net::IpAddr>,
        /// At this Ethernet address, if it is known.
        mac: Option<Mac>,
        /// The packet as it is then.
        packet: Packet,
    },
    /// It goes no further.
    Lost {
        /// The node or endpoint.
        place: String,
        /// Why, in a few words.
        text: String,
    },
    /// More ways than are followed.
    TooMany,
}

/// One namespace on the way.
#[derive(Clone, Debug)]
pub struct Hop {
    /// What it is.
    pub kind: PlaceKind,
    /// The name of the node or endpoint.
    pub name: String,
    /// The file of its namespace; `None`: the calling process's own.
    pub netns: Option<PathBuf>,
    /// The interface that the packet comes in by; `None`: it is sent here.
    pub ingress: Option<String>,
    /// Who decides.
    pub by: By,
    /// What was looked at, in order.
    pub steps: Vec<Step>,
    /// What becomes of the packet here, in a few words.
    pub outcome: String,
    /// The interface that it leaves by.
    pub egress: Option<String>,
    /// The packet as it leaves or ends.
    pub packet: Packet,
    /// What the kernel would do in the place of the fast path, where that was asked.
    pub kernel: Option<Comparison>,
}

/// What a namespace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceKind {
    /// A node.
    Node,
    /// An endpoint.
    Endpoint,
}

impl PlaceKind {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Endpoint => "endpoint",
        }
    }
}

/// Who decides of a packet in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The programs of the fast path.
    FastPath,
    /// The kernel.
    Kernel,
}

impl By {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::FastPath => "fast_path",
            Self::Kernel => "kernel",
        }
    }
}

/// The fast path beside the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Whether both do the same.
    pub agrees: bool,
    /// What the kernel would do.
    pub text: String,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What, in a word or two.
    pub what: String,
    /// What it said.
    pub text: String,
    /// Whether the packet's way ends here, or changes.
    pub effect: Effect,
}

/// What a step does to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Passes,
    /// It changes the packet or its way.
    Changes,
    /// Its way ends.
    Ends,
}

impl Effect {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passes => "passes",
            Self::Changes => "changes",
            Self::Ends => "ends",
        }
    }
}

impl Step {
    pub(super) fn passes(what: &str, text: impl Into<String>) -> Self {
        Self::of(what, text, Effect::Passes)
    }

    pub(super) fn of(what: &str, text: impl Into<String>, effect: Effect) -> Self {
        Self {
            what: what.to_owned(),
            text: text.into(),
            effect,
        }
    }
}

impl fmt::Display for WayEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered { place, .. } => write!(f, "is delivered in {place}"),
            Self::Leaves {
                place,
                dev,
                next_hop,
                mac,
                ..
            } => {
                write!(f, "leaves {place} by {dev}")?;
                if let Some(next_hop) = next_hop {
                    write!(f, " to {next_hop}")?;
                }
                match mac {
                    Some(mac) => write!(f, " ({mac}), not seen from here"),
                    None => f.write_str(", not seen from here"),
                }
            }
            Self::Lost { place, text } => write!(f, "is lost in {place}: {text}"),
            Self::TooMany => f.write_str("may take more ways than are followed"),
        }
    }
}
