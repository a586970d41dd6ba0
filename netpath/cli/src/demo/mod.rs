//! The story of the built-in lab, told with real packets: what the kernel's forwarding path does to them,
//! what the classic cure costs, and what the fast path does instead. Every step is checked.
//!
//! The lab is removed however the story ends: at its end, after a failed check, an error, an interruption or
//! a panic. Only the nodes that this run made are ever removed.

mod cast;
pub mod command;
mod error;
mod firewall;
mod lab;
mod measure;
mod packet_log;
mod report;
mod snapshot;
mod steps;

pub use self::{
    error::DemoError,
    measure::{Measurement, Path},
    report::{Check, CountedHop, CountedInterface, DemoReport, Event, Hint, Narrator},
};

use std::sync::{Arc, atomic::AtomicBool};

use netpath::datapath::ObjectKind;

/// How to tell the story.
#[derive(Clone, Debug, Default)]
pub struct DemoOptions {
    /// Leave the lab up if every check is true.
    pub keep: bool,
    /// Which build of the programs to use. With [`ObjectKind::Logging`] nothing is measured: to log a packet
    /// takes longer than to forward it.
    pub object: ObjectKind,
    /// Set from outside (a signal handler) to make the story end early; the lab is removed all the same.
    pub interrupted: Arc<AtomicBool>,
}

/// Tells the story. After a step with a failed check only the removal is left to tell.
///
/// # Errors
/// When a node of the lab is up already, which is then left alone; when the story was interrupted or cannot
/// be told; and when something of the lab could not be removed. A failed check is no error: it is in the
/// report.
pub fn run(options: &DemoOptions, narrator: &mut dyn Narrator) -> Result<DemoReport, DemoError> {
    steps::tell(options, narrator)
}
