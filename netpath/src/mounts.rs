//! Whether what netpath makes can be seen by everybody, and outlives the command that made it.
//!
//! Nodes are pinned on the BPF filesystem at /sys/fs/bpf, and namespaces are mounted on /run/netns. A process may
//! run where these mounts are its own, and end with it: `ip netns exec` and `unshare --mount` make such a mount
//! namespace. What everybody sees is what process 1 sees: the machine's, or in a container the container's. Where process 1
//! may not be looked at, as in a sandbox, it is what the oldest ancestor of this process sees that may.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::{
    Ending, Ends,
    netns::{NETNS_DIR, file_of_current},
};

/// Where the BPF filesystem is mounted.
const BPFFS: &str = "/sys/fs/bpf";

/// Netpath runs where its work would be hidden. Nothing was touched.
#[derive(Debug, thiserror::Error)]
pub enum MountsError {
    /// What is up is pinned on another BPF filesystem than this process sees.
    #[error(
        "/sys/fs/bpf is not the machine's here (this mount namespace has its own), so what is up cannot be seen: run `{remedy}`"
    )]
    Hidden {
        /// The command to run instead.
        remedy: String,
    },
    /// What would be pinned here would be seen nowhere else.
    #[error(
        "/sys/fs/bpf is this mount namespace's own: what netpath makes would end with it: run `{remedy}`"
    )]
    Fleeting {
        /// The command to run instead.
        remedy: String,
    },
    /// Nothing can be pinned, and where the whole filesystem is so, nothing that is pinned can be opened.
    #[error(
        "/sys/fs/bpf is mounted read-only, and netpath's state is there: run `mount -o remount,rw{} /sys/fs/bpf`",
        remount(*.bind)
    )]
    ReadOnly {
        /// Only where it is mounted here, not the filesystem itself.
        bind: bool,
    },
    /// What is pinned below is not seen, and runs on.
    #[error(
        "/sys/fs/bpf is mounted twice: nodes that are pinned on the one below are not seen, and their programs run on: \
         `umount /sys/fs/bpf` takes the upper one away"
    )]
    Covered,
    /// Mounts on /run/netns do not reach the machine.
    #[error(
        "what is mounted on /run/netns in this mount namespace is not seen outside it, so namespaces can neither be \
         made nor removed for good: run `{remedy}`"
    )]
    Namespaces {
        /// The command to run instead.
        remedy: String,
    },
    /// What process 1 sees cannot be told.
    #[error("{}: {source}: netpath needs CAP_SYS_PTRACE to compare its mounts with the machine's", path.display())]
    Unknown {
        /// The file that was looked at.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Ends for MountsError {
    fn ending(&self) -> Ending {
        Ending::Refused
    }
}

/// Fails where the state of the nodes that are up cannot be seen. `command` is netpath's subcommand.
///
/// # Errors
/// When it cannot, or when that cannot be told.
pub fn require_visible(command: &str) -> Result<(), MountsError> {
    let machines = bpffs(&everybody()?.join("root"))?;
    if machines.is_some() && machines != bpffs(Path::new("/"))? {
        return Err(MountsError::Hidden {
            remedy: remedy(command)?,
        });
    }
    let mounts = mountinfo()?;
    refuse_covered(&mounts)?;
    match read_only_of(&mounts) {
        Some(false) => Err(MountsError::ReadOnly { bind: false }),
        _ => Ok(()),
    }
}

/// Fails where nothing can be pinned.
///
/// # Errors
/// Then, and when /proc does not say.
pub fn require_writable() -> Result<(), MountsError> {
    let bind = read_only_of(&mountinfo()?);
    bind.map_or(Ok(()), |bind| Err(MountsError::ReadOnly { bind }))
}

fn remount(bind: bool) -> &'static str {
    if bind { ",bind" } else { "" }
}

fn mountinfo() -> Result<String, MountsError> {
    let path = Path::new("/proc/self/mountinfo");
    fs::read_to_string(path).map_err(unknown(path))
}

/// Fails where one BPF filesystem is mounted over another one at the same place.
fn refuse_covered(mountinfo: &str) -> Result<(), MountsError> {
    match bpffs_count(mountinfo) {
        0 | 1 => Ok(()),
        _ => Err(MountsError::Covered),
    }
}

