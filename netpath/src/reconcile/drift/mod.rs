//! What is not as it is wanted.

mod problem;

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use netpath_common::{FastPathMode, ProgramKind};

use super::Way;
use crate::{
    finding::{Finding, kinds},
    model::Capacity,
};

/// `netpath up` does.
const MENDS: &str = "`netpath up` mends it";
/// A next hop is somebody else's.
const NEXT_HOP: &str =
    "see whether the next hop is up and on that link, with `ip neigh` and `ping`";
/// What an interface is plugged into.
const CARRIER: &str = "see what is at its other end, with `ip link show` and `ethtool`";
/// Rules that decide what is forwarded.
const FORWARD: &str = "accept these packets in that chain (netpath changes no rule of the machine's), or give them to the \
    fast path: with `netpath fastpath on`, or with `bypass` for what keeps them from it";
/// A switch tells the programs too.
const TELLS: &str = "`netpath up` or `netpath fastpath on` tells the programs";

kinds! {
    /// One difference between what is wanted and what is there. [`Display`](fmt::Display) says which.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    pub enum Drift {
        /// It was being made or removed when that was interrupted.
        HalfMade = "half_made", MENDS;
        /// A lab node does not forward.
        Forwarding = "forwarding_off", MENDS;
        /// The FORWARD policy is to be another: DROP, or ACCEPT.
        ForwardPolicy {
            /// DROP is wanted.
            drop: bool,
        } = "forward_policy", MENDS;
        /// The pinned programs are not those of this version.
        Programs = "programs_of_another_version", MENDS;
        /// The maps have less room than the topology says.
        Room(Capacity) = "room", MENDS;
        /// The fast path is to be switched.
        FastPath {
            /// What is wanted.
            mode: FastPathMode,
        } = "fast_path", MENDS;
        /// A network namespace is gone.
        NamespaceGone(String) = "namespace_gone", MENDS;
        /// A network namespace that was given to an endpoint is no longer at that path: it is gone, or has another one.
        GivenGone(String) = "given_namespace_gone", "remove the endpoint with `netpath endpoint remove`, if whoever gave the \
            namespace does not, or, where it lives on, give its new path with `netpath endpoint add`";
        /// An interface is gone.
        InterfaceGone(String) = "interface_gone", MENDS;
        /// An interface has been renamed.
        InterfaceRenamed {
            /// What it was.
            dev: String,
            /// What it is.
            to: String,
        } = "interface_renamed", MENDS;
        /// The machine's interface of that name is another one now.
        InterfaceRemade(String) = "interface_remade", MENDS;
        /// An interface is down.
        InterfaceDown(String) = "interface_down", MENDS;
        /// An interface has another MAC than its record says.
        OtherMac(String) = "other_mac", "`netpath up` mends it, or says what does";
        /// An interface's MTU is below what IPv6 needs, in bytes.
        MtuTooSmall {
            /// The interface.
            dev: String,
            /// Its MTU.
            mtu: u32,
        } = "mtu_too_small", MENDS;
        /// An endpoint's interfaces have another MTU than they are to have, in bytes: the file's, or the least of the node's
        /// uplinks.
        MtuOther {
            /// The interface outside.
            dev: String,
            /// Its MTU.
            mtu: u32,
            /// What it is to be.
            wanted: u32,
        } = "mtu_other", MENDS;
        /// The two ends of a veth pair have different MTUs: what is longer than the smaller one is lost without a word.
        MtuDiffers {
            /// The end with the larger one, and that in bytes.
            larger: (String, u32),
            /// The end with the smaller one, and that in bytes.
            smaller: (String, u32),
        } = "mtu_differs", MENDS;
        /// A sysctl is not as it was set.
        Sysctl {
            /// Its path below `/proc/sys/net`.
            key: String,
            /// What it is; `None` where it is not there.
            found: Option<String>,
        } = "sysctl", MENDS;
        /// An address is gone from its interface.
        AddressGone(IpNet) = "address_gone", MENDS;
        /// The gateway's address on the host-side veth is gone.
        GatewayGone(IpAddr) = "gateway_gone", MENDS;
        /// The node's own packets come from the gateway's address on the host-side veth, or cannot though it has no other.
        GatewayScope {
            /// The gateway.
            gateway: IpAddr,
            /// They do.
            is_source: bool,
        } = "gateway_scope", MENDS;
        /// The node's route to an endpoint's address or prefix is gone.
        NodeRouteGone(IpNet) = "node_route_gone", MENDS;
        /// The node's route to an endpoint prefers a source address: the kernel takes an IPv4 route away with that address.
        NodeRouteSource(IpNet) = "node_route_source", MENDS;
        /// The kernel's route to another node's prefix is gone.
        RouteGone(IpNet) = "route_gone", MENDS;
        /// The kernel's route to another node's prefix leads elsewhere than it was made to.
        RouteElsewhere {
            /// The prefix.
            dst: IpNet,
            /// Where it leads, in words.
            told: String,
        } = "route_elsewhere", MENDS;
        /// The kernel's routes, rules included, send packets to another node's prefix or to an endpoint nowhere.
        RouteRefuses {
            /// The prefix, or the address.
            dst: IpNet,
            /// The route, in words.
            told: String,
        } = "route_refuses", "remove that route or rule, or have whoever made the route give it a next hop";
        /// The kernel's routes, rules included, lead packets elsewhere than the file says: some of another node's prefix, some
        /// types of service, some senders, or what is for an endpoint.
        LedElsewhere(Box<Way>) = "led_elsewhere", "remove the rule or the route, or write its next hop into the topology \
            file";
        /// The next hop of routes did not answer when it was asked last: what is sent to it is lost until it does.
        NextHopSilent {
            /// The next hop.
            via: IpAddr,
            /// The interface.
            dev: String,
            /// How many routes to other nodes lead there.
            routes: usize,
        } = "next_hop_silent", NEXT_HOP;
        /// An uplink of the machine has no carrier: nothing is at its other end, or that is down, and what is sent by it is
        /// lost.
        NoCarrier(String) = "no_carrier", CARRIER;
        /// An uplink with Ethernet headers has ARP off: the kernel asks nobody by it, neither by ARP nor by neighbour discovery,
        /// sends to its own Ethernet address, and answers nobody who asks for this node.
        NoArp(String) = "arp_off", "set it on with `ip link set dev DEV arp on`, or give each of its next hops an Ethernet address \
            with `ip neigh replace`";
        /// Another node that packets are sent to has no route back to where they come from.
        NoWayBack {
            /// The next hop.
            via: IpAddr,
            /// The node that has this address.
            other: String,
            /// An endpoint's address.
            address: IpAddr,
        } = "no_way_back", "give the other node a `[[node.route]]` to that address's prefix, or have whoever makes its routes make \
            one";
        /// What is left to the kernel is dropped by filter FORWARD.
        ForwardDrops {
            /// From here.
            source: IpNet,
            /// To there.
            destination: IpNet,
            /// The chain that drops it.
            chain: String,
        } = "forward_drops", FORWARD;
        /// What is left to the kernel may be dropped by filter FORWARD: unless rules accept it that are not understood, or if
        /// other nodes send to one another through this one.
        ForwardMayDrop {
            /// From another node to another one.
            through: bool,
            /// From here.
            source: IpNet,
            /// To there.
            destination: IpNet,
            /// The chain that drops it.
            chain: String,
        } = "forward_may_drop", FORWARD;
        /// The default route inside an endpoint, via its gateway, is gone.
        DefaultRouteGone(IpAddr) = "default_route_gone", MENDS;
        /// A permanent neighbour entry is gone, or is not as netpath made it.
        NeighbourGone(IpAddr) = "neighbour_gone", MENDS;
        /// The bridge of a wire is gone, or the uplink's port is not on it.
        OffTheWire(String) = "off_the_wire", MENDS;
        /// The kernel's reverse-path filter is not what the programs go by.
        ReversePath {
            /// The kernel's.
            found: u32,
            /// The programs'.
            recorded: u32,
        } = "reverse_path_filter", TELLS;
        /// Something of the kernel's acts on packets, and the programs pass it by; or it is gone, and they still leave
        /// the packets to it.
        Punts {
            /// The interface, address or prefix.
            of: String,
            /// What there is now, by the name of the reason; `None` for nothing.
            found: Option<&'static str>,
            /// What the programs go by.
            recorded: Option<&'static str>,
        } = "bypassed", TELLS;
        /// An address is the node's own, and the programs do not know it: they let packets from outside come from it.
        OwnAddress(IpAddr) = "own_address_unknown", TELLS;
        /// An address or a prefix is an endpoint's of another node in the same network namespace, and the programs do not know
        /// it: they let packets from outside come from it.
        HeldAddress {
            /// The address, or the prefix.
            net: IpNet,
            /// The other node.
            node: String,
        } = "other_nodes_address_unknown", TELLS;
        /// The programs take an address for the node's own that it no longer has: they refuse packets from it.
        OwnAddressGone(IpAddr) = "own_address_gone", TELLS;
        /// The node takes a prefix for its own as a whole, and the programs do not know it: they let packets from outside come
        /// from it.
        OwnPrefix(IpNet) = "own_prefix_unknown", TELLS;
        /// The programs take a prefix for the node's own that it does not take in any more: they refuse packets from it.
        OwnPrefixGone(IpNet) = "own_prefix_gone", TELLS;
        /// The node is to pass these by.
        Bypass(Vec<&'static str>) = "bypass", MENDS;
        /// A program does not run on an interface where it belongs.
        ProgramMissing {
            /// The program.
            program: ProgramKind,
            /// The interface.
            dev: String,
        } = "program_missing", MENDS;
        /// A program runs where it is not to.
        ProgramSurplus {
            /// The program.
            program: ProgramKind,
            /// The interface.
            dev: String,
        } = "program_surplus", MENDS;
        /// A program runs, and the pin of the link that holds it there is gone, or leads elsewhere: it may end at any moment.
        LinkUnpinned {
            /// The program.
            program: ProgramKind,
            /// The interface.
            dev: String,
        } = "link_unpinned", MENDS;
        /// A filter of the node's runs on an interface, beside the program that a link holds there: `NETPATH_ATTACH` was changed
        /// meanwhile. Neither `fastpath off` nor `down` takes it off by links.
        FilterBeside(String) = "filter_beside", "run `NETPATH_ATTACH=clsact netpath fastpath off`, which takes it off, and then \
            `netpath fastpath on`";
        /// A link is pinned that belongs to nothing that netpath made.
        LinkSurplus {
            /// The program.
            program: ProgramKind,
            /// The interface that its pin names.
            dev: String,
        } = "link_surplus", MENDS;
        /// An entry of a map is gone.
        EntryGone {
            /// The map.
            map: &'static str,
            /// The key.
            key: String,
        } = "map_entry_gone", MENDS;
        /// An entry of a map is another one.
        EntryAltered {
            /// The map.
            map: &'static str,
            /// The key.
            key: String,
        } = "map_entry_altered", MENDS;
        /// A map has an entry that belongs to nothing that netpath made.
        EntrySurplus {
            /// The map.
            map: &'static str,
            /// The key.
            key: String,
        } = "map_entry_surplus", MENDS;
        /// An interface takes packets where it is to be in shadow mode, or the other way round.
        ShadowMode {
            /// The interface.
            dev: String,
            /// It is to be in shadow mode.
            wanted: bool,
        } = "shadow_mode", MENDS;
        /// The interface was never made ready: its packets are dropped.
        NotReady(String) = "not_ready", MENDS;
        /// The object is to have these addresses.
        Addresses(Vec<IpNet>) = "addresses", MENDS;
        /// The endpoint is to have these prefixes.
        Prefixes(Vec<IpNet>) = "prefixes", MENDS;
        /// The endpoint is to have this MTU, in bytes; none of its own where it is to be the least of the node's uplinks.
        Mtu(Option<u32>) = "mtu", MENDS;
        /// The endpoint is to have this interface inside.
        Dev(String) = "dev", MENDS;
        /// The endpoint is to have this interface outside.
        HostDev(String) = "host_dev", MENDS;
        /// The uplink is to be on this wire.
        Wire(String) = "wire", MENDS;
        /// The route is to have this next hop.
        Via(IpAddr) = "via", MENDS;
        /// The endpoint is to be in this namespace.
        Home(String) = "namespace", MENDS;
    }
}

