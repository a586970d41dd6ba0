//! The lab: node A with three endpoints, nodes B and C with one, a wire from A to each of them; or nodes A and B alone, joined by
//! two tun devices.

use std::{
    collections::BTreeMap,
    fmt, fs,
    net::IpAddr,
    path::Path as FilePath,
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use ipnet::IpNet;
use netpath::{
    model::{Node, Topology, wire_namespace, wire_port},
    netns::Netns,
    provision::{self, Selection, UpOptions},
};
use netpath_common::Mac;

use super::case::Path;
use crate::{
    Family,
    guard::{LabGuard, NetnsGuard, complain, is_orphan},
    lab::{Cable, run},
};

/// A namespace of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The router under test.
    NodeA,
    /// The router across the wire.
    NodeB,
    /// The router across node A's other wire.
    NodeC,
    /// Node A's endpoint that sends, and that packets from the wire are for.
    A1,
    /// Node A's endpoint that receives.
    A2,
    /// Node A's endpoint that has no part in it.
    A3,
    /// Node B's endpoint.
    B1,
    /// Node C's endpoint.
    C1,
    /// The bridge that plays the wire.
    Wire,
    /// The bridge that plays the wire to node C.
    WireC,
}

impl Place {
    /// All endpoints.
    pub const ENDPOINTS: [Self; 5] = [Self::A1, Self::A2, Self::A3, Self::B1, Self::C1];

    /// The interface that faces the rest of the lab.
    pub fn dev(self) -> &'static str {
        match self {
            Self::NodeA | Self::NodeB | Self::NodeC => UPLINK,
            Self::A1 | Self::A2 | Self::A3 | Self::B1 | Self::C1 => "eth0",
            Self::Wire | Self::WireC => "br0",
        }
    }

    /// The host-side veth of an endpoint.
    pub fn host_dev(self) -> &'static str {
        match self {
            Self::A1 => "va1",
            Self::A2 => "va2",
            Self::A3 => "va3",
            Self::B1 => "vb1",
            Self::C1 => "vc1",
            _ => panic!("{self} is no endpoint"),
        }
    }

    /// Its first address.
    pub fn address(self, family: Family) -> IpAddr {
        let (v4, v6) = match self {
            Self::NodeA => ("10.8.0.1", "fd00:8::1"),
            Self::NodeB => ("10.8.0.2", "fd00:8::2"),
            Self::NodeC => ("10.9.0.2", "fd00:9::2"),
            Self::A1 => ("10.1.1.2", "fd00:1:1::2"),
            Self::A2 => ("10.1.2.2", "fd00:1:2::2"),
            Self::A3 => ("10.1.3.2", "fd00:1:3::2"),
            Self::B1 => ("10.2.1.2", "fd00:2:1::2"),
            Self::C1 => ("10.3.1.2", "fd00:3:1::2"),
            Self::Wire | Self::WireC => panic!("a wire has no address"),
        };
        let text = match family {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        text.parse().expect(text)
    }
}

/// What an endpoint has beside its first addresses.
impl Place {
    /// Another address of an endpoint: its number in its subnet is 10.
    pub fn second_address(self, family: Family) -> IpAddr {
        match self.address(family) {
            IpAddr::V4(first) => IpAddr::V4((u32::from(first) + 8).into()),
            IpAddr::V6(first) => IpAddr::V6((u128::from(first) + 0xe).into()),
        }
    }

