//! What can go wrong in provisioning.

use std::io;

use crate::{
    Ending, Ends,
    capabilities::CapabilitiesError,
    datapath::DatapathError,
    descriptors::DescriptorsError,
    finding::Finding,
    lock::LockError,
    mounts::MountsError,
    netfilter::NetfilterError,
    netlink::NetlinkError,
    netns::NetnsError,
    reconcile::{DamagedRecord, Refused},
    sysctl::SysctlError,
};

/// A failure of provisioning. Each names its object and, where there is one, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// An object cannot be made as it is wanted. Nothing was touched.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Another netpath is at work.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Netpath runs where its work would be hidden.
    #[error(transparent)]
    Mounts(#[from] MountsError),
    /// Too few files may be open.
    #[error(transparent)]
    Descriptors(#[from] DescriptorsError),
    /// Nothing of that name is up.
    #[error("no {object} {name} is up: `netpath show` lists what is")]
    NotUp {
        /// A node or an endpoint.
        object: &'static str,
        /// Its name.
        name: String,
    },
    /// No node is up at all.
    #[error("nothing is up: `netpath up` makes what a topology file describes")]
    NothingUp,
    /// The kernel does not say what the process is allowed to do.
    #[error(transparent)]
    Capabilities(#[from] CapabilitiesError),
    /// A namespace that was given to an endpoint died while something was made in it.
    #[error("{of}: the network namespace at {path} went away meanwhile: give one that stays")]
    WentAway {
        /// The endpoint.
        of: String,
        /// Where the namespace was.
        path: String,
    },
    /// What was asked for is done, and the programs of another node here do not know of it.
    #[error(
        "it is done, but the programs of node {node} could not be told of it: {cause}\nthey are told when that node is brought up again"
    )]
    Untold {
        /// The other node.
        node: String,
        /// Why not.
        cause: Box<ProvisionError>,
    },
    /// The kernel gives no random numbers.
    #[error("getrandom: {0}")]
    Random(io::Error),
    /// Stopped by a signal.
    #[error("interrupted")]
    Interrupted,
    /// A namespace operation failed.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// A BPF operation failed.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// A netlink request failed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The kernel tells of an interface that matters in a form that is not known.
    #[error("interface {dev}: cannot decode what the kernel says of it: {problem}")]
    Interface {
        /// The interface.
        dev: String,
        /// What is not understood.
        problem: String,
    },
    /// A sysctl could not be read or written.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// A record says what this netpath cannot have written.
    #[error("a record is damaged: {0}")]
    DamagedRecord(String),
    /// An operation was to be done where there is no such thing: a fault of netpath's.
    #[error("cannot be done in this place: {0}")]
    NoSuchPlace(String),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The packet filter could not be read or changed.
    #[error(transparent)]
    Netfilter(#[from] NetfilterError),
    /// It failed, and so did undoing it.
    #[error("{cause}\nand while undoing what had been done: {}", list(.undoing))]
    Undo {
        /// The failure.
        cause: Box<ProvisionError>,
        /// What went wrong after it.
        undoing: Vec<ProvisionError>,
    },
    /// All that was wanted is there, and something that is wanted no more is, too. That is not undone.
    #[error(
        "all of the file is up, but not all that it has no more could be removed: {0}\n`netpath up` goes on with it"
    )]
    Surplus(Box<ProvisionError>),
    /// Several things failed.
    #[error("{}", list(.0))]
    Several(Vec<ProvisionError>),
}

