//! Locks between netpath processes: one at a time changes a machine's topology, or what is pinned on bpffs.
//!
//! Who waits is woken when its turn has come, as good as in the order in which they came. A lock is three of the kernel's on one file: its
//! holder's (flock(2)); that of whoever is next, behind whom the others wait (an open file description lock of fcntl(2), on byte
//! 0); and one that all who wait share (on byte 1), by which the holder knows of them. So a holder that takes it again at once
//! comes behind whoever is next. Whoever gives it up while nobody waits takes the file along.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use nix::fcntl::{FcntlArg, Flock, FlockArg, fcntl};

use crate::{Ending, Ends};

/// A directory of root's own, so that nobody else can hold a lock.
const DIRECTORY: &str = "/run/netpath";
/// In that directory: see [`users_file`].
const USERS: &str = "expedited";
/// How long another netpath may take: 200 endpoints come up in ten seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// After how long it is said that another netpath is waited for.
const SILENCE: Duration = Duration::from_millis(500);

/// How long waiting may miss a signal.
const STEP: Duration = Duration::from_millis(20);

/// A lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another netpath holds it, and goes on holding it.
    #[error("another netpath is at work (lock {}): wait for it to end", .0.display())]
    Held(PathBuf),
    /// A signal came while another netpath held it.
    #[error("interrupted while another netpath was at work (lock {})", .0.display())]
    Interrupted(PathBuf),
    /// Something else is where the file should be.
    #[error("{}: {problem}: remove it if nothing uses it", path.display())]
    Foreign {
        /// The lock file or its directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
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
            Self::Held(_) | Self::Interrupted(_) | Self::Foreign { .. } | Self::File { .. } => {
                Ending::Failed
            }
        }
    }
}

/// Held while the machine's namespaces, interfaces and routes, or the maps of a node, are changed.
pub struct TopologyLock(#[expect(dead_code, reason = "what counts is that it is held")] Lock);

impl TopologyLock {
    /// Waits for the lock, at most two minutes, and until `interrupted` is set.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn take(interrupted: &AtomicBool) -> Result<Self, LockError> {
        Lock::take(Subject::Topology, interrupted).map(Self)
    }
}

impl std::fmt::Debug for TopologyLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TopologyLock").finish_non_exhaustive()
    }
}

/// What a lock is about. A process that needs both takes them in this order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject {
    /// See [`TopologyLock`].
    Topology,
    /// netpath's directory on the BPF filesystem, and its mount. Held for a moment only.
    Bpffs,
    /// Who has grace periods expedited. Held for a moment only, with or without the others.
    Expedite,
    /// Who is told what programs decide. Held for a moment only, with or without the others.
    Trace,
}

impl Subject {
    fn path(self) -> PathBuf {
        Path::new(DIRECTORY).join(match self {
            Self::Topology => "topology.lock",
            Self::Bpffs => "bpffs.lock",
            Self::Expedite => "expedite.lock",
            Self::Trace => "trace.lock",
        })
    }
}

/// Held while something is changed; its file goes with it.
pub(crate) struct Lock {
    path: PathBuf,
    file: Flock<File>,
}

/// What to do where a lock cannot be had at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Give up.
    None,
    /// Wait for as long as it takes.
    Endless,
}

impl Lock {
    /// Waits for the lock, until `interrupted` is set.
    pub(crate) fn take(subject: Subject, interrupted: &AtomicBool) -> Result<Self, LockError> {
        let path = subject.path();
        match Self::attempt(&path, Patience::None)? {
            Some(lock) => Ok(lock),
            None => Self::wait(path, interrupted),
        }
    }

