//! `cargo xtask build`

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::setup::{self, Needs};
use crate::workspace::Workspace;
use crate::{command, progress};

/// One of cargo's profiles.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// What people run.
    Release,
    /// What tests run: its dependencies are those of the tests, so it costs a minute or two less to build, and arithmetic
    /// that overflows panics.
    Dev,
}

/// Sets up and builds the release binary.
pub fn task(workspace: &Workspace) -> Result<()> {
    setup::ensure(workspace, Needs::Build)?;
    let binary = netpath(workspace, Profile::Release)?;
    progress::note(&format!("{}", binary.display()));
    Ok(())
}

/// Builds the binary `netpath` and returns where it is.
pub fn netpath(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--package", "netpath-cli"]);
    let directory = match profile {
        Profile::Release => {
            cargo.arg("--release");
            "release"
        }
        Profile::Dev => "debug",
    };
    progress::timed(&format!("build: {}", command::describe(&cargo)), || {
        command::run(&mut cargo)
    })?;
    let binary = workspace.target.join(directory).join("netpath");
    if !binary.is_file() {
        bail!(
            "{} is not there after the build: is build.target set?",
            binary.display()
        );
    }
    Ok(binary)
}
