//! The place of netpath's filter on an uplink that is the machine's own, without TCX: a clsact qdisc that was there stays, one
//! that netpath made goes with it, and one node has the place. With TCX there is no qdisc, and nodes share an uplink.

use std::path::PathBuf;

use netpath::{
    Ends as _,
    datapath::{Datapath, attach_mode},
    netns::Netns,
    provision::{self, UpOptions},
};
use netpath_common::{Outcome, ProgramKind};
use netpath_tests::{
    aged::{self, Version},
    has_tcx,
    lab::{
        Lab, addresses, assert_same_portrait, in_mode, is_in_mode, on_a_machine, parse, portrait,
        run,
    },
    tc_program,
};

#[test]
fn the_qdisc_that_netpath_made_goes_with_it() {
    in_mode("made", "clsact");
}

#[test]
fn a_qdisc_of_somebody_elses_stays() {
    in_mode("theirs", "clsact");
}

#[test]
fn a_filter_in_its_place_is_not_replaced() {
    in_mode("taken", "clsact");
}

#[test]
fn programs_on_a_renamed_uplink_go() {
    in_mode("renamed", "clsact");
    if has_tcx() {
        in_mode("renamed", "tcx");
    }
}

#[test]
fn one_node_has_an_uplink_without_tcx() {
    in_mode("shared", "clsact");
}

#[test]
fn two_nodes_share_an_uplink_with_tcx() {
    if has_tcx() {
        in_mode("shared", "tcx");
    }
}

/// The clsact qdisc of the uplink as tc tells of it; empty where there is none.
fn clsact() -> String {
    let listing = run("tc qdisc show dev up0");
    let lines = listing.lines().filter(|line| line.contains("clsact"));
    lines.collect()
}

/// Somebody's filter, which does nothing.
fn add_filter(place: &str) {
    let mut words = vec!["tc", "filter", "add", "dev", "up0"];
    words.extend(place.split(' '));
    words.extend(["bpf", "da", "bytecode", "1,6 0 0 4294967295,"]);
    let output = std::process::Command::new(words[0])
        .args(&words[1..])
        .output();
    let output = output.expect("start");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {stderr}");
}

/// Somebody's program as a filter, which does nothing either.
fn add_program(name: &str, place: &str) {
    let path = PathBuf::from(format!("/sys/fs/bpf/{name}"));
    tc_program::pin_idle(&path);
    run(&format!(
        "tc filter add dev up0 {place} bpf da object-pinned {}",
        path.display()
    ));
    std::fs::remove_file(&path).expect("unpinned");
}

fn assert_works(lab: &Lab) {
    for family in [0, 1] {
        lab.assert_reaches("a1", addresses("a2")[family], 63);
        lab.assert_reaches("a1", addresses("b1")[family], 63);
    }
}

#[test]
#[ignore = "a process for the other tests"]
fn made() {
    if !is_in_mode() {
        return;
    }
    on_a_machine(|lab| {
        let machine = Netns::current().expect("namespace");
        let before = portrait(&machine);
        let same = |when: &str| assert_same_portrait(&portrait(&machine), &before, when);
        lab.converge();
        assert_ne!(clsact(), "");
        assert_works(lab);
        assert_eq!(lab.plan(), Vec::<String>::new());
        assert_eq!(lab.converge(), Vec::<String>::new());
        // With the fast path off nothing of netpath's is on the uplink.
        assert_eq!(lab.fast_path(false, "H", None).len(), 3);
        assert_eq!(clsact(), "");
        assert_eq!(lab.plan(), Vec::<String>::new());
        lab.fast_path(true, "H", None);
        assert_ne!(clsact(), "");
        lab.down();
        same("down");
        for count in 1..6 {
            lab.converge_until(count).expect_err("interrupted");
            same("a first up that was interrupted");
        }
        // An uplink that leaves the file.
        lab.converge();
        run("ip link add nic2 type veth peer name nic3");
        run("ip link set nic2 up");
        run("ip addr add 10.8.8.8/24 dev nic2");
        run("sysctl -qw net.ipv4.conf.nic2.forwarding=1");
        lab.edit(
            "uplink = [",
            "uplink = [{ dev = \"nic2\", addresses = [\"10.8.8.8/24\"] }, ",
        );
        lab.converge();
        let qdiscs = || run("tc qdisc show dev nic2");
        assert!(qdiscs().contains("clsact"));
        lab.edit("{ dev = \"nic2\", addresses = [\"10.8.8.8/24\"] }, ", "");
        lab.converge();
        assert!(!qdiscs().contains("clsact"), "{}", qdiscs());
        assert_ne!(clsact(), "");
        run("ip link del nic2");
        lab.converge();
        // Made again where somebody took it away.
        run("tc qdisc del dev up0 clsact");
        assert!(!lab.status("H").uplinks[0].drift.is_empty());
        lab.converge();
        assert_works(lab);
        lab.down();
        same("down again");
    });
}

