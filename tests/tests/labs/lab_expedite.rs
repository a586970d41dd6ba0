//! Grace periods are expedited while netpath is at work, and what stood there comes back. The kernel's number is one for the
//! whole machine, so each test has a file in its place, in mounts of its own.

use std::{
    env, fs, io,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::UNIX_EPOCH,
};

use netpath::{
    expedite::{self, Expedited},
    model::Topology,
    provision::{self, UpOptions},
};
use netpath_tests::{
    command::TempFile,
    lab::{Deadline, HOST, Lab, ONE_NODE, on_a_machine, on_its_own, test_process},
    netpath,
};

const SWITCH: &str = "/sys/kernel/rcu_expedited";
/// "np" in ASCII.
const MARK: &str = "28272";

/// What the kernel would have.
fn value() -> String {
    fs::read_to_string(SWITCH).expect(SWITCH).trim().to_owned()
}

/// Runs one of this binary's ignored tests where the number is a file, with /run and bpffs of its own, as process 1's.
fn alone(test: &str) {
    let file = env::temp_dir().join(format!("netpath-expedited-{}-{test}", std::process::id()));
    fs::write(&file, "0").expect("a file");
    let _gone = Removed(&file);
    on_its_own(test, &format!("mount --bind {} {SWITCH}", file.display()));
}

/// A file that is gone when this is dropped.
struct Removed<'a>(&'a Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

/// What stands there while it is brought up, and afterwards.
fn during(topology: &Topology) -> (Vec<String>, String) {
    let mut seen = Vec::new();
    let up = provision::up(topology, &UpOptions::default(), &mut |_| seen.push(value()));
    up.unwrap_or_else(|error| panic!("{error}"));
    seen.dedup();
    (seen, value())
}

#[test]
fn a_lab_is_made_and_removed_in_haste_unless_it_says_otherwise() {
    alone("lab_in_haste");
}

#[test]
#[ignore = "a process for the other tests"]
fn lab_in_haste() {
    let lab = Lab::prepare(ONE_NODE);
    assert_eq!(
        during(lab.topology()),
        (vec![MARK.to_owned()], "0".to_owned())
    );
    let mut seen = Vec::new();
    provision::down(&lab.nodes(), &mut |_| seen.push(value())).expect("down");
    seen.dedup();
    assert_eq!((seen, value().as_str()), (vec![MARK.to_owned()], "0"));

    let slow =
        Lab::prepare(&ONE_NODE.replace("forward_policy", "expedite = false\nforward_policy"));
    assert_eq!(
        during(slow.topology()),
        (vec!["0".to_owned()], "0".to_owned())
    );
    // It counts for `down` as well, if it is given the file: also one with mistakes.
    for mistake in ["", "speed = 1\n"] {
        let file = TempFile::new(&format!("{mistake}{}", slow.text()));
        slow.converge();
        assert!(!hastens(&["down", "-f", file.path()]), "{mistake:?}");
    }
    slow.converge();
    assert!(hastens(&["down", &slow.name("A")]));
    let file = TempFile::new(lab.text());
    lab.converge();
    assert!(hastens(&["down", "-f", file.path()]));
    // Nothing of the directory of locks is left either.
    assert!(!Path::new("/run/netpath").exists());
}

#[test]
fn a_machine_is_in_haste_only_where_its_file_says_so() {
    alone("machine_in_haste");
}

#[test]
#[ignore = "a process for the other tests"]
fn machine_in_haste() {
    on_a_machine(|lab| {
        let hasty = HOST.replace("bypass", "expedite = true\nbypass");
        let slow = HOST.replace("bypass", "expedite = false\nbypass");
        for (text, is_hasty) in [(HOST, false), (&slow, false), (&hasty, true)] {
            lab.rewrite(text);
            let stood = if is_hasty { MARK } else { "0" };
            assert_eq!(
                during(lab.topology()),
                (vec![stood.to_owned()], "0".to_owned())
            );
            let file = TempFile::new(lab.text());
            for words in [["down", "-f", file.path()], ["up", "-f", file.path()]] {
                assert_eq!(hastens(&words), is_hasty, "{words:?}: {text}");
            }
            // Without a file it is told nothing.
            assert!(!hastens(&["down", &lab.name("H")]), "{text}");
        }
    });
}

