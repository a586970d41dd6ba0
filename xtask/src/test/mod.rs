//! `cargo xtask test`

mod pool;

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;

use crate::build::{self, Profile};
use crate::setup::{self, Needs};
use crate::test_programs::{self, Built};
use crate::workspace::Workspace;
use crate::{command, imports, lint, progress};

/// Tells the tests which binary is tried.
const BINARY_VARIABLE: &str = "NETPATH_BIN";

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Args {
    /// Arguments for `cargo test`, e.g. `NAME -- --nocapture`; without any, all test programs run, several at a time
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
        true => all(workspace),
        false => {
            let binary = build::netpath(workspace, Profile::Dev)?;
            cargo_test(workspace, &binary, &args.cargo_test)
        }
    }
}

fn all(workspace: &Workspace) -> Result<()> {
    let Built { programs, netpath } =
        progress::timed("test: build", || test_programs::build(workspace, &[]))?;
    let output = workspace.target.join("test-output");
    progress::timed("test: run", || {
        pool::run(programs, &[(BINARY_VARIABLE, &netpath)], &output)
    })?;
    cargo_test(workspace, &netpath, &["--doc".into()])
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
