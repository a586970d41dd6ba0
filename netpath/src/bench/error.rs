//! Why a run could not be done.

use std::io;

use crate::{
    counters::CountersError, netlink::NetlinkError, netns::NetnsError, probe::ProbeError,
    provision::ProvisionError,
};

/// The run could not be done, or not to its end. What it had made is removed, unless the error says
/// otherwise.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Nothing is left to measure.
    #[error("{0}")]
    Nothing(String),
    /// The lab could not be made, switched or removed.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// The fast path's counters could not be read.
    #[error(transparent)]
    Counters(#[from] CountersError),
    /// A netlink request failed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// Traffic could not be sent or received.
    #[error(transparent)]
    Traffic(#[from] ProbeError),
    /// A file of the kernel's could not be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A file of the kernel's is not in the form that is known.
    #[error("{path}: cannot understand {line:?}")]
    Unreadable {
        /// The file, or the command.
        path: String,
        /// The line in question; empty if one is missing.
        line: String,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// What was being done, on what.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A program that switches rules failed.
    #[error("`{command}` failed: {message}")]
    Command {
        /// With its arguments.
        command: String,
        /// What it said.
        message: String,
    },
    /// Stopped by a signal. What had been made is removed.
    #[error("interrupted; removed")]
    Interrupted,
    /// The lab could not be removed.
    #[error("{}the lab is not removed: {removal}; remove it with `netpath down --all`", before(.cause))]
    Removal {
        /// Why the run had ended, if not well.
        cause: Option<Box<BenchError>>,
        /// What went wrong in removing it.
        removal: Box<ProvisionError>,
    },
}

impl BenchError {
    /// Whether it was refused before anything was touched: exit status 2.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Nothing(_) => true,
            Self::Provision(error) => error.is_refusal(),
            _ => false,
        }
    }
}

pub(super) fn file(path: &str) -> impl FnOnce(io::Error) -> BenchError {
    move |source| BenchError::File {
        path: path.to_owned(),
        source,
    }
}

pub(super) fn system(what: impl Into<String>, source: impl Into<io::Error>) -> BenchError {
    BenchError::System {
        what: what.into(),
        source: source.into(),
    }
}

fn before(cause: &Option<Box<BenchError>>) -> String {
    cause
        .as_ref()
        .map_or_else(String::new, |cause| format!("{cause}\nand "))
}
