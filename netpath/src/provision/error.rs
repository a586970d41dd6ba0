//! What can go wrong in provisioning.

use std::io;

use ipnet::IpNet;

use crate::{datapath::DatapathError, lock::LockError, mounts::MountsError, netns::NetnsError};

/// A failure of provisioning. Each names its object and, where there is one, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// Not root.
    #[error("netpath needs root for namespaces and BPF: run it with sudo")]
    NotRoot,
    /// Something of that name exists and is not netpath's. Nothing was touched.
    #[error("{object} {name} exists{} and is not netpath's: {remedy}", within(.netns))]
    NotOurs {
        /// A namespace or an interface.
        object: &'static str,
        /// Its name.
        name: String,
        /// Where it is.
        netns: Option<String>,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The machine is not set up for what the topology wants of it. Nothing was touched.
    #[error("{problem}: {remedy}")]
    Unmet {
        /// What is missing.
        problem: String,
        /// How to get it.
        remedy: String,
    },
    /// Another netpath is at work.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Netpath runs where its work would be hidden.
    #[error(transparent)]
    Mounts(#[from] MountsError),
    /// Nothing of that name is up.
    #[error("no {object} {name} is up: `netpath show` lists what is")]
    NotUp {
        /// A node or an endpoint.
        object: &'static str,
        /// Its name.
        name: String,
    },
    /// Stopped by a signal.
    #[error("interrupted")]
    Interrupted,
    /// A namespace operation failed.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// A BPF operation failed.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// The kernel refused a netlink request.
    #[error("{action} {object}: {source}")]
    Netlink {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: String,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
    /// A netlink socket could not be had.
    #[error("netlink socket: {0}")]
    Socket(io::Error),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A program that netpath calls failed.
    #[error("`{command}` failed: {message}")]
    Command {
        /// With its arguments.
        command: String,
        /// What it said.
        message: String,
    },
    /// An address that is wanted is not there.
    #[error(
        "uplink {dev} has no address {address}: add it, or correct the file (netpath configures no interface that it did not make)"
    )]
    NoAddress {
        /// The interface.
        dev: String,
        /// The address.
        address: IpNet,
    },
    /// It failed, and so did undoing it.
    #[error("{cause}\nand while undoing what had been done: {}", list(.undoing))]
    Undo {
        /// The failure.
        cause: Box<ProvisionError>,
        /// What went wrong after it.
        undoing: Vec<ProvisionError>,
    },
    /// Several things failed.
    #[error("{}", list(.0))]
    Several(Vec<ProvisionError>),
}

fn within(netns: &Option<String>) -> String {
    netns
        .as_ref()
        .map_or_else(String::new, |netns| format!(" in namespace {netns}"))
}

fn list(errors: &[ProvisionError]) -> String {
    errors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

impl ProvisionError {
    /// Whether the user's input or the machine's set-up was refused before anything was touched: exit
    /// status 2.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::NotRoot
            | Self::NotOurs { .. }
            | Self::Unmet { .. }
            | Self::NoAddress { .. }
            | Self::Mounts(_) => true,
            Self::Datapath(
                DatapathError::AbiVersion { .. }
                | DatapathError::NoBpffs { .. }
                | DatapathError::KernelLacks { .. },
            ) => true,
            Self::Several(errors) => errors.iter().all(Self::is_refusal),
            _ => false,
        }
    }
}
