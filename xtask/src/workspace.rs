//! Where things are: the workspace, its target directory, cargo.

use std::env;
use std::path::PathBuf;
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

    /// A cargo command in the workspace.
    pub fn cargo(&self) -> Command {
        let mut cargo = Command::new(cargo_path());
        cargo.current_dir(&self.root);
        cargo
    }
}

fn cargo_path() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}
