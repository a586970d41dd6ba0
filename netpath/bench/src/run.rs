//! A run from the lab's making to its removal.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use netpath::{datapath, provision::ProvisionError};

use super::{
    beside::reason,
    cpu::Processors,
    error::BenchError,
    floor,
    lab::Lab,
    machine::machine,
    orphans,
    passage::Counts,
    plan::{Scope, Visit},
    results::{Path, PathState, Reach, Rejected, Results, SCHEMA, Sample, Settings},
    rules::RuleSet,
    switch::Switch,
    traffic::{self, Course},
};

/// What to run.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// What is measured of what.
    pub scope: Scope,
    /// Rounds, at least one.
    pub rounds: u32,
    /// Seed of the order within each round.
    pub seed: u64,
    /// Duration of a measurement.
    pub cell: Duration,
    /// Duration of the warm-up before it.
    pub warm_up: Duration,
    /// How long all of it may take, from the lab's making to its removal. No round is begun that would not end in
    /// time, but for the first.
    pub budget: Option<Duration>,
    /// Whether it is meant to be quick.
    pub quick: bool,
    /// Set from outside (a signal handler) to end the run; the lab is removed all the same.
    pub interrupted: Arc<AtomicBool>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Cells that are done.
    pub done: usize,
    /// Cells in all.
    pub of: usize,
    /// The next one; `None` when all are done.
    pub next: Option<(u32, Visit)>,
}

