//! An `up` that fails half-way or is interrupted leaves everything as it was before.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::ExitStatusExt as _,
    process::Output,
    thread,
    time::Duration,
};

use netpath::provision::{self, ProvisionError, UpOptions};
use netpath_tests::{
    command::{TempFile, run_netpath},
    lab::{Lab, ONE_NODE, TWO_NODES, addresses, portrait},
    netpath,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const PLACES: [&str; 6] = ["A", "B", "a1", "a2", "b1", "b2"];
const MAPS: [&str; 11] = [
    "settings",
    "features",
    "endpoints_v4",
    "endpoints_v6",
    "routes_v4",
    "routes_v6",
    "interfaces",
    "devices",
    "endpoint_records",
    "uplink_records",
    "route_records",
];

/// All that `up` may change: what the namespaces look like, the maps without counters, the programs on hooks.
fn state(lab: &Lab) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for place in PLACES {
        all.push((place.to_owned(), portrait(&lab.netns(place))));
    }
    for node in ["A", "B"] {
        for map in MAPS {
            let path = format!("/sys/fs/bpf/netpath/{}/maps/{map}", lab.name(node));
            let text = lab.run(node, &format!("bpftool -j map dump pinned {path}"));
            let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let mut entries: Vec<String> = json
                .as_array()
                .expect("entries")
                .iter()
                .map(ToString::to_string)
                .collect();
            entries.sort();
            all.push((format!("{map} of {node}"), entries.join("\n")));
        }
        all.push((format!("gates of {node}"), gates(lab, node)));
        let programs = lab.run(node, "bpftool net show");
        all.push((format!("programs of {node}"), programs));
    }
    all
}

/// The gates that are not shut, by the interfaces that share a word.
fn gates(lab: &Lab, node: &str) -> String {
    let gates = lab.datapath(node).maps.gates;
    let open = gates.set_words().expect("gates");
    let lines: Vec<String> = open
        .iter()
        .map(|(index, word)| format!("{index}: {word:x}"))
        .collect();
    lines.join("\n")
}

fn assert_same(lab: &Lab, before: &[(String, String)], when: &str) {
    for ((what, before), (_, after)) in before.iter().zip(state(lab)) {
        // Without optimisation the search for each line takes longer than all that is tried.
        if *before == after {
            continue;
        }
        let gone = before.lines().filter(|line| !after.contains(line));
        let new = after.lines().filter(|line| !before.contains(line));
        let (gone, new) = (gone.collect::<Vec<_>>(), new.collect::<Vec<_>>());
        assert_eq!((gone, new), (Vec::new(), Vec::new()), "{when}: {what}");
    }
}

