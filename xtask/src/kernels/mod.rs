//! `cargo xtask kernels`: the tests on other kernels than this machine's.

mod archive;
mod machine;
mod modules;
mod outcome;
mod report;
mod suites;
mod system;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::progress;
use crate::setup::emulator::Emulator;
use crate::setup::kernel::{self, Kernel};
use crate::setup::{self, Needs};
use crate::workspace::Workspace;
use machine::Machine;
use outcome::Outcome;
use suites::Suite;
use system::System;

/// A series of kernels, and how netpath has to attach its programs there.
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

/// Longest time of one kernel, beside other work: alone it takes a third of that.
const LIMIT: Duration = Duration::from_secs(4 * 3600);
/// One boot in some dozens ends in a fault of the emulated processor before any process runs.
const BOOTS: usize = 3;

/// Arguments of `cargo xtask kernels`.
#[derive(clap::Args)]
pub struct Args {
    /// Only this kernel; may be repeated
    #[arg(long, value_name = "SERIES", value_parser = SERIES.map(|series| series.name))]
    kernel: Vec<String>,
    /// Only this suite, e.g. lab_paths; may be repeated
    #[arg(long, value_name = "NAME")]
    test: Vec<String>,
    /// Of these suites only the tests whose names contain this; may be repeated
    #[arg(long, value_name = "PART", requires = "test")]
    only: Vec<String>,
    /// Also the suites that are left out because what they try is decided in user space
    #[arg(long)]
    all: bool,
    /// Boot without IPv6, and run what is to work there
    #[arg(long, conflicts_with_all = ["test", "all"])]
    without_ipv6: bool,
}

impl Args {
    /// Whether only suites run that are named.
    fn names_suites(&self) -> bool {
        self.without_ipv6 || !self.test.is_empty()
    }

    /// Arguments for the kernel.
    fn kernel_arguments(&self) -> &'static str {
        match self.without_ipv6 {
            true => "ipv6.disable=1",
            false => "",
        }
    }

    fn series(&self) -> impl Iterator<Item = &'static Series> {
        let is_wanted = |series: &&Series| {
            self.kernel.is_empty() || self.kernel.iter().any(|name| name == series.name)
        };
        SERIES.iter().filter(is_wanted)
    }
}

/// Sets up, builds, boots each kernel, and prints what passed where.
pub fn task(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::ensure(workspace, Needs::Kernels)?;
    let dir = workspace.target.join("kernels");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let emulator = Emulator::find_or_get(&dir)?;
    let busybox = kernel::busybox(&dir)?;
    let kernels = args
        .series()
        .map(|series| Ok((series, Kernel::find_or_get(&dir, series.name)?)))
        .collect::<Result<Vec<_>>>()?;

    let (binary, suites) =
        progress::timed("kernels: build the tests", || suites::build(workspace))?;
    let is_wanted = |suite: &&Suite| !args.names_suites() || args.test.contains(&suite.name);
    for omission in suites.iter().filter(is_wanted).filter_map(Suite::omission) {
        progress::note(&omission);
    }
    let suites = match args.without_ipv6 {
        true => suites::without_ipv6(suites)?,
        false => suites::select(suites, &args.test, args.all)?,
    };
    let system = System::collect(&dir, &binary, (&suites, &args.only), &busybox)?;
    let work = Work {
        emulator: &emulator,
        system: &system,
        kernel_arguments: args.kernel_arguments(),
        tells_each: args.names_suites(),
    };
    // Each emulates one processor.
    let outcomes = thread::scope(|scope| {
        let run = |(series, kernel)| run(&dir, &work, (series, kernel));
        let threads: Vec<_> = kernels
            .iter()
            .map(|(series, kernel)| scope.spawn(move || run((series, kernel))))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect::<Result<Vec<_>>>()
    })?;
    print(&outcomes);
    match outcomes.iter().all(|outcome| outcome.failures.is_empty()) {
        true => Ok(()),
        false => bail!("the consoles' output is in {}/*.log", dir.display()),
    }
}

/// What is the same for each kernel.
struct Work<'w> {
    emulator: &'w Emulator,
    system: &'w System,
    kernel_arguments: &'static str,
    /// Whether each test is told when it ends.
    tells_each: bool,
}

fn run(dir: &Path, work: &Work<'_>, (series, kernel): (&Series, &Kernel)) -> Result<Outcome> {
    let initramfs = dir.join(format!("{}.cpio", series.name));
    work.system.write(&initramfs, kernel)?;
    let log = dir.join(format!("{}.log", series.name));
    let mut boots = 0;
    loop {
        boots += 1;
        progress::step(&format!("kernels: Linux {} in qemu", series.name));
        let qemu = work.emulator.command();
        let boot = (kernel.image.as_path(), work.kernel_arguments);
        let mut machine = Machine::boot(qemu, boot, &initramfs, &log, LIMIT)?;
        let mut outcome = Outcome::of(&mut machine, work.tells_each);
        if outcome.has_booted() || boots == BOOTS {
            if outcome.attach_mode != series.attach_mode {
                outcome.fails(format!(
                    "netpath attaches by {:?}, not by {}",
                    outcome.attach_mode, series.attach_mode
                ));
            }
            if outcome.release != kernel.release {
                let (booted, wanted) = (&outcome.release, &kernel.release);
                outcome.fails(format!("Linux {booted:?} booted, not {wanted}"));
            }
            return Ok(outcome);
        }
    }
}

fn print(outcomes: &[Outcome]) {
    println!("KERNEL                        ATTACH  PASSED  FAILED  SECONDS");
    for outcome in outcomes {
        println!(
            "{:<28}  {:<6}  {:>6}  {:>6}  {:>7.0}",
            outcome.release,
            outcome.attach_mode,
            outcome.counts.passed,
            outcome.counts.failed,
            outcome.elapsed.as_secs_f64()
        );
        for failure in &outcome.failures {
            println!("  {failure}");
        }
    }
}
