//! A program that somebody detached is drift; one that the operator switched off is not.

use std::fs;

use netpath::{netns::Netns, provision};
use netpath_tests::{
    lab::{Deadline, Lab, ONE_NODE, addresses, run},
    netpath,
};

/// What `show` tells of the lab's node, by object: what differs, without the prefix. What its policy of FORWARD drops while
/// the fast path is off is told too, and looked at by other tests.
fn drift(lab: &Lab) -> Vec<String> {
    let nodes = provision::observe().unwrap_or_else(|error| panic!("{error}"));
    let node = nodes.iter().find(|node| node.name == lab.name("A"));
    let node = node.expect("the node is up");
    let uplinks = node
        .uplinks
        .iter()
        .map(|uplink| (&uplink.interface.dev, &uplink.drift));
    let endpoints = node
        .endpoints
        .iter()
        .map(|endpoint| (&endpoint.name, &endpoint.drift));
    let objects = uplinks.chain(endpoints);
    let words = objects.flat_map(|(name, drift)| {
        drift
            .iter()
            .map(move |finding| format!("{name}: {}", finding.problem).replace(lab.prefix(), ""))
    });
    let all: Vec<String> = node
        .drift
        .iter()
        .map(|finding| finding.problem.clone())
        .chain(words)
        .filter(|words| !words.ends_with("is dropped by chain FORWARD"))
        .collect();
    all
}

/// Waits until `show` tells this: the kernel lets a link go some time after its pin (`bpf_link_put`).
fn await_drift(lab: &Lab, expected: &[String]) {
    let deadline = Deadline::new();
    loop {
        let found = drift(lab);
        if found == expected {
            return;
        }
        deadline.check(|| format!("{found:?} instead of {expected:?}"));
    }
}

fn assert_works(lab: &Lab) {
    assert_eq!(drift(lab), Vec::<String>::new());
    assert_eq!(lab.plan(), Vec::<String>::new());
    for dst in addresses("a2") {
        lab.assert_reaches("a1", dst, 63);
    }
}

fn pin(lab: &Lab, program: &str, dev: &str) -> String {
    format!(
        "/sys/fs/bpf/netpath/{}/links/{program}@{dev}",
        lab.name("A")
    )
}

const PLACES: [(&str, &str, &str); 3] = [
    ("from_endpoint", "va1", "endpoint a1"),
    ("to_endpoint", "va2", "endpoint a2"),
    ("from_uplink", "up0", "uplink up0"),
];

#[test]
fn a_program_that_somebody_detached_is_drift_and_comes_back() {
    if !netpath_tests::has_tcx() {
        return;
    }
    let lab = Lab::up(ONE_NODE);
    let unpin = |path: &str| fs::remove_file(path).expect("unpin");
    let detach = |path: &str| drop(run(&format!("bpftool link detach pinned {path}")));
    let damages: [&dyn Fn(&str); 2] = [&unpin, &detach];
    for damage in damages {
        for (program, dev, object) in PLACES {
            damage(&pin(&lab, program, dev));
            let name = object.rsplit(' ').next().expect("a name");
            let words = format!("program {program} is not attached to {dev}");
            await_drift(&lab, &[format!("{name}: {words}")]);
            let plan = lab.plan();
            assert_eq!(plan, [format!("~ {object} on A: {words}")]);
            assert_eq!(lab.converge(), plan);
            assert_works(&lab);
        }
    }
    // Both at once, and as the command tells it.
    for program in ["from_endpoint", "to_endpoint"] {
        unpin(&pin(&lab, program, "va1"));
    }
    let words = |program| format!("a1: program {program} is not attached to va1");
    await_drift(&lab, &["from_endpoint", "to_endpoint"].map(words));
    let output = netpath(&["show"]).output().expect("show");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    for program in ["from_endpoint", "to_endpoint"] {
        let words = format!("program {program} is not attached to va1");
        assert!(stderr.contains(&words), "{stderr}");
    }
    lab.converge();
    assert_works(&lab);
}

