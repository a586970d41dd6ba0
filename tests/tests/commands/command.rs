//! The command as users and their scripts see it: exit statuses, messages, JSON, and what bpftool reads.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use netpath::{
    datapath::{Datapath, map_names},
    lock::TopologyLock,
    netns::Netns,
};
use netpath_common::{ABI_VERSION, Identity};
use netpath_tests::{
    BinaryCopy, binary,
    command::Programs,
    lab::{Deadline, Lab, TWO_NODES},
    netpath,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

const STATS: &str = include_str!("../../../docs/schema/stats.json");
const SHOW: &str = include_str!("../../../docs/schema/show.json");
const UP: &str = include_str!("../../../docs/schema/up.json");
const MAPS: &str = include_str!("../../../docs/schema/maps.json");
const DUMP: &str = include_str!("../../../docs/schema/maps-dump.json");

const ONE_NODE: &str = r#"
[[node]]
name = "@A"

[[node.endpoint]]
name = "@a1"
addresses = ["10.77.1.2/24", "fd77:1::2/64"]
host_dev = "va1"

[[node.endpoint]]
name = "@a2"
addresses = ["10.77.2.2/24", "fd77:2::2/64"]
host_dev = "va2"
"#;

/// A topology file that goes with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("netpath-{}-{name}", std::process::id()));
        fs::write(&path, text).expect("a temporary file");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        fs::remove_file(&self.0).expect("its own file");
    }
}

fn run(arguments: &[&str]) -> Output {
    netpath(arguments).output().expect("start netpath")
}

fn ends(output: &Output, status: i32, on_stderr: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    for part in on_stderr {
        assert!(stderr.contains(part), "no {part:?} in: {stderr}");
    }
}