/// Whether [`BPFFS`] is read-only, and then whether only this mount of it is. The sixth field has the options of the mount, the
/// last one those of the filesystem. Of mounts on one another the last is on top.
fn read_only_of(mountinfo: &str) -> Option<bool> {
    let has_ro = |options: Option<&str>| {
        let mut options = options.unwrap_or_default().split(',');
        options.any(|option| option == "ro")
    };
    let mut found = mountinfo.lines().filter_map(|line| {
        let (fields, filesystem) = line.split_once(" - ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        (fields.get(4) == Some(&BPFFS) && filesystem.starts_with("bpf ")).then(|| {
            let of_mount = has_ro(fields.get(5).copied());
            (of_mount, has_ro(filesystem.rsplit(' ').next()))
        })
    });
    match found.next_back()? {
        (_, true) => Some(false),
        (true, false) => Some(true),
        (false, false) => None,
    }
}

/// Fails where what is pinned would not outlive the mount namespace, or there is more than is seen. `command` is netpath's subcommand.
///
/// # Errors
/// When it would not, or when that cannot be told.
pub fn require_lasting(command: &str) -> Result<(), MountsError> {
    let here = bpffs(Path::new("/"))?;
    if here != bpffs(&everybody()?.join("root"))? || (here.is_none() && !is_everybodys()?) {
        return Err(MountsError::Fleeting {
            remedy: remedy(command)?,
        });
    }
    refuse_covered(&mountinfo()?)
}

/// Fails where namespaces that are mounted or unmounted would be so for this mount namespace only: where its mount
/// that holds /run/netns is not a peer of the machine's (a slave only receives). `command` is netpath's subcommand.
///
/// # Errors
/// When they would, or when that cannot be told.
pub fn require_shared_namespaces(command: &str) -> Result<(), MountsError> {
    if is_everybodys()? {
        return Ok(());
    }
    let here = peer_group(Path::new("/proc/self/mountinfo"))?;
    if here.is_some() && here == peer_group(&everybody()?.join("mountinfo"))? {
        return Ok(());
    }
    Err(MountsError::Namespaces {
        remedy: remedy(command)?,
    })
}

/// Whether this process may see what everybody sees, whatever it is allowed to do.
///
/// # Errors
/// When /proc does not say.
pub(crate) fn shows_everybodys() -> Result<bool, MountsError> {
    may_look_at(Path::new("/proc/1"))
}

/// How many BPF filesystems are mounted at [`BPFFS`]: the third field is the device, the type follows the dash.
fn bpffs_count(mountinfo: &str) -> usize {
    let devices = mountinfo.lines().filter_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let is_it = fields.get(4) == Some(&BPFFS) && kind.starts_with("bpf ");
        fields.get(2).copied().filter(|_| is_it)
    });
    devices.collect::<BTreeSet<_>>().len()
}

/// The device number of the BPF filesystem below a root; none where there is no such filesystem.
fn bpffs(root: &Path) -> Result<Option<u64>, MountsError> {
    let path = root.join(BPFFS.trim_start_matches('/'));
    match statfs(&path) {
        Ok(info) if info.filesystem_type() == BPF_FS_MAGIC => {}
        Ok(_) | Err(nix::Error::ENOENT) => return Ok(None),
        Err(errno) => return Err(unknown(path)(errno.into())),
    }
    let metadata = fs::metadata(&path).map_err(unknown(path))?;
    Ok(Some(metadata.dev()))
}

/// The process in /proc that sees what everybody sees.
fn everybody() -> Result<PathBuf, MountsError> {
    let of = |pid: u32| PathBuf::from(format!("/proc/{pid}"));
    if may_look_at(&of(1))? {
        return Ok(of(1));
    }
    let (mut oldest, mut pid) = (std::process::id(), std::process::id());
    while pid > 1 {
        pid = parent(&of(pid))?;
        if pid > 1 && may_look_at(&of(pid))? {
            oldest = pid;
        }
    }
    Ok(of(oldest))
}

fn may_look_at(process: &Path) -> Result<bool, MountsError> {
    let path = process.join("ns/mnt");
    match fs::metadata(&path) {
        Ok(_) => Ok(true),
        // Another's, or gone meanwhile.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound
            ) =>
        {
            Ok(false)
        }
        Err(source) => Err(unknown(path)(source)),
    }
}

/// The parent of a process, by proc_pid_status(5); 0 where there is none to be seen.
fn parent(process: &Path) -> Result<u32, MountsError> {
    let path = process.join("status");
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        result => result.map_err(unknown(&path))?,
    };
    let parent = text
        .lines()
        .find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
    parent.ok_or_else(|| unknown(path)(io::Error::other("it names no parent")))
}

/// Whether this process is in the mount namespace that is everybody's.
fn is_everybodys() -> Result<bool, MountsError> {
    Ok(inode(Path::new("/proc/self/ns/mnt"))? == inode(&everybody()?.join("ns/mnt"))?)
}

