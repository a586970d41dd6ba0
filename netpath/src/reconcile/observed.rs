//! What the kernel has of one node, taken once.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use netpath_common::{
    EndpointEntry, EndpointId, FeatureBits, Hook, Ifindex, InterfaceKind, Mac, ProgramKind,
    RouteEntry,
};

use super::{Census, OwnRoute, Recorded};

/// Sysctls below `/proc/sys/net` by their path there, such as `ipv4/ip_forward`. One that is not there has no entry.
pub type Sysctls = BTreeMap<String, String>;

/// What stands at a namespace's name or path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NamespaceState {
    /// Nothing.
    #[default]
    Absent,
    /// An empty file: an interrupted creation.
    EmptyFile,
    /// A namespace with this `SO_NETNS_COOKIE`.
    Present(u64),
    /// Something that is no namespace.
    NotANamespace,
}

/// What stands before the packets of an interface where a TC program sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// An Ethernet header.
    Ethernet,
    /// Nothing (`dev_is_mac_header_xmit` in linux/if_arp.h).
    Bare,
    /// A header that the programs do not know, of this `ARPHRD_*` of linux/if_arp.h.
    Unknown(u16),
}

impl Framing {
    const ETHER: u16 = 1;
    const LOOPBACK: u16 = 772;
    const IPGRE: u16 = 778;
    /// `ARPHRD_PPP`, `RAWIP`, `TUNNEL`, `TUNNEL6`, `SIT`, `IP6GRE`, `NONE` and `VOID`.
    const BARE: [u16; 8] = [512, 519, 768, 769, 776, 823, 0xfffe, 0xffff];

    /// That of an interface of this `ARPHRD_*`, which has one other end or may have several.
    #[must_use]
    pub fn of(hardware: u16, point_to_point: bool) -> Self {
        match hardware {
            Self::ETHER | Self::LOOPBACK => Self::Ethernet,
            // Of one without a fixed remote the outer header is left before the packets (`ipgre_header_ops`).
            Self::IPGRE if point_to_point => Self::Bare,
            hardware if Self::BARE.contains(&hardware) => Self::Bare,
            hardware => Self::Unknown(hardware),
        }
    }
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub ifindex: Ifindex,
    /// Its name.
    pub name: String,
    /// Its alternative names: of no two interfaces the same, and no other's name.
    pub altnames: Vec<String>,
    /// Its Ethernet address, if it has one of six bytes.
    pub mac: Option<Mac>,
    /// What stands before its packets.
    pub framing: Framing,
    /// One end of a veth pair.
    pub veth: bool,
    /// Administratively up.
    pub up: bool,
    /// Something is at its other end.
    pub carrier: bool,
    /// Its packets need a neighbour's Ethernet address, and the kernel asks for none and answers nobody (`IFF_NOARP`).
    pub no_arp: bool,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Index of the bridge it is a port of, or 0.
    pub controller: Ifindex,
    /// Of an endpoint's or a wire's: index of its other end, if that is in the node's namespace.
    pub other_end: Option<Ifindex>,
    /// A native XDP program sees what comes in.
    pub xdp: bool,
    /// Its addresses, in the kernel's order.
    pub addresses: Vec<IpNet>,
    /// Those of them from which nothing is sent: of scope host.
    pub no_sources: BTreeSet<IpNet>,
}

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination.
    pub dst: IpNet,
    /// Next hop, where there is exactly one.
    pub via: Option<IpAddr>,
    /// Egress interface of the only next hop.
    pub ifindex: Option<Ifindex>,
    /// All ways on: several for multipath, none where it sends packets nowhere or the kernel does not tell them.
    pub hops: Vec<Hop>,
    /// It sends packets nowhere.
    pub refuses: bool,
    /// Among routes to one destination the lowest wins.
    pub metric: u32,
    /// The source address that it prefers.
    pub source: Option<IpAddr>,
    /// It is for all packets to its destination, whatever their type of service and their source.
    pub for_all: bool,
    /// Whether a record proves it netpath's. Its protocol number alone proves nothing: anybody may use it, and another node
    /// does.
    pub ours: bool,
    /// Whether it looks as if netpath had made it: where netpath puts its own, with its protocol number.
    pub like_ours: bool,
    /// Whether it was made by the kernel itself, for an address.
    pub kernel: bool,
    /// The route in words: `10.0.3.0/24 via 10.0.0.1`, `10.0.3.0/24 on the link`, `blackhole 10.0.3.0/24`.
    pub told: String,
    /// The route as `ip route del` takes it.
    pub text: String,
}

impl Route {
    /// One of netpath's, so exactly that it is taken for no other.
    pub fn own(&self) -> Option<OwnRoute> {
        self.ours.then_some(OwnRoute {
            dst: self.dst,
            via: self.via,
            ifindex: self.ifindex,
            source: self.source,
        })
    }
}

