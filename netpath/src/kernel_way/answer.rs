//! What becomes of the packet.

use std::{fmt, net::IpAddr};

use netpath_common::{Ifindex, Mac};

use super::packet::{Packet, Tracked};
use crate::{
    netfilter::{
        Count,
        nft::{Hook, TableFamily},
    },
    netlink::{NeighbourState, RouteKind},
};

/// The ways that a packet may take: one, unless something cannot be known and matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// At least one; no two with the same end. The first is that where what is not known does not match.
    pub ways: Vec<Way>,
    /// There are more ways than were followed.
    pub more: bool,
}

/// A way to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// What was looked at, in the kernel's order.
    pub steps: Vec<Step>,
    /// Where it ends.
    pub end: End,
    /// What had to be supposed on it.
    pub supposed: Vec<Supposed>,
    /// What connection tracking has of the packet's connection behind it: for the way of the answer.
    pub tracked: Option<Tracked>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub place: Place,
    /// What it said, in a few words.
    pub text: String,
    /// What it did to the packet.
    pub outcome: Outcome,
    /// The rule or policy that decided, at a hook.
    pub rule: Option<RuleAt>,
    /// The packet behind it.
    pub packet: Packet,
}

/// What a step did to the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing.
    Passes,
    /// It is another packet now, or goes another way.
    Changes,
    /// Its way ends here.
    Ends,
}

/// What the kernel looks at on a packet's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A hook of netfilter, and a chain that is called there.
    Hook {
        /// Which.
        hook: Hook,
        /// Of which family the table is.
        family: TableFamily,
        /// Its table.
        table: String,
        /// Its base chain.
        chain: String,
        /// With this priority.
        priority: i32,
    },
    /// Other programs at the interface (tc, XDP), which are not followed.
    Programs,
    /// Connection tracking: what it takes the packet for, and the translation of a known connection.
    Conntrack,
    /// Whether the source or destination may be on a wire at all.
    Martian,
    /// Whether the way back leads where it came from.
    ReversePath,
    /// The route.
    Route,
    /// The route of a packet that was marked or translated after it had one.
    Reroute,
    /// Whether the interface or the family forwards.
    Forwarding,
    /// TTL or hop limit.
    Ttl,
    /// The MTU.
    Mtu,
    /// A redirect that tells the sender of a better way.
    Redirect,
    /// The neighbour that it is sent to.
    Neighbour,
    /// Through the loopback interface, back into the namespace.
    Loopback,
}

/// A rule, or the policy of a base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleAt {
    /// The table's family.
    pub family: TableFamily,
    /// The table.
    pub table: String,
    /// The chain that it stands in.
    pub chain: String,
    /// Its handle, as `nft -a list ruleset` shows it; `None`: the chain's policy.
    pub handle: Option<u64>,
    /// Its number in the chain, as `iptables -L --line-numbers` shows it, from 1; 0 of a policy.
    pub number: usize,
    /// What it asks and does, as `iptables -S` or `nft list` shows it; where neither can be asked, in words close to
    /// those of `nft`.
    pub text: String,
    /// What it has counted so far; `None` if it does not count.
    pub count: Option<Count>,
}

/// What cannot be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// What: `match recent`, `limit`, `numgen`, `set blocked`, `legacy table filter`, ...
    pub what: String,
    /// Of which rule.
    pub rule: Option<RuleAt>,
}

/// What was supposed of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supposed {
    /// Of what.
    pub unknown: Unknown,
    /// What, in words: `it matches`, `it does not match`.
    pub so: String,
}

/// Where a packet's way ends in this namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It leaves, or would if the neighbour answers.
    Leaves(Box<Leaving>),
    /// It is given to whoever listens here.
    Delivered {
        /// As it is then.
        packet: Packet,
    },
    /// It is dropped without a word.
    Dropped {
        /// Why.
        cause: Cause,
    },
    /// It is dropped, and its sender is told. The way of what it is told is another one, of a packet that is sent here.
    Answered {
        /// Why.
        cause: Cause,
        /// With what.
        error: IcmpError,
    },
    /// A rule gives it away: to a program's queue, another interface, a proxy.
    Taken {
        /// Which.
        rule: RuleAt,
        /// `queue`, `fwd`, `tproxy`, ...
        by: String,
    },
}

/// A packet that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// By this interface.
    pub ifindex: Ifindex,
    /// Its name.
    pub dev: String,
    /// To this router, or to the destination itself.
    pub next_hop: IpAddr,
    /// What is known of that neighbour.
    pub neighbour: NextHopState,
    /// As it is then.
    pub packet: Packet,
    /// It is cut into fragments that fit into so many bytes.
    pub fragments: Option<u32>,
}

/// What is known of the neighbour that a packet is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHopState {
    /// The interface needs none: a tunnel, a point-to-point link.
    Unneeded,
    /// It has this Ethernet address, as known in this state.
    Known {
        /// Its address.
        mac: Mac,
        /// How well it is known.
        state: NeighbourState,
    },
    /// It is asked first, by ARP or neighbour discovery: the packet waits, and is lost if there is no answer.
    Asked {
        /// It was asked before, and so stands it: failed, incomplete; `None`: it is not known at all.
        state: Option<NeighbourState>,
    },
}

