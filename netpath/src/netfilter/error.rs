//! What can go wrong with the packet filter.

use std::io;

use crate::{Ending, Ends, command::CommandError, netlink::NetlinkError};

/// The packet filter could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum NetfilterError {
    /// A program is not there, or failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The kernel did not answer over nfnetlink.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A part of nf_tables is not in the form that is known.
    #[error("list nf_tables {what}: {problem}")]
    Undecoded {
        /// Which part.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Somebody writes rules without a pause.
    #[error("nf_tables changed during each of {attempts} attempts to read them")]
    Changing {
        /// How often it was tried.
        attempts: u32,
    },
    /// A file could not be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// What was read is not in the form that is known.
    #[error("cannot understand the output of `{what}`: {line:?}")]
    Unreadable {
        /// The command or the file.
        what: String,
        /// Its first line.
        line: String,
    },
}

impl NetfilterError {
    /// The program that was to be asked could not be started.
    #[must_use]
    pub fn is_not_installed(&self) -> bool {
        matches!(self, Self::Command(CommandError::Start { .. }))
    }

    pub(super) fn unreadable(what: &str, text: &str) -> Self {
        Self::Unreadable {
            what: what.to_owned(),
            line: text.lines().next().unwrap_or_default().to_owned(),
        }
    }
}

impl Ends for NetfilterError {
    fn ending(&self) -> Ending {
        match self {
            Self::Command(error) => error.ending(),
            Self::Netlink(_)
            | Self::Undecoded { .. }
            | Self::Changing { .. }
            | Self::File { .. }
            | Self::Unreadable { .. } => Ending::Failed,
        }
    }
}
