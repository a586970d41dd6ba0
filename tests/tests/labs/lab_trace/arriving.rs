//! Probes that arrive, and what they met on their way.

use std::{
    collections::BTreeSet,
    net::{IpAddr, TcpListener},
};

use netpath_tests::lab::{Lab, ONE_NODE, TWO_NODES, addresses};
use serde_json::Value;

use super::{FAMILIES, PAYLOAD, captured, length, packets, steps, trace};

#[test]
fn it_follows_what_arrives_on_one_node() {
    let lab = Lab::up(&ONE_NODE.replace("\"drop\"", "\"accept\""));
    for on in [true, false] {
        lab.fast_path(on, "A", None);
        for (family, to) in FAMILIES.into_iter().zip(addresses("a2")) {
            let what = format!("fast path {on}, {family}");
            let mut capture = lab.capture("a2", "eth0");
            let (document, status) = trace(
                &lab,
                &format!("@a1 @a2 -c 3 --size {PAYLOAD} --family {family}"),
            );
            assert_eq!(status, Some(0), "{what}: {document:#}");
            assert_eq!(
                (&document["lost"], &document["notes"]),
                (&0.into(), &Value::Array(vec![])),
                "{what}"
            );
            let there = packets(&document, "there");
            assert_eq!(
                (there.len(), packets(&document, "back").len()),
                (3, 3),
                "{what}"
            );
            // Requests and what answers them.
            assert_eq!(captured(&mut capture, length(PAYLOAD, to)), 6, "{what}");
            let between: &[&str] = match on {
                true => &["A va1 decided redirect_peer va2"],
                false => &["A va2 sent", "a2 eth0 received"],
            };
            let expected = [
                &["a1 eth0 sent", "A va1 received"],
                between,
                &["a2 eth0 consumed"],
            ]
            .concat();
            for packet in there {
                assert_eq!(steps(&lab, packet), expected, "{what}");
                assert_eq!(packet["outcome"], "arrived", "{what}");
                assert_eq!(packet["place"], lab.name("a2"), "{what}");
                assert_eq!(packet["destination"], to.to_string(), "{what}");
            }
            for packet in packets(&document, "back") {
                assert_eq!(packet["outcome"], "arrived", "{what}");
                assert_eq!(packet["place"], lab.name("a1"), "{what}");
            }
        }
    }
}

#[test]
fn it_follows_what_goes_across_two_nodes() {
    let lab = Lab::up(&TWO_NODES.replace("\"drop\"", "\"accept\""));
    for on in [true, false] {
        for node in ["A", "B"] {
            lab.fast_path(on, node, None);
        }
        for protocol in ["icmp", "udp", "tcp"] {
            for family in FAMILIES {
                let what = format!("fast path {on}, {protocol} over {family}");
                let (document, status) = trace(
                    &lab,
                    &format!("@a1 @b1 --proto {protocol} --family {family}"),
                );
                assert_eq!(status, Some(0), "{what}: {document:#}");
                let there = packets(&document, "there");
                assert_eq!(there.len(), 1, "{what}: {document:#}");
                // The ports of the wire have names that are chosen by chance.
                let shown = steps(&lab, there[0]);
                let (wire, shown): (Vec<String>, Vec<String>) =
                    shown.into_iter().partition(|step| step.contains("wire"));
                assert_eq!(wire.len(), 2, "{what}: {wire:?}");
                let decided: [&[&str]; 2] = match on {
                    true => [
                        &["A va1 decided redirect_neigh up0"],
                        &["B up0 decided redirect_peer vb1"],
                    ],
                    false => [&[], &["B vb1 sent", "b1 eth0 received"]],
                };
                let expected = [
                    &["a1 eth0 sent", "A va1 received"],
                    decided[0],
                    &["A up0 sent", "B up0 received"],
                    decided[1],
                ]
                .concat();
                assert_eq!(shown[..expected.len()], expected, "{what}");
                // Whoever takes it in there.
                assert_eq!(shown.len(), expected.len() + 1, "{what}: {shown:?}");
                let last = shown.last().expect("a step");
                assert!(last.starts_with("b1 eth0"), "{what}: {last}");
                assert_eq!(there[0]["place"], lab.name("b1"), "{what}");
            }
        }
    }
}

