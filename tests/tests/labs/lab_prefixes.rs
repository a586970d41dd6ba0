//! Prefixes that are routed to endpoints, in whole labs: addresses in them are reached and speak, over the fast
//! path as over the kernel's, and nobody else has them.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::atomic::Ordering,
    thread,
};

use netpath::{
    Ends as _,
    probe::tcp::{TransferOptions, tcp_transfer},
    provision::{self, ProvisionError, UpOptions},
};
use netpath_common::FeatureBits;
use netpath_tests::lab::{
    Bytes::{Any, Exactly},
    Deadline, Lab, TWO_NODES, addresses, on_a_machine,
};

const ETHERNET: u64 = 14;

/// a1's prefixes, and an address in each.
const OF_A1: &str = r#""10.9.1.0/28", "fd00:91::/64""#;
const NESTED: [&str; 2] = ["10.9.1.5", "fd00:91::5"];
/// Others, behind b1.
const OF_B1: &str = r#""10.9.3.0/24", "fd00:93::/64""#;
const NESTED_AT_B1: [&str; 2] = ["10.9.3.255", "fd00:93::5"];

fn address(text: &str) -> IpAddr {
    text.parse().expect(text)
}

fn ip_header(address: IpAddr) -> u64 {
    if address.is_ipv4() { 20 } else { 40 }
}

