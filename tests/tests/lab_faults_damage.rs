//! One pass of `up` makes the file true whatever somebody did meanwhile, or refuses at once.

use std::{collections::BTreeSet, fs};

use netpath::Ends as _;
use netpath_tests::lab::{Lab, ONE_NODE, TWO_NODES, addresses, run};

fn assert_works(lab: &Lab) {
    assert_eq!(lab.plan(), Vec::<String>::new());
    for (from, to, ttl) in [("a1", "a2", 63), ("b1", "a2", 62), ("a1", "b2", 62)] {
        for dst in addresses(to) {
            lab.assert_reaches(from, dst, ttl);
        }
    }
}

/// One `up` mends it, or refuses it and leaves it as it is.
fn assert_mended_or_refused(lab: &Lab) {
    match lab.try_converge() {
        Ok(_) => assert_works(lab),
        Err(error) => assert!(error.is_refusal(), "{error}"),
    }
}

#[test]
fn renaming_an_uplink_in_the_file_is_one_pass() {
    let mut lab = Lab::up(TWO_NODES);
    let text = TWO_NODES.replacen(r#"dev = "up0""#, r#"dev = "up9""#, 1);
    lab.rewrite(&text);
    lab.converge();
    lab.ip("B", "neigh flush dev up0");
    assert_works(&lab);
}

#[test]
fn a_host_veth_that_was_renamed_is_mended() {
    let lab = Lab::up(TWO_NODES);
    lab.ip("A", "link set va1 down");
    lab.ip("A", "link set va1 name vx1");
    lab.ip("A", "link set vx1 up");
    assert_mended_or_refused(&lab);
}

#[test]
fn a_host_veth_that_was_moved_away_is_mended() {
    let mut lab = Lab::up(TWO_NODES);
    drop(lab.foreign_namespace("F"));
    lab.ip("A", &format!("link set va1 netns {}", lab.name("F")));
    assert_mended_or_refused(&lab);
}

#[test]
fn an_mtu_too_small_for_ipv6_is_mended() {
    for (place, dev) in [("A", "va1"), ("a1", "eth0")] {
        let lab = Lab::up(TWO_NODES);
        lab.ip(place, &format!("link set {dev} mtu 1000"));
        assert_mended_or_refused(&lab);
    }
}

#[test]
fn ipv6_that_was_disabled_is_mended() {
    for (place, dev) in [("A", "va1"), ("a1", "eth0")] {
        let lab = Lab::up(TWO_NODES);
        lab.set_sysctl(place, &format!("ipv6/conf/{dev}/disable_ipv6"), "1");
        assert_mended_or_refused(&lab);
    }
}

#[test]
fn two_host_devices_are_swapped() {
    let mut lab = Lab::up(TWO_NODES);
    let text = TWO_NODES.replace("va1", "vaX").replace("va2", "va1");
    lab.rewrite(&text.replace("vaX", "va2"));
    let planned = lab.plan();
    assert_eq!(lab.converge(), planned);
    assert_works(&lab);
}

#[test]
fn a_lab_uplink_that_is_made_again_keeps_its_mac() {
    let lab = Lab::up(TWO_NODES);
    let mac = || {
        let link = lab.ip("A", "-o link show dev up0");
        let mac = link.split("link/ether ").nth(1).expect("a MAC");
        mac.split(' ').next().expect("a MAC").to_owned()
    };
    let before = mac();
    lab.ip("A", "link del up0");
    lab.converge();
    assert_eq!(mac(), before, "after it was deleted");
    lab.down();
    lab.converge();
    assert_eq!(mac(), before, "after a down");
}

#[test]
fn down_returns_when_the_interfaces_are_gone() {
    let machine = || {
        let links = run("ip -o link");
        links.lines().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let before = machine();
    let lab = Lab::up(ONE_NODE);
    let cookies = ["A", "a1", "a2"].map(|of| lab.netns(of).cookie().expect("cookie"));
    assert!(cookies.iter().all(|cookie| *cookie != 0));
    lab.down();
    assert_eq!(machine(), before);
    for name in ["A", "a1", "a2"] {
        let path = format!("/run/netns/{}", lab.name(name));
        assert!(fs::symlink_metadata(&path).is_err(), "{path}");
    }
}
