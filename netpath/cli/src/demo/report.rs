//! What is told of the story: step by step while it goes on, and as a whole at its end.

use std::fmt::Display;

use netpath::{counters::HopRow, model::Topology};
use netpath_common::Family;
use serde::Serialize;

use super::{
    cast::{maybe_named, named},
    measure::Measurement,
};

/// The whole story.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DemoReport {
    /// Whether every check of every step was true, and no step was left out.
    pub passed: bool,
    /// Whether the lab was left up.
    pub kept: bool,
    /// How long it took.
    pub seconds: f64,
    /// The steps that were told, in order.
    pub steps: Vec<StepReport>,
    /// What was measured in steps 2 and 3.
    pub measurements: Vec<Measurement>,
    /// The per-hop counters of the traffic of step 4.
    pub hops: Vec<CountedHop>,
    /// What came in by each interface during it.
    pub interfaces: Vec<CountedInterface>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// From 1 to 6.
    pub number: usize,
    /// What it is about.
    pub title: &'static str,
    /// How long it took.
    pub seconds: f64,
    /// What was checked.
    pub checks: Vec<Check>,
}

impl StepReport {
    /// Whether every check was true.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }
}

/// Something that has to be so, and whether it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// A stable name.
    pub id: &'static str,
    /// The family it is about, unless it is about both.
    #[serde(serialize_with = "maybe_named")]
    pub family: Option<Family>,
    /// What was looked at, for people.
    pub what: String,
    /// What it has to be.
    pub expected: String,
    /// What it was.
    pub seen: String,
    /// Whether they are the same.
    pub passed: bool,
}

impl Check {
    /// A check that two things are the same.
    pub(super) fn same<T: PartialEq + Display>(
        id: &'static str,
        family: impl Into<Option<Family>>,
        what: impl Into<String>,
        expected: T,
        seen: T,
    ) -> Self {
        Self {
            id,
            family: family.into(),
            what: what.into(),
            passed: expected == seen,
            expected: expected.to_string(),
            seen: seen.to_string(),
        }
    }
}

/// A per-hop counter that moved while packets of one family were sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CountedHop {
    /// The family that was sent.
    #[serde(serialize_with = "named")]
    pub family: Family,
    /// What was counted meanwhile.
    #[serde(flatten)]
    pub hop: HopRow,
}

/// What came in by an interface, as the kernel and as netpath counted it, in packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CountedInterface {
    /// The node.
    pub node: String,
    /// The interface.
    pub interface: String,
    /// The interface's own `rx_packets`.
    pub kernel_rx_packets: u64,
    /// Redirected to a peer or a neighbour.
    pub redirected: u64,
    /// Left to the kernel.
    pub punted: u64,
    /// Dropped.
    pub dropped: u64,
}

/// A command to try, and what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The command.
    pub command: String,
    /// What it shows.
    pub shows: &'static str,
}

/// Something to tell.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A step begins.
    Step {
        /// Which.
        number: usize,
        /// Of how many.
        of: usize,
        /// What it is about.
        title: &'a str,
    },
    /// The lab is up.
    Lab(&'a Topology),
    /// A command that does what is done next.
    Command(&'a str),
    /// What that command prints.
    Output(&'a str),
    /// An explanation.
    Say(&'a str),
    /// A check was made.
    Check(&'a Check),
    /// What was measured so far.
    Measured(&'a [Measurement]),
    /// Per-hop counters.
    Hops(&'a [CountedHop]),
    /// Interface counters.
    Interfaces(&'a [CountedInterface]),
    /// The lab stays up: what to try.
    Hints(&'a [Hint]),
}

/// Is told the story while it goes on.
pub trait Narrator {
    /// Something happened.
    fn tell(&mut self, event: Event<'_>);
}

/// Tells nobody.
impl Narrator for () {
    fn tell(&mut self, _: Event<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_tells_what_was_expected_and_seen() {
        let check = Check::same("replies", Family::V4, "replies to 5 pings", 5, 3);
        assert!(!check.passed);
        assert_eq!((check.expected.as_str(), check.seen.as_str()), ("5", "3"));
        assert!(Check::same("policy", None, "policy", "DROP", "DROP").passed);
    }

    #[test]
    fn a_step_passes_with_all_its_checks() {
        let mut step = StepReport {
            number: 1,
            title: "a step",
            seconds: 0.0,
            checks: vec![Check::same("a", None, "a", 1, 1)],
        };
        assert!(step.passed());
        step.checks.push(Check::same("b", None, "b", 1, 2));
        assert!(!step.passed());
    }
}