fn json(output: &Output) -> Value {
    ends(output, 0, &[]);
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn bad_input_is_refused_with_file_line_and_remedy() {
    let file = File::new(
        "bad.toml",
        "[[node]]\nname = \"x/y\"\nspeed = 1\n\n[[node.endpoint]]\nname = \"..\"\naddresses = []\n",
    );
    let at = |line: u32| format!("{}:{line}: ", file.path());
    for command in ["up", "down"] {
        let output = run(&[command, "-f", file.path()]);
        ends(
            &output,
            2,
            &[&at(2), &at(3), &at(6), "unknown key", "use only"],
        );
    }
    ends(
        &run(&["up", "-f", "/nonexistent.toml"]),
        2,
        &["/nonexistent.toml", "no such file"],
    );
    ends(
        &run(&["maps", "dump", "nonesuch"]),
        2,
        &["nonesuch", "endpoints_v4"],
    );
    ends(&run(&["fly"]), 2, &["fly"]);
    ends(&run(&["stats", "--node", "nobody"]), 1, &["nobody"]);
}

/// What is not up is a failure, whatever command asks for it; what there can never be is wrong usage.
#[test]
fn what_is_not_found_ends_by_one_rule() {
    let lab = Lab::up(ONE_NODE);
    let (node, a1) = (lab.name("A"), lab.name("a1"));
    for arguments in [
        &["show", "nobody"][..],
        &["show", &node, "nobody"],
        &["down", "nobody"],
        &["down", &node, "nobody"],
        &["endpoint", "remove", "nobody"],
        &["endpoint", "remove", "nobody", "--node", &node],
        &["endpoint", "remove", &a1, "--node", "nobody"],
        &[
            "endpoint",
            "add",
            "x",
            "--node",
            "nobody",
            "--address",
            "10.77.9.2/24",
        ],
        &["trace", "nobody", "10.0.0.1"],
        &["trace", &a1, "nobody"],
        &["trace", "--endpoint", "nobody"],
        &["audit", "--node", "nobody"],
        &["explain", "nobody", &a1],
        &["explain", &a1, "nobody"],
        &["explain", "10.9.9.9", &a1, "--node", "nobody"],
        &["stats", "--node", "nobody"],
        &["flows", "--node", "nobody"],
        &["flows", "--endpoint", "nobody"],
        &["maps", "--node", "nobody"],
        &["maps", "dump", "hops", "--node", "nobody"],
        &["fastpath", "on", "--node", "nobody"],
        &["fastpath", "off", "--node", "nobody"],
        &["fastpath", "on", "--node", &node, "--endpoint", "nobody"],
    ] {
        ends(
            &run(arguments),
            1,
            &["nobody", "is up", "`netpath show` lists what is"],
        );
    }
    // Nothing was removed before the name that is nobody's was met.
    assert_eq!(lab.plan(), Vec::<String>::new());
    for arguments in [
        &["maps", "dump", "nobody"][..],
        &["up", "-f", "/nobody"],
        &["down", "-f", "/nobody"],
        &["show", "-f", "/nobody"],
        &["show", "-o", "nobody"],
        &["nobody"],
        &[
            "fastpath",
            "on",
            "--debug-datapath",
            "--debug-filter",
            "outcome=nobody",
        ],
    ] {
        ends(&run(arguments), 2, &["nobody"]);
    }
}

/// What has no meaning together is refused, and nothing is done with half of it.
#[test]
fn what_makes_no_sense_together_is_refused() {
    let lab = Lab::up(ONE_NODE);
    let (a1, a2) = (lab.name("a1"), lab.name("a2"));
    for port in ["--sport", "--dport"] {
        for command in ["explain", "trace"] {
            for arguments in [&[][..], &["--proto", "icmp"]] {
                let arguments = [&[command, &a1, &a2, port, "7"], arguments].concat();
                ends(
                    &run(&arguments),
                    2,
                    &["an ICMP echo has no ports", "--proto udp"],
                );
            }
        }
        let udp = ["explain", &a1, &a2, "--proto", "udp", port, "7"];
        // It says what becomes of the packet.
        assert!(!run(&udp).stdout.is_empty(), "{udp:?}");
    }
    let directory = std::env::temp_dir().join(format!("{}bugreport", lab.prefix()));
    fs::create_dir(&directory).expect("a directory");
    let mut netpath = netpath(&["bugreport", "--to", "-"]);
    let output = netpath.current_dir(&directory).output().expect("start");
    // It fails where something was written into it.
    fs::remove_dir(&directory).expect("an empty directory");
    ends(&output, 2, &["--to", "name a file"]);
    assert!(output.stdout.is_empty(), "{output:?}");
}

/// Each level says what the one before says, and more.
#[test]
fn what_is_said_grows_with_each_v() {
    let lab = Lab::prepare(ONE_NODE);
    let (node, file) = (lab.name("A"), File::new("said.toml", lab.text()));
    let said = |arguments: &[&str]| {
        let output = run(arguments);
        ends(&output, 0, &[]);
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let looked = format!("node {node}: looking at what is there");
    let made = format!("doing + endpoint {} on {node}", lab.name("a1"));
    let mut lines = Vec::new();
    for level in ["", "-v", "-vv", "-vvv"] {
        let mut arguments = vec!["up", "-f", file.path()];
        arguments.extend(Some(level).filter(|level| !level.is_empty()));
        let up = said(&arguments);
        let words = [&*looked, &made, "AddVeth", "netlink: make veth va1"];
        let found = words.map(|words| up.contains(words));
        let level = level.matches('v').count();
        let expected = [1, 1, 2, 3].map(|from| level >= from);
        assert_eq!(found, expected, "{level}: {up}");
        // Another lab may have it say that it waits.
        let own = up.lines().filter(|line| !line.contains("another netpath"));
        lines.push(own.count());
        arguments[0] = "down";
        ends(&run(&arguments), 0, &[]);
    }
    assert!(lines.is_sorted() && lines[0] == 0, "{lines:?}");
    lab.converge();
    let shown = said(&["show", "-f", file.path(), "-v"]);
    assert!(shown.contains(&looked), "{shown}");
    let counted = said(&["stats", "--node", &node, "-v"]);
    assert!(
        counted.contains(&format!("reading the counters of node {node}")),
        "{counted}"
    );
}

#[test]
fn without_root_one_line_says_so() {
    let copy = BinaryCopy::new();
    for arguments in [
        &["up"][..],
        &["down"],
        &["show"],
        &["stats"],
        &["flows"],
        &["demo"],
        &["bench"],
    ] {
        let output = Command::new(copy.path())
            .args(arguments)
            .uid(65534)
            .gid(65534)
            .output()
            .expect("start as nobody");
        ends(&output, 2, &["netpath: lacks CAP_SETUID", "CAP_SYS_PTRACE"]);
        assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
    }
}

/// A document as docs/schema describes it.
fn is_of_schema(schema: &str, document: &Value) {
    let schema = serde_json::from_str(schema).expect("JSON");
    jsonschema::draft202012::validate(&schema, document)
        .unwrap_or_else(|error| panic!("{error}: {document}"));
}

#[test]
fn up_show_stats_and_down_speak_json() {
    let lab = Lab::prepare(ONE_NODE);
    let file = File::new("one.toml", lab.text());
    let node = lab.name("A");
    let planned = json(&run(&["up", "-f", file.path(), "--dry-run", "-j"]));
    is_of_schema(UP, &planned);
    assert_eq!(planned["changes"].as_array().map(Vec::len), Some(3));
    assert!(lab.leftovers().is_empty(), "a dry run touches nothing");
    let done = json(&run(&["up", "-f", file.path(), "-j"]));
    is_of_schema(UP, &done);
    assert_eq!(done["changes"], planned["changes"]);
    let again = json(&run(&["up", "-f", file.path(), "-j"]));
    assert_eq!(again["changes"].as_array().map(Vec::len), Some(0));

    let shown = json(&run(&["show", "-f", file.path(), "-j"]));
    is_of_schema(SHOW, &shown);
    assert_eq!(shown["nodes"][0]["name"], node.as_str());
    assert_eq!(shown["nodes"][0]["fast_path"], "on");
    assert_eq!(
        shown["nodes"][0]["endpoints"].as_array().map(Vec::len),
        Some(2)
    );

    lab.assert_reaches("a1", "10.77.2.2".parse().expect("an address"), 63);
    let stats = json(&run(&["stats", "--node", &node, "-j"]));
    is_of_schema(STATS, &stats);
    let row = stats["hops"]
        .as_array()
        .and_then(|rows| {
            rows.iter()
                .find(|row| row["ingress"] == "va1" && row["egress"] == "va2")
        })
        .expect("the row of the pings");
    let keys: Vec<&String> = row.as_object().expect("a row").keys().collect();
    let documented = [
        "node", "ingress", "egress", "endpoint", "outcome", "reason", "packets", "bytes",
    ];
    let mut sorted = documented;
    sorted.sort_unstable();
    assert!(keys == documented || keys == sorted, "{keys:?}");
    assert_eq!(
        (&row["outcome"], &row["packets"]),
        (&"redirect_peer".into(), &3.into())
    );
    assert_eq!(row["reason"], Value::Null);
    assert_eq!(row["endpoint"], lab.name("a1").as_str());

    // Damage is shown, and told by the exit status.
    lab.ip("A", "link set va1 down");
    let output = run(&["show", "-f", file.path()]);
    let endpoint = format!("endpoint {} on {node}", lab.name("a1"));
    let cure = format!("`netpath up -f {}` mends it", file.path());
    let line = format!("{endpoint}: interface va1 is down: {cure}");
    ends(&output, 3, &[&line]);
    let output = run(&["show", "-f", file.path(), "-j"]);
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    is_of_schema(SHOW, &shown);
    let endpoints = shown["nodes"][0]["endpoints"].as_array();
    let mut endpoints = endpoints.expect("endpoints").iter();
    let a1 = endpoints.find(|it| it["name"] == lab.name("a1").as_str());
    let finding = serde_json::json!({
        "id": "interface_down", "object": endpoint, "problem": "interface va1 is down",
        "cure": cure
    });
    let drift = a1.expect("a1")["drift"].as_array().expect("a list");
    assert!(drift.contains(&finding), "{drift:?}");

    let removed = json(&run(&["down", "-f", file.path(), "-j"]));
    assert_eq!(removed["changes"].as_array().map(Vec::len), Some(3));
    lab.assert_nothing_left();
}

/// One node's trouble, and what the others were changed all the same is told, and was no refusal.
#[test]
fn a_failure_tells_what_was_done_before_it() {
    let lab = Lab::up(TWO_NODES);
    let file = File::new("two.toml", lab.text());
    let datapath = lab.datapath("B");
    let identity = datapath.maps.meta.get().expect("identity");
    write(
        &datapath,
        &Identity {
            abi_version: ABI_VERSION + 1,
            ..identity
        },
    );
    let output = run(&["down", "-f", file.path(), "-j"]);
    ends(&output, 1, &["newer netpath", &lab.name("B")]);
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    is_of_schema(UP, &document);
    assert_eq!(document["failed"], true);
    let changes = document["changes"].as_array().expect("changes");
    let is_a = |change: &Value| change["node"] == lab.name("A").as_str();
    assert!(
        !changes.is_empty() && changes.iter().all(is_a),
        "{document}"
    );
    // Nothing was done: a refusal.
    let output = run(&["down", "-f", file.path(), "-j"]);
    ends(&output, 2, &["newer netpath"]);
    assert!(output.stdout.is_empty(), "{output:?}");
    write(&datapath, &identity);
}

fn write(datapath: &Datapath, identity: &Identity) {
    let lock = TopologyLock::take(&AtomicBool::new(false)).expect("the lock");
    datapath.writer(&lock).meta.set(identity).expect("write");
}

#[test]
fn maps_are_documents_with_a_version() {
    let lab = Lab::up(ONE_NODE);
    lab.assert_reaches("a1", "10.77.2.2".parse().expect("an address"), 63);
    let node = lab.name("A");
    let maps = json(&run(&["maps", "--node", &node, "-j"]));
    is_of_schema(MAPS, &maps);
    assert_eq!(
        maps["maps"].as_array().map(Vec::len),
        Some(map_names().count())
    );
    for map in map_names() {
        let dump = json(&run(&["maps", "dump", map, "--node", &node, "-j"]));
        is_of_schema(DUMP, &dump);
        assert_eq!((&dump["map"], &dump["version"]), (&map.into(), &1.into()));
    }
}

#[test]
fn what_is_not_up_is_told_with_the_node_that_was_named() {
    let lab = Lab::up(TWO_NODES);
    let [a1, b] = ["a1", "B"].map(|name| lab.name(name));
    let output = run(&["fastpath", "off", "--endpoint", &a1, "--node", &b]);
    ends(
        &output,
        1,
        &[&format!("no endpoint {a1} on node {b} is up")],
    );
}

/// As `up` and `down` do.
#[test]
fn show_raises_its_limit_of_open_files() {
    let lab = Lab::up(TWO_NODES);
    let file = File::new("limit.toml", lab.text());
    let output = Command::new("sh")
        .args(["-c", "ulimit -Sn 20; exec \"$0\" show -f \"$1\""])
        .args([binary().as_os_str(), file.0.as_os_str()])
        .output();
    ends(&output.expect("start"), 0, &[]);
}

/// What more there is to do can only be told when the pins are mended, and that is said.
#[test]
fn a_dry_run_says_where_more_may_follow() {
    let lab = Lab::up(ONE_NODE);
    let file = File::new("follow.toml", lab.text());
    let node = lab.name("A");
    let pins = lab.datapath("A").directory().to_owned();
    lab.ip("A", "link set va1 down");
    let output = run(&["up", "-f", file.path(), "-n"]);
    ends(&output, 0, &[]);
    assert!(output.stderr.is_empty(), "{output:?}");
    for pin in ["maps/hops", "programs/to_endpoint"] {
        fs::remove_file(pins.join(pin)).expect("unpin");
        let output = run(&["up", "-f", file.path(), "-n"]);
        ends(
            &output,
            0,
            &[&format!("node {node}: more changes may follow")],
        );
    }
    let done = json(&run(&["up", "-f", file.path(), "-j"]));
    assert_eq!(done["changes"].as_array().map(Vec::len), Some(2));
    assert_eq!(lab.plan(), Vec::<String>::new());
}

#[test]
fn waiting_for_another_netpath_is_told_with_its_process() {
    let lock = TopologyLock::take(&AtomicBool::new(false)).expect("the lock");
    let mut netpath = netpath(&["fastpath", "off", "--node", "nobody"]);
    let mut child = netpath.stderr(Stdio::piped()).spawn().expect("start");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("text");
    let who = format!(
        "another netpath is at work (process {})",
        std::process::id()
    );
    assert!(line.contains(&who), "{line}");
    drop(lock);
    let rest: Vec<String> = stderr.lines().map(|line| line.expect("text")).collect();
    assert_eq!(
        rest,
        ["netpath: no node nobody is up: `netpath show` lists what is"]
    );
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
}

#[test]
fn bpftool_prints_the_fields_of_pinned_maps_by_name() {
    let lab = Lab::up(ONE_NODE);
    let directory = lab.datapath("A").directory().join("maps");
    let fields = [
        (
            "endpoints_v4",
            &["ifindex", "id", "endpoint_mac", "host_mac"][..],
        ),
        (
            "endpoints_v6",
            &["ifindex", "id", "endpoint_mac", "host_mac"],
        ),
        (
            "interfaces",
            &["kind", "state", "endpoint_id", "name", "endpoint"],
        ),
        ("meta", &["abi_version", "netns_cookie", "name"]),
        ("settings", &["fast_path", "max_endpoints"]),
        (
            "endpoint_records",
            &["netns_cookie", "host_dev", "origin", "addresses"],
        ),
    ];
    for (map, fields) in fields {
        let output = Command::new("bpftool")
            .args(["-j", "map", "dump", "pinned"])
            .arg(directory.join(map))
            .output()
            .expect("bpftool: `cargo xtask setup` installs it");
        assert!(output.status.success(), "{map}: {output:?}");
        let entries: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let value = match &entries[0]["formatted"]["value"] {
            Value::Null => &entries[0]["value"],
            value => value,
        };
        for field in fields {
            assert!(value.get(field).is_some(), "no {field} in {map}: {value}");
        }
    }
}

/// A smaller room is not had before `down`, and that is said.
#[test]
fn a_smaller_room_is_told() {
    let text =
        |room: &str| ONE_NODE.replacen("name = \"@A\"", &format!("name = \"@A\"\n{room}"), 1);
    let mut lab = Lab::up(&text("max_endpoints = 100\nmax_routes = 300"));
    let up = |lab: &Lab| {
        let file = File::new("room.toml", lab.text());
        let output = run(&["up", "-f", file.path()]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    assert!(!up(&lab).contains("max_"), "as it is");
    lab.rewrite(&text("max_endpoints = 99\nmax_routes = 200"));
    let told = up(&lab);
    for part in [
        "max_endpoints of 100, though the file says 99",
        "max_routes of 300, though the file says 200",
    ] {
        assert!(told.contains(part), "no {part:?} in: {told}");
    }
    lab.rewrite(&text("max_endpoints = 120\nmax_routes = 300"));
    assert!(!up(&lab).contains("max_"), "it grows");
}

/// Starts a command, and waits until it reads a file from stdin, which is held open, so that there is more to come.
fn reads_its_file(command: &str) -> (Child, ChildStdin) {
    let mut netpath = netpath(&[command, "-f", "-"]);
    let mut child = netpath.stdin(Stdio::piped()).spawn().expect("start");
    let stdin = child.stdin.take().expect("piped");
    let deadline = Deadline::new();
    let call = format!("/proc/{}/syscall", child.id());
    // read(2) from stdin.
    while !fs::read_to_string(&call)
        .expect("its system call")
        .starts_with("0 0x0 ")
    {
        deadline.check(|| "it does not read its file".to_owned());
    }
    (child, stdin)
}

fn send(signal: Signal, child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    kill(pid, signal).expect("kill");
}

/// A command that changes something is told of a signal at any moment, also while it reads its file.
#[test]
fn a_signal_before_anything_was_begun_is_said() {
    for command in ["up", "down"] {
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            let (child, stdin) = reads_its_file(command);
            send(signal, &child);
            let output = child.wait_with_output().expect("it ends");
            drop(stdin);
            ends(&output, 1, &["netpath: interrupted"]);
        }
    }
}

/// Whoever waits for a program that does not end can end it, and with it what the program has started. `up` then undoes what it
/// has begun.
#[test]
fn a_signal_ends_the_wait_for_a_program() {
    let text = ONE_NODE.replacen(
        "name = \"@A\"",
        "name = \"@A\"\nforward_policy = \"drop\"",
        1,
    );
    // Before anything is made, and after the namespace is there.
    for (stuck_at, is_begun) in [("--version", false), ("-P FORWARD", true)] {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let lab = Lab::prepare(&text);
            let file = File::new("stuck.toml", lab.text());
            let programs = Programs::none();
            let stuck = programs.path().join("stuck");
            let sleep = format!(
                "case \"$*\" in *'{stuck_at}'*) : > {}; sleep 100;; esac",
                stuck.display()
            );
            programs.add("iptables", &sleep);
            let mut netpath = netpath(&["up", "-f", file.path()]);
            netpath.env("PATH", programs.path_first());
            let child = netpath.stdin(Stdio::null()).spawn().expect("start");
            let deadline = Deadline::new();
            while !stuck.exists() {
                deadline.check(|| format!("{stuck_at} is not asked for"));
            }
            let namespace = Netns::named(&lab.name("A"));
            assert_eq!(namespace.is_ok(), is_begun, "{stuck_at}");
            let begun = Instant::now();
            send(signal, &child);
            let output = child.wait_with_output().expect("it ends");
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(5), "{stuck_at}: {took:?}");
            ends(&output, 1, &["interrupted"]);
            lab.assert_nothing_left();
        }
    }
}

/// One that only reads ends as every process does.
#[test]
fn a_signal_ends_what_waits_for_its_file() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let (mut child, stdin) = reads_its_file("show");
        send(signal, &child);
        let status = child.wait().expect("it ends");
        drop(stdin);
        assert_eq!(status.signal(), Some(signal as i32), "{status:?}");
    }
}

/// Also where nobody takes what it says.
#[test]
fn a_signal_ends_what_only_reads() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    // As long as nobody reads, it is stuck once the pipe is full.
    let filled = vec![b'x'; 1 << 16];
    (&writer).write_all(&filled).expect("the pipe's room");
    let mut netpath = netpath(&["man"]);
    let mut child = netpath.stdout(writer).spawn().expect("start");
    let deadline = Deadline::new();
    let call = format!("/proc/{}/syscall", child.id());
    // write(2) to stdout.
    while !fs::read_to_string(&call)
        .expect("its system call")
        .starts_with("1 0x1 ")
    {
        deadline.check(|| "it does not write".to_owned());
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    kill(pid, Signal::SIGINT).expect("kill");
    let status = child.wait().expect("it ends");
    drop(reader);
    assert_eq!(status.signal(), Some(Signal::SIGINT as i32));
}
