//! The operations that steps are made of.

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::{
    Bypass, EndpointId, FastPathMode, FeatureBits, Ifindex, InterfaceKind, Mac, ProgramKind,
};

use super::{AddressPunts, InterfacePunts, RecordedEndpoint, RecordedRoute, RecordedUplink};
use crate::model::NodePlace;

/// A namespace that something is done in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The node's.
    Node,
    /// An endpoint's.
    Endpoint(String),
    /// A wire's.
    Wire(String),
}

/// A route to be made or removed, in the main table and with netpath's protocol number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRoute {
    /// Destination.
    pub dst: IpNet,
    /// Next hop; `None` on the link.
    pub via: Option<IpAddr>,
    /// Egress interface; `None` to let the kernel find it by the next hop.
    pub dev: Option<String>,
    /// The next hop is on the link whatever the addresses say.
    pub onlink: bool,
    /// Source address that the node itself uses.
    pub source: Option<IpAddr>,
    /// Whose place it takes.
    pub replaces: Replaces,
}

/// Which routes to a destination a new one takes the place of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaces {
    /// Anybody's: in a namespace that netpath made, whose routes are all netpath's to keep.
    Any,
    /// These, which records prove netpath's, and no others.
    These(Vec<OwnRoute>),
}

/// A route of the main table that a record proves netpath's, so exactly that it is taken for no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnRoute {
    /// Destination.
    pub dst: IpNet,
    /// Next hop; `None` on the link.
    pub via: Option<IpAddr>,
    /// Egress interface.
    pub ifindex: Option<Ifindex>,
    /// Source address that the node itself uses.
    pub source: Option<IpAddr>,
}

/// What the kernel makes of an address besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// The rest of its prefix is on the link.
    OnLink,
    /// Nothing.
    Alone,
    /// The rest of its prefix is on the link, and nothing is sent from it (of IPv4: scope host).
    NoSource,
}

/// An interface to be described in the maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewInterface {
    /// Its name.
    pub dev: String,
    /// What it leads to.
    pub kind: InterfaceKind,
    /// The endpoint behind it; 0 for an uplink.
    pub id: EndpointId,
    /// The endpoint's name; empty for an uplink.
    pub endpoint: String,
    /// The reverse-path filter that the programs go by.
    pub rp_filter: u32,
    /// What of its packets is the kernel's.
    pub punts: InterfacePunts,
    /// Whether what is decided of its packets is only counted.
    pub shadow: bool,
}

/// Whose a map entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The node itself, or for a prefix: other nodes.
    Node,
    /// Of a prefix, the node itself, which takes it in as a whole.
    Machine,
    /// An endpoint, behind this interface of the node.
    Endpoint {
        /// Its id.
        id: EndpointId,
        /// Its host-side veth.
        dev: String,
        /// MAC of the interface inside.
        endpoint_mac: Mac,
        /// MAC of the host-side veth.
        host_mac: Mac,
    },
}

