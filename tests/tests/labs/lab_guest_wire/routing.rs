//! Policy routing: marks and rules of the kernel's that send an endpoint's packets another way.

use std::net::IpAddr;

use netpath_tests::{
    Family,
    connections::forget_connections,
    flows::TWO_WIRES,
    lab::{Bytes, Lab, Place, Watch},
};

use super::{COUNT, TO_A2, counted, datagrams, pairs, sent_and_seen};

/// What leaves by each uplink.
const UPLINKS: [Place; 2] = [Place::leaving(("A", "up0")), Place::leaving(("A", "up1"))];

/// a1, and somebody behind node B, by family.
fn ends(family: Family) -> (IpAddr, IpAddr) {
    let (from, to) = match family {
        Family::V4 => ("10.1.1.2", "10.2.16.1"),
        Family::V6 => ("fd00:1::2", "fd00:2:16::1"),
    };
    (from.parse().expect(from), to.parse().expect(to))
}

/// The file's routes go by up0; table 77 goes by up1.
fn lab() -> Lab {
    let lab = Lab::up(TWO_WIRES);
    let mac = lab.mac("B", "up1");
    for (option, via) in [("-4", "10.9.2.2"), ("-6", "fd00:92::2")] {
        lab.ip(
            "A",
            &format!("{option} route add default via {via} dev up1 table 77"),
        );
        lab.ip(
            "A",
            &format!("neigh replace {via} dev up1 lladdr {mac} nud permanent"),
        );
    }
    let mac = lab.mac("B", "up0");
    for via in ["10.9.1.2", "fd00:91::2"] {
        lab.ip(
            "A",
            &format!("neigh replace {via} dev up0 lladdr {mac} nud permanent"),
        );
    }
    lab
}

/// Sends, and tells how many leave by up0 and by up1. Each is counted in this row.
fn leave(lab: &Lab, watch: &mut Watch<2>, family: Family, row: &str) -> [usize; 2] {
    let before = lab.traffic("A");
    let (from, to) = ends(family);
    let frame = lab.datagram("A", "a1", from, to).build();
    let injector = lab.injector("a1", "eth0");
    for _ in 0..COUNT {
        injector.send(&frame).expect("send");
    }
    let left = watch.seen().map(|seen| datagrams(&seen, (from, to), 1));
    lab.assert_counted("A", &before, &[(row, COUNT as u64, Bytes::Any)]);
    left
}

const BY_UP0: &str = "va1 > up0 redirect_neigh";
const BY_UP1: &str = "va1 > up1 redirect_neigh";

#[test]
fn a_mark_of_a_rule_chooses_the_uplink() {
    let lab = lab();
    let mut watch = Watch::new(&lab, UPLINKS);
    for family in Family::ALL {
        let (option, iptables) = match family {
            Family::V4 => ("-4", "iptables-nft"),
            Family::V6 => ("-6", "ip6tables-nft"),
        };
        assert_eq!(leave(&lab, &mut watch, family, BY_UP0), [COUNT, 0]);
        let (from, _) = ends(family);
        let rule = format!("PREROUTING -s {from} -j MARK --set-mark 7");
        lab.run("A", &format!("{iptables} -w -t mangle -A {rule}"));
        lab.ip("A", &format!("{option} rule add fwmark 7 lookup 77"));
        let plan = lab.plan();
        assert!(
            !plan.is_empty() && plan.iter().all(|line| line.contains("(rules)")),
            "{plan:?}"
        );
        assert_eq!(lab.converge(), plan);
        let punted = "va1 > - punt rules";
        assert_eq!(leave(&lab, &mut watch, family, punted), [0, COUNT]);
        // As with the fast path off.
        lab.fast_path(false, "A", None);
        let (from, to) = ends(family);
        let frame = lab.datagram("A", "a1", from, to).build();
        lab.injector("a1", "eth0").send(&frame).expect("send");
        let left = watch.seen().map(|seen| datagrams(&seen, (from, to), 1));
        assert_eq!(left, [0, 1]);
        lab.fast_path(true, "A", None);
        assert_eq!(leave(&lab, &mut watch, family, punted), [0, COUNT]);
        lab.run("A", &format!("{iptables} -w -t mangle -F PREROUTING"));
        lab.ip("A", &format!("{option} rule del fwmark 7"));
        lab.converge();
        // What has begun by the kernel stays there; this is as new.
        forget_connections(&lab.name("A"));
        assert_eq!(leave(&lab, &mut watch, family, BY_UP0), [COUNT, 0]);
    }
}

