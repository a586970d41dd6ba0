//! IPsec with real states: what has to be encrypted leaves encrypted, and what has to have been is refused in the clear.

use std::net::IpAddr;

use netpath::probe::frame::FrameBuilder;
use netpath_tests::{
    between,
    kernel::Feature,
    lab::{Lab, SeenPacket, Watch, addresses, unanswered},
};

use super::{
    COUNT, FROM_A, FROM_B, TO_A1, TO_A2, TO_B1, all, counted, datagrams, lab, pairs, send,
    sent_and_seen,
};

/// Encapsulating Security Payload (RFC 4303).
const ESP: u8 = 50;

const KEYS: &str = "auth hmac(sha1) 0x0001020304050607080910111213141516171819 \
                    enc cbc(aes) 0x00010203040506070809101112131415";

/// What is behind each node, by family.
const BEHIND: [[&str; 2]; 2] = [
    ["10.0.1.0/24", "10.0.3.0/24"],
    ["fd00:1::/64", "fd00:3::/64"],
];

/// A tunnel between the nodes for what goes between what is behind them. `0` is node A, `1` is node B.
fn tunnel(lab: &Lab) {
    for (number, node) in ["A", "B"].into_iter().enumerate() {
        for (family, behind) in BEHIND.iter().enumerate() {
            let nodes = ["A", "B"].map(|node| addresses(node)[family]);
            for (from, spi) in [(0, 0x101), (1, 0x102)] {
                let to = 1 - from;
                let ends = format!("src {} dst {}", nodes[from], nodes[to]);
                lab.ip(
                    node,
                    &format!("xfrm state add {ends} proto esp spi {spi} mode tunnel {KEYS}"),
                );
                let directions: &[&str] = if from == number {
                    &["out"]
                } else {
                    &["in", "fwd"]
                };
                for direction in directions {
                    let what = format!("src {} dst {}", behind[from], behind[to]);
                    let how = format!("tmpl {ends} proto esp mode tunnel");
                    lab.ip(
                        node,
                        &format!("xfrm policy add {what} dir {direction} {how}"),
                    );
                }
            }
        }
    }
}

/// How many of the packets are encrypted ones between these addresses.
fn encrypted(seen: &[SeenPacket], (from, to): (IpAddr, IpAddr)) -> usize {
    let is_one = |packet: &&SeenPacket| {
        (packet.source, packet.destination, packet.protocol) == (from, to, ESP)
    };
    seen.iter().filter(is_one).count()
}

/// Packets that have an address of a1 or b1 in the clear.
fn clear(seen: &[SeenPacket]) -> usize {
    let ends = [addresses("a1"), addresses("b1")].concat();
    let is_one =
        |packet: &&SeenPacket| ends.contains(&packet.source) || ends.contains(&packet.destination);
    seen.iter().filter(is_one).count()
}

#[test]
fn what_is_to_be_tunnelled_leaves_encrypted_both_ways() {
    if !Feature::Esp.is_there() {
        return;
    }
    let lab = lab();
    let mut watch = Watch::new(&lab, [FROM_A, FROM_B, TO_A1, TO_B1]);
    for ends in pairs("a1", "b1") {
        send(&lab, "a1", ends);
        let [leaving, _, _, inside] = watch.seen();
        assert_eq!(datagrams(&leaving, ends, 1), COUNT, "{leaving:?}");
        assert_eq!(datagrams(&inside, ends, 2), COUNT, "{inside:?}");
    }
    tunnel(&lab);
    assert!(lab.told("A").iter().all(|id| *id == "bypassed"));
    let plan = lab.plan();
    assert!(plan.iter().all(|line| line.contains("(ipsec)")), "{plan:?}");
    assert_eq!(lab.converge(), plan);
    assert_eq!(lab.plan(), Vec::<String>::new());
    for (ends, nodes) in pairs("a1", "b1").into_iter().zip(pairs("A", "B")) {
        let before = lab.traffic("A");
        send(&lab, "a1", ends);
        let [leaving, _, _, inside] = watch.seen();
        assert_eq!(encrypted(&leaving, nodes), COUNT, "{leaving:?}");
        assert_eq!(clear(&leaving), 0, "{leaving:?}");
        assert_eq!(datagrams(&inside, ends, 2), COUNT, "{inside:?}");
        let difference = lab.traffic("A").since(&before);
        assert_eq!(difference.row("va1 > - punt ipsec").0, COUNT as u64);
    }
    for (ends, nodes) in pairs("b1", "a1").into_iter().zip(pairs("B", "A")) {
        send(&lab, "b1", ends);
        let [_, leaving, inside, _] = watch.seen();
        assert_eq!(encrypted(&leaving, nodes), COUNT, "{leaving:?}");
        assert_eq!(clear(&leaving), 0, "{leaving:?}");
        assert_eq!(datagrams(&inside, ends, 2), COUNT, "{inside:?}");
    }
    for dst in addresses("b1") {
        lab.assert_reaches("a1", dst, 62);
    }
    // What is on one node is not between them, and not their business.
    let mut inside = Watch::new(&lab, [TO_A2]);
    for ends in pairs("a1", "a2") {
        let before = lab.traffic("A");
        assert_eq!(sent_and_seen(&lab, &mut inside, ("a1", ends), 1), COUNT);
        lab.assert_counted("A", &before, &[counted("va1 > va2 redirect_peer")]);
    }
}

