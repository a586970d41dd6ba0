//! What was translated before the fast path came on goes on, in both directions.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    sync::atomic::AtomicBool,
};

use netpath::{lock::TopologyLock, netfilter::conntrack};
use netpath_common::ConnectionKey;
use netpath_tests::lab::{Deadline, Lab, TWO_NODES, addresses, in_mode, is_in_mode};

use super::{Open, SERVED, entry, fast_path_on, lab_with_the_kernels_path, service, translate};

#[test]
fn a_translated_connection_survives_off_and_on() {
    translated_survives();
}

#[test]
fn a_translated_connection_survives_off_and_on_with_clsact() {
    in_mode("translated::by_clsact", "clsact");
}

#[test]
#[ignore = "in a process of its own"]
fn by_clsact() {
    if is_in_mode() {
        translated_survives();
    }
}

/// To the other node and to the same one; the server speaks first, and then the client.
fn translated_survives() {
    for family in [0, 1] {
        for (server, forwarded) in [("b1", "up0"), ("a2", "va2")] {
            let lab = lab_with_the_kernels_path();
            let (asked, serves) = (service()[family], addresses(server)[family]);
            translate(&lab, asked, serves);
            let mut first = Open::translated(&lab, "a1", asked, server, serves);
            let what = format!("to {server} by {asked}");
            first.push(&what);
            fast_path_on(&lab);
            let noted = entry(&lab, "A", first.key()).expect("entered");
            assert_eq!(noted.ingress.0, 0, "it was read");
            let before = lab.traffic("A");
            first.push(&format!("{what}, when the fast path came on"));
            first.ask(&format!("{what}, when the fast path came on"));
            let counted = lab.traffic("A").since(&before);
            // All of the server's packets are left to the kernel, which sends them back as the service's.
            let left = counted
                .row(&format!("{forwarded} > - punt kernel_connection"))
                .0;
            assert!(left >= 4, "{what}: {counted:?}");
            assert_eq!(
                counted.row(&format!("{forwarded} > va1 redirect_peer")).0,
                0,
                "{what}"
            );
            let delivered = counted.row(&format!("{forwarded} > va1 deliver")).0;
            assert_eq!(delivered, left, "{what}: {counted:?}");
            // The whole again.
            for node in ["A", "B"] {
                lab.fast_path(false, node, None);
            }
            first.push(&format!("{what}, off again"));
            fast_path_on(&lab);
            first.push(&format!("{what}, on again"));
            first.ask(&format!("{what}, on again"));
        }
    }
}

/// Nobody notes a connection of what is not routed. It becomes so under way: by a route of the file, or an entry that is mended.
#[test]
fn what_is_routed_later_brings_its_connections_along() {
    let mut lab = Lab::up(&TWO_NODES.replace("\"drop\"", "\"accept\""));
    let whole = lab.text().to_owned();
    let routes = [
        ("10.0.3.0/24", "100.100.198.253"),
        ("fd00:3::/64", "fd00:198::253"),
    ];
    for (there, via) in routes {
        lab.edit(
            &format!("    {{ dst = \"{there}\", via = \"{via}\" }},\n"),
            "",
        );
    }
    lab.converge();
    let mut open = Vec::new();
    for (family, (there, via)) in routes.into_iter().enumerate() {
        lab.ip("A", &format!("route add {there} via {via}"));
        let (asked, serves) = (service()[family], addresses("b1")[family]);
        translate(&lab, asked, serves);
        let mut one = Open::translated(&lab, "a1", asked, "b1", serves);
        one.push("not routed");
        assert_eq!(entry(&lab, "A", one.key()), None);
        open.push(one);
    }
    lab.rewrite(&whole);
    assert_ne!(lab.converge(), Vec::<String>::new());
    for one in &mut open {
        assert!(entry(&lab, "A", one.key()).is_some());
        one.push("routed");
        one.ask("routed");
        ruin(&lab, "A", one.key());
    }
    // An endpoint's entry is gone for a while.
    for address in addresses("a1") {
        forget(&lab, "A", address);
    }
    assert_ne!(lab.converge(), Vec::<String>::new());
    for one in &mut open {
        assert!(entry(&lab, "A", one.key()).is_some());
        one.push("mended");
        one.ask("mended");
    }
}

/// The first packet after the fast path came on is from who began it, between two ends that are both routed.
#[test]
fn what_is_sent_to_a_routed_address_is_translated_still() {
    let lab = lab_with_the_kernels_path();
    for (asked, serves) in addresses("b2").into_iter().zip(addresses("b1")) {
        translate(&lab, asked, serves);
        let mut open = Open::translated(&lab, "a1", asked, "b1", serves);
        open.ask("off");
        fast_path_on(&lab);
        let before = lab.traffic("A");
        open.ask("on");
        open.push("on");
        let counted = lab.traffic("A").since(&before);
        assert!(
            counted.row("va1 > - punt kernel_connection").0 >= 4,
            "{counted:?}"
        );
        assert!(
            counted.row("up0 > - punt kernel_connection").0 >= 4,
            "{counted:?}"
        );
        assert_eq!(counted.row("va1 > up0 redirect_neigh").0, 0, "{counted:?}");
        for node in ["A", "B"] {
            lab.fast_path(false, node, None);
        }
    }
}

