//! What can go wrong between netpath and the kernel's BPF.

use std::{io, path::PathBuf};

use aya::{
    EbpfError,
    maps::MapError,
    pin::PinError,
    programs::{ProgramError, links::LinkError, tc::TcError},
};

use netpath_common::trace::TRACES;

use crate::{Ending, Ends, netlink::NetlinkError};

/// A failure of the datapath. Each names its object.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The pinned directory was made by an older version.
    #[error(
        "{}: made by an older netpath (ABI version {found}, this one has {expected}): `netpath up` brings it up to date, \
         while packets flow",
        path.display()
    )]
    Older {
        /// The node's directory.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// The pinned directory was made by a version that this one cannot bring up to date.
    #[error(
        "{}: made by a netpath too old for this one (ABI version {found}, the oldest that this one brings up to date is \
         {oldest}): remove the node with that netpath's `down`; or the directory with `rm -r`, which detaches its \
         programs, and what `ip netns` and `ip link` show of the node by hand",
        path.display()
    )]
    TooOld {
        /// The node's directory.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The oldest that there is a way from.
        oldest: u32,
    },
    /// The pinned directory was made by a newer version.
    #[error(
        "{}: made by a newer netpath (ABI version {found}, this one knows {expected}): use that one",
        path.display()
    )]
    Newer {
        /// The node's directory.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// The node is in another network namespace than the calling thread.
    #[error("node {node} is up in another network namespace: run netpath there")]
    Elsewhere {
        /// The node.
        node: String,
    },
    /// It failed, and so did clearing up after it.
    #[error("{cause}\nand while clearing up: {cleaning}")]
    CleanUp {
        /// The failure.
        cause: Box<DatapathError>,
        /// What went wrong after it.
        cleaning: Box<DatapathError>,
    },
    /// Something pinned there is not what netpath pins.
    #[error("{}: {problem}: not netpath's, or damaged; remove {} if nothing uses it", path.display(), path.display())]
    Foreign {
        /// What was looked at.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Others than root may have put there what they like.
    #[error("{}: {problem}: netpath does not trust it", path.display())]
    Untrusted {
        /// The directory.
        path: PathBuf,
        /// Why not.
        problem: &'static str,
    },
    /// bpffs is not there and may not be mounted.
    #[error(
        "no BPF filesystem at /sys/fs/bpf and mounting it failed: {source}: run `mount -t bpf bpf /sys/fs/bpf`"
    )]
    NoBpffs {
        /// Why it could not be mounted.
        source: io::Error,
    },
    /// The kernel refused a program.
    #[error("the kernel refused program {program}: {source}\n{log}")]
    Verifier {
        /// The program.
        program: &'static str,
        /// The system call's error.
        source: io::Error,
        /// The verifier's log.
        log: String,
    },
    /// The kernel did not tell by netlink what is attached.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The kernel lacks something netpath cannot do without.
    #[error("this kernel lacks {what}: netpath needs Linux 5.14 or newer with it built in")]
    KernelLacks {
        /// What is missing.
        what: &'static str,
    },
    /// A file operation on bpffs failed.
    #[error("{}: {action}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A map operation failed.
    #[error("map {map}: {source}")]
    Map {
        /// The map.
        map: &'static str,
        /// Why it failed.
        source: MapError,
    },
    /// An entry of a map could not be read or written.
    #[error("{action} map {map}: {source}")]
    Entry {
        /// The map.
        map: &'static str,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The pinned programs are of a build that cannot be asked about a packet.
    #[error(
        "node {node}: its programs were loaded by a netpath that cannot ask them about a packet: `netpath up` puts this one's in \
         their place, while packets flow"
    )]
    NoTrail {
        /// The node.
        node: String,
    },
    /// As many packets are asked about as can be.
    #[error("node {node}: too many are asking its programs about packets just now: try again")]
    TrailBusy {
        /// The node.
        node: String,
    },
    /// Something of a node is missing.
    #[error("{}: the node is damaged: {problem}", path.display())]
    Damaged {
        /// The node's directory.
        path: PathBuf,
        /// What is missing.
        problem: String,
    },
    /// The object could not be loaded.
    #[error("loading the BPF object: {0}")]
    Object(#[from] EbpfError),
    /// A program operation failed.
    #[error("program {program}{}: {source}", on(.dev))]
    Program {
        /// The program.
        program: &'static str,
        /// The interface, if the operation concerns one.
        dev: Option<String>,
        /// Why it failed.
        source: ProgramError,
    },
    /// A link operation failed.
    #[error("link {}: {source}", path.display())]
    Link {
        /// Its pin.
        path: PathBuf,
        /// Why it failed.
        source: LinkError,
    },
    /// Pinning failed.
    #[error("pinning {}: {source}", path.display())]
    Pin {
        /// The pin.
        path: PathBuf,
        /// Why it failed.
        source: PinError,
    },
    /// A tc operation failed.
    #[error("clsact on {dev}: {source}")]
    Clsact {
        /// The interface.
        dev: String,
        /// Why it failed.
        source: TcError,
    },
    /// There was no clsact qdisc a moment ago.
    #[error(
        "interface {dev}: somebody made a clsact qdisc while netpath was at work: run it again"
    )]
    QdiscMadeMeanwhile {
        /// The interface.
        dev: String,
    },
    /// As many other traces as there may be are told what the node's programs decide.
    #[error("node {node} is traced by {TRACES} others: wait for one of them to end")]
    Traced {
        /// The node.
        node: String,
    },
    /// The node's namespace cannot be entered.
    #[error(transparent)]
    Netns(#[from] crate::netns::NetnsError),
    /// Another netpath is at work on bpffs.
    #[error(transparent)]
    Lock(#[from] crate::lock::LockError),
    /// The log of a debugging object cannot be read.
    #[error("datapath log: {0}")]
    Log(#[from] aya_log::Error),
}

impl Ends for DatapathError {
    fn ending(&self) -> Ending {
        match self {
            Self::Older { .. }
            | Self::TooOld { .. }
            | Self::Newer { .. }
            | Self::NoBpffs { .. }
            | Self::KernelLacks { .. }
            | Self::Elsewhere { .. }
            | Self::NoTrail { .. }
            | Self::Traced { .. }
            | Self::Untrusted { .. } => Ending::Refused,
            Self::CleanUp { .. } => Ending::Failed,
            Self::Netns(error) => error.ending(),
            Self::Lock(error) => error.ending(),
            Self::Foreign { .. }
            | Self::Verifier { .. }
            | Self::File { .. }
            | Self::Map { .. }
            | Self::Entry { .. }
            | Self::Damaged { .. }
            | Self::Object(_)
            | Self::Program { .. }
            | Self::Link { .. }
            | Self::Pin { .. }
            | Self::Clsact { .. }
            | Self::QdiscMadeMeanwhile { .. }
            | Self::TrailBusy { .. }
            | Self::Log(_)
            | Self::Netlink(_) => Ending::Failed,
        }
    }
}

impl DatapathError {
    /// Whether it is about one node's directory as a whole: then other nodes are none the worse.
    pub fn is_about_a_directory(&self) -> bool {
        matches!(
            self,
            Self::Older { .. }
                | Self::TooOld { .. }
                | Self::Newer { .. }
                | Self::Foreign { .. }
                | Self::Damaged { .. }
                | Self::Untrusted { .. }
        )
    }
}

/// A failure, and what became of clearing up after it.
pub(super) fn and_then(cause: DatapathError, cleaned: Result<(), DatapathError>) -> DatapathError {
    match cleaned {
        Ok(()) => cause,
        Err(cleaning) => DatapathError::CleanUp {
            cause: Box::new(cause),
            cleaning: Box::new(cleaning),
        },
    }
}

fn on(dev: &Option<String>) -> String {
    dev.as_ref()
        .map_or_else(String::new, |dev| format!(" on {dev}"))
}

pub(super) fn file(
    path: impl Into<PathBuf>,
    action: &'static str,
) -> impl FnOnce(io::Error) -> DatapathError {
    let path = path.into();
    move |source| DatapathError::File {
        path,
        action,
        source,
    }
}

pub(super) fn map(map: &'static str) -> impl FnOnce(MapError) -> DatapathError {
    move |source| DatapathError::Map { map, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Errors of other modules that are handed on count as what they are there.
    #[test]
    fn what_is_refused_was_not_touched() {
        let source = || io::Error::other("no");
        let path = || PathBuf::from("/sys/fs/bpf/netpath/node03");
        let refused = [
            DatapathError::Newer {
                path: path(),
                found: 9,
                expected: 2,
            },
            DatapathError::NoBpffs { source: source() },
            DatapathError::KernelLacks { what: "TCX" },
        ];
        for error in refused {
            assert_eq!(error.ending(), Ending::Refused, "{error}");
        }
        let failed = [
            DatapathError::Foreign {
                path: path(),
                problem: "it holds no map".to_owned(),
            },
            DatapathError::Verifier {
                program: "from_uplink",
                source: source(),
                log: String::new(),
            },
            DatapathError::File {
                path: path(),
                action: "read",
                source: source(),
            },
            DatapathError::from(crate::lock::LockError::Held(path())),
            DatapathError::from(crate::netns::NetnsError::Open {
                path: path(),
                source: source(),
            }),
        ];
        for error in failed {
            assert_eq!(error.ending(), Ending::Failed, "{error}");
        }
    }
}
