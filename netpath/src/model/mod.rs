//! The topology: nodes, uplinks, routes and endpoints as a file describes them. Pure: text in, checked
//! values or findings out.
//!
//! A text becomes a [`Topology`] in three steps, each a file: `document` (TOML with line numbers), `read`
//! (tables to typed values, each value checked by itself) and `check` (values against each other). Every
//! step goes on after a finding, so that one run names all that is wrong.
//!
//! A [`Topology`] that exists has passed all checks, so the rest of netpath relies on them: names are safe
//! as file names, no name, device or address is used twice, and no prefixes overlap.

mod address;
mod check;
mod derived;
mod document;
mod fault;
mod findings;
mod name;
mod named;
mod read;
mod single;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, path::Path};

use ipnet::IpNet;
use netpath_common::Bypass;
use serde::Serialize;

pub use address::is_forwardable;
pub use derived::{
    WIRE_NAMESPACE_PREFIX, derived_host_dev, derived_mac, wire_namespace, wire_port,
};
pub use fault::FaultKind;
pub use findings::TopologyErrors;
pub use name::{InterfaceName, InterfaceNameError, Name, NameError};
pub use named::NamedNodes;
pub use read::keys;
pub use single::EndpointText;

/// The built-in lab as a topology file.
pub const BUILTIN_LAB: &str = include_str!("lab.toml");

/// Smallest and largest value of `max_endpoints` and `max_routes`. The largest is 2^24 entries: a hash map of that size takes
/// gigabytes, and more is a slip of the keyboard.
pub const CAPACITY_RANGE: std::ops::RangeInclusive<u32> = 1..=1 << 24;

/// Those of `max_connections`. Each processor takes free entries from a table of connections 128 at a time
/// (`LOCAL_FREE_TARGET` in kernel/bpf/bpf_lru_list.c), and in a smaller table forgets others for them. With less than three
/// no connection keeps both of its entries, and none through the kernel's NAT works.
pub const CONNECTIONS_RANGE: std::ops::RangeInclusive<u32> = 1024..=1 << 24;

/// Smallest and largest MTU of a veth in bytes: IPv4's least (RFC 791), and the kernel's most (`ETH_MAX_MTU`).
pub const MTU_RANGE: std::ops::RangeInclusive<u32> = 68..=65_535;

/// The smallest MTU with which the kernel does IPv6, in bytes (RFC 8200, section 5).
pub const IPV6_MIN_MTU: u32 = 1280;

/// A checked topology.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Topology {
    /// The nodes, in the order of the file; at least one.
    pub nodes: Vec<Node>,
}

/// A router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its name; of a lab node also its namespace's.
    pub name: Name,
    /// Where it is.
    pub place: NodePlace,
    /// The FORWARD chain's policy; always `Accept` for [`NodePlace::Host`], whose chain is left alone.
    pub forward_policy: ForwardPolicy,
    /// What of the kernel's doing may be passed by knowingly.
    pub bypass: Bypass,
    /// Whether the kernel is to expedite its grace periods while the node is made (default: in a lab).
    pub expedite: bool,
    /// How large its maps are.
    pub capacity: Capacity,
    /// Its interfaces towards other nodes.
    pub uplinks: Vec<Uplink>,
    /// The prefixes of other nodes' endpoints: those of `fast_prefixes`, then its routes.
    pub routes: Vec<Route>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodePlace {
    /// A namespace that netpath makes.
    Lab,
    /// This machine's own namespace (`netns = "host"`); at most one node.
    Host,
}

/// What a node's FORWARD chain does with a packet that no rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ForwardPolicy {
    /// It passes.
    #[default]
    Accept,
    /// It is dropped.
    Drop,
}

/// Sizes of a node's maps, each within [`CAPACITY_RANGE`] or [`CONNECTIONS_RANGE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Hash)]
pub struct Capacity {
    /// Endpoint addresses per family (`max_endpoints`, default [`netpath_common::ENDPOINTS_DEFAULT`]).
    pub endpoints: u32,
    /// Prefixes per family (`max_routes`, default [`netpath_common::ROUTES_DEFAULT`]).
    pub routes: u32,
    /// Connections that are the kernel's, per family (`max_connections`, default [`netpath_common::CONNECTIONS_DEFAULT`]).
    pub connections: u32,
}

/// An interface towards other nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Uplink {
    /// The interface, in the node's namespace.
    pub dev: InterfaceName,
    /// Its addresses with prefix lengths: 1 to [`netpath_common::ADDRESSES_MAX`] in a lab, and possibly
    /// none with [`NodePlace::Host`], where the machine has given the interface its own.
    pub addresses: Vec<IpNet>,
    /// The Ethernet segment: always there for a lab node, never for [`NodePlace::Host`].
    pub wire: Option<Name>,
}

/// A prefix of other nodes' endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The destination, with no host bits set; never the default route. It may contain the node's own endpoints.
    pub dst: IpNet,
    /// The next hop; of IPv4 it may be of IPv6. `None` where the kernel's own routes say where it leads.
    pub via: Option<IpAddr>,
    /// The uplink that the next hop is on the link of, whatever addresses that has; always there for a link-local next hop.
    pub dev: Option<InterfaceName>,
}

/// A namespace with one veth into a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Its name and its namespace's.
    pub name: Name,
    /// Its addresses with prefix lengths: 1 to [`netpath_common::ADDRESSES_MAX`].
    pub addresses: Vec<IpNet>,
    /// Prefixes that the node routes to it, up to [`netpath_common::PREFIXES_MAX`], with no host bits set: it may
    /// send from any address in them and receives any. For each there is an address of its family.
    pub prefixes: Vec<IpNet>,
    /// The MTU of its veth in bytes, within [`MTU_RANGE`]: its own or its node's. `None` for the least of the node's uplinks.
    pub mtu: Option<u32>,
    /// The interface inside (default `eth0`).
    pub dev: InterfaceName,
    /// The interface in the node's namespace (default [`derived_host_dev`]).
    pub host_dev: InterfaceName,
}

impl Topology {
    /// Parses and checks a topology file's text. `file` is only named in findings, never opened.
    ///
    /// # Errors
    /// All that is wrong with the text, by line.
    pub fn parse(file: impl AsRef<Path>, text: &str) -> Result<Self, TopologyErrors> {
        let mut findings = findings::Findings::new(file.as_ref(), text);
        let nodes = read::nodes(text, &mut findings);
        check::nodes(&nodes, &mut findings);
        findings.into_result()?;
        Ok(Self {
            nodes: nodes.into_iter().map(Node::from).collect(),
        })
    }

    /// The built-in lab ([`BUILTIN_LAB`]).
    ///
    /// # Panics
    /// Never: a test parses the embedded text.
    #[must_use]
    pub fn builtin_lab() -> Self {
        Self::parse("built-in lab", BUILTIN_LAB).expect("the built-in lab is valid")
    }
}
