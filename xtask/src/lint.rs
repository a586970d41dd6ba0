//! `cargo xtask lint`

use anyhow::Result;

use crate::setup::{self, Needs};
use crate::workspace::Workspace;
use crate::{command, imports, progress};

/// Sets up, then checks format, lints and documentation.
pub fn task(workspace: &Workspace) -> Result<()> {
    setup::ensure(workspace, Needs::Build)?;
    format(workspace)?;
    imports::task(workspace)?;
    clippy(workspace)?;
    documentation(workspace)
}

/// Checks that the source is formatted.
pub fn format(workspace: &Workspace) -> Result<()> {
    check(workspace, "format", &["fmt", "--all", "--check"])
}

/// Runs clippy on everything, warnings as errors.
pub fn clippy(workspace: &Workspace) -> Result<()> {
    check(
        workspace,
        "clippy",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    )
}

fn documentation(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo
        .args(["doc", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings");
    let title = format!(
        "doc: RUSTDOCFLAGS='-D warnings' {}",
        command::describe(&cargo)
    );
    progress::timed(&title, || command::run(&mut cargo))
}

fn check(workspace: &Workspace, what: &str, args: &[&str]) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(args);
    progress::timed(&format!("{what}: {}", command::describe(&cargo)), || {
        command::run(&mut cargo)
    })
}