/// What is too long is cut, and put together again where it is for: no fragment has vanished, and each is in a place.
#[test]
fn fragments_arrive() {
    let lab = Lab::up(&TWO_NODES.replace("\"drop\"", "\"accept\""));
    for (family, to) in FAMILIES.into_iter().zip(addresses("b1")) {
        for protocol in ["icmp", "udp"] {
            let what = format!("{protocol} over {family}");
            let mut capture = lab.capture("b1", "eth0");
            let arguments = format!("@a1 {to} --size 4000 --proto {protocol}");
            let (document, status) = trace(&lab, &arguments);
            assert_eq!(status, Some(0), "{what}: {document:#}");
            let there = packets(&document, "there");
            assert_eq!(there.len(), 3, "{what}: {document:#}");
            let lengths = there
                .iter()
                .map(|it| it["length"].as_u64().expect("a number"));
            for length in lengths.collect::<BTreeSet<u64>>() {
                let length = usize::try_from(length).expect("a length");
                assert!(captured(&mut capture, length) >= 1, "{what}: {length}");
                capture = {
                    // The next length is looked for in what comes with another trace.
                    let next = lab.capture("b1", "eth0");
                    assert_eq!(trace(&lab, &arguments).1, Some(0), "{what}");
                    next
                };
            }
            for packet in there {
                let shown = steps(&lab, packet);
                let decided = [
                    "a1 eth0 sent",
                    "A va1 received",
                    "A va1 decided redirect_neigh up0",
                    "A up0 sent",
                ];
                assert_eq!(shown[..4], decided, "{what}");
                assert_eq!(
                    (&packet["outcome"], &packet["place"]),
                    (&"arrived".into(), &lab.name("b1").into()),
                    "{what}: {packet:#}"
                );
                let elsewhere = shown.iter().find(|step| step.starts_with("- "));
                assert_eq!(elsewhere, None, "{what}: {shown:?}");
            }
            // The answer, which is cut too, or an error: nobody listens.
            let (direction, count) = match protocol {
                "icmp" => ("back", 3),
                _ => ("error", 1),
            };
            let answers = packets(&document, direction);
            assert_eq!(answers.len(), count, "{what}: {document:#}");
            for answer in answers {
                assert_eq!(answer["outcome"], "arrived", "{what}: {answer:#}");
            }
        }
    }
}

/// To a service, which is nobody's address: a rule leads it to an endpoint, and there it has arrived, whether or not somebody listens.
#[test]
fn what_a_rule_leads_on_arrives() {
    let lab = Lab::up(&ONE_NODE.replace("\"drop\"", "\"accept\""));
    let services = ["10.96.0.10", "fd00:96::10"];
    for ((to, service), family) in addresses("a2").into_iter().zip(services).zip(FAMILIES) {
        let (program, shown) = match to {
            IpAddr::V4(_) => ("iptables", format!("{to}:7080")),
            IpAddr::V6(_) => ("ip6tables", format!("[{to}]:7080")),
        };
        let rule =
            format!("-t nat -A PREROUTING -d {service} -p tcp --dport 80 -j DNAT --to {shown}");
        lab.run("A", &format!("{program} -w {rule}"));
        let arguments = format!("@a1 {service} --proto tcp --dport 80");
        for listens in [false, true] {
            let what = format!("{family}, listens {listens}");
            let listener = listens.then(|| {
                let listener = lab.inside("a2", || TcpListener::bind((to, 7080)));
                listener.expect("a port")
            });
            let (document, status) = trace(&lab, &arguments);
            assert_eq!(status, Some(0), "{what}: {document:#}");
            let packet = packets(&document, "there")[0];
            assert_eq!(
                (&packet["outcome"], &packet["place"]),
                (&"arrived".into(), &lab.name("a2").into()),
                "{what}: {packet:#}"
            );
            drop(listener);
        }
    }
}

/// A connection that is accepted: what TCP takes into its queue goes without a word of the kernel's, and has arrived all the same, also
/// where it is for a node.
#[test]
fn what_opens_a_connection_arrives() {
    let lab = Lab::up(&ONE_NODE.replace("\"drop\"", "\"accept\""));
    for own in ["192.0.2.7", "2001:db8::7"] {
        lab.ip("A", &format!("addr add {own} dev lo"));
        let own: IpAddr = own.parse().expect("an address");
        let listener = lab.inside("A", || TcpListener::bind((own, 7080)));
        let listener = listener.expect("a port");
        let (document, status) = trace(&lab, &format!("@a1 {own} --proto tcp --dport 7080"));
        assert_eq!(status, Some(0), "{document:#}");
        let there = packets(&document, "there");
        assert!(there.len() >= 2, "{document:#}");
        for packet in there {
            assert_eq!(
                (&packet["outcome"], &packet["place"]),
                (&"arrived".into(), &lab.name("A").into()),
                "{packet:#}"
            );
        }
        drop(listener);
    }
}

/// A node is reached at an address of its own.
#[test]
fn a_node_may_be_the_destination() {
    let lab = Lab::up(&TWO_NODES.replace("\"drop\"", "\"accept\""));
    for family in FAMILIES {
        for (from, to) in [("a1", "A"), ("b1", "A"), ("A", "B")] {
            let (document, status) = trace(&lab, &format!("@{from} @{to} --family {family}"));
            assert_eq!(status, Some(0), "{from} to {to}: {document:#}");
            let packet = packets(&document, "there")[0];
            assert_eq!(
                (&packet["outcome"], &packet["place"]),
                (&"arrived".into(), &lab.name(to).into()),
                "{packet:#}"
            );
        }
    }
}
