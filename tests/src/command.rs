//! The command as users and their scripts see it: files for it, and how it ends.

use std::{
    fs,
    path::PathBuf,
    process::{self, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::netpath;

/// A file that goes with the test.
#[derive(Debug)]
pub struct TempFile(PathBuf);

impl TempFile {
    /// With this text.
    pub fn new(text: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("netpath-{}-{number}.toml", process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).expect("a temporary file");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

/// Runs netpath.
pub fn run_netpath(arguments: &[&str]) -> Output {
    netpath(arguments).output().expect("start netpath")
}

/// It ended with this status, and said all this on stderr.
pub fn assert_ends(output: &Output, status: i32, on_stderr: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    for part in on_stderr {
        assert!(stderr.contains(part), "no {part:?} in: {stderr}");
    }
}

/// What it wrote to stdout.
pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// The number that an environment variable of this name says.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}