/// The FIB is asked about the packet itself: nothing has to be known of the rules, and they act at once.
#[test]
fn rules_that_look_at_packets_choose_the_uplink() {
    let lab = lab();
    let mut watch = Watch::new(&lab, UPLINKS);
    for family in Family::ALL {
        let option = match family {
            Family::V4 => "-4",
            Family::V6 => "-6",
        };
        let (from, to) = ends(family);
        for selector in [
            format!("from {from}"),
            format!("to {to}"),
            "iif va1".to_owned(),
            format!("from {from} iif va1"),
            format!("from {from} ipproto udp dport 7002"),
            "iif va1 sport 7001".to_owned(),
        ] {
            assert_eq!(leave(&lab, &mut watch, family, BY_UP0), [COUNT, 0]);
            lab.ip("A", &format!("{option} rule add {selector} lookup 77"));
            assert_eq!(lab.plan(), Vec::<String>::new(), "{selector}");
            let left = leave(&lab, &mut watch, family, BY_UP1);
            assert_eq!(left, [0, COUNT], "{selector}");
            lab.ip("A", &format!("{option} rule del {selector} lookup 77"));
        }
        // Of others.
        for selector in ["from 10.1.1.3", "iif up0", "ipproto tcp dport 7002"] {
            let selector = match family {
                Family::V4 => selector.to_owned(),
                Family::V6 => selector.replace("10.1.1.3", "fd00:1::3"),
            };
            lab.ip("A", &format!("{option} rule add {selector} lookup 77"));
            let left = leave(&lab, &mut watch, family, BY_UP0);
            assert_eq!(left, [COUNT, 0], "{selector}");
            lab.ip("A", &format!("{option} rule del {selector} lookup 77"));
        }
        // One that refuses; IPv6 does not tell it from no route.
        lab.ip("A", &format!("{option} rule add from {from} blackhole"));
        let row = match family {
            Family::V4 => "va1 > - punt fib_blackhole",
            Family::V6 => "va1 > - punt fib_not_forwarded",
        };
        assert_eq!(leave(&lab, &mut watch, family, row), [0, 0]);
        lab.ip("A", &format!("{option} rule del from {from} blackhole"));
    }
}

/// In each case what a1 sends to a2 comes there, or not, as the kernel would have it. Table 77 leads nowhere.
#[test]
fn rules_between_endpoints_of_one_node_are_heeded() {
    let lab = super::lab();
    lab.ip("A", "-4 route add blackhole default table 77");
    lab.ip("A", "-6 route add blackhole default table 77");
    let mut watch = Watch::new(&lab, [TO_A2]);
    for (family, ends) in Family::ALL.into_iter().zip(pairs("a1", "a2")) {
        let (option, length) = match family {
            Family::V4 => ("-4", 32),
            Family::V6 => ("-6", 128),
        };
        let (from, to) = ends;
        // WireGuard's are the last.
        let cases: [(&[String], usize); 7] = [
            (&[format!("from {from} to {to} blackhole")], 0),
            (&[format!("from {from} lookup 77")], 0),
            (&["iif va1 lookup 77".to_owned()], 0),
            (&[format!("to {to} ipproto udp lookup 77")], 0),
            (
                &[
                    format!("priority 10 to {to}/{length} lookup main"),
                    format!("priority 11 from {from} lookup 77"),
                ],
                COUNT,
            ),
            (&[format!("from {from} fwmark 5 lookup 77")], COUNT),
            (
                &[
                    "priority 10 lookup main suppress_prefixlength 0".to_owned(),
                    "priority 11 not fwmark 0xca6c lookup 77".to_owned(),
                ],
                COUNT,
            ),
        ];
        for (rules, arrive) in cases {
            for rule in rules {
                lab.ip("A", &format!("{option} rule add {rule}"));
            }
            let told = lab.told("A");
            assert_eq!(
                !told.contains(&"bypassed"),
                arrive != 0,
                "{rules:?}: {told:?}"
            );
            // The kernel refuses it, or what is for other nodes.
            let known = ["bypassed", "route_refuses"];
            assert!(told.iter().all(|id| known.contains(id)), "{told:?}");
            lab.converge();
            let before = lab.traffic("A");
            let sent = ("a1", ends);
            assert_eq!(
                sent_and_seen(&lab, &mut watch, sent, 1),
                arrive,
                "{rules:?}"
            );
            let row = match arrive {
                0 => "va1 > - punt rules",
                _ => "va1 > va2 redirect_peer",
            };
            lab.assert_counted("A", &before, &[counted(row)]);
            for rule in rules {
                lab.ip("A", &format!("{option} rule del {rule}"));
            }
            lab.converge();
            let before = lab.traffic("A");
            assert_eq!(sent_and_seen(&lab, &mut watch, sent, 1), COUNT);
            lab.assert_counted("A", &before, &[counted("va1 > va2 redirect_peer")]);
        }
    }
}
