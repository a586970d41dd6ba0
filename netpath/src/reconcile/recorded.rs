//! What a node's maps record: what netpath made, and what was wished.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use netpath_common::{Bypass, EndpointId, FastPathMode, FastPathWish, Ifindex, Mac, Origin};

use crate::model::NodePlace;

/// The namespace of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// Made by netpath under the endpoint's name, and removed with it.
    Made,
    /// Given by somebody by this path, and left alone.
    Given(String),
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEndpoint {
    /// Who wants it.
    pub origin: Origin,
    /// Its namespace.
    pub home: Home,
    /// `SO_NETNS_COOKIE` of its namespace; 0 while there is none.
    pub cookie: u64,
    /// Its id.
    pub id: EndpointId,
    /// Whether it was made to the end.
    pub complete: bool,
    /// Index of the host-side veth; 0 while there is none.
    pub ifindex: Ifindex,
    /// MAC of the interface inside.
    pub endpoint_mac: Mac,
    /// MAC of the host-side veth.
    pub host_mac: Mac,
    /// Name of the interface inside.
    pub dev: String,
    /// Name of the host-side veth.
    pub host_dev: String,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// The prefixes that are routed to it.
    pub prefixes: Vec<IpNet>,
    /// The MTU of its veth in bytes; `None` for the least of the node's uplinks.
    pub mtu: Option<u32>,
    /// What is wished for its programs.
    pub fast_path: FastPathWish,
}

/// One uplink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedUplink {
    /// The wire that it is on; empty where netpath did not make the interface.
    pub wire: String,
    /// `SO_NETNS_COOKIE` of the wire's namespace; 0 while there is none.
    pub wire_cookie: u64,
    /// Whether it was made to the end.
    pub complete: bool,
    /// Its index; 0 while there is none.
    pub ifindex: Ifindex,
    /// Whether netpath made the interface.
    pub made: bool,
    /// Its MAC.
    pub mac: Mac,
    /// MAC of its port on the wire.
    pub port_mac: Mac,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Its place among the node's uplinks, from 0.
    pub position: u32,
    /// Whether netpath made the clsact qdisc that its filters are in.
    pub clsact_made: bool,
}

/// One route towards other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedRoute {
    /// The next hop; `None` where the kernel's own routes say where the prefix leads.
    pub via: Option<IpAddr>,
    /// The uplink that the next hop is on the link of, where not its address says so.
    pub dev: Option<String>,
    /// Whether netpath put it into the kernel's table.
    pub made: bool,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Where it is.
    pub place: NodePlace,
    /// `SO_NETNS_COOKIE` of its namespace.
    pub cookie: u64,
    /// Whether the fast path is wished on.
    pub fast_path: FastPathMode,
    /// Whether netpath set the FORWARD policy to DROP.
    pub forward_drop: bool,
    /// Whether all settings of its namespace were made.
    pub configured: bool,
    /// What of the kernel's doing may be passed by.
    pub bypass: Bypass,
    /// The next endpoint id to give out.
    pub next_id: EndpointId,
    /// Its endpoints, by name.
    pub endpoints: BTreeMap<String, RecordedEndpoint>,
    /// Its uplinks, by device.
    pub uplinks: BTreeMap<String, RecordedUplink>,
    /// Its routes, by destination.
    pub routes: BTreeMap<IpNet, RecordedRoute>,
}

impl Recorded {
    /// The id that the next endpoint gets: never one that another has, whatever is noted.
    #[must_use]
    pub fn free_id(&self) -> EndpointId {
        let used = self.endpoints.values().map(|endpoint| endpoint.id.0).max();
        let after = used.unwrap_or(0).saturating_add(1);
        EndpointId(self.next_id.0.max(after))
    }
}
