//! `cargo xtask clean`

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::progress;
use crate::workspace::Workspace;

/// Cargo marks the root of each target directory with this file.
const TARGET_DIRECTORY_MARK: &str = "CACHEDIR.TAG";

/// Arguments of `cargo xtask clean`.
#[derive(clap::Args)]
pub struct Args {
    /// Remove the BPF toolchain too; the next set-up gets it again
    #[arg(long)]
    all: bool,
}

/// Empties the target directory, except for the BPF toolchain unless that is asked for.
pub fn task(workspace: &Workspace, args: &Args) -> Result<()> {
    let target = &workspace.target;
    if !target.join(TARGET_DIRECTORY_MARK).is_file() {
        bail!(
            "{} is not a target directory of cargo: nothing removed",
            target.display()
        );
    }
    progress::step(&format!("clean: {}", target.display()));
    let toolchain = workspace.toolchain();
    for entry in fs::read_dir(target).with_context(|| format!("read {}", target.display()))? {
        let path = entry?.path();
        let kept = path == toolchain || path.ends_with(TARGET_DIRECTORY_MARK);
        if args.all || !kept {
            remove(&path)?;
        }
    }
    remove(&toolchain.join("build"))
}

/// Removes a file or a directory, if there is one.
pub fn remove(path: &Path) -> Result<()> {
    let Ok(metadata) = path.symlink_metadata() else {
        return Ok(());
    };
    if metadata.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
    .with_context(|| format!("remove {}", path.display()))
}
