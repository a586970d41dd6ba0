//! A copy of the workspace, to remove things from.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::removals::{REMOVALS, Removal};
use super::source;
use crate::clean;
use crate::workspace::Workspace;

/// What a build needs of the workspace.
const SOURCES: [&str; 7] = [
    "Cargo.toml",
    "Cargo.lock",
    "netpath",
    "netpath-common",
    "netpath-ebpf",
    "tests",
    "xtask",
];

/// The test that has all conformance cases.
const TEST: &str = "conformance";

/// The copy. It has a target directory and a BPF build of its own: cargo knows a package by its path within the
/// workspace, so that a shared one would hand programs with a stage missing to the workspace itself.
pub struct Tree<'a> {
    workspace: &'a Workspace,
    root: PathBuf,
    target: PathBuf,
}

impl<'a> Tree<'a> {
    /// Copies what has changed since the last time.
    pub fn copy(workspace: &'a Workspace) -> Result<Self> {
        let stages = workspace.target.join("stages");
        let tree = Self {
            workspace,
            root: stages.join("tree"),
            target: stages.join("target"),
        };
        // Also takes back a removal that was left by a run that was stopped.
        fs::create_dir_all(&tree.root).with_context(|| format!("make {}", tree.root.display()))?;
        for source in SOURCES {
            mirror(&workspace.root.join(source), &tree.root.join(source))?;
        }
        let toolchain = tree.target.join("bpf-toolchain");
        let name = "toolchain.env";
        fs::create_dir_all(&toolchain).with_context(|| format!("make {}", toolchain.display()))?;
        mirror(&workspace.toolchain().join(name), &toolchain.join(name))?;
        // Before anything is built: all that does not fit the source any more.
        for removal in REMOVALS {
            source::without(&tree.original(removal)?, removal)?;
        }
        Ok(tree)
    }

    /// Builds the conformance test on programs that lack this, and returns its path.
    pub fn build_without(&self, removal: Option<&Removal>) -> Result<PathBuf> {
        let Some(removal) = removal else {
            return self.build();
        };
        let original = self.original(removal)?;
        let file = self.file(removal);
        write(&file, source::without(&original, removal)?.as_bytes())?;
        let built = self.build();
        write(&file, original.as_bytes())?;
        built
    }

    fn file(&self, removal: &Removal) -> PathBuf {
        self.root.join("netpath-ebpf/src").join(removal.file)
    }

    fn original(&self, removal: &Removal) -> Result<String> {
        let sources = self.workspace.root.join("netpath-ebpf/src");
        let file = sources.join(removal.file);
        fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))
    }

    fn build(&self) -> Result<PathBuf> {
        let output = self
            .workspace
            .cargo()
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .args(["test", "--quiet", "--offline", "--package", "netpath-tests"])
            .args(["--test", TEST, "--no-run", "--message-format=json"])
            .stdin(Stdio::null())
            .output()
            .context("cannot start cargo")?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!("it does not build ({}):\n{stderr}", output.status);
        }
        String::from_utf8(output.stdout)?
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|message| message["target"]["name"] == TEST)
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .context("cargo named no executable of the conformance test")
    }
}

/// Makes `to` what `from` is, and leaves alone what already is the same, for cargo goes by the time of a change.
fn mirror(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        let bytes = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        return write(to, &bytes);
    }
    fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    let wanted = entries(from)?;
    for gone in entries(to)?.difference(&wanted) {
        clean::remove(&to.join(gone))?;
    }
    for name in wanted {
        mirror(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

fn entries(directory: &Path) -> Result<BTreeSet<OsString>> {
    let read = || -> std::io::Result<_> {
        fs::read_dir(directory)?
            .map(|entry| Ok(entry?.file_name()))
            .collect()
    };
    read().with_context(|| format!("read {}", directory.display()))
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(file).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    fs::write(file, bytes).with_context(|| format!("write {}", file.display()))
}
