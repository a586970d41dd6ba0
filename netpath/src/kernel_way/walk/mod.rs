//! Following the packet: the stages in the kernel's order.
//!
//! ```text
//! received: programs, netdev ingress, PREROUTING, route ─┬─ INPUT, delivered
//!                                                        └─ TTL, MTU, FORWARD ─┐
//! sent:     route, OUTPUT, reroute ────────────────────────────────────────────┴─ POSTROUTING, MTU, neighbour, egress
//! ```

mod forward;
mod hook;
mod ipsec;
mod nat;
mod output;
mod receive;
mod routes;
mod send;
mod track;

use netpath_common::{Family, Ifindex, Mac};

pub(super) use self::{
    hook::At,
    nat::{Range, in_net},
    track::{Phase, Track},
};
use super::{
    Answer, Cause, Connection, End, Entry, IcmpError, KernelWayError, Outcome, Packet, Place,
    Question, RuleAt, State, Step, Supposed, Transport, Unknown, Way, choices::Choices,
    kernel::Kernel,
};
use crate::netlink::Resolved;

/// How many combinations of what cannot be known are followed.
const RUNS: usize = 256;

/// Follows a packet to its end, or to all the ends that it may come to.
///
/// # Errors
/// When the kernel does not say what it is asked, or the packet is said to come in by an interface that is not there.
pub fn ask(
    state: &State,
    kernel: &dyn Kernel,
    question: &Question,
) -> Result<Answer, KernelWayError> {
    let mut choices = Choices::default();
    let mut ways: Vec<Way> = Vec::new();
    for _ in 0..RUNS {
        let way = Walk::new(state, kernel, &mut choices, question).run(question.entry)?;
        if !ways.iter().any(|known| known.end == way.end) {
            ways.push(way);
        }
        if !choices.advance() {
            return Ok(Answer { ways, more: false });
        }
    }
    Ok(Answer { ways, more: true })
}

/// A routing table as `ip route` calls it: `RT_TABLE_*` of linux/rtnetlink.h.
fn table(number: u32) -> String {
    match number {
        253 => "table default".to_owned(),
        254 => "table main".to_owned(),
        255 => "table local".to_owned(),
        other => format!("table {other}"),
    }
}

/// Why a walk goes no further.
pub(super) enum Stop {
    /// The packet is at its end.
    End(Box<End>),
    /// It is not known what the kernel would say.
    Error(KernelWayError),
}

impl From<KernelWayError> for Stop {
    fn from(error: KernelWayError) -> Self {
        Self::Error(error)
    }
}

/// What a stage yields, unless the packet ends in it.
pub(super) type Going<T> = Result<T, Stop>;

/// A packet on its way.
pub(super) struct Walk<'a> {
    pub state: &'a State,
    pub kernel: &'a dyn Kernel,
    choices: &'a mut Choices,
    pub packet: Packet,
    /// As hooks see them.
    pub iif: Option<Ifindex>,
    pub oif: Option<Ifindex>,
    /// It came in from this Ethernet address, if that is known.
    pub source_mac: Option<Mac>,
    /// It comes from a socket.
    pub is_sent: bool,
    pub track: Track,
    /// The way that it goes by.
    pub route: Option<Resolved>,
    steps: Vec<Step>,
    supposed: Vec<Supposed>,
}

impl<'a> Walk<'a> {
    fn new(
        state: &'a State,
        kernel: &'a dyn Kernel,
        choices: &'a mut Choices,
        question: &Question,
    ) -> Self {
        Self {
            state,
            kernel,
            choices,
            packet: question.packet.clone(),
            iif: None,
            oif: None,
            source_mac: None,
            is_sent: question.entry == Entry::Sent,
            track: Track::new(match question.connection {
                Connection::New => None,
                Connection::Known(tracked) => Some(tracked),
            }),
            route: None,
            steps: Vec::new(),
            supposed: Vec::new(),
        }
    }

    fn run(mut self, entry: Entry) -> Result<Way, KernelWayError> {
        let stop = match entry {
            Entry::By {
                ifindex,
                source_mac,
            } => self.received(ifindex, source_mac),
            Entry::Sent => self.sent(),
        };
        let end = match stop {
            Ok(end) => end,
            Err(Stop::End(end)) => *end,
            Err(Stop::Error(error)) => return Err(error),
        };
        Ok(Way {
            end,
            tracked: self.track.known(),
            steps: self.steps,
            supposed: self.supposed,
        })
    }

    pub fn family(&self) -> Family {
        self.packet.family()
    }

    /// Notes what was looked at.
    pub fn note(&mut self, place: Place, outcome: Outcome, text: impl Into<String>) {
        self.note_rule(place, outcome, text, None);
    }

    pub fn note_rule(
        &mut self,
        place: Place,
        outcome: Outcome,
        text: impl Into<String>,
        rule: Option<RuleAt>,
    ) {
        self.steps.push(Step {
            place,
            text: text.into(),
            outcome,
            rule,
            packet: self.packet.clone(),
        });
    }

    /// It is dropped without a word.
    pub fn drop<T>(&mut self, place: Place, cause: Cause) -> Going<T> {
        self.note(place, Outcome::Ends, cause.to_string());
        stop(End::Dropped { cause })
    }

    /// It is dropped and its sender told, unless it is an error itself.
    pub fn answer<T>(&mut self, place: Place, cause: Cause, kind: u8, code: u8) -> Going<T> {
        let mtu = match cause {
            Cause::TooBig { mtu } => Some(mtu),
            _ => None,
        };
        if self.is_error() {
            return self.drop(place, cause);
        }
        let error = IcmpError::Icmp { kind, code, mtu };
        self.note(
            place,
            Outcome::Ends,
            format!("{cause}: answered with {error}"),
        );
        stop(End::Answered { cause, error })
    }

    /// Nobody is told about an ICMP error.
    pub fn is_error(&self) -> bool {
        let Transport::Icmp { kind, .. } = self.packet.transport else {
            return false;
        };
        match self.family() {
            Family::V4 => matches!(kind, 3 | 4 | 5 | 11 | 12),
            Family::V6 => kind < 128,
        }
    }

    /// One of several possibilities, each in words.
    pub fn suppose(&mut self, unknown: Unknown, possibilities: &[String]) -> usize {
        let chosen = self.choices.choose(possibilities.len());
        self.supposed.push(Supposed {
            unknown,
            so: possibilities[chosen].clone(),
        });
        chosen
    }

    /// Something stays open, whatever is supposed.
    pub fn leave_open(&mut self, unknown: Unknown, so: &str) {
        self.supposed.push(Supposed {
            unknown,
            so: so.to_owned(),
        });
    }

    /// A setting that is on or off; one that is not there is off.
    pub fn is_on(&self, key: &str) -> Result<bool, KernelWayError> {
        Ok(self.kernel.setting(key)?.unwrap_or(0) != 0)
    }

    /// The same of an interface, or of all.
    pub fn is_on_any(&self, tree: &str, dev: &str, setting: &str) -> Result<bool, KernelWayError> {
        Ok(self.is_on(&format!("{tree}/conf/all/{setting}"))?
            || self.is_on(&format!("{tree}/conf/{dev}/{setting}"))?)
    }
}

/// The packet is at its end.
pub(super) fn stop<T>(end: End) -> Going<T> {
    Err(Stop::End(Box::new(end)))
}
