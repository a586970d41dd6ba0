//! What the kernel says and does over rtnetlink, in words of networking: one blocking socket, one request at a time,
//! each with its whole answer or an error. The lists of other netlink protocols (XFRM, nfnetlink) are read in the same
//! way, each over a socket of its own.
//!
//! A socket belongs to the namespace where it was opened, whichever thread uses it later. Nothing here needs or makes an
//! async runtime. A list that could not be read to its end, or of which one message makes no sense, is an error and
//! never a shorter list.

mod address;
pub(crate) mod attribute;
mod channel;
mod error;
mod link;
mod namespace;
mod neighbour;
pub(crate) mod raw;
mod route;
mod rule;
mod tc;
#[cfg(test)]
mod tests;
mod xfrm;

use std::{fmt, net::IpAddr};

use netlink_packet_route::AddressFamily;
use netlink_sys::protocols::NETLINK_ROUTE;

use self::channel::Channel;
pub use self::{
    address::InterfaceAddress,
    error::NetlinkError,
    link::{Link, LinkKind, Peer, VethEnd, XdpMode, XdpProgram},
    namespace::{NamespaceId, NamespacesGone},
    neighbour::{Neighbour, NeighbourState},
    route::{
        Asked, Fate, KnownRoutes, Lookup, NewRoute, NextHop, NoWay, ROUTE_PROTOCOL, Replace,
        Resolved, Route, RouteKind, Table,
    },
    rule::{Rule, RuleAction},
    tc::{Filter, FilterProgram, Qdisc, QdiscParent},
    xfrm::{
        Xfrm, XfrmAction, XfrmDefaults, XfrmDirection, XfrmMark, XfrmPolicy, XfrmPorts,
        XfrmSelector,
    },
};
use crate::netns::Inside;

/// A netlink socket of one namespace. It may be given to another thread, and stays in its namespace.
pub struct Netlink {
    channel: Channel,
}

impl Netlink {
    /// Opens a socket in the calling thread's namespace.
    ///
    /// # Errors
    /// When the process is out of file descriptors, or the kernel is older than 4.20.
    pub fn open(_inside: &Inside<'_>) -> Result<Self, NetlinkError> {
        Ok(Self {
            channel: Channel::open(NETLINK_ROUTE)?,
        })
    }
}

/// How far away a destination or an address is: `RT_SCOPE_*` of linux/rtnetlink.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Anywhere.
    Universe,
    /// Within the site.
    Site,
    /// On the link.
    Link,
    /// On this host.
    Host,
    /// Nowhere.
    Nowhere,
    /// Any other number.
    Other(u8),
}

impl From<u8> for Scope {
    fn from(number: u8) -> Self {
        match number {
            0 => Self::Universe,
            200 => Self::Site,
            253 => Self::Link,
            254 => Self::Host,
            255 => Self::Nowhere,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Universe => f.write_str("global"),
            Self::Site => f.write_str("site"),
            Self::Link => f.write_str("link"),
            Self::Host => f.write_str("host"),
            Self::Nowhere => f.write_str("nowhere"),
            Self::Other(number) => write!(f, "{number}"),
        }
    }
}

/// What is asked for each family apart: asked for all at once, the kernel would add what is neither. One without IPv6
/// answers for IPv6 with what it has of others (`rtnl_dump_all`), or that it knows no such family.
const FAMILIES: [AddressFamily; 2] = [AddressFamily::Inet, AddressFamily::Inet6];

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