fn inode(path: &Path) -> Result<(u64, u64), MountsError> {
    let metadata = fs::metadata(path).map_err(unknown(path))?;
    Ok((metadata.dev(), metadata.ino()))
}

/// The peer group of the mount that holds /run/netns.
fn peer_group(mountinfo: &Path) -> Result<Option<String>, MountsError> {
    let text = fs::read_to_string(mountinfo).map_err(unknown(mountinfo))?;
    Ok(peer_group_of(&text))
}

/// See proc_pid_mountinfo(5): the fifth field is the mount point; optional fields follow the sixth and end with a
/// dash. Of mounts on one another the last is on top.
fn peer_group_of(mountinfo: &str) -> Option<String> {
    let mut found: Option<(usize, Option<&str>)> = None;
    for line in mountinfo.lines() {
        let mut fields = line.split(' ').skip(4);
        let Some(point) = fields.next() else {
            continue;
        };
        if !Path::new(NETNS_DIR).starts_with(point) {
            continue;
        }
        let depth = Path::new(point).components().count();
        if found.is_none_or(|(deepest, _)| depth >= deepest) {
            let mut optional = fields.skip(1).take_while(|field| *field != "-");
            found = Some((depth, optional.find(|field| field.starts_with("shared:"))));
        }
    }
    found.and_then(|(_, group)| group.map(str::to_owned))
}

/// The command that does the same where everybody sees it: `nsenter --net` changes no mount, and `nsenter --mount` the working
/// directory as well, unless it is told otherwise.
fn remedy(command: &str) -> Result<String, MountsError> {
    if let Some(path) = file_of_current().map_err(unknown(NETNS_DIR))? {
        return Ok(format!(
            "nsenter --net={} netpath {command}",
            path.display()
        ));
    }
    let everybody = everybody()?.display().to_string();
    Ok(format!(
        "nsenter --mount={everybody}/ns/mnt --wd=. netpath {command}"
    ))
}

fn unknown(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> MountsError {
    let path = path.into();
    move |source| MountsError::Unknown { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filesystems_on_one_another_are_counted() {
        let one = "30 25 0:27 / /sys/fs/bpf rw shared:9 - bpf bpf rw,mode=700\n";
        assert_eq!(bpffs_count(one), 1);
        // The same one, bound there once more.
        assert_eq!(bpffs_count(&one.repeat(2)), 1);
        let other =
            "31 30 0:44 / /sys/fs/bpf rw - bpf none rw\n32 30 0:45 / /mnt/bpf rw - bpf none rw\n";
        assert_eq!(bpffs_count(&format!("{one}{other}")), 2);
    }

    #[test]
    fn a_read_only_filesystem_is_told_from_a_read_only_mount() {
        let line = |mount: &str, filesystem: &str| {
            format!("30 25 0:27 / /sys/fs/bpf {mount} shared:9 - bpf bpf {filesystem},mode=700\n")
        };
        let other = "31 30 0:28 / /sys ro - sysfs sysfs ro\n";
        assert_eq!(read_only_of(&line("rw,nosuid", "rw")), None);
        assert_eq!(
            read_only_of(&(line("ro,nosuid", "ro") + other)),
            Some(false)
        );
        assert_eq!(read_only_of(&line("nosuid,ro", "rw")), Some(true));
        // The one on top counts.
        assert_eq!(read_only_of(&(line("ro", "ro") + &line("rw", "rw"))), None);
        assert_eq!(read_only_of(other), None);
    }

    #[test]
    fn the_innermost_mount_counts_and_the_last_on_it() {
        let text = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /run rw,nosuid shared:5 master:2 - tmpfs tmpfs rw
24 22 0:22 / /run/net rw shared:7 - tmpfs tmpfs rw
";
        assert_eq!(peer_group_of(text).as_deref(), Some("shared:5"));
        let above = format!("{text}25 23 0:21 /netns /run/netns rw shared:9 - tmpfs tmpfs rw\n");
        assert_eq!(peer_group_of(&above).as_deref(), Some("shared:9"));
        let slave = format!("{above}26 25 0:30 / /run/netns rw master:9 - tmpfs tmpfs rw\n");
        assert_eq!(peer_group_of(&slave), None);
        let within = format!("{above}27 25 0:4 net:[1] /run/netns/a rw shared:3 - nsfs nsfs rw\n");
        assert_eq!(peer_group_of(&within).as_deref(), Some("shared:9"));
        assert_eq!(peer_group_of(""), None);
    }
}
