//! What is up, as netpath recorded it and as it is found.

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::{EndpointId, Ifindex};
use serde::Serialize;

use crate::finding::{Finding, Kind};

/// State of the fast path on an interface or a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FastPath {
    /// Attached.
    On,
    /// Attached, and counting only: each packet is the kernel's.
    Shadow,
    /// Detached.
    Off,
    /// On some interfaces only.
    Partly,
    /// The node cannot be read.
    Unknown,
}

/// A node that cannot be read: its problem is the error in words.
pub const UNREADABLE: Kind = Kind {
    id: "unreadable",
    means: "The node cannot be read, so that nothing can be said of what is on it.",
    cure: "put right what is named, and look again with `netpath show`",
};

/// A node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// `host`, or the name of its namespace.
    pub netns: String,
    /// Where its maps, programs and links are pinned.
    pub directory: String,
    /// `tcx` or `clsact`.
    pub attach_mode: &'static str,
    /// Over all its interfaces.
    pub fast_path: FastPath,
    /// Its uplinks.
    pub uplinks: Vec<UplinkStatus>,
    /// Its routes towards other nodes.
    pub routes: Vec<RouteStatus>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointStatus>,
    /// What is not as it was made; empty if all is.
    pub drift: Vec<Finding>,
}

impl NodeStatus {
    /// What is not as it was made, of the node and of all that is on it.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        let uplinks = self.uplinks.iter().flat_map(|uplink| &uplink.drift);
        let endpoints = self.endpoints.iter().flat_map(|endpoint| &endpoint.drift);
        self.drift.iter().chain(uplinks).chain(endpoints)
    }

    /// The same, to be told otherwise.
    pub fn findings_mut(&mut self) -> impl Iterator<Item = &mut Finding> {
        let uplinks = self.uplinks.iter_mut().flat_map(|it| &mut it.drift);
        let endpoints = self.endpoints.iter_mut().flat_map(|it| &mut it.drift);
        self.drift.iter_mut().chain(uplinks).chain(endpoints)
    }
}

/// An interface that programs are attached to.
#[derive(Clone, Debug, Serialize)]
pub struct InterfaceStatus {
    /// Its name in the node's namespace.
    pub dev: String,
    /// Its index there, 0 while it is being made.
    pub ifindex: Ifindex,
    /// Its Ethernet address.
    pub mac: String,
    /// The longest packet that it sends, in bytes; `None` while it is not there.
    pub mtu: Option<u32>,
    /// Whether its programs are attached.
    pub fast_path: FastPath,
    /// Names of the reasons for which packets that pass it are left to the kernel, on top of what each packet is.
    pub kernel: Vec<&'static str>,
}

/// An uplink.
#[derive(Clone, Debug, Serialize)]
pub struct UplinkStatus {
    /// The interface.
    #[serde(flatten)]
    pub interface: InterfaceStatus,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// The wire it is on, in a lab.
    pub wire: Option<String>,
    /// Whether netpath made the interface.
    pub made: bool,
    /// What is not as it was made; empty if all is.
    pub drift: Vec<Finding>,
}

/// One way on from a route, by the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NextHopStatus {
    /// The router; `None` on the link.
    pub via: Option<IpAddr>,
    /// The interface.
    pub dev: Option<String>,
}

/// A route towards another node.
#[derive(Clone, Debug, Serialize)]
pub struct RouteStatus {
    /// Destination prefix.
    pub dst: IpNet,
    /// Next hop, as it is wanted; `None` where that is the kernel's to say.
    pub via: Option<IpAddr>,
    /// The uplink that it is wanted to be on the link of, where not its address says so.
    pub dev: Option<String>,
    /// The next hops by which the kernel really leads what endpoints send there, rules included; a routing daemon may have
    /// chosen others. None where there is no route, or it leads nowhere.
    pub next_hops: Vec<NextHopStatus>,
    /// Whether netpath put the route that the kernel goes by into its table.
    pub made: bool,
    /// As of an interface.
    pub kernel: Vec<&'static str>,
}

/// An endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointStatus {
    /// Its name.
    pub name: String,
    /// Who asked for it: `file`, `command` or `cni`.
    pub origin: &'static str,
    /// The name of its namespace where netpath made it, the path of one that was given.
    pub netns: String,
    /// Never used twice on a node.
    pub id: EndpointId,
    /// Its interface inside.
    pub dev: String,
    /// Its Ethernet address inside.
    pub mac: String,
    /// The host-side veth.
    #[serde(rename = "host")]
    pub interface: InterfaceStatus,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Prefixes that are routed to it.
    pub prefixes: Vec<IpNet>,
    /// What is not as it was made; empty if all is.
    pub drift: Vec<Finding>,
}
