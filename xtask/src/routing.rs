//! `cargo xtask routing`

use anyhow::Result;

use crate::setup::{self, Needs};
use crate::workspace::Workspace;
use crate::{command, progress};

/// What its tests' names begin with.
const SUITE: &str = "lab_routing::";

/// Arguments of `cargo xtask routing`.
#[derive(clap::Args)]
pub struct Args {
    /// Only the tests whose names begin with this; may be repeated
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
}

/// Sets up, then has BIRD and FRR lead the routes of machines with netpath.
pub fn task(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::ensure(workspace, Needs::Test)?;
    setup::routing::ensure(workspace)?;
    let named = args.only.iter().map(|part| format!("{SUITE}{part}"));
    let named: Vec<String> = match args.only.is_empty() {
        true => vec![SUITE.to_owned()],
        false => named.collect(),
    };
    let mut cargo = workspace.cargo();
    cargo
        .args(["test", "--package", "netpath-tests", "--test", "labs", "--"])
        .args(["--include-ignored", "--test-threads=1", "--nocapture"])
        .args(&named);
    progress::timed(&format!("routing: {}", command::describe(&cargo)), || {
        command::run(&mut cargo)
    })
}