    /// The kernel's waiting ends neither with a flag nor with time, so a thread does it. Whom nobody waits for any more gives
    /// the lock up as soon as it has it.
    fn wait(path: PathBuf, interrupted: &AtomicBool) -> Result<Self, LockError> {
        let (sender, receiver) = mpsc::channel();
        let waits_for = path.clone();
        let waiter = move || {
            // Dropped with the lock where nobody receives it.
            let _given_up = sender.send(Self::in_turn(&waits_for));
        };
        let builder = thread::Builder::new().name("lock".to_owned());
        builder.spawn(waiter).map_err(failed(&path))?;
        let begun = Instant::now();
        let mut told = false;
        loop {
            match receiver.recv_timeout(STEP) {
                Ok(taken) => return taken,
                Err(RecvTimeoutError::Disconnected) => {
                    let gone = io::Error::other("the thread that waits for it is gone");
                    return Err(failed(&path)(gone));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if interrupted.load(Ordering::Relaxed) {
                return Err(LockError::Interrupted(path));
            }
            if begun.elapsed() > PATIENCE {
                return Err(LockError::Held(path));
            }
            if !told && begun.elapsed() > SILENCE {
                told = true;
                tell_waiting(&path);
            }
        }
    }

    fn in_turn(path: &Path) -> Result<Self, LockError> {
        loop {
            if let Some(lock) = Self::attempt(path, Patience::Endless)? {
                return Ok(lock);
            }
        }
    }

    /// As [`Lock::take`], for what is held for a moment only.
    pub(crate) fn take_briefly(subject: Subject) -> Result<Self, LockError> {
        Self::take(subject, &AtomicBool::new(false))
    }

    /// `None` where it is to be tried again.
    fn attempt(path: &Path, patience: Patience) -> Result<Option<Self>, LockError> {
        let directory = Path::new(DIRECTORY);
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result.map_err(failed(directory))?,
        }
        match fs::symlink_metadata(directory) {
            // Its last holder has just removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(directory)(source)),
            Ok(found) if !found.is_dir() => return Err(foreign(directory, "it is no directory")),
            Ok(found) => trusted(directory, &found)?,
        }
        // Else its last holder has just removed the directory.
        let Some((file, found)) = open(path)? else {
            return Ok(None);
        };
        // Nor does one that does not wait come before those who do.
        if patience == Patience::None && is_waited_for(&file) {
            return Ok(None);
        }
        let next = part(libc::F_WRLCK, NEXT, 1);
        let (next, how) = match patience {
            Patience::None => (
                FcntlArg::F_OFD_SETLK(&next),
                FlockArg::LockExclusiveNonblock,
            ),
            Patience::Endless => {
                let waits = part(libc::F_RDLCK, WAITING, 1);
                set(&file, &waits).map_err(failed(path))?;
                (FcntlArg::F_OFD_SETLKW(&next), FlockArg::LockExclusive)
            }
        };
        let later = |errno| match errno {
            // Somebody has it; or a signal came, which does not end the waiting.
            nix::Error::EWOULDBLOCK | nix::Error::EACCES | nix::Error::EINTR => Ok(None),
            errno => Err(failed(path)(errno.into())),
        };
        if let Err(errno) = fcntl(&file, next) {
            return later(errno);
        }
        let held = match Flock::lock(file, how) {
            Ok(held) => held,
            Err((_, errno)) => return later(errno),
        };
        // Who holds it waits no more.
        set(&held, &part(libc::F_UNLCK, NEXT, 2)).map_err(failed(path))?;
        // A lock on a file that has lost its name excludes nobody.
        match fs::symlink_metadata(path) {
            Ok(named) if named.ino() == found.ino() => Ok(Some(Self {
                path: path.to_owned(),
                file: held,
            })),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed(path)(source)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // For them it stays.
        if is_waited_for(&self.file) {
            return;
        }
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

/// The process that changes a machine's topology just now, as far as /proc shows it.
pub(crate) fn at_work() -> Option<u32> {
    let file = fs::metadata(Subject::Topology.path()).ok()?;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    holder(&locks, file.dev(), file.ino())
}

/// Fails where somebody else has put something in the place of the locks or their directory, so that none could be had. Nothing is
/// made.
///
/// # Errors
/// Then, and when it cannot be looked at.
pub(crate) fn check() -> Result<(), LockError> {
    let look = |path: &Path| match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed(path)(source)),
        Ok(found) => Ok(Some(found)),
    };
    let directory = Path::new(DIRECTORY);
    let Some(found) = look(directory)? else {
        return Ok(());
    };
    if !found.is_dir() {
        return Err(foreign(directory, "it is no directory"));
    }
    trusted(directory, &found)?;
    let locks = [Subject::Topology, Subject::Bpffs, Subject::Expedite].map(Subject::path);
    for path in locks.iter().chain([&directory.join(USERS)]) {
        match look(path)? {
            None => {}
            Some(found) if !found.is_file() => return Err(foreign(path, "it is no regular file")),
            Some(found) => trusted(path, &found)?,
        }
    }
    Ok(())
}

/// The file on which whoever has grace periods expedited holds a shared lock; `None` where it is locked otherwise. Asked for
/// by the holder of [`Subject::Expedite`], so that the directory is there.
pub(crate) fn users_file(how: FlockArg) -> Result<Option<Flock<File>>, LockError> {
    let path = Path::new(DIRECTORY).join(USERS);
    let Some((file, _)) = open(&path)? else {
        return Err(failed(&path)(io::ErrorKind::NotFound.into()));
    };
    match Flock::lock(file, how) {
        Ok(held) => Ok(Some(held)),
        Err((_, nix::Error::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(failed(&path)(errno.into())),
    }
}

/// Removes it, by whoever has it alone.
pub(crate) fn remove_users_file(_alone: &Flock<File>) -> Result<(), LockError> {
    let path = Path::new(DIRECTORY).join(USERS);
    fs::remove_file(&path).map_err(failed(&path))
}

/// Opens a lock file, and makes it where it is not there; `None` where its directory is not.
fn open(path: &Path) -> Result<Option<(File, fs::Metadata)>, LockError> {
    let opened = OpenOptions::new()
        .create(true)
        .truncate(false)
        // For one that is shared.
        .read(true)
        .write(true)
        .mode(0o600)
        // Neither waits for the other end of a FIFO nor goes where a link leads.
        .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
        .open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(match error.raw_os_error() {
                Some(libc::ELOOP) => foreign(path, "it is a symbolic link"),
                Some(libc::ENXIO) => foreign(path, "it is no regular file"),
                Some(libc::EISDIR) => foreign(path, "it is a directory"),
                _ => failed(path)(error),
            });
        }
        Ok(file) => file,
    };
    let found = file.metadata().map_err(failed(path))?;
    if !found.is_file() {
        return Err(foreign(path, "it is no regular file"));
    }
    trusted(path, &found)?;
    Ok(Some((file, found)))
}

/// The byte that whoever is next has locked.
const NEXT: libc::off_t = 0;
/// The byte that all who wait have locked.
const WAITING: libc::off_t = 1;

/// A lock on so many bytes of a file, or its release (fcntl(2)).
fn part(kind: libc::c_int, first: libc::off_t, count: libc::off_t) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: first,
        l_len: count,
        l_pid: 0,
    }
}

