//! One node's trouble is one row: a machine in another network namespace, or one that is gone. What hides nodes is said, and what
//! is not understood, or does not answer, stops nothing else.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    process::{Child, Command},
    time::{Duration, Instant},
};

use netpath::{
    counters,
    netns::Netns,
    provision::{self, FastPath, NodeStatus},
};
use netpath_tests::{
    lab::{Deadline, Lab, ONE_NODE, TWO_NODES, addresses, on_a_machine, run},
    netpath,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Of one node: what is wrong with it, and nothing of what is on it.
fn row(lab: &Lab, node: &str) -> (FastPath, Vec<&'static str>) {
    let nodes = provision::observe().unwrap_or_else(|error| panic!("{error}"));
    let name = lab.name(node);
    let found = nodes.into_iter().find(|node| node.name == name);
    let NodeStatus {
        fast_path, drift, ..
    } = found.unwrap_or_else(|| panic!("node {name}"));
    (fast_path, drift.iter().map(|finding| finding.id).collect())
}

#[test]
fn a_machine_in_another_namespace_is_one_row() {
    let other = Lab::up(ONE_NODE);
    other.assert_reaches("a1", addresses("a2")[0], 63);
    on_a_machine(|lab| {
        lab.converge();
        lab.assert_reaches("a1", addresses("b1")[0], 63);
        lab.inside("P", || {
            assert_eq!(row(lab, "H"), (FastPath::Unknown, vec!["other_namespace"]));
            assert_eq!(row(&other, "A"), (FastPath::On, vec![]));
            let counters = counters::read_all(None).expect("stats");
            assert!(counters.unread.is_empty(), "{:?}", counters.unread);
            for name in [lab.name("H"), other.name("A")] {
                assert!(counters.rows.iter().any(|row| row.node == name), "{name}");
            }
            assert_eq!(other.fast_path(false, "A", None).len(), 3);
            other.converge();
        });
        assert_eq!(row(lab, "H"), (FastPath::On, vec![]));
    });
}

/// A node on a machine that is a namespace of its own, without uplinks and routes.
const ALONE: &str = r#"
[[node]]
name = "@H"
netns = "host"
endpoint = [
    { name = "@a1", addresses = ["10.0.1.2/24"], host_dev = "va1" },
    { name = "@a2", addresses = ["10.0.2.2/24"], host_dev = "va2" },
]
"#;

#[test]
fn what_is_left_of_a_machine_that_is_gone_is_taken_down() {
    let other = Lab::up(ONE_NODE);
    let mut lab = Lab::prepare(ALONE);
    let machine = lab.foreign_namespace("H");
    machine.run(|| lab.converge()).expect("enter");
    // Without its name, but there: a process may still have it.
    Netns::remove(&lab.name("H")).expect("its name");
    assert_eq!(row(&lab, "H"), (FastPath::Unknown, vec!["other_namespace"]));
    let error = provision::down(&lab.nodes(), &mut |_| {}).expect_err("a refusal");
    assert!(
        error.to_string().contains("another network namespace"),
        "{error}"
    );
    drop(machine);
    // The kernel clears it up by and by.
    let deadline = Deadline::new();
    while row(&lab, "H").1 != ["namespace_dead"] {
        deadline.check(|| format!("{:?}", row(&lab, "H")));
    }
    assert_eq!(row(&other, "A"), (FastPath::On, vec![]));
    let error = lab.try_converge().expect_err("a refusal").to_string();
    assert!(error.contains("`netpath down`"), "{error}");
    let removed = lab.down();
    assert_eq!(
        removed,
        ["- node H: what is left of it: its network namespace is gone"]
    );
    assert_eq!(row(&other, "A"), (FastPath::On, vec![]));
    other.assert_reaches("a1", addresses("a2")[0], 63);
}

/// Gives an interface an alias that is no text.
fn alias(lab: &Lab, namespace: &str, dev: &str) {
    let netns = format!("--net=/run/netns/{}", lab.name(namespace));
    let words = [netns.as_str(), "ip", "link", "set", dev, "alias"];
    let mut command = Command::new("nsenter");
    let command = command.args(words).arg(OsStr::from_bytes(b"\xff\xfe"));
    assert!(command.status().expect("nsenter").success());
}

#[test]
fn an_alias_that_is_no_text_is_in_nobodys_way() {
    let lab = Lab::up(TWO_NODES);
    for (namespace, dev) in [
        ("A", "va1"),
        ("A", "up0"),
        ("A", "lo"),
        ("a1", "eth0"),
        ("B", "vb2"),
    ] {
        alias(&lab, namespace, dev);
    }
    for node in ["A", "B"] {
        assert_eq!(row(&lab, node), (FastPath::On, vec![]), "{node}");
    }
    assert_eq!(lab.plan(), Vec::<String>::new());
    lab.ip("A", "link del va2");
    assert_ne!(lab.converge(), Vec::<String>::new());
    for dst in addresses("a2") {
        lab.assert_reaches("a1", dst, 63);
    }
    lab.down();
    // On a machine veths are removed in a group of their own, which no other interface may have.
    on_a_machine(|lab| {
        lab.converge();
        for dev in ["up0", "br7", "va1"] {
            alias(lab, "H", dev);
        }
        assert_eq!(lab.plan(), Vec::<String>::new());
        lab.down();
        assert!(run("ip -o link show dev br7").contains("br7"));
    });
}

/// A process of the test's own, which is gone at its end.
struct Own(Child);

impl Own {
    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("it is there");
    }

    /// Waits for its end, so long at most. Returns its status.
    fn ends_within(&mut self, limit: Duration) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < limit {
            if let Some(status) = self.0.try_wait().expect("wait") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it did not end within {limit:?}");
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A netpath that is stopped while it has the lock: others say whom they wait for, signals end that, and what only reads
/// does not wait.
#[test]
fn a_stopped_netpath_keeps_nobody_from_reading_or_from_stopping() {
    let lab = Lab::up(ONE_NODE);
    let node = lab.name("A");
    let lock = std::path::Path::new("/run/netpath/topology.lock");
    let begun = Deadline::new();
    // It may be too quick to be caught.
    let mut holder = loop {
        let command = netpath(&["fastpath", "off", "--node", &node]).spawn();
        let holder = Own(command.expect("start netpath"));
        let attempt = Deadline::within(Duration::from_secs(2));
        while !holds(lock, holder.0.id()) && is_running(&holder.0) {
            attempt.check(|| "it neither holds the lock nor ends".to_owned());
        }
        holder.signal(Signal::SIGSTOP);
        if holds(lock, holder.0.id()) {
            break holder;
        }
        holder.signal(Signal::SIGCONT);
        begun.check(|| "no netpath was stopped with the lock".to_owned());
    };
    for arguments in [
        &["show"][..],
        &["stats", "--node", &node],
        &["maps", "--node", &node],
    ] {
        let mut reader = Own(netpath(arguments).spawn().expect("start netpath"));
        let status = reader.ends_within(Duration::from_secs(10));
        assert!(matches!(status, Some(0 | 3)), "{arguments:?}: {status:?}");
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let command = netpath(&["fastpath", "on", "--node", &node]).spawn();
        let mut waiting = Own(command.expect("start netpath"));
        std::thread::sleep(Duration::from_millis(300));
        assert!(is_running(&waiting.0), "it waits");
        waiting.signal(signal);
        assert_eq!(
            waiting.ends_within(Duration::from_secs(2)),
            Some(1),
            "{signal}"
        );
    }
    holder.signal(Signal::SIGCONT);
    assert_eq!(holder.ends_within(Duration::from_secs(10)), Some(0));
}

fn is_running(child: &Child) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

/// Whether a process has a file locked, as /proc/locks says.
fn holds(file: &std::path::Path, pid: u32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(found) = std::fs::metadata(file) else {
        return false;
    };
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let (pid, inode) = (format!(" {pid} "), format!(":{} ", found.ino()));
    locks
        .lines()
        .any(|line| line.contains("FLOCK") && line.contains(&pid) && line.contains(&inode))
}
