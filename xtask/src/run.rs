//! `cargo xtask run`

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::build::{self, Profile};
use crate::setup::{self, Needs};
use crate::workspace::Workspace;
use crate::{command, progress};

/// Arguments of `cargo xtask run`.
#[derive(clap::Args)]
pub struct Args {
    /// Arguments for `netpath demo`
    #[arg(last = true)]
    demo: Vec<OsString>,
}

/// Sets up, builds, and becomes `netpath demo`.
pub fn task(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::ensure(workspace, Needs::Run)?;
    let mut netpath = Command::new(build::netpath(workspace, Profile::Release)?);
    netpath.arg("demo").args(&args.demo);
    progress::step(&format!("run: {}", command::describe(&netpath)));
    Err(netpath.exec()).with_context(|| format!("cannot start `{}`", command::describe(&netpath)))
}
