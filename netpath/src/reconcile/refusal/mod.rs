//! What forbids to make a node as it is wanted.

mod cure;
mod problem;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::{Hook, Mac, Origin};

use crate::finding::{Finding, kinds};

kinds! {
    /// What forbids to make an object as it is wanted. What it is about is told with it ([`Refused`]).
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Refusal {
        /// A name is taken by a network namespace that no record proves netpath's.
        ForeignNamespace(String) = "foreign_namespace", "choose another name in the topology file, or remove it with \
            `ip netns del` if it is of no use";
        /// A name is taken by the network namespace of an endpoint that is up on another node.
        OnAnotherNode {
            /// The namespace.
            name: String,
            /// That node.
            node: String,
        } = "on_another_node", "first bring up a file that has it on neither node";
        /// A name is taken by the network namespace that another node is in.
        NodesNamespace {
            /// The namespace.
            name: String,
            /// That node.
            node: String,
        } = "namespace_of_another_node", "choose another name in the topology file";
        /// A network namespace, an interface or a route is in the way that may be another node's, which cannot be read.
        PerhapsOnAnotherNode {
            /// What it is, in words.
            what: String,
            /// That node.
            node: String,
        } = "perhaps_on_another_node", "put that node right first (`netpath show` says what is wrong with it), or take \
            another here";
        /// Under the name of a node's or an endpoint's network namespace is another one than netpath made: somebody has
        /// removed that, and made one anew.
        NamespaceReplaced(String) = "namespace_replaced", "remove the new one with `ip netns del`, and `netpath up` makes \
            netpath's anew";
        /// A name is taken by an empty file: what is left of a namespace that was made where nobody saw it, or never
        /// finished.
        EmptyFile(String) = "empty_namespace_file", "remove the file with `rm`, which fails if somebody is at work there";
        /// An address, a prefix, a route or an interface is one of another node's in the same network namespace.
        OfAnotherNode {
            /// What it is, in words.
            what: String,
            /// That node.
            node: String,
        } = "of_another_node", "give it to one of the two nodes: the other one lets go of it when it is removed, or when a file is \
            up that has it there no more";
        /// What was most likely made for an endpoint is there, and its record is gone, or says otherwise: nothing proves it
        /// netpath's any more.
        Unproven {
            /// Its namespace.
            name: String,
            /// Its host-side veth.
            dev: String,
        } = "record_lost", "remove the node with `netpath down NODE`, which says what it leaves, and make it anew";
        /// A name is taken by an interface that no record proves netpath's.
        ForeignInterface {
            /// The interface.
            dev: String,
            /// In which namespace; `None` for the node's own.
            netns: Option<String>,
            /// The key of the topology file that names it.
            key: &'static str,
        } = "foreign_interface", "set dev or host_dev to another name";
        /// A name is taken by a veth that was most likely made for an endpoint by a netpath whose records are gone.
        LeftInterface(String) = "left_interface", "remove it with `ip link del` if nothing uses it, or set host_dev in the \
            topology file to another name";
        /// An interface of that name was made by somebody while netpath was at work.
        MadeMeanwhile(String) = "interface_made_meanwhile", "run it again";
        /// An interface has another MAC than netpath gave it, which proves it to be netpath's no more.
        OtherMac {
            /// The interface.
            dev: String,
            /// What netpath gave it.
            mac: Mac,
        } = "host_mac_changed", "set it back, or remove the node with `netpath down NODE` first";
        /// The node is up as a lab node and wanted on the machine, or the other way round.
        OtherPlace = "other_place", "remove it with `netpath down NODE` first";
        /// The node is up in another network namespace than the one netpath runs in.
        OtherNamespace {
            /// That one's name, where it has one.
            name: Option<String>,
        } = "other_namespace", "run netpath there";
        /// The network namespace that the node was made in as the machine itself is gone, and with it all that was in it.
        NamespaceDead = "namespace_dead", "remove what is left of the node with `netpath down NODE`";
        /// The network namespace that an endpoint is to have does not exist.
        NoNamespace(String) = "namespace_missing", "give the path of one, such as /run/netns/NAME";
        /// The network namespace that an endpoint is to have is somebody else's: the machine's, a node's, an endpoint's.
        NamespaceTaken {
            /// Its path.
            path: String,
            /// Whose it is, in words.
            whose: String,
        } = "namespace_taken", "give a container's, or leave it out to have one made";
        /// The network namespace that an endpoint is to have has a default route already.
        DefaultRouteThere {
            /// Its path.
            path: String,
            /// The route, for people.
            told: String,
        } = "default_route_there", "remove that route first if nothing uses it, or give another namespace";
        /// An endpoint or an interface of that name is there already.
        NameTaken {
            /// What it is, in words.
            what: String,
            /// Whose it is, in words.
            by: String,
            /// What to do instead.
            cure: Box<str>,
        } = "name_taken", "choose another name, or remove the other one first";
        /// An address or a prefix is another endpoint's of the node, or is led elsewhere there.
        AddressTaken {
            /// The address or prefix.
            net: IpNet,
            /// What it overlaps, in words.
            by: String,
        } = "address_taken", "give the endpoint addresses and prefixes that nothing else has there";
        /// The endpoint is there for somebody else than asks to remove it.
        OtherOrigin(Origin) = "other_origin", "have it removed by whoever it is for";
        /// The node was begun and not finished, so that nothing can be added to it.
        NodeHalfMade = "node_half_made", "finish it with `netpath up` first";
        /// The machine has no interface of an uplink's name.
        NoUplink(String) = "uplink_missing", "name one that `ip link` lists";
        /// Two nodes in one network namespace are to have one uplink, and without TCX there is one place for their filters.
        SharedUplink {
            /// The uplink.
            dev: String,
            /// The node that has it.
            node: String,
        } = "shared_uplink", "give the uplink to one of the two nodes, or use Linux 6.6 or newer, where several may share it";
        /// Somebody's filter stands in the place of netpath's on an uplink, without TCX.
        FilterInPlace {
            /// The uplink.
            dev: String,
            /// On which side.
            hook: Hook,
        } = "filter_in_place", "remove it with `tc filter del` if nobody needs it, or give it another \
            preference";
        /// Somebody has renamed the machine's interface that was an uplink.
        UplinkRenamed {
            /// What it was called.
            dev: String,
            /// What it is called.
            to: String,
        } = "uplink_renamed", "write its new name into the topology file, or give it the old one as an alternative name with \
            `ip link property add`";
        /// Two uplinks of the file are one interface, under its name and an alternative one.
        SameInterface {
            /// The uplink.
            dev: String,
            /// The other.
            other: String,
        } = "same_interface", "name each interface once";
        /// An uplink's packets have a header of the link's that the programs do not know.
        UnknownFraming {
            /// The uplink.
            dev: String,
            /// Its `ARPHRD_*` of linux/if_arp.h.
            hardware: u16,
        } = "unknown_framing", "name an uplink with Ethernet headers, or with none (tun, WireGuard, ppp, ipip, sit; gre with a \
            fixed remote)";
        /// An uplink of the machine is down.
        UplinkDown(String) = "uplink_down", "set it up with `ip link set` (netpath configures no interface that it did \
            not make)";
        /// An address that is wanted on an uplink of the machine is not there.
        NoAddress {
            /// The uplink.
            dev: String,
            /// The address.
            address: IpNet,
        } = "uplink_address_missing", "add it, or correct the file (netpath configures no interface that it did not \
            make)";
        /// A sysctl that makes the machine forward is off.
        NotForwarding {
            /// Its path below `/proc/sys/net`.
            key: String,
            /// What it is; `None` where it is not there.
            found: Option<String>,
            /// Interfaces by which the machine would lose a default route if it were on ([`Refusal::Advertised`]).
            advertised: Box<[String]>,
        } = "machine_not_forwarding", "set it with `sysctl -w` (netpath changes no setting of the machine's)";
        /// The machine has its IPv6 default route by router advertisements on these interfaces, and the kernel would take it
        /// away when an endpoint's interface is made to forward.
        Advertised(Vec<String>) = "default_route_advertised", "set accept_ra of the interface to 2 with `sysctl -w` \
            (netpath changes no setting of the machine's)";
        /// An endpoint's address, or one in a prefix of an endpoint, is the machine's own.
        OwnAddress {
            /// The endpoint's address or prefix.
            net: IpNet,
            /// The machine's.
            address: IpAddr,
            /// Where it is.
            dev: String,
        } = "address_of_the_machine", "give the endpoint addresses and prefixes that are wholly its own";
        /// An endpoint's address or prefix lies in the subnet of an interface of the machine's that is no uplink: who is there
        /// asks for it on the link and is not answered, and what the machine sends to whoever has it there comes to the endpoint.
        InSubnet {
            /// The endpoint's address or prefix.
            net: IpNet,
            /// The subnet.
            subnet: IpNet,
            /// The interface.
            dev: String,
        } = "inside_a_subnet", "give the endpoint addresses and prefixes outside of that subnet, or name the interface as an \
            uplink without addresses, if the machine answers there for endpoints (proxy_arp)";
        /// The machine routes an endpoint's address, or some of its prefix, elsewhere.
        RoutedElsewhere {
            /// The endpoint's address or prefix.
            net: IpNet,
            /// The machine's route, for people.
            told: String,
            /// As `ip route del` takes it; `None` of one that the kernel made for an address.
            text: Option<Box<str>>,
        } = "routed_elsewhere", "give the endpoint others, or remove the route with `ip route del`";
        /// The machine has another route to a destination already.
        ForeignRoute {
            /// The machine's route, for people.
            told: String,
            /// As `ip route del` takes it.
            text: String,
            /// It has one next hop, which a file can name.
            by_one: bool,
        } = "foreign_route", "write that next hop into the topology file, or leave via out of the file's route, so that the kernel's own \
            routes say where it leads, or remove it with `ip route del`";
        /// The addresses of the endpoints, the uplinks and all of the node's other interfaces do not fit into a map.
        TooManyAddresses {
            /// Of which family.
            family: &'static str,
            /// How many they are.
            count: u32,
            /// How many fit.
            room: u32,
            /// A `max_endpoints` that makes enough room.
            max_endpoints: u32,
        } = "too_many_addresses", "raise max_endpoints in the topology file, and run `netpath up`";
        /// The prefixes of the routes and the endpoints, the machine's own whole prefixes and those of endpoints of other nodes here
        /// do not all fit into the maps.
        TooManyPrefixes {
            /// Their family.
            family: &'static str,
            /// How many there are.
            count: u32,
            /// How many fit.
            room: u32,
        } = "too_many_prefixes", "raise max_routes in the topology file, and run `netpath up`";
        /// Rules of the machine's would have done something to packets that are to take the fast path, which passes them by: these,
        /// in words.
        Bypasses(Vec<String>) = "bypasses", "see `netpath audit`, and accept it with `--accept-bypass`, or with \
            `bypass = [\"forward\"]` of the node in the topology file; or have the fast path only counted first: `netpath up \
            --no-fast-path` and `netpath fastpath shadow`";
        /// The file has IPv6 addresses, and the kernel has no IPv6: it was booted with `ipv6.disable=1`, or built without.
        NoIpv6 = "ipv6_absent", "leave IPv6 out of the topology file, or boot without `ipv6.disable=1`";
        /// The process is not allowed to do what the command takes.
        CapabilitiesMissing(Vec<String>) = "capabilities_missing", "run it with sudo, or with these capabilities in its \
            ambient set, as by `setpriv` or the AmbientCapabilities of a systemd unit (netpath(1) has what each command needs)";
        /// A FORWARD policy needs iptables, which is not there.
        NoIptables(&'static str) = "iptables_missing", "install the package iptables, or leave forward_policy out";
        /// Pins of the node's maps are gone that no program holds any more, and with them what they held.
        LostMaps(Vec<&'static str>) = "maps_lost", "remove what is left of it with `netpath down NODE`, and make it anew";
        /// Records of the node's cannot be read: somebody altered them.
        DamagedRecords(Vec<String>) = "records_damaged", "remove the node with `netpath down NODE`, which says what they no \
            longer prove netpath's, and make it anew";
        /// A name does not fit in its record.
        NameTooLong = "name_too_long", "shorten it";
    }
}

impl Refusal {
    /// What is refused for it: the object's name in words, such as [`Object::told`](super::Object::told) makes.
    #[must_use]
    pub fn of(self, object: impl Into<String>) -> Refused {
        Refused {
            object: object.into(),
            refusal: self,
            commands: Box::default(),
        }
    }
}

/// An object that is not made as it is wanted, and why. Nothing was touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.finding())]
pub struct Refused {
    /// The object, in words.
    pub object: String,
    /// Why.
    pub refusal: Refusal,
    /// How its commands are to be typed.
    pub commands: Box<Commands>,
}

/// What commands are about, and where they are run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands {
    /// The node; empty where they are about none.
    pub node: String,
    /// What goes before a command to run it in the node's namespace; empty where it is run as netpath was.
    pub entry: String,
}

impl Refused {
    /// The same, of a node: it stands in its commands, where others have `NODE`.
    #[must_use]
    pub fn on(mut self, node: &str) -> Self {
        self.commands.node = node.to_owned();
        self
    }

    /// The same, with what goes before its commands.
    #[must_use]
    pub fn entered_by(mut self, entry: &str) -> Self {
        self.commands.entry = entry.to_owned();
        self
    }

    /// As a finding.
    #[must_use]
    pub fn finding(&self) -> Finding {
        let Self {
            object,
            refusal,
            commands,
        } = self;
        let Commands { node, entry } = commands.as_ref();
        let mut cure = refusal.cure(entry);
        if !node.is_empty() {
            cure = cure.replace(DOWN, &format!("`netpath down {node}`"));
        }
        refusal.kind().found(object, refusal.to_string(), cure)
    }
}

/// The command that removes the node that is told of, as long as that has no name.
const DOWN: &str = "`netpath down NODE`";

/// The priority of netpath's filters, as tc calls it.
const FILTER_PREFERENCE: u16 = netpath_common::CLSACT_PRIORITY;

/// As sysctl takes it. The name with dots is not one where the interface's has a dot itself: sysctl takes both.
fn sysctl_name(key: &str) -> String {
    match key.contains('.') {
        true => format!("net/{key}"),
        false => format!("net.{}", key.replace('/', ".")),
    }
}