#[test]
#[ignore = "a process for the other tests"]
fn theirs() {
    if !is_in_mode() {
        return;
    }
    on_a_machine(|lab| {
        let machine = Netns::current().expect("namespace");
        let without = portrait(&machine);
        // There before, and empty.
        run("tc qdisc add dev up0 clsact");
        let before = portrait(&machine);
        let same = |when: &str| assert_same_portrait(&portrait(&machine), &before, when);
        lab.converge();
        assert_works(lab);
        lab.fast_path(false, "H", None);
        assert_ne!(clsact(), "");
        lab.fast_path(true, "H", None);
        lab.down();
        same("down of what was there before");
        run("tc qdisc del dev up0 clsact");

        // Somebody takes netpath's away, and makes one of his own: also where `up` puts netpath's filter into that.
        for mends in [false, true] {
            lab.converge();
            run("tc qdisc del dev up0 clsact");
            run("tc qdisc add dev up0 clsact");
            if mends {
                lab.converge();
                assert_works(lab);
            }
            lab.down();
            same("down of what came in netpath's place");
            run("tc qdisc del dev up0 clsact");
        }

        // Somebody's filter in netpath's qdisc: from then on it is his.
        for hook in ["ingress", "egress"] {
            for by_switch in [false, true] {
                lab.converge();
                add_filter(&format!("{hook} pref 1"));
                let theirs = run(&format!("tc filter show dev up0 {hook}"));
                if by_switch {
                    lab.fast_path(false, "H", None);
                }
                lab.down();
                assert_ne!(clsact(), "", "{hook}");
                let left = run(&format!("tc filter show dev up0 {hook}"));
                let left: Vec<&str> = left.lines().collect();
                assert!(!left.is_empty(), "{hook}");
                assert!(left.iter().all(|line| theirs.contains(line)), "{left:?}");
                run("tc qdisc del dev up0 clsact");
            }
        }
        assert_same_portrait(&portrait(&machine), &without, "the end");
    });
}

#[test]
#[ignore = "a process for the other tests"]
fn taken() {
    if !is_in_mode() {
        return;
    }
    for (hook, kind) in [
        ("ingress", ProgramKind::FromUplink),
        ("egress", ProgramKind::ToUplink),
    ] {
        on_a_machine(|lab| taken_at(lab, hook, kind));
    }
}