    /// The prefix that is routed to an endpoint: 10.1.91.0/28 and fd00:1:91::/64 for the first.
    fn prefix(self, family: Family) -> IpNet {
        let (v4, v6) = match self {
            Self::A1 => ("10.1.91.0/28", "fd00:1:91::/64"),
            Self::A2 => ("10.1.92.0/28", "fd00:1:92::/64"),
            Self::A3 => ("10.1.93.0/28", "fd00:1:93::/64"),
            Self::B1 => ("10.2.91.0/28", "fd00:2:91::/64"),
            Self::C1 => ("10.3.91.0/28", "fd00:3:91::/64"),
            _ => panic!("{self} is no endpoint"),
        };
        let text = match family {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        text.parse().expect(text)
    }

    /// The first and the last address of its prefix.
    pub fn prefix_edges(self, family: Family) -> (IpAddr, IpAddr) {
        let prefix = self.prefix(family);
        (prefix.network(), prefix.broadcast())
    }

    /// The address in its prefix that an endpoint has on its loopback device.
    pub fn nested(self, family: Family) -> IpAddr {
        match self.prefix(family).network() {
            IpAddr::V4(first) => IpAddr::V4((u32::from(first) + 5).into()),
            IpAddr::V6(first) => IpAddr::V6((u128::from(first) + 5).into()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NodeA => "node A",
            Self::NodeB => "node B",
            Self::NodeC => "node C",
            Self::A1 => "a1",
            Self::A2 => "a2",
            Self::A3 => "a3",
            Self::B1 => "b1",
            Self::C1 => "c1",
            Self::Wire => "wire",
            Self::WireC => "wire to C",
        })
    }
}

/// The uplink of every node.
const UPLINK: &str = "up0";
/// Node A's uplink to node C.
pub(super) const UPLINK_TO_C: &str = "up1";

/// Length of an Ethernet header in bytes.
const ETHERNET: usize = 14;

/// Prefix of all names; the number of the process follows.
const PREFIX: &str = "npc-";

/// How long fragments wait for the rest of their datagram.
const REASSEMBLY_SECONDS: &str = "2";

/// As an ICMP rate limit, in milliseconds: one message in weeks.
const NEVER: &str = "2000000000";

/// Addresses that cases use as somebody's on the link: the first of a prefix is a host's, from Linux 5.14 on.
const NEIGHBOURS: [&str; 5] = ["10.8.0.0", "10.8.0.200", "fe80::1", "fe80::77", "fe80::7:7"];

/// a1's further IPv4 addresses: 10.1.1.10 and on.
pub(super) const SPARES: u8 = 12;

/// The lab, as long as this lives.
#[derive(Debug)]
pub struct Lab {
    guard: Guard,
    names: BTreeMap<Place, String>,
    netns: BTreeMap<Place, Netns>,
    macs: BTreeMap<Place, Mac>,
    host_macs: BTreeMap<Place, Mac>,
    ports: Ports,
}

/// The ends of a wire, towards node A and towards the other node.
type Ports = BTreeMap<Place, [String; 2]>;

/// What the lab goes with.
#[derive(Debug)]
enum Guard {
    /// Nodes of netpath's own making.
    Lab { _lab: LabGuard },
    /// Machines that are nodes.
    Machines { _machines: Machines },
}

/// Two namespaces that play machines, with a tun device each.
#[derive(Debug)]
struct Machines {
    _cable: Cable,
    nodes: [(String, NetnsGuard); 2],
}

impl Drop for Machines {
    fn drop(&mut self) {
        for (name, machine) in &self.nodes {
            let down = || provision::down(std::slice::from_ref(name), &mut |_| ());
            complain(machine.netns.run(down).expect("enter").map(drop));
        }
    }
}

/// Brought up with the fast path off.
fn options() -> UpOptions {
    UpOptions {
        fast_path: Some(false),
        ..UpOptions::default()
    }
}

impl Lab {
    /// Brings it up with the fast path off.
    pub fn new() -> Self {
        let prefix = prefix();
        let topology = parse(&lab_nodes(&prefix));
        let lab = LabGuard::up(&topology, &options());
        let [a, b, c] = &topology.nodes[..] else {
            panic!("three nodes");
        };
        let mut names = named(&prefix, &LAB);
        let mut ports = Ports::new();
        for (place, uplink, other) in [(Place::Wire, 0, b), (Place::WireC, 1, c)] {
            let wire = a.uplinks[uplink].wire.as_ref().expect("a lab");
            names.insert(place, wire_namespace(wire).to_string());
            let ends = [(a, uplink), (other, 0)];
            let port = |(node, uplink): (&Node, usize)| {
                wire_port(&node.name, &node.uplinks[uplink].dev).to_string()
            };
            ports.insert(place, ends.map(port));
        }
        Self::with(names, Guard::Lab { _lab: lab }, ports)
    }

