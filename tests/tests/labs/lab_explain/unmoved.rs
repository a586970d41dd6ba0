//! Explaining moves nothing: all maps of the programs are the same before and after, to the last byte, and what connection tracking
//! knows is.

use std::{collections::BTreeMap, process::Command};

use netpath::{
    datapath::{Datapath, ProgramKind},
    explain::{Protocol, Question},
};
use netpath_tests::{
    lab::{Lab, TWO_NODES, addresses},
    netpath,
};

use super::{comes_back, explained, question};

/// Every map that a node's programs hold, pinned or not, with all of its bytes.
fn maps(lab: &Lab, node: &str) -> BTreeMap<String, String> {
    let pin = Datapath::directory_of(&lab.name(node)).join("programs");
    let mut all = BTreeMap::new();
    for kind in ProgramKind::ALL {
        let program = pin.join(kind.name()).display().to_string();
        let shown = bpftool(&["-j", "prog", "show", "pinned", &program]);
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        for id in shown["map_ids"].as_array().expect("ids") {
            let id = id.to_string();
            if all.contains_key(&id) {
                continue;
            }
            let dump = bpftool(&["-j", "map", "dump", "id", &id]);
            all.insert(id, dump);
        }
    }
    assert!(all.len() > 20, "{:?}", all.keys());
    all
}

fn bpftool(arguments: &[&str]) -> String {
    let output = Command::new("bpftool").args(arguments).output();
    let output = output.expect("bpftool: `cargo xtask setup` installs it");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What both nodes and both endpoints know.
fn all(lab: &Lab) -> (Vec<BTreeMap<String, String>>, Vec<String>) {
    // Without the time that each has left.
    const LEFT: usize = 4;
    let tracked = ["A", "B", "a1", "b1"].map(|place| {
        let listing = lab.run(place, "cat /proc/net/nf_conntrack");
        let lines = listing.lines().map(|line| {
            let words = line.split_whitespace().enumerate();
            let kept = words.filter(|(at, _)| *at != LEFT).map(|(_, word)| word);
            kept.collect::<Vec<_>>().join(" ")
        });
        let mut lines: Vec<String> = lines.collect();
        lines.sort_unstable();
        lines.join("\n")
    });
    (
        ["A", "B"].map(|node| maps(lab, node)).to_vec(),
        tracked.to_vec(),
    )
}

#[test]
fn nothing_moves_by_explaining() {
    let lab = Lab::up(&TWO_NODES.replace("\"drop\"", "\"accept\""));
    // Some connections of either side, counters and flows that are remembered.
    for to in addresses("b1") {
        assert!(comes_back(&lab, "a1", to, None));
        lab.fast_path(false, "B", None);
        assert!(comes_back(&lab, "a1", to, None));
        lab.fast_path(true, "B", None);
        assert!(comes_back(&lab, "a1", to, None));
    }
    for protocol in [Protocol::Icmp, Protocol::Tcp, Protocol::Udp] {
        for to in addresses("b1") {
            let asked = Question {
                protocol,
                diff: true,
                ..question(lab.name("a1"), to)
            };
            // Hosts talk to their link now and then: what explaining moves it would move each time.
            let is_same = || {
                let before = all(&lab);
                drop(explained(&asked));
                all(&lab) == before
            };
            let tries = (0..5).any(|_| is_same());
            assert!(tries, "something has moved by {asked:?}");
        }
    }
}

/// By the command: its exit status says whether the packet arrives.
#[test]
fn the_exit_status_tells() {
    let lab = Lab::up(TWO_NODES);
    let ends = |arguments: &[&str]| {
        let output = netpath(arguments).output().expect("start");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let [a1, a2] = ["a1", "a2"].map(|name| lab.name(name));
    let (code, text) = ends(&["explain", &a1, &a2]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    // The kernel of node A knows a way out, and nobody sees where to.
    lab.ip("A", "route add 192.0.2.0/24 via 100.100.198.253");
    lab.fast_path(false, "A", None);
    let (code, text) = ends(&["explain", &a1, &a2, "-j"]);
    assert_eq!(code, Some(1), "{text}");
    let found: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(found["arrives"], "no");
    assert_eq!(found["finding"]["id"], "way_policy");
    let (code, text) = ends(&["explain", &a1, "nobody"]);
    assert_eq!(code, Some(1), "{text}");
    let (code, text) = ends(&["explain", &a1, &a2, "--size", "10"]);
    assert_eq!(code, Some(2), "{text}");
}