/// Why a packet goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A rule, or a policy.
    Rule(RuleAt),
    /// An address that may not be on a wire.
    Martian {
        /// What is wrong with it.
        text: String,
    },
    /// The way back to its source does not lead where it came from.
    ReversePath {
        /// `net/ipv4/conf/<this>/rp_filter` is what applies.
        dev: String,
        /// 1: strict; 2: loose.
        mode: u8,
    },
    /// Reverse-path filter or a route that drops; the kernel does not tell which.
    ReversePathOrRoute {
        /// As for [`Cause::ReversePath`].
        dev: String,
        /// As for [`Cause::ReversePath`].
        mode: u8,
        /// The kind of route.
        kind: RouteKind,
    },
    /// No route leads there.
    NoRoute,
    /// A route, or a rule of routing, that refuses.
    Route {
        /// Of which kind.
        kind: RouteKind,
    },
    /// The source address of what is sent here is not this namespace's.
    SourceNotHere,
    /// Forwarding is off.
    ForwardingOff {
        /// The setting, below /proc/sys/net.
        key: String,
    },
    /// The TTL or hop limit is used up.
    Ttl,
    /// It is larger than what fits.
    TooBig {
        /// What fits, in bytes.
        mtu: u32,
    },
    /// A program that is not followed.
    Program {
        /// What it is.
        name: String,
    },
    /// IPv6 is off on an interface.
    Ipv6Off {
        /// Which.
        dev: String,
    },
    /// The interface is down, or cannot send.
    LinkDown {
        /// Which.
        dev: String,
    },
}

/// What a sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// ICMP or ICMPv6.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Of "fragmentation needed" and "packet too big".
        mtu: Option<u32>,
    },
    /// A TCP reset.
    TcpReset,
}

impl Answer {
    /// The end, if there is but one.
    pub fn certain(&self) -> Option<&End> {
        match self.ways.as_slice() {
            [way] if !self.more => Some(&way.end),
            _ => None,
        }
    }

    /// What cannot be known and matters, each once.
    pub fn unknown(&self) -> Vec<&Unknown> {
        let mut found: Vec<&Unknown> = Vec::new();
        if self.certain().is_some() {
            return found;
        }
        for supposed in self.ways.iter().flat_map(|way| &way.supposed) {
            if !found.contains(&&supposed.unknown) {
                found.push(&supposed.unknown);
            }
        }
        found
    }
}

impl fmt::Display for RuleAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (family, table) = (self.family, &self.table);
        write!(f, "table {family} {table}, chain {}", self.chain)?;
        match self.handle {
            Some(_) => write!(f, ", rule {}: {}", self.number, self.text),
            None => write!(f, ": {}", self.text),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => write!(f, "{rule}"),
            Self::Martian { text } => f.write_str(text),
            Self::ReversePath { dev, mode } => {
                write!(
                    f,
                    "reverse-path filter: net/ipv4/conf/{dev}/rp_filter is {mode}"
                )
            }
            Self::ReversePathOrRoute { dev, mode, kind } => write!(
                f,
                "a {kind} route, or the reverse-path filter (net/ipv4/conf/{dev}/rp_filter is {mode})"
            ),
            Self::NoRoute => f.write_str("no route"),
            Self::Route { kind } => write!(f, "{kind} route"),
            Self::SourceNotHere => f.write_str("its source address is not of this namespace"),
            Self::ForwardingOff { key } => write!(f, "net/{key} is 0"),
            Self::Ttl => f.write_str("its TTL is used up"),
            Self::TooBig { mtu } => write!(f, "it is larger than the MTU of {mtu}"),
            Self::Program { name } => f.write_str(name),
            Self::Ipv6Off { dev } => write!(f, "IPv6 is off on {dev}"),
            Self::LinkDown { dev } => write!(f, "{dev} is down"),
        }
    }
}

impl fmt::Display for IcmpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Icmp { kind, code, mtu } => {
                write!(f, "ICMP {kind}/{code}")?;
                mtu.map_or(Ok(()), |mtu| write!(f, ", MTU {mtu}"))
            }
            Self::TcpReset => f.write_str("a TCP reset"),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaves(leaving) => {
                write!(f, "leaves by {} to {}", leaving.dev, leaving.next_hop)?;
                match leaving.neighbour {
                    NextHopState::Unneeded => {}
                    NextHopState::Known { mac, .. } => write!(f, " ({mac})")?,
                    NextHopState::Asked { .. } => f.write_str(", which is asked first")?,
                }
                write!(f, ": {}", leaving.packet)
            }
            Self::Delivered { packet } => write!(f, "is delivered here: {packet}"),
            Self::Dropped { cause } => write!(f, "is dropped: {cause}"),
            Self::Answered { cause, error } => write!(f, "is refused with {error}: {cause}"),
            Self::Taken { rule, by } => write!(f, "is taken by {by}: {rule}"),
        }
    }
}
