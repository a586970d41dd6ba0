//! One node's trouble is one row: a machine in another network namespace, or one that is gone. What hides nodes is said, and what
//! is not understood, or does not answer, stops nothing else.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::ffi::OsStrExt as _,
    process::{Child, Command},
    time::{Duration, Instant},
};

use netpath::{
    counters,
    netns::{Netns, NetnsError},
    provision::{self, FastPath, NodeStatus, ProvisionError, Selection, UpOptions},
};
use netpath_tests::{
    lab::{Deadline, Lab, ONE_NODE, TWO_NODES, addresses, on_a_machine, on_its_own, run},
    netpath,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Of one node: what is wrong with it, and nothing of what is on it.
fn row(lab: &Lab, node: &str) -> (FastPath, Vec<&'static str>) {
    let NodeStatus {
        fast_path, drift, ..
    } = lab.status(node);
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
            let error = lab.try_converge().expect_err("a refusal").to_string();
            let there = format!("`nsenter --net=/run/netns/{} netpath", lab.name("H"));
            assert!(error.contains(&there), "{error}");
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

/// Where a node is that has not the endpoint is no matter; where one is that has it is told.
#[test]
fn an_endpoint_is_switched_whatever_node_is_elsewhere() {
    let other = Lab::up(ONE_NODE);
    on_a_machine(|lab| {
        lab.converge();
        lab.inside("P", || {
            let switch = |endpoint: &str| {
                let selection = Selection {
                    endpoint: Some(endpoint.to_owned()),
                    ..Selection::default()
                };
                let changes = provision::set_fast_path(false, &selection, &mut |_| {});
                changes.map(|changes| other.words(&changes))
            };
            let switched = switch(&other.name("a1")).expect("it is here");
            assert_eq!(switched, ["~ fast path va1 on A: off"]);
            let error = switch(&lab.name("a1")).expect_err("it is on the machine");
            let there = format!("`nsenter --net=/run/netns/{} netpath", lab.name("H"));
            assert!(error.to_string().contains(&there), "{error}");
            let error = switch(&lab.name("nobody")).expect_err("it is nowhere");
            assert!(matches!(error, ProvisionError::NotUp { .. }), "{error}");
        });
        assert_eq!(row(lab, "H"), (FastPath::On, vec![]));
    });
}

/// Who switches all that is up switches what is here, and is told of a machine that is elsewhere. Other tests' labs are up too, so
/// this one has mounts of its own.
#[test]
fn all_are_switched_but_a_machine_elsewhere() {
    on_its_own("only_what_is_here_is_switched", "true");
}

#[test]
#[ignore = "where nothing else is up"]
fn only_what_is_here_is_switched() {
    let other = Lab::up(ONE_NODE);
    on_a_machine(|lab| {
        lab.converge();
        lab.inside("P", || {
            let all = Selection::default();
            let told = provision::set_fast_path_telling(false.into(), &all, &mut |_| {});
            let told = told.expect("what is here is switched");
            assert_eq!(row(&other, "A").0, FastPath::Off);
            let ids: Vec<&str> = told.findings.iter().map(|finding| finding.id).collect();
            assert!(ids.contains(&"other_namespace"), "{ids:?}");
        });
        assert_eq!(row(lab, "H"), (FastPath::On, vec![]));
    });
}

/// `ip netns del` and `ip netns add` of a name make another namespace.
#[test]
fn another_namespace_under_a_name_is_not_it() {
    let lab = Lab::up(ONE_NODE);
    let words = |lab: &Lab, name: &str| {
        let error = lab.try_converge().expect_err("a refusal").to_string();
        let name = lab.name(name);
        let replaced = format!("network namespace {name} is not the one that netpath made");
        let cure = format!("`ip netns del {name}`");
        assert!(
            error.contains(&replaced) && error.contains(&cure),
            "{error}"
        );
    };
    for (name, object) in [("a1", "endpoint a1 on A"), ("A", "node A")] {
        Netns::remove(&lab.name(name)).expect(name);
        let another = Netns::create(&lab.name(name), |_| Ok::<(), NetnsError>(()));
        drop(another.expect(name));
        // The kernel takes its time to clear up what was there.
        let replaced = format!("namespace_replaced of {object}");
        let deadline = Deadline::new();
        loop {
            let told = lab.shown("A");
            if told.contains(&replaced) {
                break;
            }
            deadline.check(|| format!("{told:?}"));
        }
        words(&lab, name);
        // What it says helps.
        Netns::remove(&lab.name(name)).expect(name);
        lab.converge();
        assert_eq!(lab.shown("A"), Vec::<String>::new());
        for dst in addresses("a2") {
            lab.assert_reaches("a1", dst, 63);
        }
    }
    // And so does the other; until then nothing is removed.
    Netns::remove(&lab.name("A")).expect("A");
    let other = Netns::create(&lab.name("A"), |_| Ok::<(), NetnsError>(())).expect("A");
    let error = provision::down(&lab.nodes(), &mut |_| {}).expect_err("a refusal");
    assert!(error.to_string().contains("`ip netns del"), "{error}");
    let there = Netns::named(&lab.name("A")).expect("it is left alone");
    assert_eq!(
        there.cookie().expect("a cookie"),
        other.cookie().expect("a cookie")
    );
    Netns::remove(&lab.name("A")).expect("A");
    lab.down();
}

/// A node on a machine that is a namespace of its own, without uplinks and routes.
const ALONE: &str = r#"
[[node]]
name = "@H"
netns = "host"
bypass = ["forward"]
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
    let advice = format!("`netpath down {}`", lab.name("H"));
    assert!(error.contains(&advice), "{error}");
    let removed = lab.down();
    assert_eq!(
        removed,
        ["- node H: what is left of it: its network namespace is gone"]
    );
    assert_eq!(row(&other, "A"), (FastPath::On, vec![]));
    other.assert_reaches("a1", addresses("a2")[0], 63);
}

/// Nothing finds it, but its interfaces are there: a socket keeps it.
#[test]
fn a_machine_that_only_a_socket_keeps_is_not_gone() {
    let mut lab = Lab::prepare(ALONE);
    let machine = lab.foreign_namespace("H");
    machine.run(|| lab.converge()).expect("enter");
    let socket = machine.run(|| std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket"));
    let socket = socket.expect("enter");
    Netns::remove(&lab.name("H")).expect("its name");
    drop(machine);
    for _ in 0..20 {
        assert_eq!(row(&lab, "H").1, ["other_namespace"]);
        std::thread::sleep(Duration::from_millis(25));
    }
    drop(socket);
    let deadline = Deadline::new();
    while row(&lab, "H").1 != ["namespace_dead"] {
        deadline.check(|| format!("{:?}", row(&lab, "H")));
    }
    lab.down();
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

/// `ip` with words that are no text.
fn ip(words: &[&[u8]]) {
    let mut command = Command::new("ip");
    let words = words.iter().map(|word| OsStr::from_bytes(word));
    assert!(command.args(words).status().expect("ip").success());
}

#[test]
fn a_name_that_is_no_text_is_in_nobodys_way() {
    const NAME: &[u8] = b"\xff\xfe\xfd";
    on_a_machine(|lab| {
        ip(&[b"link", b"add", b"name", NAME, b"type", b"bridge"]);
        ip(&[b"addr", b"add", b"192.0.3.1/24", b"dev", NAME]);
        ip(&[b"link", b"set", NAME, b"up"]);
        // An uplink may be called by another name of its, but rules and settings go by the kernel's.
        ip(&[
            b"link",
            b"property",
            b"add",
            b"dev",
            NAME,
            b"altname",
            b"wan0",
        ]);
        let links = || run("ip -br link") + &run("ip -br addr");
        let (text, before) = (lab.text().to_owned(), links());
        lab.edit(
            "uplink = [{ dev = \"up0\"",
            "uplink = [{ dev = \"wan0\" }, { dev = \"up0\"",
        );
        for result in [
            lab.try_converge(),
            provision::plan(lab.topology(), &UpOptions::default()),
        ] {
            let error = result.expect_err("it has no name that is text").to_string();
            let told = error.contains("wan0") && error.contains("its name is not UTF-8");
            assert!(told, "{error}");
        }
        assert_eq!(links(), before);
        lab.rewrite(&text);
        lab.converge();
        assert_eq!(row(lab, "H"), (FastPath::On, vec![]));
        assert_eq!(lab.plan(), Vec::<String>::new());
        for dst in addresses("b1") {
            lab.assert_reaches("a1", dst, 63);
        }
        lab.down();
        ip(&[b"link", b"del", NAME]);
    });
}

/// A file that goes with the test.
struct File(std::path::PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
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

/// A node with so many endpoints that its `up` can be stopped half-way.
fn many() -> String {
    let endpoint = |number| {
        format!(
            "[[node.endpoint]]\nname = \"@a{number}\"\naddresses = [\"10.91.{number}.2/24\"]\nhost_dev = \"va{number}\"\n"
        )
    };
    let endpoints: String = (1..=40).map(endpoint).collect();
    format!("[[node]]\nname = \"@A\"\n{endpoints}")
}

/// A netpath that is stopped while it has the lock: signals end the wait of others, and what only reads does not wait.
#[test]
fn a_stopped_netpath_keeps_nobody_from_reading_or_from_stopping() {
    let (other, lab) = (Lab::up(ONE_NODE), Lab::prepare(&many()));
    let node = other.name("A");
    let path = File(std::env::temp_dir().join(format!("{}many.toml", lab.prefix())));
    std::fs::write(&path.0, lab.text()).expect("a temporary file");
    let file = path.0.to_str().expect("UTF-8");
    let mut holder = Own(netpath(&["up", "-f", file]).spawn().expect("start netpath"));
    let mut stdout = BufReader::new(holder.0.stdout.take().expect("it is piped"));
    let mut first = String::new();
    stdout.read_line(&mut first).expect("its first change");
    holder.signal(Signal::SIGSTOP);
    assert!(first.starts_with("+ node"), "{first}");
    assert!(is_running(&holder.0), "it is at work");
    let node_of_it = lab.name("A");
    for arguments in [
        &["show"][..],
        &["stats", "--node", &node],
        &["maps", "--node", &node_of_it],
    ] {
        let mut reader = Own(netpath(arguments).spawn().expect("start netpath"));
        let status = reader.ends_within(Duration::from_secs(20));
        assert!(matches!(status, Some(0 | 3)), "{arguments:?}: {status:?}");
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let command = netpath(&["fastpath", "off", "--node", &node]).spawn();
        let mut waiting = Own(command.expect("start netpath"));
        let mut stderr = BufReader::new(waiting.0.stderr.take().expect("it is piped"));
        let mut said = String::new();
        stderr.read_line(&mut said).expect("what it waits for");
        assert!(said.contains("waiting for it to end"), "{said}");
        waiting.signal(signal);
        assert_eq!(
            waiting.ends_within(Duration::from_secs(5)),
            Some(1),
            "{signal}"
        );
    }
    holder.signal(Signal::SIGCONT);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("the other changes");
    assert_eq!(
        holder.ends_within(Duration::from_secs(60)),
        Some(0),
        "{rest}"
    );
    assert_eq!(
        row(&other, "A"),
        (FastPath::On, vec![]),
        "nothing of what was interrupted"
    );
}

fn is_running(child: &Child) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}
