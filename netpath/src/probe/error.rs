//! What can go wrong with the instrument itself.

use std::{io, time::Duration};

use crate::{Ending, Ends, netns::NetnsError};

/// A probe could not be carried out. Packets that are lost on the way are no error: they are in the report.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// A namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// A system call failed.
    #[error("{object}: {step}: {source}")]
    Io {
        /// The socket or interface, and its namespace.
        object: String,
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A step that must be done for the probe to mean anything took longer than allowed.
    #[error("{object}: {step}: not done within {after:?}; check that the path delivers packets")]
    Deadline {
        /// The socket and its namespace.
        object: String,
        /// What was being done.
        step: &'static str,
        /// The time allowed.
        after: Duration,
    },
    /// Options that contradict each other or the protocol.
    #[error("option {option}: {reason}")]
    Invalid {
        /// The option's field.
        option: &'static str,
        /// What is wrong and what to write instead.
        reason: String,
    },
    /// A byte stream arrived altered.
    #[error("{object}: byte {offset} is not the one that was sent")]
    Corrupt {
        /// The socket and its namespace.
        object: String,
        /// The first wrong byte, counted from 0.
        offset: u64,
    },
    /// A byte stream ended early or late.
    #[error("{object}: {received} of {expected} bytes arrived before the end of the stream")]
    Length {
        /// The socket and its namespace.
        object: String,
        /// Bytes that were sent.
        expected: u64,
        /// Bytes that arrived.
        received: u64,
    },
}

impl Ends for ProbeError {
    fn ending(&self) -> Ending {
        match self {
            Self::Netns(error) => error.ending(),
            // The options are the caller's, not the user's.
            Self::Invalid { .. }
            | Self::Io { .. }
            | Self::Deadline { .. }
            | Self::Corrupt { .. }
            | Self::Length { .. } => Ending::Failed,
        }
    }
}

/// Names the object and the step of a failed system call.
pub fn io_error(object: &str, step: &'static str, source: impl Into<io::Error>) -> ProbeError {
    ProbeError::Io {
        object: object.to_owned(),
        step,
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instrument_fails_and_refuses_nothing() {
        let object = || "eth0".to_owned();
        let source = || io::Error::other("no");
        let errors = [
            ProbeError::from(NetnsError::Step {
                name: object(),
                step: "setns",
                source: source(),
            }),
            ProbeError::Deadline {
                object: object(),
                step: "connect",
                after: Duration::ZERO,
            },
            ProbeError::Invalid {
                option: "ttl",
                reason: "0 reaches nobody".to_owned(),
            },
            ProbeError::Corrupt {
                object: object(),
                offset: 0,
            },
            ProbeError::Length {
                object: object(),
                expected: 1,
                received: 0,
            },
            io_error("eth0", "sendmsg", source()),
        ];
        for error in errors {
            assert_eq!(error.ending(), Ending::Failed, "{error}");
        }
    }
}
