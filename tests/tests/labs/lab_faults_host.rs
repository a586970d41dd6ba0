//! On the machine itself an endpoint gets no address that is somebody's already, and no route of somebody's is
//! replaced.

use netpath::{Ends as _, netns::Netns, provision};
use netpath_tests::lab::{HOST, Lab, assert_same_portrait, on_a_machine, portrait, run};

fn machine() -> Netns {
    Netns::current().expect("namespace")
}

/// Fails unless up and plan refuse it with an error that says all this, and nothing is touched.
fn assert_refused(lab: &Lab, words: &[&str]) {
    let before = (portrait(&machine()), lab.leftovers());
    let planned = provision::plan(lab.topology(), &Default::default());
    let error = lab.try_converge().expect_err("a refusal");
    assert!(error.is_refusal(), "{error:?}");
    for words in words {
        assert!(
            error.to_string().contains(words),
            "no {words:?} in: {error}"
        );
    }
    assert_eq!(
        planned.expect_err("a refusal").to_string(),
        error.to_string()
    );
    assert_same_portrait(&portrait(&machine()), &before.0, "refused");
    assert_eq!(lab.leftovers(), before.1);
}

/// Somebody's routes, as `ip route add` takes them, to addresses of a1 or a2.
const ROUTES: [&str; 14] = [
    "10.0.1.2 via 100.100.198.253",
    "10.0.1.2 dev br7 metric 50",
    "10.0.2.2/32 dev br7 proto static metric 4000000000",
    "10.0.1.2 tos 0x10 via 100.100.198.253",
    "10.0.1.2 nexthop via 100.100.198.253 nexthop via 100.100.198.254",
    "blackhole 10.0.1.2",
    "unreachable 10.0.1.2 metric 9",
    "prohibit 10.0.2.2",
    "throw 10.0.2.2 metric 1",
    "local 10.0.1.2 dev lo table main",
    "fd00:1::2 via fd00:198::253",
    "fd00:2::2/128 dev br7 metric 1",
    "blackhole fd00:1::2",
    "fd00:1::2 nexthop via fd00:198::253 nexthop via fd00:198::254",
];

/// The address of one of [`ROUTES`], without a length.
fn destination(route: &str) -> &str {
    let found = route
        .split(' ')
        .find(|word| word.contains("::2") || word.contains(".2"));
    found
        .expect("an address")
        .trim_end_matches("/32")
        .trim_end_matches("/128")
}

#[test]
fn a_route_of_somebodys_to_an_endpoints_address_is_refused() {
    on_a_machine(|lab| {
        for route in ROUTES {
            run(&format!("ip route add {route}"));
            let dst = destination(route);
            assert_refused(lab, &[dst, "already has a route", "ip route del"]);
            run(&format!("ip route del {route}"));
        }
        lab.converge();
        // netpath's own are not somebody's.
        assert_eq!(lab.converge(), Vec::<String>::new());
    });
}

/// It is not netpath's to mend, and `show` does not say that it were.
#[test]
fn an_uplink_of_the_machine_that_is_not_as_it_was_is_refused() {
    on_a_machine(|lab| {
        lab.converge();
        for (damage, mend, words) in [
            (
                "ip link set up0 down",
                "ip link set up0 up",
                ["is down", "ip link set up0 up`"],
            ),
            (
                "ip addr del 100.100.198.250/24 dev up0",
                "ip addr add 100.100.198.250/24 dev up0",
                ["has no address 100.100.198.250/24", "add it"],
            ),
        ] {
            run(damage);
            assert_refused(lab, &words);
            let uplink = &lab.status("H").uplinks[0];
            let told: Vec<String> = uplink.drift.iter().map(ToString::to_string).collect();
            assert!(told.concat().contains(words[0]), "{told:?}");
            assert!(!told.concat().contains("netpath up"), "{told:?}");
            run(mend);
            run("ip -6 addr replace fd00:198::250/64 dev up0 nodad");
        }
        lab.converge();
        assert_eq!(lab.plan(), Vec::<String>::new());
    });
}

