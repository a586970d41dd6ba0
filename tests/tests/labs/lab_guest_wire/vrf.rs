//! Interfaces that are in VRFs: their packets go by tables of their own.

use netpath_tests::{
    connections::forget_connections,
    kernel::Feature,
    lab::{Lab, Watch, addresses},
};

use super::{
    COUNT, FROM_A, TO_A1, TO_A2, accepting_all_of, all, counted, know_each_other, lab, pairs,
    sent_and_seen,
};

/// A VRF that leads nowhere, as the kernel's documentation of VRFs has them end.
fn vrf(lab: &Lab, name: &str, table: u32) {
    let lines = format!(
        "ip link add {name} type vrf table {table}
         ip link set {name} up
         ip route add table {table} unreachable default metric 4278198272
         ip -6 route add table {table} unreachable default metric 4278198272"
    );
    all(lab, "A", &lines);
}

/// Brings it up again, which the kernel's going by other tables may need.
fn converge(lab: &Lab) {
    lab.converge();
    assert_eq!(lab.plan(), Vec::<String>::new());
}

#[test]
fn endpoints_in_different_vrfs_do_not_meet() {
    if !Feature::Vrf.is_there() {
        return;
    }
    let lab = lab();
    vrf(&lab, "red", 1001);
    vrf(&lab, "blue", 1002);
    let mut wire = Watch::new(&lab, [TO_A2]);
    for ends in pairs("a1", "a2") {
        assert_eq!(sent_and_seen(&lab, &mut wire, ("a1", ends), 1), COUNT);
    }
    lab.ip("A", "link set va1 master red");
    lab.ip("A", "link set va2 master blue");
    assert!(lab.told("A").contains(&"bypassed"), "{:?}", lab.told("A"));
    converge(&lab);
    for ends in pairs("a1", "a2") {
        let before = lab.traffic("A");
        assert_eq!(sent_and_seen(&lab, &mut wire, ("a1", ends), 1), 0);
        let difference = lab.traffic("A").since(&before);
        assert_eq!(difference.row("va1 > - punt vrf").0, COUNT as u64);
        assert_eq!(difference.row("va1 > va2 deliver").0, 0);
    }
    // Nor where only the destination is in one.
    lab.ip("A", "link set va1 nomaster");
    converge(&lab);
    for ends in pairs("a1", "a2") {
        send_is_left_to_the_kernel(&lab, ends);
    }
    // In one VRF they do, by its table, which somebody fills.
    lab.ip("A", "link set va1 master red");
    lab.ip("A", "link set va2 master red");
    converge(&lab);
    for (endpoint, dev) in [("a1", "va1"), ("a2", "va2")] {
        for (dst, length) in addresses(endpoint).into_iter().zip([32, 128]) {
            lab.ip(
                "A",
                &format!("route add {dst}/{length} dev {dev} table 1001"),
            );
        }
    }
    lab.set_sysctl("A", "ipv4/conf/red/forwarding", "1");
    for ends in pairs("a1", "a2") {
        assert_eq!(sent_and_seen(&lab, &mut wire, ("a1", ends), 1), COUNT);
    }
    // And without any they are the fast path's again.
    lab.ip("A", "link set va1 nomaster");
    lab.ip("A", "link set va2 nomaster");
    converge(&lab);
    // What the kernel has carried within the VRF stays its own.
    forget_connections(&lab.name("A"));
    for ends in pairs("a1", "a2") {
        let before = lab.traffic("A");
        assert_eq!(sent_and_seen(&lab, &mut wire, ("a1", ends), 1), COUNT);
        lab.assert_counted("A", &before, &[counted("va1 > va2 redirect_peer")]);
    }
}

fn send_is_left_to_the_kernel(lab: &Lab, ends: (std::net::IpAddr, std::net::IpAddr)) {
    let before = lab.traffic("A");
    super::send(lab, "a1", ends);
    let difference = lab.traffic("A").since(&before);
    assert_eq!(difference.row("va1 > - punt vrf").0, COUNT as u64);
}

#[test]
fn what_comes_by_an_uplink_in_a_vrf_stays_there() {
    if !Feature::Vrf.is_there() {
        return;
    }
    let lab = lab();
    vrf(&lab, "red", 1001);
    let mut inside = Watch::new(&lab, [TO_A1]);
    // A capture ends when its interface goes down.
    let outside = |ends| {
        let mut watch = Watch::new(&lab, [FROM_A]);
        sent_and_seen(&lab, &mut watch, ("a1", ends), 1)
    };
    for (to, from) in pairs("a1", "b1") {
        assert_eq!(
            sent_and_seen(&lab, &mut inside, ("b1", (from, to)), 2),
            COUNT
        );
        assert_eq!(outside((to, from)), COUNT);
    }
    lab.ip("A", "link set up0 master red");
    assert!(lab.told("A").contains(&"bypassed"), "{:?}", lab.told("A"));
    converge(&lab);
    for (to, from) in pairs("a1", "b1") {
        let before = lab.traffic("A");
        assert_eq!(sent_and_seen(&lab, &mut inside, ("b1", (from, to)), 2), 0);
        let difference = lab.traffic("A").since(&before);
        assert_eq!(difference.row("up0 > - punt vrf").0, COUNT as u64);
    }
    lab.ip("A", "link set up0 nomaster");
    converge(&lab);
    know_each_other(&lab);
    for (to, from) in pairs("a1", "b1") {
        assert_eq!(
            sent_and_seen(&lab, &mut inside, ("b1", (from, to)), 2),
            COUNT
        );
        assert_eq!(outside((to, from)), COUNT);
    }
}

/// Who accepts that has endpoints meet that the kernel keeps apart.
#[test]
fn endpoints_in_different_vrfs_meet_where_that_is_accepted() {
    if !Feature::Vrf.is_there() {
        return;
    }
    let lab = Lab::up(&accepting_all_of("vrf"));
    vrf(&lab, "red", 1001);
    vrf(&lab, "blue", 1002);
    lab.ip("A", "link set va1 master red");
    lab.ip("A", "link set va2 master blue");
    converge(&lab);
    let mut wire = Watch::new(&lab, [TO_A2]);
    for ends in pairs("a1", "a2") {
        let before = lab.traffic("A");
        assert_eq!(sent_and_seen(&lab, &mut wire, ("a1", ends), 1), COUNT);
        lab.assert_counted("A", &before, &[counted("va1 > va2 redirect_peer")]);
    }
}
