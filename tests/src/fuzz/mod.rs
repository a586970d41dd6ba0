//! Mutated packets for the real, loaded programs, and what has to hold whatever they are.
//!
//! An input is made from the seed and the number of its iteration alone, so any one can be had again:
//! `cargo xtask fuzz --seed S --iteration I`, or the environment variables of [`Plan::from_environment`].

mod corpus;
mod input;
mod invariants;
mod kernel_log;
mod ledger;
mod mutate;
mod rng;

pub use input::Input;
pub use kernel_log::KernelLog;
pub use ledger::{Ledger, Row};
pub use rng::Rng;

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    io,
    time::{Duration, Instant},
};

use netpath::{
    datapath::{DatapathError, ProgramKind, ReturnCode, TestOutcome},
    netns::Inside,
};
use netpath_common::{HopCounter, HopKey};

use crate::{TestNode, connections::clear};
use corpus::{Case, corpus};
use invariants::World;

/// After how many inputs the counters are read: reading them takes longer than many inputs do.
const BATCH: usize = 256;

/// How often what is sent on is run: the stages decide of the first two, and the decision cache of the third if it may.
const TIMES: u32 = 3;

/// Of how many inputs at an egress the connection is left in the tables of one, to be met by others of the batch.
const REMEMBERED: u64 = 8;

/// The seed where none is told, so that a test that was green stays green.
pub const SEED: u64 = 0x6e65_7470_6174_6801;

/// How long to go on.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// For so many inputs; what the kernel refuses is not one.
    Inputs(u64),
    /// For so long.
    Time(Duration),
}

/// What to feed.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The seed of all inputs.
    pub seed: u64,
    /// The iteration to begin with.
    pub first: u64,
    /// Where to end.
    pub limit: Limit,
}

impl Plan {
    /// As `NETPATH_FUZZ_SEED`, `NETPATH_FUZZ_ITERATION`, `NETPATH_FUZZ_INPUTS` and `NETPATH_FUZZ_SECONDS` say. With
    /// an iteration alone, that one input is run; with nothing, a minute's worth.
    pub fn from_environment() -> Self {
        let number = |name: &str| {
            let text = env::var(name).ok()?;
            let parsed = match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => text.parse(),
            };
            Some(parsed.unwrap_or_else(|error| panic!("{name}={text}: {error}")))
        };
        let iteration = number("NETPATH_FUZZ_ITERATION");
        let inputs = number("NETPATH_FUZZ_INPUTS").map(Limit::Inputs);
        let seconds = number("NETPATH_FUZZ_SECONDS").map(|n| Limit::Time(Duration::from_secs(n)));
        let otherwise = match iteration {
            Some(_) => Limit::Inputs(1),
            None => Limit::Time(Duration::from_secs(60)),
        };
        Self {
            seed: number("NETPATH_FUZZ_SEED").unwrap_or(SEED),
            first: iteration.unwrap_or(0),
            limit: inputs.or(seconds).unwrap_or(otherwise),
        }
    }
}

/// What became of the inputs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// All that a program ran on.
    pub inputs: u64,
    /// Frames that `BPF_PROG_TEST_RUN` did not take; no inputs.
    pub refused: u64,
    /// `TC_ACT_REDIRECT`.
    pub redirected: u64,
    /// `TCX_NEXT`: punted, and what the kernel delivers.
    pub left: u64,
    /// `TC_ACT_SHOT`.
    pub dropped: u64,
}

/// What must never happen.
#[derive(Debug)]
pub enum Violation {
    /// A return code that this program does not have.
    Code,
    /// Changed, though not redirected.
    Touched,
    /// Redirected, though this is wrong with it.
    Redirected(&'static str),
    /// Redirected with other changes than a router makes: the frame that was to be expected.
    Rewritten(Vec<u8>),
    /// Redirected with its mark.
    Marked,
    /// The counters do not show what was run.
    Counters {
        /// Their expected difference.
        expected: BTreeMap<Row, HopCounter>,
        /// Their difference.
        found: BTreeMap<HopKey, HopCounter>,
        /// A row that has gone.
        lost: Option<HopKey>,
    },
}

/// Feeds the programs of a new node as the plan says, and panics at the first violation.
pub fn run(plan: Plan) -> Tally {
    println!(
        "fuzz: seed {:#x}, from iteration {}, {:?}",
        plan.seed, plan.first, plan.limit
    );
    let node = invariants::node();
    let mut log = KernelLog::from_now_on();
    let tally = node
        .netns()
        .run(|| Fuzzer::new(&node, plan).run())
        .unwrap_or_else(|error| panic!("{error}"));
    let complaints = log.complaints();
    assert!(
        complaints.is_empty(),
        "the kernel complained, seed {:#x}: {complaints:#?}",
        plan.seed
    );
    println!("fuzz: {tally:?}");
    tally
}

struct Fuzzer<'a> {
    node: &'a TestNode,
    world: World,
    corpus: Vec<Case>,
    plan: Plan,
    ledger: Ledger<'a>,
    /// Iterations since the counters were read.
    batch: Vec<u64>,
    tally: Tally,
}

