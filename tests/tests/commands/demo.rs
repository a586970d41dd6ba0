//! `netpath demo`: its six steps, and that nothing is left of it however it ends. The built-in lab has fixed
//! names, so everything that uses it takes one lock.

use std::{
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, Command, Output},
    thread,
    time::{Duration, Instant},
};

use netpath_tests::{
    lab::{BUILTIN_NAMESPACES, BUILTIN_NODES, BuiltinLab, builtin_left_behind},
    netpath,
};
use serde_json::Value;

/// DESIGN section 8 allows 20 s; here the other tests take their share of the machine.
const LONGEST: Duration = Duration::from_secs(60);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a demo tells that must succeed.
fn told(arguments: &[&str]) -> Value {
    let output = netpath(arguments).output().expect("netpath runs");
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stderr}{stdout}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
}

fn checks(document: &Value, number: u64) -> &[Value] {
    let steps = document["steps"].as_array().expect("steps");
    let step = steps
        .iter()
        .find(|step| step["number"] == number)
        .unwrap_or_else(|| panic!("step {number} was not told"));
    step["checks"].as_array().expect("checks")
}

/// The step made these checks, in both families where they are about one, and all of its checks were true.
fn assert_checked(document: &Value, number: u64, of_each: &[&str], of_both: &[&str]) {
    let checks = checks(document, number);
    for check in checks {
        assert_eq!(check["passed"], true, "step {number}: {check:#}");
        assert_eq!(check["expected"], check["seen"], "step {number}: {check:#}");
    }
    let assert_made = |id: &str, family: Value| {
        let made = checks
            .iter()
            .any(|check| check["id"] == id && check["family"] == family);
        assert!(made, "step {number} lacks check {id} of {family}");
    };
    for id in of_each {
        assert_made(id, "ipv4".into());
        assert_made(id, "ipv6".into());
    }
    for id in of_both {
        assert_made(id, Value::Null);
    }
}

/// What a check saw over IPv4 and over IPv6.
fn seen<'a>(document: &'a Value, number: u64, id: &str) -> [&'a str; 2] {
    ["ipv4", "ipv6"].map(|family| {
        checks(document, number)
            .iter()
            .find(|check| check["id"] == id && check["family"] == family)
            .and_then(|check| check["seen"].as_str())
            .unwrap_or_else(|| panic!("step {number} lacks check {id} of {family}"))
    })
}

#[test]
fn the_story_is_true_and_leaves_nothing() {
    let _lab = BuiltinLab::take();
    let began = Instant::now();
    let document = told(&["demo", "-j"]);
    let took = began.elapsed();
    assert_eq!(builtin_left_behind(), Vec::<PathBuf>::new());
    assert!(took < LONGEST, "{took:?}");
    assert_eq!(document["passed"], true);
    assert_eq!(document["kept"], false);

    let dropped = [
        "unreachable",
        "no_icmp_error",
        "policy_is_drop",
        "no_rules",
        "dropped_by_policy",
        "dies_in_forward",
    ];
    assert_checked(&document, 1, &dropped, &[]);
    // Five echo requests with 56 bytes of payload each.
    let counted = ["5 packets, 420 bytes", "5 packets, 520 bytes"];
    assert_eq!(seen(&document, 1, "dropped_by_policy"), counted);

    assert_checked(&document, 2, &["reachable", "accepted_by_rules"], &[]);

    let still = [
        "reachable",
        "policy_is_drop",
        "no_rules",
        "forward_stands_still",
    ];
    assert_checked(&document, 3, &still, &["fast_path_on"]);
    let nothing = ["0 packets, 0 bytes"; 2];
    assert_eq!(seen(&document, 3, "forward_stands_still"), nothing);
    assert_measured(&document);

    let across = [
        "reachable",
        "all_arrived",
        "source_intact",
        "ttl",
        "forward_stands_still",
    ];
    assert_checked(&document, 4, &across, &[]);
    let sources = ["10.0.1.2", "fd00:1::2"];
    assert_eq!(seen(&document, 4, "source_intact"), sources);
    assert_eq!(seen(&document, 4, "ttl"), ["62"; 2]);

    let passages = ["redirected_near", "redirected_far"];
    assert_checked(&document, 5, &passages, &["law"]);
    assert_counted(&document);

    let left = ["no_namespaces_left", "no_pins_left"];
    assert_checked(&document, 6, &[], &left);
}

/// Both paths, in both families.
fn assert_measured(document: &Value) {
    let measured = document["measurements"].as_array().expect("measurements");
    for path in ["forward_rules", "fast_path"] {
        for family in ["ipv4", "ipv6"] {
            let row = measured
                .iter()
                .find(|row| row["path"] == path && row["family"] == family)
                .unwrap_or_else(|| panic!("{path} was not measured over {family}"));
            let figure = |key: &str| row[key].as_f64().expect("a number");
            assert!(figure("latency_p50_us") > 0.0, "{row}");
            let p99 = figure("latency_p99_us");
            assert!(p99 >= figure("latency_p50_us"), "{row}");
            assert!(figure("packets_per_second") > 0.0, "{row}");
        }
    }
}

