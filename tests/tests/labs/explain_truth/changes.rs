//! What others have done in a lab: rules, routes, settings, and what is broken.

use netpath::random::SplitMix64;
use netpath_common::{Family, FastPathMode};
use netpath_tests::random_rules::{Call, DEAD, chance, ip, narrow, netfilter, one, wide};

use super::topology::{Node, Shape};

/// The number of the host that is on a wire and in no topology.
pub const OUTSIDE: u8 = 77;

/// One of them, in a namespace.
#[derive(Clone, Debug)]
pub enum Change {
    /// A line of a shell's.
    Line(String, String),
    /// With input.
    Call(String, Call),
    /// A sysctl.
    Setting(String, String, String),
    /// The fast path of a node, or of one of its endpoints.
    FastPath(String, Option<String>, FastPathMode),
}

/// They, in their order.
pub struct Changes<'a> {
    shape: &'a Shape,
    random: &'a mut SplitMix64,
    found: Vec<Change>,
}

impl<'a> Changes<'a> {
    pub fn random(shape: &'a Shape, random: &'a mut SplitMix64) -> Vec<Change> {
        let mut changes = Self {
            shape,
            random,
            found: Vec::new(),
        };
        for node in &shape.nodes {
            changes.needed(node);
        }
        for node in &shape.nodes {
            changes.fast_path(node);
            changes.rules(node);
            changes.services(node);
            for family in Family::ALL {
                changes.routes(node, family);
                changes.routing(node, family);
            }
            changes.settings(node);
            changes.links(node);
        }
        changes.endpoints();
        changes.found
    }

    fn line(&mut self, place: &str, line: impl Into<String>) {
        self.found.push(Change::Line(place.to_owned(), line.into()));
    }

    fn ip(&mut self, place: &str, family: Family, line: impl AsRef<str>) {
        let option = if family == Family::V4 { "-4" } else { "-6" };
        self.line(place, format!("ip {option} {}", line.as_ref()));
    }

    fn setting(&mut self, place: &str, key: String, value: &str) {
        let change = Change::Setting(place.to_owned(), key, value.to_owned());
        self.found.push(change);
    }

    fn chance(&mut self, percent: usize) -> bool {
        chance(self.random, percent)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        one(self.random, of)
    }

    /// Next hops that the file leaves to the kernel.
    fn needed(&mut self, node: &Node) {
        for ([x, y, _], via) in &node.of_kernel {
            for family in Family::ALL {
                if self.chance(90) {
                    let line = format!(
                        "route add {} via {}",
                        narrow(family, [*x, *y]),
                        ip(family, *via)
                    );
                    self.ip(&node.name, family, line);
                }
            }
        }
    }

    fn fast_path(&mut self, node: &Node) {
        let modes = [FastPathMode::Off, FastPathMode::Off, FastPathMode::Shadow];
        if self.chance(15) {
            let mode = self.one(&modes);
            self.found
                .push(Change::FastPath(node.name.clone(), None, mode));
        } else if let [first, ..] = node.endpoints.as_slice()
            && self.chance(20)
        {
            let mode = self.one(&modes);
            let endpoint = Some(first.name.clone());
            self.found
                .push(Change::FastPath(node.name.clone(), endpoint, mode));
        }
    }

    fn rules(&mut self, node: &Node) {
        for family in Family::ALL {
            if self.chance(25) {
                for call in netfilter(family, self.random) {
                    self.found.push(Change::Call(node.name.clone(), call));
                }
            }
        }
    }

    /// Addresses of nobody's that are translated to an endpoint's, as kube-proxy has it.
    fn services(&mut self, node: &Node) {
        let endpoints: Vec<[u8; 3]> = self.shape.endpoints().map(|(_, it)| it.numbers).collect();
        for family in Family::ALL {
            if !self.chance(60) {
                continue;
            }
            let to = ip(family, self.one(&endpoints));
            let legacy = self.chance(20);
            let program = match (family, legacy) {
                (Family::V4, false) => "iptables-nft",
                (Family::V6, false) => "ip6tables-nft",
                (Family::V4, true) => "iptables-legacy",
                (Family::V6, true) => "ip6tables-legacy",
            };
            let service = ip(family, SERVICE);
            let (protocol, port) = (self.one(&["udp", "tcp"]), self.one(&["80", "53"]));
            let to = match family {
                Family::V4 => format!("{to}:8080"),
                Family::V6 => format!("[{to}]:8080"),
            };
            for chain in ["PREROUTING", "OUTPUT"] {
                self.line(
                    &node.name,
                    format!(
                        "{program} -w -t nat -A {chain} -d {service} -p {protocol} --dport {port} -j DNAT --to-destination {to}"
                    ),
                );
            }
            if self.chance(40) {
                let line = format!(
                    "{program} -w -t nat -A POSTROUTING -m conntrack --ctstate DNAT -j MASQUERADE"
                );
                self.line(&node.name, line);
            }
        }
    }

