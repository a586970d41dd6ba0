//! The kernel's reverse-path filter on an uplink: with the fast path on it decides as with it off.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use netpath_common::FeatureBits;
use netpath_tests::lab::{Bytes::Any, Lab, TWO_NODES, addresses};

/// An address of node B's that no route of node A's leads to, though netpath routes it.
const STRANGER: &str = "198.51.100.1";
const KEY: &str = "ipv4/conf/up0/rp_filter";

/// Two nodes; the second has a stranger's address too.
fn lab() -> Lab {
    let policy = "forward_policy = \"accept\"\n";
    let routed = format!("{policy}fast_prefixes = [\"198.51.100.0/24\"]\n");
    let text = TWO_NODES.replace("\"drop\"", "\"accept\"");
    let lab = Lab::up(&text.replacen(policy, &routed, 1));
    lab.ip("B", &format!("addr add {STRANGER} dev lo"));
    assert_eq!(lab.converge().len(), 1, "node B has it");
    // The filter is applied to ARP requests, too, and a request's source may be the stranger's address.
    let link = lab.ip("A", "-br link show dev up0");
    let mac = link.split_whitespace().nth(2).expect("its MAC");
    let node = addresses("A")[0];
    lab.ip(
        "B",
        &format!("neigh replace {node} dev up0 lladdr {mac} nud permanent"),
    );
    lab
}

/// Sends a datagram from node B to an endpoint of node A.
fn send(lab: &Lab, src: &str) {
    let send = || {
        let src: IpAddr = src.parse().expect(src);
        let socket = UdpSocket::bind(SocketAddr::new(src, 0)).expect("bind");
        let sent = socket.send_to(b"netpath", SocketAddr::new(addresses("a1")[0], 9));
        assert_eq!(sent.expect("send"), 7);
    };
    lab.inside("B", send);
}

/// Packets that the kernel's filter on node A has dropped.
fn filtered(lab: &Lab) -> u64 {
    let text = lab.run("A", "cat /proc/net/netstat");
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    let (_, value) = pairs
        .find(|(name, _)| *name == "IPReversePathFilter")
        .expect("Linux has it since 2.6.38");
    value.parse().expect("a number")
}

fn assert_delivered(lab: &Lab, row: &str) {
    let before = (lab.traffic("A"), filtered(lab));
    send(lab, STRANGER);
    // The endpoint answers that nobody listens, and where to nobody knows.
    let answer = ("va1 > - punt fib_not_forwarded", 1, Any);
    lab.assert_counted("A", &before.0, &[(row, 1, Any), answer]);
    assert_eq!(filtered(lab), before.1);
}

fn assert_filtered(lab: &Lab) {
    let before = (lab.traffic("A"), filtered(lab));
    send(lab, STRANGER);
    lab.assert_counted("A", &before.0, &[("up0 > - punt reverse_path", 1, Any)]);
    assert_eq!(filtered(lab), before.1 + 1);
    // All others come in as before.
    lab.assert_reaches("b1", addresses("a1")[0], 62);
    lab.assert_reaches("b1", addresses("a1")[1], 62);
    let before = lab.traffic("A");
    send(lab, "100.100.198.253");
    // What netpath does not route is the kernel's, both ways.
    let there = ("up0 > - punt outside", 1, Any);
    let delivered = ("up0 > va1 deliver", 1, Any);
    let answer = ("va1 > - punt no_route", 1, Any);
    lab.assert_counted("A", &before, &[there, delivered, answer]);
}

#[test]
fn what_the_filter_would_drop_is_left_to_it() {
    let lab = lab();
    assert_delivered(&lab, "up0 > va1 redirect_peer");
    for (value, other) in [("1", "2"), ("2", "1")] {
        lab.set_sysctl("A", KEY, value);
        let drift = lab.plan();
        assert_eq!(drift.len(), 1, "{drift:?}");
        let expected = format!(
            "~ uplink up0 on A: the kernel's rp_filter is {value}, and the fast path goes by"
        );
        assert!(drift[0].starts_with(&expected), "{drift:?}");
        assert_eq!(lab.converge(), drift);
        assert_eq!(lab.converge(), Vec::<String>::new());
        assert_eq!(lab.features("A"), FeatureBits::REVERSE_PATH);
        assert_filtered(&lab);
        // The larger of two counts.
        lab.set_sysctl("A", "ipv4/conf/all/rp_filter", other);
        lab.converge();
        assert_filtered(&lab);
        lab.set_sysctl("A", "ipv4/conf/all/rp_filter", "0");
        lab.converge();
    }
    lab.set_sysctl("A", KEY, "0");
    assert_eq!(lab.converge().len(), 1);
    assert_eq!(lab.features("A"), 0);
    assert_delivered(&lab, "up0 > va1 redirect_peer");
}

#[test]
fn switching_the_fast_path_on_looks_again() {
    let lab = lab();
    lab.fast_path(false, "A", None);
    lab.set_sysctl("A", KEY, "1");
    lab.fast_path(true, "A", None);
    assert_filtered(&lab);
    assert_eq!(lab.plan(), Vec::<String>::new());
    lab.set_sysctl("A", KEY, "0");
    lab.fast_path(true, "A", None);
    assert_delivered(&lab, "up0 > va1 redirect_peer");
}
