//! What is up.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::{
    finding,
    provision::{
        EndpointStatus, FastPath, InterfaceStatus, NextHopStatus, NodeStatus, RouteStatus,
        UplinkStatus,
    },
};

/// `netpath show -j`. Schema: docs/schema/show.json.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The nodes that are up.
    pub nodes: Vec<StatusNode>,
    /// [`Status::VERSION`].
    pub version: u32,
}

impl Status {
    /// Of the document.
    pub const VERSION: u32 = 2;
}

impl From<&[NodeStatus]> for Status {
    fn from(nodes: &[NodeStatus]) -> Self {
        Self {
            nodes: nodes.iter().map(StatusNode::from).collect(),
            version: Self::VERSION,
        }
    }
}

/// A node.
#[derive(Clone, Debug, Serialize)]
pub struct StatusNode {
    /// Its name.
    pub name: String,
    /// `host`, or the name of its namespace; empty where the node cannot be read.
    pub netns: String,
    /// Where its maps, programs and links are pinned.
    pub directory: String,
    /// `tcx` or `clsact`.
    pub attach_mode: &'static str,
    /// `on`, `off` or `partly`, over all its interfaces; `unknown` where the node cannot be read.
    pub fast_path: &'static str,
    /// Its uplinks.
    pub uplinks: Vec<Uplink>,
    /// Its routes towards other nodes.
    pub routes: Vec<Route>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// What is not as it was made; empty where all is.
    pub drift: Vec<Finding>,
}

/// An interface that programs are attached to.
#[derive(Clone, Debug, Serialize)]
pub struct Interface {
    /// Its name in the node's namespace.
    pub dev: String,
    /// Its index there, 0 while it is being made.
    pub ifindex: u32,
    /// Its Ethernet address.
    pub mac: String,
    /// The longest packet that it sends, in bytes; null while it is not there.
    pub mtu: Option<u32>,
    /// `on` or `off`, or `partly` while only one of its programs is attached.
    pub fast_path: &'static str,
    /// Names of the reasons for which what passes it is left to the kernel; empty for none.
    pub kernel: Vec<&'static str>,
}

/// An uplink.
#[derive(Clone, Debug, Serialize)]
pub struct Uplink {
    /// The interface.
    #[serde(flatten)]
    pub interface: Interface,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// The wire it is on, in a lab.
    pub wire: Option<String>,
    /// Whether netpath made the interface.
    pub made: bool,
    /// As of a node.
    pub drift: Vec<Finding>,
}

/// A route towards another node.
#[derive(Clone, Debug, Serialize)]
pub struct Route {
    /// Destination prefix.
    pub dst: IpNet,
    /// Next hop, as it is wanted; null where that is the kernel's to say.
    pub via: Option<IpAddr>,
    /// The uplink that it is wanted to be on the link of; null where its address says so.
    pub dev: Option<String>,
    /// The next hops that the kernel's route really has; empty where there is none to exactly this prefix, or it leads
    /// nowhere.
    pub next_hops: Vec<NextHop>,
    /// Whether netpath put it into the kernel's table.
    pub made: bool,
    /// As of an interface.
    pub kernel: Vec<&'static str>,
}

/// One way on from a route.
#[derive(Clone, Debug, Serialize)]
pub struct NextHop {
    /// The router; null on the link.
    pub via: Option<IpAddr>,
    /// The interface.
    pub dev: Option<String>,
}

/// An endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// Who asked for it: `file` for `netpath up`, `command` for `netpath endpoint add`, `cni` for a container runtime.
    pub origin: &'static str,
    /// Its namespace: the name of one that netpath made, the path of one that was given.
    pub netns: String,
    /// Never used twice on a node.
    pub id: u32,
    /// Its interface inside.
    pub dev: String,
    /// Its Ethernet address inside.
    pub mac: String,
    /// The host-side veth.
    pub host: Interface,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Prefixes that are routed to it.
    pub prefixes: Vec<IpNet>,
    /// As of a node.
    pub drift: Vec<Finding>,
}

/// Something that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Its kind, of docs/findings.md.
    pub id: &'static str,
    /// What it is wrong with, such as `endpoint demo01 on node03`.
    pub object: String,
    /// What is wrong, for people.
    pub problem: String,
    /// What mends it, for people.
    pub cure: String,
}

impl From<&finding::Finding> for Finding {
    fn from(finding: &finding::Finding) -> Self {
        Self {
            id: finding.id,
            object: finding.object.clone(),
            problem: finding.problem.clone(),
            cure: finding.cure.clone(),
        }
    }
}

impl From<&NodeStatus> for StatusNode {
    fn from(node: &NodeStatus) -> Self {
        Self {
            name: node.name.clone(),
            netns: node.netns.clone(),
            directory: node.directory.clone(),
            attach_mode: node.attach_mode,
            fast_path: fast_path(node.fast_path),
            uplinks: node.uplinks.iter().map(Uplink::from).collect(),
            routes: node.routes.iter().map(Route::from).collect(),
            endpoints: node.endpoints.iter().map(Endpoint::from).collect(),
            drift: findings(&node.drift),
        }
    }
}

impl From<&InterfaceStatus> for Interface {
    fn from(interface: &InterfaceStatus) -> Self {
        Self {
            dev: interface.dev.clone(),
            ifindex: interface.ifindex.0,
            mac: interface.mac.clone(),
            mtu: interface.mtu,
            fast_path: fast_path(interface.fast_path),
            kernel: interface.kernel.clone(),
        }
    }
}

impl From<&UplinkStatus> for Uplink {
    fn from(uplink: &UplinkStatus) -> Self {
        Self {
            interface: Interface::from(&uplink.interface),
            addresses: uplink.addresses.clone(),
            wire: uplink.wire.clone(),
            made: uplink.made,
            drift: findings(&uplink.drift),
        }
    }
}

impl From<&RouteStatus> for Route {
    fn from(route: &RouteStatus) -> Self {
        Self {
            dst: route.dst,
            via: route.via,
            dev: route.dev.clone(),
            next_hops: route.next_hops.iter().map(NextHop::from).collect(),
            made: route.made,
            kernel: route.kernel.clone(),
        }
    }
}

impl From<&NextHopStatus> for NextHop {
    fn from(hop: &NextHopStatus) -> Self {
        Self {
            via: hop.via,
            dev: hop.dev.clone(),
        }
    }
}

impl From<&EndpointStatus> for Endpoint {
    fn from(endpoint: &EndpointStatus) -> Self {
        Self {
            name: endpoint.name.clone(),
            origin: endpoint.origin,
            netns: endpoint.netns.clone(),
            id: endpoint.id.0,
            dev: endpoint.dev.clone(),
            mac: endpoint.mac.clone(),
            host: Interface::from(&endpoint.interface),
            addresses: endpoint.addresses.clone(),
            prefixes: endpoint.prefixes.clone(),
            drift: findings(&endpoint.drift),
        }
    }
}

fn fast_path(state: FastPath) -> &'static str {
    match state {
        FastPath::On => "on",
        FastPath::Shadow => "shadow",
        FastPath::Off => "off",
        FastPath::Partly => "partly",
        FastPath::Unknown => "unknown",
    }
}

fn findings(drift: &[finding::Finding]) -> Vec<Finding> {
    drift.iter().map(Finding::from).collect()
}
