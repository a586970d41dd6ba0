//! The log of programs that were built with logging.

use std::{
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use aya::programs::ProgramInfo;
use aya_log::EbpfLogger;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Datapath, ProgramKind, error::DatapathError};

/// How long a signal may be missed, in milliseconds.
const PATIENCE: u8 = 100;

/// The ring buffer that a node's programs log to. One object has one, whichever of its programs writes.
#[derive(Debug)]
pub struct DatapathLog {
    program: u32,
}

impl DatapathLog {
    /// Of a node whose programs were loaded with logging.
    ///
    /// # Errors
    /// When the programs are not pinned.
    pub fn of(datapath: &Datapath) -> Result<Self, DatapathError> {
        let kind = ProgramKind::FromEndpoint;
        let info = ProgramInfo::from_pin(datapath.pins.program(kind.name())).map_err(|source| {
            DatapathError::Program {
                program: kind.name(),
                dev: None,
                source,
            }
        })?;
        Ok(Self { program: info.id() })
    }

    /// Passes each line on to `tracing` until `stop` is set. Lines that come faster than they are read
    /// are lost; the counters never are.
    ///
    /// # Errors
    /// When the programs were built without logging.
    pub fn run(&self, stop: &Arc<AtomicBool>) -> Result<(), DatapathError> {
        let mut logger = EbpfLogger::init_from_id_with_logger(self.program, Tracing)?;
        while !stop.load(Ordering::Relaxed) {
            let mut ready = [PollFd::new(logger.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, PollTimeout::from(PATIENCE)) {
                // A signal: the loop's condition looks at it.
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(errno) => {
                    return Err(super::error::file("the log's ring buffer", "poll")(
                        errno.into(),
                    ));
                }
            }
            logger.flush();
        }
        Ok(())
    }
}

/// aya-log speaks to the `log` crate, netpath to `tracing`.
struct Tracing;

impl log::Log for Tracing {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::debug!("{}", record.args());
    }

    fn flush(&self) {}
}
