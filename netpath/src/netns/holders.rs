//! Who keeps a namespace alive that has no name any more.

use std::{collections::BTreeMap, fmt, fs, path::Path};

/// A process that keeps a namespace alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its name, as `ps` shows it.
    pub command: String,
    /// It is in the namespace, as opposed to having it open.
    pub inside: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, command, .. } = self;
        match self.inside {
            true => write!(f, "process {pid} ({command}) is in it"),
            false => write!(f, "process {pid} ({command}) has it open"),
        }
    }
}

/// The processes that are in one of these namespaces, or have it open, by the number of its file
/// ([`Netns::inode`](super::Netns::inode)). What /proc does not show is left out: sockets, mounts in other mount
/// namespaces, and processes that end meanwhile.
#[must_use]
pub fn holders(of: &[u64]) -> BTreeMap<u64, Vec<Holder>> {
    let mut holders: BTreeMap<u64, Vec<Holder>> = BTreeMap::new();
    let links: BTreeMap<String, u64> = of
        .iter()
        .map(|inode| (format!("net:[{inode}]"), *inode))
        .collect();
    // A process that ended meanwhile holds nothing.
    let Ok(processes) = fs::read_dir("/proc") else {
        return holders;
    };
    for process in processes.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let directory = process.path();
        for (inode, inside) in held(&directory, &links) {
            let command = fs::read_to_string(directory.join("comm")).unwrap_or_default();
            holders.entry(inode).or_default().push(Holder {
                pid,
                command: command.trim_end().to_owned(),
                inside,
            });
        }
    }
    holders
}

/// What one process holds of these: the number, and whether the process is in it.
fn held(process: &Path, links: &BTreeMap<String, u64>) -> BTreeMap<u64, bool> {
    let target = |path: &Path| {
        let target = fs::read_link(path).ok()?;
        links.get(target.to_str()?).copied()
    };
    let files = fs::read_dir(process.join("fd")).into_iter().flatten();
    let open = files.flatten().filter_map(|file| target(&file.path()));
    let mut held: BTreeMap<u64, bool> = open.map(|inode| (inode, false)).collect();
    held.extend(target(&process.join("ns/net")).map(|inode| (inode, true)));
    held
}