fn taken_at(lab: &Lab, hook: &str, kind: ProgramKind) {
    let place = format!("{hook} pref 28272 handle 1");
    let listed = || run(&format!("tc filter show dev up0 {hook}"));
    run("tc qdisc add dev up0 clsact");
    add_filter(&place);
    let machine = Netns::current().expect("namespace");
    let before = portrait(&machine);
    let error = lab.try_converge().expect_err("a refusal");
    assert!(error.is_refusal(), "{error:?}");
    let text = error.to_string();
    let cure = format!(
        "nsenter --net=/run/netns/{} tc filter del dev up0 {hook} pref 28272",
        lab.name("H")
    );
    assert!(text.contains(&cure), "{text}");
    assert_same_portrait(&portrait(&machine), &before, "refused");
    lab.assert_nothing_left();
    run(&cure);
    lab.converge();
    assert_works(lab);
    // One that took its place meanwhile is not taken off with it, be the qdisc netpath's own.
    lab.down();
    run("tc qdisc del dev up0 clsact");
    lab.converge();
    run(&format!("tc filter del dev up0 {hook} pref 28272"));
    add_filter(&place);
    let theirs = listed();
    lab.fast_path(false, "H", None);
    assert_eq!(listed(), theirs);
    run(&cure);
    lab.fast_path(true, "H", None);
    // In the place of what it attached itself it puts its own again; not where it is off.
    lab.fast_path(false, "H", None);
    add_filter(&place);
    let before = listed();
    let selection = netpath::provision::Selection {
        node: Some(lab.name("H")),
        ..Default::default()
    };
    let error = provision::set_fast_path(true, &selection, &mut |_| {});
    let error = error.expect_err("a refusal");
    assert!(error.is_refusal(), "{error:?}");
    assert!(error.to_string().contains("pref 28272"), "{error}");
    assert_eq!(listed(), before);
    // Nor when programs are exchanged for those of this version.
    aged::age(lab.datapath("H"), Version::Four);
    lab.try_converge().expect_err("a refusal");
    assert_eq!(listed(), before);
    lab.down();
    assert_eq!(listed(), before);
    run(&cure);

    // Beside netpath's own: that one gets the new program, and somebody's stays.
    lab.converge();
    add_program(&lab.name("f"), &format!("{hook} pref 28272 handle 2"));
    let theirs = || {
        let filters = listed();
        let mut lines = filters.lines().filter(|line| line.contains("handle 0x2"));
        lines.next().map(str::to_owned).expect("theirs")
    };
    let before = theirs();
    aged::age(lab.datapath("H"), Version::Four);
    lab.try_converge().expect_err("a refusal");
    let current = lab.datapath("H").program_id(kind);
    let current = format!(" id {} name {}", current.expect("pinned"), kind.name());
    let filters = listed();
    assert!(filters.contains(&current), "{current}: {filters}");
    assert_eq!(theirs(), before);
    lab.down();
    assert_eq!(theirs(), before);
}

/// Its programs are found by its index, whatever somebody calls it, and whatever has its name.
#[test]
#[ignore = "a process for the other tests"]
fn renamed() {
    if !is_in_mode() {
        return;
    }
    on_a_machine(|lab| {
        let machine = Netns::current().expect("namespace");
        run("ip link add nic2 type veth peer name nic3");
        run("ip link set nic2 down");
        let names = |to: [&str; 2]| {
            let [from, to] = to;
            run(&format!("ip link set dev {from} down"));
            run(&format!("ip link set dev {from} name {to}"));
        };
        for by_down in [true, false] {
            for taken in [false, true] {
                let before = portrait(&machine);
                lab.converge();
                names(["up0", "up9"]);
                if taken {
                    names(["nic2", "up0"]);
                }
                assert!(!lab.status("H").uplinks[0].drift.is_empty());
                match by_down {
                    true => drop(lab.down()),
                    false => drop(lab.fast_path(false, "H", None)),
                }
                let left = ["ingress", "egress"].map(|hook| {
                    run(&format!("tc filter show dev up9 {hook}"))
                        + &run("bpftool net show dev up9")
                });
                let left = left.concat();
                assert!(!left.contains("from_uplink"), "{left}");
                assert!(!run("tc qdisc show dev up9").contains("clsact"));
                if taken {
                    names(["up0", "nic2"]);
                }
                names(["up9", "up0"]);
                lab.down();
                restore();
                assert_same_portrait(&portrait(&machine), &before, "down");
            }
        }
    });
}

