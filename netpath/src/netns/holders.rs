//! Who keeps a namespace alive that has no name any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::CString,
    fmt, fs, mem,
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

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

impl Holder {
    /// Whether it is a command of netpath's that has it open, to look at it: not for long.
    pub(crate) fn is_netpath(&self) -> bool {
        !self.inside && self.command == "netpath"
    }
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
    // Numbers are those of the file system of all namespaces, of which one's own is a file.
    let Some(own) = file(Path::new("/proc/self/ns/net")) else {
        return holders;
    };
    let wanted: BTreeSet<FileId> = of
        .iter()
        .map(|inode| FileId {
            inode: *inode,
            ..own
        })
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
        for (inode, inside) in held(&directory, &wanted) {
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
fn held(process: &Path, wanted: &BTreeSet<FileId>) -> BTreeMap<u64, bool> {
    let number = |path: &Path| {
        let file = file(path).filter(|file| wanted.contains(file))?;
        Some(file.inode)
    };
    let files = fs::read_dir(process.join("fd")).into_iter().flatten();
    let open = files.flatten().filter_map(|file| number(&file.path()));
    let mut held: BTreeMap<u64, bool> = open.map(|inode| (inode, false)).collect();
    held.extend(number(&process.join("ns/net")).map(|inode| (inode, true)));
    held
}

/// A file's number and its file system's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct FileId {
    device: (u32, u32),
    inode: u64,
}

/// The file that a link of /proc leads to. The link's text does not say which namespace it is where it was opened under a
/// name: it is that path, and `/` once the name is taken away. A file server that does not answer is not waited for.
fn file(link: &Path) -> Option<FileId> {
    let link = CString::new(link.as_os_str().as_bytes()).ok()?;
    // SAFETY: integers only, for which zero is valid.
    let mut found: libc::statx = unsafe { mem::zeroed() };
    // SAFETY: the path ends with a zero, and both outlive the call.
    let result = unsafe {
        libc::statx(
            libc::AT_FDCWD,
            link.as_ptr(),
            libc::AT_STATX_DONT_SYNC,
            libc::STATX_INO,
            &raw mut found,
        )
    };
    (result == 0).then_some(FileId {
        device: (found.stx_dev_major, found.stx_dev_minor),
        inode: found.stx_ino,
    })
}
