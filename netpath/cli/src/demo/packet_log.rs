//! What the programs log of each packet, while the story is told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use netpath::datapath::{Datapath, DatapathError, DatapathLog};

use super::error::DemoError;
use crate::debug_log::printer;

/// Passes the log of some nodes on to `tracing` until it is dropped.
pub struct PacketLog {
    stop: Arc<AtomicBool>,
    readers: Vec<JoinHandle<Result<(), DatapathError>>>,
}

impl PacketLog {
    /// Of nodes whose programs were built with logging.
    pub fn follow<'a>(nodes: impl Iterator<Item = &'a str>) -> Result<Self, DemoError> {
        let mut log = Self {
            stop: Arc::default(),
            readers: Vec::new(),
        };
        for node in nodes {
            let Some(datapath) = Datapath::open(node)? else {
                continue;
            };
            let reader = DatapathLog::of(&datapath)?;
            let print = printer(datapath, &[])?;
            let stop = Arc::clone(&log.stop);
            log.readers
                .push(thread::spawn(move || reader.run(&stop, print)));
        }
        Ok(log)
    }
}

impl Drop for PacketLog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for reader in self.readers.drain(..) {
            match reader.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the packet log is not complete"),
                Err(_) => tracing::warn!("the packet log is not complete: its reader panicked"),
            }
        }
    }
}
