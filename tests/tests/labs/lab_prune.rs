//! `netpath down --prune`. A program of its own, as it looks at all nodes that are up.

use std::sync::atomic::AtomicBool;

use netpath::{datapath, lock::TopologyLock};
use netpath_common::Origin;
use netpath_tests::{
    command::{TempFile, assert_ends, run_netpath},
    lab::{Lab, TWO_NODES},
};

/// A file with these nodes, and those that are up and not the test's.
fn file(lab: &Lab, nodes: &[&str]) -> TempFile {
    let up = datapath::nodes().expect("what is up");
    let others = up
        .into_iter()
        .filter(|name| !name.starts_with(lab.prefix()));
    let nodes = nodes.iter().map(|node| lab.name(node)).chain(others);
    let tables = nodes.map(|name| format!("[[node]]\nname = \"{name}\"\n"));
    TempFile::new(&tables.collect::<String>())
}

fn up(lab: &Lab) -> Vec<String> {
    let mut up = datapath::nodes().expect("what is up");
    up.retain(|name| name.starts_with(lab.prefix()));
    up
}

/// Makes an endpoint one that a command made.
fn hand_over(lab: &Lab, node: &str) {
    let datapath = lab.datapath(node);
    let lock = TopologyLock::take(&AtomicBool::new(false)).expect("the lock");
    let records = datapath.maps.endpoint_records.all().expect("records");
    let (key, mut record) = records.into_iter().next().expect("an endpoint");
    record.origin = Origin::Command as u32;
    let writer = datapath.writer(&lock);
    writer.endpoint_records.set(&key, &record).expect("write");
}

#[test]
fn what_the_file_has_no_more_goes_down() {
    let lab = Lab::up(TWO_NODES);
    let [a, b] = ["A", "B"].map(|node| lab.name(node));
    assert_ends(&run_netpath(&["down", "--prune"]), 2, &["--file"]);
    let all = file(&lab, &["A", "B"]);
    assert_ends(
        &run_netpath(&["down", "--prune", "-f", all.path()]),
        0,
        &["nothing to do"],
    );
    assert_eq!(up(&lab), [a.clone(), b.clone()]);

    // A name that cannot be read may be that of a node that is to stay.
    let broken = TempFile::new(&format!("[[node]]\nname = \"{a}\"\n[[node]]\nname = 7\n"));
    assert_ends(
        &run_netpath(&["down", "--prune", "-f", broken.path()]),
        2,
        &["node.name"],
    );
    assert_eq!(up(&lab), [a.clone(), b.clone()]);

    // What no file made is no file's to remove.
    let only_a = file(&lab, &["A"]);
    hand_over(&lab, "B");
    let kept =
        format!("node {b} is in no file and stays: an endpoint on it was not made by a file");
    assert_ends(
        &run_netpath(&["down", "--prune", "-f", only_a.path()]),
        3,
        &[&kept],
    );
    assert_eq!(up(&lab), [a.clone(), b.clone()]);

    let only_b = file(&lab, &["B"]);
    assert_ends(
        &run_netpath(&["down", "--prune", "-f", only_b.path()]),
        0,
        &[],
    );
    assert_eq!(up(&lab), [b]);
}
