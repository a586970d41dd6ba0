//! On a machine that has interfaces, routes and rules of its own, netpath adds what is its own and takes away
//! exactly that.

use netpath::{
    Ends as _,
    netns::Netns,
    provision::{self, ProvisionError},
    reconcile::{Refusal, Refused},
};
use netpath_tests::{
    lab::{Bytes::Any, HOST, Lab, addresses, on_a_machine, portrait, run},
    netpath,
};

fn machine() -> Netns {
    Netns::current().expect("namespace")
}

/// Everybody reaches everybody, with FORWARD at DROP.
fn assert_works(lab: &Lab) {
    for family in [0, 1] {
        let [a1, a2, b1] = ["a1", "a2", "b1"].map(|of| addresses(of)[family]);
        lab.assert_reaches("a1", a2, 63);
        lab.assert_reaches("a2", a1, 63);
        // b1's addresses are the other machine's here.
        lab.assert_reaches("a1", b1, 63);
        lab.assert_reaches_from("P", Some(b1), a2, 63);
        lab.assert_reaches("a1", addresses("A")[family], 64);
    }
}

#[test]
fn only_what_is_netpaths_comes_and_goes() {
    on_a_machine(|lab| {
        let before = portrait(&machine());
        assert!(before.contains("dev up0") && before.contains("-A FORWARD"));
        let planned = lab.plan();
        assert_eq!(portrait(&machine()), before, "after planning");
        assert_eq!(lab.converge(), planned);
        assert_works(lab);
        let during = portrait(&machine());
        for line in before.lines() {
            assert!(during.contains(line), "{line} is gone from\n{during}");
        }
        for own in [
            "va1",
            "va2",
            "10.0.1.2 dev va1 table main proto 110",
            "fd00:3::/64 via fd00:198::253",
        ] {
            assert!(during.contains(own), "no {own} in\n{during}");
        }
        // The route that was there is not made a second time.
        assert_eq!(during.matches("10.0.4.0/24 via").count(), 1, "{during}");
        assert_eq!(lab.converge(), Vec::<String>::new());
        lab.down();
        assert_eq!(portrait(&machine()), before, "after down");
        assert_eq!(lab.down(), Vec::<String>::new());
    });
}

#[test]
fn counters_and_the_fast_path_work_as_in_a_lab() {
    on_a_machine(|lab| {
        lab.converge();
        let forwarded = lab.forward_counters("H");
        for family in [0, 1] {
            let before = lab.traffic("H");
            lab.assert_reaches("a1", addresses("b1")[family], 63);
            let there = ("va1 > up0 redirect_neigh", 3, Any);
            let back = ("up0 > va1 redirect_peer", 3, Any);
            lab.assert_counted("H", &before, &[there, back]);
        }
        assert_eq!(lab.forward_counters("H"), forwarded, "the FORWARD chain");
        lab.fast_path(false, "H", None);
        lab.assert_loses("a1", addresses("a2")[0]);
        lab.fast_path(true, "H", None);
        assert_works(lab);
    });
}

