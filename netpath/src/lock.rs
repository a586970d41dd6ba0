//! Locks between netpath processes: one at a time changes a machine's topology, or mounts and leaves bpffs.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::fcntl::{Flock, FlockArg};

use crate::{Ending, Ends};

/// A directory of root's own, so that nobody else can hold a lock.
const DIRECTORY: &str = "/run/netpath";
/// How long another netpath may take: 200 endpoints come up in ten seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// A lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another netpath holds it, and goes on holding it.
    #[error("another netpath is at work (lock {}): wait for it to end", .0.display())]
    Held(PathBuf),
    /// The file cannot be made or locked.
    #[error("{}: {source}", path.display())]
    File {
        /// The lock file or its directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Ends for LockError {
    fn ending(&self) -> Ending {
        match self {
            Self::Held(_) | Self::File { .. } => Ending::Failed,
        }
    }
}

/// What a lock is about. A process that needs both takes them in this order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject {
    /// The machine's namespaces, interfaces and routes.
    Topology,
    /// netpath's directory on the BPF filesystem, and its mount.
    Bpffs,
}

impl Subject {
    fn path(self) -> PathBuf {
        Path::new(DIRECTORY).join(match self {
            Self::Topology => "topology.lock",
            Self::Bpffs => "bpffs.lock",
        })
    }
}

/// Held while something is changed; its file goes with it.
pub(crate) struct Lock {
    path: PathBuf,
    _file: Flock<File>,
}

impl Lock {
    /// Waits for the lock.
    pub(crate) fn take(subject: Subject) -> Result<Self, LockError> {
        let path = subject.path();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Self::attempt(&path)? {
                Some(lock) => return Ok(lock),
                None if Instant::now() > deadline => return Err(LockError::Held(path)),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn attempt(path: &Path) -> Result<Option<Self>, LockError> {
        match DirBuilder::new().mode(0o700).create(DIRECTORY) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result.map_err(failed(Path::new(DIRECTORY)))?,
        }
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path);
        let file = match opened {
            // Its last holder has just removed the directory.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result.map_err(failed(path))?,
        };
        let held = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => held,
            Err((_, nix::Error::EWOULDBLOCK)) => return Ok(None),
            Err((_, errno)) => return Err(failed(path)(errno.into())),
        };
        // A lock on a file that has lost its name excludes nobody.
        let held_inode = held.metadata().map_err(failed(path))?.ino();
        match fs::metadata(path) {
            Ok(named) if named.ino() == held_inode => Ok(Some(Self {
                path: path.to_owned(),
                _file: held,
            })),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed(path)(source)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Both are removed while the lock is still held. Where that fails, an empty file stays: no harm.
        let removed = fs::remove_file(&self.path).and_then(|()| match fs::remove_dir(DIRECTORY) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound
                ) =>
            {
                Ok(())
            }
            result => result,
        });
        if let Err(error) = removed {
            tracing::warn!(%error, "{} stays behind", self.path.display());
        }
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> LockError {
    let path = path.to_owned();
    move |source| LockError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_cannot_be_had_is_a_failure() {
        let path = || PathBuf::from("/run/netpath/topology.lock");
        let source = io::Error::other("no room");
        for error in [
            LockError::Held(path()),
            LockError::File {
                path: path(),
                source,
            },
        ] {
            assert_eq!(error.ending(), Ending::Failed, "{error}");
        }
    }
}
