//! What each way is made of, as commands of iproute2. Pure.

use std::fmt::Write as _;

use netpath::provision::{GATEWAY_V4, GATEWAY_V6};
use netpath_common::Family;

use crate::{
    lab::UPLINK,
    results::{Path, Reach},
};

/// A namespace of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The sending endpoint's.
    Sender,
    /// The receiving endpoint's.
    Receiver,
    /// The node that traffic passes first.
    First,
    /// The node behind it.
    Second,
    /// One for what none of these has: a bridge, a parent.
    Aside,
}

/// Commands of one program in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub at: Place,
    /// `ip` or `bridge`.
    pub program: &'static str,
    /// Its commands, a line each.
    pub lines: String,
}

/// A way that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub reach: Reach,
    pub steps: Vec<Step>,
    /// Interfaces that have to see both their ends before a packet is sent.
    pub awaited: Vec<(Place, &'static str)>,
    /// Interfaces of which all together receive each packet once.
    pub counted: Vec<(Place, &'static str)>,
    pub addresses: Addresses,
}

/// Where traffic of a way starts and ends: the sender's and the receiver's, without prefix length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub v4: [String; 2],
    pub v6: [String; 2],
}

impl Addresses {
    pub fn of(&self, family: Family) -> &[String; 2] {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

/// How to make a way; `None` for paths that are there without it. `netns` are the names of the sender's and the
/// receiver's namespace.
pub(super) fn plan(path: Path, netns: [&str; 2]) -> Option<Plan> {
    match path {
        Path::Bridge => Some(bridge(netns)),
        Path::Macvlan => Some(macvlan(netns)),
        Path::Ipvlan => Some(ipvlan(netns)),
        Path::Vxlan => Some(vxlan()),
        Path::Ipip => Some(ipip()),
        Path::Direct
        | Path::Floor
        | Path::FloorRemote
        | Path::Netpath
        | Path::Kernel
        | Path::Iptables
        | Path::IptablesRules(_)
        | Path::NftRules(_)
        | Path::NftSet(_)
        | Path::NftFlowtable
        | Path::Nat => None,
    }
}

fn step(at: Place, program: &'static str, lines: impl Into<String>) -> Step {
    Step {
        at,
        program,
        lines: lines.into(),
    }
}

/// What docker, podman and the CNI plugin `bridge` make, without their rules.
fn bridge([a, b]: [&str; 2]) -> Plan {
    let macs = ["02:78:00:03:00:01", "02:78:00:03:00:02"];
    let mut steps = vec![step(
        Place::Aside,
        "ip",
        format!(
            "link add bridge0 type bridge\n\
             link set bridge0 up\n\
             link add port-a type veth peer name bridged0 address {} netns {a}\n\
             link add port-b type veth peer name bridged0 address {} netns {b}\n\
             link set port-a master bridge0 up\n\
             link set port-b master bridge0 up\n",
            macs[0], macs[1]
        ),
    )];
    steps.extend(neighbours("bridged0", 3, macs));
    Plan {
        awaited: vec![
            (Place::Sender, "bridged0"),
            (Place::Receiver, "bridged0"),
            (Place::Aside, "port-a"),
            (Place::Aside, "port-b"),
        ],
        counted: vec![(Place::Aside, "port-a"), (Place::Aside, "port-b")],
        ..on_link(3, steps)
    }
}

fn macvlan([a, b]: [&str; 2]) -> Plan {
    let macs = ["02:78:00:04:00:01", "02:78:00:04:00:02"];
    let mut lines = parent("mparent", "mpeer", "02:78:00:04:00:0f");
    for (netns, mac) in [a, b].into_iter().zip(macs) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            lines,
            "link add link mparent name macvlan0 address {mac} netns {netns} type macvlan mode bridge"
        );
    }
    let mut steps = vec![step(Place::Aside, "ip", lines)];
    steps.extend(neighbours("macvlan0", 4, macs));
    Plan {
        counted: vec![(Place::Sender, "macvlan0"), (Place::Receiver, "macvlan0")],
        ..on_link(4, steps)
    }
}

/// In layer 2, as docker has it by default. All interfaces have the parent's address.
fn ipvlan([a, b]: [&str; 2]) -> Plan {
    let mac = "02:78:00:05:00:0f";
    let mut lines = parent("iparent", "ipeer", mac);
    for netns in [a, b] {
        let _infallible = writeln!(
            lines,
            "link add link iparent name ipvlan0 netns {netns} type ipvlan mode l2"
        );
    }
    let mut steps = vec![step(Place::Aside, "ip", lines)];
    steps.extend(neighbours("ipvlan0", 5, [mac; 2]));
    Plan {
        counted: vec![(Place::Sender, "ipvlan0"), (Place::Receiver, "ipvlan0")],
        ..on_link(5, steps)
    }
}

