//! Routes belong to the kernel: a file may say only which destinations the fast path may take, and next hops are whatever the
//! kernel's routes have; those that a file does say may be of all kinds that the kernel has.

use std::{net::IpAddr, time::Duration};

use netpath::{
    netns::Netns,
    probe::{frame::FrameBuilder, ping::PingOptions},
};
use netpath_tests::{
    Family,
    lab::{Bytes::Any, HOST, Lab, addresses, on_a_machine, portrait, run},
};

/// [`HOST`] with aggregates in the place of its routes.
fn with_fast_prefixes() -> String {
    let (head, tail) = HOST.split_once("route = [").expect("routes");
    let (_, tail) = tail.split_once("]\n").expect("their end");
    let prefixes = r#"fast_prefixes = ["10.0.0.0/8", "fd00::/8"]"#;
    format!("{head}{prefixes}\n{tail}")
}

/// [`HOST`] with these routes.
fn with_routes(routes: &str) -> String {
    let (head, tail) = HOST.split_once("route = [").expect("routes");
    let (_, tail) = tail.split_once("]\n").expect("their end");
    format!("{head}route = [{routes}]\n{tail}")
}

fn index(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

/// As a routing daemon has it that tells others of it.
fn own_prefix(family: Family) -> &'static str {
    match family {
        Family::V4 => "10.0.1.0/24",
        Family::V6 => "fd00:1::/64",
    }
}

fn machine() -> Netns {
    Netns::current().expect("namespace")
}

/// Nobody has anything to say of the node, and nothing is to be done.
fn assert_content(lab: &Lab, when: &str) {
    assert_eq!(lab.plan(), Vec::<String>::new(), "{when}");
    assert_eq!(lab.told("H"), Vec::<&str>::new(), "{when}");
}

/// b1 is reached over the fast path, both ways.
fn assert_fast(lab: &Lab, family: Family, when: &str) {
    let before = lab.traffic("H");
    lab.assert_reaches("a1", addresses("b1")[index(family)], 63);
    let counted = lab.traffic("H").since(&before);
    assert_eq!(
        counted.row("va1 > up0 redirect_neigh").0,
        3,
        "{when}: {counted:?}"
    );
    assert_eq!(
        counted.row("up0 > va1 redirect_peer").0,
        3,
        "{when}: {counted:?}"
    );
}

/// What goes to b1 is left to the kernel for this reason, and lost there.
fn assert_refused(lab: &Lab, family: Family, reason: &str) {
    let before = lab.traffic("H");
    lab.assert_loses("a1", addresses("b1")[index(family)]);
    let counted = lab.traffic("H").since(&before);
    let row = format!("va1 > - punt {reason}");
    assert_eq!(counted.row(&row).0, 1, "{counted:?}");
}

