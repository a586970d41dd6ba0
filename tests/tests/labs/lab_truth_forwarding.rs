//! An interface that does not forward: what comes in by it is for the kernel alone to lose, by family, from when the programs
//! are told.

use std::{net::IpAddr, time::Duration};

use netpath::probe::ping::PingOptions;
use netpath_tests::lab::{Lab, TWO_NODES, addresses, on_a_machine, run};

/// The families' `forwarding` is asked of each interface, and of the whole namespace.
const V4: usize = 0;
const V6: usize = 1;

/// How many of a few pings from there are answered.
fn answered(lab: &Lab, from: &str, src: Option<IpAddr>, dst: IpAddr) -> usize {
    let options = PingOptions {
        src,
        count: 3,
        interval: Duration::ZERO,
        timeout: Duration::from_millis(400),
        ..PingOptions::default()
    };
    lab.ping(from, dst, &options).received as usize
}

/// How many packets more are in a row of the counters than before.
fn counted(lab: &Lab, node: &str, row: &str, work: impl FnOnce()) -> u64 {
    let before = lab.traffic(node).row(row).0;
    work();
    lab.traffic(node).row(row).0 - before
}

#[test]
fn what_an_uplink_does_not_forward_is_the_kernels_to_lose() {
    on_a_machine(|lab| {
        run("iptables -w -P FORWARD ACCEPT");
        run("ip6tables -w -P FORWARD ACCEPT");
        lab.converge();
        let outside = addresses("b1");
        let reaches = |family: usize| {
            let dst = addresses("a1")[family];
            answered(lab, "P", Some(outside[family]), dst)
        };
        assert_eq!([V4, V6].map(reaches), [3, 3]);
        lab.set_sysctl("H", "ipv4/conf/up0/forwarding", "0");
        let told = ["machine_not_forwarding of uplink up0 on H"];
        assert_eq!(lab.shown("H"), told);
        // Nobody tells the programs when that changes.
        lab.fast_path(true, "H", None);
        let row = "up0 > - punt ipv4_forwarding_disabled";
        let lost = counted(lab, "H", row, || assert_eq!([V4, V6].map(reaches), [0, 3]));
        assert_eq!(lost, 3);
        assert_eq!(lab.shown("H"), told);
        // As with the fast path off.
        lab.fast_path(false, "H", None);
        assert_eq!([V4, V6].map(reaches), [0, 3]);
        lab.fast_path(true, "H", None);
        lab.set_sysctl("H", "ipv4/conf/up0/forwarding", "1");
        assert_eq!(lab.shown("H"), ["bypassed of uplink up0 on H"]);
        lab.converge();
        lab.assert_told("H", &[]);
        let row = "up0 > va1 redirect_peer";
        let taken = counted(lab, "H", row, || assert_eq!([V4, V6].map(reaches), [3, 3]));
        assert_eq!(taken, 6);
    });
}

#[test]
fn what_a_veth_does_not_forward_is_the_kernels_to_lose() {
    let lab = Lab::up(&TWO_NODES.replace("drop", "accept"));
    let reaches = |family: usize| answered(&lab, "a1", None, addresses("a2")[family]);
    let punted = |reason: &str, expected: [usize; 2]| {
        lab.fast_path(true, "A", None);
        let row = format!("va1 > - punt {reason}");
        counted(&lab, "A", &row, || {
            assert_eq!([V4, V6].map(reaches), expected)
        })
    };
    assert_eq!([V4, V6].map(reaches), [3, 3]);
    lab.set_sysctl("A", "ipv4/conf/va1/forwarding", "0");
    assert_eq!(lab.shown("A"), ["sysctl of endpoint a1 on A"]);
    assert_eq!(punted("ipv4_forwarding_disabled", [0, 3]), 3);
    assert_eq!(
        lab.shown("A"),
        ["bypassed of endpoint a1 on A", "sysctl of endpoint a1 on A"]
    );
    lab.converge();
    assert_eq!([V4, V6].map(reaches), [3, 3]);
    // Of IPv6 the namespace is asked.
    lab.set_sysctl("A", "ipv6/conf/all/forwarding", "0");
    assert_eq!(punted("ipv6_forwarding_disabled", [3, 0]), 3);
    lab.set_sysctl("A", "ipv4/ip_forward", "0");
    assert_eq!(punted("forwarding_disabled", [0, 0]), 6);
    lab.converge();
    assert_eq!(lab.shown("A"), Vec::<String>::new());
    let row = "va1 > va2 redirect_peer";
    let taken = counted(&lab, "A", row, || assert_eq!([V4, V6].map(reaches), [3, 3]));
    assert_eq!(taken, 6);
}