fn set(file: &File, lock: &libc::flock) -> io::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLK(lock))?;
    Ok(())
}

/// Whether somebody waits for a file's lock. Where that cannot be told, as if.
fn is_waited_for(file: &File) -> bool {
    let mut found = part(libc::F_WRLCK, WAITING, 1);
    let asked = fcntl(file, FcntlArg::F_OFD_GETLK(&mut found));
    asked.is_err() || i32::from(found.l_type) != libc::F_UNLCK
}

/// Says that the lock is waited for, and for whom, if /proc shows it.
fn tell_waiting(path: &Path) {
    let locks = fs::read_to_string("/proc/locks");
    let holder = match (fs::metadata(path), locks) {
        (Ok(file), Ok(locks)) => holder(&locks, file.dev(), file.ino()),
        _ => None,
    };
    let who = holder.map_or_else(String::new, |pid| format!(" (process {pid})"));
    tracing::warn!("another netpath is at work{who}: waiting for it to end");
}

/// The process that holds a lock on a file, as /proc/locks has it (`lock_get_status` in fs/locks.c): `1: FLOCK  ADVISORY
/// WRITE 4711 00:1a:42 0 EOF`, with the device in hexadecimal. One that another pid namespace hides is 0; a line with an
/// arrow is one that waits.
fn holder(locks: &str, device: u64, inode: u64) -> Option<u32> {
    let (major, minor) = (libc::major(device), libc::minor(device));
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (kind, pid) = (fields.next()?, fields.nth(2)?);
        let is_it = kind == "FLOCK" && fields.next()? == file;
        pid.parse().ok().filter(|&pid| is_it && pid != 0)
    })
}

/// Only root's own, which nobody else may write, excludes what it is to exclude.
fn trusted(path: &Path, found: &fs::Metadata) -> Result<(), LockError> {
    if found.uid() != 0 {
        return Err(foreign(path, "root does not own it"));
    }
    if found.mode() & 0o022 != 0 {
        return Err(foreign(path, "others than root may write it"));
    }
    Ok(())
}

fn foreign(path: &Path, problem: &'static str) -> LockError {
    LockError::Foreign {
        path: path.to_owned(),
        problem,
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
    fn the_holder_of_a_lock_is_found() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 00:1a:42 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 8 00:1a:41 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 4711 00:1a:42 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 9 00:1a:42 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 0 00:1a:43 0 EOF\n";
        let device = libc::makedev(0, 0x1a);
        assert_eq!(holder(locks, device, 42), Some(4711));
        assert_eq!(holder(locks, device, 43), None);
        assert_eq!(holder(locks, libc::makedev(1, 0x1a), 42), None);
        assert_eq!(holder("a\n\n1: FLOCK", device, 42), None);
    }

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