#[test]
fn next_hops_are_the_kernels_alone() {
    on_a_machine(|lab| {
        lab.rewrite(&with_fast_prefixes());
        let before = portrait(&machine());
        let planned = lab.plan();
        for prefix in ["10.0.0.0/8", "fd00::/8"] {
            let change = format!("+ route {prefix} on H: by the kernel's routes");
            assert!(planned.contains(&change), "{planned:?}");
        }
        assert_eq!(lab.converge(), planned);
        assert_eq!(run("ip route show 10.0.0.0/8"), "");
        assert_eq!(run("ip -6 route show fd00::/8"), "");
        for address in [
            "fe80::253/64 nodad",
            "fd00:198::254/64 nodad",
            "100.100.198.254/24",
        ] {
            let (address, option) = address.split_once(' ').unwrap_or((address, ""));
            run(&format!(
                "ip -n {}P addr add {address} dev eth0 {option}",
                lab.prefix()
            ));
        }
        for (family, dst, via, other) in [
            (
                Family::V4,
                "10.0.3.0/24",
                "100.100.198.253",
                "100.100.198.254",
            ),
            (Family::V6, "fd00:3::/64", "fd00:198::253", "fd00:198::254"),
        ] {
            assert_content(lab, "without a route");
            assert_refused(lab, family, "fib_not_forwarded");
            // Whatever somebody puts there, and takes away, at once.
            run(&format!("ip nexthop add id 7 via {via} dev up0"));
            run("ip nexthop add id 8 via fe80::253 dev up0");
            run("ip nexthop add id 9 group 7/8");
            let mut ways = vec![
                format!("via {via}"),
                format!("via {via} dev up0 onlink"),
                format!("nexthop via {via} dev up0 weight 2 nexthop via {other} dev up0 onlink"),
                "nhid 7".to_owned(),
                "nhid 8".to_owned(),
                "nhid 9".to_owned(),
            ];
            ways.push(match family {
                Family::V4 => "via inet6 fe80::253 dev up0".to_owned(),
                Family::V6 => "via fe80::253 dev up0".to_owned(),
            });
            for way in ways {
                run(&format!("ip route add {dst} {way}"));
                assert_fast(lab, family, &way);
                assert_eq!(lab.plan(), Vec::<String>::new(), "{way}");
                run(&format!("ip route del {dst}"));
            }
            for (way, reason) in [
                ("blackhole", "fib_blackhole"),
                ("unreachable", "fib_unreachable"),
                ("prohibit", "fib_prohibit"),
            ] {
                run(&format!("ip route add {way} {dst}"));
                assert_refused(lab, family, reason);
                assert_eq!(lab.plan(), Vec::<String>::new(), "{way}");
                run(&format!("ip route del {way} {dst}"));
            }
            for id in [9, 8, 7] {
                run(&format!("ip nexthop del id {id}"));
            }
            // Not its business: a shorter one serves as well.
            run(&format!("ip route add default via {via}"));
            assert_fast(lab, family, "the default route");
            run(&format!("ip route add {dst} via {via}"));
            run(&format!("ip route add blackhole {}", own_prefix(family)));
            assert_content(lab, "with routes, and the own prefix as a blackhole");
        }
        let with_routes = portrait(&machine());
        lab.converge();
        assert_eq!(portrait(&machine()), with_routes, "routes of others stay");
        // Endpoints inside the aggregate go before it.
        for family in [0, 1] {
            let before = lab.traffic("H");
            lab.assert_reaches("a1", addresses("a2")[family], 63);
            let there = ("va1 > va2 redirect_peer", 3, Any);
            lab.assert_counted("H", &before, &[there, ("va2 > va1 redirect_peer", 3, Any)]);
        }
        lab.down();
        let after = portrait(&machine());
        for line in before.lines() {
            assert!(after.contains(line), "{line} is gone from\n{after}");
        }
        assert!(run("ip route show 10.0.3.0/24").contains("100.100.198.253"));
    });
}

/// An aggregate that holds an endpoint's address gives nobody the right to send from it.
#[test]
fn sources_are_checked_as_strictly_as_ever() {
    on_a_machine(|lab| {
        lab.rewrite(&with_fast_prefixes());
        lab.converge();
        run("ip route add 10.0.3.0/24 via 100.100.198.253");
        run("ip route add fd00:3::/64 via fd00:198::253");
        let record = lab.record("H", "a1");
        let from_pod = (record.endpoint_mac, record.host_mac);
        for family in [0, 1] {
            let injector = lab.injector("a1", "eth0");
            // Another node's, and nobody's yet.
            let strangers: [IpAddr; 2] = match family {
                0 => ["10.0.3.2", "10.7.7.7"],
                _ => ["fd00:3::2", "fd00:7::7"],
            }
            .map(|address| address.parse().expect("an address"));
            let before = lab.traffic("H");
            for stranger in strangers {
                for to in ["a2", "b1"] {
                    let frame = FrameBuilder::new(from_pod.0, from_pod.1);
                    let frame = match (stranger, addresses(to)[family]) {
                        (IpAddr::V4(source), IpAddr::V4(to)) => frame.ipv4(source, to),
                        (IpAddr::V6(source), IpAddr::V6(to)) => frame.ipv6(source, to),
                        mixed => panic!("{mixed:?}"),
                    };
                    injector
                        .send(&frame.udp(4_000, 4_001).build())
                        .expect("send");
                }
            }
            lab.assert_counted("H", &before, &[("va1 > - drop spoofed", 4, Any)]);
            // From the wire: an endpoint's, and the node's own.
            let before = lab.traffic("H");
            for own in ["a2", "A"] {
                let own = addresses(own)[family];
                let change = |verb: &str| {
                    let option = if family == 0 { "/32" } else { "/128 nodad" };
                    run(&format!(
                        "ip -n {}P addr {verb} {own}{option} dev lo",
                        lab.prefix()
                    ));
                };
                change("add");
                let options = PingOptions {
                    src: Some(own),
                    timeout: Duration::from_millis(150),
                    ..PingOptions::default()
                };
                let report = lab.ping("P", addresses("a1")[family], &options);
                assert_eq!((report.sent, report.received), (1, 0), "{report:?}");
                change("del");
            }
            let counted = lab.traffic("H").since(&before);
            assert_eq!(counted.row("up0 > - drop spoofed").0, 2, "{counted:?}");
            assert_eq!(counted.row("up0 > va1 redirect_peer").0, 0, "{counted:?}");
        }
    });
}

