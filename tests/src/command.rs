//! The command as users and their scripts see it: files for it, and how it ends.

use std::{
    env, fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
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

/// A directory of programs for `PATH`, which goes with the test.
#[derive(Debug)]
pub struct Programs(PathBuf);

impl Programs {
    /// Without any.
    pub fn none() -> Self {
        // Where process ids are a namespace's own, another process may have this one's.
        let mut names = (0..)
            .map(|number| env::temp_dir().join(format!("programs-{}-{number}", process::id())));
        let is_new = |path: &PathBuf| match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            made => made.map(|()| true).expect("a directory"),
        };
        let directory = names.find(is_new).expect("a free name");
        Self(directory)
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Before all others.
    pub fn path_first(&self) -> String {
        let others = env::var("PATH").expect("PATH");
        format!("{}:{others}", self.0.display())
    }

    /// One that is there, which notes that it is started, and does this before it does what it is for.
    pub fn add(&self, name: &str, before: &str) {
        let (program, others) = (self.0.join(name), env::var("PATH").expect("PATH"));
        let started = self.0.join("started");
        let script = format!(
            "#!/bin/sh\nPATH={others}\necho {name} >> {}\n{before}\nexec {name} \"$@\"\n",
            started.display()
        );
        fs::write(&program, script).expect("a script");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its own");
    }

    /// The names of those that were started, a line each.
    pub fn started(&self) -> String {
        match fs::read_to_string(self.0.join("started")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.expect("readable"),
        }
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
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
