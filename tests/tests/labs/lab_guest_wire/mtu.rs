//! What the node knows of a path's MTU.

use std::{net::IpAddr, time::Duration};

use netpath::probe::{
    Fragmentation,
    frame::{ParsedFrame, ParsedIp},
    ping::{IcmpError, PingOptions, PingReport},
    tcp::{TransferOptions, tcp_transfer},
};
use netpath_tests::lab::{Bytes, Lab, TWO_NODES, addresses};

use super::accepting;

/// What the node knows of the way to b1.
const PATH: u32 = 1300;

/// A ping that is to fit 1500 bytes and not [`PATH`].
fn large(lab: &Lab, from: &str, dst: IpAddr) -> PingReport {
    let options = PingOptions {
        payload_len: 1400,
        timeout: Duration::from_secs(3),
        fragmentation: Fragmentation::Probe,
        ..PingOptions::default()
    };
    lab.ping(from, dst, &options)
}

/// [`learn_of`] IPv6.
fn learn(lab: &Lab) -> IpAddr {
    let [_, b1] = addresses("b1");
    learn_of(lab, b1);
    b1
}

/// One ICMP error to node A itself says that the way to b1 is narrow, which it is no more.
fn learn_of(lab: &Lab, b1: IpAddr) {
    lab.ip("B", &format!("link set vb1 mtu {PATH}"));
    let told = large(lab, "A", b1);
    assert_eq!(told.errors.len(), 1, "{told:?}");
    lab.ip("B", "link set vb1 mtu 1500");
    let route = lab.ip("A", &format!("route get {b1}"));
    assert!(route.contains(&format!("mtu {PATH}")), "{route}");
}

/// Before Linux 6.7 the programs cannot know the node's own address: the packet is the kernel's.
fn answers() -> bool {
    let answers = netpath_tests::kernel::fib_lookup_tells_sources();
    if !answers {
        eprintln!("not tried: this kernel's bpf_fib_lookup tells no source");
    }
    answers
}

/// The endpoint is told whatever FORWARD's policy is. IPv6 is forwarded by what is known of the path (`ip6_fragment`).
#[test]
fn an_endpoint_is_told_what_the_node_knows_of_an_ipv6_path() {
    if !answers() {
        return;
    }
    let lab = Lab::up(TWO_NODES);
    let b1 = learn(&lab);
    let [_, a1] = addresses("a1");
    let [_, node] = addresses("A");
    let mut inside = lab.capture("a1", "eth0");
    let before = lab.traffic("A");
    let report = large(&lab, "a1", b1);
    let errors: Vec<_> = report
        .errors
        .iter()
        .map(|error| (error.source, error.mtu()))
        .collect();
    assert_eq!(errors, [(node, Some(PATH))], "{report:?}");
    assert_eq!(report.received, 0, "{report:?}");
    let sent = Bytes::Exactly(14 + 40 + 8 + 1400);
    let answer = Bytes::Exactly(14 + 1280);
    lab.assert_counted(
        "A",
        &before,
        &[
            ("va1 > - drop packet_too_big", 1, sent),
            ("va1 > va1 deliver", 1, answer),
        ],
    );
    let is_answer = |bytes: &[u8]| {
        let frame = ParsedFrame::parse(bytes).ok()?;
        let ip = frame.ip().ok()?;
        ((ip.source, ip.destination) == (node, a1)).then(|| ip.verify_checksums())
    };
    let mut verified = None;
    let found = inside.wait_for(
        |frame| {
            verified = is_answer(&frame.bytes);
            verified.is_some()
        },
        Duration::from_secs(3),
    );
    let record = lab.record("A", "a1");
    let bytes = found.expect("capture").expect("the answer").bytes;
    let frame = ParsedFrame::parse(&bytes).expect("a frame");
    assert_eq!(
        (frame.destination, frame.source),
        (record.endpoint_mac, record.host_mac)
    );
    verified.expect("the answer").expect("its checksum");
    // Without it, it passes.
    lab.ip("A", "-6 route flush cache");
    let report = large(&lab, "a1", b1);
    assert!(report.is_clean(), "{report:?}");
}

/// What an error says, but its checksum, and what differs from ping to ping in what it quotes: the flow label, the
/// checksum, the identification.
fn told(error: &IcmpError) -> (IpAddr, u8, usize, Vec<u8>) {
    let message = &error.message;
    let quoted = ParsedIp::parse(&message[8..]).expect("a packet");
    let words = [&message[..2], &message[4..8], &message[12..48]].concat();
    let said = [&words[..], &[quoted.tos, quoted.payload[0]]].concat();
    (error.source, error.ttl, message.len(), said)
}

#[test]
fn the_answer_is_the_kernels() {
    if !answers() {
        return;
    }
    let lab = Lab::up(&accepting());
    let b1 = learn(&lab);
    let [kernel, netpath] = [false, true].map(|fast_path| {
        lab.fast_path(fast_path, "A", None);
        let report = large(&lab, "a1", b1);
        let [error] = &report.errors[..] else {
            panic!("{report:?}");
        };
        // By what a1 has learnt.
        lab.ip("a1", "-6 route flush cache");
        told(error)
    });
    assert_eq!(kernel, netpath);
    // What fits is left to nobody.
    let options = PingOptions {
        payload_len: PATH as usize - 48,
        ..PingOptions::default()
    };
    let report = lab.ping("a1", b1, &options);
    assert!(report.is_clean(), "{report:?}");
}

