//! What a process may is what counts, not whose it is: with the capabilities that a command asks for it works, and each that it
//! lacks is named before anything is touched.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    process::{Command, Output},
};

use netpath::{
    capabilities::{Capability, Work},
    datapath,
};
use netpath_tests::{
    BinaryCopy,
    command::{TempFile, assert_ends},
    lab::{Bytes::Any, Lab, TWO_NODES, addresses, on_a_machine},
};

const NOBODY: &str = "65534";

/// netpath, run by whom a test says.
struct Program(BinaryCopy);

impl Program {
    fn new() -> Self {
        Self(BinaryCopy::new())
    }

    /// Run by somebody with this and nothing more. Of all that root runs it has so much.
    fn run(&self, user: &str, has: &[Capability], ambient: bool, words: &str) -> Output {
        let names: Vec<String> = has.iter().map(ToString::to_string).collect();
        let names = names
            .iter()
            .map(|it| it.trim_start_matches("CAP_").to_lowercase());
        let set = names.fold("-all".to_owned(), |set, name| format!("{set},+{name}"));
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
        command.arg(format!("--bounding-set={set}"));
        if ambient {
            command.args([format!("--inh-caps={set}"), format!("--ambient-caps={set}")]);
        }
        command
            .arg("--")
            .arg(self.0.path())
            .args(words.split_whitespace());
        command.output().expect("setpriv")
    }
}

/// What somebody needs who is not root.
fn needed(work: Work) -> Vec<Capability> {
    let set_uid = std::iter::once(Capability::SetUid);
    set_uid.chain(work.needs().iter().copied()).collect()
}

/// Those that a command says it lacks.
fn named(output: &Output) -> Vec<String> {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let mut lines = told.lines();
    let lacks = lines
        .next()
        .and_then(|line| line.strip_prefix("netpath: netpath: lacks "));
    let lacks = lacks.unwrap_or_else(|| panic!("{told}"));
    assert_eq!(lines.next(), None, "{told}");
    let (lacks, cure) = lacks.split_once(": ").expect("a cure");
    assert!(cure.contains("AmbientCapabilities"), "{told}");
    lacks.split(", ").map(str::to_owned).collect()
}

fn words(command: &str, file: &str) -> String {
    match command {
        "up" => format!("up -f {file}"),
        "down" => format!("down -f {file}"),
        "endpoint" => "endpoint add x --node nothing --address 10.0.5.2/24".to_owned(),
        "fastpath" => "fastpath off".to_owned(),
        "explain" => "explain a b".to_owned(),
        other => other.to_owned(),
    }
}

/// Without any one of what a work takes, a command names that one; without all, all.
fn assert_each_is_named(program: &Program, work: Work, words: &str) {
    let all = needed(work);
    for lacking in &all {
        let has: Vec<Capability> = all.iter().filter(|it| *it != lacking).copied().collect();
        let output = program.run(NOBODY, &has, true, words);
        assert_eq!(named(&output), [lacking.to_string()], "{words}");
    }
    let output = program.run(NOBODY, &[], false, words);
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(named(&output), all, "{words}");
    // Root's process needs no other one's rights on files.
    let output = program.run("0", &[], false, words);
    assert_eq!(named(&output), all[1..], "{words}");
}

#[test]
fn each_capability_that_is_lacking_is_named_and_nothing_touched() {
    let program = Program::new();
    let lab = Lab::prepare(TWO_NODES);
    let file = TempFile::new(lab.text());
    for work in Work::ALL {
        for command in work.commands() {
            assert_each_is_named(&program, work, &words(command, file.path()));
        }
    }
    lab.assert_nothing_left();
    assert!(!is_nobodys("/run/netpath"));
}

/// Anybody may have the doctor look, who tells what was not looked at; to mend is what `up` does.
#[test]
fn doctor_fix_needs_what_up_needs() {
    let program = Program::new();
    let lab = Lab::up(TWO_NODES);
    lab.ip("A", "link set va1 down");
    let look = format!("doctor --node {}", lab.name("A"));
    let fix = format!("{look} --fix");
    assert_ends(&program.run(NOBODY, &[], false, &look), 3, &[]);
    assert_each_is_named(&program, Work::Nodes, &fix);
    assert!(!lab.told("A").is_empty(), "somebody mended it");
    for (user, has) in [
        (NOBODY, needed(Work::Nodes)),
        ("0", Work::Nodes.needs().to_vec()),
    ] {
        lab.ip("A", "link set va1 down");
        let output = program.run(user, &has, user == NOBODY, &fix);
        assert_ends(&output, 0, &["fixed: "]);
        assert_eq!(lab.told("A"), Vec::<&str>::new());
        for dst in addresses("a2") {
            lab.assert_reaches("a1", dst, 63);
        }
    }
}

/// Looking at the machine for a starter file takes none.
#[test]
fn anybody_may_have_a_starter_file() {
    let program = Program::new();
    on_a_machine(|_| {
        for words in ["init", "init --host"] {
            let roots = program.run("0", Work::Bench.needs(), false, words);
            let anybodys = program.run(NOBODY, &[], false, words);
            assert_ends(&anybodys, 0, &[]);
            assert!(!anybodys.stdout.is_empty());
            assert_eq!(anybodys.stdout, roots.stdout, "{words}");
        }
    });
}

/// Whether somebody else than root has it.
fn is_nobodys(path: &str) -> bool {
    fs::metadata(path).is_ok_and(|found| found.uid() != 0)
}

