//! Network namespaces: making them, finding them, working inside one.

mod holders;
mod inside;
mod search;
#[cfg(test)]
mod tests;

pub use self::{
    holders::{Holder, holders},
    inside::Inside,
    search::{is_there, name_of},
};

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd},
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    thread,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

use crate::{Ending, Ends};

/// Where `ip netns` keeps namespaces by name.
pub const NETNS_DIR: &str = "/run/netns";

/// A failure around a network namespace.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The namespace could not be opened.
    #[error("cannot open network namespace {}: {source}", path.display())]
    Open {
        /// What was opened.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A step of making, entering or removing it failed.
    #[error("network namespace {name}: {step}: {source}")]
    Step {
        /// The namespace.
        name: String,
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl Ends for NetnsError {
    fn ending(&self) -> Ending {
        match self {
            Self::Open { .. } | Self::Step { .. } => Ending::Failed,
        }
    }
}

/// An open network namespace. It stays alive while this is held, whether or not it keeps its name.
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: File,
}

impl Netns {
    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn current() -> Result<Self, NetnsError> {
        Self::open_path(Path::new("/proc/thread-self/ns/net"), "current")
    }

    /// The namespace that `ip netns` knows by this name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn named(name: &str) -> Result<Self, NetnsError> {
        Self::open_path(&path_of(name), name)
    }

    /// The namespace at a path, as container runtimes give one: `/proc/<pid>/ns/net`, or any file that one is mounted
    /// on. Its name is the path.
    ///
    /// # Errors
    /// When there is nothing, or something that is no network namespace.
    pub fn at(path: &Path) -> Result<Self, NetnsError> {
        let netns = Self::open_path(path, &path.to_string_lossy())?;
        // SAFETY: the file is open, and this request takes no argument (ioctl_nsfs(2)).
        let kind = unsafe { libc::ioctl(netns.file.as_raw_fd(), libc::NS_GET_NSTYPE) };
        let problem = match kind {
            libc::CLONE_NEWNET => return Ok(netns),
            -1 => io::Error::last_os_error(),
            _ => io::Error::other("it is a namespace of another kind"),
        };
        Err(step(&netns.name, "check that it is one", problem))
    }

    fn open_path(path: &Path, name: &str) -> Result<Self, NetnsError> {
        let file = File::open(path).map_err(|source| NetnsError::Open {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            name: name.to_owned(),
            file,
        })
    }

    /// Makes a namespace and gives it a name, as `ip netns add` does.
    ///
    /// `record` is told the new namespace's cookie before anything of it is visible: what it notes down
    /// proves later whose the namespace is, even if this process is killed between any two steps.
    ///
    /// # Errors
    /// When the name is taken, `record` fails, or the kernel refuses.
    pub fn create<E: From<NetnsError> + Send>(
        name: &str,
        record: impl FnOnce(u64) -> Result<(), E> + Send,
    ) -> Result<Self, E> {
        prepare_directory()?;
        let path = path_of(name);
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    unshare(CloneFlags::CLONE_NEWNET)
                        .map_err(|errno| step(name, "unshare", errno.into()))?;
                    let netns = Self::open_path(Path::new("/proc/thread-self/ns/net"), name)?;
                    record(netns.cookie()?)?;
                    OpenOptions::new()
                        .write(true)
                        .create_new(true)
                        .mode(0o444)
                        .open(&path)
                        .map_err(|source| step(name, "create its file in /run/netns", source))?;
                    if let Err(errno) = mount(
                        Some("/proc/thread-self/ns/net"),
                        &path,
                        None::<&str>,
                        MsFlags::MS_BIND,
                        None::<&str>,
                    ) {
                        // The file is ours and still empty: nothing else refers to it.
                        fs::remove_file(&path)
                            .map_err(|source| step(name, "remove its file", source))?;
                        return Err(step(name, "mount it on /run/netns", errno.into()).into());
                    }
                    Ok(netns)
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Makes a namespace without a name: it ends with what is returned.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unnamed() -> Result<Self, NetnsError> {
        let name = "without a name";
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    unshare(CloneFlags::CLONE_NEWNET)
                        .map_err(|errno| step(name, "unshare", errno.into()))?;
                    Self::open_path(Path::new("/proc/thread-self/ns/net"), name)
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Takes away the name; the namespace ends with its last user. A name that is not there is no error,
    /// nor is the empty file that an interrupted [`Netns::create`] may have left.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(name: &str) -> Result<(), NetnsError> {
        let path = path_of(name);
        match umount2(&path, MntFlags::MNT_DETACH) {
            Ok(()) | Err(nix::Error::EINVAL) => {}
            Err(nix::Error::ENOENT) => return Ok(()),
            Err(errno) => return Err(step(name, "unmount", errno.into())),
        }
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(step(name, "remove its file", source)),
        }
    }

    /// Its name, its path, or `current`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `SO_NETNS_COOKIE`: a number that no other namespace has while the machine is up (Linux 5.14).
    ///
    /// # Errors
    /// When no socket can be made in the namespace.
    pub fn cookie(&self) -> Result<u64, NetnsError> {
        self.run(|| {
            let socket = socket(
                AddressFamily::Unix,
                SockType::Datagram,
                SockFlag::SOCK_CLOEXEC,
                None,
            )
            .map_err(|errno| step(&self.name, "socket", errno.into()))?;
            let mut cookie = 0u64;
            let mut length = libc::socklen_t::try_from(size_of::<u64>()).expect("8 fits");
            // SAFETY: the socket is open, and cookie and length outlive the call and have the sizes stated.
            let result = unsafe {
                libc::getsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_NETNS_COOKIE,
                    (&raw mut cookie).cast(),
                    &raw mut length,
                )
            };
            if result != 0 {
                return Err(step(
                    &self.name,
                    "SO_NETNS_COOKIE",
                    io::Error::last_os_error(),
                ));
            }
            Ok(cookie)
        })?
    }

    /// The number of its file, by which /proc knows it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn inode(&self) -> Result<u64, NetnsError> {
        let metadata = self.file.metadata();
        Ok(metadata
            .map_err(|source| step(&self.name, "stat", source))?
            .ino())
    }

    /// Runs `work` on a thread of its own inside the namespace, so that no other code is ever moved there.
    /// Processes that `work` starts are in the namespace too. A panic of `work` is passed on.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        self.enter(|_| work())
    }

    /// As [`Netns::run`], with the proof for what asks for one.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn enter<T: Send>(
        &self,
        work: impl FnOnce(&Inside<'_>) -> T + Send,
    ) -> Result<T, NetnsError> {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    setns(&self.file, CloneFlags::CLONE_NEWNET)
                        .map_err(|errno| step(&self.name, "setns", errno.into()))?;
                    Ok(work(&Inside::current()))
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Another handle of the same namespace.
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn try_clone(&self) -> Result<Self, NetnsError> {
        let file = self
            .file
            .try_clone()
            .map_err(|source| step(&self.name, "dup", source))?;
        Ok(Self {
            name: self.name.clone(),
            file,
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The file that stands for a named namespace.
pub fn path_of(name: &str) -> PathBuf {
    Path::new(NETNS_DIR).join(name)
}

/// The file by which the namespace of the calling thread can be found by others, if it has a name.
///
/// # Errors
/// When the directory or /proc cannot be read.
pub fn file_of_current() -> io::Result<Option<PathBuf>> {
    let of = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    let here = of(Path::new("/proc/thread-self/ns/net"))?;
    let entries = match fs::read_dir(NETNS_DIR) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result?,
    };
    for entry in entries {
        let path = entry?.path();
        match of(&path) {
            Ok(found) if found == here => return Ok(Some(path)),
            Ok(_) => {}
            // It has lost its name meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// What stands at a namespace's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameState {
    /// Nothing.
    Free,
    /// An empty file with no namespace: an interrupted creation.
    EmptyFile,
    /// A namespace.
    Namespace,
    /// Something that is neither.
    Foreign,
}

/// What stands at this name in /run/netns.
///
/// # Errors
/// When the directory cannot be read.
pub fn name_state(name: &str) -> Result<NameState, NetnsError> {
    let path = path_of(name);
    let metadata = match fs::symlink_metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(NameState::Free),
        Err(source) => return Err(step(name, "stat", source)),
    };
    let namespaces = fs::metadata("/proc/thread-self/ns/net")
        .map_err(|source| step(name, "stat /proc/thread-self/ns/net", source))?;
    Ok(if metadata.dev() == namespaces.dev() {
        NameState::Namespace
    } else if metadata.is_file() && metadata.len() == 0 {
        NameState::EmptyFile
    } else {
        NameState::Foreign
    })
}

/// Makes /run/netns a shared mount, as `ip netns add` does, so that a name taken away here disappears from
/// every mount namespace and cannot keep a namespace alive there.
fn prepare_directory() -> Result<(), NetnsError> {
    let directory = |what, source| step(NETNS_DIR, what, source);
    fs::create_dir_all(NETNS_DIR).map_err(|source| directory("create the directory", source))?;
    let share = || {
        mount(
            None::<&str>,
            NETNS_DIR,
            None::<&str>,
            MsFlags::MS_SHARED | MsFlags::MS_REC,
            None::<&str>,
        )
    };
    match share() {
        Ok(()) => Ok(()),
        Err(nix::Error::EINVAL) => {
            mount(
                Some(NETNS_DIR),
                NETNS_DIR,
                None::<&str>,
                MsFlags::MS_BIND | MsFlags::MS_REC,
                None::<&str>,
            )
            .map_err(|errno| directory("bind it to itself", errno.into()))?;
            share().map_err(|errno| directory("make it shared", errno.into()))
        }
        Err(errno) => Err(directory("make it shared", errno.into())),
    }
}

fn step(name: &str, step: &'static str, source: io::Error) -> NetnsError {
    NetnsError::Step {
        name: name.to_owned(),
        step,
        source,
    }
}
