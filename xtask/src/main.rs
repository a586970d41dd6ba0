//! netpath's development tasks: `cargo xtask --help`.

mod build;
mod clean;
mod command;
mod lint;
mod progress;
mod root;
mod run;
mod setup;
mod test;
mod workspace;

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
    /// Build, then run `netpath demo` (needs root)
    Run(run::Args),
    /// Check format and lints, then run every test (needs root)
    Test(test::Args),
    /// Check format, lints and documentation; warnings are errors
    Lint,
    /// Remove what was built; the BPF toolchain stays
    Clean(clean::Args),
    /// Find or get what the other tasks need: the BPF toolchain, iptables, bpftool, ip
    Setup(setup::Args),
}

fn main() -> Result<()> {
    let task = Cli::parse().task;
    let workspace = Workspace::locate()?;
    match task {
        Task::Build => build::task(&workspace),
        Task::Run(args) => run::task(&workspace, &args),
        Task::Test(args) => test::task(&workspace, &args),
        Task::Lint => lint::task(&workspace),
        Task::Clean(args) => clean::task(&workspace, &args),
        Task::Setup(args) => setup::task(&workspace, &args),
    }
}
