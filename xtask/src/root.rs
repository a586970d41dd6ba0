//! Which tasks need root, and how to become root without losing rustup's environment.

use anyhow::{Result, bail};
use nix::unistd::Uid;

/// Whether this process may make namespaces and load BPF programs.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Refuses to go on without root, before any build work.
pub fn require(task: &str) -> Result<()> {
    if !is_root() {
        bail!(
            "netpath needs root for namespaces and BPF: run \
             `sudo -E env \"PATH=$PATH\" cargo xtask {task}`"
        );
    }
    Ok(())
}