/// The rows themselves, not only what the demo makes of them: 1,000 datagrams of 64 bytes with UDP's 8,
/// Ethernet's 14, and 20 or 40 of IP.
fn assert_counted(document: &Value) {
    for (family, length) in [("ipv4", 64 + 8 + 20 + 14), ("ipv6", 64 + 8 + 40 + 14)] {
        for (node, ingress, egress, outcome) in [
            ("node03", "vethhost01", "enp2s0", "redirect_neigh"),
            ("node02", "enp2s0", "vethhost03", "redirect_peer"),
        ] {
            let wanted = [
                ("family", family),
                ("node", node),
                ("ingress", ingress),
                ("egress", egress),
                ("outcome", outcome),
            ];
            let rows: Vec<_> = document["hops"]
                .as_array()
                .expect("hops")
                .iter()
                .filter(|row| wanted.iter().all(|(key, value)| row[*key] == *value))
                .collect();
            assert_eq!(rows.len(), 1, "{wanted:?}: {rows:?}");
            assert_eq!(rows[0]["packets"], 1_000, "{wanted:?}");
            assert_eq!(rows[0]["bytes"], 1_000 * length, "{wanted:?}");
        }
    }
    let interfaces = document["interfaces"].as_array().expect("interfaces");
    assert_eq!(interfaces.len(), 6);
    for row in interfaces {
        let count = |key: &str| row[key].as_u64().expect("a number");
        let sum = count("redirected") + count("punted") + count("dropped");
        assert_eq!(sum, count("kernel_rx_packets"), "{row}");
    }
}

#[test]
fn a_lab_that_is_kept_is_left_alone_by_the_next() {
    let _lab = BuiltinLab::take();
    let document = told(&["demo", "--keep", "-j"]);
    assert_eq!(document["passed"], true);
    assert_eq!(document["kept"], true);
    let kept = builtin_left_behind();
    assert_eq!(
        kept.len(),
        BUILTIN_NAMESPACES.len() + BUILTIN_NODES.len(),
        "{kept:?}"
    );

    let refused = netpath(&["demo"]).output().expect("netpath runs");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let message = text(&refused.stderr);
    assert!(message.contains("node02, node03"), "{message}");
    assert!(message.contains("`netpath down`"), "{message}");
    assert_eq!(builtin_left_behind(), kept, "the user's lab was touched");

    let removed = netpath(&["down"]).output().expect("netpath runs");
    assert!(removed.status.success(), "{removed:?}");
    assert_eq!(builtin_left_behind(), Vec::<PathBuf>::new());
}

/// What it says when it is interrupted before it makes anything.
const NOTHING_BEGUN: &str = "netpath: interrupted; nothing was begun\n";

#[test]
fn interrupted_at_any_moment_it_leaves_nothing() {
    let _lab = BuiltinLab::take();
    // From before the lab is up into the last steps.
    for delay in [5, 60, 150, 300, 600, 1_200, 2_500, 4_000] {
        let demo = netpath(&["demo"]).spawn().expect("netpath runs");
        thread::sleep(Duration::from_millis(delay));
        let catches = catches_interrupts(&demo);
        interrupt(&demo);
        let output =
            wait(demo).unwrap_or_else(|| panic!("still there, interrupted after {delay} ms"));
        assert_eq!(
            builtin_left_behind(),
            Vec::<PathBuf>::new(),
            "after {delay} ms"
        );
        let stderr = without_waiting(&text(&output.stderr));
        match (output.status.code(), output.status.signal()) {
            // A slow machine has not come to the lab's making by then.
            (Some(1), _) if delay < 1_000 && stderr == NOTHING_BEGUN => {}
            (Some(1), _) => assert_eq!(stderr, "netpath: interrupted; removed\n", "{delay} ms"),
            // Before signals are caught, nothing has been made.
            (None, Some(2)) if !catches => {}
            // It had been told to its end already.
            (Some(0), _) if delay > 2_000 => {}
            _ => panic!("after {delay} ms: {output:?}"),
        }
    }
}

/// What it said, but that it waits for another netpath: other tests' labs come and go.
fn without_waiting(stderr: &str) -> String {
    let lines = stderr.split_inclusive('\n');
    lines
        .filter(|line| !line.contains("another netpath is at work"))
        .collect()
}

/// Whether a child has a handler for SIGINT by now; `proc_pid_status(5)`: bit n - 1 of SigCgt is signal n.
fn catches_interrupts(child: &Child) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("status");
    let caught = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .expect("SigCgt");
    let caught = u64::from_str_radix(caught.trim(), 16).expect("a mask");
    caught & 1 << (2 - 1) != 0
}

fn interrupt(child: &Child) {
    // The child has not been waited for, so its number is still its own.
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(sent.success());
}

/// What a child that was told to end has said; `None`, and killed, if it does not end. Its output is short
/// enough for the pipes.
fn wait(mut child: Child) -> Option<Output> {
    let deadline = Instant::now() + LONGEST;
    while child.try_wait().expect("wait").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("kill");
            child.wait().expect("wait");
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
    Some(child.wait_with_output().expect("wait"))
}

#[test]
fn the_names_are_those_of_the_lab() {
    let lab = netpath::model::Topology::builtin_lab();
    for node in &lab.nodes {
        assert!(BUILTIN_NODES.contains(&node.name.as_ref()));
        assert!(BUILTIN_NAMESPACES.contains(&node.name.as_ref()));
        for endpoint in &node.endpoints {
            assert!(BUILTIN_NAMESPACES.contains(&endpoint.name.as_ref()));
        }
        for wire in node
            .uplinks
            .iter()
            .filter_map(|uplink| uplink.wire.as_ref())
        {
            let namespace = netpath::model::wire_namespace(wire);
            assert!(BUILTIN_NAMESPACES.contains(&namespace.as_ref()));
        }
    }
}
