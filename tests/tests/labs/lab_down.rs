//! `netpath down` of nodes by name, and of a file that is not valid any more.

use netpath::datapath;
use netpath_tests::{
    command::{TempFile, assert_ends, run_netpath, stdout},
    lab::{Lab, TWO_NODES},
};

fn is_up(lab: &Lab, node: &str) -> bool {
    let up = datapath::nodes().expect("what is up");
    up.contains(&lab.name(node))
}

#[test]
fn nodes_go_down_by_name() {
    let lab = Lab::up(TWO_NODES);
    let [a, b] = ["A", "B"].map(|node| lab.name(node));
    // Nothing is touched where one is not up.
    assert_ends(
        &run_netpath(&["down", &a, "nobody"]),
        1,
        &["no node nobody is up"],
    );
    assert!(is_up(&lab, "A") && is_up(&lab, "B"));
    let output = run_netpath(&["down", &a]);
    assert_ends(&output, 0, &[]);
    assert!(
        stdout(&output).contains(&format!("- node {a}")),
        "{output:?}"
    );
    assert!(!is_up(&lab, "A") && is_up(&lab, "B"));
    assert_ends(
        &run_netpath(&["down", &a, &b]),
        1,
        &[&format!("no node {a} is up")],
    );
    assert!(is_up(&lab, "B"));
    assert_ends(&run_netpath(&["down", &b]), 0, &[]);
    lab.assert_nothing_left();
}

#[test]
fn a_file_that_is_not_valid_any_more_takes_its_nodes_down() {
    let lab = Lab::up(TWO_NODES);
    let broken = lab.text().replacen("forward_policy", "forward_polcy", 1);
    let file = TempFile::new(&broken);
    assert_ends(
        &run_netpath(&["up", "-f", file.path()]),
        2,
        &["forward_polcy"],
    );
    let named = format!("{}, {}", lab.name("A"), lab.name("B"));
    assert_ends(
        &run_netpath(&["down", "-f", file.path()]),
        0,
        &["forward_polcy", &named],
    );
    lab.assert_nothing_left();
}

#[test]
fn a_node_without_a_name_is_told_and_the_others_go_down() {
    let lab = Lab::up(TWO_NODES);
    let name = format!("name = \"{}\"", lab.name("B"));
    let file = TempFile::new(&lab.text().replacen(&name, "name = 7", 1));
    let words = ["1 of its nodes have no name", "`netpath show`"];
    assert_ends(&run_netpath(&["down", "-f", file.path()]), 3, &words);
    assert!(!is_up(&lab, "A") && is_up(&lab, "B"));
    // Of a text that is not TOML nothing is guessed.
    let file = TempFile::new(&format!("{}\n[[node", lab.text()));
    assert_ends(
        &run_netpath(&["down", "-f", file.path()]),
        2,
        &["netpath down NODE"],
    );
    assert!(is_up(&lab, "B"));
}
