//! What can go wrong with a netlink request.

use std::{io, net::IpAddr, time::Duration};

use super::Route;

/// A netlink request that failed. Each names what was tried and on what.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// A netlink socket could not be had.
    #[error("netlink socket: {step}: {source}")]
    Socket {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The kernel refused the request.
    #[error("{action} {object}: {}{}", io::Error::from_raw_os_error(*.errno), said(.message))]
    Refused {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: String,
        /// The kernel's error number, positive.
        errno: i32,
        /// What the kernel said besides.
        message: Option<String>,
    },
    /// The request could not be sent, or its answer not be received.
    #[error("{action} {object}: netlink socket: {source}")]
    Transport {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: String,
        /// Why.
        source: io::Error,
    },
    /// No answer came in time. Whether the kernel did what was asked is not known.
    #[error("{action} {object}: the kernel did not answer within {limit:?}")]
    Timeout {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: String,
        /// How long was waited, for the whole answer or for the next part of it.
        limit: Duration,
    },
    /// The kernel had no room for the answer (ENOBUFS). Whether it did what was asked is not known.
    #[error("{action} {object}: the kernel's answer was lost for want of room")]
    Overrun {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: String,
    },
    /// What was listed changed each time while it was being listed.
    #[error("{action} {object}: it changed during each of {attempts} attempts")]
    Interrupted {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: String,
        /// How often.
        attempts: u32,
    },
    /// The kernel's answer makes no sense to this build of netpath. Nothing is concluded from the rest of it.
    #[error("{action} {object}: cannot decode the kernel's answer: {problem}")]
    Undecoded {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There is a route of somebody else's where one was to be put. It was left alone.
    #[error("add route {}: there is already one that is not netpath's: {found}", found.dst)]
    RouteExists {
        /// The route that is there.
        found: Box<Route>,
    },
    /// An interface whose ends are up cannot send all the same, or is gone.
    #[error("interface {name} is not able to send after {limit:?}")]
    NotOperational {
        /// Its name.
        name: String,
        /// How long was waited.
        limit: Duration,
    },
    /// An address was given to an interface, and what is sent to it does not come in all the same.
    #[error(
        "{address} on {name}: the kernel does not take what is sent to it for its own after {limit:?}: see `ip -6 rule` \
         and `ip -6 route get {address}`"
    )]
    NotLocal {
        /// The address.
        address: IpAddr,
        /// The interface.
        name: String,
        /// How long was waited.
        limit: Duration,
    },
}

impl NetlinkError {
    /// The kernel's error number, where the kernel refused the request.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

fn said(message: &Option<String>) -> String {
    message
        .as_ref()
        .map_or_else(String::new, |message| format!(" ({message})"))
}