#[test]
fn a_program_is_missed_with_clsact_too() {
    // Only a filter: a process of its own would be needed for NETPATH_ATTACH here.
    let lab = Lab::prepare(ONE_NODE);
    let file = std::env::temp_dir().join(format!("{}-clsact.toml", lab.prefix()));
    fs::write(&file, lab.text()).expect("topology file");
    let ends = |arguments: &[&str], status: i32, words: &str| {
        let mut command = netpath(arguments);
        let output = command.arg("-f").arg(&file).env("NETPATH_ATTACH", "clsact");
        let output = output.output().expect("start");
        let text =
            String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(status), "{text}");
        assert!(text.contains(words), "no {words:?} in: {text}");
    };
    ends(&["up"], 0, "+ endpoint");
    lab.run("A", "tc filter del dev va1 ingress");
    lab.run("A", "tc qdisc del dev up0 clsact");
    ends(&["show"], 3, "program from_endpoint is not attached to va1");
    ends(&["show"], 3, "program from_uplink is not attached to up0");
    ends(&["up"], 0, "program from_endpoint is not attached to va1");
    ends(&["show"], 0, "");
    ends(&["up"], 0, "nothing to do");
    fs::remove_file(&file).expect("its own file");
}

#[test]
fn switched_off_by_the_operator_is_no_drift() {
    let lab = Lab::up(ONE_NODE);
    lab.fast_path(false, "A", None);
    assert_eq!(drift(&lab), Vec::<String>::new());
    assert_eq!(lab.plan(), Vec::<String>::new());
    lab.fast_path(true, "A", None);
    assert_works(&lab);
}

#[test]
fn an_endpoint_that_is_switched_off_stays_off() {
    let lab = Lab::up(ONE_NODE);
    let hops = "va1 > va2 redirect_peer";
    lab.fast_path(false, "A", Some("a1"));
    assert_eq!(drift(&lab), Vec::<String>::new());
    assert_eq!(lab.plan(), Vec::<String>::new());
    // Somebody detaches another's, and makes it need repair itself: only that is mended.
    if netpath_tests::has_tcx() {
        fs::remove_file(pin(&lab, "from_endpoint", "va2")).expect("unpin");
        let words = "program from_endpoint is not attached to va2";
        await_drift(&lab, &[format!("a2: {words}")]);
        assert_eq!(lab.converge(), [format!("~ endpoint a2 on A: {words}")]);
    }
    lab.ip("a1", "addr del 10.0.1.2/24 dev eth0");
    lab.converge();
    Netns::remove(&lab.name("a1")).expect("remove");
    lab.converge();
    assert_eq!(drift(&lab), Vec::<String>::new());
    assert_eq!(lab.plan(), Vec::<String>::new());
    lab.assert_loses("a1", addresses("a2")[0]);
    assert_eq!(lab.traffic("A").row(hops).0, 0);
    assert_eq!(
        lab.fast_path(true, "A", Some("a1")),
        ["~ fast path va1 on A: on"]
    );
    assert_works(&lab);
    // On as a whole is on for everybody.
    lab.fast_path(false, "A", Some("a1"));
    lab.fast_path(true, "A", None);
    assert_works(&lab);
    lab.converge();
    assert_works(&lab);
}

/// Where no program is there to be attached or detached, the wish is noted all the same, and that is said once.
#[test]
fn a_switch_that_only_notes_a_wish_says_so() {
    let lab = Lab::up(ONE_NODE);
    lab.ip("A", "link del dev va1");
    let noted = ["~ fast path A: noted, and no program is to be attached or detached"];
    // The pins of links that ended with the interface.
    assert_eq!(
        lab.fast_path(false, "A", Some("a1")),
        ["~ fast path va1 on A: off"]
    );
    for on in [true, false] {
        assert_eq!(lab.fast_path(on, "A", Some("a1")), noted, "{on}");
        assert_eq!(lab.fast_path(on, "A", Some("a1")), Vec::<String>::new());
    }
    lab.converge();
    lab.assert_loses("a1", addresses("a2")[0]);
}
