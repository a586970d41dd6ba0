//! One endpoint's fast path off, beside a rule that drops what conntrack makes nothing of.

use netpath::command;
use netpath_tests::{
    Family,
    connections::{Case, FORWARDING, Pushed, address, install, up},
    lab::{Lab, attaches_by_filters},
};

use super::{PORT, server};

/// Who asks whom: from the endpoint and to it, on its node and from the other one.
const WAYS: [(&str, &str); 4] = [("a1", "a2"), ("a2", "a1"), ("a1", "b1"), ("b1", "a1")];

fn cases(family: Family) -> impl Iterator<Item = Case> {
    WAYS.into_iter().map(move |(client, pod)| Case {
        client,
        to: server(pod, family),
        server: pod,
        port: PORT,
        source: client,
        answers: None,
    })
}

fn all_hold(lab: &Lab) {
    for family in Family::ALL {
        for case in cases(family) {
            case.assert_holds(lab, true);
        }
    }
}

#[test]
fn its_connections_live_both_ways_while_off_and_after_on() {
    let lab = up(true);
    for family in Family::ALL {
        for node in ["A", "B"] {
            install(&lab, node, family, FORWARDING);
        }
    }
    let start = |port: u16| -> Vec<Pushed> {
        let each = Family::ALL.into_iter().flat_map(|family| {
            WAYS.map(|(client, pod)| {
                let at = (address(pod, family), port).into();
                Pushed::start(&lab, (client, at), (pod, at))
            })
        });
        each.collect()
    };
    let mut streams = start(9001);
    for round in 0..2_u16 {
        lab.fast_path(false, "A", Some("a1"));
        Pushed::assert_all_go_on(&streams);
        streams.iter().for_each(Pushed::rest);
        all_hold(&lab);
        streams.extend(start(9002 + round));
        lab.fast_path(true, "A", Some("a1"));
        Pushed::assert_all_go_on(&streams);
        streams.iter().for_each(Pushed::rest);
        all_hold(&lab);
    }
    streams.into_iter().for_each(Pushed::assert_ends_whole);
}

/// What it sends is the kernel's where somebody has a filter at its interface, and so is what is for it: a SYN past connection
/// tracking, whose answer goes through it, is a stranger's to conntrack.
#[test]
fn its_connections_live_beside_somebodys_filter_at_its_interface() {
    let lab = up(true);
    for family in Family::ALL {
        for node in ["A", "B"] {
            install(&lab, node, family, FORWARDING);
        }
    }
    if !attaches_by_filters() {
        lab.run("A", "tc qdisc add dev va1 clsact");
    }
    // It lets all pass: "return 0" in classic BPF, TC_ACT_OK. In front of netpath's own filter it would end the matter there.
    let filter = "filter add dev va1 ingress pref 40000 bpf da bytecode";
    let arguments: Vec<&str> = filter.split(' ').chain(["1,6 0 0 0,"]).collect();
    lab.inside("A", || command::run("tc", &arguments, ""))
        .unwrap_or_else(|error| panic!("{error}"));
    lab.converge();
    for family in Family::ALL {
        let before = lab.traffic("A");
        for case in cases(family) {
            case.assert_holds(&lab, true);
        }
        // From it, and to it from its own node and from the other one.
        let counted = lab.traffic("A").since(&before);
        for dev in ["va1", "va2", "up0"] {
            let (punted, _) = counted.row(&format!("{dev} > - punt shaped"));
            assert!(punted > 0, "{dev}: {counted:?}");
        }
    }
}
