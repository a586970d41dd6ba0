//! Random topologies: what `netpath up` is given, and what the test knows of it.

use std::{fmt::Write as _, net::IpAddr};

use netpath::random::SplitMix64;
use netpath_common::Family;
use netpath_tests::random_rules::{chance, ip, narrow, one};

/// The numbers of endpoints' addresses: those that random rules speak of.
const ENDPOINTS: [[u8; 3]; 7] = [
    [1, 0, 2],
    [2, 0, 2],
    [3, 0, 3],
    [20, 1, 7],
    [20, 5, 7],
    [30, 3, 7],
    [30, 1, 7],
];

/// An interface of a node's on a wire.
#[derive(Clone, Debug)]
pub struct Uplink {
    pub dev: String,
    /// Which wire.
    pub wire: u8,
    /// The last number of its address there.
    pub host: u8,
}

#[derive(Clone, Debug)]
pub struct Endpoint {
    pub name: String,
    pub host_dev: String,
    pub numbers: [u8; 3],
}

#[derive(Clone, Debug)]
pub struct Node {
    pub name: String,
    pub uplinks: Vec<Uplink>,
    pub endpoints: Vec<Endpoint>,
    /// By the endpoint's numbers: the next hop's.
    pub routes: Vec<([u8; 3], [u8; 3])>,
    /// Those of them that the file leaves to the kernel.
    pub of_kernel: Vec<([u8; 3], [u8; 3])>,
}

/// Names without the lab's prefix.
#[derive(Clone, Debug)]
pub struct Shape {
    pub nodes: Vec<Node>,
    pub text: String,
}

impl Uplink {
    pub fn numbers(&self) -> [u8; 3] {
        [9, self.wire, self.host]
    }
}

impl Node {
    pub fn devs(&self) -> Vec<String> {
        let endpoints = self.endpoints.iter().map(|it| it.host_dev.clone());
        let uplinks = self.uplinks.iter().map(|it| it.dev.clone());
        endpoints.chain(uplinks).collect()
    }
}

impl Shape {
    /// One node; two on a wire; three on a wire, two of which may go by the third; two on wires of their own and one between.
    pub fn random(random: &mut SplitMix64) -> Self {
        let (count, wires): (usize, &[&[u8]]) = match random.below(8) {
            0 => (1, &[&[1]]),
            1..=3 => (2, &[&[1], &[1]]),
            4 => (3, &[&[1], &[1], &[1]]),
            _ => (3, &[&[1, 2], &[1], &[2]]),
        };
        let is_hub = wires.iter().any(|its| its.len() > 1);
        let by_third = is_hub || count == 3 && chance(random, 50);
        let mut nodes: Vec<Node> = (0..count).map(|at| node(at, wires[at])).collect();
        let least = if by_third && chance(random, 30) { 1 } else { 0 };
        let all = (count + random.below(4)).clamp(2, ENDPOINTS.len());
        for (number, numbers) in ENDPOINTS.into_iter().take(all).enumerate() {
            let place = match number {
                _ if number + least < count => number + least,
                _ => least + random.below(count - least),
            };
            let node = &mut nodes[place];
            if node.endpoints.len() == 2 && count > 1 || node.endpoints.len() == 3 {
                continue;
            }
            // `r2` is the uplink's.
            let host_dev = ["r0", "r1", "r5"][node.endpoints.len()].to_owned();
            node.endpoints.push(Endpoint {
                name: format!("e{number}"),
                host_dev,
                numbers,
            });
        }
        let owners: Vec<(usize, [u8; 3])> = nodes
            .iter()
            .enumerate()
            .flat_map(|(at, node)| node.endpoints.iter().map(move |it| (at, it.numbers)))
            .collect();
        for at in 0..count {
            for &(owner, numbers) in owners.iter().filter(|(owner, _)| *owner != at) {
                let next = if at != 0 && owner != 0 && by_third {
                    0
                } else {
                    owner
                };
                let via = via(&nodes[at], &nodes[next]);
                match chance(random, 15) {
                    true => nodes[at].of_kernel.push((numbers, via)),
                    false => nodes[at].routes.push((numbers, via)),
                }
            }
        }
        let text = text(&nodes, random);
        Self { nodes, text }
    }

