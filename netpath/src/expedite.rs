//! Grace periods of RCU in haste, while netpath is at work.
//!
//! To attach a program, and to take away an interface or a namespace, the kernel waits for grace periods, several milliseconds
//! each and mostly idle. With a number in `/sys/kernel/rcu_expedited` it interrupts the other processors instead, and waits
//! a tenth of that. It is one number for the whole machine, so it must come back, also after a kill:
//!
//! - netpath writes a number of its own, `MARK`, and only where there is 0. Where the mark stands, 0 stood before, and
//!   netpath wrote it; any other number is somebody's, and is left as it is.
//! - Whoever is at work holds a shared lock on a file. Who ends last puts the 0 back. A process that was killed holds no
//!   lock any more: the next netpath finds the mark, and nobody at work ([`repair`]).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use crate::{
    Ending, Ends,
    lock::{Lock, LockError, Subject, remove_users_file, users_file},
};

/// The kernel's number: anything but 0 has grace periods expedited (`rcu_gp_is_expedited`).
const SWITCH: &str = "/sys/kernel/rcu_expedited";
/// What netpath writes there: "np" in ASCII. Others write 1.
const MARK: i32 = 0x6e70;

/// Grace periods cannot be expedited. Nothing was touched.
#[derive(Debug, thiserror::Error)]
pub enum ExpediteError {
    /// The kernel's number cannot be read or written.
    #[error(
        "{}: {source}: grace periods cannot be expedited here: leave --expedite out",
        path.display()
    )]
    Switch {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file by which processes know of each other cannot be had.
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl Ends for ExpediteError {
    fn ending(&self) -> Ending {
        match self {
            Self::Switch { .. } => Ending::Refused,
            Self::Lock(error) => error.ending(),
        }
    }
}

/// Grace periods are expedited as long as one of these lives, of any process.
#[derive(Debug)]
pub struct Expedited {
    user: Option<Flock<fs::File>>,
}

impl Expedited {
    /// Has the kernel hasten.
    ///
    /// # Errors
    /// When the kernel's number cannot be written.
    pub fn begin() -> Result<Self, ExpediteError> {
        let turn = Lock::take_briefly(Subject::Expedite)?;
        let user = users_file(FlockArg::LockSharedNonblock)?;
        match value().and_then(|value| if value == 0 { set(MARK) } else { Ok(()) }) {
            Ok(()) => Ok(Self { user }),
            Err(error) => {
                drop(user);
                alone(&turn, || Ok(()))?;
                Err(error)
            }
        }
    }

    /// As [`Expedited::begin`], where it is only faster and nobody has asked for it.
    pub(crate) fn by_default(wanted: bool) -> Option<Self> {
        let begun = wanted.then(Self::begin)?;
        begun
            .inspect_err(|error| tracing::debug!(%error, "grace periods are not expedited"))
            .ok()
    }
}

impl Drop for Expedited {
    fn drop(&mut self) {
        let ended = Lock::take_briefly(Subject::Expedite)
            .map_err(ExpediteError::from)
            .and_then(|turn| {
                drop(self.user.take());
                end(&turn)
            });
        if let Err(error) = ended {
            tracing::warn!(%error, "{SWITCH} stays at {MARK}: the next netpath puts 0 back");
        }
    }
}

/// Puts the 0 back that a netpath which was killed has not, if there is anything to do. Called by whoever acts on files as root.
pub fn repair() {
    if value().ok() != Some(MARK) {
        return;
    }
    let turn = Lock::take_briefly(Subject::Expedite).map_err(ExpediteError::from);
    if let Err(error) = turn.and_then(|turn| end(&turn)) {
        tracing::warn!(%error, "{SWITCH} is {MARK}, as a netpath left it that was killed");
    }
}

/// Puts the 0 back if nobody is at work any more.
fn end(turn: &Lock) -> Result<(), ExpediteError> {
    alone(turn, || match value()? {
        MARK => set(0),
        _ => Ok(()),
    })
}

/// Does something if nobody is at work any more, and takes the file away by which they know of each other.
fn alone(
    _turn: &Lock,
    work: impl FnOnce() -> Result<(), ExpediteError>,
) -> Result<(), ExpediteError> {
    let Some(last) = users_file(FlockArg::LockExclusiveNonblock)? else {
        return Ok(());
    };
    let done = work();
    remove_users_file(&last)?;
    done
}

fn value() -> Result<i32, ExpediteError> {
    let text = fs::read_to_string(SWITCH).map_err(failed)?;
    let number = text.trim().parse();
    number.map_err(|_| failed(io::ErrorKind::InvalidData.into()))
}

fn set(value: i32) -> Result<(), ExpediteError> {
    fs::write(SWITCH, value.to_string()).map_err(failed)
}

fn failed(source: io::Error) -> ExpediteError {
    ExpediteError::Switch {
        path: Path::new(SWITCH).to_owned(),
        source,
    }
}