/// An interface for others to be made on: a machine's network card, here one end of a veth pair.
fn parent(name: &str, peer: &str, mac: &str) -> String {
    format!(
        "link add {name} address {mac} type veth peer name {peer}\n\
         link set {name} up\n\
         link set {peer} up\n"
    )
}

/// Two endpoints of one node that find each other without a router, in the subnet of a number.
fn on_link(subnet: u8, steps: Vec<Step>) -> Plan {
    let end = |end: u8| {
        (
            format!("10.78.{subnet}.{end}"),
            format!("fd78:{subnet}::{end}"),
        )
    };
    let (one, other) = (end(1), end(2));
    Plan {
        reach: Reach::SameNode,
        steps,
        awaited: Vec::new(),
        counted: Vec::new(),
        addresses: Addresses {
            v4: [one.0, other.0],
            v6: [one.1, other.1],
        },
    }
}

/// Each end has its addresses and knows the other's, as endpoints of netpath's know their gateway.
fn neighbours(dev: &str, subnet: u8, macs: [&str; 2]) -> [Step; 2] {
    [(Place::Sender, 1, 2), (Place::Receiver, 2, 1)].map(|(at, own, other)| {
        let mac = macs[other - 1];
        let lines = format!(
            "link set {dev} up\n\
             addr add 10.78.{subnet}.{own}/24 dev {dev}\n\
             addr add fd78:{subnet}::{own}/64 dev {dev} nodad\n\
             neigh replace 10.78.{subnet}.{other} lladdr {mac} dev {dev} nud permanent\n\
             neigh replace fd78:{subnet}::{other} lladdr {mac} dev {dev} nud permanent\n"
        );
        step(at, "ip", lines)
    })
}

/// One node and its endpoint, as an overlay sees them.
struct Side {
    node: Place,
    endpoint: Place,
    /// The node's interface to its endpoint.
    dev: &'static str,
    /// The third number of the endpoint's addresses in lab.toml.
    subnet: u8,
    /// The last number of the node's uplink addresses.
    uplink: u8,
}

const SIDES: [Side; 2] = [
    Side {
        node: Place::First,
        endpoint: Place::Sender,
        dev: "bench-a",
        subnet: 1,
        uplink: 1,
    },
    Side {
        node: Place::Second,
        endpoint: Place::Receiver,
        dev: "bench-c",
        subnet: 3,
        uplink: 2,
    },
];