/// Whether a command that is done well writes the kernel's number.
fn hastens(arguments: &[&str]) -> bool {
    let file = fs::File::options().write(true).open(SWITCH);
    let file = file.expect(SWITCH);
    file.set_modified(UNIX_EPOCH).expect("set");
    let output = netpath(arguments).output().expect("start");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(value(), "0");
    let modified = file.metadata().and_then(|found| found.modified());
    modified.expect("a time") != UNIX_EPOCH
}

#[test]
fn somebody_elses_number_stays() {
    alone("somebody_elses");
}

#[test]
#[ignore = "a process for the other tests"]
fn somebody_elses() {
    fs::write(SWITCH, "1").expect("write");
    let lab = Lab::prepare(ONE_NODE);
    assert_eq!(
        during(lab.topology()),
        (vec!["1".to_owned()], "1".to_owned())
    );
    drop(lab);
    fs::write(SWITCH, "0").expect("write");
    // One that comes while netpath is at work.
    let at_work = Expedited::begin().expect("begin");
    assert_eq!(value(), MARK);
    fs::write(SWITCH, "1").expect("write");
    drop(at_work);
    assert_eq!(value(), "1");
    expedite::repair();
    assert_eq!(value(), "1");
}

#[test]
fn whoever_ends_last_puts_it_back() {
    alone("two_at_once");
}

#[test]
#[ignore = "a process for the other tests"]
fn two_at_once() {
    let one = Expedited::begin().expect("begin");
    let (mut other, _output) = at_work();
    assert_eq!(value(), MARK);
    drop(one);
    assert_eq!(value(), MARK, "the other process is at work");
    // Nor does one that only looks take it from it.
    show();
    assert_eq!(value(), MARK, "the other process is at work");
    // It ends when its input does.
    drop(other.stdin.take());
    assert!(other.wait().expect("wait").success());
    assert_eq!(value(), "0");
}

#[test]
fn what_a_kill_left_is_put_back_by_the_next_command() {
    alone("after_a_kill");
}

#[test]
#[ignore = "a process for the other tests"]
fn after_a_kill() {
    for next in ["a command that looks", "one that is in haste itself"] {
        let (mut child, _output) = at_work();
        child.kill().expect("kill");
        child.wait().expect("wait");
        assert_eq!(value(), MARK, "nobody was there to put it back");
        match next {
            "a command that looks" => show(),
            _ => drop(Expedited::begin().expect("begin")),
        }
        assert_eq!(value(), "0", "{next}");
        assert!(!Path::new("/run/netpath").exists());
    }
}

#[test]
fn where_it_cannot_be_written_it_is_refused_or_left_out() {
    alone("read_only");
}

#[test]
#[ignore = "a process for the other tests"]
fn read_only() {
    let status = Command::new("mount")
        .args(["-o", "remount,bind,ro", SWITCH])
        .status();
    assert!(status.expect("mount").success());
    let output = netpath(&["down", "--all", "--expedite"]).output();
    let output = output.expect("start");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(
        told.contains(SWITCH) && told.contains("--expedite"),
        "{told}"
    );
    let lab = Lab::prepare(ONE_NODE);
    assert_eq!(
        during(lab.topology()),
        (vec!["0".to_owned()], "0".to_owned())
    );
}

fn show() {
    let output = netpath(&["show"]).output().expect("start");
    assert!(output.status.success(), "{output:?}");
}

/// A process that is in haste until its input ends, and what it says: as long as somebody listens.
fn at_work() -> (Child, BufReader<ChildStdout>) {
    let mut child = test_process("work_until_the_input_ends")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start");
    let deadline = Deadline::new();
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("at work") {
        deadline.check(|| "it does not begin".to_owned());
        line.clear();
        output.read_line(&mut line).expect("text");
    }
    (child, output)
}

#[test]
#[ignore = "a process for the other tests"]
fn work_until_the_input_ends() {
    let _at_work = Expedited::begin().expect("begin");
    println!("at work");
    io::copy(&mut io::stdin(), &mut io::sink()).expect("read");
}
