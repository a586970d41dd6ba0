//! Why a run ended early.

use std::io;

use crate::{
    bench::BenchError, datapath::DatapathError, model::TopologyErrors, netlink::NetlinkError,
    netns::NetnsError, provision::ProvisionError,
};

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
    /// A namespace.
    #[error(transparent)]
    Netns(#[from] NetnsError),
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
    /// A command could not be started.
    #[error("`{program}` does not run: {source}: install it (iproute2, iptables)")]
    Start {
        /// The command.
        program: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A command failed.
    #[error("`{program}` in {netns}: {message}")]
    Command {
        /// The command.
        program: &'static str,
        /// The namespace it ran in.
        netns: String,
        /// What it said.
        message: String,
    },
}

impl From<BenchError> for ScaleError {
    fn from(error: BenchError) -> Self {
        Self::Machine(Box::new(error))
    }
}
