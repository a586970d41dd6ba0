//! A hundred thousand forged frames on the wire, from endpoints and from outside, to nodes of a lab, to a machine and through a
//! hub, each another one: owners of the source, destinations, wrappings, fragments, options, transports, families. None
//! arrives, and each is counted for what it is. What is honest passes beside them.

mod shape;
mod way;

use std::net::IpAddr;

use netpath_tests::lab::{
    HUB, Lab, TWO_NODES, addresses, again_with_clsact, is_in_mode, on_a_machine, run,
};

use way::{Honest, Owner, Way};

/// Addresses of the nodes that no topology names.
const OTHERS: [&str; 2] = ["10.9.9.9", "fd99::9"];

/// An address of each of a2's prefixes.
const OF_A_PREFIX: [&str; 2] = ["10.8.0.3", "fd00:8::3"];

/// What each host-side veth has: the node's own for an endpoint.
const GATEWAYS: [&str; 2] = ["169.254.1.1", "fe80::1"];

/// All hosts of the link.
const ALL_HOSTS: [&str; 2] = ["224.0.0.1", "ff02::1"];

/// Where programs are clsact filters, one in so many.
const SHARE: usize = 10;

/// As many as that, or the share of it.
fn frames(count: usize) -> usize {
    if is_in_mode() { count / SHARE } else { count }
}

fn parse(texts: &[&str]) -> Vec<IpAddr> {
    let addresses = texts.iter().map(|text| text.parse().expect("an address"));
    addresses.collect()
}

fn of(names: &[&str]) -> Vec<IpAddr> {
    names.iter().flat_map(|name| addresses(name)).collect()
}

/// Sources that are somebody's, and those that are nobody's ever.
fn sources(others: &[Vec<IpAddr>]) -> Vec<(IpAddr, Owner)> {
    let martians = parse(&[
        "127.0.0.1",
        "240.0.0.1",
        "224.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "::1",
        "ff02::1",
        "::ffff:10.0.2.2",
        "::",
    ]);
    let others = others.iter().flatten().map(|it| (*it, Owner::Other));
    let martians = martians.into_iter().map(|it| (it, Owner::Martian));
    others.chain(martians).collect()
}

/// The same of both families.
fn honest(
    lab: &Lab,
    (node, host_dev): (&str, &str),
    ends: [&'static str; 2],
    row: &'static str,
) -> [Honest; 2] {
    let [from, to] = ends;
    let macs = (lab.mac(from, "eth0"), lab.mac(node, host_dev));
    [0, 1].map(|family| Honest {
        from: (from, "eth0"),
        macs,
        ends: (addresses(from)[family], addresses(to)[family]),
        to,
        row,
    })
}

/// The kernel of each node lets through what netpath leaves to it, so that what is not dropped arrives.
fn two_nodes() -> Lab {
    let text = TWO_NODES.replace("forward_policy = \"drop\"\n", "");
    let dev = "host_dev = \"va2\"";
    let prefixes = "prefixes = [\"10.8.0.0/28\", \"fd00:8::/64\"]";
    let lab = Lab::up(&text.replacen(dev, &format!("{dev}, {prefixes}"), 1));
    for node in ["A", "B"] {
        lab.ip(node, &format!("addr add {}/32 dev lo", OTHERS[0]));
        lab.ip(node, &format!("addr add {}/128 dev lo nodad", OTHERS[1]));
        // With a directed broadcast address that somebody chose.
        lab.ip(node, "addr add 10.97.0.1/24 broadcast 10.97.0.255 dev up0");
    }
    lab.converge();
    for (from, to) in [("a2", "b1"), ("b1", "a2"), ("a1", "a2"), ("b2", "b1")] {
        for address in addresses(to) {
            let routers = if from[..1] == to[..1] { 1 } else { 2 };
            lab.assert_reaches(from, address, 64 - routers);
        }
    }
    lab
}

fn from_an_endpoint(lab: &Lab) -> Way<'static> {
    Way {
        node: "A",
        dev: "va1",
        outside: ("a1", "eth0"),
        macs: (lab.mac("a1", "eth0"), lab.mac("A", "va1")),
        sources: sources(&[
            // The neighbour's, another node's endpoint's, the node's own, nobody's, one of its own subnet.
            of(&["a2", "b1", "A", "B"]),
            parse(&OTHERS),
            parse(&["192.0.2.1", "2001:db8::1", "10.0.1.77", "fd00:1::77"]),
            parse(&OF_A_PREFIX),
            parse(&GATEWAYS),
            parse(&["100.100.198.255", "10.97.0.255"]),
        ]),
        destinations: [of(&["a2", "b1", "A"]), parse(&GATEWAYS), parse(&ALL_HOSTS)].concat(),
        elsewhere: &[],
        endpoints: &["a2", "b1"],
        is_uplink: false,
        honest: honest(lab, ("A", "va2"), ["a2", "b1"], "va2 > up0 redirect_neigh"),
    }
}

#[test]
fn from_an_endpoint_none_goes_anywhere() {
    let lab = two_nodes();
    way::run(&lab, &from_an_endpoint(&lab), frames(40_000));
}

