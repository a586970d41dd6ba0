//! How a command ends that met an error: one classification, which every error type gives of itself.

use std::error::Error;

/// What an error means for the command that met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The input or the machine's set-up was refused before anything was touched.
    Refused,
    /// It was tried, and failed or was interrupted; what had been made is undone, unless the error says otherwise.
    Failed,
}

/// An error that says how the command that met it ends.
///
/// An error that passes another one on, as `#[error(transparent)]` does, asks that one: a search along
/// [`Error::source`] does not find it.
pub trait Ends: Error {
    /// What it means for the command.
    fn ending(&self) -> Ending;

    /// Whether it was refused before anything was touched.
    fn is_refusal(&self) -> bool {
        self.ending() == Ending::Refused
    }
}