    /// Brings it up with the fast path off, the nodes being machines that are joined by a tun device each.
    pub fn by_tun() -> Self {
        let prefix = prefix();
        let machines = ["a", "b"].map(|suffix| {
            let name = format!("{prefix}{suffix}");
            let guard = NetnsGuard::new(&name);
            (name, guard)
        });
        let [a, b] = &machines;
        let cable = Cable::between([&a.1.netns, &b.1.netns], UPLINK);
        let guard = Machines {
            nodes: machines,
            _cable: cable,
        };
        let texts = machine_nodes(&prefix);
        for ((host, text), (_, machine)) in (1..).zip(&texts).zip(&guard.nodes) {
            let topology = parse(text);
            let bring_up = || {
                for line in [
                    "sysctl -qw net.ipv4.ip_forward=1".to_owned(),
                    "sysctl -qw net.ipv6.conf.all.forwarding=1".to_owned(),
                    "ip link set lo up".to_owned(),
                    format!("ip addr add 10.8.0.{host}/24 dev {UPLINK}"),
                    format!("ip addr add fd00:8::{host}/64 dev {UPLINK} nodad"),
                    // As much as a case sends at once.
                    format!("ip link set {UPLINK} up txqueuelen 10000"),
                ] {
                    run(&line);
                }
                provision::up(&topology, &options(), &mut |_| ())
            };
            let changes = machine.netns.run(bring_up).expect("enter");
            changes.unwrap_or_else(|error| panic!("{error}"));
        }
        let names = named(&prefix, &MACHINES);
        Self::with(names, Guard::Machines { _machines: guard }, Ports::new())
    }

    fn with(names: BTreeMap<Place, String>, guard: Guard, ports: Ports) -> Self {
        let netns: BTreeMap<Place, Netns> = names
            .iter()
            .map(|(place, name)| (*place, Netns::named(name).expect("it is up")))
            .collect();
        let mac = |place: Place, dev: &str| mac(&netns[&place], dev);
        let mut macs = BTreeMap::new();
        let mut host_macs = BTreeMap::new();
        for place in Place::ENDPOINTS {
            if !names.contains_key(&place) {
                continue;
            }
            let node = match place {
                Place::B1 => Place::NodeB,
                Place::C1 => Place::NodeC,
                _ => Place::NodeA,
            };
            macs.insert(place, mac(place, place.dev()));
            host_macs.insert(place, mac(node, place.host_dev()));
        }
        for (number, place) in (1..).zip([Place::NodeA, Place::NodeB, Place::NodeC]) {
            if !names.contains_key(&place) {
                continue;
            }
            let mac = match guard {
                Guard::Lab { .. } => mac(place, UPLINK),
                // What a frame has that is cut off on its way.
                Guard::Machines { .. } => Mac([2, 0, 0, 0, 0, number]),
            };
            macs.insert(place, mac);
        }
        let lab = Self {
            guard,
            names,
            netns,
            macs,
            host_macs,
            ports,
        };
        lab.settle();
        lab
    }

    /// Waits until no datagram is being reassembled any more.
    pub fn forget_fragments(&self) {
        let seconds: u64 = REASSEMBLY_SECONDS.parse().expect("a number");
        std::thread::sleep(Duration::from_secs(seconds) + Duration::from_millis(500));
    }

