//! `cargo xtask build`

use anyhow::Result;

use crate::setup::{self, Needs};
use crate::workspace::Workspace;
use crate::{command, progress};

/// Sets up and builds the release binary.
pub fn task(workspace: &Workspace) -> Result<()> {
    setup::ensure(workspace, Needs::Build)?;
    release(workspace)?;
    progress::note(&format!("{}", workspace.binary()?.display()));
    Ok(())
}

/// Builds the release binary.
pub fn release(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--package", "netpath-cli"]);
    progress::timed(&format!("build: {}", command::describe(&cargo)), || {
        command::run(&mut cargo)
    })
}
