//! `netpath bench`.

mod progress;
mod scale;
mod tables;

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    path::PathBuf,
    time::Duration,
};

use netpath::capabilities::{self, Work};
use netpath_bench::{BenchOptions, Family, Measure, Path, Reach, Results, Scope, report, stats};

use self::progress::Line;
use super::{Context, Exit, Failure, Format, note, output::StdoutError};

/// Rounds of a run, and of a quick one: fewer than six cannot give an interval of 95 %.
const ROUNDS: u32 = 12;
const QUICK_ROUNDS: u32 = 6;
/// Milliseconds of a cell and of its warm-up.
const CELL: [u64; 2] = [250, 50];
const QUICK_CELL: [u64; 2] = [50, 10];
/// What a run and a quick one may take in all, unless the number of rounds was asked for.
const BUDGET: Duration = Duration::from_secs(590);
const QUICK_BUDGET: Duration = Duration::from_secs(56);
/// Numbers of rules.
const RULES: [u32; 3] = [100, 1_000, 5_000];
const QUICK_RULES: [u32; 1] = [1_000];

/// Arguments of `netpath bench`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    other: Option<Other>,

    /// Be done within a minute: shorter cells, fewer rounds, 1,000 rules only, no nat, bridge, macvlan, ipvlan, vxlan, ipip
    #[arg(long)]
    quick: bool,

    /// Only these paths; each then takes every measure. direct, floor, floor-remote, netpath, kernel, iptables,
    /// iptables-N, nft-N, nft-set-N, nft-flowtable, nat, bridge, macvlan, ipvlan, vxlan, ipip
    #[arg(long, value_delimiter = ',', value_name = "PATH")]
    paths: Vec<Path>,

    /// Only these measures: udp, request, connect, bulk
    #[arg(long, value_delimiter = ',', value_name = "MEASURE")]
    measures: Vec<Measure>,

    /// Only this family: ipv4 or ipv6
    #[arg(long, value_name = "FAMILY")]
    family: Option<Family>,

    /// How often each cell is measured
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,

    /// Repeats the order of another run; chosen at random otherwise
    #[arg(long)]
    seed: Option<u64>,

    /// Also write report.html and its plots into this directory, which is looked at before anything is measured
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Other {
    /// Measure how cost grows with endpoints, routes and rules
    Scale(scale::ScaleArgs),
}

impl BenchArgs {
    fn options(&self, context: &Context) -> BenchOptions {
        let (rounds, [cell, warm_up], rules) = if self.quick {
            (QUICK_ROUNDS, QUICK_CELL, &QUICK_RULES[..])
        } else {
            (ROUNDS, CELL, &RULES[..])
        };
        let budget = if self.quick { QUICK_BUDGET } else { BUDGET };
        let sparse = self.paths.is_empty();
        BenchOptions {
            scope: Scope {
                paths: or_else(&self.paths, || paths(rules, self.quick)),
                measures: or_else(&self.measures, || Measure::ALL.to_vec()),
                families: self.family.map_or(Family::ALL.to_vec(), |one| vec![one]),
                reaches: Reach::ALL.to_vec(),
                sparse,
            },
            rounds: self.rounds.unwrap_or(rounds),
            seed: self
                .seed
                .unwrap_or_else(|| RandomState::new().build_hasher().finish()),
            cell: Duration::from_millis(cell),
            warm_up: Duration::from_millis(warm_up),
            budget: self.rounds.is_none().then_some(budget),
            quick: self.quick,
            interrupted: context.interrupted.clone(),
        }
    }
}

/// What was asked for, each once, or the default.
fn or_else<T: Copy + PartialEq>(given: &[T], default: impl FnOnce() -> Vec<T>) -> Vec<T> {
    if given.is_empty() {
        return default();
    }
    let mut once = Vec::new();
    for one in given {
        if !once.contains(one) {
            once.push(*one);
        }
    }
    once
}

/// Those of a run: a quick one has not the time for what others would pick instead.
fn paths(rules: &[u32], quick: bool) -> Vec<Path> {
    let mut paths = Path::all(rules);
    paths.retain(|path| !quick || !Path::OF_OTHERS.contains(path));
    paths
}

/// Measures, and shows what was found.
pub fn run(args: &BenchArgs, context: &Context) -> Result<Exit, Failure> {
    if let Some(Other::Scale(args)) = &args.other {
        return scale::run(args, context);
    }
    context.require(Work::Bench)?;
    if let Some(directory) = &args.report {
        report::check(directory, report::Kind::Run)?;
    }
    context.catch_signals()?;
    let options = args.options(context);
    let mut line = Line::new();
    let results = netpath_bench::run(&options, &mut |progress| line.show(progress));
    line.clear();
    let results = results?;
    show(&results, context)?;
    for rejected in &results.rejected {
        note(tables::rejected(rejected));
    }
    for warning in &results.warnings {
        note(format!("warning: {warning}"));
    }
    if context.output.is_table() {
        doubts(&results);
    }
    if let Some(directory) = &args.report {
        capabilities::act_as_self();
        tell(&report::write(directory, &results)?);
    }
    Ok(if results.rejected.is_empty() {
        Exit::Done
    } else {
        Exit::Degraded
    })
}

/// Most reasons to doubt a run that are told one by one.
const DOUBTS_MAX: usize = 5;

/// Says what the figures do not say. On a machine that is busy with something else it is the same of nearly all.
fn doubts(results: &Results) {
    let doubts = stats::warnings(results);
    for doubt in doubts.iter().take(DOUBTS_MAX) {
        note(format!("warning: {}", report::warning(doubt)));
    }
    if let more @ 1.. = doubts.len().saturating_sub(DOUBTS_MAX) {
        note(format!(
            "warning: {more} more such warnings: `--report` lists them all"
        ));
    }
}

/// Says where the page of a report is: the first of its files.
fn tell(files: &[PathBuf]) {
    if let Some(page) = files.first() {
        note(format!("the report is {}", page.display()));
    }
}

/// JSON is on one line: the many raw figures would take one each. For people what was found stands first.
fn show(results: &Results, context: &Context) -> Result<(), Failure> {
    if context.output.is_table() {
        context.output.paragraph(&report::headline(results))?;
    }
    if context.output.format == Format::Json {
        let mut document = serde_json::to_vec(results).map_err(StdoutError::from)?;
        document.push(b'\n');
        context.output.raw(&document)?;
    } else {
        context.output.show(results, || tables::all(results))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_run_has_its_goals_paths_and_leaves_the_rest_out() {
        let quick = paths(&QUICK_RULES, true);
        let full = paths(&RULES, false);
        for path in [Path::Floor, Path::FloorRemote, Path::Netpath, Path::Kernel] {
            assert!(quick.contains(&path) && full.contains(&path), "{path}");
        }
        for path in Path::OF_OTHERS {
            assert!(!quick.contains(&path) && full.contains(&path), "{path}");
        }
        assert_eq!((quick.len(), full.len()), (10, 22));
    }
}