/// Measures.
///
/// # Errors
/// When the lab cannot be made, switched or removed, or the run was interrupted. Traffic that does not get
/// through, or takes another path, is no error: it is among the rejected cells.
pub fn run(
    options: &BenchOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Results, BenchError> {
    let began = Instant::now();
    if options.scope.round(options.seed, 0).is_empty() {
        return Err(BenchError::Nothing(nothing(&options.scope)));
    }
    let machine = machine()?;
    let processors = Processors::choose()?;
    let mut warnings = orphans::sweep()?;
    warnings.extend(self::warnings(&processors)?);
    let mut lab = Lab::up(&options.interrupted)?;
    lab.make_ways(&options.scope.paths)?;
    let measured = Run {
        options,
        began,
        lab: &lab,
        processors: &processors,
        switch: Switch::new(&lab),
        samples: Vec::new(),
        rejected: Vec::new(),
    }
    .measure(progress);
    if let Err(removal) = lab.remove() {
        return Err(BenchError::Removal {
            cause: measured.err().map(Box::new),
            removal: Box::new(removal),
        });
    }
    let Measured {
        paths,
        samples,
        rejected,
        rounds,
    } = measured?;
    if rounds < options.rounds {
        warnings.push(format!(
            "time was up after {rounds} of {} rounds",
            options.rounds
        ));
    }
    Ok(Results {
        schema: SCHEMA,
        machine,
        settings: Settings {
            rounds: options.rounds,
            seed: options.seed,
            cell_ms: milliseconds(options.cell),
            warm_up_ms: milliseconds(options.warm_up),
            udp_payload: traffic::UDP_PAYLOAD as u32,
            request: traffic::REQUEST as u32,
            processors: processors.numbers.iter().map(|&n| n as u32).collect(),
            quick: options.quick,
        },
        paths,
        samples,
        rejected,
        warnings,
    })
}

/// Why a scope has no cell: every path joins endpoints somewhere, but not in every family.
fn nothing(scope: &Scope) -> String {
    let paths: Vec<String> = scope.paths.iter().map(Path::to_string).collect();
    let families: Vec<&str> = scope.families.iter().map(|family| family.title()).collect();
    format!(
        "nothing to measure: there is no {} of {}; leave out --family, or name another path",
        paths.join(", "),
        families.join(", ")
    )
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// What may spoil the figures.
fn warnings(processors: &Processors) -> Result<Vec<String>, BenchError> {
    let mut warnings = Vec::new();
    // By name only: one of another version of netpath is as much of a disturbance.
    let nodes = datapath::nodes().map_err(ProvisionError::from)?;
    if !nodes.is_empty() {
        warnings.push(format!(
            "other nodes of netpath are up, and their traffic takes processor time: {}",
            nodes.join(", ")
        ));
    }
    if processors.numbers.len() < 2 {
        warnings.push("one processor only: sender and receiver of bulk TCP share it".to_owned());
    }
    if !processors.sees_softirq_threads() {
        warnings.push(
            "the kernel's ksoftirqd threads cannot be seen from here: CPU times lack their share"
                .to_owned(),
        );
    }
    Ok(warnings)
}

struct Measured {
    paths: Vec<PathState>,
    samples: Vec<Sample>,
    rejected: Vec<Rejected>,
    /// Rounds that were done.
    rounds: u32,
}

/// What the lab's removal takes at most.
const REMOVAL: Duration = Duration::from_secs(3);

struct Run<'a> {
    options: &'a BenchOptions,
    began: Instant,
    lab: &'a Lab,
    processors: &'a Processors,
    switch: Switch<'a>,
    samples: Vec<Sample>,
    rejected: Vec<Rejected>,
}

impl Run<'_> {
    fn measure(mut self, progress: &mut dyn FnMut(Progress)) -> Result<Measured, BenchError> {
        let paths = self.find_paths()?;
        let present = paths.iter().filter(|path| path.missing.is_none());
        let scope = Scope {
            paths: present.map(|state| state.path).collect(),
            ..self.options.scope.clone()
        };
        let order = |round| scope.round(self.options.seed, round);
        let of = order(0).len() * self.options.rounds as usize;
        let mut done = 0;
        let mut rounds = 0;
        let mut longest = Duration::ZERO;
        for round in 0..self.options.rounds {
            let round_began = Instant::now();
            let end = self.began.elapsed() + longest + REMOVAL;
            if round > 0 && self.options.budget.is_some_and(|budget| end > budget) {
                break;
            }
            for visit in order(round) {
                self.pause()?;
                progress(Progress {
                    done,
                    of,
                    next: Some((round, visit)),
                });
                self.cell(round, visit)?;
                done += 1;
            }
            longest = longest.max(round_began.elapsed());
            rounds += 1;
        }
        progress(Progress {
            done,
            of,
            next: None,
        });
        Ok(Measured {
            paths,
            samples: self.samples,
            rejected: self.rejected,
            rounds,
        })
    }

    fn pause(&self) -> Result<(), BenchError> {
        if self.options.interrupted.load(Ordering::Relaxed) {
            return Err(BenchError::Interrupted);
        }
        Ok(())
    }

    /// Which of the paths this machine has: rules and programs that cannot be loaded are not here, and neither are
    /// interfaces that cannot be made.
    fn find_paths(&mut self) -> Result<Vec<PathState>, BenchError> {
        let mut states = Vec::new();
        for &path in &self.options.scope.paths {
            let missing = match self.lab.beside.missing(path) {
                Some(reason) => Some(reason.to_owned()),
                None => self.find_missing(path)?,
            };
            states.push(PathState {
                path,
                missing: missing.map(|reason| format!("not here: {reason}")),
            });
        }
        Ok(states)
    }

    /// Why a path's rules or programs cannot be loaded.
    fn find_missing(&mut self, path: Path) -> Result<Option<String>, BenchError> {
        for &family in &self.options.scope.families {
            let is_loaded = RuleSet::of(path, family).is_some() || floor::Kind::of(path).is_some();
            let mut reaches = Reach::ALL.into_iter();
            let reach = reaches.find(|reach| path.joins(*reach, family));
            let Some(reach) = reach.filter(|_| is_loaded) else {
                continue;
            };
            self.pause()?;
            match self.switch.to(path, reach, family) {
                Ok(()) => {}
                Err(BenchError::Command(error)) => return Ok(Some(reason(&error))),
                Err(error @ BenchError::System { .. }) if floor::Kind::of(path).is_some() => {
                    return Ok(Some(error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn cell(&mut self, round: u32, visit: Visit) -> Result<(), BenchError> {
        let Visit {
            path,
            reach,
            family,
            measure,
        } = visit;
        self.switch.to(path, reach, family)?;
        let judged = self.measure_and_check(visit)?;
        match judged {
            Ok(outcome) => self.samples.push(Sample {
                round,
                path,
                reach,
                family,
                measure,
                value: outcome.value,
                elapsed_ns: u64::try_from(outcome.elapsed.as_nanos()).unwrap_or(u64::MAX),
                cpu_ns: outcome.cpu_ns,
                sent: outcome.sent,
                received: outcome.received,
                round_trips_ns: outcome.round_trips_ns,
            }),
            Err(reason) => self.rejected.push(Rejected {
                round,
                path,
                reach,
                family,
                measure,
                reason,
            }),
        }
        Ok(())
    }

    /// Measures whatever path is switched, and holds it against the one that the cell claims.
    fn measure_and_check(
        &self,
        visit: Visit,
    ) -> Result<Result<traffic::Outcome, String>, BenchError> {
        let Visit {
            path,
            reach,
            family,
            measure,
        } = visit;
        let course = Course {
            warm_up: self.options.warm_up,
            measured: self.options.cell,
            processors: self.processors,
        };
        let before = Counts::read(self.lab, visit)?;
        let outcome = match traffic::run(measure, self.lab.ends(path, reach, family), course) {
            Ok(outcome) => outcome,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let moved = Counts::read(self.lab, visit)?.since(&before);
        if let Err(reason) = moved.check(path, outcome.packets) {
            return Ok(Err(reason));
        }
        if outcome.received == 0 || outcome.received > outcome.sent {
            return Ok(Err(format!(
                "{} of {} units arrived",
                outcome.received, outcome.sent
            )));
        }
        Ok(Ok(outcome))
    }
}

#[cfg(test)]
mod tests;
