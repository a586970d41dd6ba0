//! Why a run ended early.

use std::io;

use netpath::{
    Ending, Ends, command::CommandError, datapath::DatapathError, lock::LockError,
    model::TopologyErrors, netlink::NetlinkError, netns::NetnsError, proc_net::ProcNetError,
    provision::ProvisionError,
};

use crate::BenchError;

/// A failure of the instrument itself. What was made is removed.
#[derive(Debug, thiserror::Error)]
pub enum ScaleError {
    /// A signal came.
    #[error("interrupted")]
    Interrupted,
    /// The machine does not say what it is.
    #[error(transparent)]
    Machine(#[from] Box<BenchError>),
    /// A node could not be made or removed.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// Maps or programs.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// A netlink request.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The kernel's counters could not be read.
    #[error(transparent)]
    ProcNet(#[from] ProcNetError),
    /// A namespace.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// Another netpath is at work.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The lab's own topology was refused.
    #[error(transparent)]
    Topology(#[from] TopologyErrors),
    /// The lab is not as it was made.
    #[error("the benchmark's lab: {what}")]
    Lab {
        /// What is wrong.
        what: String,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was done, to what.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A command could not be started, or failed.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl Ends for ScaleError {
    fn ending(&self) -> Ending {
        match self {
            Self::Machine(error) => error.ending(),
            Self::Provision(error) => error.ending(),
            Self::Datapath(error) => error.ending(),
            Self::ProcNet(error) => error.ending(),
            Self::Lock(error) => error.ending(),
            Self::Netns(error) => error.ending(),
            Self::Topology(error) => error.ending(),
            Self::Command(error) => error.ending(),
            Self::Interrupted | Self::Lab { .. } | Self::Io { .. } | Self::Netlink(_) => {
                Ending::Failed
            }
        }
    }
}

impl From<BenchError> for ScaleError {
    fn from(error: BenchError) -> Self {
        Self::Machine(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use netpath::{model::Topology, reconcile::Refusal};

    use super::*;

    #[test]
    fn a_refusal_is_one_whoever_hands_it_on() {
        let lacks = || DatapathError::KernelLacks { what: "TCX" };
        let findings = Topology::parse("lab.toml", "x = 1").expect_err("unknown key");
        let refused = [
            ScaleError::from(BenchError::from(ProvisionError::from(lacks()))),
            ScaleError::from(ProvisionError::from(Refusal::NameTooLong.of("x"))),
            ScaleError::from(lacks()),
            ScaleError::from(findings),
        ];
        for error in refused {
            assert_eq!(error.ending(), Ending::Refused, "{error}");
        }
        let failed = [
            ScaleError::Interrupted,
            ScaleError::from(BenchError::Interrupted),
            ScaleError::Lab {
                what: "no uplink".to_owned(),
            },
        ];
        for error in failed {
            assert_eq!(error.ending(), Ending::Failed, "{error}");
        }
    }
}