/// One operation. Interfaces are named, because the index of one that is yet to be made is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Remove the pins of a node whose namespace is gone, or that was never finished.
    RemoveRemains,
    /// Make the node: its maps and programs, and in a lab its namespace.
    MakeNode {
        /// In a namespace that is made for it, or on this machine.
        place: NodePlace,
        /// What is wished of the fast path.
        fast_path: FastPathMode,
    },
    /// Pin this build's programs in the place of others, and swap them in wherever one is attached.
    ReplacePrograms,
    /// Give the maps the room that the topology says, while packets flow.
    Grow,
    /// Write what the settings should hold: with the room that the maps have, and nothing that netpath never writes.
    MendSettings,
    /// Wish the fast path on or off.
    WishFastPath(FastPathMode),
    /// Set the FORWARD policy of both families, and record that it was set to DROP or back.
    SetForwardPolicy {
        /// DROP, as opposed to ACCEPT.
        drop: bool,
    },
    /// Note that all settings of the node's namespace were made.
    NoteConfigured,
    /// Note what of the kernel's doing may be passed by.
    Accept(Bypass),
    /// Tell the programs what to look at.
    SetFeatures(FeatureBits),
    /// Note which endpoint id comes next.
    SetNextId(EndpointId),
    /// Write an endpoint's record.
    RecordEndpoint(String, Box<RecordedEndpoint>),
    /// Remove an endpoint's record.
    ForgetEndpoint(String),
    /// Write an uplink's record.
    RecordUplink(String, Box<RecordedUplink>),
    /// Remove an uplink's record.
    ForgetUplink(String),
    /// Write a route's record.
    RecordRoute(IpNet, RecordedRoute),
    /// Remove a route's record.
    ForgetRoute(IpNet),
    /// Make the namespace of an endpoint or a wire; its cookie goes into the record before anybody can see it.
    MakeNamespace {
        /// The endpoint or the wire.
        place: Place,
        /// Whose record: the endpoint's name or the uplink's device.
        record: String,
    },
    /// Note the cookie of a wire's namespace that is there already in an uplink's record.
    JoinWire {
        /// The uplink.
        dev: String,
        /// The wire.
        wire: String,
    },
    /// Take away a namespace, or the empty file that an interrupted creation left.
    RemoveNamespace(Place),
    /// Write a sysctl.
    SetSysctl {
        /// Where.
        place: Place,
        /// Its path below `/proc/sys/net`.
        key: String,
        /// Its value.
        value: String,
    },
    /// Make a veth pair: one end in the node, the other in an endpoint or a wire.
    AddVeth {
        /// The node's end.
        dev: String,
        /// Its MAC.
        mac: Mac,
        /// Where the other end is.
        place: Place,
        /// The other end.
        peer: String,
        /// Its MAC.
        peer_mac: Mac,
    },
    /// Make the bridge of a wire.
    AddBridge {
        /// The wire.
        place: Place,
        /// The bridge.
        dev: String,
    },
    /// Make an interface a port of a bridge.
    SetController {
        /// Where.
        place: Place,
        /// The port.
        dev: String,
        /// The bridge.
        bridge: String,
    },
    /// Remove an interface, if it is still the one with this MAC.
    DeleteLink {
        /// Where.
        place: Place,
        /// The interface.
        dev: String,
        /// Its MAC.
        mac: Mac,
    },
    /// Remove many of the node's veths in one go: each by its name, if it still is the one with its MAC.
    DeleteVeths(Vec<(String, Mac)>),
    /// Set an interface up.
    SetUp {
        /// Where.
        place: Place,
        /// The interface.
        dev: String,
    },
    /// Set an interface down. The kernel forgets its routes, its neighbours and its IPv6 addresses.
    SetDown {
        /// Where.
        place: Place,
        /// The interface.
        dev: String,
    },
    /// Give an interface that is down another name, if it is still the one with this MAC.
    Rename {
        /// Where.
        place: Place,
        /// The interface.
        dev: String,
        /// Its MAC.
        mac: Mac,
        /// Its new name.
        to: String,
    },
    /// Set an interface's MTU, in bytes.
    SetMtu {
        /// Where.
        place: Place,
        /// The interface.
        dev: String,
        /// In bytes.
        mtu: u32,
    },
    /// Give one of the node's interfaces the MAC back that somebody took from it. The kernel forgets its neighbours.
    SetMac {
        /// The interface.
        dev: String,
        /// Its MAC.
        mac: Mac,
    },
    /// Wait until an interface whose two ends are up can send.
    AwaitOperational {
        /// Where.
        place: Place,
        /// The interface.
        dev: String,
    },
    /// Give an interface an address.
    AddAddress {
        /// Where.
        place: Place,
        /// The interface.
        dev: String,
        /// The address.
        address: IpNet,
        /// What the kernel makes of it besides.
        kind: AddressKind,
    },
    /// Take an address from an interface.
    RemoveAddress {
        /// Where.
        place: Place,
        /// The interface.
        dev: String,
        /// The address.
        address: IpNet,
    },
    /// Make a neighbour known for good.
    AddNeighbour {
        /// Where.
        place: Place,
        /// The interface.
        dev: String,
        /// Its address.
        address: IpAddr,
        /// Its Ethernet address.
        mac: Mac,
        /// It is a router: the kernel forgets the path MTUs behind an IPv6 gateway that is none with each collection
        /// of its garbage, all 30 seconds (`rt6_age_examine_exception`).
        is_router: bool,
    },
    /// Forget a neighbour that was made known.
    RemoveNeighbour {
        /// Where.
        place: Place,
        /// The interface.
        dev: String,
        /// Its address.
        address: IpAddr,
    },
    /// Put a route into the main table.
    AddRoute(Place, NewRoute),
    /// Take a route of netpath's own out of the main table.
    RemoveRoute(Place, OwnRoute),
    /// Describe an interface in the maps. What they hold under its index of another is forgotten first. It is not ready
    /// yet if it was not before.
    Register(NewInterface),
    /// Forget an interface that is gone, and its counters.
    Unregister(Ifindex),
    /// Count an interface again that is there, and that somebody noted as gone.
    Unretire(Ifindex),
    /// Let an interface's packets pass: everything about it is complete.
    SetReady(String),
    /// Say which interface is an endpoint's host-side veth.
    SetDevice(EndpointId, String),
    /// Forget an endpoint's host-side veth.
    RemoveDevice(EndpointId),
    /// Write the entry of an address.
    SetEntry(IpAddr, Owner, AddressPunts),
    /// Remove the entry of an address.
    RemoveEntry(IpAddr),
    /// Write the entry of a prefix.
    SetPrefix(IpNet, Owner, AddressPunts),
    /// Remove the entry of a prefix.
    RemovePrefix(IpNet),
    /// Enter the connections that the kernel has translated, between ends that are routed, these among them that are yet to be
    /// entered.
    EnterConnections(Vec<IpNet>),
    /// Attach a program.
    Attach(ProgramKind, String),
    /// Detach a program, and remove its link's pin.
    Detach(ProgramKind, String),
    /// Take the programs off an uplink of the machine's, and the clsact qdisc that netpath made for them.
    RemoveClsact(String),
    /// Remove the node: in a lab its namespace, and its pins.
    RemoveNode,
}

impl Op {
    /// The namespace that it has to be done in; the node's where that does not matter.
    pub fn place(&self) -> &Place {
        match self {
            Self::SetSysctl { place, .. }
            | Self::AddBridge { place, .. }
            | Self::SetController { place, .. }
            | Self::DeleteLink { place, .. }
            | Self::SetUp { place, .. }
            | Self::SetDown { place, .. }
            | Self::Rename { place, .. }
            | Self::SetMtu { place, .. }
            | Self::AwaitOperational { place, .. }
            | Self::AddAddress { place, .. }
            | Self::RemoveAddress { place, .. }
            | Self::AddNeighbour { place, .. }
            | Self::RemoveNeighbour { place, .. }
            | Self::AddRoute(place, _)
            | Self::RemoveRoute(place, _) => place,
            _ => &Place::Node,
        }
    }
}
