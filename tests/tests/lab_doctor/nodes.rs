//! Faults of labs.

use netpath::model::wire_port;
use netpath_tests::lab::{TWO_NODES, addresses, run};

use super::{Patient, Told, obey};

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
    lines(
        &["A: tc qdisc add dev va1 root tbf rate 1gbit burst 64kb latency 10ms"],
        "bypassed of endpoint a1 on A",
        &["A: tc qdisc del dev va1 root"],
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

/// Only pins, links and maps of its own are touched; the test plants by the files that they are.
#[test]
fn what_is_unpinned_or_switched_off_is_found() {
    let patient = Patient::new(TWO_NODES);
    let lab = &patient.lab;
    let directory = lab.datapath("A").directory().to_owned();
    let up = format!("`netpath up -f {}`", patient.file.path());
    if netpath_tests::has_tcx() {
        std::fs::remove_file(directory.join("links/from_endpoint@va1")).expect("unpin");
    } else {
        lab.run("A", "tc filter del dev va1 ingress");
    }
    let told = patient.told();
    assert_eq!(told.words(lab), ["program_missing of endpoint a1 on A"]);
    assert_eq!(told.status, Some(3));
    obey(&told.cure("program_missing"));
    assert_eq!(patient.told().not_ok(), Vec::<String>::new());

    // What was switched off is a wish; what the kernel then drops is not.
    lab.fast_path(false, "A", None);
    let told = patient.told();
    let words = told.words(lab);
    for expected in ["fast_path_off of node A", "forward_drops of node A"] {
        assert!(words.iter().any(|it| it == expected), "{words:?}");
    }
    obey(
        "`netpath fastpath on`"
            .replace("on", &format!("on --node {}", lab.name("A")))
            .as_str(),
    );
    assert_eq!(patient.told().not_ok(), Vec::<String>::new());

    // Another netpath's programs are those with another fingerprint.
    let mut settings = lab.datapath("A").maps.settings.get().expect("settings");
    settings.object ^= 1;
    write_settings(lab, &settings);
    let told = patient.told();
    assert_eq!(told.words(lab), ["programs_of_another_version of node A"]);
    obey(&told.cure("programs_of_another_version"));
    assert_eq!(patient.told().not_ok(), Vec::<String>::new());
    obey(&up);
}

fn write_settings(lab: &netpath_tests::lab::Lab, settings: &netpath_common::Settings) {
    let path = lab.datapath("A").directory().join("maps/settings");
    // SAFETY: a plain structure without padding (`repr(C)`, asserted in netpath-common).
    let bytes = unsafe {
        std::slice::from_raw_parts(
            std::ptr::from_ref(settings).cast::<u8>(),
            size_of::<netpath_common::Settings>(),
        )
    };
    let bytes: Vec<String> = bytes.iter().map(ToString::to_string).collect();
    let line = format!(
        "bpftool map update pinned {} key 0 0 0 0 value {}",
        path.display(),
        bytes.join(" ")
    );
    lab.run("A", &line);
}

#[test]
fn uplinks_of_a_segment_have_one_mtu() {
    let patient = Patient::new(TWO_NODES);
    let lab = &patient.lab;
    // Both ends of the veth that leads to the segment, as somebody does who means it.
    let port = wire_port(
        &lab.name("A").parse().expect("a name"),
        &"up0".parse().expect("a name"),
    );
    patient.plant(&["A: ip link set up0 mtu 1400"]);
    run(&format!(
        "ip -n {} link set {port} mtu 1400",
        lab.wire_namespace("w")
    ));
    obey(&format!("`netpath up -f {}`", patient.file.path()));
    let told = patient.told();
    let words = told.words(lab);
    assert_eq!(words.len(), 1, "{words:?}");
    assert!(
        words[0].starts_with("segment_mtus_differ of uplink up0 on "),
        "{words:?}"
    );
    assert_eq!(told.status, Some(3));
    let cure = told.cure("segment_mtus_differ");
    obey(&cure);
    assert_eq!(patient.told().not_ok(), Vec::<String>::new(), "{cure}");
}

#[test]
fn what_is_worth_a_word_is_no_fault() {
    let text = TWO_NODES.replacen(
        "forward_policy = \"drop\"",
        "forward_policy = \"drop\"\nmtu = 9000\nmax_routes = 2",
        1,
    );
    let patient = Patient::new(&text);
    let lab = &patient.lab;
    // A source that is nobody's here.
    lab.run("a1", "ip addr add 10.0.77.7/32 dev eth0");
    let pinged = netpath_tests::lab::sized(100, addresses("a2")[0]);
    let report = lab.ping(
        "a1",
        addresses("a2")[0],
        &netpath::probe::ping::PingOptions {
            src: Some("10.0.77.7".parse().expect("an address")),
            timeout: std::time::Duration::from_millis(150),
            ..pinged
        },
    );
    assert_eq!((report.sent, report.received), (1, 0));
    lab.run("a1", "ip addr del 10.0.77.7/32 dev eth0");
    let told = patient.told();
    let words = told.words(lab);
    for expected in [
        "map_nearly_full of node A",
        "mtu_beyond_uplink of endpoint a1 on A",
        "mtu_beyond_uplink of endpoint a2 on A",
        "spoofed_packets of endpoint a1 on A",
    ] {
        assert!(
            words.iter().any(|it| it == expected),
            "no {expected} in {words:?}"
        );
    }
    assert_eq!(told.status, Some(0), "{words:?}");
    assert!(
        told.found().iter().all(|it| it["level"] == "note"),
        "{words:?}"
    );
    let alone = Told::by(&["--node", &lab.name("B")]);
    assert_eq!(alone.not_ok(), Vec::<String>::new());
}
