//! `cargo xtask test`

use std::ffi::OsString;

use anyhow::Result;

use crate::setup::{self, Needs};
use crate::workspace::Workspace;
use crate::{build, command, imports, lint, progress};

/// Tells the tests where the release binary is.
const BINARY_VARIABLE: &str = "NETPATH_BIN";

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Args {
    /// Arguments for `cargo test`, e.g. `NAME -- --nocapture`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    cargo_test: Vec<OsString>,
}

/// Sets up, then checks format and lints, builds, and runs every test.
pub fn task(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::ensure(workspace, Needs::Test)?;
    lint::format(workspace)?;
    imports::task(workspace)?;
    lint::clippy(workspace)?;
    build::release(workspace)?;

    let mut cargo = workspace.cargo();
    cargo
        .args(["test", "--workspace"])
        .args(&args.cargo_test)
        .env(BINARY_VARIABLE, workspace.binary()?);
    progress::timed(&format!("test: {}", command::describe(&cargo)), || {
        command::run(&mut cargo)
    })
}