/// Another file: an address of an uplink, other routes, another address of an endpoint and one less, an MTU, a first prefix
/// behind one, a policy, something new.
fn changed() -> String {
    TWO_NODES
        .replace(
            r#""100.100.198.250/24", "fd00:198::250/64""#,
            r#""100.100.198.250/24", "100.100.198.249/24", "fd00:198::250/64""#,
        )
        .replace(
            r#"    { dst = "fd00:4::/64", via = "fd00:198::253" },"#,
            r#"    { dst = "10.0.8.0/23", via = "100.100.198.253" },"#,
        )
        .replacen(r#""drop""#, r#""accept""#, 1)
        .replace("10.0.2.2/24", "10.0.22.2/24")
        .replace("10.0.2.0/24", "10.0.22.0/24")
        .replace(r#", "fd00:4::2/64""#, "")
        .replace(r#""va1" }"#, r#""va1", mtu = 1400 }"#)
        .replace(r#""vb2" }"#, r#""vb2", prefixes = ["10.0.8.0/28"] }"#)
        .replace(
            r#"{ name = "@b2","#,
            r#"{ name = "@b9", addresses = ["10.0.9.2/24"], host_dev = "vb9" },
    { name = "@b2","#,
        )
}

/// The same, and one endpoint goes.
fn changed_without_b1() -> String {
    let text = changed();
    let lines = text.lines().filter(|line| !line.contains("@b1"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Interrupts the change to a lab that is up behind each of its steps but the last, and then lets it be.
fn assert_undone_anywhere(lab: &mut Lab) {
    let before = state(lab);
    lab.rewrite(&changed());
    let steps = lab.plan().len();
    assert!(steps >= 5, "{:?}", lab.plan());
    for count in 1..steps {
        let result = lab.converge_until(count);
        assert!(
            matches!(result, Err(ProvisionError::Interrupted)),
            "{count}: {result:?}"
        );
        assert_same(lab, &before, &format!("after {count} of {steps}"));
    }
    // What is compared is also what the change is about.
    lab.converge();
    for (what, after) in state(lab) {
        let is_same = before
            .iter()
            .any(|row| *row == (what.clone(), after.clone()));
        assert!(!is_same || !CHANGED.contains(&what.as_str()), "{what}");
    }
}

/// Some of what the change is about.
const CHANGED: [&str; 10] = [
    "A",
    "B",
    "a1",
    "a2",
    "b2",
    "settings of A",
    "features of B",
    "gates of B",
    "endpoint_records of A",
    "route_records of B",
];

#[test]
fn a_change_that_is_interrupted_anywhere_leaves_everything_as_it_was() {
    assert_undone_anywhere(&mut Lab::up(TWO_NODES));
}

/// The wish stands in the settings before the first program is detached.
#[test]
fn so_does_one_that_also_switches_the_fast_path() {
    let mut lab = Lab::up(TWO_NODES);
    lab.set_options(UpOptions {
        fast_path: Some(false),
        ..UpOptions::default()
    });
    assert_undone_anywhere(&mut lab);
}

/// When a signal comes.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// Behind so many changes that were told.
    Changes(usize),
    /// So long after the start.
    After(Duration),
}

/// Runs `netpath up`, and sends it a SIGINT.
fn signalled(lab: &Lab, moment: Moment) -> Output {
    let file = TempFile::new(lab.text());
    let mut child = netpath(&["up", "-f", file.path()]).spawn().expect("start");
    let pid = Pid::from_raw(child.id().cast_signed());
    let mut told = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    match moment {
        Moment::Changes(count) => {
            for _ in 0..count {
                told.read_line(&mut line).expect("a line");
            }
        }
        Moment::After(time) => thread::sleep(time),
    }
    // Until it is waited for the number is its own.
    kill(pid, Signal::SIGINT).expect("kill");
    told.read_to_string(&mut line).expect("text");
    child.wait_with_output().expect("wait")
}

/// What `netpath show` says of both nodes: nothing that is wrong.
fn assert_shown_whole(lab: &Lab, when: &str) {
    let names = ["A", "B"].map(|node| lab.name(node));
    let output = run_netpath(&["show", &names[0], &names[1]]);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{when}: {text}");
    for name in names {
        assert!(text.contains(&name), "{when}: {text}");
    }
}

#[test]
fn a_signal_at_any_moment_leaves_the_old_or_the_new() {
    let mut lab = Lab::up(TWO_NODES);
    lab.rewrite(&changed());
    let steps = lab.plan().len();
    let by_change = (0..=steps).map(Moment::Changes);
    // Also before the first change and behind the last.
    let by_time = (1..=8).map(|n| Moment::After(Duration::from_millis(20 * n)));
    let (mut undone, mut done) = (0, 0);
    let mut before = None;
    for moment in by_change.chain(by_time) {
        let when = format!("{moment:?} of {steps}");
        lab.rewrite(TWO_NODES);
        lab.converge();
        let old = before.take().unwrap_or_else(|| state(&lab));
        lab.rewrite(&changed());
        let output = signalled(&lab, moment);
        let stderr = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            assert_eq!(lab.plan(), Vec::<String>::new(), "{when}: {stderr}");
            done += 1;
        } else {
            let unheard = output.status.signal() == Some(Signal::SIGINT as i32);
            assert!(
                unheard || stderr.contains("interrupted"),
                "{when}: {stderr}"
            );
            assert_same(&lab, &old, &format!("{when}: {stderr}"));
            before = Some(old);
            undone += 1;
        }
        assert_shown_whole(&lab, &when);
    }
    assert!(
        undone >= steps / 2 && done >= 1,
        "{undone} undone, {done} done"
    );
}

#[test]
fn a_change_that_fails_leaves_everything_as_it_was() {
    let mut lab = Lab::up(TWO_NODES);
    let before = state(&lab);
    lab.rewrite(&changed());
    let node = lab.netns("B");
    let mut is_there = false;
    let result = provision::up(lab.topology(), &UpOptions::default(), &mut |_| {
        if !is_there {
            is_there = true;
            let add = "ip link add vb9 type veth peer name other";
            node.run(|| netpath_tests::lab::run(add)).expect("enter");
        }
    });
    assert!(result.is_err(), "{result:?}");
    lab.ip("B", "link del vb9");
    assert_same(&lab, &before, "after the failure");
}

#[test]
fn what_the_new_file_removes_is_as_it_was() {
    let mut lab = Lab::up(TWO_NODES);
    // Somebody's, in a namespace that is to go, and a namespace that is not replaced by another.
    lab.ip("b1", "link add mine type veth peer name yours");
    let inside = lab.netns("b1");
    let before = state(&lab);
    lab.rewrite(&changed_without_b1());
    let steps = lab.plan().len();
    for count in 1..steps {
        let result = lab.converge_until(count);
        assert!(
            matches!(result, Err(ProvisionError::Interrupted)),
            "{count}: {result:?}"
        );
        assert_same(&lab, &before, &format!("after {count} of {steps}"));
        assert_eq!(
            lab.netns("b1").cookie().ok(),
            inside.cookie().ok(),
            "{count}"
        );
        for dst in addresses("b1") {
            lab.assert_reaches("a2", dst, 62);
        }
    }
    let told = lab.converge();
    assert_eq!(told.len(), steps);
    assert!(
        told[steps - 1].starts_with("- endpoint b1 on B"),
        "{told:#?}"
    );
    assert_eq!(lab.plan(), Vec::<String>::new());
}

/// The name, the address and the prefix of one that goes are had by one that comes, before the other is gone.
#[test]
fn what_one_that_goes_has_another_gets() {
    let with = |name: &str| {
        ONE_NODE.replace(
            r#"{ name = "@a2", addresses = ["10.0.2.2/24", "fd00:2::2/64"], host_dev = "va2" }"#,
            &format!(
                r#"{{ name = "@{name}", addresses = ["10.0.2.2/24", "fd00:2::2/64"], host_dev = "va2", prefixes = ["10.9.0.0/28"] }}"#
            ),
        )
    };
    let mut lab = Lab::up(&with("a2"));
    let before = portrait(&lab.netns("A"));
    let cookie = lab.netns("a2").cookie().expect("cookie");
    lab.rewrite(&with("a3"));
    let steps = lab.plan().len();
    for count in 1..steps {
        let result = lab.converge_until(count);
        assert!(
            matches!(result, Err(ProvisionError::Interrupted)),
            "{count}: {result:?}"
        );
        assert_eq!(portrait(&lab.netns("A")), before);
        assert_eq!(lab.netns("a2").cookie().expect("cookie"), cookie);
        for dst in addresses("a2") {
            lab.assert_reaches("a1", dst, 63);
        }
    }
    let planned = lab.plan();
    assert_eq!(lab.converge(), planned);
    assert_eq!(lab.plan(), Vec::<String>::new());
    for dst in addresses("a2") {
        lab.assert_reaches("a1", dst, 63);
        lab.assert_reaches("a3", addresses("a1")[usize::from(dst.is_ipv6())], 63);
    }
}