impl Drift {
    /// As a finding about an object, which [`Object::told`](super::Object::told) names.
    #[must_use]
    pub fn finding(&self, object: String) -> Finding {
        self.kind().found(object, self.to_string(), self.cure())
    }

    /// Whether a kind of it is mended by the steps of `netpath up`, with a file or without.
    #[must_use]
    pub fn is_mended_by_steps(id: &str) -> bool {
        let mut kinds = Self::KINDS.iter();
        kinds.any(|kind| kind.id == id && [MENDS, TELLS].contains(&kind.cure))
    }

    /// Whether `netpath up` mends it, of what is its file's.
    #[must_use]
    pub fn is_mended_by_up(&self) -> bool {
        self.kind().cure == MENDS
    }

    /// What mends it.
    fn cure(&self) -> String {
        match self {
            Self::NextHopSilent { via, dev, .. } => format!(
                "see whether {via} is up and on that link: `ip neigh show {via} dev {dev}`, `ping {via}`"
            ),
            Self::NoArp(dev) => self.kind().cure.replace("DEV", dev),
            Self::LedElsewhere(way) => format!(
                "see what leads there with `{}`, and remove it, or write its next hop into the topology file",
                RouteGet(way)
            ),
            _ => self.kind().cure.to_owned(),
        }
    }
}

/// The command that asks the kernel for a way.
struct RouteGet<'a>(&'a Way);

impl fmt::Display for RouteGet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Way {
            destination,
            source,
            dev,
            tos,
            ..
        } = self.0;
        write!(f, "ip route get {destination} from {source} iif {dev}")?;
        match tos {
            0 => Ok(()),
            tos => write!(f, " tos {tos:#x}"),
        }
    }
}
