//! Why a run could not be done.

use std::io;

use netpath::{
    Ending, Ends, command::CommandError, counters::CountersError, netfilter::NetfilterError,
    netlink::NetlinkError, netns::NetnsError, probe::ProbeError, proc_net::ProcNetError,
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
    /// The kernel's counters could not be read.
    #[error(transparent)]
    ProcNet(#[from] ProcNetError),
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
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The packet filter could not be read.
    #[error(transparent)]
    Netfilter(#[from] NetfilterError),
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

impl Ends for BenchError {
    fn ending(&self) -> Ending {
        match self {
            Self::Nothing(_) => Ending::Refused,
            Self::Provision(error) => error.ending(),
            Self::Counters(error) => error.ending(),
            Self::ProcNet(error) => error.ending(),
            Self::Netns(error) => error.ending(),
            Self::Traffic(error) => error.ending(),
            Self::Command(error) => error.ending(),
            Self::Netfilter(error) => error.ending(),
            Self::File { .. }
            | Self::Unreadable { .. }
            | Self::System { .. }
            | Self::Interrupted
            | Self::Removal { .. }
            | Self::Netlink(_) => Ending::Failed,
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

#[cfg(test)]
mod tests {
    use netpath::{datapath::DatapathError, reconcile::Refusal};

    use super::*;

    #[test]
    fn a_refusal_is_one_whoever_hands_it_on() {
        let lacks = || DatapathError::KernelLacks { what: "TCX" };
        let refused = [
            BenchError::Nothing("no path is left".to_owned()),
            BenchError::from(ProvisionError::from(Refusal::NameTooLong.of("x"))),
            BenchError::from(ProvisionError::from(lacks())),
            BenchError::from(CountersError::from(lacks())),
        ];
        for error in refused {
            assert_eq!(error.ending(), Ending::Refused, "{error}");
        }
        let removal = || Box::new(ProvisionError::NothingUp);
        let failed = [
            BenchError::Interrupted,
            BenchError::from(ProvisionError::Interrupted),
            BenchError::Removal {
                cause: None,
                removal: removal(),
            },
            system("read", io::Error::other("no")),
        ];
        for error in failed {
            assert_eq!(error.ending(), Ending::Failed, "{error}");
        }
    }
}