    pub fn endpoints(&self) -> impl Iterator<Item = (&Node, &Endpoint)> {
        let nodes = self.nodes.iter();
        nodes.flat_map(|node| node.endpoints.iter().map(move |endpoint| (node, endpoint)))
    }

    pub fn places(&self) -> Vec<String> {
        let nodes = self.nodes.iter().map(|node| node.name.clone());
        nodes
            .chain(self.endpoints().map(|(_, it)| it.name.clone()))
            .collect()
    }

    /// Every namespace's interfaces.
    pub fn interfaces(&self) -> Vec<(String, String)> {
        let of = |node: &Node| {
            let name = node.name.clone();
            node.devs().into_iter().map(move |dev| (name.clone(), dev))
        };
        let nodes = self.nodes.iter().flat_map(of);
        let endpoints = self.endpoints();
        nodes
            .chain(endpoints.map(|(_, it)| (it.name.clone(), "eth0".to_owned())))
            .collect()
    }
}

fn node(at: usize, wires: &[u8]) -> Node {
    let devs = ["r2", "r3"].into_iter();
    let uplinks = wires.iter().zip(devs).map(|(wire, dev)| Uplink {
        dev: dev.to_owned(),
        wire: *wire,
        host: u8::try_from(at).expect("few") + 1,
    });
    Node {
        name: ["A", "B", "C"][at].to_owned(),
        uplinks: uplinks.collect(),
        endpoints: Vec::new(),
        routes: Vec::new(),
        of_kernel: Vec::new(),
    }
}

/// The address of a node on the wire that another shares with it.
fn via(from: &Node, to: &Node) -> [u8; 3] {
    let shared = to
        .uplinks
        .iter()
        .find(|its| from.uplinks.iter().any(|own| own.wire == its.wire));
    shared.expect("a wire that both are on").numbers()
}

fn both(numbers: [u8; 3]) -> String {
    let [v4, v6]: [IpAddr; 2] = Family::ALL.map(|family| ip(family, numbers));
    format!("[\"{v4}/24\", \"{v6}/48\"]")
}

fn text(nodes: &[Node], random: &mut SplitMix64) -> String {
    let mut text = String::new();
    for node in nodes {
        writeln!(text, "[[node]]\nname = \"@{}\"", node.name).expect("a string");
        if chance(random, 40) {
            text.push_str("forward_policy = \"drop\"\n");
        }
        if !node.of_kernel.is_empty() || chance(random, 30) {
            text.push_str("fast_prefixes = [\"10.0.0.0/8\", \"fd00::/16\"]\n");
        }
        if chance(random, 25) {
            writeln!(text, "mtu = {}", one(random, &[1300, 1400, 1450])).expect("a string");
        }
        for uplink in &node.uplinks {
            writeln!(
                text,
                "[[node.uplink]]\ndev = \"{}\"\naddresses = {}\nwire = \"@w{}\"",
                uplink.dev,
                both(uplink.numbers()),
                uplink.wire
            )
            .expect("a string");
        }
        for ([x, y, _], via) in &node.routes {
            for family in Family::ALL {
                writeln!(
                    text,
                    "[[node.route]]\ndst = \"{}\"\nvia = \"{}\"",
                    narrow(family, [*x, *y]),
                    ip(family, *via)
                )
                .expect("a string");
            }
        }
        for endpoint in &node.endpoints {
            writeln!(
                text,
                "[[node.endpoint]]\nname = \"@{}\"\naddresses = {}\nhost_dev = \"{}\"",
                endpoint.name,
                both(endpoint.numbers),
                endpoint.host_dev
            )
            .expect("a string");
        }
    }
    text
}
