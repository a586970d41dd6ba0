//! Traces.

use serde::Serialize;

use crate::{
    flows::protocol_name,
    trace::{Fate, Found, Packet, Session, Step, Summary, Traced, What, why},
};

/// `netpath trace -j`. Schema: docs/schema/trace.json.
#[derive(Clone, Debug, Serialize)]
pub struct Trace {
    /// In the order in which they were first seen.
    pub packets: Vec<TracedPacket>,
    /// Probes that the sender's own kernel did not send, and why.
    pub refused: Vec<String>,
    /// What the trace could not see, a sentence each.
    pub notes: Vec<String>,
    /// Events that there was no room for.
    pub lost: u64,
    /// [`Trace::VERSION`].
    pub version: u32,
}

impl Trace {
    /// Of the document, and of each line of a trace of live traffic.
    pub const VERSION: u32 = 1;

    /// Of what a trace has found.
    pub fn of(found: &Found, session: &Session) -> Self {
        let packets = found.packets.iter();
        Self {
            packets: packets.map(|it| TracedPacket::of(it, session)).collect(),
            refused: found.refused.clone(),
            notes: session.notes.clone(),
            lost: found.untold.lost,
            version: Self::VERSION,
        }
    }
}

/// A packet on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TracedPacket {
    /// `there`, `back`, or `error` for an ICMP error about it.
    pub direction: &'static str,
    /// Name of its protocol; its number where that has none here.
    pub protocol: String,
    /// The number (IANA).
    pub protocol_number: u8,
    /// Its source address, as it was first seen.
    pub source: String,
    /// Its destination address, as it was first seen.
    pub destination: String,
    /// Of a protocol that has ports; else null.
    pub source_port: Option<u16>,
    /// The same.
    pub destination_port: Option<u16>,
    /// ICMP type; else null.
    pub icmp_type: Option<u8>,
    /// ICMP code; else null.
    pub icmp_code: Option<u8>,
    /// TTL or hop limit, as it was first seen.
    pub ttl: u8,
    /// Length from the IP header on, in bytes.
    pub length: usize,
    /// `arrived`, `left` (this machine), `dropped` or `lost` (it was last seen there).
    pub outcome: &'static str,
    /// Node, endpoint or namespace where that was.
    pub place: String,
    /// Interface there; null where it was at none.
    pub interface: Option<String>,
    /// Why it was dropped, in words; else null.
    pub why: Option<String>,
    /// What mends it, where that is known; else null.
    pub cure: Option<String>,
    /// From the first step to the last, in nanoseconds.
    pub nanoseconds: u64,
    /// What happened to it, in order.
    pub steps: Vec<TraceStep>,
    /// [`Trace::VERSION`].
    pub version: u32,
}

/// One thing that happened to a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TraceStep {
    /// Since the first step.
    pub nanoseconds: u64,
    /// Number of the processor.
    pub processor: u32,
    /// Node, endpoint or namespace.
    pub place: String,
    /// Interface there; null where it was at none.
    pub interface: Option<String>,
    /// `received`, `sent`, `decided` (by netpath), `dropped` (by the kernel) or `consumed`.
    pub what: &'static str,
    /// What netpath decided; else null.
    pub outcome: Option<&'static str>,
    /// Where netpath sent it; null where it chose no interface.
    pub egress: Option<String>,
    /// The reason of netpath or of the kernel, as they name it; null where there is none.
    pub reason: Option<String>,
    /// The function that dropped or consumed it; null where the kernel does not tell.
    pub function: Option<String>,
    /// The functions that called it, the innermost first.
    pub callers: Vec<String>,
    /// Source and destination, where somebody has rewritten them; else null.
    pub rewritten: Option<[String; 2]>,
    /// TTL or hop limit; null where the packet was not looked at.
    pub ttl: Option<u8>,
    /// Mark.
    pub mark: u32,
    /// Which of its copies it was: a bridge makes some.
    pub copy: usize,
}

