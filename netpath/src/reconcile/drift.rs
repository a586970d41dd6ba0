//! What is not as it is wanted, and what forbids to make it so.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use netpath_common::ProgramKind;

/// One difference between what is wanted and what is there. Each says its cure: [`Drift::cure`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drift {
    /// It was being made or removed when that was interrupted.
    HalfMade,
    /// A lab node does not forward.
    Forwarding,
    /// The FORWARD policy is to be another: DROP, or ACCEPT.
    ForwardPolicy {
        /// DROP is wanted.
        drop: bool,
    },
    /// The pinned programs are not those of this build.
    Programs,
    /// The maps have less room than the topology says.
    Room {
        /// Endpoint addresses, of each family.
        endpoints: u32,
        /// Prefixes, of each family.
        routes: u32,
    },
    /// The fast path is to be switched.
    FastPath {
        /// On is wanted.
        on: bool,
    },
    /// Its namespace is gone.
    NamespaceGone(String),
    /// An interface is gone.
    InterfaceGone(String),
    /// An interface has been renamed.
    InterfaceRenamed {
        /// What it was.
        dev: String,
        /// What it is.
        to: String,
    },
    /// The machine's interface of that name is another one now.
    InterfaceRemade(String),
    /// An interface is down.
    InterfaceDown(String),
    /// An interface has another MAC than its record says.
    OtherMac(String),
    /// An interface's MTU is below what IPv6 needs, in bytes.
    Mtu {
        /// The interface.
        dev: String,
        /// Its MTU.
        mtu: u32,
    },
    /// A sysctl is not as it was set.
    Sysctl {
        /// Its path below `/proc/sys/net`.
        key: String,
        /// What it is; `None` where it is not there.
        found: Option<String>,
    },
    /// An address is gone.
    AddressGone(IpNet),
    /// The gateway's address on the host-side veth is gone.
    GatewayGone(IpAddr),
    /// The node's route to an endpoint's address or prefix is gone.
    NodeRouteGone(IpNet),
    /// The node's route to an endpoint prefers another source address.
    NodeRouteSource(IpNet),
    /// The kernel's route to another node's prefix is gone.
    RouteGone(IpNet),
    /// The default route inside an endpoint, via its gateway, is gone.
    DefaultRouteGone(IpAddr),
    /// A permanent neighbour entry is gone.
    NeighbourGone(IpAddr),
    /// The bridge of a wire is gone, or the uplink's port is not on it.
    OffTheWire(String),
    /// The kernel's reverse-path filter is not what the programs go by.
    ReversePath {
        /// The kernel's.
        found: u32,
        /// The programs'.
        recorded: u32,
    },
    /// A program does not run on an interface where it belongs.
    ProgramMissing {
        /// The program.
        program: ProgramKind,
        /// The interface.
        dev: String,
    },
    /// A program runs where it is not to.
    ProgramSurplus {
        /// The program.
        program: ProgramKind,
        /// The interface.
        dev: String,
    },
    /// An entry of a map is gone.
    EntryGone {
        /// The map.
        map: &'static str,
        /// The key.
        key: String,
    },
    /// An entry of a map is another one.
    EntryAltered {
        /// The map.
        map: &'static str,
        /// The key.
        key: String,
    },
    /// An entry of a map is nobody's.
    EntrySurplus {
        /// The map.
        map: &'static str,
        /// The key.
        key: String,
    },
    /// The interface was never made ready: its packets are dropped.
    NotReady(String),
    /// It is to have these addresses.
    Addresses(Vec<IpNet>),
    /// It is to have these prefixes.
    Prefixes(Vec<IpNet>),
    /// It is to have this interface inside.
    Dev(String),
    /// It is to have this interface outside.
    HostDev(String),
    /// It is to be on this wire.
    Wire(String),
    /// It is to have this next hop.
    Via(IpAddr),
    /// It is to be in this namespace.
    Home(String),
}

