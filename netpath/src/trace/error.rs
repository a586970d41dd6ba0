//! What may fail.

use std::{io, path::PathBuf};

use super::{btf::BtfError, filter::FilterError};
use crate::{
    Ending, Ends, datapath::DatapathError, descriptors::DescriptorsError, netns::NetnsError,
    probe::ProbeError,
};

/// A failure to trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel's types are not known.
    #[error(
        "{0}: a trace needs to know where the kernel keeps what it looks at (CONFIG_DEBUG_INFO_BTF)"
    )]
    Btf(#[from] BtfError),
    /// The filter is none.
    #[error("{0}")]
    Filter(#[from] FilterError),
    /// What the trace was asked for makes no sense.
    #[error("{0}")]
    Refused(String),
    /// No endpoint or node of a name is up.
    #[error("no node or endpoint {name} is up: `netpath show` lists what is")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The programs cannot be loaded, or a node's maps not be read.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// A namespace cannot be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// There are too few file descriptors.
    #[error(transparent)]
    Descriptors(#[from] DescriptorsError),
    /// A probe could not be sent.
    #[error(transparent)]
    Probe(#[from] ProbeError),
}

impl Ends for TraceError {
    fn ending(&self) -> Ending {
        match self {
            Self::Filter(_) | Self::Refused(_) => Ending::Refused,
            Self::Datapath(error) => error.ending(),
            Self::Netns(error) => error.ending(),
            Self::Descriptors(error) => error.ending(),
            Self::File { .. } | Self::Btf(_) | Self::Unknown { .. } | Self::Probe(_) => {
                Ending::Failed
            }
        }
    }
}