    /// A next hop that a node can have: on a wire, or an endpoint of its own.
    fn next_hop(&mut self, node: &Node) -> [u8; 3] {
        let on_wire = self.shape.nodes.iter().filter(|it| it.name != node.name);
        let mut of: Vec<[u8; 3]> = on_wire
            .flat_map(|other| &other.uplinks)
            .filter(|its| node.uplinks.iter().any(|own| own.wire == its.wire))
            .map(|its| its.numbers())
            .collect();
        for uplink in &node.uplinks {
            of.extend([[9, uplink.wire, OUTSIDE], [9, uplink.wire, DEAD]]);
        }
        of.extend(node.endpoints.iter().map(|it| it.numbers));
        self.one(&of)
    }

    fn routes(&mut self, node: &Node, family: Family) {
        let own: Vec<[u8; 3]> = node.endpoints.iter().map(|it| it.numbers).collect();
        let name = node.name.as_str();
        for (_, endpoint) in self.shape.endpoints() {
            let numbers @ [x, y, _] = endpoint.numbers;
            let is_own = own.contains(&numbers);
            if self.chance(4) {
                let kind = self.one(&["blackhole", "unreachable", "prohibit"]);
                let what = match (is_own, self.random.below(2)) {
                    (false, 0) => narrow(family, [x, y]),
                    _ => ip(family, numbers).to_string(),
                };
                self.ip(name, family, format!("route replace {kind} {what}"));
            } else if !is_own && self.chance(12) {
                let via = ip(family, self.next_hop(node));
                let mtu = self.one(&["", "", " mtu 1300", " mtu lock 1300", " mtu 1280"]);
                let dst = match self.random.below(2) {
                    0 => narrow(family, [x, y]),
                    _ => ip(family, numbers).to_string(),
                };
                self.ip(name, family, format!("route replace {dst} via {via}{mtu}"));
            }
        }
        if self.chance(40) {
            let via = ip(family, self.next_hop(node));
            let dst = wide(family, 40);
            self.ip(name, family, format!("route replace {dst} via {via}"));
        }
        if self.chance(25) {
            let via = ip(family, self.next_hop(node));
            self.ip(name, family, format!("route replace default via {via}"));
        }
        if self.chance(4) {
            let (one, other) = (self.next_hop(node), self.next_hop(node));
            let dst = wide(family, 60);
            let (one, other) = (ip(family, one), ip(family, other));
            let line = format!("route replace {dst} nexthop via {one} nexthop via {other}");
            self.ip(name, family, line);
        }
    }

    /// Rules that choose a table.
    fn routing(&mut self, node: &Node, family: Family) {
        if !self.chance(30) {
            return;
        }
        let name = node.name.as_str();
        let via = ip(family, self.next_hop(node));
        self.ip(
            name,
            family,
            format!("route add default via {via} table 100"),
        );
        let kind = self.one(&["unreachable", "blackhole", "prohibit", "throw"]);
        self.ip(name, family, format!("route add {kind} default table 101"));
        let endpoints: Vec<[u8; 3]> = self.shape.endpoints().map(|(_, it)| it.numbers).collect();
        let numbers @ [x, y, _] = self.one(&endpoints);
        let (host, net) = (ip(family, numbers), narrow(family, [x, y]));
        for (rule, percent) in [
            ("fwmark 1 table 100".to_owned(), 40),
            ("fwmark 2 table 101".to_owned(), 30),
            (format!("to {net} table 100"), 15),
            (format!("to {net} iif r0 table 101"), 15),
            ("ipproto tcp dport 8080 table 100".to_owned(), 15),
            ("ipproto udp dport 5000-5005 table 101".to_owned(), 10),
            (format!("from {host} table 100"), 15),
            (format!("tos 0x10 to {net} table 101"), 15),
            (format!("to {net} prohibit"), 7),
            (format!("to {net} blackhole"), 7),
        ] {
            if self.chance(percent) {
                let priority = 200 + self.random.below(100);
                self.ip(name, family, format!("rule add {rule} prio {priority}"));
            }
        }
    }

