//! Ways that arrive, whoever decides of them.

use netpath::{
    datapath::Datapath,
    explain::{Arrives, By, Protocol, Question},
    probe::{Fragmentation, ping::PingOptions},
};
use netpath_tests::lab::{Lab, TWO_NODES, addresses, again_with_clsact, is_in_mode};

use super::{asserted, explained, question, shown};

/// Who decides where, by the names of places.
fn deciders(lab: &Lab, way: &netpath::explain::Way) -> Vec<(String, By)> {
    let hops = way.hops.iter();
    hops.map(|hop| (hop.name.replace(lab.prefix(), ""), hop.by))
        .collect()
}

#[test]
fn every_way_of_a_healthy_lab() {
    use By::{FastPath, Kernel};
    let lab = Lab::up(TWO_NODES);
    for (from, to, nodes) in [
        ("a1", "a2", &["A"][..]),
        ("a1", "b1", &["A", "B"]),
        ("b2", "a2", &["B", "A"]),
    ] {
        for address in addresses(to) {
            let found = asserted(&lab, from, address, None);
            assert_eq!(found.arrives, Arrives::Yes, "{}", shown(&found));
            assert_eq!(found.finding, None);
            let ends = |from: &str, nodes: Vec<&str>, to: &str| {
                let nodes = nodes.into_iter().map(|node| (node.to_owned(), FastPath));
                let first = std::iter::once((from.to_owned(), Kernel));
                first
                    .chain(nodes)
                    .chain([(to.to_owned(), Kernel)])
                    .collect::<Vec<_>>()
            };
            let there = ends(from, nodes.to_vec(), to);
            assert_eq!(deciders(&lab, &found.there), there, "{}", shown(&found));
            let back = ends(to, nodes.iter().rev().copied().collect(), from);
            let found_back = found.back.as_ref().expect("an answer");
            assert_eq!(deciders(&lab, found_back), back, "{}", shown(&found));
            // A hop less at each node.
            let last = found.there.hops.last().expect("hops");
            assert_eq!(usize::from(last.packet.ttl), 64 - nodes.len());
        }
    }
}

/// The fast path does what the kernel would do, where that accepts.
#[test]
fn the_kernel_would_do_the_same() {
    let lab = Lab::up(&TWO_NODES.replace("\"drop\"", "\"accept\""));
    for protocol in [Protocol::Icmp, Protocol::Tcp, Protocol::Udp] {
        for address in ["a2", "b1"].map(addresses).concat() {
            let asked = Question {
                protocol,
                diff: true,
                ..question(lab.name("a1"), address)
            };
            let found = explained(&asked);
            assert_eq!(found.arrives, Arrives::Yes, "{}", shown(&found));
            let back = found.back.as_ref().expect("an answer");
            let hops = found.there.hops.iter().chain(&back.hops);
            for hop in hops.filter(|hop| hop.by == By::FastPath) {
                let kernel = hop.kernel.as_ref().expect("it was asked");
                assert!(
                    kernel.agrees,
                    "{}: {} but {}",
                    hop.name, hop.outcome, kernel.text
                );
            }
        }
    }
}

/// With the fast path off or on, from a node, and with a policy of DROP that only what is left to the kernel meets.
#[test]
fn the_kernels_own_way() {
    let lab = Lab::up(&TWO_NODES.replace("\"drop\"", "\"accept\""));
    lab.fast_path(false, "A", None);
    for address in addresses("b1") {
        let found = asserted(&lab, "a1", address, None);
        assert_eq!(found.arrives, Arrives::Yes, "{}", shown(&found));
        let by = |way: &netpath::explain::Way| deciders(&lab, way)[1].1;
        assert_eq!(by(&found.there), By::Kernel);
        // And a node's own packets.
        let found = asserted(&lab, "A", address, None);
        assert_eq!(found.arrives, Arrives::Yes, "{}", shown(&found));
    }
}

/// An endpoint's address is that endpoint, whoever is asked for; one of nobody's comes by an uplink.
#[test]
fn ends_by_address() {
    let lab = Lab::up(TWO_NODES);
    for (a1, b1) in addresses("a1").into_iter().zip(addresses("b1")) {
        let near = Question {
            node: Some(lab.name("A").parse().expect("a name")),
            ..question(a1, b1)
        };
        let found = explained(&near);
        let first = &found.there.hops[0];
        assert_eq!(first.name, lab.name("a1"));
        assert_eq!(found.arrives, Arrives::Yes, "{}", shown(&found));
        let outside = if a1.is_ipv4() {
            "192.0.2.1"
        } else {
            "2001:db8::1"
        };
        let found = explained(&Question {
            reply: Some(false),
            ..question(outside, lab.name("b1"))
        });
        let first = &found.there.hops[0];
        assert_eq!(
            (first.name.as_str(), first.ingress.as_deref()),
            (lab.name("B").as_str(), Some("up0"))
        );
        // It is the kernel's, and FORWARD drops it.
        assert_eq!(found.arrives, Arrives::No, "{}", shown(&found));
        // To the node that is said.
        let found = explained(&Question {
            node: Some(lab.name("A").parse().expect("a name")),
            reply: Some(false),
            ..question(outside, a1)
        });
        assert_eq!(found.there.hops[0].name, lab.name("A"));
    }
}

