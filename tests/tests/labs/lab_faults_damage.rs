//! One pass of `up` makes the file true whatever somebody did meanwhile, or refuses at once.

use std::{collections::BTreeSet, fs, sync::atomic::AtomicBool};

use netpath::{Ends as _, provision};
use netpath_tests::lab::{Lab, ONE_NODE, TWO_NODES, addresses, portrait, run};

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

fn cookies(lab: &Lab) -> Vec<u64> {
    let of = |place: &str| lab.netns(place).cookie().expect("cookie");
    ["A", "a1", "a2"].map(of).to_vec()
}

/// One pass mends it, with nothing made anew: what somebody has inside stays.
fn assert_mended_in_place(lab: &Lab, damage: impl FnOnce(&Lab), told: &[&str]) {
    let inside = |lab: &Lab| lab.ip("a1", "-o link show dev eth0");
    let (before, namespaces) = (inside(lab), cookies(lab));
    damage(lab);
    let planned = lab.plan();
    for words in told {
        let mut all = planned.iter();
        assert!(all.any(|change| change.contains(words)), "{planned:#?}");
    }
    assert_eq!(lab.converge(), planned);
    assert_eq!(cookies(lab), namespaces);
    assert_eq!(inside(lab), before);
    assert_works(lab);
}

#[test]
fn names_of_interfaces_that_were_exchanged_are_given_back() {
    let lab = Lab::up(TWO_NODES);
    let exchange = |one: &str, other: &str| {
        for dev in [one, other] {
            lab.ip("A", &format!("link set {dev} down"));
        }
        lab.ip("A", &format!("link set {one} name between"));
        lab.ip("A", &format!("link set {other} name {one}"));
        lab.ip("A", &format!("link set between name {other}"));
        for dev in [one, other] {
            lab.ip("A", &format!("link set {dev} up"));
        }
    };
    let swapped = ["va1 was renamed to va2", "va2 was renamed to va1"];
    assert_mended_in_place(&lab, |_| exchange("va1", "va2"), &swapped);
    let swapped = ["va1 was renamed to up0", "up0 was renamed to va1"];
    assert_mended_in_place(&lab, |_| exchange("va1", "up0"), &swapped);
}

#[test]
fn an_uplink_that_was_renamed_or_has_another_mac_is_mended() {
    let lab = Lab::up(TWO_NODES);
    let rename = |lab: &Lab| {
        lab.ip("A", "link set up0 down");
        lab.ip("A", "link set up0 name up7");
        lab.ip("A", "link set up7 up");
    };
    assert_mended_in_place(&lab, rename, &["up0 was renamed to up7"]);
    let other_mac = |lab: &Lab| drop(lab.ip("A", "link set up0 address 02:00:00:00:00:77"));
    assert_mended_in_place(&lab, other_mac, &["interface up0 has another MAC"]);
}

#[test]
fn an_inner_interface_that_was_renamed_is_mended_in_place() {
    let lab = Lab::up(TWO_NODES);
    let rename = |lab: &Lab| {
        lab.ip("a1", "link set eth0 down");
        lab.ip("a1", "link set eth0 name foo");
        lab.ip("a1", "link set foo up");
    };
    assert_mended_in_place(&lab, rename, &["eth0 was renamed to foo"]);
}

/// What `show` says of the lab's node A, one finding a line.
fn shown(lab: &Lab) -> String {
    let status = lab.status("A");
    let lines: Vec<String> = status.findings().map(ToString::to_string).collect();
    lines.join("\n")
}

/// `up` refuses before anything is touched, and its dry run and `show` say the same.
fn assert_refused(lab: &Lab, place: &str, words: &[&str]) {
    let before = (portrait(&lab.netns("A")), portrait(&lab.netns(place)));
    let planned = provision::plan(lab.topology(), &Default::default()).expect_err("a refusal");
    let error = lab.try_converge().expect_err("a refusal");
    assert!(error.is_refusal(), "{error}");
    assert_eq!(planned.to_string(), error.to_string());
    for words in words {
        assert!(
            error.to_string().contains(words),
            "no {words:?} in: {error}"
        );
    }
    let after = (portrait(&lab.netns("A")), portrait(&lab.netns(place)));
    assert_eq!(after, before);
    let shown = shown(lab);
    assert!(shown.contains(words[0]), "{shown}");
    assert!(!shown.contains("`netpath up` mends it"), "{shown}");
}

