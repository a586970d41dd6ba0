//! bpf-linker, of one pinned version, never installed globally.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::clean::remove;
use crate::workspace::Workspace;
use crate::{command, progress};

/// The version that the objects are built with.
pub const VERSION: &str = "0.10.3";

/// The bpf-linker on PATH if it is of this version, else one of our own under target/.
pub fn find_or_install(workspace: &Workspace) -> Result<PathBuf> {
    progress::step(&format!("set-up: look for bpf-linker {VERSION}"));
    let own_root = workspace.toolchain().join("bpf-linker");
    let own = own_root.join("bin/bpf-linker");
    let there = command::find("bpf-linker").into_iter().chain([own.clone()]);
    for candidate in there.filter(|candidate| candidate.is_file()) {
        match check(&candidate) {
            Ok(()) => {
                progress::note(&format!("uses {}", candidate.display()));
                return Ok(candidate);
            }
            Err(error) => progress::note(&format!("no: {error:#}")),
        }
    }
    install(workspace, &own_root)?;
    check(&own)?;
    Ok(own)
}

/// Keeps cargo's work in a directory of its own until it is done, so that an interrupted build goes on.
fn install(workspace: &Workspace, root: &Path) -> Result<()> {
    let work = workspace.toolchain().join("bpf-linker-build");
    progress::timed("set-up: build bpf-linker (about a minute)", || {
        let mut cargo = workspace.cargo();
        cargo
            .args([
                "install",
                "bpf-linker",
                "--version",
                VERSION,
                "--locked",
                "--force",
                "--root",
            ])
            .arg(root)
            .arg("--target-dir")
            .arg(&work)
            // It works for a second or two on each object: to optimize it takes longer than that will ever save.
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        progress::run_long(&mut cargo)
    })?;
    remove(&work)
}

fn check(bpf_linker: &Path) -> Result<()> {
    let version = command::output(Command::new(bpf_linker).arg("--version"))?;
    let version = version.trim();
    if version != format!("bpf-linker {VERSION}") {
        bail!("{} is {version}, not {VERSION}", bpf_linker.display());
    }
    Ok(())
}
