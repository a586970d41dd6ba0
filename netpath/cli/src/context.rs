//! What every subcommand is given.

use std::{
    io::{self, IsTerminal as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::ColorChoice;
use netpath::{
    capabilities::Work,
    command, expedite,
    provision::{self, ProvisionError},
};
use tracing_subscriber::EnvFilter;

use super::{
    failure::Failure,
    output::{Output, wants_colour},
    signals,
};

/// How long a wait may miss a signal.
const STEP: Duration = Duration::from_millis(50);

/// The output, and whether a signal came.
#[derive(Debug)]
pub struct Context {
    /// Where results go.
    pub output: Output,
    /// Set by SIGHUP, SIGINT and SIGTERM once [`Context::catch_signals`] was called.
    pub interrupted: Arc<AtomicBool>,
}

impl Context {
    /// Signals still end the process ([`signals`]).
    pub fn new(output: Output) -> Self {
        Self {
            output,
            interrupted: Arc::default(),
        }
    }

    /// From here on SIGHUP, SIGINT and SIGTERM only set [`Context::interrupted`], however often they come, and end the program
    /// that is waited for.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn catch_signals(&self) -> Result<(), Failure> {
        command::end_when(&self.interrupted);
        self.note_signals()
    }

    /// As [`Context::catch_signals`], where what is begun goes on to its end: no program is ended.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn note_signals(&self) -> Result<(), Failure> {
        signals::note_in(&self.interrupted)
            .map_err(|error| Failure::new(format!("catching signals: {error}")))
    }

    /// Whether a signal came.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Waits for so long, or until a signal comes.
    pub fn wait(&self, duration: Duration) {
        let end = Instant::now() + duration;
        while !self.is_interrupted() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(STEP));
        }
    }

    /// Refuses what the process is not allowed to do. What a netpath that was killed has left expedited is put right first.
    ///
    /// # Errors
    /// When it lacks a capability.
    pub fn require(&self, work: Work) -> Result<(), ProvisionError> {
        provision::require(work)?;
        expedite::repair();
        Ok(())
    }
}

/// Sends the library's events to stderr.
pub(super) fn trace(verbose: u8, logs_packets: bool, colour: ColorChoice) {
    let level = match verbose {
        0 => "warn",
        1 => "warn,netpath=info",
        2 => "info,netpath=debug",
        _ => "trace",
    };
    let packets = ",netpath::debug_log=debug";
    let filter = format!("{level}{}", if logs_packets { packets } else { "" });
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_ansi(wants_colour(colour, io::stderr().is_terminal()))
        .with_writer(io::stderr)
        .without_time()
        .with_target(verbose > 1);
    // A second subscriber, in a test, changes nothing.
    let _already_there = subscriber.try_init();
}
