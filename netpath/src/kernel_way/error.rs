//! Why nothing can be said.

use crate::{Ending, Ends, netfilter::NetfilterError, netlink::NetlinkError, sysctl::SysctlError};

/// What the kernel's way depends on could not be read.
#[derive(Debug, thiserror::Error)]
pub enum KernelWayError {
    /// Interfaces, neighbours, routes.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The packet filter.
    #[error(transparent)]
    Netfilter(#[from] NetfilterError),
    /// A setting.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// The packet is said to come in by an interface that is not there.
    #[error("there is no interface with index {index} in this namespace")]
    NoInterface {
        /// Its index.
        index: u32,
    },
    /// A setting is no number.
    #[error("net/{key} is {text:?}, which is no number")]
    NoNumber {
        /// Which, below /proc/sys/net.
        key: String,
        /// What it holds.
        text: String,
    },
}

impl Ends for KernelWayError {
    fn ending(&self) -> Ending {
        match self {
            Self::Netfilter(error) => error.ending(),
            Self::Netlink(_)
            | Self::Sysctl(_)
            | Self::NoInterface { .. }
            | Self::NoNumber { .. } => Ending::Failed,
        }
    }
}