/// Both sides, each with the other.
fn sides() -> [[&'static Side; 2]; 2] {
    let [one, other] = &SIDES;
    [[one, other], [other, one]]
}

/// What an endpoint and its node know of further addresses of it, and the endpoint of those behind the other node: they are in
/// their own prefixes, so that the routes by which all other paths go stay what they are.
fn further(own: &Side, far: &Side, block: u8, mtu: [u16; 2]) -> [Step; 2] {
    let (subnet, dev) = (own.subnet, own.dev);
    let node = format!(
        "route add 10.{block}.{subnet}.2/32 via 10.77.{subnet}.2 dev {dev} onlink\n\
         route add fd{block}:{subnet}::2/128 via fd77:{subnet}::2 dev {dev} onlink\n"
    );
    let [v4, v6] = mtu;
    let endpoint = format!(
        "addr add 10.{block}.{subnet}.2/32 dev eth0\n\
         addr add fd{block}:{subnet}::2/128 dev eth0 nodad\n\
         route add 10.{block}.{far}.0/24 via {GATEWAY_V4} dev eth0 onlink src 10.{block}.{subnet}.2 mtu {v4}\n\
         route add fd{block}:{far}::/64 via {GATEWAY_V6} dev eth0 src fd{block}:{subnet}::2 mtu {v6}\n",
        far = far.subnet
    );
    [
        step(own.node, "ip", node),
        step(own.endpoint, "ip", endpoint),
    ]
}

fn overlay(block: u8, steps: Vec<Step>, counted: Vec<(Place, &'static str)>) -> Plan {
    let v4 = |side: &Side| format!("10.{block}.{}.2", side.subnet);
    let v6 = |side: &Side| format!("fd{block}:{}::2", side.subnet);
    let [one, other] = &SIDES;
    Plan {
        reach: Reach::TwoNodes,
        steps,
        awaited: Vec::new(),
        counted,
        addresses: Addresses {
            v4: [v4(one), v4(other)],
            v6: [v6(one), v6(other)],
        },
    }
}

/// As flannel's backend of that name sets it up: no learning, and for each other node a neighbour, an entry of the
/// forwarding database and a route. IPv6 travels in IPv6.
fn vxlan() -> Plan {
    const BLOCK: u8 = 79;
    /// 1,500 without the outer headers: 50 bytes with IPv4, 70 with IPv6.
    const MTU: [u16; 2] = [1450, 1430];
    let mac = |side: &Side| format!("02:79:00:00:00:0{}", side.uplink);
    let mut steps = Vec::new();
    for [own, far] in sides() {
        let (number, other) = (own.uplink, far.uplink);
        let mut lines = String::new();
        for (dev, local) in [("vxlan4", "100.77.0."), ("vxlan6", "fd77:f::")] {
            let _infallible = write!(
                lines,
                "link add {dev} address {} type vxlan id 1 dev {UPLINK} local {local}{number} dstport 8472 \
                 nolearning\n\
                 link set {dev} up\n",
                mac(own)
            );
        }
        let far_mac = mac(far);
        let _infallible = write!(
            lines,
            "addr add 10.{BLOCK}.0.{number}/32 dev vxlan4\n\
             addr add fd{BLOCK}::{number}/128 dev vxlan6 nodad\n\
             neigh replace 10.{BLOCK}.0.{other} lladdr {far_mac} dev vxlan4 nud permanent\n\
             neigh replace fd{BLOCK}::{other} lladdr {far_mac} dev vxlan6 nud permanent\n\
             route add 10.{BLOCK}.{far}.0/24 via 10.{BLOCK}.0.{other} dev vxlan4 onlink\n\
             route add fd{BLOCK}:{far}::/64 via fd{BLOCK}::{other} dev vxlan6 onlink\n",
            far = far.subnet
        );
        steps.push(step(own.node, "ip", lines));
        let entries = format!(
            "fdb append {far_mac} dev vxlan4 dst 100.77.0.{other}\n\
             fdb append {far_mac} dev vxlan6 dst fd77:f::{other}\n"
        );
        steps.push(step(own.node, "bridge", entries));
        steps.extend(further(own, far, BLOCK, MTU));
    }
    let nodes = [Place::First, Place::Second];
    let counted = nodes.map(|node| [(node, "vxlan4"), (node, "vxlan6")]);
    overlay(BLOCK, steps, counted.concat())
}

/// As Calico's IPIP: IPv4 in IPv4.
fn ipip() -> Plan {
    const BLOCK: u8 = 80;
    /// 1,500 without the outer header; IPv6 is not asked for.
    const MTU: [u16; 2] = [1480, 1480];
    let mut steps = Vec::new();
    for [own, far] in sides() {
        let lines = format!(
            "link add ipip0 type ipip local 100.77.0.{} remote 100.77.0.{}\n\
             link set ipip0 up\n\
             route add 10.{BLOCK}.{}.0/24 dev ipip0\n",
            own.uplink, far.uplink, far.subnet
        );
        steps.push(step(own.node, "ip", lines));
        steps.extend(further(own, far, BLOCK, MTU));
    }
    let counted = vec![(Place::First, "ipip0"), (Place::Second, "ipip0")];
    overlay(BLOCK, steps, counted)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const WAYS: [Path; 5] = [
        Path::Bridge,
        Path::Macvlan,
        Path::Ipvlan,
        Path::Vxlan,
        Path::Ipip,
    ];

    #[test]
    fn no_two_ways_share_an_address() {
        let mut all = Vec::new();
        for path in WAYS {
            let plan = plan(path, ["a", "b"]).expect("a way");
            for family in Family::ALL {
                for text in plan.addresses.of(family) {
                    let address: IpAddr = text.parse().expect("an address");
                    assert_eq!(address.is_ipv4(), family == Family::V4, "{text}");
                    // In what the commands give to an interface.
                    let given = format!("addr add {text}/");
                    let count = plan.steps.iter().map(|it| it.lines.matches(&given).count());
                    assert_eq!(count.sum::<usize>(), 1, "{path}: {text}");
                    all.push(address);
                }
            }
        }
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!((all.len(), count), (4 * 5, 4 * 5));
    }

    #[test]
    fn a_way_is_where_its_path_may_be() {
        for path in WAYS {
            let plan = plan(path, ["a", "b"]).expect("a way");
            assert!(path.joins(plan.reach, Family::V4), "{path}");
            assert!(!plan.counted.is_empty(), "{path}");
        }
        assert_eq!(plan(Path::Netpath, ["a", "b"]), None);
    }
}
