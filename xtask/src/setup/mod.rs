//! Finds out what is missing and gets it: what is there already, then rustup, then Debian's packages.

mod apt;
mod compiler;
mod debian;
pub mod emulator;
pub mod kernel;
mod linker;
mod manifest;
pub mod routing;
mod tools;

use std::fs::{self, File};

use anyhow::{Context, Result};

use crate::progress;
use crate::workspace::Workspace;
pub use compiler::Origin;
use manifest::Toolchain;

/// What a task cannot do without.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// The BPF toolchain.
    Build,
    /// Also what the demo runs.
    Run,
    /// Also what the tests run.
    Test,
    /// Also what the tests on other kernels need.
    Kernels,
}

/// Arguments of `cargo xtask setup`.
#[derive(clap::Args)]
pub struct Args {
    /// Take the BPF compiler from here only, even if another is set up
    #[arg(long, value_name = "ORIGIN")]
    from: Option<Origin>,
}

/// Sets everything up; without root it names the packages that are left to install.
pub fn task(workspace: &Workspace, args: &Args) -> Result<()> {
    let toolchain = toolchain(workspace, args.from)?;
    progress::step("set-up: the BPF toolchain is complete");
    progress::note(&format!(
        "rustc       {} ({})",
        toolchain.rustc.display(),
        toolchain.rustc_version
    ));
    progress::note(&format!("bpf-linker  {}", toolchain.bpf_linker.display()));
    tools::ensure(Needs::Test)?;
    routing::ensure(workspace)?;
    progress::step("set-up: done");
    Ok(())
}

/// Sets up what `needs` says. Silent and quick when nothing is missing.
pub fn ensure(workspace: &Workspace, needs: Needs) -> Result<()> {
    tools::ensure(needs)?;
    toolchain(workspace, None)?;
    Ok(())
}

fn toolchain(workspace: &Workspace, from: Option<Origin>) -> Result<Toolchain> {
    let dir = workspace.toolchain();
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let lock_path = dir.join("setup.lock");
    let lock = File::create(&lock_path).with_context(|| format!("open {}", lock_path.display()))?;
    if lock.try_lock().is_err() {
        progress::step("set-up: wait for another set-up that is running");
        lock.lock()
            .with_context(|| format!("lock {}", lock_path.display()))?;
    }

    if let Some(toolchain) = Toolchain::read(&dir)
        && from.is_none_or(|origin| origin == toolchain.origin)
    {
        return Ok(toolchain);
    }
    let bpf_linker = linker::find_or_install(workspace)?;
    let (compiler, origin) = compiler::find_or_get(&dir, from, &bpf_linker)?;
    let toolchain = Toolchain {
        origin,
        rustc: compiler.rustc,
        rustc_version: compiler.version,
        ld_library_path: compiler.libraries,
        bpf_linker,
    };
    toolchain.write(&dir)?;
    Ok(toolchain)
}