    fn settings(&mut self, node: &Node) {
        let devs = node.devs();
        let mut set = |percent: usize, key: String, values: &[&'static str]| {
            if self.chance(percent) {
                let value = self.one(values);
                self.setting(&node.name, key, value);
            }
        };
        set(3, "ipv4/ip_forward".to_owned(), &["0"]);
        set(3, "ipv6/conf/all/forwarding".to_owned(), &["0"]);
        set(15, "ipv4/conf/all/rp_filter".to_owned(), &["1", "2", "0"]);
        set(15, "ipv4/conf/all/src_valid_mark".to_owned(), &["1"]);
        set(15, "ipv4/ip_forward_use_pmtu".to_owned(), &["1"]);
        set(10, "ipv4/conf/all/accept_local".to_owned(), &["1"]);
        for family in ["ipv4", "ipv6"] {
            set(30, format!("{family}/fib_multipath_hash_policy"), &["1"]);
        }
        for dev in devs {
            set(10, format!("ipv4/conf/{dev}/rp_filter"), &["1", "2"]);
            set(2, format!("ipv4/conf/{dev}/forwarding"), &["0"]);
            set(1, format!("ipv6/conf/{dev}/disable_ipv6"), &["1"]);
        }
    }

    fn links(&mut self, node: &Node) {
        for dev in node.devs() {
            if self.chance(6) {
                let mtu = self.one(&[1280, 1300, 1400, 1500]);
                self.line(&node.name, format!("ip link set {dev} mtu {mtu}"));
            }
            if self.chance(1) {
                self.line(&node.name, format!("ip link set {dev} down"));
            }
            if self.chance(1) {
                self.line(&node.name, format!("ip link set {dev} arp off"));
            }
        }
        for family in Family::ALL {
            for uplink in &node.uplinks {
                if self.chance(3) {
                    let others = self.shape.nodes.iter().flat_map(|it| &it.uplinks);
                    let others: Vec<[u8; 3]> = others
                        .filter(|its| its.wire == uplink.wire && its.host != uplink.host)
                        .map(|its| its.numbers())
                        .collect();
                    if others.is_empty() {
                        continue;
                    }
                    let other = ip(family, self.one(&others));
                    let dev = &uplink.dev;
                    self.line(
                        &node.name,
                        format!("ip neigh replace {other} lladdr 02:00:00:00:00:99 nud permanent dev {dev}"),
                    );
                }
            }
        }
    }

    fn endpoints(&mut self) {
        let shape = self.shape;
        for (_, endpoint) in shape.endpoints() {
            let name = endpoint.name.as_str();
            if self.chance(5) {
                let mtu = self.one(&[1280, 1300, 1400, 1500]);
                self.line(name, format!("ip link set eth0 mtu {mtu}"));
            }
            if self.chance(1) {
                self.line(name, "ip link set eth0 down".to_owned());
            }
            for family in Family::ALL {
                if self.chance(20) {
                    let (length, nodad) = match family {
                        Family::V4 => (32, ""),
                        Family::V6 => (128, " nodad"),
                    };
                    let address = ip(family, SPOOFED);
                    self.ip(
                        name,
                        family,
                        format!("addr add {address}/{length} dev eth0{nodad}"),
                    );
                }
                if self.chance(8) {
                    for call in netfilter(family, self.random) {
                        self.found.push(Change::Call(name.to_owned(), call));
                    }
                }
                if self.chance(2) {
                    let to = self.one(&[[1, 0], [2, 0], [20, 1]]);
                    let line = format!("route replace blackhole {}", narrow(family, to));
                    self.ip(name, family, line);
                }
                if self.chance(1) {
                    self.ip(name, family, "route del default");
                }
            }
            if self.chance(10) {
                self.setting(name, "ipv4/conf/eth0/rp_filter".to_owned(), "1");
            }
        }
    }
}

/// The address that is translated to an endpoint's.
pub const SERVICE: [u8; 3] = [90, 0, 1];
/// An address that an endpoint has without netpath's knowledge.
pub const SPOOFED: [u8; 3] = [70, 0, 1];