impl Drift {
    /// Its stable name.
    #[must_use]
    pub fn id(&self) -> &'static str {
        match self {
            Self::HalfMade => "half_made",
            Self::Forwarding => "forwarding_off",
            Self::ForwardPolicy { .. } => "forward_policy",
            Self::Programs => "programs_of_another_version",
            Self::Room { .. } => "room",
            Self::FastPath { .. } => "fast_path",
            Self::NamespaceGone(_) => "namespace_gone",
            Self::InterfaceGone(_) => "interface_gone",
            Self::InterfaceRenamed { .. } => "interface_renamed",
            Self::InterfaceRemade(_) => "interface_remade",
            Self::InterfaceDown(_) => "interface_down",
            Self::OtherMac(_) => "other_mac",
            Self::Mtu { .. } => "mtu_too_small",
            Self::Sysctl { .. } => "sysctl",
            Self::AddressGone(_) => "address_gone",
            Self::GatewayGone(_) => "gateway_gone",
            Self::NodeRouteGone(_) => "node_route_gone",
            Self::NodeRouteSource(_) => "node_route_source",
            Self::RouteGone(_) => "route_gone",
            Self::DefaultRouteGone(_) => "default_route_gone",
            Self::NeighbourGone(_) => "neighbour_gone",
            Self::OffTheWire(_) => "off_the_wire",
            Self::ReversePath { .. } => "reverse_path_filter",
            Self::ProgramMissing { .. } => "program_missing",
            Self::ProgramSurplus { .. } => "program_surplus",
            Self::EntryGone { .. } => "map_entry_gone",
            Self::EntryAltered { .. } => "map_entry_altered",
            Self::EntrySurplus { .. } => "map_entry_surplus",
            Self::NotReady(_) => "not_ready",
            Self::Addresses(_) => "addresses",
            Self::Prefixes(_) => "prefixes",
            Self::Dev(_) => "dev",
            Self::HostDev(_) => "host_dev",
            Self::Wire(_) => "wire",
            Self::Via(_) => "via",
            Self::Home(_) => "namespace",
        }
    }

    /// What mends it.
    #[must_use]
    pub fn cure(&self) -> &'static str {
        match self {
            Self::ReversePath { .. } => "`netpath up` or `netpath fastpath on` tells the programs",
            _ => "`netpath up` mends it",
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HalfMade => write!(f, "was left half-made"),
            Self::Forwarding => write!(f, "forwarding"),
            Self::ForwardPolicy { drop } => {
                write!(
                    f,
                    "FORWARD policy {}",
                    if *drop { "DROP" } else { "ACCEPT" }
                )
            }
            Self::Programs => write!(f, "programs of this version"),
            Self::Room { endpoints, routes } => write!(
                f,
                "room for {endpoints} endpoint addresses and {routes} prefixes"
            ),
            Self::FastPath { on } => write!(f, "{}", if *on { "on" } else { "off" }),
            Self::NamespaceGone(name) => write!(f, "namespace {name} is gone"),
            Self::InterfaceGone(dev) => write!(f, "interface {dev} is gone"),
            Self::InterfaceRenamed { dev, to } => write!(f, "interface {dev} was renamed to {to}"),
            Self::InterfaceRemade(dev) => write!(f, "interface {dev} was made anew"),
            Self::InterfaceDown(dev) => write!(f, "interface {dev} is down"),
            Self::OtherMac(dev) => write!(f, "interface {dev} has another MAC"),
            Self::Mtu { dev, mtu } => {
                write!(f, "the MTU of interface {dev} is {mtu}, too small for IPv6")
            }
            Self::Sysctl { key, found } => match found {
                Some(found) => write!(f, "sysctl net/{key} is {found}"),
                None => write!(f, "sysctl net/{key} is gone"),
            },
            Self::AddressGone(address) => write!(f, "address {address} is gone"),
            Self::GatewayGone(address) => write!(f, "the gateway {address} is gone"),
            Self::NodeRouteGone(dst) => {
                write!(f, "the node's route to {} is gone", Destination(*dst))
            }
            Self::NodeRouteSource(dst) => write!(
                f,
                "the node's route to {} prefers another source",
                Destination(*dst)
            ),
            Self::RouteGone(dst) => write!(f, "the kernel's route to {dst} is gone"),
            Self::DefaultRouteGone(via) => write!(f, "the default route via {via} is gone"),
            Self::NeighbourGone(address) => write!(f, "the neighbour entry of {address} is gone"),
            Self::OffTheWire(port) => write!(f, "its port {port} is not on the wire's bridge"),
            Self::ReversePath { found, recorded } => write!(
                f,
                "the kernel's rp_filter is {found}, and the fast path goes by {recorded}"
            ),
            Self::ProgramMissing { program, dev } => {
                write!(f, "program {} is not attached to {dev}", program.name())
            }
            Self::ProgramSurplus { program, dev } => write!(
                f,
                "program {} is attached to {dev}, where it is to be off",
                program.name()
            ),
            Self::EntryGone { map, key } => write!(f, "the entry of {key} in map {map} is gone"),
            Self::EntryAltered { map, key } => {
                write!(f, "the entry of {key} in map {map} was altered")
            }
            Self::EntrySurplus { map, key } => {
                write!(f, "the entry of {key} in map {map} is nobody's")
            }
            Self::NotReady(dev) => {
                write!(f, "interface {dev} is not ready: its packets are dropped")
            }
            Self::Addresses(addresses) => write!(f, "addresses {}", List(addresses)),
            Self::Prefixes(prefixes) if prefixes.is_empty() => write!(f, "no prefixes"),
            Self::Prefixes(prefixes) => write!(f, "prefixes {}", List(prefixes)),
            Self::Dev(dev) => write!(f, "interface {dev}"),
            Self::HostDev(dev) => write!(f, "host interface {dev}"),
            Self::Wire(wire) => write!(f, "wire {wire}"),
            Self::Via(via) => write!(f, "via {via}"),
            Self::Home(path) => write!(f, "namespace {path}"),
        }
    }
}

/// A destination as `ip route` writes it: without the length of a whole address.
struct Destination(IpNet);

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            write!(f, "{}", self.0.addr())
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// Items, separated by commas.
pub(super) struct List<'a, T>(pub &'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{item}")?;
        }
        Ok(())
    }
}

/// What forbids to make a node as it is wanted. Nothing was touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A name is taken by a namespace that no record proves netpath's.
    #[error(
        "network namespace {0} exists and is not netpath's: choose another name in the topology file, or remove it \
         with `ip netns del` if it is of no use"
    )]
    ForeignNamespace(String),
    /// A name is taken by an interface that no record proves netpath's.
    #[error(
        "interface {dev} exists{} and is not netpath's: set {key} in the topology file to another name",
        within(.netns)
    )]
    ForeignInterface {
        /// The interface.
        dev: String,
        /// In which namespace; `None` for the node's own.
        netns: Option<String>,
        /// The key of the topology file that names it.
        key: &'static str,
    },
    /// The machine is not set up for what is wanted of it.
    #[error("{problem}: {remedy}")]
    Unmet {
        /// What is missing or in the way.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// An address that is wanted on an uplink of the machine is not there.
    #[error(
        "uplink {dev} has no address {address}: add it, or correct the file (netpath configures no interface that it \
         did not make)"
    )]
    NoAddress {
        /// The uplink.
        dev: String,
        /// The address.
        address: IpNet,
    },
}

fn within(netns: &Option<String>) -> String {
    netns
        .as_ref()
        .map_or_else(String::new, |netns| format!(" in namespace {netns}"))
}