/// One way on from a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The router; `None` on the link.
    pub via: Option<IpAddr>,
    /// The interface.
    pub ifindex: Option<Ifindex>,
}

/// A neighbour entry that is permanent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// On this interface.
    pub ifindex: Ifindex,
    /// Its address.
    pub address: IpAddr,
    /// Its Ethernet address.
    pub mac: Mac,
    /// It is a router.
    pub is_router: bool,
}

/// A network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// What is there; all else is empty unless it is a namespace that could be entered.
    pub state: NamespaceState,
    /// Its interfaces.
    pub links: Vec<Link>,
    /// The routes of its main table.
    pub routes: Vec<Route>,
    /// Its permanent neighbours.
    pub neighbours: Vec<Neighbour>,
    /// Neighbours whose Ethernet address is known, by interface and address, where the kernel asks for none.
    pub known: BTreeSet<(Ifindex, IpAddr)>,
    /// Neighbours that were asked for and have not answered, by interface and address.
    pub silent: BTreeSet<(Ifindex, IpAddr)>,
    /// Those sysctls that netpath sets or goes by.
    pub sysctls: Sysctls,
}

impl Namespace {
    /// The interface of this name, or alternative name.
    pub fn link(&self, name: &str) -> Option<&Link> {
        let is_it = |link: &&Link| link.name == name || link.altnames.iter().any(|it| it == name);
        self.links.iter().find(is_it)
    }

    /// The kernel's own name for an interface that may be called by an alternative one: sysctls go by it.
    pub fn kernel_name<'n>(&'n self, name: &'n str) -> &'n str {
        self.link(name).map_or(name, |link| link.name.as_str())
    }

    /// Netpath's own routes to a destination.
    pub fn own_routes(&self, dst: IpNet) -> Vec<OwnRoute> {
        let to = self.routes.iter().filter(|route| route.dst == dst);
        to.filter_map(Route::own).collect()
    }

    /// The end of a veth pair with this Ethernet address. A bridge has the address of one of its ports, too.
    pub fn link_with(&self, mac: Mac) -> Option<&Link> {
        self.links
            .iter()
            .find(|link| link.veth && link.mac == Some(mac))
    }

    /// The name of the interface with this index.
    pub fn name_of(&self, ifindex: Ifindex) -> Option<&str> {
        let link = self.links.iter().find(|link| link.ifindex == ifindex);
        link.map(|link| link.name.as_str())
    }

    /// The route of the main table that packets to this destination take, of those to exactly this one and for all packets.
    pub fn route_to(&self, dst: &IpNet) -> Option<&Route> {
        let mut routes: Vec<&Route> = self.routes.iter().collect();
        routes.retain(|route| route.dst == *dst && route.for_all);
        routes.into_iter().min_by_key(|route| route.metric)
    }
}

/// Numbers of the reasons ([`PuntReason`](netpath_common::PuntReason)) for which packets of an interface are the kernel's; 0
/// for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfacePunts {
    /// What comes in by it.
    pub ingress: u16,
    /// What would leave by it.
    pub egress: u16,
}

/// Numbers of the reasons for which packets of an address or a prefix are the kernel's; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressPunts {
    /// Whatever is for it.
    pub to: u16,
    /// Packets between it and another that has a reason.
    pub between: u16,
}

/// What the node's maps say of an interface that programs are attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// What it leads to; `None` for a number that this version does not know.
    pub kind: Option<InterfaceKind>,
    /// Whether its packets pass, and the programs know all of it.
    pub ready: bool,
    /// Whether what is decided of its packets is only counted.
    pub shadow: bool,
    /// The endpoint behind it; 0 for an uplink.
    pub id: EndpointId,
    /// The reverse-path filter that the programs go by.
    pub rp_filter: u32,
    /// What of its packets is the kernel's.
    pub punts: InterfacePunts,
    /// Its name.
    pub dev: String,
    /// The endpoint's name; empty for an uplink.
    pub endpoint: String,
}

/// Entries of the maps that the programs read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maps {
    /// Local addresses.
    pub endpoints: BTreeMap<IpAddr, EndpointEntry>,
    /// Prefixes.
    pub routes: BTreeMap<IpNet, RouteEntry>,
    /// Host-side veths, by endpoint.
    pub devices: BTreeMap<EndpointId, Ifindex>,
    /// Interfaces with programs.
    pub interfaces: BTreeMap<Ifindex, Interface>,
    /// Interfaces whose gate is not shut, and that the programs know nothing else of.
    pub strange_gates: BTreeSet<Ifindex>,
    /// Interfaces whose counters are left out, for they are gone.
    pub retired: BTreeSet<Ifindex>,
    /// What the programs look at.
    pub features: FeatureBits,
}

