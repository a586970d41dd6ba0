//! Where things are: the workspace, its target directory, cargo.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;

/// The workspace that xtask belongs to.
pub struct Workspace {
    /// The directory of the workspace's Cargo.toml.
    pub root: PathBuf,
    /// Cargo's target directory, wherever the environment or a configuration file puts it.
    pub target: PathBuf,
}

impl Workspace {
    /// Asks cargo, so that `CARGO_TARGET_DIR` and `build.target-dir` are respected.
    pub fn locate() -> Result<Self> {
        let mut metadata = Command::new(cargo_path());
        metadata.args(["metadata", "--no-deps", "--offline", "--format-version=1"]);
        metadata.args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ]);
        let json: serde_json::Value = serde_json::from_str(&command::output(&mut metadata)?)
            .context("`cargo metadata` wrote something else than JSON")?;
        let path = |key: &str| {
            json[key]
                .as_str()
                .map(PathBuf::from)
                .with_context(|| format!("no {key} in cargo metadata"))
        };
        Ok(Self {
            root: path("workspace_root")?,
            target: path("target_directory")?,
        })
    }

    /// What set-up gets or makes: the BPF toolchain and the build of the TC programs.
    pub fn toolchain(&self) -> PathBuf {
        self.target.join("bpf-toolchain")
    }

    /// A cargo command in the workspace. Where nobody has built incrementally yet, as on a clean clone, it does not begin to:
    /// that makes a first build a third dearer, and who runs xtask alone changes nothing between two builds.
    pub fn cargo(&self) -> Command {
        let mut cargo = Command::new(cargo_path());
        cargo.current_dir(&self.root);
        if env::var_os(INCREMENTAL).is_none() && !builds_incrementally(&self.target) {
            cargo.env(INCREMENTAL, "0");
        }
        cargo
    }
}

/// Cargo's switch of incremental builds.
const INCREMENTAL: &str = "CARGO_INCREMENTAL";

/// Whether something of netpath was built incrementally. `cargo xtask` builds xtask itself so.
fn builds_incrementally(target: &Path) -> bool {
    let Ok(kept) = fs::read_dir(target.join("debug/incremental")) else {
        return false;
    };
    let mut names = kept.flatten().map(|entry| entry.file_name());
    names.any(|name| name.to_string_lossy().starts_with("netpath"))
}

fn cargo_path() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_clone_is_not_built_incrementally() {
        let target = env::temp_dir().join(format!("netpath-xtask-{}", std::process::id()));
        let kept = |name: &str| fs::create_dir_all(target.join("debug/incremental").join(name));
        assert!(!builds_incrementally(&target));
        kept("xtask-12vkjrnqba6b1").expect("a directory");
        assert!(!builds_incrementally(&target));
        kept("netpath_common-1l4jr7qbcjh3x").expect("a directory");
        assert!(builds_incrementally(&target));
        fs::remove_dir_all(&target).expect("removed");
    }
}
