//! The built-in lab has fixed names, so everything that uses it takes one lock.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use crate::netpath;

/// Whoever uses the built-in lab holds it.
const LOCK: &str = "/run/netpath-test-builtin-lab.lock";

/// Namespaces of the built-in lab.
pub const BUILTIN_NAMESPACES: [&str; 7] = [
    "node02",
    "node03",
    "demo01",
    "demo02",
    "demo03",
    "demo04",
    "netpath-wire-lan",
];

/// Its nodes.
pub const BUILTIN_NODES: [&str; 2] = ["node02", "node03"];

/// The built-in lab is this test's alone, and gone before and after it.
#[derive(Debug)]
pub struct BuiltinLab {
    _lock: File,
}

impl BuiltinLab {
    /// Waits for whoever has it.
    pub fn take() -> Self {
        let lock = File::create(LOCK).expect("a lock in /run, which is root's");
        lock.lock().expect("lock");
        let left = builtin_left_behind();
        assert!(left.is_empty(), "the built-in lab is up: {left:?}");
        Self { _lock: lock }
    }
}

impl Drop for BuiltinLab {
    fn drop(&mut self) {
        // Only after a failed test is there anything to remove.
        if !builtin_left_behind().is_empty() {
            let _removed = netpath(&["down"]).output();
        }
    }
}

/// What there is of the built-in lab.
pub fn builtin_left_behind() -> Vec<PathBuf> {
    let namespaces = BUILTIN_NAMESPACES.map(|name| Path::new("/run/netns").join(name));
    let pins = ["", "_new_"].map(|prefix| {
        BUILTIN_NODES.map(|node| Path::new("/sys/fs/bpf/netpath").join(format!("{prefix}{node}")))
    });
    let all = namespaces.into_iter().chain(pins.into_iter().flatten());
    all.filter(|path| path.symlink_metadata().is_ok()).collect()
}
