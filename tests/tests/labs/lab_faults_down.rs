//! `down` returns when what it removed is gone, or says what is left of it.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write as _,
    process::{Child, Command, Output, Stdio},
    sync::atomic::AtomicBool,
};

use netpath::{
    netlink::{LinkKind, Netlink},
    netns::{Holder, path_of},
    provision::{self, Remaining},
};
use netpath_tests::{
    command::Programs,
    lab::{Deadline, Lab, ONE_NODE, on_a_machine},
    netpath,
};

/// The veths, by name. (Where the kernel has modules for tunnels, each namespace has devices of theirs from the start.)
fn veths(netlink: &Netlink) -> BTreeSet<String> {
    let links = netlink.links().expect("links").into_iter();
    links
        .filter(|link| link.kind == LinkKind::Veth)
        .map(|link| link.name)
        .collect()
}

/// Somebody's veths into the namespaces of the lab stand for all that the kernel has there: it takes both ends away when
/// it clears up.
#[test]
fn nothing_is_seen_of_it_after_down() {
    for _ in 0..5 {
        let mut lab = Lab::prepare(ONE_NODE);
        let outside = lab.foreign_namespace("X");
        lab.converge();
        let netlink = outside
            .enter(Netlink::open)
            .expect("enter")
            .expect("socket");
        for place in ["A", "a1", "a2"] {
            let there = lab.name(place);
            let line = format!("link add w{place} type veth peer name w netns {there}");
            lab.ip("X", &line);
        }
        assert_eq!(veths(&netlink).len(), 3);
        lab.down();
        assert_eq!(veths(&netlink), BTreeSet::new());
    }
}

/// A process in a namespace of the lab's, until this is dropped.
struct Inside(Child);

impl Inside {
    fn new(lab: &Lab, place: &str) -> Self {
        let path = path_of(&lab.name(place));
        let child = Command::new("nsenter")
            .arg(format!("--net={}", path.display()))
            .args(["sleep", "1000"])
            .stdout(Stdio::null())
            .spawn()
            .expect("nsenter");
        let inside = Self(child);
        let deadline = Deadline::new();
        let comm = format!("/proc/{}/comm", inside.0.id());
        while std::fs::read_to_string(&comm).expect("comm") != "sleep\n" {
            deadline.check(|| "it does not start".to_owned());
        }
        inside
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.kill().expect("kill");
        self.0.wait().expect("wait");
    }
}

#[test]
fn who_keeps_a_namespace_alive_is_named() {
    let lab = Lab::up(ONE_NODE);
    let inside = Inside::new(&lab, "a1");
    let removed = provision::down_unless(&lab.nodes(), &AtomicBool::new(false), &mut |_| {});
    let removed = removed.unwrap_or_else(|error| panic!("{error}"));
    let holder = Holder {
        pid: inside.pid(),
        command: "sleep".to_owned(),
        inside: true,
    };
    let expected = Remaining::Namespace {
        name: lab.name("a1"),
        holders: vec![holder],
    };
    assert_eq!(removed.remaining, [expected]);
    lab.assert_nothing_left();
}

/// By its name, which is gone when it is looked for.
#[test]
fn who_has_a_namespace_open_is_named() {
    let lab = Lab::up(ONE_NODE);
    let file = File::open(path_of(&lab.name("a1"))).expect("open");
    let removed = provision::down_unless(&lab.nodes(), &AtomicBool::new(false), &mut |_| {});
    let removed = removed.unwrap_or_else(|error| panic!("{error}"));
    let [Remaining::Namespace { name, holders }] = removed.remaining.as_slice() else {
        panic!("{removed:?}");
    };
    assert_eq!(*name, lab.name("a1"));
    let found: Vec<_> = holders.iter().map(|it| (it.pid, it.inside)).collect();
    assert_eq!(found, [(std::process::id(), false)], "{holders:?}");
    drop(file);
    lab.assert_nothing_left();
}

/// One of netpath's own commands looks at all nodes, and lets go: longer than whoever else holds one is waited for.
#[test]
fn another_netpath_that_looks_is_waited_for() {
    let lab = Lab::up(ONE_NODE);
    let programs = Programs::none();
    let program = programs.path().join("netpath");
    fs::copy("/bin/sleep", &program).expect("copy");
    let looks = File::open(path_of(&lab.name("a1"))).expect("open");
    let mut looking = Command::new(&program)
        .arg("3")
        .stdin(looks)
        .spawn()
        .expect("start");
    let removed = provision::down_unless(&lab.nodes(), &AtomicBool::new(false), &mut |_| {});
    let removed = removed.unwrap_or_else(|error| panic!("{error}"));
    looking.wait().expect("it ends");
    assert_eq!(removed.remaining, []);
    lab.assert_nothing_left();
}

/// `netpath down` of the lab.
fn down(lab: &Lab) -> Output {
    let mut command = netpath(&["down", "-f", "-"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("start");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(lab.text().as_bytes()).expect("it reads");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

#[test]
fn the_command_says_so_and_exits_with_3() {
    let lab = Lab::up(ONE_NODE);
    let inside = Inside::new(&lab, "A");
    let output = down(&lab);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let words = format!(
        "namespace {} was removed, but lives on with what is in it: process {} (sleep) is in it",
        lab.name("A"),
        inside.pid()
    );
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains(&words), "{stderr}");
    drop(inside);
    lab.converge();
    let output = down(&lab);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// Theirs are left.
#[test]
fn a_machines_veths_go_together() {
    on_a_machine(|lab| {
        lab.converge();
        let before = lab.ip("H", "-o link");
        assert!(before.contains("va1") && before.contains("va2"), "{before}");
        lab.down();
        let after = lab.ip("H", "-o link");
        assert!(!after.contains("va1") && !after.contains("va2"), "{after}");
        assert!(after.contains("up0") && after.contains("br7"), "{after}");
    });
}