#[test]
fn static_next_hops_of_all_kinds() {
    on_a_machine(|lab| {
        for address in ["fe80::253/64", "203.0.113.9/32", "2001:db8:9::9/128"] {
            let option = if address.contains(':') { " nodad" } else { "" };
            run(&format!(
                "ip -n {}P addr add {address} dev eth0{option}",
                lab.prefix()
            ));
        }
        let before = portrait(&machine());
        for (v4, v6, found) in [
            // Of the other family.
            (
                r#"via = "fd00:198::253""#,
                r#"via = "fd00:198::253""#,
                "10.0.3.0/24 via inet6 fd00:198::253 dev up0 proto 110",
            ),
            // Good on the link only.
            (
                r#"via = "fe80::253", dev = "up0""#,
                r#"via = "fe80::253", dev = "up0""#,
                "10.0.3.0/24 via inet6 fe80::253 dev up0 proto 110",
            ),
            // On the link by the file's word.
            (
                r#"via = "203.0.113.9", dev = "up0""#,
                r#"via = "2001:db8:9::9", dev = "up0""#,
                "10.0.3.0/24 via 203.0.113.9 dev up0 proto 110 onlink",
            ),
            (
                r#"via = "100.100.198.253", dev = "up0""#,
                r#"via = "fd00:198::253", dev = "up0""#,
                "10.0.3.0/24 via 100.100.198.253 dev up0 proto 110",
            ),
        ] {
            let routes =
                format!(r#"{{ dst = "10.0.3.0/24", {v4} }}, {{ dst = "fd00:3::/64", {v6} }}"#);
            lab.rewrite(&with_routes(&routes));
            let planned = lab.plan();
            assert_eq!(lab.converge(), planned);
            assert_content(lab, v4);
            let route = run("ip route show 10.0.3.0/24");
            assert_eq!(route.trim(), found);
            for family in Family::ALL {
                assert_fast(lab, family, v4);
            }
            // Gone, and made again as it was.
            run("ip route del 10.0.3.0/24");
            run("ip route del fd00:3::/64");
            assert_eq!(lab.plan().len(), 2, "{:?}", lab.plan());
            lab.converge();
            assert_content(lab, v4);
            assert_eq!(run("ip route show 10.0.3.0/24").trim(), found);
        }
        // One of the file's that becomes the kernel's goes, and nothing else does.
        run("ip route add 10.0.3.128/25 via 100.100.198.253");
        lab.rewrite(&with_routes(
            r#"{ dst = "10.0.3.0/24" }, { dst = "fd00:3::/64" }"#,
        ));
        let planned = lab.plan();
        assert_eq!(lab.converge(), planned);
        assert_content(lab, "without next hops");
        assert_eq!(run("ip route show 10.0.3.0/24"), "");
        assert_refused(lab, Family::V4, "fib_not_forwarded");
        run("ip route del 10.0.3.128/25");
        lab.down();
        assert_eq!(portrait(&machine()), before);
    });
}

/// A machine as clouds make them: one address, no subnet, and a gateway that is on the link all the same.
#[test]
fn a_machine_without_a_subnet() {
    on_a_machine(|lab| {
        let prefix = lab.prefix().to_owned();
        for line in [
            "ip addr flush dev up0 scope global",
            "ip addr add 10.0.0.5/32 dev up0",
            "ip addr add fd00:0:0:5::5/128 dev up0 nodad",
            "ip route add default via 10.0.0.1 dev up0 onlink",
            "ip route add default via fe80::1 dev up0",
            "ip -n @P addr add 10.0.0.1/32 dev eth0",
            "ip -n @P addr add fe80::1/64 dev eth0 nodad",
            "ip -n @P route add 10.0.0.5 dev eth0",
            "ip -n @P route add fd00:0:0:5::5 dev eth0",
            "ip -n @P route replace 10.0.0.0/22 via 10.0.0.5",
            "ip -n @P route replace fd00::/30 via fd00:0:0:5::5",
        ] {
            run(&line.replace('@', &prefix));
        }
        let addresses = r#"["100.100.198.250/24", "fd00:198::250/64"]"#;
        for text in [
            with_fast_prefixes(),
            with_routes(
                r#"{ dst = "10.0.3.0/24", via = "10.0.0.1", dev = "up0" },
                   { dst = "fd00:3::/64", via = "fe80::1", dev = "up0" }"#,
            ),
        ] {
            for own in [r#"["10.0.0.5/32", "fd00:0:0:5::5/128"]"#, "[]"] {
                lab.rewrite(&text.replace(addresses, own));
                lab.converge();
                assert_content(lab, own);
                for family in Family::ALL {
                    assert_fast(lab, family, own);
                }
            }
        }
    });
}
