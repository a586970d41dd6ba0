//! The `netpath` binary under test.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
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
