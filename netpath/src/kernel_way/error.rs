//! Why nothing can be said.

use crate::{
    Ending, Ends, netfilter::NetfilterError, netlink::NetlinkError, sysctl::SysctlError,
};

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
}

impl Ends for KernelWayError {
    fn ending(&self) -> Ending {
        match self {
            Self::Netfilter(error) => error.ending(),
            Self::Netlink(_) | Self::Sysctl(_) | Self::NoInterface { .. } => Ending::Failed,
        }
    }
}
