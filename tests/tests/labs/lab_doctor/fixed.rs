//! `--fix` mends what is netpath's, and nothing else.

use std::fs;

use netpath_tests::{
    command::{TempFile, run_netpath},
    lab::{Deadline, HOST, Lab, TWO_NODES, addresses, on_a_machine, portrait, run},
};

use super::{Patient, Told};

#[test]
fn what_is_netpaths_is_mended_without_a_file() {
    let patient = Patient::new(TWO_NODES);
    let lab = &patient.lab;
    patient.plant(&[
        "A: ip link set va1 down",
        "a2: ip link set eth0 mtu 1300",
        "A: ip route del 10.0.3.0/24",
        "A: ip neigh del 10.0.2.2 dev va2",
    ]);
    let node = lab.name("A");
    let told = Told::by(&["--node", &node]);
    assert_eq!(told.status, Some(3));
    assert!(
        told.found().iter().all(|it| it["fixable"] == true),
        "{told:?}"
    );
    let fixed = Told::by(&["--node", &node, "--fix"]);
    assert_eq!(fixed.not_ok(), Vec::<String>::new());
    assert_eq!(fixed.status, Some(0));
    let changes = fixed.document["fixed"].as_array().expect("a list");
    assert!(changes.len() >= 3, "{changes:?}");
    for dst in addresses("b1") {
        lab.assert_reaches("a1", dst, 62);
    }
    // There is nothing left to mend.
    let again = Told::by(&["--node", &node, "--fix"]);
    assert_eq!(again.document["fixed"], serde_json::json!([]));
}

#[test]
fn what_is_the_machines_is_left_to_whoever_has_it() {
    on_a_machine(|lab| {
        lab.converge();
        let file = TempFile::new(lab.text());
        run("sysctl -qw net.ipv4.ip_forward=0");
        let machine = netpath::netns::Netns::current().expect("here");
        let before = portrait(&machine);
        let output = run_netpath(&["doctor", "-j", "-f", file.path(), "--fix"]);
        let told = Told::of(&output);
        let words = told.words(lab);
        assert!(
            words
                .iter()
                .any(|it| it.starts_with("machine_not_forwarding")),
            "{words:?}"
        );
        assert_eq!(told.document["fixed"], serde_json::json!([]));
        // What `up` would refuse is to be done first: nothing was mended, and it is not said that something was.
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            stderr.contains("nothing could be mended, as this has to be done first: "),
            "{stderr}"
        );
        assert_eq!(portrait(&machine), before);
        assert_eq!(run("sysctl -n net.ipv4.ip_forward").trim(), "0");
        assert!(HOST.contains("netns = \"host\""));
    });
}

#[test]
fn what_a_killed_netpath_left_is_taken_away() {
    let lab = Lab::up(TWO_NODES);
    let root = lab
        .datapath("A")
        .directory()
        .parent()
        .expect("a root")
        .to_owned();
    let left = root.join(format!("_new_{}", lab.name("Z")));
    fs::create_dir(&left).expect("make");
    let node = lab.name("A");
    let is_it = |told: &Told| {
        let found = told.all().into_iter();
        let object = format!("node {}", lab.name("Z"));
        found
            .filter(|it| it["object"] == object.as_str())
            .map(|it| it["id"].to_string())
            .collect::<Vec<_>>()
    };
    // While others are at work it may be theirs.
    let deadline = Deadline::new();
    while is_it(&Told::by(&["--node", &node])) != ["\"left_unfinished\""] {
        deadline.check(|| "what is left is not found".to_owned());
    }
    let mut fixed = Told::by(&["--node", &node, "--fix"]);
    while left.exists() {
        deadline.check(|| format!("it stays: {fixed:?}"));
        fixed = Told::by(&["--node", &node, "--fix"]);
    }
    assert_eq!(is_it(&fixed), Vec::<String>::new());
}
