//! `cargo xtask test`

mod pool;

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;

use crate::build::{self, Profile};
use crate::setup::{self, Needs};
use crate::test_programs::{self, Built, Tests};
use crate::workspace::Workspace;
use crate::{command, imports, lint, progress};

/// Tells the tests which binary is tried.
const BINARY_VARIABLE: &str = "NETPATH_BIN";

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Args {
    /// Only this suite, e.g. lab_paths, in a process and on mounts of its own as when all run; may be repeated
    #[arg(long, value_name = "NAME", conflicts_with = "cargo_test")]
    suite: Vec<String>,
    /// Arguments for `cargo test`, e.g. `lab_paths:: -- --nocapture`; without any, all suites run, several at a time
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    cargo_test: Vec<OsString>,
}

/// Sets up, then checks format and lints, builds, and runs every test.
pub fn task(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::ensure(workspace, Needs::Test)?;
    setup::routing::ensure(workspace)?;
    lint::format(workspace)?;
    imports::task(workspace)?;
    lint::clippy(workspace)?;
    match args.cargo_test.is_empty() {
        true => all(workspace, &args.suite),
        false => {
            let binary = build::netpath(workspace, Profile::Dev)?;
            cargo_test(workspace, &binary, &args.cargo_test)
        }
    }
}

/// Every test, or of all suites those that are named.
fn all(workspace: &Workspace, named: &[String]) -> Result<()> {
    let tests = match named {
        [] => Tests::All,
        _ => Tests::Suites,
    };
    let Built { programs, netpath } =
        progress::timed("test: build", || test_programs::build(workspace, tests))?;
    let output = workspace.target.join("test-output");
    progress::timed("test: run", || {
        pool::run(programs, named, &[(BINARY_VARIABLE, &netpath)], &output)
    })?;
    match named {
        [] => cargo_test(workspace, &netpath, &["--doc".into()]),
        _ => Ok(()),
    }
}

fn cargo_test(workspace: &Workspace, binary: &Path, arguments: &[OsString]) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo
        .args(["test", "--workspace"])
        .args(arguments)
        .env(BINARY_VARIABLE, binary);
    progress::timed(&format!("test: {}", command::describe(&cargo)), || {
        command::run(&mut cargo)
    })
}