#[test]
fn what_is_tracked_and_not_translated_takes_the_fast_path() {
    let lab = lab_with_the_kernels_path();
    for family in [0, 1] {
        // Its connections are tracked, and so is this one.
        translate(&lab, service()[family], addresses("b1")[family]);
        let server = SocketAddr::new(addresses("b1")[family], SERVED);
        let mut direct = Open::new(&lab, "a1", server, "b1", server);
        direct.push("off");
        let tracked = lab.run("A", "cat /proc/sys/net/netfilter/nf_conntrack_count");
        assert_ne!(tracked.trim(), "0");
        let netns = lab.netns("A");
        let translated = netns.enter(conntrack::translated).expect("enter");
        assert_eq!(translated.expect("listed").len(), 0);
        fast_path_on(&lab);
        assert_eq!(entry(&lab, "A", direct.key()), None);
        let before = lab.traffic("A");
        direct.push("on");
        direct.ask("on");
        let counted = lab.traffic("A").since(&before);
        assert!(counted.row("up0 > va1 redirect_peer").0 >= 4, "{counted:?}");
        assert_eq!(counted.row("up0 > - punt kernel_connection").0, 0);
        assert_eq!(entry(&lab, "A", direct.key()), None);
        for node in ["A", "B"] {
            lab.fast_path(false, node, None);
        }
    }
}

/// What the table has is not looked after, but where programs come anew.
#[test]
fn what_was_taken_out_comes_back_with_the_programs() {
    for family in [0, 1] {
        let lab = lab_with_the_kernels_path();
        let (asked, serves) = (service()[family], addresses("b1")[family]);
        translate(&lab, asked, serves);
        let mut open = Open::translated(&lab, "a1", asked, "b1", serves);
        fast_path_on(&lab);
        let key = open.key();
        ruin(&lab, "A", key);
        assert_eq!(lab.converge(), Vec::<String>::new());
        assert_eq!(entry(&lab, "A", key), None);
        // Whichever program is gone: one that would have noted connections, or that asks.
        for (program, dev, hook) in [
            ("to_uplink", "up0", "egress"),
            ("from_endpoint", "va1", "ingress"),
        ] {
            ruin(&lab, "A", key);
            detach(&lab, program, dev, hook);
            let deadline = Deadline::new();
            while lab.plan().is_empty() {
                deadline.check(|| format!("{program} is still at {dev}"));
            }
            let words = lab.converge();
            assert_eq!(words.len(), 1, "{words:?}");
            assert!(
                words[0].contains(&format!("program {program} is not attached")),
                "{words:?}"
            );
            assert!(entry(&lab, "A", key).is_some(), "{program} came back");
        }
        open.push("mended");
        open.ask("mended");
    }
}

/// Takes a program off an interface of A's.
fn detach(lab: &Lab, program: &str, dev: &str, hook: &str) {
    if netpath_tests::has_tcx() {
        let pin = format!(
            "/sys/fs/bpf/netpath/{}/links/{program}@{dev}",
            lab.name("A")
        );
        fs::remove_file(pin).expect("unpin");
    } else {
        lab.run("A", &format!("tc filter del dev {dev} {hook}"));
    }
}

/// Takes an endpoint's entry away.
fn forget(lab: &Lab, node: &str, address: IpAddr) {
    let lock = TopologyLock::take(&AtomicBool::new(false)).expect("the lock");
    let datapath = lab.datapath(node);
    let writer = datapath.writer(&lock);
    match address {
        IpAddr::V4(address) => writer.endpoints_v4.remove(&address.octets()),
        IpAddr::V6(address) => writer.endpoints_v6.remove(&address.octets()),
    }
    .expect("write");
}

/// Takes what the table has of a connection away.
fn ruin(lab: &Lab, node: &str, (from, to): (SocketAddr, SocketAddr)) {
    let lock = TopologyLock::take(&AtomicBool::new(false)).expect("the lock");
    let datapath = lab.datapath(node);
    let writer = datapath.writer(&lock);
    match (from.ip(), to.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let key = ConnectionKey::of((a.octets(), from.port()), (b.octets(), to.port()), 6).0;
            writer.connections_v4.remove(&key)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let key = ConnectionKey::of((a.octets(), from.port()), (b.octets(), to.port()), 6).0;
            writer.connections_v6.remove(&key)
        }
        mixed => panic!("{mixed:?}"),
    }
    .expect("write");
}
