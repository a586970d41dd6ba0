//! `show` and `up` say of one and the same list what is wrong, also what is others' to mend: forwarding, filter FORWARD,
//! MTUs, next hops.

use std::{fs, process::Output, time::Duration};

use netpath::{model::wire_port, probe::ping::PingOptions};
use netpath_tests::{
    lab::{Deadline, HOST, Lab, TWO_NODES, addresses, on_a_machine, run},
    netpath,
};

/// All that `show` says of a node.
fn shown(lab: &Lab, node: &str) -> Vec<String> {
    lab.shown(node)
}

fn assert_told(lab: &Lab, node: &str, expected: &[&str]) {
    lab.assert_told(node, expected);
}

/// What is wrong is told by `show`, and `up` mends it in one go.
fn assert_mended(lab: &Lab, node: &str, expected: &[&str]) {
    assert_eq!(shown(lab, node), expected);
    assert_eq!(lab.plan(), lab.converge());
    assert_eq!(shown(lab, node), Vec::<String>::new());
    assert_eq!(lab.plan(), Vec::<String>::new());
}

fn next_hops(lab: &Lab, node: &str) -> Vec<String> {
    let node = lab.status(node);
    let routes = node.routes.iter().map(|route| {
        let hops = route.next_hops.iter().map(|hop| {
            let via = hop.via.map_or_else(String::new, |via| via.to_string());
            format!("{via} {}", hop.dev.as_deref().unwrap_or_default())
        });
        format!("{}: {}", route.dst, hops.collect::<Vec<_>>().join(", "))
    });
    routes.collect()
}

#[test]
fn a_next_hop_that_a_daemon_chose_is_shown_and_is_nothing_wrong() {
    on_a_machine(|lab| {
        lab.ip("P", "addr add 100.100.198.254/24 dev eth0");
        lab.ip("P", "addr add fd00:198::254/64 dev eth0 nodad");
        lab.converge();
        let before = [
            "10.0.3.0/24: 100.100.198.253 up0",
            "10.0.4.0/24: 100.100.198.253 up0",
            "fd00:3::/64: fd00:198::253 up0",
        ];
        assert_eq!(next_hops(lab, "H"), before);
        // In the place of netpath's own, and beside it.
        run("ip route replace 10.0.3.0/24 via 100.100.198.254 proto bird");
        run(
            "ip route replace 10.0.4.0/24 proto bird nexthop via 100.100.198.254 nexthop via 100.100.198.253",
        );
        run("ip route add fd00:3::/64 via fd00:198::254 metric 32 proto bird");
        assert_told(lab, "H", &[]);
        assert_eq!(
            next_hops(lab, "H"),
            [
                "10.0.3.0/24: 100.100.198.254 up0",
                "10.0.4.0/24: 100.100.198.254 up0, 100.100.198.253 up0",
                "fd00:3::/64: fd00:198::254 up0",
            ]
        );
        for dst in addresses("b1") {
            lab.assert_reaches("a1", dst, 63);
        }
        // The daemon takes its routes back.
        for dst in ["10.0.3.0/24", "10.0.4.0/24", "fd00:3::/64"] {
            run(&format!("ip route del {dst} proto bird"));
        }
        let gone =
            ["10.0.3.0/24", "10.0.4.0/24"].map(|dst| format!("route_gone of route {dst} on H"));
        assert_mended(lab, "H", &gone.each_ref().map(String::as_str));
        assert_eq!(next_hops(lab, "H"), before);
        // What leads nowhere is said.
        run("ip route replace blackhole 10.0.3.0/24 proto bird");
        run("ip route add unreachable fd00:3::/64 metric 32 proto bird");
        let told =
            ["10.0.3.0/24", "fd00:3::/64"].map(|dst| format!("route_refuses of route {dst} on H"));
        assert_told(lab, "H", &told.each_ref().map(String::as_str));
        assert_eq!(next_hops(lab, "H")[2], "fd00:3::/64: ");
        for dst in addresses("b1") {
            lab.assert_loses("a1", dst);
        }
        lab.down();
        let theirs = run("ip -4 route show") + &run("ip -6 route show");
        assert!(
            theirs.contains("blackhole 10.0.3.0/24 proto bird"),
            "{theirs}"
        );
        assert!(theirs.contains("unreachable fd00:3::/64"), "{theirs}");
    });
}

