//! The lab: node A with three endpoints, nodes B and C with one, a wire from A to each of them; or nodes A and B alone, joined by
//! uplinks of some kind.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::Path as FilePath,
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use netpath::{
    model::{Node, Topology, wire_namespace, wire_port},
    netns::Netns,
    provision::{self, Selection, UpOptions},
};
use netpath_common::Mac;

use super::{
    case::Path,
    place::{Place, UPLINK, UPLINK_TO_C},
    topology::{LAB, MACHINES, lab_nodes, machine_nodes, named},
};
use crate::{
    Family,
    connections::forget_connections,
    guard::{LabGuard, NetnsGuard, complain, is_orphan},
    lab::{Cable, Made, UplinkKind, join, play_a_router, run},
};

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
    Machines(Machines),
}

/// Two namespaces that play machines, with an uplink each.
#[derive(Debug)]
struct Machines {
    uplink: UplinkKind,
    _cable: Option<Cable>,
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

    /// Brings it up with the fast path off, the nodes being machines that are joined by uplinks of this kind, whose MTU is 1500.
    pub fn by(kind: &UplinkKind) -> Self {
        let prefix = prefix();
        let machines = ["a", "b"].map(|suffix| {
            let name = format!("{prefix}{suffix}");
            let guard = NetnsGuard::new(&name);
            (name, guard)
        });
        let [(_, a), (other, b)] = &machines;
        let cable = join([&a.netns, &b.netns], other, kind);
        let guard = Machines {
            uplink: *kind,
            nodes: machines,
            _cable: cable,
        };
        let texts = machine_nodes(&prefix);
        for ((host, text), (_, machine)) in (1..).zip(&texts).zip(&guard.nodes) {
            let topology = parse(text);
            let bring_up = || {
                play_a_router();
                if !matches!(kind.made, Made::Tun(_)) {
                    // Of that a tunnel's headers leave enough for any MTU that a case gives the uplink.
                    run("ip link set nic0 mtu 65000");
                }
                for line in [
                    format!("ip addr add 10.8.0.{host}/24 dev {UPLINK}"),
                    format!("ip addr add fd00:8::{host}/64 dev {UPLINK} nodad"),
                    // As much as a case sends at once.
                    format!("ip link set {UPLINK} mtu 1500 up txqueuelen 10000"),
                ] {
                    run(&line);
                }
                provision::up(&topology, &options(), &mut |_| ())
            };
            let changes = machine.netns.run(bring_up).expect("enter");
            changes.unwrap_or_else(|error| panic!("{error}"));
        }
        let names = named(&prefix, &MACHINES);
        Self::with(names, Guard::Machines(guard), Ports::new())
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
            let mac = match &guard {
                // What a frame has that is cut off on its way.
                Guard::Machines(machines) if machines.uplink.is_bare() => {
                    Mac([2, 0, 0, 0, 0, number])
                }
                Guard::Machines(_) | Guard::Lab { .. } => mac(place, UPLINK),
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

    /// Takes from node A's tables what the kernel has had of connections: each case begins without.
    pub fn forget_connections(&self) {
        forget_connections(self.name(Place::NodeA));
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
            Guard::Machines(_) => self.netns(Place::NodeA).run(switch).expect("enter"),
        };
        changes.unwrap_or_else(|e| panic!("{e}"));
    }

    /// Whether frames seen there have no Ethernet header.
    pub fn is_bare(&self, place: Place) -> bool {
        let is_bare = self.uplink().is_some_and(UplinkKind::is_bare);
        is_bare && matches!(place, Place::NodeA | Place::NodeB)
    }

    /// A frame as it is put on where a path begins.
    pub fn on_the_way<'f>(&self, path: Path, frame: &'f [u8]) -> &'f [u8] {
        match self.is_bare(path.injected_at()) {
            true => &frame[ETHERNET..],
            false => frame,
        }
    }

    /// What joins the nodes, if they are machines.
    pub fn uplink(&self) -> Option<&UplinkKind> {
        match &self.guard {
            Guard::Lab { .. } => None,
            Guard::Machines(machines) => Some(&machines.uplink),
        }
    }

    /// The families that go from node to node.
    pub fn families(&self) -> impl Iterator<Item = Family> + use<> {
        let carries_ipv6 = self.uplink().is_none_or(|uplink| uplink.carries_ipv6);
        let is_carried = move |family: &Family| *family == Family::V4 || carries_ipv6;
        Family::ALL.into_iter().filter(is_carried)
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

    /// A wire's ends towards node A and the other node; none between machines.
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
            if dev == UPLINK && self.is_bare(Place::NodeA) {
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
        if !self.is_bare(Place::NodeA) {
            self.settle_neighbours();
        }
    }

    /// Nobody asks for the nodes' MACs.
    fn settle_neighbours(&self) {
        for family in Family::ALL {
            let own = Place::NodeA.address(family);
            // The same host in the other wire's subnet.
            let own_to_c = match Place::NodeC.address(family) {
                IpAddr::V4(other) => IpAddr::V4((u32::from(other) - 1).into()),
                IpAddr::V6(other) => IpAddr::V6((u128::from(other) - 1).into()),
            };
            let other = |node: Place| (node.address(family), self.mac(node));
            let mut neighbours = vec![
                (Place::NodeA, UPLINK, other(Place::NodeB)),
                (Place::NodeB, UPLINK, (own, self.mac(Place::NodeA))),
            ];
            if self.has(Place::NodeC) {
                let mac_to_c = mac(self.netns(Place::NodeA), UPLINK_TO_C);
                neighbours.extend([
                    (Place::NodeA, UPLINK_TO_C, other(Place::NodeC)),
                    (Place::NodeC, UPLINK, (own_to_c, mac_to_c)),
                ]);
            }
            for (place, dev, (address, mac)) in neighbours {
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
