//! What a file says by itself, before it is up and then.

use netpath_tests::{
    command::{TempFile, assert_ends, run_netpath},
    lab::{Lab, ONE_NODE, TWO_NODES, run},
};

use super::{Patient, Told};

#[test]
fn a_way_back_that_is_missing_is_told_before_it_is_up() {
    let text = TWO_NODES.replace(
        "    { dst = \"10.0.1.0/24\", via = \"100.100.198.250\" },\n",
        "",
    );
    let mut lab = Lab::prepare(&text);
    let file = TempFile::new(lab.text());
    let told = Told::by(&["-f", file.path()]);
    let words = told.words(&lab);
    assert_eq!(
        words,
        [
            "no_way_back of node A",
            "not_up of node A",
            "not_up of node B"
        ]
    );
    assert_eq!(told.status, Some(3));
    assert!(told.cure("no_way_back").contains("[[node.route]]"));
    lab.rewrite(TWO_NODES);
    let file = TempFile::new(lab.text());
    let told = Told::by(&["-f", file.path()]);
    assert_eq!(told.status, Some(0), "{told:?}");
    lab.assert_nothing_left();
}

/// A prefix behind an endpoint needs a way back too.
#[test]
fn a_way_back_to_a_prefix_is_missing() {
    let text = TWO_NODES.replace(
        "host_dev = \"va1\"",
        "host_dev = \"va1\", prefixes = [\"10.9.0.0/28\"]",
    );
    let lab = Lab::up(&text);
    let file = TempFile::new(lab.text());
    let told = Told::by(&["-f", file.path()]);
    assert_eq!(told.words(&lab), ["no_way_back of node A"]);
    let found = told.found();
    assert!(
        found[0]["problem"]
            .as_str()
            .expect("text")
            .contains("10.9.0.0"),
        "{found:?}"
    );
}

#[test]
fn what_up_would_refuse_or_change_is_told() {
    let mut patient = Patient::new(ONE_NODE);
    patient.lab.edit("10.0.2.2/24", "10.0.2.3/24");
    let file = TempFile::new(patient.lab.text());
    let told = Told::by(&["-f", file.path()]);
    assert_eq!(told.words(&patient.lab), ["differs_from_file of node A"]);
    assert_eq!(told.status, Some(0));
    super::obey(&format!("`netpath up -f {}`", file.path()));
    assert_eq!(
        Told::by(&["-f", file.path()]).not_ok(),
        Vec::<String>::new()
    );

    let mut other = Lab::prepare(ONE_NODE);
    drop(other.foreign_namespace("a1"));
    let file = TempFile::new(other.text());
    let told = Told::by(&["-f", file.path()]);
    assert_eq!(
        told.words(&other),
        ["foreign_namespace of endpoint a1 on A", "not_up of node A"]
    );
    assert_eq!(told.status, Some(3));
    other.assert_nothing_left();
}

#[test]
fn wrong_usage_is_refused() {
    let file = TempFile::new("x = 1");
    assert_ends(&run_netpath(&["doctor", "-f", file.path()]), 2, &["x"]);
    assert_ends(
        &run_netpath(&["doctor", "-f", "/nonexistent"]),
        2,
        &["no such file"],
    );
    let output = run_netpath(&["doctor", "--node", "nosuchnode"]);
    assert_ends(&output, 1, &["no node nosuchnode is up"]);
    assert!(run("true").is_empty());
}
