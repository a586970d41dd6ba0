//! The way of a packet.

use serde::Serialize;

use super::Finding;
use crate::{
    explain::{self, WayEnd},
    kernel_way,
};

/// `netpath explain -j`. Schema: docs/schema/explain.json.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Whether the packet arrives, and the answer where that was asked about: `yes`, `may` or `no`.
    pub arrives: &'static str,
    /// That in one sentence, for people.
    pub verdict: String,
    /// What is wrong and what cures it; null where nothing is, or it is not known.
    pub finding: Option<Finding>,
    /// The way of the packet.
    pub there: ExplainedWay,
    /// The way of the answer; null where it was not asked about, or the packet does not arrive.
    pub back: Option<ExplainedWay>,
    /// Nodes that could not be read, and why, for people.
    pub unread: Vec<String>,
    /// [`Explanation::VERSION`].
    pub version: u32,
}

/// The way of one packet.
#[derive(Clone, Debug, Serialize)]
pub struct ExplainedWay {
    /// As of the whole, of this packet.
    pub arrives: &'static str,
    /// As it is sent.
    pub packet: ExplainedPacket,
    /// The namespaces that it comes by.
    pub hops: Vec<ExplainedHop>,
    /// Where it ends.
    pub end: ExplainedEnd,
    /// What cannot be known, and matters.
    pub unknown: Vec<ExplainedUnknown>,
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedPacket {
    /// Its source address.
    pub source: String,
    /// Its destination.
    pub destination: String,
    /// Its protocol's number (IANA).
    pub protocol_number: u8,
    /// Its source port; null of a protocol without ports.
    pub source_port: Option<u16>,
    /// Its destination port.
    pub destination_port: Option<u16>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Bytes from the IP header on.
    pub length: u32,
    /// The TOS or traffic class byte.
    pub tos: u8,
    /// IPv4's DF; of IPv6, that its sender does not fragment it either.
    pub dont_fragment: bool,
    /// Its mark.
    pub mark: u32,
}

/// A namespace on the way.
#[derive(Clone, Debug, Serialize)]
pub struct ExplainedHop {
    /// `node` or `endpoint`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The file of its namespace; null for that of netpath itself.
    pub netns: Option<String>,
    /// The interface that the packet comes in by; null where it is sent here.
    pub ingress: Option<String>,
    /// Who decides: `fast_path` or `kernel`.
    pub by: &'static str,
    /// What was looked at, in order.
    pub steps: Vec<ExplainedStep>,
    /// What becomes of the packet here, for people.
    pub outcome: String,
    /// The interface that it leaves by; null where it does not.
    pub egress: Option<String>,
    /// As it leaves, or ends.
    pub packet: ExplainedPacket,
    /// What the kernel would do in the place of the fast path (`--diff`); null where that was not asked.
    pub kernel: Option<ExplainedKernel>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct ExplainedStep {
    /// What, in a word or two.
    pub what: String,
    /// What it said, for people.
    pub text: String,
    /// `passes`, `changes` or `ends`.
    pub effect: &'static str,
}

/// The kernel beside the fast path.
#[derive(Clone, Debug, Serialize)]
pub struct ExplainedKernel {
    /// Whether it would do the same.
    pub agrees: bool,
    /// What it would do, for people.
    pub text: String,
}

/// Where a way ends.
#[derive(Clone, Debug, Serialize)]
pub struct ExplainedEnd {
    /// `delivered`, `leaves` (out of sight), `lost` or `unknown`.
    pub kind: &'static str,
    /// The node or endpoint; null where it is not known.
    pub place: Option<String>,
    /// The interface that it leaves by, out of sight; else null.
    pub dev: Option<String>,
    /// The next hop that it leaves to; else null.
    pub next_hop: Option<String>,
    /// All of it, for people.
    pub text: String,
}

/// What cannot be known.
#[derive(Clone, Debug, Serialize)]
pub struct ExplainedUnknown {
    /// What, for people.
    pub what: String,
    /// Of which rule, for people; null where it is of none.
    pub rule: Option<String>,
}

impl Explanation {
    /// Of the document.
    pub const VERSION: u32 = 1;
}

impl From<&explain::Explanation> for Explanation {
    fn from(found: &explain::Explanation) -> Self {
        Self {
            arrives: found.arrives.name(),
            verdict: found.verdict.clone(),
            finding: found.finding.as_ref().map(Finding::from),
            there: ExplainedWay::from(&found.there),
            back: found.back.as_ref().map(ExplainedWay::from),
            unread: found.unread.clone(),
            version: Self::VERSION,
        }
    }
}

impl From<&explain::Way> for ExplainedWay {
    fn from(way: &explain::Way) -> Self {
        let unknown = way.unknown.iter().map(|unknown| ExplainedUnknown {
            what: unknown.what.clone(),
            rule: unknown.rule.as_ref().map(ToString::to_string),
        });
        Self {
            arrives: way.arrives.name(),
            packet: ExplainedPacket::from(&way.packet),
            hops: way.hops.iter().map(ExplainedHop::from).collect(),
            end: ExplainedEnd::from(&way.end),
            unknown: unknown.collect(),
        }
    }
}

impl From<&kernel_way::Packet> for ExplainedPacket {
    fn from(packet: &kernel_way::Packet) -> Self {
        use kernel_way::Transport::{Icmp, Other, Tcp, Udp};
        let ends = packet.tuple();
        let ports = match packet.transport {
            Tcp { .. } | Udp { .. } => Some((ends.source_port, ends.destination_port)),
            Icmp { .. } | Other(_) => None,
        };
        Self {
            source: packet.source.to_string(),
            destination: packet.destination.to_string(),
            protocol_number: packet.protocol(),
            source_port: ports.map(|(source, _)| source),
            destination_port: ports.map(|(_, destination)| destination),
            ttl: packet.ttl,
            length: packet.length,
            tos: packet.tos,
            dont_fragment: packet.dont_fragment,
            mark: packet.mark,
        }
    }
}

impl From<&explain::Hop> for ExplainedHop {
    fn from(hop: &explain::Hop) -> Self {
        let steps = hop.steps.iter().map(|step| ExplainedStep {
            what: step.what.clone(),
            text: step.text.clone(),
            effect: step.effect.name(),
        });
        Self {
            kind: hop.kind.name(),
            name: hop.name.clone(),
            netns: hop.netns.as_ref().map(|file| file.display().to_string()),
            ingress: hop.ingress.clone(),
            by: hop.by.name(),
            steps: steps.collect(),
            outcome: hop.outcome.clone(),
            egress: hop.egress.clone(),
            packet: ExplainedPacket::from(&hop.packet),
            kernel: hop.kernel.as_ref().map(|kernel| ExplainedKernel {
                agrees: kernel.agrees,
                text: kernel.text.clone(),
            }),
        }
    }
}

impl From<&WayEnd> for ExplainedEnd {
    fn from(end: &WayEnd) -> Self {
        let nowhere = Self {
            kind: "unknown",
            place: None,
            dev: None,
            next_hop: None,
            text: end.to_string(),
        };
        match end {
            WayEnd::Delivered { place, .. } => Self {
                kind: "delivered",
                place: Some(place.clone()),
                ..nowhere
            },
            WayEnd::Leaves {
                place,
                dev,
                next_hop,
                ..
            } => Self {
                kind: "leaves",
                place: Some(place.clone()),
                dev: Some(dev.clone()),
                next_hop: next_hop.map(|it| it.to_string()),
                ..nowhere
            },
            WayEnd::Lost { place, .. } => Self {
                kind: "lost",
                place: Some(place.clone()),
                ..nowhere
            },
            WayEnd::TooMany => nowhere,
        }
    }
}
