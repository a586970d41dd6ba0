//! A copy of the workspace, to remove things from.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::removals::{REMOVALS, Removal};
use super::source;
use crate::clean;
use crate::conformance::BINARY;
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

/// Where the TC programs are.
const PROGRAMS: &str = "netpath-ebpf/src";

/// The copy. It has a target directory and a BPF build of its own: cargo knows a package by its path within the
/// workspace, so that a shared one would hand programs with a stage missing to the workspace itself.
pub struct Tree<'a> {
    workspace: &'a Workspace,
    root: PathBuf,
    target: PathBuf,
    /// The files of netpath-ebpf/src that something is removed from, as they were when they were copied.
    originals: BTreeMap<&'static str, String>,
    /// Another run would change the copy under this one.
    _lock: File,
}

impl<'a> Tree<'a> {
    /// Copies what has changed since the last time.
    pub fn copy(workspace: &'a Workspace) -> Result<Self> {
        let stages = workspace.target.join("stages");
        let (root, target) = (stages.join("tree"), stages.join("target"));
        let toolchain = target.join("bpf-toolchain");
        for directory in [&root, &toolchain] {
            fs::create_dir_all(directory)
                .with_context(|| format!("make {}", directory.display()))?;
        }
        let lock = lock(&stages.join("lock"))?;
        // Also takes back a removal that was left by a run that was stopped.
        for source in SOURCES {
            mirror(&workspace.root.join(source), &root.join(source))?;
        }
        let name = "toolchain.env";
        mirror(&workspace.toolchain().join(name), &toolchain.join(name))?;
        let mut originals = BTreeMap::new();
        for removal in REMOVALS {
            let file = root.join(PROGRAMS).join(removal.file);
            let original =
                fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            // Before anything is built: all that does not fit the source any more.
            source::without(&original, removal)?;
            originals.insert(removal.file, original);
        }
        Ok(Self {
            workspace,
            root,
            target,
            originals,
            _lock: lock,
        })
    }

    /// Builds the conformance test on programs that lack this, and returns its path.
    pub fn build_without(&self, removal: Option<&Removal>) -> Result<PathBuf> {
        let Some(removal) = removal else {
            return self.build();
        };
        let original = &self.originals[removal.file];
        let file = self.root.join(PROGRAMS).join(removal.file);
        write(&file, source::without(original, removal)?.as_bytes())?;
        let built = self.build();
        write(&file, original.as_bytes())?;
        built
    }

    fn build(&self) -> Result<PathBuf> {
        let output = self
            .workspace
            .cargo()
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .args(["test", "--quiet", "--offline", "--package", "netpath-tests"])
            .args(["--test", BINARY, "--no-run", "--message-format=json"])
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
            .filter(|message| message["target"]["name"] == BINARY)
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .context("cargo named no executable of the conformance test")
    }
}

fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("make {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("`cargo xtask stages` is running already"),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("lock {}", path.display()))
        }
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
