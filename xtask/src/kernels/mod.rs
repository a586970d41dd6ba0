//! `cargo xtask kernels`: the tests on other kernels than this machine's.

mod archive;
mod machine;
mod modules;
mod report;
mod suites;
mod system;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::setup::emulator::Emulator;
use crate::setup::kernel::{self, Kernel};
use crate::setup::{self, Needs};
use crate::workspace::Workspace;
use crate::{build, progress};
use machine::Machine;
use report::{Counts, Event};
use suites::Suite;
use system::System;

/// A series of kernels, and how netpath attaches its programs there.
struct Series {
    name: &'static str,
    attach_mode: &'static str,
}

/// Debian's kernels on either side of Linux 6.6, from which TCX is there.
const SERIES: [Series; 2] = [
    Series {
        name: "6.1",
        attach_mode: "clsact",
    },
    Series {
        name: "6.12",
        attach_mode: "tcx",
    },
];

/// Longest time of one kernel.
const LIMIT: Duration = Duration::from_secs(900);

/// Arguments of `cargo xtask kernels`.
#[derive(clap::Args)]
pub struct Args {
    /// Only this kernel; may be repeated
    #[arg(long, value_name = "SERIES", value_parser = SERIES.map(|series| series.name))]
    kernel: Vec<String>,
    /// Only this test program, e.g. lab_paths; may be repeated
    #[arg(long, value_name = "NAME")]
    test: Vec<String>,
    /// Keep the consoles' logs of kernels on which nothing failed
    #[arg(long)]
    keep_logs: bool,
}

/// What became of a kernel.
struct Outcome {
    release: String,
    attach_mode: String,
    counts: Counts,
    failures: Vec<String>,
    elapsed: Duration,
}

/// Sets up, builds, boots each kernel, and prints what passed where.
pub fn task(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::ensure(workspace, Needs::Kernels)?;
    build::release(workspace)?;
    let dir = workspace.target.join("kernels");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let emulator = Emulator::find_or_get(&dir)?;
    let busybox = kernel::busybox(&dir)?;
    let suites = progress::timed("kernels: build the tests", || suites::build(workspace))?;
    if let Some(unknown) = args
        .test
        .iter()
        .find(|name| suites.iter().all(|suite| suite.name != **name))
    {
        let names: Vec<&str> = suites.iter().map(|suite| suite.name.as_str()).collect();
        bail!("no test program {unknown}, but {}", names.join(", "));
    }
    let suites: Vec<&Suite> = suites
        .iter()
        .filter(|suite| args.test.is_empty() || args.test.contains(&suite.name))
        .collect();
    let system = System::collect(&dir, &workspace.binary()?, &suites, &busybox)?;
    let mut outcomes = Vec::new();
    for series in SERIES {
        if args.kernel.is_empty() || args.kernel.iter().any(|name| name == series.name) {
            let kernel = Kernel::find_or_get(&dir, series.name)?;
            let modules = modules::needed(&kernel.modules, &busybox)?;
            let initramfs = dir.join(format!("{}.cpio", series.name));
            system.write(&initramfs, &modules, &suites)?;
            let log = dir.join(format!("{}.log", series.name));
            progress::step(&format!(
                "kernels: Linux {} in qemu, {}",
                kernel.release, series.attach_mode
            ));
            let machine =
                Machine::boot(emulator.command(), &kernel.image, &initramfs, &log, LIMIT)?;
            let outcome = follow(machine, &kernel, &series)?;
            outcomes.push(outcome);
        }
    }
    for o in &outcomes {
        println!(
            "{} {} {:?} {:?} {:?}",
            o.release, o.attach_mode, o.counts, o.failures, o.elapsed
        );
    }
    Ok(())
}

fn follow(mut machine: Machine, kernel: &Kernel, series: &Series) -> Result<Outcome> {
    let begun = Instant::now();
    let mut outcome = Outcome {
        release: kernel.release.clone(),
        attach_mode: String::new(),
        counts: Counts::default(),
        failures: Vec::new(),
        elapsed: Duration::ZERO,
    };
    let mut started = begun;
    while let Some(event) = machine.next()? {
        match event {
            Event::Booted { release } => progress::note(&format!(
                "booted {release} after {:.1}",
                begun.elapsed().as_secs_f64()
            )),
            Event::Attached { mode } => {
                if mode != series.attach_mode {
                    outcome.failures.push(format!("attached by {mode}"));
                }
                outcome.attach_mode = mode;
            }
            Event::Start { .. } => started = Instant::now(),
            Event::Failed { test } => {
                progress::note(&format!("FAILED {test}"));
                outcome.failures.push(test)
            }
            Event::Counted(counts) => {
                progress::note(&format!("{counts:?}"));
                outcome.counts.passed += counts.passed;
                outcome.counts.failed += counts.failed;
            }
            Event::End { suite, status } => progress::note(&format!(
                "{suite} {status} {:.1}",
                started.elapsed().as_secs_f64()
            )),
            Event::Complete => progress::note("complete"),
            Event::Broken { what } => progress::note(&format!("broken {what}")),
            Event::Other => {}
        }
    }
    outcome.elapsed = begun.elapsed();
    Ok(outcome)
}