#[test]
fn from_outside_none_goes_anywhere() {
    let lab = two_nodes();
    let elsewhere = parse(&ALL_HOSTS);
    let way = Way {
        node: "A",
        dev: "up0",
        outside: ("B", "up0"),
        macs: (lab.mac("B", "up0"), lab.mac("A", "up0")),
        sources: sources(&[
            of(&["a1", "a2", "A"]),
            parse(&OTHERS),
            parse(&OF_A_PREFIX),
            parse(&["100.100.198.255", "10.97.0.255"]),
        ]),
        destinations: [of(&["a1", "a2", "A"]), parse(&ALL_HOSTS)].concat(),
        elsewhere: &elsewhere,
        endpoints: &["a1", "a2"],
        is_uplink: true,
        honest: honest(&lab, ("A", "va1"), ["a1", "a2"], "va1 > va2 redirect_peer"),
    };
    way::run(&lab, &way, frames(30_000));
}

/// Whatever address it has given itself on its link, an endpoint speaks to nobody else with it. To the node it may.
#[test]
fn from_an_address_of_its_link_an_endpoint_reaches_no_other() {
    let lab = two_nodes();
    let sources = parse(&["169.254.7.7", "fe80::77"]);
    let way = Way {
        sources: sources.into_iter().map(|it| (it, Owner::Link)).collect(),
        ..from_an_endpoint(&lab)
    };
    way::run_once(&lab, &way);
}

#[test]
fn on_a_machine_none_goes_anywhere() {
    on_a_machine(|lab| {
        for program in ["iptables", "ip6tables"] {
            run(&format!("{program} -w -P FORWARD ACCEPT"));
        }
        run(&format!("ip addr add {}/32 dev lo", OTHERS[0]));
        run(&format!("ip addr add {}/128 dev lo nodad", OTHERS[1]));
        lab.converge();
        let own = [
            of(&["A"]),
            parse(&OTHERS),
            parse(&["192.0.2.1", "192.0.2.255"]),
        ]
        .concat();
        let between = |row| honest(lab, ("H", "va2"), ["a2", "a1"], row);
        let from_an_endpoint = Way {
            node: "H",
            dev: "va1",
            outside: ("a1", "eth0"),
            macs: (lab.mac("a1", "eth0"), lab.mac("H", "va1")),
            sources: sources(&[of(&["a2", "b1", "B"]), own.clone(), parse(&GATEWAYS)]),
            destinations: of(&["a2", "b1", "A"]),
            elsewhere: &[],
            endpoints: &["a2"],
            is_uplink: false,
            honest: between("va2 > va1 redirect_peer"),
        };
        way::run(lab, &from_an_endpoint, frames(10_000));
        let from_outside = Way {
            dev: "up0",
            outside: ("P", "eth0"),
            macs: (lab.mac("P", "eth0"), lab.mac("H", "up0")),
            sources: sources(&[of(&["a1", "a2"]), own]),
            destinations: of(&["a1", "a2", "A"]),
            endpoints: &["a1", "a2"],
            is_uplink: true,
            honest: between("va2 > va1 redirect_peer"),
            ..from_an_endpoint
        };
        way::run(lab, &from_outside, frames(10_000));
        lab.down();
    });
}

/// A hub has no endpoints: all that it can know to be forged are its own addresses, and what is nobody's.
#[test]
fn through_a_hub_none_goes_anywhere() {
    let lab = Lab::up(&HUB.replace("forward_policy = \"drop\"\n", ""));
    lab.ip("A", &format!("addr add {}/32 dev lo", OTHERS[0]));
    lab.ip("A", &format!("addr add {}/128 dev lo nodad", OTHERS[1]));
    lab.converge();
    let b1 = parse(&["10.2.1.2", "fd00:2:1::2"]);
    let c1 = parse(&["10.3.1.2", "fd00:3:1::2"]);
    for &address in &c1 {
        lab.assert_reaches("b1", address, 61);
    }
    let own = ["10.9.1.1", "fd00:91::1", "10.9.2.1", "fd00:92::1"];
    let macs = (lab.mac("b1", "eth0"), lab.mac("B", "vb1"));
    let way = Way {
        node: "A",
        dev: "up0",
        outside: ("B", "up0"),
        macs: (lab.mac("B", "up0"), lab.mac("A", "up0")),
        sources: sources(&[
            parse(&own),
            parse(&OTHERS),
            parse(&["10.9.1.255", "10.9.2.255"]),
        ]),
        destinations: [c1.clone(), parse(&own)].concat(),
        elsewhere: &c1,
        endpoints: &["c1"],
        is_uplink: true,
        honest: [0, 1].map(|family| Honest {
            from: ("b1", "eth0"),
            macs,
            ends: (b1[family], c1[family]),
            to: "c1",
            row: "up0 > up1 redirect_neigh",
        }),
    };
    way::run(&lab, &way, frames(10_000));
}

/// The same where programs are clsact filters.
#[test]
fn with_clsact() {
    again_with_clsact(&[
        "from_an_endpoint_none_goes_anywhere",
        "from_outside_none_goes_anywhere",
        "from_an_address_of_its_link_an_endpoint_reaches_no_other",
        "on_a_machine_none_goes_anywhere",
        "through_a_hub_none_goes_anywhere",
    ]);
}
