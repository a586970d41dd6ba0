//! `cargo xtask test`

mod pool;

use std::ffi::OsString;

use anyhow::Result;

use crate::setup::{self, Needs};
use crate::workspace::Workspace;
use crate::{build, command, imports, lint, progress, test_programs};

/// Tells the tests where the release binary is.
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
    build::release(workspace)?;
    match args.cargo_test.is_empty() {
        true => all(workspace),
        false => cargo_test(workspace, &args.cargo_test),
    }
}

fn all(workspace: &Workspace) -> Result<()> {
    let programs = progress::timed("test: build", || test_programs::build(workspace, &[]))?;
    let output = workspace.target.join("test-output");
    let binary = workspace.binary()?;
    progress::timed("test: run", || {
        pool::run(programs, &[(BINARY_VARIABLE, &binary)], &output)
    })?;
    cargo_test(workspace, &["--doc".into()])
}

fn cargo_test(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo
        .args(["test", "--workspace"])
        .args(arguments)
        .env(BINARY_VARIABLE, workspace.binary()?);
    progress::timed(&format!("test: {}", command::describe(&cargo)), || {
        command::run(&mut cargo)
    })
}
