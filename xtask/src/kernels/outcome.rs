//! What became of a kernel's tests.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::machine::Machine;
use super::report::Event;
use super::suites::LIMIT;
use crate::progress;
use crate::test_programs::Counts;

/// `timeout -s KILL` ends like this what it stops.
const KILLED: i32 = 137;
/// What libtest says of a test.
const FAILED: &str = "FAILED";

/// The result of one kernel.
pub struct Outcome {
    /// `uname -r` there; empty if it did not boot.
    pub release: String,
    /// How netpath attached its programs there.
    pub attach_mode: String,
    pub counts: Counts,
    /// Tests that failed, and whatever else went wrong.
    pub failures: Vec<String>,
    pub elapsed: Duration,
    /// Whether each test is told when it ends, not only those that take long or fail.
    tells_each: bool,
}

/// A suite that is running.
struct Running {
    suite: String,
    since: Instant,
    counts: Counts,
    /// Tests that have run for a minute and have not ended.
    slow: BTreeSet<String>,
}

impl Outcome {
    /// Listens to a machine until it ends.
    pub fn of(machine: &mut Machine, tells_each: bool) -> Self {
        let begun = Instant::now();
        let mut outcome = Self {
            release: String::new(),
            attach_mode: String::new(),
            counts: Counts::default(),
            failures: Vec::new(),
            elapsed: Duration::ZERO,
            tells_each,
        };
        match outcome.listen(machine, begun) {
            Ok(true) => {}
            Ok(false) => outcome.fails("the machine ended before its tests did".to_owned()),
            Err(error) => outcome.fails(format!("{error:#}")),
        }
        outcome.elapsed = begun.elapsed();
        outcome
    }

    /// Whether the machine came so far as to run anything.
    pub fn has_booted(&self) -> bool {
        !self.release.is_empty()
    }

    /// Notes and shows a failure.
    pub fn fails(&mut self, failure: String) {
        progress::note(&format!("{}: FAILED {failure}", self.release));
        self.failures.push(failure);
    }

    /// Whether the machine came to the end of its plan.
    fn listen(&mut self, machine: &mut Machine, begun: Instant) -> Result<bool> {
        let mut is_complete = false;
        let mut running = None;
        while let Some(event) = machine.next()? {
            match event {
                Event::Booted { release } => {
                    let seconds = begun.elapsed().as_secs_f64();
                    progress::note(&format!("{release} booted in {seconds:.1} s"));
                    self.release = release;
                }
                Event::Attached { mode } => self.attach_mode = mode,
                Event::Start { suite } => {
                    running = Some(Running {
                        suite,
                        since: Instant::now(),
                        counts: Counts::default(),
                        slow: BTreeSet::new(),
                    });
                }
                Event::Ended { test, how } => {
                    if let Some(running) = &mut running {
                        self.test_ends(&test, &how, running);
                    }
                    if how == FAILED {
                        self.fails(test);
                    }
                }
                Event::Slow { test } => {
                    if let Some(running) = &mut running {
                        running.slow.insert(test);
                    }
                }
                Event::Counted(counts) => {
                    if let Some(running) = &mut running {
                        running.counts = counts;
                    }
                }
                Event::End { suite, status } => {
                    if let Some(running) = running.take() {
                        self.ends(&suite, status, &running);
                    }
                }
                Event::Complete => is_complete = true,
                Event::Broken { what } => self.fails(what),
                Event::Other => {}
            }
        }
        Ok(is_complete)
    }

    fn test_ends(&self, test: &str, how: &str, running: &mut Running) {
        if running.slow.remove(test) || self.tells_each {
            let seconds = running.since.elapsed().as_secs_f64();
            progress::note(&format!(
                "{}: {}: {test} ... {how}, {seconds:.0} s after its suite's start",
                self.release, running.suite
            ));
        }
    }

    fn ends(&mut self, suite: &str, status: i32, running: &Running) {
        let Counts { passed, failed } = running.counts;
        let seconds = running.since.elapsed().as_secs_f64();
        progress::note(&format!(
            "{}: {suite:<22} {passed:>3} passed {failed:>3} failed {seconds:>6.1} s",
            self.release
        ));
        self.counts.passed += passed;
        self.counts.failed += failed;
        match status {
            0 if passed == 0 => self.fails(format!("{suite}: no test ran")),
            0 => {}
            KILLED => {
                let mut failure = format!("{suite}: stopped after {LIMIT} s");
                for test in &running.slow {
                    failure += &format!(", in {test}");
                }
                self.fails(failure);
            }
            _ if failed == 0 => self.fails(format!("{suite}: exit status {status}")),
            // Its tests were named one by one.
            _ => {}
        }
    }
}
