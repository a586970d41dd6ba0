//! Faults of labs.

use netpath_tests::lab::{TWO_NODES, addresses};

use super::{Patient, obey};

/// How a fault goes.
#[derive(Clone, Copy, Debug)]
enum Cure {
    /// By the commands that the cure names.
    Typed,
    /// By these lines, as the cure says in words; and then by `netpath up`.
    Lines(&'static [&'static str]),
}

/// A fault that is planted, what has to be found, and how it goes.
struct Case {
    plant: &'static [&'static str],
    found: &'static str,
    cure: Cure,
}

const fn typed(plant: &'static [&'static str], found: &'static str) -> Case {
    Case {
        plant,
        found,
        cure: Cure::Typed,
    }
}

const fn lines(
    plant: &'static [&'static str],
    found: &'static str,
    cure: &'static [&'static str],
) -> Case {
    Case {
        plant,
        found,
        cure: Cure::Lines(cure),
    }
}

const CASES: &[Case] = &[
    typed(
        &["A: ip link set va1 down"],
        "interface_down of endpoint a1 on A",
    ),
    typed(
        &["a1: ip link set eth0 down"],
        "interface_down of endpoint a1 on A",
    ),
    typed(
        &["A: ip link set va1 name strange0"],
        "interface_renamed of endpoint a1 on A",
    ),
    typed(
        &["A: ip link del va2"],
        "interface_gone of endpoint a2 on A",
    ),
    typed(
        &["A: ip link set up0 down"],
        "interface_down of uplink up0 on A",
    ),
    typed(
        &["a1: ip link set eth0 mtu 1400"],
        "mtu_differs of endpoint a1 on A",
    ),
    typed(
        &[
            "A: ip link set va1 mtu 1400",
            "a1: ip link set eth0 mtu 1400",
        ],
        "mtu_other of endpoint a1 on A",
    ),
    typed(
        &["A: ip link set va1 mtu 1200"],
        "mtu_too_small of endpoint a1 on A",
    ),
    typed(
        &["A: sysctl -qw net.ipv4.ip_forward=0"],
        "forwarding_off of node A",
    ),
    typed(
        &["A: sysctl -qw net.ipv6.conf.va1.forwarding=0"],
        "sysctl of endpoint a1 on A",
    ),
    typed(
        &["A: sysctl -qw net.ipv4.conf.up0.rp_filter=1"],
        "reverse_path_filter of uplink up0 on A",
    ),
    typed(
        &["A: ip route del 10.0.1.2"],
        "node_route_gone of endpoint a1 on A",
    ),
    typed(
        &["A: ip route del 10.0.3.0/24"],
        "route_gone of route 10.0.3.0/24 on A",
    ),
    typed(
        &["A: ip route replace 10.0.3.0/24 via 100.100.198.77"],
        "route_elsewhere of route 10.0.3.0/24 on A",
    ),
    lines(
        &["A: ip rule add to 10.0.3.0/24 prohibit"],
        "route_refuses of route 10.0.3.0/24 on A",
        &["A: ip rule del to 10.0.3.0/24"],
    ),
    lines(
        &[
            "A: ip route add 10.0.3.0/24 via 100.100.198.77 table 77",
            "A: ip rule add to 10.0.3.0/24 lookup 77",
        ],
        "led_elsewhere of route 10.0.3.0/24 on A",
        &[
            "A: ip rule del to 10.0.3.0/24 lookup 77",
            "A: ip route flush table 77",
        ],
    ),
    typed(
        &["a1: ip route del default via 169.254.1.1"],
        "default_route_gone of endpoint a1 on A",
    ),
    typed(
        &["A: ip neigh del 10.0.1.2 dev va1"],
        "neighbour_gone of endpoint a1 on A",
    ),
    typed(
        &["a1: ip addr del fd00:1::2/64 dev eth0"],
        "address_gone of endpoint a1 on A",
    ),
    typed(
        &["A: ip addr del 169.254.1.1/32 dev va1"],
        "gateway_gone of endpoint a1 on A",
    ),
    typed(
        &["A: ip addr add 192.0.2.9/32 dev lo"],
        "own_address_unknown of node A",
    ),
    typed(
        &["A: ip addr add 10.0.1.2/32 dev up0"],
        "address_twice of endpoint a1 on A",
    ),
    typed(
        &["a2: ip addr add 10.0.1.2/32 dev lo"],
        "address_twice of endpoint a1 on A",
    ),
    typed(
        &["A: ip link set up0 address 02:00:00:00:00:99"],
        "other_mac of uplink up0 on A",
    ),
    lines(
        &["A: ip link set up0 arp off"],
        "arp_off of uplink up0 on A",
        &["A: ip link set up0 arp on"],
    ),
    lines(
        &[
            "A: iptables -w -A FORWARD -m conntrack --ctstate INVALID -j DROP",
            "A: sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0",
        ],
        "invalid_dropped of node A",
        &[
            "A: sysctl -qw net.netfilter.nf_conntrack_tcp_loose=1",
            "A: iptables -w -D FORWARD -m conntrack --ctstate INVALID -j DROP",
        ],
    ),
    lines(
        &[
            "A: iptables -w -t raw -A PREROUTING -s 10.0.1.0/24 -j CT --notrack",
            "A: iptables -w -A FORWARD -m conntrack --ctstate INVALID -j DROP",
        ],
        "notrack_one_way of node A",
        // The other direction too, as the cure says.
        &["A: iptables -w -t raw -A PREROUTING -d 10.0.1.0/24 -j CT --notrack"],
    ),
    lines(
        &[
            "A: ip route replace 10.0.3.0/24 nexthop via 100.100.198.253 nexthop via 100.100.198.252",
        ],
        "ecmp_by_addresses of route 10.0.3.0/24 on A",
        &["A: ip route del 10.0.3.0/24"],
    ),
    lines(
        &["A: iptables -w -P FORWARD ACCEPT"],
        "forward_policy of node A",
        &[],
    ),
];

#[test]
fn what_is_wrong_in_a_lab_is_found_and_the_cure_takes_it_away() {
    are_found_and_cured(&CASES[..CASES.len() / 2]);
}

#[test]
fn what_else_is_wrong_in_a_lab_is_found_and_the_cure_takes_it_away() {
    are_found_and_cured(&CASES[CASES.len() / 2..]);
}

fn are_found_and_cured(cases: &[Case]) {
    let patient = Patient::new(TWO_NODES);
    assert_eq!(patient.told().not_ok(), Vec::<String>::new());
    let up = format!("`netpath up -f {}`", patient.file.path());
    for Case { plant, found, cure } in cases {
        patient.plant(plant);
        let told = patient.told();
        let words = told.words(&patient.lab);
        assert!(words.iter().any(|it| it == found), "{plant:?}: {words:?}");
        let id = found.split(' ').next().expect("an id");
        let typed = told.cure(id);
        assert!(!typed.is_empty());
        match cure {
            Cure::Typed => obey(&typed),
            Cure::Lines(lines) => patient.plant(lines),
        }
        if matches!(cure, Cure::Lines(_)) || !typed.contains("netpath up") {
            obey(&up);
        }
        let left = patient.told();
        assert_eq!(left.not_ok(), Vec::<String>::new(), "{plant:?}: {typed}");
        assert_eq!(left.status, Some(0), "{plant:?}");
    }
    for dst in addresses("b1") {
        patient.lab.assert_reaches("a1", dst, 62);
    }
}