/// What the kernel took away from the uplink when it was down.
fn restore() {
    run("ip link set up0 up");
    run("ip addr replace fd00:198::250/64 dev up0 nodad");
    run("ip route replace 10.0.4.0/24 via 100.100.198.253");
    run("ip route replace 10.99.0.0/16 via 100.100.198.253");
    run("ip route replace 10.0.1.0/24 via 100.100.198.253 table 77");
    run("ip neigh replace 100.100.198.77 dev up0 lladdr 02:00:00:00:00:77 nud permanent");
}

/// Another node of the machine's, with the same uplink.
const SECOND: &str = r#"
[[node]]
name = "@K"
netns = "host"
bypass = ["forward"]
fast_prefixes = ["10.0.3.0/24", "fd00:3::/64"]
uplink = [{ dev = "up0", addresses = ["100.100.198.250/24", "fd00:198::250/64"] }]
endpoint = [{ name = "@k1", addresses = ["10.0.2.9/24", "fd00:2::9/64"], host_dev = "vk1" }]
"#;

const SECONDS: [&str; 2] = ["10.0.2.9", "fd00:2::9"];

#[test]
#[ignore = "a process for the other tests"]
fn shared() {
    if !is_in_mode() {
        return;
    }
    let is_tcx = attach_mode().expect("the kernel answers").name() == "tcx";
    on_a_machine(|lab| {
        let machine = Netns::current().expect("namespace");
        run("iptables -w -P FORWARD ACCEPT");
        run("ip6tables -w -P FORWARD ACCEPT");
        let before = portrait(&machine);
        lab.converge();
        let second = parse(&SECOND.replace('@', lab.prefix()));
        let up = || provision::up(&second, &UpOptions::default(), &mut |_| {});
        let name = lab.name("K");
        if is_tcx {
            up().unwrap_or_else(|error| panic!("{error}"));
            assert_works(lab);
            for (family, to) in SECONDS.into_iter().enumerate() {
                let redirected = redirected(&name);
                let to = to.parse().expect(to);
                lab.assert_reaches_from("P", Some(addresses("b1")[family]), to, 63);
                assert_eq!(self::redirected(&name) - redirected, 3);
            }
        } else {
            let with_first = portrait(&machine);
            let error = up().expect_err("a refusal");
            assert!(error.is_refusal(), "{error:?}");
            let text = error.to_string();
            let told = format!("uplink up0 is node {}'s already", lab.name("H"));
            assert!(text.contains(&told), "{text}");
            assert_same_portrait(&portrait(&machine), &with_first, "refused");
            // Under another name it is the same interface.
            run("ip link property add dev up0 altname nic9");
            let named = SECOND.replace('@', lab.prefix()).replace("up0", "nic9");
            let error = provision::up(&parse(&named), &UpOptions::default(), &mut |_| {});
            let told = format!("uplink nic9 is node {}'s already", lab.name("H"));
            let text = error.expect_err("a refusal").to_string();
            assert!(
                text.contains(&told) && !text.contains("tc filter"),
                "{text}"
            );
            run("ip link property del dev up0 altname nic9");
            assert_same_portrait(&portrait(&machine), &with_first, "refused");
            assert_works(lab);
            // What lets go of it lets another have it.
            lab.down();
            up().unwrap_or_else(|error| panic!("{error}"));
            let error = lab.try_converge().expect_err("a refusal");
            assert!(error.to_string().contains("already"), "{error}");
        }
        provision::down(std::slice::from_ref(&name), &mut |_| {})
            .unwrap_or_else(|error| panic!("{error}"));
        if is_tcx {
            assert_works(lab);
        }
        lab.down();
        assert_same_portrait(&portrait(&machine), &before, "down");
    });
}

/// Packets that a node has redirected into endpoints.
fn redirected(node: &str) -> u64 {
    let datapath = Datapath::open(node).expect("opened").expect("it is up");
    let hops = datapath.maps.hops().expect("hops");
    let peer = Outcome::RedirectPeer as u8;
    let to_peers = hops.iter().filter(|(key, _)| key.outcome == peer);
    to_peers.map(|(_, counter)| counter.packets).sum()
}
