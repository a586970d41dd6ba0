//! netpath's development tasks: `cargo xtask --help`.

mod build;
mod clean;
mod command;
mod conformance;
mod fuzz;
mod imports;
mod install;
mod kernels;
mod lint;
mod progress;
mod root;
mod routing;
mod run;
mod setup;
mod stages;
mod test;
mod test_programs;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// netpath's development tasks. `run` and `test` are all that is needed: each first gets what it needs.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the release binary, target/release/netpath
    Build,
    /// Build, then install the binary, manual pages, completions and netpath.service
    Install(install::Args),
    /// Build, then run `netpath demo` (needs root)
    Run(run::Args),
    /// Check format, lints and who imports whom, then run every test (needs root)
    Test(test::Args),
    /// Feed mutated packets to the loaded programs, as long as told (needs root)
    ///
    /// A failure prints its seed and iteration: `cargo xtask fuzz --seed S --iteration I` runs that one input
    /// again, and `--seed S` all of that run.
    Fuzz(fuzz::Args),
    /// Compare netpath with the kernel, packet by packet, and write docs/conformance.md (needs root)
    Conformance,
    /// Remove each stage of the TC programs in turn: some conformance case has to fail each time (needs root)
    ///
    /// Works on a copy below target/, and takes half a minute for each of some fifty stages.
    Stages(stages::Args),
    /// Run the tests on Debian's Linux 6.1 and 6.12, in qemu (needs root)
    Kernels(kernels::Args),
    /// Let BIRD and FRR lead the routes of machines with netpath, as in docs/multi-node.md (needs root)
    Routing(routing::Args),
    /// Check format, lints, who imports whom and documentation; warnings are errors
    Lint,
    /// Remove what was built; the BPF toolchain stays
    Clean(clean::Args),
    /// Find or get what the other tasks need: the BPF toolchain, iptables, bpftool, ip
    Setup(setup::Args),
}

impl Task {
    /// The name of a task that needs root.
    fn needs_root(&self) -> Option<&'static str> {
        match self {
            Self::Run(_) => Some("run"),
            Self::Test(_) => Some("test"),
            Self::Fuzz(_) => Some("fuzz"),
            Self::Conformance => Some("conformance"),
            Self::Stages(_) => Some("stages"),
            Self::Kernels(_) => Some("kernels"),
            Self::Routing(_) => Some("routing"),
            Self::Build | Self::Install(_) | Self::Lint | Self::Clean(_) | Self::Setup(_) => None,
        }
    }
}

fn main() -> ExitCode {
    match perform(&Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: &Task) -> Result<()> {
    if let Some(name) = task.needs_root() {
        root::require(name)?;
    }
    let workspace = Workspace::locate()?;
    match task {
        Task::Build => build::task(&workspace),
        Task::Install(args) => install::task(&workspace, args),
        Task::Run(args) => run::task(&workspace, args),
        Task::Test(args) => test::task(&workspace, args),
        Task::Fuzz(args) => fuzz::task(&workspace, args),
        Task::Conformance => conformance::task(&workspace),
        Task::Stages(args) => stages::task(&workspace, args),
        Task::Kernels(args) => kernels::task(&workspace, args),
        Task::Routing(args) => routing::task(&workspace, args),
        Task::Lint => lint::task(&workspace),
        Task::Clean(args) => clean::task(&workspace, args),
        Task::Setup(args) => setup::task(&workspace, args),
    }
}