#[test]
fn a_next_hop_that_does_not_answer_is_told() {
    on_a_machine(|lab| {
        lab.converge();
        let mine = ["100.100.198.253/24", "fd00:198::253/64 nodad"];
        for address in mine {
            let address = address.trim_end_matches(" nodad");
            lab.ip("P", &format!("addr del {address} dev eth0"));
        }
        run("ip neigh flush dev up0");
        assert_told(lab, "H", &[]);
        for dst in addresses("b1") {
            lab.assert_loses("a1", dst);
        }
        // It is being asked, and then it is known that nobody answers. Of IPv6 the kernel may forget that at once.
        assert_told(lab, "H", &["next_hop_silent of node H"; 2]);
        let deadline = Deadline::new();
        while !run("ip -4 neigh show dev up0").contains("100.100.198.253 FAILED") {
            deadline.check(|| run("ip neigh show dev up0"));
        }
        let told = shown(lab, "H");
        assert!(
            told.contains(&"next_hop_silent of node H".to_owned()),
            "{told:?}"
        );
        for address in mine {
            lab.ip("P", &format!("addr add {address} dev eth0"));
        }
        lab.ip("P", "route replace 10.0.0.0/22 via 100.100.198.250");
        lab.ip("P", "route replace fd00::/30 via fd00:198::250");
        // The kernel would take its time to ask again.
        run("ip neigh flush dev up0");
        for dst in addresses("b1") {
            lab.assert_reaches("a1", dst, 63);
        }
        assert_told(lab, "H", &[]);
    });
}

#[test]
fn an_uplink_of_a_lab_that_does_not_forward_is_mended() {
    let lab = Lab::up(&TWO_NODES.replace("drop", "accept"));
    lab.fast_path(false, "A", None);
    for (family, key) in [
        (0, "ipv4/conf/up0/forwarding"),
        (1, "ipv6/conf/up0/forwarding"),
    ] {
        lab.set_sysctl("A", key, "0");
        match family {
            0 => lab.assert_loses("b1", addresses("a1")[family]),
            // The kernel asks the namespace's setting only (`ip6_forward`).
            _ => lab.assert_reaches("b1", addresses("a1")[family], 62),
        }
        assert_mended(&lab, "A", &["sysctl of uplink up0 on A"]);
        lab.assert_reaches("b1", addresses("a1")[family], 62);
    }
}

#[test]
fn what_of_the_machine_does_not_forward_is_told() {
    on_a_machine(|lab| {
        lab.converge();
        // IPv6 is forwarded by the namespace's setting alone (`ip6_forward`): nothing is lost.
        lab.set_sysctl("H", "ipv6/conf/up0/forwarding", "0");
        assert_told(lab, "H", &[]);
        lab.assert_reaches("a1", addresses("b1")[1], 63);
        lab.set_sysctl("H", "ipv6/conf/up0/forwarding", "1");
        // All of them at once: what is netpath's own, and what is the machine's.
        lab.set_sysctl("H", "ipv4/ip_forward", "0");
        lab.assert_loses("a1", addresses("b1")[0]);
        assert_eq!(
            shown(lab, "H"),
            [
                "machine_not_forwarding of uplink up0 on H",
                "sysctl of endpoint a1 on H",
                "sysctl of endpoint a2 on H",
            ]
        );
        assert!(lab.try_converge().is_err());
        lab.set_sysctl("H", "ipv4/conf/up0/forwarding", "1");
        assert_mended(
            lab,
            "H",
            &["sysctl of endpoint a1 on H", "sysctl of endpoint a2 on H"],
        );
        lab.assert_reaches("a1", addresses("b1")[0], 63);
    });
}

/// Runs netpath with the lab's topology.
fn with_file(lab: &Lab, arguments: &[&str]) -> Output {
    let path = std::env::temp_dir().join(format!("{}truth.toml", lab.prefix()));
    fs::write(&path, lab.text()).expect("a temporary file");
    let file = path.to_str().expect("UTF-8");
    let output = netpath(&[arguments, &["-f", file]].concat()).output();
    fs::remove_file(&path).expect("its own file");
    output.expect("start netpath")
}

#[test]
fn what_filter_forward_drops_is_told_where_it_is_left_to_the_kernel() {
    on_a_machine(|lab| {
        // The machine's policy is DROP, which the fast path passes by.
        lab.converge();
        assert_told(lab, "H", &[]);
        lab.fast_path(false, "H", None);
        for dst in addresses("a2") {
            lab.assert_loses("a1", dst);
        }
        assert_told(lab, "H", &["forward_drops of node H"; 2]);
        for command in [&["up"][..], &["up", "--dry-run"], &["show"]] {
            let output = with_file(lab, command);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{command:?}: {stderr}");
            let dropped = "from 10.0.1.2 to 10.0.2.2 is dropped by chain FORWARD: accept these";
            assert!(stderr.contains(dropped), "{command:?}: {stderr}");
        }
        let rules = [
            "iptables -w {} FORWARD -s 10.0.0.0/16 -j ACCEPT",
            "ip6tables -w {} FORWARD -s fd00::/16 -j ACCEPT",
        ];
        let rule = |at: usize, how: &str| drop(run(&rules[at].replace("{}", how)));
        rule(0, "-A");
        assert_told(lab, "H", &["forward_drops of node H"]);
        rule(1, "-A");
        for dst in addresses("a2") {
            lab.assert_reaches("a1", dst, 63);
        }
        assert_told(lab, "H", &[]);
        (0..2).for_each(|at| rule(at, "-D"));
        // Of one endpoint, and of what somebody has the kernel do.
        lab.fast_path(true, "H", None);
        lab.fast_path(false, "H", Some("a1"));
        lab.assert_loses("a1", addresses("a2")[0]);
        // What is for a1 is the kernel's, too: a connection is on one side.
        let told =
            ["a1", "a1", "a2", "a2"].map(|it| format!("forward_drops of endpoint {it} on H"));
        assert_told(lab, "H", &told.each_ref().map(String::as_str));
        lab.fast_path(true, "H", None);
        assert_told(lab, "H", &[]);
        run("tc qdisc add dev va2 root tbf rate 100mbit burst 32k latency 50ms");
        lab.converge();
        lab.assert_loses("a1", addresses("a2")[1]);
        // And what comes to a2 from outside.
        assert_told(lab, "H", &told.each_ref().map(String::as_str));
        let policy = run("iptables -w -S FORWARD") + &run("ip6tables -w -S FORWARD");
        assert_eq!(
            policy.matches("-P FORWARD DROP").count(),
            2,
            "the policy is the machine's"
        );
    });
}