/// The policies of what comes in are asked: a tunnel's other end says who has sent it, the clear does not.
#[test]
fn what_has_to_have_been_encrypted_is_refused_in_the_clear() {
    if !Feature::Esp.is_there() {
        return;
    }
    let lab = lab();
    let mut inside = Watch::new(&lab, [TO_A1]);
    let wire = lab.injector("B", "up0");
    let (from, to) = (lab.mac("B", "up0"), lab.mac("A", "up0"));
    let mut arrive = |ends: (IpAddr, IpAddr)| {
        let frame = between(FrameBuilder::new(from, to), ends.0, ends.1);
        let frame = unanswered(frame).build();
        for _ in 0..COUNT {
            wire.send(&frame).expect("send");
        }
        let [seen] = inside.seen();
        datagrams(&seen, ends, 1)
    };
    for ends in pairs("b1", "a1") {
        assert_eq!(arrive(ends), COUNT);
    }
    tunnel(&lab);
    lab.converge();
    for ends in pairs("b1", "a1") {
        let before = lab.traffic("A");
        assert_eq!(arrive(ends), 0);
        lab.assert_counted("A", &before, &[counted("up0 > - punt ipsec")]);
    }
    // Nobody said so of b2.
    for ends in pairs("b2", "a1") {
        assert_eq!(arrive(ends), COUNT);
    }
}

/// From end to end, where a node encrypts on behalf of one of them.
#[test]
fn what_is_to_be_transported_leaves_encrypted() {
    if !Feature::Esp.is_there() {
        return;
    }
    let lab = lab();
    for (from, to) in pairs("a1", "b1") {
        let state =
            format!("xfrm state add src {from} dst {to} proto esp spi 0x201 mode transport {KEYS}");
        for place in ["A", "b1"] {
            lab.ip(place, &state);
        }
        let how = "dir out tmpl proto esp mode transport";
        lab.ip("A", &format!("xfrm policy add src {from} dst {to} {how}"));
    }
    lab.converge();
    let mut watch = Watch::new(&lab, [FROM_A]);
    for ends in pairs("a1", "b1") {
        let before = lab.traffic("A");
        send(&lab, "a1", ends);
        let [leaving] = watch.seen();
        assert_eq!(encrypted(&leaving, ends), COUNT, "{leaving:?}");
        assert_eq!(datagrams(&leaving, ends, 1), 0, "{leaving:?}");
        lab.assert_counted("A", &before, &[counted("va1 > - punt ipsec")]);
        // b1 understands it, and answers in the clear.
        lab.assert_reaches("a1", ends.1, 62);
        assert!(!watch.seen()[0].is_empty());
    }
}

/// Policies that block need no state; other kernels than those with ESP have them, too.
#[test]
fn what_is_blocked_does_not_leave() {
    let lab = lab();
    let mut watch = Watch::new(&lab, [FROM_A]);
    for ends in pairs("a1", "b1") {
        assert_eq!(sent_and_seen(&lab, &mut watch, ("a1", ends), 1), COUNT);
    }
    for direction in ["out", "fwd"] {
        let lines = pairs("a1", "b1").map(|(from, to)| {
            format!("ip xfrm policy add src {from} dst {to} dir {direction} action block")
        });
        all(&lab, "A", &lines.join("\n"));
        lab.converge();
        for ends in pairs("a1", "b1") {
            let before = lab.traffic("A");
            assert_eq!(sent_and_seen(&lab, &mut watch, ("a1", ends), 1), 0);
            lab.assert_counted("A", &before, &[counted("va1 > - punt ipsec")]);
        }
        all(&lab, "A", "ip xfrm policy flush");
    }
    lab.converge();
    for ends in pairs("a1", "b1") {
        assert_eq!(sent_and_seen(&lab, &mut watch, ("a1", ends), 1), COUNT);
    }
}