/// `TWO_NODES`, with prefixes behind a1 and b1 and the routes to them.
fn two_nodes() -> String {
    let mut text = TWO_NODES.to_owned();
    for (from, to) in [
        (
            r#""fd00:1::2/64"], host_dev"#,
            format!(r#""fd00:1::2/64"], prefixes = [{OF_A1}], host_dev"#),
        ),
        (
            r#""fd00:3::2/64"], host_dev"#,
            format!(r#""fd00:3::2/64"], prefixes = [{OF_B1}], host_dev"#),
        ),
        (
            r#"    { dst = "fd00:4::/64", via = "fd00:198::253" },"#,
            r#"    { dst = "fd00:4::/64", via = "fd00:198::253" },
    { dst = "10.9.3.0/24", via = "100.100.198.253" },
    { dst = "fd00:93::/64", via = "fd00:198::253" },"#
                .to_owned(),
        ),
        (
            r#"    { dst = "fd00:2::/64", via = "fd00:198::250" },"#,
            r#"    { dst = "fd00:2::/64", via = "fd00:198::250" },
    { dst = "10.9.1.0/24", via = "100.100.198.250" },
    { dst = "fd00:91::/64", via = "fd00:198::250" },"#
                .to_owned(),
        ),
    ] {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text = text.replace(from, &to);
    }
    text
}

/// Gives a namespace an address. The kernel adds the local route of an IPv6 one a moment later.
fn add_address(lab: &Lab, to: &str, address: &str, dev: &str) {
    lab.ip(to, &format!("addr add {address} dev {dev} nodad"));
    let bare = address.split('/').next().expect("an address");
    let deadline = Deadline::new();
    while !lab
        .ip(to, &format!("route get {bare}"))
        .starts_with("local ")
    {
        deadline.check(|| format!("{to} does not have {address}"));
        thread::yield_now();
    }
}

/// Gives the endpoints addresses in their prefixes.
fn nest(lab: &Lab) {
    for (endpoint, nested) in [("a1", NESTED), ("b1", NESTED_AT_B1)] {
        for nested in nested {
            add_address(lab, endpoint, nested, "lo");
        }
    }
}

/// A connection and its data, from an address of one's own choice.
fn transfer(lab: &Lab, from: &str, src: IpAddr, to: &str, dst: IpAddr) {
    let options = TransferOptions {
        src: Some(src),
        ..TransferOptions::new(dst)
    };
    let report = tcp_transfer(&lab.netns(from), &lab.netns(to), &options)
        .unwrap_or_else(|error| panic!("{src} to {dst}: {error}"));
    assert_eq!(report.bytes, options.bytes, "{report:?}");
}

/// Pings and transfers to and from the nested addresses, on one node and across two.
fn assert_nested_speak(lab: &Lab) {
    for (family, nested) in NESTED.into_iter().enumerate() {
        let (nested, far) = (address(nested), address(NESTED_AT_B1[family]));
        let (a1, a2) = (addresses("a1")[family], addresses("a2")[family]);
        lab.assert_reaches("a2", nested, 63);
        lab.assert_reaches_from("a1", Some(nested), a2, 63);
        lab.assert_reaches("a1", far, 62);
        lab.assert_reaches_from("b1", Some(far), nested, 62);
        lab.assert_reaches("b2", nested, 62);
        for (from, src, to, dst) in [
            ("a2", a2, "a1", nested),
            ("a1", nested, "a2", a2),
            ("a1", a1, "b1", far),
            ("b1", far, "a1", nested),
        ] {
            transfer(lab, from, src, to, dst);
        }
    }
}

#[test]
fn nested_addresses_speak_on_and_off_the_fast_path() {
    let lab = Lab::up(&two_nodes().replace("\"drop\"", "\"accept\""));
    nest(&lab);
    for on in [true, false, true] {
        for node in ["A", "B"] {
            lab.fast_path(on, node, None);
        }
        let before = [lab.traffic("A"), lab.traffic("B")];
        assert_nested_speak(&lab);
        for (node, before) in ["A", "B"].into_iter().zip(&before) {
            let difference = lab.traffic(node).since(before);
            let rows: Vec<_> = difference
                .without_chatter()
                .map(|(row, _)| row.to_owned())
                .collect();
            // With it on, all takes it; with it off, nothing is counted.
            let redirected = |row: &String| row.contains(" redirect_");
            assert!(rows.iter().all(|row| on && redirected(row)), "{rows:?}");
            assert_eq!(rows.is_empty(), !on);
        }
    }
}

#[test]
fn every_packet_is_counted_with_forward_at_drop() {
    let lab = Lab::up(&two_nodes());
    nest(&lab);
    let forwarded = (lab.forward_counters("A"), lab.forward_counters("B"));
    for (family, nested) in NESTED.into_iter().enumerate() {
        let (nested, far) = (address(nested), address(NESTED_AT_B1[family]));
        let bytes = Exactly(3 * (56 + 8 + ip_header(nested) + ETHERNET));
        let before = lab.traffic("A");
        lab.assert_reaches("a2", nested, 63);
        lab.assert_counted(
            "A",
            &before,
            &[
                ("va2 > va1 redirect_peer", 3, bytes),
                ("va1 > va2 redirect_peer", 3, bytes),
            ],
        );
        let before = (lab.traffic("A"), lab.traffic("B"));
        lab.assert_reaches_from("a1", Some(nested), far, 62);
        lab.assert_counted(
            "A",
            &before.0,
            &[
                ("va1 > up0 redirect_neigh", 3, bytes),
                ("up0 > va1 redirect_peer", 3, bytes),
            ],
        );
        lab.assert_counted(
            "B",
            &before.1,
            &[
                ("up0 > vb1 redirect_peer", 3, bytes),
                ("vb1 > up0 redirect_neigh", 3, bytes),
            ],
        );
    }
    let after = (lab.forward_counters("A"), lab.forward_counters("B"));
    assert_eq!(after, forwarded, "the FORWARD chains");
}

/// Sends a datagram from an address that the namespace need not have.
fn send_as(lab: &Lab, from: &str, src: IpAddr, dst: IpAddr) {
    add_address(lab, from, &src.to_string(), "lo");
    let send = || {
        let socket = UdpSocket::bind(SocketAddr::new(src, 0)).expect("bind");
        let sent = socket.send_to(b"netpath", SocketAddr::new(dst, 9));
        assert_eq!(sent.expect("send"), 7);
    };
    lab.inside(from, send);
    lab.ip(from, &format!("addr del {src} dev lo"));
}

#[test]
fn a_prefix_is_nobody_elses() {
    let lab = Lab::up(&two_nodes());
    for (family, nested) in NESTED.into_iter().enumerate() {
        let (nested, dst) = (address(nested), addresses("b2")[family]);
        let before = lab.traffic("A");
        send_as(&lab, "a2", nested, dst);
        lab.assert_counted("A", &before, &[("va2 > - drop spoofed", 1, Any)]);
        // Node B knows it as remote, which says nothing of who may send from it there.
        let before = (lab.traffic("A"), lab.traffic("B"));
        send_as(&lab, "b2", nested, addresses("a2")[family]);
        lab.assert_counted("B", &before.1, &[("vb2 > - drop spoofed", 1, Any)]);
        lab.assert_counted("A", &before.0, &[]);
    }
}

/// A container inside the endpoint, with a veth of its own: the endpoint is its router.
#[test]
fn a_namespace_behind_the_endpoint() {
    let mut lab = Lab::prepare(&two_nodes());
    drop(lab.foreign_namespace("inner"));
    lab.converge();
    for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        lab.set_sysctl("a1", key, "1");
    }
    lab.set_sysctl("inner", "ipv6/conf/default/accept_dad", "0");
    let inner = lab.name("inner");
    lab.ip(
        "a1",
        &format!("link add in0 type veth peer name eth0 netns {inner}"),
    );
    lab.ip("a1", "link set in0 up");
    lab.ip("inner", "link set eth0 up");
    for (nested, router, option) in [
        (NESTED[0], "10.9.1.1/28", ""),
        (NESTED[1], "fd00:91::1/64", "-6 "),
    ] {
        let length = router.split_once('/').expect("a length").1;
        add_address(&lab, "a1", router, "in0");
        add_address(&lab, "inner", &format!("{nested}/{length}"), "eth0");
        let gateway = router.split_once('/').expect("an address").0;
        lab.ip("inner", &format!("{option}route add default via {gateway}"));
    }
    for (family, nested) in NESTED.into_iter().enumerate() {
        let nested = address(nested);
        for (other, ttl) in [("a2", 62), ("b1", 61)] {
            let dst = addresses(other)[family];
            lab.assert_reaches("inner", dst, ttl);
            lab.assert_reaches(other, nested, ttl);
            transfer(&lab, "inner", nested, other, dst);
            transfer(&lab, other, dst, "inner", nested);
        }
    }
}

/// The node's routes to prefixes, as `ip` shows them.
fn prefix_routes(lab: &Lab) -> Vec<String> {
    let listings =
        ["-4", "-6"].map(|option| lab.ip("A", &format!("{option} route show proto 110")));
    let lines = listings.iter().flat_map(|listing| listing.lines());
    let to_prefix = |line: &&str| line.starts_with("10.9.") || line.starts_with("fd00:9");
    let words = |line: &str| {
        line.split_whitespace()
            .take(5)
            .collect::<Vec<_>>()
            .join(" ")
    };
    lines.filter(to_prefix).map(words).collect()
}

/// The prefixes in the node's route maps that are an endpoint's.
fn in_the_maps(lab: &Lab) -> Vec<String> {
    let routes = lab.datapath("A").maps.routes().expect("routes");
    let local = routes
        .iter()
        .filter(|(_, entry)| entry.endpoint.ifindex.0 != 0);
    let mut prefixes: Vec<String> = local.map(|(prefix, _)| prefix.to_string()).collect();
    prefixes.sort();
    prefixes
}

#[test]
fn a_changed_file_converges() {
    let mut lab = Lab::prepare(&two_nodes());
    let made = lab.converge();
    let a1 = format!(
        "10.0.1.2/24, fd00:1::2/64, prefixes {}, eth0 to va1",
        OF_A1.replace('"', "")
    );
    assert!(
        made.contains(&format!("+ endpoint a1 on A: {a1}")),
        "{made:?}"
    );
    nest(&lab);
    assert_eq!(
        prefix_routes(&lab)[..],
        [
            "10.9.1.0/28 via 10.0.1.2 dev va1",
            "10.9.3.0/24 via 100.100.198.253 dev up0",
            "fd00:91::/64 via fd00:1::2 dev va1",
            "fd00:93::/64 via fd00:198::253 dev up0",
        ]
    );
    assert_eq!(in_the_maps(&lab), ["10.9.1.0/28", "fd00:91::/64"]);
    assert_eq!(lab.features("A"), FeatureBits::LOCAL_PREFIXES);
    assert_eq!(lab.converge(), Vec::<String>::new());

    // One goes, one comes, one moves to the neighbour.
    lab.edit(
        r#"prefixes = ["10.9.1.0/28", "fd00:91::/64"]"#,
        r#"prefixes = ["10.9.1.0/29"]"#,
    );
    lab.edit(
        r#""fd00:2::2/64"], host_dev"#,
        r#""fd00:2::2/64"], prefixes = ["fd00:91::/64"], host_dev"#,
    );
    assert_eq!(
        lab.converge(),
        [
            "~ endpoint a1 on A: prefixes 10.9.1.0/29",
            "~ endpoint a2 on A: prefixes fd00:91::/64",
        ]
    );
    let remote = [
        "10.9.3.0/24 via 100.100.198.253 dev up0",
        "fd00:93::/64 via fd00:198::253 dev up0",
    ];
    assert_eq!(
        prefix_routes(&lab)[..],
        [
            "10.9.1.0/29 via 10.0.1.2 dev va1",
            remote[0],
            "fd00:91::/64 via fd00:2::2 dev va2",
            remote[1],
        ]
    );
    assert_eq!(in_the_maps(&lab), ["10.9.1.0/29", "fd00:91::/64"]);
    lab.assert_reaches("a2", address(NESTED[0]), 63);
    add_address(&lab, "a2", NESTED[1], "lo");
    lab.assert_reaches("b1", address(NESTED[1]), 62);

    lab.ip("a2", &format!("addr del {} dev lo", NESTED[1]));

    // Back to the first of them, which comes before it in the file.
    lab.edit(r#", prefixes = ["fd00:91::/64"]"#, "");
    lab.edit(
        r#"prefixes = ["10.9.1.0/29"]"#,
        &format!("prefixes = [{OF_A1}]"),
    );
    assert_eq!(
        lab.converge(),
        [
            "~ endpoint a1 on A: prefixes 10.9.1.0/28, fd00:91::/64",
            "~ endpoint a2 on A: no prefixes",
        ]
    );
    assert_eq!(in_the_maps(&lab), ["10.9.1.0/28", "fd00:91::/64"]);
    assert_nested_speak(&lab);

    // Another next hop: the endpoint's first address is another.
    lab.edit(
        r#"["10.0.1.2/24", "fd00:1::2/64"]"#,
        r#"["10.0.1.7/24", "10.0.1.2/24", "fd00:1::2/64"]"#,
    );
    lab.converge();
    assert_eq!(prefix_routes(&lab)[0], "10.9.1.0/28 via 10.0.1.7 dev va1");
    assert_nested_speak(&lab);

    // None any more: the programs need not look.
    lab.edit(&format!("prefixes = [{OF_A1}], "), "");
    assert_eq!(lab.converge(), ["~ endpoint a1 on A: no prefixes"]);
    assert_eq!(prefix_routes(&lab), remote);
    assert_eq!((in_the_maps(&lab), lab.features("A")), (Vec::new(), 0));
    assert_eq!(lab.converge(), Vec::<String>::new());
    lab.down();
}

#[test]
fn what_is_gone_is_seen_and_mended() {
    let lab = Lab::up(&two_nodes());
    nest(&lab);
    lab.ip("A", "route del 10.9.1.0/28");
    lab.ip("A", "-6 route replace fd00:91::/64 via fd00:2::2 dev va2");
    let gone = [
        "the node's route to 10.9.1.0/28 is gone",
        "the node's route to fd00:91::/64 is gone",
    ];
    assert_eq!(
        lab.converge(),
        [format!("~ endpoint a1 on A: {}", gone.join(", "))]
    );
    assert_eq!(lab.plan(), Vec::<String>::new());
    assert_nested_speak(&lab);
    // With the interface, the kernel takes its routes away.
    lab.ip("A", "link set va1 down");
    assert_eq!(lab.converge().len(), 1);
    assert_nested_speak(&lab);
}

#[test]
fn what_fails_is_undone() {
    let mut lab = Lab::up(&two_nodes());
    nest(&lab);
    lab.edit(
        r#"prefixes = ["10.9.1.0/28", "fd00:91::/64"]"#,
        r#"prefixes = ["10.9.1.0/29"]"#,
    );
    // The first endpoint is changed when it is interrupted, the second one is not.
    lab.edit(
        r#"["10.0.2.2/24", "fd00:2::2/64"], host_dev"#,
        r#"["10.0.2.2/24", "fd00:2::2/64"], prefixes = ["10.9.2.0/28"], host_dev"#,
    );
    let before = (prefix_routes(&lab), in_the_maps(&lab));
    let options = UpOptions::default();
    let result = provision::up(lab.topology(), &options, &mut |change| {
        assert!(change.name == lab.name("a1"), "{change}");
        options.interrupted.store(true, Ordering::Relaxed);
    });
    assert!(
        matches!(result, Err(ProvisionError::Interrupted)),
        "{result:?}"
    );
    assert_eq!((prefix_routes(&lab), in_the_maps(&lab)), before);
    lab.edit(
        r#"prefixes = ["10.9.1.0/29"]"#,
        &format!("prefixes = [{OF_A1}]"),
    );
    lab.converge();
    assert_eq!(
        in_the_maps(&lab),
        ["10.9.1.0/28", "10.9.2.0/28", "fd00:91::/64"]
    );
    assert_nested_speak(&lab);
}

/// On the machine itself, nothing of a prefix may be the machine's or routed elsewhere, and `down` leaves no trace.
#[test]
fn on_the_machine_itself() {
    on_a_machine(|lab| {
        let routes = |lab: &Lab| lab.ip("H", "route show") + &lab.ip("H", "-6 route show");
        let before = routes(lab);
        let with =
            |prefixes: &str| format!(r#"["10.0.1.2/24", "fd00:1::2/64"], prefixes = [{prefixes}]"#);
        let mut written = r#"["10.0.1.2/24", "fd00:1::2/64"]"#.to_owned();
        for (prefix, problem) in [
            (
                "192.0.2.0/28",
                "192.0.2.1 of 192.0.2.0/28 is this machine's own address, on br7",
            ),
            (
                "10.99.0.0/16",
                "already has a route to 10.99.0.0/16 via 100.100.198.253",
            ),
            (
                "10.96.0.0/11",
                "already has a route to 10.99.0.0/16 via 100.100.198.253",
            ),
        ] {
            let wanted = with(&format!("{prefix:?}"));
            lab.edit(&written, &wanted);
            written = wanted;
            let error = lab.try_converge().expect_err(prefix);
            assert!(error.is_refusal(), "{error}");
            assert!(error.to_string().contains(problem), "{error}");
            assert_eq!(routes(lab), before);
        }
        lab.edit(&written, &with(OF_A1));
        lab.converge();
        for nested in NESTED {
            add_address(lab, "a1", nested, "lo");
            lab.assert_reaches("a2", address(nested), 63);
        }
        assert_eq!(lab.converge(), Vec::<String>::new());
        lab.down();
        assert_eq!(routes(lab), before);
    });
}