/// With the garbage the kernel throws away what it learnt of paths behind an IPv6 gateway that it holds for no router.
#[test]
fn what_an_endpoint_has_learnt_of_a_path_is_kept() {
    let lab = Lab::up(TWO_NODES);
    let [_, b1] = addresses("b1");
    let learnt = format!("mtu {PATH}");
    let learn = || {
        // `up` mends it.
        lab.ip("B", &format!("link set vb1 mtu {PATH}"));
        let report = large(&lab, "a1", b1);
        assert_eq!(report.errors.len(), 1, "{report:?}");
        let route = lab.ip("a1", &format!("-6 route get {b1}"));
        assert!(route.contains(&learnt), "{route}");
    };
    let after_collection = || {
        lab.set_sysctl("a1", "ipv6/route/flush", "0");
        lab.ip("a1", &format!("-6 route get {b1}"))
    };
    learn();
    let route = after_collection();
    assert!(route.contains(&learnt), "{route}");

    // An entry that says no router is told, and mended.
    let record = lab.record("A", "a1");
    let entry = format!("fe80::1 dev eth0 lladdr {} nud permanent", record.host_mac);
    lab.ip("a1", &format!("neigh replace {entry}"));
    assert_eq!(lab.told("A"), ["neighbour_gone"]);
    let route = after_collection();
    assert!(!route.contains(&learnt), "{route}");
    lab.converge();
    assert_eq!(lab.told("A"), [""; 0]);
    learn();
    let route = after_collection();
    assert!(route.contains(&learnt), "{route}");
}

/// TCP sends several segments in one packet: it hears of the path, and goes on with shorter ones on the fast path.
#[test]
fn tcp_goes_by_the_answer() {
    if !answers() {
        return;
    }
    let lab = Lab::up(TWO_NODES);
    let b1 = learn(&lab);
    let before = lab.traffic("A");
    let options = TransferOptions {
        bytes: 1_000_000,
        deadline: Duration::from_secs(120),
        ..TransferOptions::new(b1)
    };
    let transfer = tcp_transfer(&lab.netns("a1"), &lab.netns("b1"), &options);
    let transfer = transfer.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(transfer.bytes, 1_000_000);
    let difference = lab.traffic("A").since(&before);
    let packets = |row: &str| difference.row(row).0;
    assert!(packets("va1 > - drop packet_too_big") > 0, "{difference:?}");
    assert_eq!(packets("va1 > - punt mtu_exceeded"), 0, "{difference:?}");
    let (_, bytes) = difference.row("va1 > up0 redirect_neigh");
    assert!(bytes > 1_000_000, "{difference:?}");
}

/// One ICMP error to the node itself says nothing of what is forwarded by IPv4: FORWARD at DROP shows that nothing is punted.
#[test]
fn a_paths_mtu_that_the_node_has_learnt_is_the_nodes_own() {
    let lab = Lab::up(TWO_NODES);
    let [v4, _] = addresses("b1");
    learn_of(&lab, v4);
    for dst in addresses("b1") {
        let report = large(&lab, "a1", dst);
        assert!(report.is_clean(), "{report:?}");
    }
}

/// Where the machine forwards IPv4 by what it knows of paths, the kernel tells the endpoint so, and the packet is its.
#[test]
fn a_machine_that_goes_by_paths_mtus_does_so() {
    let lab = Lab::up(&accepting());
    let [v4, _] = addresses("b1");
    learn_of(&lab, v4);
    assert!(large(&lab, "a1", v4).is_clean());
    let set = |value| lab.set_sysctl("A", "ipv4/ip_forward_use_pmtu", value);
    set("1");
    let plan = lab.plan();
    assert!(!plan.is_empty());
    assert_eq!(lab.converge(), plan);
    assert_eq!(lab.plan(), Vec::<String>::new());
    let before = lab.traffic("A");
    let report = large(&lab, "a1", v4);
    assert_eq!(report.received, 0, "{report:?}");
    let told: Vec<_> = report.errors.iter().map(IcmpError::mtu).collect();
    assert_eq!(told, [Some(PATH)], "{report:?}");
    let sent = Bytes::Exactly(14 + 20 + 8 + 1400);
    lab.assert_counted("A", &before, &[("va1 > - punt mtu_exceeded", 1, sent)]);
    set("0");
    assert_ne!(lab.converge(), Vec::<String>::new());
    let before = lab.traffic("A");
    let report = large(&lab, "a1", v4);
    assert!(report.is_clean(), "{report:?}");
    let counted = [
        ("va1 > up0 redirect_neigh", 1, sent),
        ("up0 > va1 redirect_peer", 1, sent),
    ];
    lab.assert_counted("A", &before, &counted);
}
