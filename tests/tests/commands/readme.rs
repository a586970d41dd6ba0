//! README's example is the file that `netpath init` prints, and its sessions run as they are printed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use netpath::{capabilities::Work, model::BUILTIN_LAB, netns::Netns};
use netpath_tests::{
    BinaryCopy,
    command::{TempFile, assert_ends, run_netpath, stdout},
    lab::{BuiltinLab, builtin_left_behind, on_a_machine, portrait, run},
    netpath,
    sessions::{Directory, block, play, sessions},
};

/// Set to write the example into README.
const WRITE: &str = "NETPATH_WRITE";

/// Marks of the sessions that tests here run.
const RUN: [&str; 2] = ["runs in a lab", "runs on a machine"];

fn readme() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")
}

fn text() -> String {
    fs::read_to_string(readme()).expect("README.md")
}

#[test]
fn the_example_is_what_init_prints() {
    for words in [&["init"][..], &["init", "--lab"]] {
        let output = netpath(words).output().expect("start netpath");
        assert!(output.status.success(), "{output:?}");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(printed, BUILTIN_LAB, "{words:?}");
    }
    let mut text = text();
    let (start, example) = block(&text, 0, "toml");
    let end = start + example.len();
    if env::var_os(WRITE).is_some() && example != BUILTIN_LAB {
        text.replace_range(start..end, BUILTIN_LAB);
        fs::write(readme(), &text).expect("it can be written");
    }
    let (_, example) = block(&text, 0, "toml");
    assert_eq!(example, BUILTIN_LAB, "write it with {WRITE}=1");
}

#[test]
fn what_each_command_needs_is_what_it_asks_for() {
    let rows = Work::ALL.into_iter().map(|work| {
        let code = |words: Vec<String>| {
            let words: Vec<String> = words.iter().map(|it| format!("`{it}`")).collect();
            words.join(", ")
        };
        let commands = work.commands().iter().map(ToString::to_string);
        let needs = work.needs().iter().map(ToString::to_string);
        format!(
            "| {} | {} |\n",
            code(commands.collect()),
            code(needs.collect())
        )
    });
    let rows: String = rows.collect();
    let heading = "| command | needs |\n|---|---|\n";
    let own = |text: &str| {
        let start = text.find(heading).expect("a table") + heading.len();
        let end = text[start..].find("\n\n").expect("an end");
        start..start + end + 1
    };
    let mut text = text();
    if env::var_os(WRITE).is_some() && text[own(&text)] != rows {
        let own = own(&text);
        text.replace_range(own, &rows);
        fs::write(readme(), &text).expect("it can be written");
    }
    assert_eq!(text[own(&text)], rows, "write it with {WRITE}=1");
}

#[test]
fn the_beginning_works_as_printed() {
    let text = text();
    let steps = sessions(&text, RUN[0]);
    let _lab = BuiltinLab::take();
    let _gone = ContainerGone;
    play(&steps, &Directory::new("lab"));
    assert_eq!(builtin_left_behind(), Vec::<PathBuf>::new());
}

#[test]
fn the_lab_that_init_prints_comes_up() {
    let _lab = BuiltinLab::take();
    let printed = netpath(&["init", "--lab"]).output().expect("start");
    let file = TempFile::new(&stdout(&printed));
    for words in [
        &["up", "-f", file.path()][..],
        &["doctor", "-f", file.path()],
    ] {
        assert_ends(&run_netpath(words), 0, &[]);
    }
    let up = Netns::named("demo01").expect("an endpoint of the built-in lab");
    for dst in ["10.0.4.2", "fd00:4::2"] {
        let line = format!("ping -c 1 -W 5 {dst}");
        let reply = up.run(|| run(&line)).expect("enter");
        // FORWARD drops on both nodes on the way.
        assert!(reply.contains("ttl=62"), "{reply}");
    }
    drop(up);
    // As the built-in lab, by its names.
    assert_ends(&run_netpath(&["down"]), 0, &[]);
    assert_eq!(builtin_left_behind(), Vec::<PathBuf>::new());
}

#[test]
fn what_is_told_of_the_built_in_lab_is_80_columns_wide() {
    const LOOKS: [&str; 15] = [
        "show",
        "show --brief",
        "show demo01",
        "show node03",
        "stats",
        "stats --by endpoint",
        "stats --by interface",
        "stats --by reason",
        "flows",
        "maps",
        "audit",
        "doctor",
        "explain demo01 demo03",
        "explain demo01 192.0.2.1",
        "trace demo01 demo03",
    ];
    let _lab = BuiltinLab::take();
    assert_ends(&run_netpath(&["up"]), 0, &[]);
    for mode in ["on", "off", "shadow"] {
        run_netpath(&["fastpath", mode]);
        for look in LOOKS {
            let words: Vec<&str> = look.split(' ').collect();
            let told = stdout(&run_netpath(&words));
            assert!(!told.is_empty() || look == "flows", "{look}");
            for line in told.lines() {
                assert!(line.chars().count() <= 80, "{look}, {mode}: {line}");
            }
        }
    }
    assert_ends(&run_netpath(&["down"]), 0, &[]);
}