/// Another node's, or another uplink's, claim on a wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireClaim {
    /// A record says that netpath made the wire's namespace, with this cookie.
    Recorded {
        /// The wire.
        wire: String,
        /// Its namespace's cookie.
        cookie: u64,
    },
    /// This node cannot be read: it may claim any wire.
    Unknown(String),
}

/// Whose a namespace is that stands at a wanted name and is not this node's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamespaceOwner {
    /// An endpoint of this node.
    EndpointOf(String),
    /// This node itself.
    Node(String),
    /// Perhaps this node, which cannot be read.
    Perhaps(String),
}

/// What else is in the clsact qdisc of an uplink, beside this node's filters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clsact {
    /// Somebody else's filters.
    pub has_others: bool,
    /// The side where one of them stands in the place of this node's.
    pub taken: Option<Hook>,
}

/// What a namespace takes in for an address that it has on an interface that is up: the address, and the broadcast address of
/// its subnet (`fib_add_ifaddr`).
pub fn taken_by(net: &IpNet) -> impl Iterator<Item = IpAddr> + use<> {
    [Some(net.addr()), broadcast(net)].into_iter().flatten()
}

/// The broadcast address of an address's subnet, if that has one.
pub fn broadcast(net: &IpNet) -> Option<IpAddr> {
    match net {
        IpNet::V4(v4) if v4.prefix_len() < 31 => Some(v4.broadcast().into()),
        IpNet::V4(_) | IpNet::V6(_) => None,
    }
}

/// What the kernel has of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Its own namespace.
    pub node: Namespace,
    /// The name of the namespace that it is in, where that is not the one that was looked at.
    pub elsewhere: Option<String>,
    /// Those of its endpoints, recorded or wanted, by name.
    pub endpoints: BTreeMap<String, Namespace>,
    /// Those of its wires, recorded or wanted, by the wire's name.
    pub wires: BTreeMap<String, Namespace>,
    /// What the machine takes for itself: routes of table local, on a node that is the machine's.
    pub local: Vec<Route>,
    /// The addresses that its namespace takes for its own, whatever interface they are on, and the broadcast addresses of its
    /// subnets: of those that are forwarded at all.
    pub own: BTreeSet<IpAddr>,
    /// The prefixes that it takes for its own as a whole (`ip route add local`).
    pub own_prefixes: BTreeSet<IpNet>,
    /// What other nodes claim.
    pub claims: Vec<WireClaim>,
    /// Which other node has a record that proves the namespace at a wanted name its own.
    pub owners: BTreeMap<String, NamespaceOwner>,
    /// Cookies of the machine's own namespace and of that of whoever runs netpath: they are no endpoint's to have.
    pub machines: BTreeSet<u64>,
    /// What other nodes in the same network namespace record, as far as they can be read.
    pub others: BTreeMap<String, Recorded>,
    /// Another node that cannot be read, if there is one: it may be in this namespace.
    pub unreadable: Option<String>,
    /// The kernel has no IPv6 (`ipv6.disable=1`).
    pub ipv6_absent: bool,
    /// The interfaces by which a machine has its IPv6 default route from router advertisements, and would lose it when one
    /// is made to forward.
    pub advertised: Vec<String>,
    /// What goes before a command to run it in the node's namespace; empty where netpath itself is run there.
    pub entry: String,
    /// Whether the FORWARD policy is DROP, of IPv4 and of IPv6; `None` where it was not asked: ACCEPT.
    pub forward_drop: Option<[bool; 2]>,
    /// Which of netpath's programs run, and where in the node's namespace.
    pub attached: BTreeSet<(Ifindex, ProgramKind)>,
    /// Those of them that no pinned link of netpath's holds there: they may end at any moment.
    pub loose: BTreeSet<(Ifindex, ProgramKind)>,
    /// The pinned links, by program and device. Always empty where programs are clsact filters.
    pub link_pins: BTreeSet<(ProgramKind, String)>,
    /// Whether programs are attached by pinned links.
    pub pins_links: bool,
    /// The clsact qdiscs of its uplinks, by device, where programs are filters in them.
    pub clsact: BTreeMap<String, Clsact>,
    /// Whether the pinned programs are those of this build.
    pub programs_current: bool,
    /// How many addresses of each family its maps have room for; 0 where it has no maps.
    pub address_room: u32,
    /// How many prefixes of each family its maps have room for; 0 where it has no maps.
    pub route_room: u32,
    /// Whether its maps have the room that the topology says.
    pub has_room: bool,
    /// Whether its settings hold what netpath writes there, with the room that its maps have.
    pub settings_sound: bool,
    /// Records that say what they should and hold besides what netpath never writes there: the map, and the key.
    pub overwritten: BTreeSet<(&'static str, String)>,
    /// What else acts on its packets.
    pub census: Census,
    /// The entries of its maps.
    pub maps: Maps,
}
