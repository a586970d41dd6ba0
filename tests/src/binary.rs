//! The `netpath` binary under test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// The binary with these arguments, its input closed and its output kept.
pub fn netpath(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// `NETPATH_BIN`, or what `cargo build` left in the workspace, the newer of both profiles.
///
/// # Panics
/// When there is neither.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("NETPATH_BIN") {
        return path.into();
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let built =
        ["release", "debug"].map(|profile| workspace.join("target").join(profile).join("netpath"));
    let newest = built
        .iter()
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .max();
    match newest {
        Some((_, path)) => path.clone(),
        None => panic!("no netpath at {built:?}: run `cargo build` or set NETPATH_BIN"),
    }
}

/// A copy of it where everybody may run it, which goes with the test.
#[derive(Debug)]
pub struct BinaryCopy(PathBuf);

impl BinaryCopy {
    /// Made by another process: a file that this one writes may be open in a child of another thread's, and then it is busy.
    pub fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("netpath-{}-{number}.bin", process::id()));
        let status = Command::new("cp").arg(binary()).arg(&path).status();
        assert!(status.expect("cp").success());
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for BinaryCopy {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for BinaryCopy {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}