/// Blocks that no test types as they stand, by how they begin, and why.
const NOT_TYPED: [(&str, &str); 5] = [
    (
        "# cargo xtask run ",
        "builds everything and runs every test",
    ),
    (
        "1/6  ",
        "what `netpath demo` prints: the test `demo` runs it",
    ),
    (
        "# cargo xtask install\n",
        "installs into the machine, for systemd",
    ),
    (
        "# netpath init > lab.toml         #",
        "the commands, of which some never end",
    ),
    (
        "icmp echo request ",
        "what `netpath trace` prints: `lab_trace` judges it",
    ),
];

#[test]
fn every_console_block_is_run_or_named() {
    let text = text();
    let program = BinaryCopy::new();
    let fence = "```console\n";
    let mut named = Vec::new();
    let mut lines = 0;
    for (at, _) in text.match_indices(fence) {
        let (_, shown) = block(&text, at, "console");
        let before = text[..at].lines().next_back().unwrap_or_default();
        if before.starts_with("<!-- runs ") {
            let mark = before.trim_start_matches("<!-- ").trim_end_matches(" -->");
            assert!(RUN.contains(&mark), "no test runs {before}");
            continue;
        }
        let begin = NOT_TYPED.iter().map(|(begin, _)| *begin);
        let begin: Vec<&str> = begin.filter(|begin| shown.starts_with(begin)).collect();
        assert_eq!(begin.len(), 1, "neither run nor named:\n{shown}");
        named.extend(begin);
        for line in shown.lines() {
            // As they are typed, and as the demo tells them.
            let line = line
                .trim_start()
                .trim_start_matches(['#', '$'])
                .trim_start();
            if let Some(words) = line.strip_prefix("netpath ") {
                assert_parses(&program, words);
                lines += 1;
            }
        }
    }
    assert_eq!(named.len(), NOT_TYPED.len(), "{named:?}");
    assert!(lines > 20, "{lines} lines");
}

/// Run by nobody, who may do nothing: netpath reads the whole line, and then refuses or looks.
fn assert_parses(program: &BinaryCopy, line: &str) {
    let words = line.split_whitespace();
    let words = words.take_while(|word| !["#", ">", "|", ";", "&&"].contains(word));
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command
        .args(["--bounding-set=-all", "--"])
        .arg(program.path());
    // Where nobody can write: of `bugreport` too.
    command.current_dir("/");
    let output = command.args(words).stdin(Stdio::null()).output();
    let output = output.expect("setpriv");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!told.contains("Usage: "), "netpath {line}: {told}");
}

/// Removes the container of a lab's session, also where that failed half-way.
struct ContainerGone;

impl Drop for ContainerGone {
    fn drop(&mut self) {
        if Path::new("/run/netns/web1").exists() {
            run("ip netns del web1");
        }
    }
}

/// Removes what the session made, also where it failed half-way.
struct PodsGone(PathBuf);

impl Drop for PodsGone {
    fn drop(&mut self) {
        if Path::new("/run/netns/pod01").exists() {
            let file = self.0.display().to_string();
            let _removed = netpath(&["down", "-f", &file]).output();
        }
    }
}

#[test]
fn on_a_real_machine_it_works_as_printed() {
    let text = text();
    let steps = sessions(&text, RUN[1]);
    // Some of the lab's session is about all that is up.
    let _lab = BuiltinLab::take();
    on_a_machine(|_lab| {
        run("ip route add default via 100.100.198.253");
        run("ip -6 route add default via fd00:198::253");
        let machine = Netns::current().expect("namespace");
        let before = portrait(&machine);
        let directory = Directory::new("machine");
        let gone = PodsGone(directory.0.join("pods.toml"));
        play(&steps, &directory);
        drop(gone);
        assert_eq!(portrait(&machine), before, "after the session");
    });
}

#[test]
fn a_machines_file_is_of_what_it_has() {
    on_a_machine(|_lab| {
        let printed = || {
            let output = netpath(&["init", "--host"])
                .output()
                .expect("start netpath");
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).expect("text")
        };
        // Without a default route no interface is known to lead to other nodes.
        let text = printed();
        assert!(
            text.contains("\n#[[node.uplink]]") && text.contains("10.77.1.2/24"),
            "{text}"
        );
        run("ip route add default via 100.100.198.253");
        run("ip addr add 10.77.7.1/24 dev br7");
        run("ip route add fd77:4d::/32 dev br7");
        let text = printed();
        for part in ["dev = \"up0\"", "\"10.78.1.2/24\"", "\"fd77:4e:2::2/64\""] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        assert!(
            !text.contains("10.77.") && !text.contains("fd77:4d"),
            "{text}"
        );
    });
}
