//! `cargo xtask routing`

use anyhow::Result;

use crate::setup::{self, Needs};
use crate::workspace::Workspace;
use crate::{command, progress};

/// Arguments of `cargo xtask routing`.
#[derive(clap::Args)]
pub struct Args {
    /// Only the tests whose names contain this; may be repeated
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
}

/// Sets up, then has BIRD and FRR lead the routes of machines with netpath.
pub fn task(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::ensure(workspace, Needs::Test)?;
    setup::routing::ensure(workspace)?;
    let mut cargo = workspace.cargo();
    cargo
        .args([
            "test",
            "--package",
            "netpath-tests",
            "--test",
            "lab_routing",
        ])
        .args(["--", "--include-ignored", "--test-threads=1", "--nocapture"])
        .args(&args.only);
    progress::timed(&format!("routing: {}", command::describe(&cargo)), || {
        command::run(&mut cargo)
    })
}
