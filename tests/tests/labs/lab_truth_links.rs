//! What `show` and `up` say of links: an uplink that nothing is at the other end of, and what is no longer known of a next hop.

use std::time::Duration;

use netpath_tests::lab::{Deadline, addresses, on_a_machine, run};

#[test]
fn an_uplink_without_carrier_is_told_at_once() {
    on_a_machine(|lab| {
        lab.converge();
        lab.assert_told("H", &[]);
        lab.ip("P", "link set eth0 down");
        let line = run("ip -o link show dev up0");
        assert!(line.contains("NO-CARRIER"), "{line}");
        lab.assert_told("H", &["no_carrier of uplink up0 on H"]);
        for dst in addresses("b1") {
            lab.assert_loses("a1", dst);
        }
        lab.ip("P", "link set eth0 up");
        run("ip neigh flush dev up0");
        lab.assert_told("H", &[]);
    });
}

/// The kernel then takes the uplink's own Ethernet address for that of the next hop, and all is lost without a word.
#[test]
fn an_uplink_that_asks_nobody_is_told() {
    on_a_machine(|lab| {
        lab.converge();
        let mac = lab.mac("P", "eth0");
        run("ip link set up0 arp off");
        run("ip neigh flush all");
        lab.assert_told("H", &["arp_off of uplink up0 on H"]);
        for dst in addresses("b1") {
            lab.assert_loses("a1", dst);
        }
        // Those that are told it are reached; and nobody answers who is asked the way back.
        let next_hops = ["100.100.198.253", "fd00:198::253"];
        let own = lab.mac("H", "up0");
        lab.ip(
            "P",
            &format!("neigh replace 100.100.198.250 lladdr {} dev eth0", own),
        );
        lab.ip(
            "P",
            &format!("neigh replace fd00:198::250 lladdr {} dev eth0", own),
        );
        for (next_hop, state) in next_hops.into_iter().zip(["permanent", "noarp"]) {
            lab.assert_told("H", &["arp_off of uplink up0 on H"]);
            run(&format!(
                "ip neigh replace {next_hop} lladdr {} dev up0 nud {state}",
                mac
            ));
        }
        lab.assert_told("H", &[]);
        for dst in addresses("b1") {
            lab.assert_reaches("a1", dst, 63);
        }
        run("ip link set up0 arp on");
        lab.assert_told("H", &[]);
    });
}

/// The kernel remembers a neighbour that did not answer until something is sent to it again.
#[test]
fn what_is_no_longer_known_of_a_next_hop_is_not_told() {
    on_a_machine(|lab| {
        lab.converge();
        lab.ip("P", "addr del 100.100.198.253/24 dev eth0");
        run("ip neigh flush dev up0");
        lab.assert_loses("a1", addresses("b1")[0]);
        let failed = || run("ip -4 neigh show dev up0").contains("100.100.198.253 FAILED");
        let deadline = Deadline::new();
        while !failed() {
            deadline.check(|| run("ip neigh show dev up0"));
        }
        lab.assert_told("H", &["next_hop_silent of node H"]);
        // It lives again, and nobody asks for it.
        lab.ip("P", "addr add 100.100.198.253/24 dev eth0");
        let deadline = Deadline::within(Duration::from_secs(15));
        while !lab.shown("H").is_empty() {
            deadline.check(|| format!("{:?}", lab.shown("H")));
        }
        // The kernel may have forgotten that it asked, but does not ask again.
        let known = run("ip -4 neigh show dev up0");
        assert!(!known.contains("100.100.198.253 lladdr"), "{known}");
        lab.assert_told("H", &[]);
    });
}
