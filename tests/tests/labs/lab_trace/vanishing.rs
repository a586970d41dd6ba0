//! Probes that do not arrive: where they ended, and why.

use netpath_tests::lab::{Lab, ONE_NODE, TWO_NODES, addresses};
use serde_json::Value;

use super::{FAMILIES, PAYLOAD, captured, length, packets, steps, trace};

/// The one probe of a trace, which has come to an end otherwise.
fn vanished(lab: &Lab, arguments: &str) -> Value {
    let (document, status) = trace(lab, arguments);
    assert_eq!(status, Some(1), "{arguments}: {document:#}");
    let probes = packets(&document, "there");
    assert_eq!(probes.len(), 1, "{arguments}: {document:#}");
    probes[0].clone()
}

/// What a node sends itself is never the fast path's: no cure has it switched on.
#[test]
fn no_cure_is_told_that_is_none() {
    let lab = Lab::up(TWO_NODES);
    for to in addresses("b1") {
        let packet = vanished(&lab, &format!("@A {to}"));
        let cure = packet["cure"].as_str().expect("a cure");
        assert!(
            cure.contains("has policy DROP") && !cure.contains("fastpath on"),
            "{cure}"
        );
        assert!(cure.contains("outside"), "{cure}");
    }
    // Where it is off it is one.
    lab.fast_path(false, "B", None);
    for to in addresses("b1") {
        let packet = vanished(&lab, &format!("@a1 {to}"));
        let cure = packet["cure"].as_str().expect("a cure");
        assert!(cure.contains("netpath fastpath on"), "{cure}");
    }
}

#[test]
fn it_says_which_chain_dropped_a_packet() {
    let lab = Lab::up(ONE_NODE);
    lab.fast_path(false, "A", None);
    for (family, to) in FAMILIES.into_iter().zip(addresses("a2")) {
        let mut capture = lab.capture("a2", "eth0");
        let arguments = format!("@a1 @a2 --family {family} --size {PAYLOAD}");
        let packet = vanished(&lab, &arguments);
        assert_eq!(
            steps(&lab, &packet),
            [
                "a1 eth0 sent",
                "A va1 received",
                "A va1 dropped NETFILTER_DROP"
            ]
        );
        assert_eq!(packet["outcome"], "dropped");
        assert_eq!(packet["place"], lab.name("A"));
        assert_eq!(packet["why"], "the packet filter dropped it in FORWARD");
        let cure = packet["cure"].as_str().expect("a cure");
        assert!(cure.contains("has policy DROP"), "{cure}");

        let program = if to.is_ipv4() {
            "iptables"
        } else {
            "ip6tables"
        };
        lab.run(
            "A",
            &format!("{program} -w -t raw -A PREROUTING -i va1 -j DROP"),
        );
        let packet = vanished(&lab, &arguments);
        assert_eq!(packet["why"], "the packet filter dropped it in PREROUTING");
        let cure = packet["cure"].as_str().expect("a cure");
        assert!(cure.contains("-t raw -nvL PREROUTING"), "{cure}");
        lab.run("A", &format!("{program} -w -t raw -F PREROUTING"));

        // The cure is one.
        let rule = format!("{program} -w -A FORWARD -i va1 -j ACCEPT");
        lab.run("A", &rule);
        assert_eq!(captured(&mut capture, length(PAYLOAD, to)), 0);
        let (document, _) = trace(&lab, &arguments);
        assert_eq!(
            packets(&document, "there")[0]["outcome"],
            "arrived",
            "{document:#}"
        );
        // What answers has not been let through.
        let back = packets(&document, "back");
        assert_eq!(back[0]["why"], "the packet filter dropped it in FORWARD");
    }
}

#[test]
fn it_says_why_the_kernel_dropped_a_packet() {
    let lab = Lab::up(&TWO_NODES.replace("\"drop\"", "\"accept\""));
    for (to, place, reason, why) in [
        (
            "10.0.9.9",
            "A",
            "punt no_route",
            "the kernel has no route for it",
        ),
        (
            "fd00:9::9",
            "A",
            "punt no_route",
            "the kernel has no route for it",
        ),
        (
            "10.0.3.77",
            "B",
            "punt no_route",
            "the kernel has no route for it",
        ),
        (
            "fd00:3::77",
            "B",
            "punt no_route",
            "the kernel has no route for it",
        ),
    ] {
        let packet = vanished(&lab, &format!("@a1 {to}"));
        let shown = steps(&lab, &packet);
        assert!(
            shown.iter().any(|step| step.contains(reason)),
            "{to}: {shown:?}"
        );
        assert_eq!(
            (&packet["place"], &packet["why"]),
            (&lab.name(place).into(), &why.into()),
            "{to}: {packet:#}"
        );
    }
    for (to, family) in addresses("b1").into_iter().zip(FAMILIES) {
        for (ttl, place) in [(1, "A"), (2, "B")] {
            let (document, status) = trace(&lab, &format!("@a1 {to} --ttl {ttl}"));
            assert_eq!(status, Some(1), "{document:#}");
            let packet = packets(&document, "there")[0];
            assert_eq!(
                packet["place"],
                lab.name(place),
                "{family} {ttl}: {packet:#}"
            );
            assert_eq!(
                packet["why"], "its TTL is over",
                "{family} {ttl}: {packet:#}"
            );
            let errors = packets(&document, "error");
            assert_eq!(errors.len(), 1, "{family} {ttl}: {document:#}");
            let kind = if to.is_ipv4() { 11 } else { 3 };
            assert_eq!(
                (&errors[0]["icmp_type"], &errors[0]["outcome"]),
                (&kind.into(), &"arrived".into())
            );
        }
    }
}

#[test]
fn it_waits_until_a_neighbour_is_given_up() {
    let lab = Lab::up(&TWO_NODES.replace("\"drop\"", "\"accept\""));
    // On the wire, and nobody is there.
    for to in ["100.100.198.77", "fd00:198::77"] {
        let packet = vanished(&lab, &format!("@a1 {to}"));
        assert_eq!(packet["place"], lab.name("A"), "{packet:#}");
        let why = packet["why"].as_str();
        let why = why.unwrap_or_else(|| panic!("{packet:#}"));
        assert!(why.contains("the neighbour does not answer"), "{packet:#}");
        assert!(
            packet["nanoseconds"].as_u64() > Some(1_000_000_000),
            "{packet:#}"
        );
    }
}

#[test]
fn it_tells_what_netpath_dropped_and_why() {
    let lab = Lab::up(ONE_NODE);
    for (source, to) in ["10.0.2.99", "fd00:2::99"].into_iter().zip(addresses("a2")) {
        let mut capture = lab.capture("a2", "eth0");
        let packet = vanished(
            &lab,
            &format!("@a1 {to} --source {source} --size {PAYLOAD}"),
        );
        let expected = [
            "a1 eth0 sent",
            "A va1 received",
            "A va1 decided drop spoofed",
            "A va1 dropped TC_INGRESS",
        ];
        assert_eq!(steps(&lab, &packet), expected);
        assert_eq!(packet["why"], "netpath dropped it: spoofed");
        assert_eq!(captured(&mut capture, length(PAYLOAD, to)), 0);
    }
}
