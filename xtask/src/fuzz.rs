//! `cargo xtask fuzz`

use std::num::ParseIntError;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::setup::{self, Needs};
use crate::workspace::Workspace;
use crate::{command, progress};

/// The test that does the work; it reads the variables below.
const TEST: &str = "every_input::mutated_packets_as_told";

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct Args {
    /// How long to go on; a minute if nothing else is said
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// How many inputs to feed, however long it takes
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    inputs: Option<u64>,
    /// The seed of all inputs, decimal or 0x...; another one each time if not given
    #[arg(long, value_name = "S", value_parser = number)]
    seed: Option<u64>,
    /// The iteration to begin with: alone, that one input is run again
    #[arg(long, value_name = "I", requires = "seed")]
    iteration: Option<u64>,
}

/// Sets up, then feeds mutated packets to the loaded programs. In the profile of `cargo xtask test`: the time is
/// spent in the kernel, and nothing is built twice.
pub fn task(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::ensure(workspace, Needs::Test)?;
    let mut cargo = workspace.cargo();
    cargo
        .args(["test", "--package", "netpath-tests"])
        .args(["--test", "packets", "--", "--ignored", "--exact", TEST])
        .arg("--nocapture");
    let seed = args.seed.map_or_else(new_seed, Ok)?;
    let variables = [
        ("NETPATH_FUZZ_SEED", Some(seed)),
        ("NETPATH_FUZZ_ITERATION", args.iteration),
        ("NETPATH_FUZZ_INPUTS", args.inputs),
        ("NETPATH_FUZZ_SECONDS", args.seconds),
    ];
    for (name, value) in variables {
        match value {
            Some(value) => cargo.env(name, value.to_string()),
            None => cargo.env_remove(name),
        };
    }
    let title = format!("fuzz with seed {seed:#x}: {}", command::describe(&cargo));
    progress::timed(&title, || command::run(&mut cargo))
}

/// One that no run had before; the run prints it.
fn new_seed() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(now.as_nanos() as u64)
}

fn number(text: &str) -> Result<u64, ParseIntError> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
}
