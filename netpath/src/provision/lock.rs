//! One netpath at a time changes a machine's topology.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    time::{Duration, Instant},
};

use nix::fcntl::{Flock, FlockArg};

use super::error::ProvisionError;

/// A directory of root's own, so that nobody else can hold the lock.
const DIRECTORY: &str = "/run/netpath";
/// The lock file.
const LOCK: &str = "/run/netpath/lock";
/// How long another netpath may take: 200 endpoints come up in ten seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// Held while topology is changed; the file goes with it.
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Waits for the lock.
    pub fn take() -> Result<Self, ProvisionError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Self::attempt()? {
                Some(lock) => return Ok(lock),
                None if Instant::now() > deadline => {
                    return Err(ProvisionError::Locked { path: LOCK.into() });
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn attempt() -> Result<Option<Self>, ProvisionError> {
        match DirBuilder::new().mode(0o700).create(DIRECTORY) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result.map_err(failed(DIRECTORY))?,
        }
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(LOCK);
        let file = match opened {
            // Its last holder has just removed the directory.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result.map_err(failed(LOCK))?,
        };
        let held = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => held,
            Err((_, nix::Error::EWOULDBLOCK)) => return Ok(None),
            Err((_, errno)) => return Err(failed(LOCK)(errno.into())),
        };
        // A lock on a file that has lost its name excludes nobody.
        let held_inode = held.metadata().map_err(failed(LOCK))?.ino();
        match fs::metadata(LOCK) {
            Ok(named) if named.ino() == held_inode => Ok(Some(Self { _file: held })),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed(LOCK)(source)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Both are removed while the lock is still held. Where that fails, an empty file stays: no harm.
        if let Err(error) = fs::remove_file(LOCK).and_then(|()| match fs::remove_dir(DIRECTORY) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            result => result,
        }) {
            tracing::warn!(%error, "{LOCK} stays behind");
        }
    }
}

fn failed(path: &'static str) -> impl FnOnce(io::Error) -> ProvisionError {
    move |source| ProvisionError::File {
        path: path.into(),
        source,
    }
}
