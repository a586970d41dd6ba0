//! Where things are pinned, and the BPF filesystem that they are pinned on.
//!
//! ```text
//! /sys/fs/bpf/netpath/<node>/maps/<map>
//!                            programs/<program>
//!                            links/<program>@<interface>      (TCX only)
//! ```

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{AT_FDCWD, RenameFlags, renameat2},
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::error::{DatapathError, file};

/// Where the BPF filesystem is mounted.
const BPFFS: &str = "/sys/fs/bpf";
/// netpath's directory on it.
const ROOT: &str = "/sys/fs/bpf/netpath";
/// The mount source of a BPF filesystem that netpath mounted itself.
const MOUNT_SOURCE: &str = "netpath";
/// Prefix of a directory that is not complete yet. No node's name can start so.
const STAGING: &str = "_new_";

/// The pins of one node.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    directory: PathBuf,
}

impl Pins {
    /// Of a node.
    pub(super) fn of(node: &str) -> Self {
        Self {
            directory: Path::new(ROOT).join(node),
        }
    }

    /// The directory of a node that is being made; [`Pins::publish`] gives it its name.
    pub(super) fn stage(node: &str) -> Result<Self, DatapathError> {
        is_trusted(Path::new(ROOT))?;
        Self::remove_unfinished(node)?;
        let pins = Self::staging(node);
        make(Path::new(ROOT))?;
        make(&pins.directory)?;
        pins.complete()?;
        Ok(pins)
    }

    /// Makes the directories within the node's that are not there.
    pub(super) fn complete(&self) -> Result<(), DatapathError> {
        ["maps", "programs", "links"]
            .iter()
            .try_for_each(|part| make(&self.directory.join(part)))
    }

    /// Makes a staged directory the node's, in one step.
    pub(super) fn publish(&self, node: &str) -> Result<(), DatapathError> {
        fs::rename(&self.directory, Self::of(node).directory())
            .map_err(file(&self.directory, "rename to the node's name"))
    }

    /// Lets a staged directory and the node's own change names, in one step (Linux 5.16).
    pub(super) fn exchange(&self, node: &str) -> Result<(), DatapathError> {
        renameat2(
            AT_FDCWD,
            &self.directory,
            AT_FDCWD,
            Self::of(node).directory(),
            RenameFlags::RENAME_EXCHANGE,
        )
        .map_err(|errno| file(&self.directory, "exchange for the node's")(errno.into()))
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether the directory is there.
    ///
    /// # Errors
    /// When others than root may have made it, or may change what is in it.
    pub(super) fn exists(&self) -> Result<bool, DatapathError> {
        Ok(is_trusted(Path::new(ROOT))? && is_trusted(&self.directory)?)
    }

    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.directory.join("maps").join(name)
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.directory.join("programs").join(name)
    }

    /// bpffs reserves dots in names, and an interface may have them; no interface has a percent sign.
    pub(super) fn link(&self, program: &str, dev: &str) -> PathBuf {
        self.directory
            .join("links")
            .join(format!("{program}@{}", dev.replace('.', "%")))
    }

    /// The pinned links, as (program, interface).
    pub(super) fn links(&self) -> Result<Vec<(String, String)>, DatapathError> {
        Ok(names(&self.directory.join("links"))?
            .into_iter()
            .filter_map(|name| {
                let (program, dev) = name.split_once('@')?;
                Some((program.to_owned(), dev.replace('%', ".")))
            })
            .collect())
    }

    /// Unpins everything. What is pinned nowhere else ends with its last user.
    pub(super) fn remove(&self) -> Result<(), DatapathError> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(file(&self.directory, "remove")),
        }
    }

    /// Takes away a node's name in one step, so that nobody finds half of it, and then unpins everything.
    /// [`Pins::remove_unfinished`] ends what is interrupted in between.
    pub(super) fn retire(&self, node: &str) -> Result<(), DatapathError> {
        Self::remove_unfinished(node)?;
        fs::rename(&self.directory, Self::staging(node).directory())
            .map_err(file(&self.directory, "rename"))?;
        Self::remove_unfinished(node)
    }

    /// Unpins what was interrupted while it was being made or removed.
    pub(super) fn remove_unfinished(node: &str) -> Result<(), DatapathError> {
        Self::staging(node).remove()
    }

    fn staging(node: &str) -> Self {
        Self::of(&format!("{STAGING}{node}"))
    }
}

fn make(directory: &Path) -> Result<(), DatapathError> {
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.map_err(file(directory, "create")),
    }
}

/// Whether a directory is there. It must be root's own.
fn is_trusted(directory: &Path) -> Result<bool, DatapathError> {
    let problem = match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(file(directory, "look at")(source)),
        Ok(found) if !found.is_dir() => "it is no directory",
        Ok(found) if found.uid() != 0 => "root does not own it",
        Ok(found) if found.mode() & 0o022 != 0 => "others than root may write it",
        Ok(_) => return Ok(true),
    };
    Err(DatapathError::Untrusted {
        path: directory.to_owned(),
        problem,
    })
}

/// The nodes that have pins, in the order of their names.
///
/// # Errors
/// When netpath's directory cannot be read.
pub fn nodes() -> Result<Vec<String>, DatapathError> {
    if !is_trusted(Path::new(ROOT))? {
        return Ok(Vec::new());
    }
    let mut nodes = names(Path::new(ROOT))?;
    nodes.retain(|name| !name.starts_with(STAGING));
    nodes.sort();
    Ok(nodes)
}

/// The nodes of which pins are left that a run that was killed was making or removing, or that one is at work on just now.
///
/// # Errors
/// When netpath's directory cannot be read.
pub fn unfinished() -> Result<Vec<String>, DatapathError> {
    if !is_trusted(Path::new(ROOT))? {
        return Ok(Vec::new());
    }
    let names = names(Path::new(ROOT))?;
    let staged = names.iter().filter_map(|name| name.strip_prefix(STAGING));
    Ok(staged.map(str::to_owned).collect())
}

fn names(directory: &Path) -> Result<Vec<String>, DatapathError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.map_err(file(directory, "list"))?,
    };
    entries
        .map(|entry| {
            let entry = entry.map_err(file(directory, "list"))?;
            Ok(entry.file_name().to_string_lossy().into_owned())
        })
        .collect()
}

/// Mounts a BPF filesystem if there is none.
pub(super) fn ensure_bpffs() -> Result<(), DatapathError> {
    if is_bpffs()? {
        return Ok(());
    }
    mount(
        Some(MOUNT_SOURCE),
        BPFFS,
        Some("bpf"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        Some("mode=0700"),
    )
    .map_err(|errno| DatapathError::NoBpffs {
        source: errno.into(),
    })
}

fn is_bpffs() -> Result<bool, DatapathError> {
    match statfs(BPFFS) {
        Ok(info) => Ok(info.filesystem_type() == BPF_FS_MAGIC),
        Err(nix::Error::ENOENT) => Ok(false),
        Err(errno) => Err(file(BPFFS, "statfs")(errno.into())),
    }
}

/// Removes netpath's directory when no node is left. The BPF filesystem stays mounted: unmounting it would detach every
/// link that is pinned on it, also one that another tool has just pinned there.
pub(super) fn leave_directory() -> Result<(), DatapathError> {
    match fs::remove_dir(ROOT) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Ok(())
        }
        result => result.map_err(file(ROOT, "remove")),
    }
}