#[test]
fn what_other_programs_need_is_to_be_ambient() {
    let program = Program::new();
    let lab = Lab::prepare(TWO_NODES);
    let file = TempFile::new(lab.text());
    // As a program that has them by its file has them.
    let set = needed(Work::Demo)
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    let set = format!("{}=ep", set.join(",").to_lowercase());
    let status = Command::new("setcap")
        .arg(set)
        .arg(program.0.path())
        .status();
    assert!(status.expect("setcap").success());
    let all = needed(Work::Demo);
    let up = program.run(NOBODY, &all, false, &words("up", file.path()));
    assert_eq!(
        named(&up),
        ["CAP_NET_ADMIN in the ambient set (for the programs that it runs)"]
    );
    lab.assert_nothing_left();
    let demo = program.run(NOBODY, &all, false, "demo");
    assert_eq!(named(&demo).len(), 3);
    // Where no other program is needed they are enough.
    let calm = lab.text().replace("forward_policy = \"drop\"\n", "");
    let file = TempFile::new(&calm);
    for command in ["up", "down"] {
        let output = program.run(NOBODY, &all, false, &words(command, file.path()));
        assert_ends(&output, 0, &[]);
    }
    lab.assert_nothing_left();
}

/// All that one does with a node, each by somebody with what it needs and nothing more.
fn a_day(lab: &Lab, node: &str, run: &dyn Fn(Work, &str) -> Output) {
    let file = TempFile::new(lab.text());
    let ends = |work: Work, words: &str, status: i32| {
        let words = words.replace('@', lab.prefix());
        let output = run(work, &words);
        assert_ends(&output, status, &[]);
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    ends(Work::Nodes, &format!("up -f {} --dry-run", file.path()), 0);
    ends(Work::Nodes, &format!("up -f {}", file.path()), 0);
    ends(Work::Nodes, &format!("up -f {}", file.path()), 0);
    let add =
        format!("endpoint add @x --node @{node} --address 10.0.5.2/24 --address fd00:5::2/64");
    ends(Work::Nodes, &format!("{add} --host-dev vx"), 0);
    let before = lab.traffic(node);
    for (family, x) in ["10.0.5.2", "fd00:5::2"].into_iter().enumerate() {
        lab.assert_reaches("a1", addresses("a2")[family], 63);
        lab.assert_reaches("a1", x.parse().expect(x), 63);
    }
    let counted = [
        ("va1 > va2 redirect_peer", 6, Any),
        ("va2 > va1 redirect_peer", 6, Any),
        ("va1 > vx redirect_peer", 6, Any),
        ("vx > va1 redirect_peer", 6, Any),
    ];
    lab.assert_counted(node, &before, &counted);
    assert!(ends(Work::Count, &format!("stats --node @{node}"), 0).contains("redirect_peer"));
    assert!(ends(Work::Count, &format!("flows --node @{node}"), 0).contains("EVICTED"));
    assert!(ends(Work::Maps, &format!("maps --node @{node}"), 0).contains("endpoints_v6"));
    assert!(ends(Work::Maps, "maps dump endpoint_records", 0).contains("va1"));
    assert!(ends(Work::Nodes, "show @x", 0).contains("fd00:5::2"));
    assert!(
        ends(Work::Nodes, "explain @a1 @x", 0)
            .replace('\n', " ")
            .contains("the answer comes back")
    );
    ends(
        Work::Nodes,
        &format!("fastpath off --node @{node} --endpoint @a1"),
        3,
    );
    ends(
        Work::Nodes,
        &format!("fastpath on --node @{node} --endpoint @a1"),
        0,
    );
    ends(Work::Nodes, "endpoint remove @x", 0);
    assert_eq!(lab.told(node), Vec::<&str>::new(), "to root");
    ends(Work::Nodes, &format!("down -f {}", file.path()), 0);
}

#[test]
fn with_exactly_what_they_need_the_commands_work_in_a_lab() {
    let program = Program::new();
    let lab = Lab::prepare(TWO_NODES);
    a_day(&lab, "A", &|work, words| {
        program.run(NOBODY, &needed(work), true, words)
    });
    lab.assert_nothing_left();
    a_day(&lab, "A", &|work, words| {
        program.run("0", work.needs(), false, words)
    });
    lab.assert_nothing_left();
}

#[test]
fn with_exactly_what_they_need_the_commands_work_on_a_machine() {
    let program = Program::new();
    on_a_machine(|lab| {
        a_day(lab, "H", &|work, words| {
            program.run(NOBODY, &needed(work), true, words)
        });
        a_day(lab, "H", &|work, words| {
            program.run("0", work.needs(), false, words)
        });
        assert!(!datapath::nodes().expect("nodes").contains(&lab.name("H")));
    });
}

#[test]
fn root_and_another_user_work_on_the_same_node() {
    let program = Program::new();
    let lab = Lab::prepare(TWO_NODES);
    let file = TempFile::new(lab.text());
    let nodes = needed(Work::Nodes);
    let by = |user: &str, words: &str| {
        let output = program.run(user, &nodes, user == NOBODY, words);
        assert_ends(&output, 0, &[]);
    };
    let (up, down) = (words("up", file.path()), words("down", file.path()));
    for [maker, remover] in [["0", NOBODY], [NOBODY, "0"]] {
        by(maker, &up);
        assert!(!is_nobodys(&format!(
            "/sys/fs/bpf/netpath/{}",
            lab.name("A")
        )));
        by(remover, "show");
        by(remover, &up);
        by(remover, &down);
        lab.assert_nothing_left();
    }
}
