//! Why nothing can be said.

use std::net::IpAddr;

use crate::{
    Ending, Ends, datapath::DatapathError, kernel_way::KernelWayError, model::Name,
    netlink::NetlinkError, netns::NetnsError, provision::ProvisionError,
};

/// The way of a packet could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// There is nothing of that name.
    #[error("no node or endpoint {name} is up: `netpath show` lists what is; or write an address")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The ends have no family in common.
    #[error("{source_end} and {destination} have no addresses of one family: write addresses")]
    Families {
        /// From.
        source_end: String,
        /// To.
        destination: String,
    },
    /// Several have the address, which know nothing of one another.
    #[error(
        "{address} is an address of {first}, and of others that are not connected with it: say by `--node` which node is near"
    )]
    Ambiguous {
        /// The address.
        address: IpAddr,
        /// One of those that have it.
        first: String,
    },
    /// Of several nodes it is not known which one it comes to.
    #[error(
        "{address} is nobody's here, and there are several nodes: say by `--node` which one it comes to"
    )]
    Nowhere {
        /// The source.
        address: IpAddr,
    },
    /// A packet from outside comes by an uplink.
    #[error("node {node} has no uplink that a packet from outside could come by")]
    NoUplink {
        /// The node.
        node: String,
    },
    /// There is no packet of that size.
    #[error(
        "a packet of {size} bytes: its headers alone have {least}, and no IP packet has more than 65535"
    )]
    Size {
        /// What was asked for.
        size: u32,
        /// The least.
        least: u32,
    },
    /// The programs have noted what no netpath knows.
    #[error(
        "the programs of node {node} say {outcome} and {reason}, which this netpath does not know: `netpath up` puts this one's in their place"
    )]
    Trail {
        /// The node.
        node: String,
        /// What they say of the outcome.
        outcome: u32,
        /// Of the reason.
        reason: u32,
    },
    /// What is up could not be looked at.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// The programs could not be asked.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// The kernel could not be.
    #[error(transparent)]
    KernelWay(#[from] KernelWayError),
    /// Nor by netlink.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A namespace cannot be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
}

impl ExplainError {
    pub(super) fn unknown(name: &Name) -> Self {
        Self::Unknown {
            name: name.to_string(),
        }
    }
}

impl Ends for ExplainError {
    fn ending(&self) -> Ending {
        match self {
            Self::Families { .. }
            | Self::Nowhere { .. }
            | Self::Ambiguous { .. }
            | Self::Size { .. } => Ending::Refused,
            Self::Unknown { .. }
            | Self::NoUplink { .. }
            | Self::Trail { .. }
            | Self::Netlink(_) => Ending::Failed,
            Self::Provision(error) => error.ending(),
            Self::Datapath(error) => error.ending(),
            Self::KernelWay(error) => error.ending(),
            Self::Netns(error) => error.ending(),
        }
    }
}