    /// Switches node A's fast path.
    pub fn set_fast_path(&self, on: bool) {
        let selection = Selection {
            node: Some(self.names[&Place::NodeA].clone()),
            endpoint: None,
            ..Selection::default()
        };
        let switch = || provision::set_fast_path(on, &selection, &mut |_| {});
        let changes = match &self.guard {
            Guard::Lab { .. } => switch(),
            Guard::Machines { .. } => self.netns(Place::NodeA).run(switch).expect("enter"),
        };
        changes.unwrap_or_else(|e| panic!("{e}"));
    }

    /// Whether frames seen there have no Ethernet header.
    pub fn is_bare(&self, place: Place) -> bool {
        self.is_by_tun() && matches!(place, Place::NodeA | Place::NodeB)
    }

    /// A frame as it is put on where a path begins.
    pub fn on_the_way<'f>(&self, path: Path, frame: &'f [u8]) -> &'f [u8] {
        match self.is_bare(path.injected_at()) {
            true => &frame[ETHERNET..],
            false => frame,
        }
    }

    /// Whether packets have no Ethernet header between the nodes.
    pub fn is_by_tun(&self) -> bool {
        matches!(self.guard, Guard::Machines { .. })
    }

    /// A namespace's name.
    pub fn name(&self, place: Place) -> &str {
        &self.names[&place]
    }

    /// A namespace.
    pub fn netns(&self, place: Place) -> &Netns {
        &self.netns[&place]
    }

    /// The MAC of [`Place::dev`].
    pub fn mac(&self, place: Place) -> Mac {
        self.macs[&place]
    }

    /// The MAC of [`Place::host_dev`].
    pub fn host_mac(&self, place: Place) -> Mac {
        self.host_macs[&place]
    }

    /// A wire's ends towards node A and the other node; none where a tun device takes its place.
    pub fn ports(&self, wire: Place) -> &[String] {
        self.ports.get(&wire).map_or(&[], |ports| &ports[..])
    }

    /// Whether it has this namespace.
    pub fn has(&self, place: Place) -> bool {
        self.names.contains_key(&place)
    }

    fn places(&self) -> impl Iterator<Item = Place> + use<> {
        let places: Vec<Place> = self.names.keys().copied().collect();
        places.into_iter()
    }

    /// Runs `ip` somewhere and returns what it printed.
    pub fn ip(&self, place: Place, arguments: &str) -> String {
        run(&format!("ip -n {} {arguments}", self.name(place)))
    }

    /// Writes a sysctl below /proc/sys/net somewhere and returns what it was.
    pub fn sysctl(&self, place: Place, key: &str, value: &str) -> String {
        let path = format!("/proc/sys/net/{key}");
        let work = || {
            let before = fs::read_to_string(&path)?;
            fs::write(&path, value)?;
            Ok::<_, std::io::Error>(before.trim_end().to_owned())
        };
        self.netns(place)
            .run(work)
            .expect("the namespace is there")
            .unwrap_or_else(|error| panic!("{path} ({place}): {error}"))
    }

    /// A bridge keeps LLDP to itself (IEEE 802.1D, 7.12.6), and drops malformed packets where it snoops
    /// (`ip_mc_check_igmp`) or where netfilter sees its frames (`br_validate_ipv4`). A cable does neither.
    fn make_a_cable(&self, wire: Place) {
        let options = "link set br0 type bridge mcast_snooping 0 group_fwd_mask 0x4000";
        self.ip(wire, options);
        let exists = || FilePath::new("/proc/sys/net/bridge").exists();
        if !self
            .netns(wire)
            .run(exists)
            .expect("the namespace is there")
        {
            return;
        }
        for tables in ["iptables", "ip6tables", "arptables"] {
            self.sysctl(wire, &format!("bridge/bridge-nf-call-{tables}"), "0");
        }
    }

    /// What happens once or by the clock must not tell one run from the other.
    fn settle(&self) {
        for place in self.places() {
            if self.ports.contains_key(&place) {
                self.make_a_cable(place);
                continue;
            }
            for (key, value) in [
                ("ipv4/icmp_ratelimit", "0"),
                ("ipv4/icmp_ratemask", "0"),
                ("ipv6/icmp/ratelimit", "0"),
                ("ipv4/ipfrag_time", REASSEMBLY_SECONDS),
                ("ipv6/ip6frag_time", REASSEMBLY_SECONDS),
                // How often depends on the clock, so only the cases about them have them.
                ("ipv4/conf/all/send_redirects", "0"),
            ] {
                self.sysctl(place, key, value);
            }
            if Place::ENDPOINTS.contains(&place) {
                // They route nothing, so they would only say that reassembly took too long: never.
                for (key, value) in [
                    ("ipv4/icmp_ratemask", "2048"),
                    ("ipv4/icmp_ratelimit", NEVER),
                    ("ipv6/icmp/ratemask", "3"),
                    ("ipv6/icmp/ratelimit", NEVER),
                ] {
                    self.sysctl(place, key, value);
                }
            }
            for (key, value) in [
                // Of the namespace from Linux 6.13 on (commit b056b4cd9178).
                ("ipv4/icmp_msgs_per_sec", "1000000"),
                ("ipv4/icmp_msgs_burst", "1000000"),
                // Else at random with each boot; from Linux 6.11 on, for IPv6 too.
                ("ipv4/fib_multipath_hash_seed", "1"),
            ] {
                let path = format!("/proc/sys/net/{key}");
                let exists = self.netns(place).run(|| FilePath::new(&path).exists());
                if exists.expect("the namespace is there") {
                    self.sysctl(place, key, value);
                }
            }
        }
        for place in Place::ENDPOINTS {
            for family in Family::ALL.into_iter().filter(|_| self.has(place)) {
                let nested = place.nested(family);
                self.ip(place, &format!("addr add {nested} dev lo nodad"));
            }
        }
        // The other nodes answer nothing on behalf of prefixes that only routes lead to.
        for node in [Place::NodeB, Place::NodeC] {
            for option in ["-4", "-6"].into_iter().filter(|_| self.has(node)) {
                self.ip(node, &format!("{option} route add blackhole default"));
            }
        }
        let to_c = self.has(Place::NodeC).then_some(UPLINK_TO_C);
        for dev in ["up0", "va1", "va2", "va3"].into_iter().chain(to_c) {
            let key = format!("ipv4/conf/{dev}/send_redirects");
            self.sysctl(Place::NodeA, &key, "0");
            if dev == UPLINK && self.is_by_tun() {
                continue;
            }
            // To give up on a neighbour takes seconds, and the error would be in another case.
            for address in NEIGHBOURS {
                let mac = "02:00:00:00:00:77";
                self.ip(
                    Place::NodeA,
                    &format!("neigh replace {address} dev {dev} lladdr {mac} nud permanent"),
                );
            }
        }
        if self.is_by_tun() {
            return;
        }
        for family in Family::ALL {
            let own = Place::NodeA.address(family);
            // The same host in the other wire's subnet.
            let own_to_c = match Place::NodeC.address(family) {
                IpAddr::V4(other) => IpAddr::V4((u32::from(other) - 1).into()),
                IpAddr::V6(other) => IpAddr::V6((u128::from(other) - 1).into()),
            };
            let mac_to_c = mac(self.netns(Place::NodeA), UPLINK_TO_C);
            let other = |node: Place| (node.address(family), self.mac(node));
            for (place, dev, (address, mac)) in [
                (Place::NodeA, UPLINK, other(Place::NodeB)),
                (Place::NodeA, UPLINK_TO_C, other(Place::NodeC)),
                (Place::NodeB, UPLINK, (own, self.mac(Place::NodeA))),
                (Place::NodeC, UPLINK, (own_to_c, mac_to_c)),
            ] {
                self.ip(
                    place,
                    &format!("neigh replace {address} dev {dev} lladdr {mac} nud permanent"),
                );
            }
        }
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

/// A prefix of a lab's own.
fn prefix() -> String {
    sweep();
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}-{number}", process::id())
}

