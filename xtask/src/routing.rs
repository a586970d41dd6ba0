//! `cargo xtask routing`

use anyhow::Result;

use crate::setup::{self, Needs};
use crate::workspace::Workspace;
use crate::{command, progress};

/// Sets up, then has BIRD and FRR lead the routes of machines with netpath.
pub fn task(workspace: &Workspace) -> Result<()> {
    setup::ensure(workspace, Needs::Test)?;
    setup::routing::ensure(workspace)?;
    let mut cargo = workspace.cargo();
    cargo
        .args(["test", "--package", "netpath-tests", "--test", "labs"])
        .args([
            "--",
            "lab_routing::",
            "--include-ignored",
            "--test-threads=1",
            "--nocapture",
        ]);
    progress::timed(&format!("routing: {}", command::describe(&cargo)), || {
        command::run(&mut cargo)
    })
}
