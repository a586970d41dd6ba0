//! Where netpath runs, and as whom.

use std::process::Command;

use netpath_tests::{
    BinaryCopy, binary,
    lab::{Lab, ONE_NODE},
};

use super::Told;

/// Runs the doctor behind a shell line, in a mount namespace of its own.
fn unshared(line: &str) -> Told {
    let script = format!("{line}\nexec {} doctor -j", binary().display());
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-ec", &script])
        .output()
        .expect("start");
    Told::of(&output)
}

fn ids(told: &Told) -> Vec<String> {
    let found = told.found().into_iter();
    found
        .filter_map(|it| Some(it["id"].as_str()?.to_owned()))
        .collect()
}

#[test]
fn mounts_that_are_not_everybodys_are_found() {
    let _up = Lab::up(ONE_NODE);
    for (line, id) in [
        ("", "mount_namespace"),
        ("mount -t bpf bpf /sys/fs/bpf", "bpffs_hidden"),
        ("mount -o remount,bind,ro /sys/fs/bpf", "bpffs_read_only"),
    ] {
        let told = unshared(line);
        let ids = ids(&told);
        assert!(ids.iter().any(|it| it == id), "{line}: {ids:?}");
        assert_eq!(told.status, Some(3), "{line}");
        assert!(told.cure(id).contains('`'), "{line}");
    }
}

#[test]
fn too_few_open_files_are_found() {
    let _up = Lab::up(ONE_NODE);
    let script = format!("ulimit -n 60; exec {} doctor -j", binary().display());
    let output = Command::new("sh").args(["-c", &script]).output();
    let told = Told::of(&output.expect("start"));
    let ids = ids(&told);
    assert!(ids.iter().any(|it| it == "open_files_low"), "{ids:?}");
    assert!(told.cure("open_files_low").contains("`ulimit -Hn "));
    assert_eq!(told.status, Some(3));
}

/// Anybody is told what can be told, and what cannot be looked at.
#[test]
fn without_root_it_says_what_it_could_not_look_at() {
    let program = BinaryCopy::new();
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(program.path())
        .args(["doctor", "-j"])
        .output()
        .expect("start");
    let told = Told::of(&output);
    assert_eq!(told.status, Some(3));
    assert_eq!(told.document["healthy"], false);
    let checks = told.document["checks"].as_array().expect("a list");
    let unseen = |id: &str| {
        let check = checks.iter().find(|it| it["id"] == id).expect(id);
        assert_eq!(
            check["state"] == "unseen",
            !check["unseen"].is_null(),
            "{check}"
        );
        check["unseen"].to_string()
    };
    for id in ["capabilities", "nodes", "programs", "routes"] {
        assert!(unseen(id).contains("CAP_NET_ADMIN"), "{id}: {}", unseen(id));
    }
    assert_eq!(unseen("limits"), "null");
}