fn parse(text: &str) -> Topology {
    Topology::parse("conformance lab", text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// The namespaces of a lab but for its wires, and what their names end in.
const LAB: [(Place, &str); 8] = [
    (Place::NodeA, "a"),
    (Place::NodeB, "b"),
    (Place::NodeC, "c"),
    (Place::A1, "a1"),
    (Place::A2, "a2"),
    (Place::A3, "a3"),
    (Place::B1, "b1"),
    (Place::C1, "c1"),
];
/// Those of two machines.
const MACHINES: [(Place, &str); 6] = [LAB[0], LAB[1], LAB[3], LAB[4], LAB[5], LAB[6]];

fn named(prefix: &str, places: &[(Place, &str)]) -> BTreeMap<Place, String> {
    let name = |(place, suffix): &(Place, &str)| (*place, format!("{prefix}{suffix}"));
    places.iter().map(name).collect()
}

/// An uplink in 10.`net`.0.0/24 and fd00:`net`::/64, by which nodes' prefixes are reached.
struct Link<'t> {
    dev: &'t str,
    wire: Option<&'t str>,
    net: u8,
    /// The node's own number in the subnet, and the next hop's.
    hosts: [u8; 2],
    /// The numbers of the nodes behind it.
    to: &'t [u8],
}

/// The topology of a lab. Nodes A, B and C have the numbers 1, 2 and 3.
fn lab_nodes(prefix: &str) -> String {
    let wires = ["b", "c"].map(|other| format!("{prefix}{other}"));
    let [to_b, to_c] = [8, 9];
    let link = |dev, net: u8, hosts, to| Link {
        dev,
        wire: Some(&wires[usize::from(net - to_b)]),
        net,
        hosts,
        to,
    };
    let uplinks = [
        vec![
            link(UPLINK, to_b, [1, 2], &[2][..]),
            link(UPLINK_TO_C, to_c, [1, 2], &[3]),
        ],
        vec![link(UPLINK, to_b, [2, 1], &[1, 3])],
        vec![link(UPLINK, to_c, [2, 1], &[1, 2])],
    ];
    let nodes = (1..).zip(&uplinks);
    nodes
        .map(|(own, links)| node(prefix, own, "", links))
        .collect()
}

/// The topologies of two machines.
fn machine_nodes(prefix: &str) -> [String; 2] {
    [1u8, 2].map(|own| {
        let link = Link {
            dev: UPLINK,
            wire: None,
            net: 8,
            hosts: [own, 3 - own],
            to: &[3 - own],
        };
        let routes = LIKE_FRAMES.iter().filter(|_| own == 1).map(|dst| {
            let via = match dst.contains(':') {
                true => "fd00:8::2",
                false => "10.8.0.2",
            };
            format!("[[node.route]]\ndst = \"{dst}\"\nvia = \"{via}\"\n")
        });
        let text = node(prefix, own, "netns = \"host\"\n", &[link]);
        text + &routes.collect::<String>()
    })
}

/// Prefixes behind machine B, of addresses that stand where a frame has its EtherType: those of IPv4, ARP, VLAN tags and IPv6.
/// Of IPv4 it is the first half of the address, of IPv6 the third group.
const LIKE_FRAMES: [&str; 8] = [
    "8.0.0.0/16",
    "8.6.0.0/16",
    "129.0.0.0/16",
    "134.221.0.0/16",
    "2001:db8:800::/48",
    "2001:db8:806::/48",
    "2001:db8:8100::/48",
    "2001:db8:86dd::/48",
];

/// An address in each of them of a family.
pub(super) fn like_frames(family: Family) -> impl Iterator<Item = IpAddr> {
    let prefixes = LIKE_FRAMES
        .iter()
        .map(|prefix| prefix.parse().expect(prefix));
    prefixes.filter_map(move |prefix: IpNet| match (prefix.network(), family) {
        (IpAddr::V4(first), Family::V4) => Some(IpAddr::V4((u32::from(first) + 0x102).into())),
        (IpAddr::V6(first), Family::V6) => Some(IpAddr::V6((u128::from(first) + 2).into())),
        _ => None,
    })
}

fn node(prefix: &str, own: u8, place: &str, links: &[Link<'_>]) -> String {
    let letter = char::from(b'a' + own - 1);
    let mut text = format!("[[node]]\nname = \"{prefix}{letter}\"\n{place}");
    for Link {
        dev,
        wire,
        net,
        hosts: [host, other],
        to,
    } in links
    {
        let wire = wire.map(|wire| format!("wire = \"{wire}\"\n"));
        text += &format!(
            "[[node.uplink]]\ndev = \"{dev}\"\n{}\
             addresses = [\"10.{net}.0.{host}/24\", \"fd00:{net}::{host}/64\"]\n",
            wire.unwrap_or_default()
        );
        for to in *to {
            text += &format!(
                "[[node.route]]\ndst = \"10.{to}.0.0/16\"\nvia = \"10.{net}.0.{other}\"\n\
                 [[node.route]]\ndst = \"fd00:{to}::/32\"\nvia = \"fd00:{net}::{other}\"\n"
            );
        }
    }
    let is_its = |(place, suffix): &&(Place, &str)| {
        Place::ENDPOINTS.contains(place) && suffix.starts_with(letter)
    };
    for (number, (place, endpoint)) in (1..).zip(LAB.iter().filter(is_its)) {
        text += &endpoint_of(prefix, own, number, *place, endpoint);
    }
    text
}

fn endpoint_of(prefix: &str, own: u8, number: u8, place: Place, endpoint: &str) -> String {
    let spares: String = match place {
        Place::A1 => (0..SPARES)
            .map(|spare| format!(", \"10.1.1.{}/24\"", 10 + spare))
            .collect(),
        _ => format!(", \"{}/24\"", place.second_address(Family::V4)),
    };
    let second = place.second_address(Family::V6);
    let [v4, v6] = Family::ALL.map(|family| place.prefix(family));
    format!(
        "[[node.endpoint]]\nname = \"{prefix}{endpoint}\"\nhost_dev = \"v{endpoint}\"\n\
         addresses = [\"10.{own}.{number}.2/24\", \"fd00:{own}:{number}::2/64\"{spares}, \"{second}/64\"]\n\
         prefixes = [\"{v4}\", \"{v6}\"]\n"
    )
}

fn mac(netns: &Netns, dev: &str) -> Mac {
    let find = || {
        nix::ifaddrs::getifaddrs()
            .expect("getifaddrs")
            .find_map(|interface| {
                let address = interface.address?;
                (interface.interface_name == dev)
                    .then(|| address.as_link_addr()?.addr())
                    .flatten()
            })
    };
    let bytes = netns.run(find).expect("the namespace is there");
    Mac(bytes.unwrap_or_else(|| panic!("{dev} has a MAC")))
}

/// Takes away what runs that were killed left.
fn sweep() {
    let nodes = provision::observe().unwrap_or_default();
    let orphans: Vec<String> = nodes
        .into_iter()
        .map(|node| node.name)
        .filter(|name| is_orphan(PREFIX, name))
        .collect();
    for name in orphans {
        let down = || provision::down(std::slice::from_ref(&name), &mut |_| ());
        // One that was a machine is taken down there, and its namespace is the test's own.
        let (result, machine) = match Netns::named(&name) {
            Ok(netns) => (netns.run(down).expect("enter"), Some(netns)),
            Err(_) => (down(), None),
        };
        if let Err(error) = result {
            eprintln!("clean-up: {error}");
        }
        if machine.is_some()
            && Netns::named(&name).is_ok()
            && let Err(error) = Netns::remove(&name)
        {
            eprintln!("clean-up: {error}");
        }
    }
}