#[test]
fn a_changed_file_leaves_no_traces() {
    on_a_machine(|lab| {
        let before = portrait(&machine());
        lab.converge();
        // a2 goes, a1 gets another address and another interface, two routes go.
        let text = HOST
            .replace("10.0.1.2/24", "10.0.1.3/24")
            .replace(r#""va1""#, r#""vb1""#);
        let lines = text
            .lines()
            .filter(|line| !line.contains("@a2") && !line.contains("fd00:3::"));
        lab.rewrite(
            &lines
                .filter(|line| !line.contains("10.0.4.0"))
                .collect::<Vec<_>>()
                .join("\n"),
        );
        lab.converge();
        lab.assert_reaches("a1", addresses("b1")[0], 63);
        assert_eq!(lab.plan(), Vec::<String>::new());
        let during = portrait(&machine());
        for gone in ["va1", "va2", "10.0.1.2", "fd00:3::/64"] {
            assert!(!during.contains(gone), "{gone} in\n{during}");
        }
        assert!(during.contains("10.0.4.0/24 via"), "somebody else's route");
        lab.down();
        assert_eq!(portrait(&machine()), before);
    });
}

#[test]
fn damage_on_the_machine_is_repaired_and_taken_down() {
    on_a_machine(|lab| {
        let before = portrait(&machine());
        lab.converge();
        for damage in [
            "ip link del va1",
            "ip route del 10.0.3.0/24",
            "ip route del 10.0.2.2",
        ] {
            run(damage);
            assert_ne!(lab.plan(), Vec::<String>::new(), "{damage}");
            lab.converge();
            assert_works(lab);
        }
        run("ip link del va2");
        run("ip route del 10.0.3.0/24");
        lab.down();
        assert_eq!(portrait(&machine()), before);
    });
}

/// Fails unless up is refused with an error that says so, and nothing is touched.
fn assert_refused(lab: &Lab, words: &str) {
    let before = portrait(&machine());
    let planned = provision::plan(lab.topology(), &Default::default());
    let error = lab.try_converge().expect_err("a refusal");
    assert!(error.is_refusal(), "{error:?}");
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(
        planned.expect_err("a refusal").to_string(),
        error.to_string()
    );
    assert_eq!(portrait(&machine()), before);
    lab.assert_nothing_left();
}

#[test]
fn what_is_somebody_elses_is_refused() {
    on_a_machine(|lab| {
        run("ip link add va2 type veth peer name other");
        assert_refused(lab, "interface va2 exists");
        assert!(matches!(
            lab.try_converge(),
            Err(ProvisionError::Refused(Refused {
                refusal: Refusal::ForeignInterface { .. },
                ..
            }))
        ));
        run("ip link del va2");

        drop(lab.foreign_namespace("a1"));
        let words = format!("network namespace {} exists", lab.name("a1"));
        assert_refused(lab, &words);
        Netns::remove(&lab.name("a1")).expect("remove");

        run("ip route add 10.0.3.0/24 dev br7");
        assert_refused(lab, "already has a route to 10.0.3.0/24 on the link");
        assert!(matches!(
            lab.try_converge(),
            Err(ProvisionError::Refused(Refused {
                refusal: Refusal::ForeignRoute { .. },
                ..
            }))
        ));
        run("ip route del 10.0.3.0/24");
        for (route, told) in [
            (
                "10.0.3.0/24 nexthop via 100.100.198.253 nexthop via 100.100.198.252",
                "10.0.3.0/24 via 100.100.198.253 or via 100.100.198.252",
            ),
            ("blackhole 10.0.3.0/24", "blackhole 10.0.3.0/24"),
        ] {
            run(&format!("ip route add {route}"));
            let words = format!("already has a route to {told}");
            assert_refused(lab, &words);
            run("ip route del 10.0.3.0/24");
        }

        lab.converge();
        assert_works(lab);
    });
}

/// A file can name one next hop; where there are several it leaves them to the kernel's route.
#[test]
fn a_route_by_a_nexthop_group_is_refused_with_what_can_be_done() {
    on_a_machine(|lab| {
        for (family, dst, via) in [
            ("-4", "10.0.3.0/24", "100.100.198.253"),
            ("-6", "fd00:3::/64", "fd00:198::253"),
        ] {
            for id in [7, 8] {
                run(&format!(
                    "ip {family} nexthop add id {id} via {via} dev up0"
                ));
            }
            run("ip nexthop add id 9 group 7/8");
            run(&format!("ip {family} route add {dst} nhid 9"));
            assert_refused(lab, ": leave via out of the file's route");
            let with_via = format!("{{ dst = \"{dst}\", via = \"{via}\" }}");
            lab.rewrite(&HOST.replace(&with_via, &format!("{{ dst = \"{dst}\" }}")));
            lab.converge();
            assert_eq!(lab.plan(), Vec::<String>::new());
            assert_works(lab);
            lab.down();
            lab.rewrite(HOST);
            run(&format!("ip {family} route del {dst} nhid 9"));
            for id in [9, 8, 7] {
                run(&format!("ip nexthop del id {id}"));
            }
        }
    });
}

#[test]
fn a_machine_that_is_not_set_up_is_refused() {
    on_a_machine(|lab| {
        let remedies = [
            (
                "ipv4/conf/up0/forwarding",
                "sysctl -w net.ipv4.conf.up0.forwarding=1",
            ),
            (
                "ipv6/conf/all/forwarding",
                "sysctl -w net.ipv6.conf.all.forwarding=1",
            ),
        ];
        for (key, words) in remedies {
            lab.set_sysctl("H", key, "0");
            assert_refused(lab, words);
            lab.set_sysctl("H", key, "1");
        }

        run("ip addr del 100.100.198.250/24 dev up0");
        assert_refused(lab, "uplink up0 has no address 100.100.198.250/24");
        run("ip addr add 100.100.198.250/24 dev up0");

        run("ip link set up0 down");
        run("ip link set up0 name up1");
        assert_refused(lab, "no interface up0");
    });
}

#[test]
fn a_node_of_another_namespace_is_left_alone() {
    on_a_machine(|lab| {
        lab.converge();
        lab.inside("P", || {
            let error = lab.try_converge().expect_err("a refusal");
            assert!(
                error.to_string().contains("another network namespace"),
                "{error}"
            );
            let error = provision::down(&lab.nodes(), &mut |_| {}).expect_err("a refusal");
            assert!(
                error.to_string().contains("another network namespace"),
                "{error}"
            );
        });
        assert_works(lab);
    });
}

/// `show` says of each route who made the one that the kernel goes by.
#[test]
fn a_route_that_a_daemon_replaced_is_not_netpaths() {
    on_a_machine(|lab| {
        lab.converge();
        let made = |dst: &str| {
            let routes = lab.status("H").routes;
            let found = routes.iter().find(|route| route.dst.to_string() == dst);
            found.expect(dst).made
        };
        // As the table has it, from the command.
        let shown = |dst: &str| -> String {
            let output = netpath(&["show"]).output().expect("start");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let node = lab.name("H");
            let mut lines = text.lines();
            let line = lines.find(|line| line.starts_with(dst) && line.contains(&node));
            line.expect(dst).trim_end().to_owned()
        };
        assert!(!made("10.0.4.0/24"), "it was there before");
        for (dst, via) in [
            ("10.0.3.0/24", "100.100.198.254"),
            ("fd00:3::/64", "fd00:198::254"),
        ] {
            assert!(made(dst));
            assert!(shown(dst).ends_with("netpath"), "{}", shown(dst));
            // As BIRD has it, with a metric of its own for IPv6, so that netpath's is gone first.
            run(&format!("ip route del {dst} proto 110"));
            run(&format!("ip route add {dst} via {via} proto bird"));
            assert!(!made(dst));
            let told = shown(dst);
            assert!(told.contains(&format!("{via} up0 ")), "{told}");
            assert!(told.ends_with("others"), "{told}");
            // There is none.
            run(&format!("ip route del {dst} proto bird"));
            assert!(!made(dst));
            assert!(!shown(dst).ends_with("netpath"), "{}", shown(dst));
            assert!(!shown(dst).ends_with("others"), "{}", shown(dst));
            // Beside netpath's own the kernel goes by the lower metric.
            lab.converge();
            run(&format!(
                "ip route add {dst} via {via} metric 2000000 proto bird"
            ));
            assert!(made(dst));
        }
    });
}
