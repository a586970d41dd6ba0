//! What is pinned: whose it must be, what is missing of it, and what is left when descriptors run out.

use std::{
    fs, io,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    process::Stdio,
};

use netpath::{
    Ends as _,
    datapath::{Datapath, DatapathError},
};
use netpath_tests::{
    lab::{self, Lab, ONE_NODE, TWO_NODES, addresses},
    netpath,
};
use serde_json::Value;

#[test]
#[ignore = "a process for the other tests"]
fn helper() {
    lab::helper();
}

/// What `netpath show` says of a node, beside others that are well.
fn shown(lab: &Lab, node: &str) -> Value {
    let output = netpath(&["show", "-j"]).output().expect("start");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let nodes = document["nodes"].as_array().expect("nodes");
    let named = nodes.iter().find(|it| it["name"] == lab.name(node));
    named.cloned().unwrap_or_else(|| panic!("{document}"))
}

#[test]
fn a_missing_map_is_one_nodes_damage() {
    let lab = Lab::up(TWO_NODES);
    let pin = lab.datapath("A").directory().join("maps/uplink_records");
    fs::remove_file(&pin).expect("unpinned");

    let node = shown(&lab, "A");
    assert_eq!(node["fast_path"], "unknown");
    assert_eq!(node["drift"][0]["id"], "unreadable");
    let drift = node["drift"][0]["problem"].as_str().expect("drift");
    assert!(
        drift.contains("its map uplink_records is not pinned"),
        "{drift}"
    );
    assert_eq!(shown(&lab, "B")["drift"], Value::Array(Vec::new()));

    assert_eq!(
        lab.converge(),
        ["~ node A: pins that were gone: uplink_records"]
    );
    assert_eq!(lab.plan(), Vec::<String>::new());
}

#[test]
fn a_directory_that_is_not_roots_own_is_not_trusted() {
    let lab = Lab::up(ONE_NODE);
    let directory = lab.datapath("A").directory().to_owned();
    let assert_untrusted = |why: &str| {
        let error = Datapath::open(&lab.name("A")).expect_err("untrusted");
        assert!(
            matches!(error, DatapathError::Untrusted { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(why), "{error}");
        let refusal = lab.try_converge().expect_err("untrusted");
        assert!(refusal.is_refusal(), "{refusal:?}");
        let drift = shown(&lab, "A")["drift"][0]["problem"].to_string();
        assert!(drift.contains(why), "{drift}");
    };
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).expect("for all");
    assert_untrusted("others than root may write it");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).expect("for root");
    chown(&directory, Some(65_534), None).expect("somebody's");
    assert_untrusted("root does not own it");
    chown(&directory, Some(0), None).expect("root's");
    assert_eq!(lab.plan(), Vec::<String>::new());
}

/// With too few descriptors for a node's maps, namespaces and sockets, at whatever moment they run out.
#[test]
fn few_descriptors_leave_a_whole_node_or_none() {
    let mut outcomes = [0, 0];
    for limit in (20..=120).step_by(4) {
        let lab = Lab::prepare(ONE_NODE);
        let mut command = lab.command("up");
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let few = libc::rlimit {
            rlim_cur: limit,
            rlim_max: limit,
        };
        let set = move || {
            // SAFETY: setrlimit is async-signal-safe, and reads a structure that lives on.
            match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const few) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        // SAFETY: nothing else is done between fork and exec.
        unsafe { command.pre_exec(set) };
        let output = command.output().expect("start");
        if output.status.success() {
            outcomes[0] += 1;
            assert_eq!(lab.plan(), Vec::<String>::new(), "{limit}");
            lab.assert_reaches("a1", addresses("a2")[0], 63);
        } else {
            outcomes[1] += 1;
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(told.contains("raise its hard limit"), "{limit}: {told}");
            let left = lab.leftovers();
            assert!(left.is_empty(), "{limit}: {left:?}: {output:?}");
        }
    }
    assert!(outcomes.iter().all(|&times| times > 0), "{outcomes:?}");
}
