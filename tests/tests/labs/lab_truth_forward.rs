//! What filter FORWARD drops of what is left to the kernel: what comes by an uplink, what goes from one to another, and rules of
//! which it cannot be told.

use std::{net::IpAddr, time::Duration};

use netpath::probe::ping::PingOptions;
use netpath_tests::{
    lab::{HUB, Lab, addresses, on_a_machine, run},
    netpath,
};

/// Runs the same for both families.
fn iptables(rule: &str) {
    for command in ["iptables", "ip6tables"] {
        run(&format!("{command} -w {rule}"));
    }
}

/// Nothing that is lost arrives later; what passes may have to wait for a neighbour first, on a loaded machine.
fn assert_from_b1_to_a1(lab: &Lab, passes: bool) {
    let (from, to) = (addresses("b1"), addresses("a1"));
    let timeout = Duration::from_millis(if passes { 5000 } else { 300 });
    for family in [0, 1] {
        let options = PingOptions {
            src: Some(from[family]),
            timeout,
            ..PingOptions::default()
        };
        let report = lab.ping("P", to[family], &options);
        assert_eq!(report.received == 1, passes, "{report:?}");
    }
}

#[test]
fn what_an_uplink_leaves_to_the_kernel_is_told() {
    on_a_machine(|lab| {
        // What endpoints send is accepted, and what comes from outside is not.
        for dev in ["va1", "va2"] {
            iptables(&format!("-A FORWARD -i {dev} -j ACCEPT"));
        }
        lab.converge();
        lab.assert_told("H", &[]);
        assert_from_b1_to_a1(lab, true);
        run("nft add table netdev t");
        run(
            "nft add chain netdev t c { type filter hook ingress device up0 priority 0 ; policy accept ; }",
        );
        run("nft add rule netdev t c counter");
        lab.converge();
        lab.assert_told("H", &["forward_drops of uplink up0 on H"; 2]);
        assert_from_b1_to_a1(lab, false);
        iptables("-A FORWARD -i up0 -j ACCEPT");
        lab.assert_told("H", &[]);
        assert_from_b1_to_a1(lab, true);
        iptables("-D FORWARD -i up0 -j ACCEPT");
        run("nft delete table netdev t");
        lab.converge();
        lab.fast_path(false, "H", None);
        lab.assert_told("H", &["forward_drops of node H"; 2]);
        assert_from_b1_to_a1(lab, false);
    });
}

#[test]
fn rules_that_ask_for_connections_or_sets_may_drop() {
    on_a_machine(|lab| {
        lab.converge();
        lab.fast_path(false, "H", None);
        lab.assert_told("H", &["forward_drops of node H"; 2]);
        // Answers only: nothing can be begun from either side.
        let states = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
        iptables(&format!("-A FORWARD {states}"));
        lab.assert_told("H", &["forward_may_drop of node H"; 2]);
        lab.assert_loses("a1", addresses("a2")[0]);
        // And what endpoints begin.
        for dev in ["va1", "va2"] {
            iptables(&format!("-A FORWARD -i {dev} -j ACCEPT"));
        }
        lab.assert_told("H", &[]);
        lab.assert_reaches("a1", addresses("b1")[0], 63);
        for dev in ["va1", "va2"] {
            iptables(&format!("-D FORWARD -i {dev} -j ACCEPT"));
        }
        iptables(&format!("-D FORWARD {states}"));
        // What is in sets is not looked at.
        iptables("-P FORWARD ACCEPT");
        run("nft add table inet t");
        run("nft add set inet t s { type ipv4_addr ; }");
        run("nft add chain inet t c { type filter hook forward priority 1 ; policy drop ; }");
        run("nft add rule inet t c ip saddr @s accept");
        run("nft add rule inet t c meta nfproto ipv6 accept");
        lab.assert_told("H", &["forward_may_drop of node H"]);
        run("nft add rule inet t c ip saddr 10.0.0.0/16 accept");
        lab.assert_told("H", &[]);
        // A rule that drops what is not understood is nothing to tell of: most drop what is invalid.
        run("nft insert rule inet t c ct state invalid drop");
        lab.assert_told("H", &[]);
    });
}

/// Rules of the legacy iptables, which the kernel does not list over netlink.
#[test]
fn what_legacy_tables_drop_is_told() {
    on_a_machine(|lab| {
        iptables("-P FORWARD ACCEPT");
        lab.converge();
        for command in ["iptables-legacy", "ip6tables-legacy"] {
            run(&format!("{command} -w -P FORWARD DROP"));
        }
        // The fast path passes them by.
        lab.assert_told("H", &[]);
        assert_from_b1_to_a1(lab, true);
        lab.fast_path(false, "H", None);
        lab.assert_told("H", &["forward_drops of node H"; 2]);
        assert_from_b1_to_a1(lab, false);
        for dev in ["va1", "va2", "up0"] {
            run(&format!("iptables-legacy -w -A FORWARD -i {dev} -j ACCEPT"));
        }
        lab.assert_told("H", &["forward_drops of node H"]);
        run("ip6tables-legacy -w -A FORWARD -j ACCEPT");
        lab.assert_told("H", &[]);
        assert_from_b1_to_a1(lab, true);
    });
}

#[test]
fn what_may_go_from_uplink_to_uplink_is_told_where_it_is_the_kernels() {
    let mut lab = Lab::up(HUB);
    let c1: [IpAddr; 2] = ["10.3.1.2", "fd00:3:1::2"].map(|it| it.parse().expect(it));
    lab.assert_told("A", &[]);
    for dst in c1 {
        lab.assert_reaches("b1", dst, 61);
    }
    lab.fast_path(false, "A", None);
    lab.assert_told("A", &["forward_may_drop of node A"; 2]);
    c1.into_iter().for_each(|dst| lab.assert_loses("b1", dst));
    lab.edit("forward_policy = \"drop\"\n", "");
    lab.converge();
    lab.assert_told("A", &[]);
    for dst in c1 {
        lab.assert_reaches("b1", dst, 61);
    }
}

#[test]
fn switching_off_says_what_the_kernel_drops_then() {
    on_a_machine(|lab| {
        lab.converge();
        let node = lab.name("H");
        // Other tests' nodes are told of, too.
        let of_node = |stderr: &[u8]| -> String {
            let stderr = String::from_utf8_lossy(stderr);
            let lines = stderr.lines().filter(|line| line.contains(&node));
            lines.map(|line| format!("{line}\n")).collect()
        };
        let switch = |how: &str| {
            let output = netpath(&["fastpath", how, "--node", &node]).output();
            let output = output.expect("start netpath");
            (output.status.code(), of_node(&output.stderr))
        };
        let (code, stderr) = switch("off");
        assert_eq!(code, Some(3), "{stderr}");
        let dropped = "from 10.0.1.2 to 10.0.2.2 is dropped by chain FORWARD: accept these";
        assert!(stderr.contains(dropped), "{stderr}");
        for dst in addresses("a2") {
            lab.assert_loses("a1", dst);
        }
        let shown = netpath(&["show"]).output().expect("show");
        assert_eq!(of_node(&shown.stderr), stderr);
        assert_eq!(switch("on"), (Some(0), String::new()));
        for dst in addresses("a2") {
            lab.assert_reaches("a1", dst, 63);
        }
        iptables("-A FORWARD -j ACCEPT");
        assert_eq!(switch("off"), (Some(0), String::new()));
    });
}