#[test]
fn a_foreign_interface_in_place_of_the_inner_one_is_refused() {
    let lab = Lab::up(TWO_NODES);
    lab.ip("a1", "link set eth0 down");
    lab.ip("a1", "link set eth0 name foo");
    lab.ip("a1", "link set foo up");
    lab.ip("a1", "link add eth0 type veth peer name theirs");
    assert_refused(
        &lab,
        "a1",
        &["interface eth0 exists in namespace", "set dev"],
    );
}

#[test]
fn an_endpoint_whose_record_was_lost_is_told_and_named_by_down() {
    let record = |lab: &Lab| {
        let name = lab.name("a1");
        let mut key = [0u8; 64];
        key[..name.len()].copy_from_slice(name.as_bytes());
        let path = format!(
            "/sys/fs/bpf/netpath/{}/maps/endpoint_records",
            lab.name("A")
        );
        (path, key.map(|byte| byte.to_string()).join(" "))
    };
    let altered = |lab: &Lab| {
        let (path, key) = record(lab);
        let text = run(&format!("bpftool -j map lookup pinned {path} key {key}"));
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let bytes = json["value"].as_array().expect("a value");
        let mut bytes: Vec<&str> = bytes.iter().map(|b| b.as_str().expect("a byte")).collect();
        // The first eight are the cookie.
        bytes[6] = "0x55";
        let value = bytes.join(" ");
        run(&format!(
            "bpftool map update pinned {path} key {key} value {value}"
        ));
    };
    let deleted = |lab: &Lab| {
        let (path, key) = record(lab);
        run(&format!("bpftool map delete pinned {path} key {key}"));
    };
    let damages: [&dyn Fn(&Lab); 2] = [&altered, &deleted];
    for damage in damages {
        let mut lab = Lab::up(ONE_NODE);
        lab.note_foreign("a1", true);
        damage(&lab);
        assert_refused(
            &lab,
            "a2",
            &["no record proves that any more", "netpath down"],
        );
        let removed = provision::down_unless(&lab.nodes(), &AtomicBool::new(false), &mut |_| {});
        let remaining = removed.expect("down").remaining;
        let command = format!("ip netns del {}", lab.name("a1"));
        let mut told = remaining.iter().map(ToString::to_string);
        assert!(told.any(|told| told.contains(&command)), "{remaining:?}");
        // It was left.
        lab.netns("a1");
    }
}

#[test]
fn an_endpoint_that_moves_to_another_node_is_refused_with_a_way() {
    let mut lab = Lab::up(TWO_NODES);
    let line = r#"    { name = "@b2", addresses = ["10.0.4.2/24", "fd00:4::2/64"], host_dev = "vb2" },
"#;
    let without = TWO_NODES.replace(line, "");
    let (first, second) = without.split_once("\n\n").expect("two nodes");
    let first = first.trim_end().strip_suffix(']').expect("a list");
    let moved = format!(
        "{}{line}]\n\n{second}",
        first
            .replace(r#"{ dst = "10.0.4.0/24", via = "100.100.198.253" },"#, "")
            .replace(r#"{ dst = "fd00:4::/64", via = "fd00:198::253" },"#, "")
    );
    lab.rewrite(&moved);
    let error = lab.try_converge().expect_err("a refusal").to_string();
    let words = format!("is up on node {}", lab.name("B"));
    assert!(error.contains(&words), "{error}");
    assert!(!error.contains("ip netns del"), "{error}");
    // The way that is told.
    lab.rewrite(&without);
    lab.converge();
    lab.rewrite(&moved);
    lab.converge();
    assert_eq!(lab.plan(), Vec::<String>::new());
    for dst in addresses("b2") {
        lab.assert_reaches("a1", dst, 63);
    }
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
