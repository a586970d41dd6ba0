//! Completions know what is up: asked by bash as when Tab is pressed.

use std::{collections::BTreeSet, env, process::Command};

use netpath::datapath::map_names;
use netpath_tests::{
    binary,
    command::{assert_ends, run_netpath, stdout},
    lab::{Lab, TWO_NODES},
};

/// Completes the last word with the script that `netpath completions bash` prints.
const SESSION: &str = r#"
source <(netpath completions bash)
COMP_WORDS=(netpath "$@")
COMP_CWORD=$#
COMP_TYPE=9
_clap_complete_netpath netpath "${!#}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

fn offered(words: &[&str]) -> BTreeSet<String> {
    let binaries = binary().parent().expect("a directory").to_owned();
    let path = env::var("PATH").expect("PATH");
    let output = Command::new("bash")
        .args(["-c", SESSION, "bash"])
        .args(words)
        .env("PATH", format!("{}:{path}", binaries.display()))
        .output()
        .expect("start bash");
    assert_ends(&output, 0, &[]);
    let words = stdout(&output);
    words.lines().map(|word| word.trim().to_owned()).collect()
}

#[test]
fn nodes_endpoints_and_maps_are_offered() {
    let lab = Lab::up(TWO_NODES);
    let its = |words: &[&str]| {
        let offered = offered(words).into_iter();
        let own = offered.filter_map(|word| word.strip_prefix(lab.prefix()).map(str::to_owned));
        own.collect::<Vec<_>>()
    };
    assert_eq!(its(&["down", ""]), ["A", "B"]);
    assert_eq!(its(&["down", &lab.name("B")]), ["B"]);
    assert_eq!(its(&["stats", "--node", ""]), ["A", "B"]);
    let endpoints = ["a1", "a2", "b1", "b2"];
    assert_eq!(its(&["stats", "--endpoint", ""]), endpoints);
    assert_eq!(its(&["flows", "--node", ""]), ["A", "B"]);
    assert_eq!(its(&["flows", "--endpoint", ""]), endpoints);
    assert_eq!(its(&["fastpath", "off", "--endpoint", ""]), endpoints);
    assert_eq!(its(&["show", ""]), ["A", "B", "a1", "a2", "b1", "b2"]);
    // Of the commands for one endpoint: what can be removed so, and where it can go.
    assert_eq!(its(&["endpoint", "remove", ""]), Vec::<String>::new());
    let words = ["endpoint", "add", &lab.name("x"), "--node", &lab.name("A")];
    let output = run_netpath(&[&words[..], &["--address", "10.0.5.2/24"]].concat());
    assert_ends(&output, 0, &[]);
    assert_eq!(its(&["endpoint", "remove", ""]), ["x"]);
    assert_eq!(its(&["endpoint", "remove", "--node", ""]), ["A", "B"]);
    assert_eq!(its(&["endpoint", "add", "y", "--node", ""]), ["A", "B"]);
    assert_eq!(
        its(&["endpoint", "add", "y", "--netns", &lab.name("a")]),
        ["a1", "a2"]
    );
    let maps: BTreeSet<String> = map_names().map(str::to_owned).collect();
    assert!(maps.is_subset(&offered(&["maps", "dump", ""])));
    assert!(offered(&["sta"]).contains("stats"));
    assert!(offered(&["stats", "--by", ""]).contains("endpoint"));
    assert!(offered(&["man", "netpath-r"]).contains("netpath-reasons"));
}

#[test]
fn every_shell_has_a_script() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = run_netpath(&["completions", shell]);
        assert_ends(&output, 0, &[]);
        let script = stdout(&output);
        assert!(
            script.contains("netpath") && script.contains("NETPATH_COMPLETE"),
            "{shell}: {script}"
        );
    }
}