#[test]
fn a_route_that_comes_later_outlives_the_endpoint() {
    on_a_machine(|lab| {
        let routes = [
            "10.0.1.2 dev br7 metric 50",
            "blackhole 10.0.2.2 metric 51",
            "fd00:1::2 via fd00:198::253 metric 52",
        ];
        lab.converge();
        for route in routes {
            run(&format!("ip route add {route}"));
            assert_refused(lab, &[destination(route), "ip route del"]);
        }
        let theirs = || {
            let all = run("ip -4 route show table all") + &run("ip -6 route show table all");
            let lines = all.lines().filter(|line| line.contains("metric 5"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let before = theirs();
        assert_eq!(before.len(), routes.len(), "{before:?}");
        lab.down();
        assert_eq!(theirs(), before);
    });
}

#[test]
fn an_address_that_the_machine_has_is_no_endpoints() {
    on_a_machine(|lab| {
        for (add, del, words) in [
            (
                "ip addr add 10.0.1.2/32 dev lo",
                "ip addr del 10.0.1.2/32 dev lo",
                ["10.0.1.2", "this machine's own address", "lo"],
            ),
            (
                "ip addr add 10.0.2.2/24 dev br7",
                "ip addr del 10.0.2.2/24 dev br7",
                ["10.0.2.2", "this machine's own address", "br7"],
            ),
            (
                "ip addr add fd00:1::2/128 dev lo",
                "ip addr del fd00:1::2/128 dev lo",
                ["fd00:1::2", "this machine's own address", "lo"],
            ),
            // Any address of a prefix (AnyIP).
            (
                "ip route add local 10.0.0.0/16 dev lo",
                "ip route del local 10.0.0.0/16 dev lo",
                ["10.0.1.2", "local 10.0.0.0/16", "ip route del"],
            ),
            // The broadcast address of a subnet.
            (
                "ip addr add 10.0.1.1/30 broadcast 10.0.1.2 dev br7",
                "ip addr del 10.0.1.1/30 dev br7",
                ["10.0.1.2", "broadcast 10.0.1.2", "remedy"],
            ),
        ] {
            run(add);
            assert_refused(lab, &words[..2]);
            run(del);
        }
        // An interface that is down has its addresses all the same.
        run("ip link set br7 down");
        run("ip addr add 10.0.1.2/32 dev br7");
        assert_refused(lab, &["10.0.1.2", "this machine's own address, on br7"]);
        run("ip addr del 10.0.1.2/32 dev br7");
        run("ip link set br7 up");
        lab.converge();
    });
}

#[test]
fn routes_of_any_kind_inside_a_prefix_are_refused() {
    on_a_machine(|lab| {
        lab.rewrite(&HOST.replace(
            r#"host_dev = "va1""#,
            r#"host_dev = "va1", prefixes = ["10.9.0.0/28"]"#,
        ));
        for route in [
            "blackhole 10.9.0.4",
            "unreachable 10.9.0.0/29",
            "10.9.0.0/28 nexthop via 100.100.198.253 nexthop via 100.100.198.254",
            "local 10.9.0.4 dev lo",
        ] {
            run(&format!("ip route add {route}"));
            assert_refused(lab, &["10.9.0.", "already has a route", "ip route del"]);
            run(&format!("ip route del {route}"));
        }
        lab.converge();
    });
}

#[test]
fn a_route_of_the_file_replaces_none_of_another_kind() {
    on_a_machine(|lab| {
        for route in [
            "blackhole 10.0.3.0/24",
            "prohibit fd00:3::/64",
            "10.0.3.0/24 nexthop via 100.100.198.253 nexthop via 100.100.198.254",
        ] {
            run(&format!("ip route add {route}"));
            assert_refused(lab, &["already has a route", "ip route del"]);
            run(&format!("ip route del {route}"));
        }
        lab.converge();
    });
}
