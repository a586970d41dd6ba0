//! The ways of packets: `trace` and `explain`.

use serde_json::Value;

use super::{EXPLAIN, TRACE, conforms, value};
use crate::{
    api::{Explanation, Trace, TraceStep, TracedPacket},
    explain, kernel_way,
};

#[test]
fn traces_are_of_their_schema() {
    let step = |what, outcome, rewritten: Option<[&str; 2]>| TraceStep {
        nanoseconds: 1_200,
        processor: 1,
        place: "node03".into(),
        interface: Some("vethhost01".into()),
        what,
        outcome,
        egress: outcome.map(|_| "enp2s0".into()),
        reason: None,
        function: (what == "dropped").then(|| "nf_hook_slow".into()),
        callers: vec!["ip_forward".into()],
        rewritten: rewritten.map(|ends| ends.map(str::to_owned)),
        ttl: Some(63),
        mark: 0,
        copy: 0,
    };
    let dropped = TracedPacket {
        direction: "there",
        protocol: "icmp".into(),
        protocol_number: 1,
        source: "10.0.1.2".into(),
        destination: "10.0.2.2".into(),
        source_port: None,
        destination_port: None,
        icmp_type: Some(8),
        icmp_code: Some(0),
        ttl: 64,
        length: 84,
        outcome: "dropped",
        place: "node03".into(),
        interface: Some("vethhost01".into()),
        why: Some("the packet filter dropped it in FORWARD".into()),
        cure: Some("accept it".into()),
        nanoseconds: 1_200,
        steps: vec![
            step("received", None, None),
            step("decided", Some("redirect_neigh"), None),
            step("dropped", None, Some(["10.0.1.2", "10.0.2.3"])),
        ],
        version: Trace::VERSION,
    };
    let arrived = TracedPacket {
        protocol: "udp".into(),
        protocol_number: 17,
        source_port: Some(40_000),
        destination_port: Some(53),
        icmp_type: None,
        icmp_code: None,
        outcome: "arrived",
        why: None,
        cure: None,
        interface: None,
        ..dropped.clone()
    };
    let document = value(&Trace {
        packets: vec![dropped, arrived],
        refused: vec!["probe 1: Network is unreachable".into()],
        notes: vec!["this kernel has no tracepoint consume_skb".into()],
        lost: 3,
        version: Trace::VERSION,
    });
    conforms(TRACE, &document);
}

/// A way with something in every place.
fn explained() -> explain::Explanation {
    let packet = kernel_way::Packet {
        source: "10.0.1.2".parse().expect("an address"),
        destination: "10.0.3.2".parse().expect("an address"),
        transport: kernel_way::Transport::Udp {
            source_port: 7,
            destination_port: 9,
        },
        ttl: 64,
        tos: 0,
        length: 28,
        dont_fragment: false,
        mark: 0,
        flow_label: 0,
        fragments: None,
    };
    let hop = explain::Hop {
        kind: explain::PlaceKind::Node,
        name: "node03".to_owned(),
        netns: Some("/run/netns/node03".into()),
        ingress: Some("vethhost01".to_owned()),
        by: explain::By::FastPath,
        steps: vec![explain::Step {
            what: "source".to_owned(),
            text: "10.0.1.2 is demo01's, by its address".to_owned(),
            effect: explain::Effect::Passes,
        }],
        outcome: "redirected out of enp2s0 to 100.100.198.253".to_owned(),
        egress: Some("enp2s0".to_owned()),
        packet: packet.clone(),
        kernel: Some(explain::Comparison {
            agrees: true,
            text: "leaves by enp2s0".to_owned(),
        }),
    };
    let way = |end| explain::Way {
        packet: packet.clone(),
        hops: vec![hop.clone()],
        end,
        arrives: explain::Arrives::May,
        unknown: vec![kernel_way::Unknown {
            what: "limit".to_owned(),
            rule: None,
        }],
    };
    explain::Explanation {
        there: way(explain::WayEnd::Delivered {
            place: "demo03".to_owned(),
            packet: packet.clone(),
            is_wanted: true,
        }),
        back: Some(way(explain::WayEnd::Leaves {
            place: "node03".to_owned(),
            dev: "enp2s0".to_owned(),
            next_hop: Some("100.100.198.253".parse().expect("an address")),
            mac: None,
            packet: packet.clone(),
        })),
        arrives: explain::Arrives::May,
        verdict: "the packet may arrive".to_owned(),
        finding: Some(
            explain::Obstacle::NoRoute
                .kind()
                .found("node02", "no route", "add it"),
        ),
        unread: vec!["node07: unreadable".to_owned()],
    }
}

#[test]
fn explanations() {
    let document = value(&Explanation::from(&explained()));
    conforms(EXPLAIN, &document);
    let alone = explain::Explanation {
        back: None,
        finding: None,
        arrives: explain::Arrives::Yes,
        ..explained()
    };
    let document = value(&Explanation::from(&alone));
    conforms(EXPLAIN, &document);
    assert_eq!(document["arrives"], "yes");
    assert_eq!(document["back"], Value::Null);
}