#[test]
fn a_veth_whose_ends_have_different_mtus_is_mended() {
    // Where the ends agree the kernel answers what is too long, and forwards the next ones.
    let lab = Lab::up(&TWO_NODES.replace("drop", "accept"));
    let large = |from: &str, to: &str, family: usize| {
        let options = PingOptions {
            payload_len: 1420,
            count: 4,
            interval: Duration::from_millis(20),
            timeout: Duration::from_millis(300),
            ..PingOptions::default()
        };
        lab.ping(from, addresses(to)[family], &options).received
    };
    let ip =
        |namespace: &str, arguments: String| drop(run(&format!("ip -n {namespace} {arguments}")));
    // What it is about: all of it is lost, and nobody is told.
    ip(&lab.name("A"), "link set va2 mtu 1400".to_owned());
    let both = || [0, 1].map(|family| large("a2", "a1", family) != 0);
    assert_eq!(both(), [false; 2]);
    lab.converge();
    assert_eq!(both(), [true; 2]);
    let wire = lab.wire_namespace("w");
    let node = lab.name("A").parse().expect("a name");
    let port = wire_port(&node, &"up0".parse().expect("a name"));
    for (namespace, dev, mtu, object, to) in [
        (lab.name("A"), "va1", 1400, "endpoint a1 on A", "a2"),
        (lab.name("a1"), "eth0", 1390, "endpoint a1 on A", "a2"),
        (wire, port.as_ref(), 1380, "uplink up0 on A", "b1"),
        (lab.name("A"), "up0", 1370, "uplink up0 on A", "b1"),
    ] {
        ip(&namespace, format!("link set {dev} mtu {mtu}"));
        assert_mended(&lab, "A", &[&format!("mtu_differs of {object}")]);
        for family in [0, 1] {
            assert_ne!(large("a1", to, family), 0, "{dev} {mtu}");
        }
    }
}

#[test]
fn a_machine_without_endpoints_of_a_family_is_not_asked_for_it() {
    on_a_machine(|lab| {
        let text = HOST
            .replace(r#", "fd00:198::250/64""#, "")
            .replace(r#", "fd00:1::2/64""#, "");
        let text = text.replace(r#", "fd00:2::2/64""#, "");
        let lines = text.lines().filter(|line| !line.contains("fd00:3::"));
        lab.rewrite(&lines.collect::<Vec<_>>().join("\n"));
        lab.converge();
        lab.set_sysctl("H", "ipv6/conf/all/forwarding", "0");
        assert_told(lab, "H", &[]);
        lab.set_sysctl("H", "ipv6/conf/up0/forwarding", "0");
        assert_told(lab, "H", &[]);
    });
}

#[test]
fn a_node_that_knows_no_way_back_is_told_where_packets_are_sent_to_it() {
    let lines = TWO_NODES.lines();
    let one_way = lines.filter(|line| {
        !line.contains(r#"dst = "10.0.2.0/24""#) && !line.contains(r#"dst = "fd00:1::/64""#)
    });
    let mut lab = Lab::up(&one_way.collect::<Vec<_>>().join("\n"));
    lab.assert_loses("a2", addresses("b1")[0]);
    lab.assert_loses("a1", addresses("b1")[1]);
    assert_told(&lab, "A", &["no_way_back of node A"; 2]);
    assert_eq!(shown(&lab, "B"), Vec::<String>::new());
    // Whoever makes it.
    lab.ip("B", "route add default via 100.100.198.250");
    assert_told(&lab, "A", &["no_way_back of node A"]);
    lab.rewrite(TWO_NODES);
    lab.converge();
    assert_told(&lab, "A", &[]);
    lab.assert_reaches("a1", addresses("b1")[1], 62);
}