impl<'a> Fuzzer<'a> {
    fn new(node: &'a TestNode, plan: Plan) -> Self {
        Self {
            node,
            world: World::of(node),
            corpus: corpus(node),
            plan,
            ledger: Ledger::open(&node.datapath().maps),
            batch: Vec::with_capacity(BATCH),
            tally: Tally::default(),
        }
    }

    fn run(mut self) -> Tally {
        let started = Instant::now();
        let mut iteration = self.plan.first;
        loop {
            let done = match self.plan.limit {
                Limit::Inputs(inputs) => self.tally.inputs >= inputs,
                Limit::Time(limit) => started.elapsed() >= limit,
            };
            if done || self.batch.len() == BATCH {
                self.settle();
            }
            if done {
                return self.tally;
            }
            // What is sent on comes again at once, for the decision cache to decide of.
            for _ in 0..TIMES {
                let Some(outcome) = self.feed(iteration) else {
                    break;
                };
                self.batch.push(iteration);
                self.count(outcome.code);
                if outcome.code != ReturnCode::Redirect {
                    break;
                }
            }
            iteration += 1;
        }
    }

    /// Runs one input and checks all but its counters; `None` if the kernel did not take it.
    fn feed(&mut self, iteration: u64) -> Option<TestOutcome> {
        let input = self.input(iteration);
        // The calling thread is in the node's namespace.
        let here = Inside::current();
        let datapath = self.node.datapath();
        let outcome = match datapath.test_run(&here, input.program, &input.packet) {
            Ok(outcome) => outcome,
            Err(error) if is_refusal(&error) => {
                self.tally.refused += 1;
                return None;
            }
            Err(error) => panic!("{error}\n{}", self.describe(iteration)),
        };
        match self.world.check(&input, &outcome) {
            Ok(row) => self.ledger.expect(row, input.packet.frame.len()),
            Err(violation) => panic!(
                "{violation:02x?}\n{}\n  left as   {outcome:02x?}",
                self.describe(iteration)
            ),
        }
        // Else most of what comes would soon be of a connection that the kernel has.
        let is_egress = matches!(
            input.program,
            ProgramKind::ToEndpoint | ProgramKind::ToUplink
        );
        if is_egress && !iteration.is_multiple_of(REMEMBERED) {
            self.node.change(clear);
        }
        Some(outcome)
    }

    fn input(&self, iteration: u64) -> Input {
        Input::make(self.node, &self.corpus, self.plan.seed, iteration)
    }

    fn count(&mut self, code: ReturnCode) {
        self.tally.inputs += 1;
        match code {
            ReturnCode::Redirect => self.tally.redirected += 1,
            ReturnCode::Next => self.tally.left += 1,
            ReturnCode::Shot => self.tally.dropped += 1,
            ReturnCode::Other(_) => unreachable!("it was checked"),
        }
    }

    /// Reads the counters; where they are wrong, runs the batch's inputs one by one to name the one.
    fn settle(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let settled = self.ledger.settle();
        self.node.change(clear);
        let Err(violation) = settled else {
            return;
        };
        for &iteration in &batch {
            self.feed(iteration);
            if let Err(violation) = self.ledger.settle() {
                panic!("{violation:?}\n{}", self.describe(iteration));
            }
        }
        panic!(
            "{violation:?}\n  with seed {:#x}, iterations {:?} to {:?} together, none of them alone",
            self.plan.seed,
            batch.first(),
            batch.last()
        );
    }

    fn describe(&self, iteration: u64) -> String {
        let seed = self.plan.seed;
        format!(
            "  seed {seed:#x}, iteration {iteration}; again: cargo xtask fuzz --seed {seed:#x} --iteration {iteration}\n{}",
            self.input(iteration)
        )
    }
}

/// Whether the kernel did not take the frame: too short or too long for it.
fn is_refusal(error: &DatapathError) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.raw_os_error() == Some(libc::EINVAL);
        }
        next = error.source();
    }
    false
}