/// What the kernel has sent on is the kernel's on its way back, though nothing has been noted yet when it is explained.
#[test]
fn the_answer_to_what_the_kernel_has_sent_on_is_the_kernels() {
    let lab = Lab::up(&TWO_NODES.replace("\"drop\"", "\"accept\""));
    // Somebody has detached one program.
    let directory = Datapath::directory_of(&lab.name("A"));
    let pin = directory.join("links/from_endpoint@va1");
    let is_there = pin.exists();
    match is_there {
        true => std::fs::remove_file(&pin).expect("unpin"),
        false => drop(lab.run("A", "tc filter del dev va1 ingress")),
    }
    for address in addresses("b1") {
        let before = lab.traffic("A");
        let found = asserted(&lab, "a1", address, None);
        assert_eq!(found.arrives, Arrives::Yes, "{}", shown(&found));
        let back = found.back.as_ref().expect("an answer");
        let at_a = &back.hops[2];
        assert_eq!(
            (at_a.name.as_str(), at_a.by),
            (lab.name("A").as_str(), By::Kernel),
            "{}",
            shown(&found)
        );
        let verdict = at_a.steps.iter().find(|step| step.what == "verdict");
        let verdict = verdict.map(|step| step.text.as_str());
        assert_eq!(verdict, Some("left to the kernel (kernel_connection)"));
        let row = lab.traffic("A").since(&before);
        assert_eq!(row.row("up0 > - punt kernel_connection").0, 1, "{row:?}");
    }
}

/// What is too long and may be cut is: by its sender, and by it alone in IPv6. Each fragment takes the way that is told.
#[test]
fn what_is_cut_arrives() {
    let lab = Lab::up(TWO_NODES);
    for address in ["a2", "b1"].map(addresses).concat() {
        for size in [1501, 3000, 9000] {
            let asked = Question {
                size: Some(size),
                ..question(lab.name("a1"), address)
            };
            let found = explained(&asked);
            assert_eq!(found.arrives, Arrives::Yes, "{}", shown(&found));
            let last = found.there.hops.last().expect("hops");
            assert_eq!(last.packet.length, size, "{}", shown(&found));
            let options = PingOptions {
                payload_len: (size - if address.is_ipv4() { 28 } else { 48 }) as usize,
                fragmentation: Fragmentation::Allow,
                ..PingOptions::default()
            };
            assert_eq!(
                lab.ping("a1", address, &options).received,
                1,
                "{address} {size}"
            );
        }
    }
}

/// An address that several have is that of who asks, or of its node.
#[test]
fn what_everybody_has_is_ones_own() {
    let lab = Lab::up(TWO_NODES);
    for (from, node) in [("a1", "A"), ("b2", "B")] {
        for (address, place) in [
            ("127.0.0.1", from),
            ("::1", from),
            ("169.254.1.1", node),
            ("fe80::1", node),
        ] {
            let found = explained(&question(lab.name(from), address));
            assert_eq!(found.arrives, Arrives::Yes, "{}", shown(&found));
            let last = found.there.hops.last().expect("hops");
            assert_eq!(last.name, lab.name(place), "{}", shown(&found));
        }
    }
}

/// What is for a node's port and led on to an endpoint by a rule arrives there.
#[test]
fn a_published_port() {
    let lab = Lab::up(&TWO_NODES.replace("\"drop\"", "\"accept\""));
    let (own, a1) = ("100.100.198.250", addresses("a1")[0]);
    lab.run(
        "A",
        &format!("iptables -w -t nat -A PREROUTING -d {own} -p tcp --dport 8080 -j DNAT --to-destination {a1}:80"),
    );
    let listener = lab.inside("a1", || std::net::TcpListener::bind((a1, 80)));
    let listener = listener.expect("a port");
    for (port, place) in [(8080, "a1"), (8081, "A")] {
        let asked = Question {
            protocol: Protocol::Tcp,
            destination_port: Some(port),
            ..question(lab.name("B"), own)
        };
        let found = explained(&asked);
        assert_eq!(found.arrives, Arrives::Yes, "{}", shown(&found));
        assert_eq!(found.finding, None, "{}", shown(&found));
        let last = found.there.hops.last().expect("hops");
        assert_eq!(last.name, lab.name(place), "{}", shown(&found));
        assert_eq!(
            found
                .verdict
                .contains(&format!("translated: at {} ({a1})", lab.name("a1"))),
            place == "a1",
            "{}",
            found.verdict
        );
    }
    let connected = lab.inside("B", || std::net::TcpStream::connect((own, 8080)));
    drop(connected.expect("it answers"));
    drop(listener);
}

#[test]
fn with_clsact_filters() {
    if is_in_mode() {
        return;
    }
    again_with_clsact(&[
        "healthy::every_way_of_a_healthy_lab",
        "healthy::the_answer_to_what_the_kernel_has_sent_on_is_the_kernels",
        "broken::a_node_without_its_fast_path",
    ]);
}