impl TracedPacket {
    /// Of a packet that was traced.
    pub fn of(traced: &Traced, session: &Session) -> Self {
        let Packet { summary, steps } = &traced.packet;
        let name = protocol_name(summary.protocol);
        let begun = steps.first().map_or(0, |step| step.time);
        let shows = steps.get(traced.fate.step());
        let why = match traced.fate {
            Fate::Dropped(at) => Some(why(&traced.packet, at, &session.places)),
            Fate::Arrived(_) | Fate::Left(_) | Fate::Lost(_) => None,
        };
        Self {
            direction: traced.direction.name(),
            protocol: name.map_or_else(|| summary.protocol.to_string(), str::to_owned),
            protocol_number: summary.protocol,
            source: summary.source.to_string(),
            destination: summary.destination.to_string(),
            source_port: summary.ports.map(|(from, _)| from),
            destination_port: summary.ports.map(|(_, to)| to),
            icmp_type: summary.icmp.map(|(kind, _, _)| kind),
            icmp_code: summary.icmp.map(|(_, code, _)| code),
            ttl: summary.ttl,
            length: summary.length,
            outcome: traced.fate.name(),
            place: where_to(traced, session),
            interface: shows.and_then(|step| interface_there(traced, step, session)),
            why: why.as_ref().map(|why| why.text.clone()),
            cure: why.and_then(|why| why.cure),
            nanoseconds: steps.last().map_or(0, |step| step.time - begun),
            steps: steps
                .iter()
                .map(|step| TraceStep::of(step, begun, summary, session))
                .collect(),
            version: Trace::VERSION,
        }
    }
}

/// Where it ended: what netpath redirects has come into the endpoint that the interface leads to.
fn where_to(traced: &Traced, session: &Session) -> String {
    let Some(step) = traced.packet.steps.get(traced.fate.step()) else {
        return "-".to_owned();
    };
    match (&step.what, traced.fate) {
        (What::Decided(decision), Fate::Arrived(_)) => {
            let found = session.places.behind(step.netns, decision.egress.0);
            found.unwrap_or_else(|| session.places.name(step.netns))
        }
        _ => session.places.name(step.netns),
    }
}

/// The interface of the place where it ended: of an endpoint that netpath redirects to only what is seen inside tells it.
fn interface_there(traced: &Traced, step: &Step, session: &Session) -> Option<String> {
    let mut later = traced.packet.steps[traced.fate.step()..].iter();
    match (&step.what, traced.fate) {
        (What::Decided(_), Fate::Arrived(_)) => later
            .find(|it| it.netns != step.netns && it.ifindex != 0)
            .and_then(|it| interface(it, session)),
        _ => interface(step, session),
    }
}

fn interface(step: &Step, session: &Session) -> Option<String> {
    (step.ifindex != 0).then(|| session.places.device(step.netns, step.ifindex))
}

impl TraceStep {
    fn of(step: &Step, begun: u64, first: &Summary, session: &Session) -> Self {
        let (mut outcome, mut egress, mut reason, mut function, mut callers) =
            (None, None, None, None, Vec::new());
        let what = match &step.what {
            What::Received => "received",
            What::Sent => "sent",
            What::Decided(decision) => {
                outcome = Some(decision.outcome.name());
                reason = decision.reason.map(str::to_owned);
                egress = (decision.egress.0 != 0)
                    .then(|| session.places.device(step.netns, decision.egress.0));
                "decided"
            }
            What::Dropped(drop) => {
                reason = (!drop.reason.is_empty()).then(|| drop.reason.clone());
                function.clone_from(&drop.function);
                callers.clone_from(&drop.callers);
                "dropped"
            }
            What::Consumed(by) => {
                function.clone_from(by);
                "consumed"
            }
        };
        let now = Summary::of(&step.bytes);
        let is_other =
            |it: &&Summary| (it.source, it.destination) != (first.source, first.destination);
        let rewritten = now.as_ref().filter(is_other);
        Self {
            nanoseconds: step.time - begun,
            processor: step.cpu,
            place: session.places.name(step.netns),
            interface: interface(step, session),
            what,
            outcome,
            egress,
            reason,
            function,
            callers,
            rewritten: rewritten.map(|it| [it.source.to_string(), it.destination.to_string()]),
            ttl: now.map(|it| it.ttl),
            mark: step.mark,
            copy: step.copy,
        }
    }
}