fn list(errors: &[ProvisionError]) -> String {
    errors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

impl From<DamagedRecord> for ProvisionError {
    fn from(damaged: DamagedRecord) -> Self {
        Self::DamagedRecord(damaged.to_string())
    }
}

/// All of some errors as one; none for none.
pub(super) fn all(mut errors: Vec<ProvisionError>) -> Option<ProvisionError> {
    match errors.len() {
        0 => None,
        1 => errors.pop(),
        _ => Some(ProvisionError::Several(errors)),
    }
}

impl ProvisionError {
    /// What it refuses, each with its cure; `None` where it is another failure too.
    pub fn refusals(&self) -> Option<Vec<Finding>> {
        match self {
            Self::Refused(refused) => Some(vec![refused.finding()]),
            Self::Several(errors) => {
                let each: Option<Vec<Vec<Finding>>> = errors.iter().map(Self::refusals).collect();
                Some(each?.into_iter().flatten().collect())
            }
            _ => None,
        }
    }

    /// This failure, and what went wrong while cleaning up after it.
    pub(super) fn and(self, undoing: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        let undoing: Vec<Self> = undoing.into_iter().map(Into::into).collect();
        match undoing.is_empty() {
            true => self,
            false => Self::Undo {
                cause: Box::new(self),
                undoing,
            },
        }
    }
}

impl Ends for ProvisionError {
    fn ending(&self) -> Ending {
        match self {
            Self::Refused(_) => Ending::Refused,
            Self::Capabilities(error) => error.ending(),
            Self::Lock(error) => error.ending(),
            Self::Mounts(error) => error.ending(),
            Self::Descriptors(error) => error.ending(),
            Self::Netns(error) => error.ending(),
            Self::Datapath(error) => error.ending(),
            Self::Netfilter(error) => error.ending(),
            Self::Several(errors) if errors.iter().all(Self::is_refusal) => Ending::Refused,
            Self::Several(_)
            | Self::NotUp { .. }
            | Self::WentAway { .. }
            | Self::Untold { .. }
            | Self::Interrupted
            | Self::NothingUp
            | Self::Random(_)
            | Self::Netlink(_)
            | Self::Interface { .. }
            | Self::Sysctl(_)
            | Self::DamagedRecord(_)
            | Self::NoSuchPlace(_)
            | Self::File { .. }
            | Self::Surplus(_)
            | Self::Undo { .. } => Ending::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::Refusal;

    fn refused() -> Vec<ProvisionError> {
        vec![
            ProvisionError::from(Refusal::OtherPlace.of("node node03")),
            ProvisionError::from(DatapathError::KernelLacks { what: "TCX" }),
        ]
    }

    #[test]
    fn what_is_refused_was_not_touched() {
        for error in refused() {
            assert_eq!(error.ending(), Ending::Refused, "{error}");
        }
        let failed = [
            ProvisionError::Interrupted,
            ProvisionError::NotUp {
                object: "node",
                name: "node09".to_owned(),
            },
            ProvisionError::Random(io::Error::other("no")),
            ProvisionError::from(LockError::Held("/run/netpath/topology.lock".into())),
            ProvisionError::from(NetnsError::Open {
                path: "/x".into(),
                source: io::Error::other("no"),
            }),
            ProvisionError::Undo {
                cause: Box::new(ProvisionError::NothingUp),
                undoing: Vec::new(),
            },
            ProvisionError::Untold {
                node: "node03".to_owned(),
                cause: Box::new(ProvisionError::NothingUp),
            },
        ];
        for error in failed {
            assert_eq!(error.ending(), Ending::Failed, "{error}");
        }
    }

    /// Else somebody who pressed Ctrl-C is not told why the node is not as it was.
    #[test]
    fn an_interruption_that_could_not_be_undone_says_both() {
        let busy = NetnsError::Open {
            path: "/run/netns/ns1".into(),
            source: io::Error::from_raw_os_error(libc::EBUSY),
        };
        let undoing = [
            ProvisionError::from(busy),
            ProvisionError::DamagedRecord("node03".to_owned()),
        ];
        let error = ProvisionError::Interrupted.and(undoing);
        let told = error.to_string();
        let lines: Vec<&str> = told.lines().collect();
        let [cause, undoing, next] = lines.as_slice() else {
            panic!("{told}");
        };
        assert_eq!(*cause, "interrupted");
        assert!(
            undoing.starts_with("and while undoing what had been done: "),
            "{told}"
        );
        assert!(
            undoing.contains("/run/netns/ns1") && undoing.contains("busy"),
            "{told}"
        );
        assert!(next.contains("a record is damaged: node03"), "{told}");
        assert_eq!(error.ending(), Ending::Failed);
    }

    #[test]
    fn several_are_refused_if_each_is() {
        let mut errors = refused();
        assert_eq!(ProvisionError::Several(refused()).ending(), Ending::Refused);
        errors.push(ProvisionError::Interrupted);
        assert_eq!(ProvisionError::Several(errors).ending(), Ending::Failed);
    }
}
