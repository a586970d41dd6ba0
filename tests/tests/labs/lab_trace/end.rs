//! What is left of a trace: nothing, however it ends.

use std::{collections::BTreeSet, thread, time::Duration};

use aya::{
    maps::{Array, Map, MapData, MapInfo},
    programs::{ProgramInfo, loaded_programs},
};
use netpath::datapath::Datapath;
use netpath_tests::{
    lab::{Deadline, Lab, ONE_NODE, addresses},
    netpath,
};
use serde_json::Value;

use super::{live::Live, packets, steps, trace};

/// Until when each trace is told by a node's programs.
fn leases(datapath: &Datapath) -> Vec<u64> {
    let program = datapath.directory().join("programs/from_endpoint");
    let program = ProgramInfo::from_pin(program).expect("a program");
    let ids = program.map_ids().expect("maps").expect("maps");
    let is_it = |id: &u32| {
        let info = MapInfo::from_id(*id).expect("a map");
        info.name_as_str() == Some("cache_trace")
    };
    let id = ids.into_iter().find(is_it).expect("what traces ask by");
    let map = Map::from_map_data(MapData::from_id(id).expect("a map")).expect("a map");
    let map: Array<_, u64> = map.try_into().expect("an array");
    map.iter().map(|value| value.expect("a number")).collect()
}

fn is_loaded(ids: &BTreeSet<u32>) -> bool {
    loaded_programs().any(|program| program.is_ok_and(|program| ids.contains(&program.id())))
}

/// Kills a trace, and waits until nodes tell it nothing any more.
fn kill_a_trace(lab: &Lab, datapath: &Datapath) {
    let live = Live::begin(lab, "@a1");
    let programs = live.programs();
    assert!(is_loaded(&programs));
    assert!(leases(datapath)[0] > 0);
    live.signal("-KILL");
    let deadline = Deadline::new();
    while is_loaded(&programs) {
        deadline.check(|| "its programs are still there".to_owned());
        thread::sleep(Duration::from_millis(20));
    }
    // What they did they do.
    for to in addresses("a2") {
        lab.assert_reaches("a1", to, 63);
    }
    let until = leases(datapath)[0];
    while netpath::datapath::monotonic_now() <= until {
        thread::sleep(Duration::from_millis(20));
    }
}

/// Other tests' traces ask all nodes that there are; what those that are killed have asked for is soon over.
fn wait_for_no_lease(datapath: &Datapath) {
    let deadline = Deadline::new();
    let is_over = |until: &u64| *until <= netpath::datapath::monotonic_now();
    while !leases(datapath).iter().all(is_over) {
        deadline.check(|| format!("somebody asks: {:?}", leases(datapath)));
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn nothing_stays_of_a_trace_that_is_killed() {
    let lab = Lab::up(ONE_NODE);
    let datapath = lab.datapath("A");
    let told = "~ node A: its programs tell a trace that was killed nothing any more";
    // Another test's trace that comes first takes the place of the one that was killed.
    let mut tries = 0..5;
    while tries.next().is_some() {
        kill_a_trace(&lab, &datapath);
        let changes = lab.converge();
        if !changes.is_empty() {
            assert_eq!(changes, [told]);
            break;
        }
    }
    assert!(!tries.is_empty(), "`up` did not say so");
    assert_eq!(lab.converge(), Vec::<String>::new());
    wait_for_no_lease(&datapath);
    // The next one is told everything, and gives it back.
    let (document, status) = trace(&lab, "@a1 @a2");
    assert_eq!(
        (status, &document["notes"]),
        (Some(0), &Value::Array(vec![]))
    );
    let shown = steps(&lab, packets(&document, "there")[0]);
    assert!(
        shown.contains(&"A va1 decided redirect_peer va2".to_owned()),
        "{shown:?}"
    );
    wait_for_no_lease(&datapath);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_attached() {
    let lab = Lab::up(ONE_NODE);
    for (arguments, status, said) in [
        ("@a1 nobody", 1, "no node or endpoint nobody is up"),
        ("@a1", 2, "name who sends and where to"),
        ("@a1 10.0.2.2 --family ipv6", 2, "is no IPv6 address"),
        ("@a1 10.0.2.2 --source fd00:1::2", 2, "is no IPv4 address"),
        (
            "--endpoint @a1 tcp prot 80",
            2,
            "`and` or `or` has to stand before `prot`",
        ),
        ("--endpoint @A", 2, "name one of its endpoints"),
        ("@a1 @a2 --sport 9", 2, "an ICMP echo has no ports"),
        (
            "@a1 @a2 --dport 9 --proto icmp",
            2,
            "an ICMP echo has no ports",
        ),
        ("--endpoint @a1 -w -", 2, "name a file"),
        ("@a1 @a2 -w -", 2, "name a file"),
        ("@a1 @a2 -w /nowhere/file", 1, "/nowhere/file: No such file"),
    ] {
        let arguments = arguments.replace('@', lab.prefix());
        let words: Vec<&str> = std::iter::once("trace")
            .chain(arguments.split(' '))
            .collect();
        let output = netpath(&words).output().expect("netpath runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments}: {stderr}");
        assert!(stderr.contains(said), "{arguments}: {stderr}");
    }
    wait_for_no_lease(&lab.datapath("A"));
}
