//! `netpath` in a process that a test may kill.

use std::{
    env, fs,
    panic::Location,
    path::{Path, PathBuf},
    process::Command,
};

use netpath::{
    datapath::{AttachMode, attach_mode},
    provision::{self, UpOptions},
};

use super::{Lab, parse};

/// The release binary, as `cargo xtask test` names it.
const PROGRAM_VARIABLE: &str = "NETPATH_BIN";
/// What [`helper`] is to do.
const WHAT_VARIABLE: &str = "NETPATH_TEST_WHAT";
/// With which topology file.
const FILE_VARIABLE: &str = "NETPATH_TEST_FILE";

/// The name of a test in its binary, of which the caller's suite is a module.
#[track_caller]
fn in_its_binary(test: &str) -> String {
    let file = Path::new(Location::caller().file());
    format!("{}::{test}", suite(file))
}

/// The suite of a source file: `lab_kill` of `tests/tests/labs/lab_kill.rs`, or of what is below `tests/tests/labs/lab_kill`.
fn suite(file: &Path) -> String {
    let is_suite = |path: &&Path| {
        let folder = path.parent().and_then(Path::parent);
        folder.is_some_and(|folder| folder.ends_with("tests/tests"))
    };
    let suite = file.ancestors().find(is_suite).and_then(Path::file_stem);
    let suite = suite.unwrap_or_else(|| panic!("{} is of no suite", file.display()));
    suite.to_string_lossy().into_owned()
}

/// This test's own binary, running one of the suite's ignored tests.
#[track_caller]
pub fn test_process(test: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("this binary"));
    command.args([
        "--exact",
        &in_its_binary(test),
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]);
    command
}

/// Runs one of the suite's ignored tests with mounts of its own, /run and bpffs among them, as process 1's: nothing else is up
/// there, and its temporary files are not those of another process 1. `prepare` is run by the shell before it.
///
/// # Panics
/// When it fails, or is not there.
#[track_caller]
pub fn on_its_own(test: &str, prepare: &str) {
    let script = format!(
        "mount -t tmpfs tmpfs /run && mkdir /run/netns && mount -t tmpfs tmpfs /run/netns && \
         mount --make-shared /run/netns && while mountpoint -q /sys/fs/bpf; do umount /sys/fs/bpf || exit; done && \
         mount -t bpf bpf /sys/fs/bpf && mkdir -m 1777 /run/tmp && export TMPDIR=/run/tmp && {prepare} && exec \"$@\""
    );
    let output = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--mount-proc"])
        .args(["--propagation", "private", "--", "sh", "-c", &script, "sh"])
        .arg(env::current_exe().expect("this binary"))
        .args(["--exact", &in_its_binary(test)])
        .args(["--ignored", "--nocapture"])
        .output()
        .expect("unshare");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// How a process attaches its programs, if not as its kernel can.
const MODE_VARIABLE: &str = "NETPATH_ATTACH";

/// Runs one of the suite's ignored tests in a process that attaches in this mode, and asks [`is_in_mode`].
///
/// # Panics
/// When it fails, or attaches otherwise.
#[track_caller]
pub fn in_mode(test: &str, mode: &str) {
    in_a_process(test, mode, &format!("attached with {mode}"));
}

/// Whether the mode was chosen for this process, as by [`in_mode`]. Says which it is.
///
/// # Panics
/// When the kernel does not tell what it can.
pub fn is_in_mode() -> bool {
    let mode = attach_mode().expect("the kernel answers").name();
    println!("attached with {mode}");
    env::var_os(MODE_VARIABLE).is_some()
}

/// Whether netpath attaches by filters of tc here, so that the interfaces of a node have the qdisc for them.
///
/// # Panics
/// When the kernel does not tell what it can.
pub fn attaches_by_filters() -> bool {
    attach_mode().expect("the kernel answers") == AttachMode::Clsact
}

/// The same as [`in_mode`] for a test that has to say so much.
///
/// # Panics
/// When it fails, or says nothing of it.
#[track_caller]
pub fn in_a_process(test: &str, mode: &str, says: &str) {
    let output = test_process(test)
        .env(MODE_VARIABLE, mode)
        .output()
        .expect("start");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && printed.contains(says),
        "{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Runs tests of the suite again in a process where programs are clsact filters.
///
/// # Panics
/// When one fails, or there is no such test.
#[track_caller]
pub fn again_with_clsact(tests: &[&str]) {
    let mut command = Command::new(env::current_exe().expect("this binary"));
    // Not by a closure, which would be the caller.
    for test in tests {
        command.arg(in_its_binary(test));
    }
    command.args(["--exact", "--test-threads=2"]);
    let output = command.env(MODE_VARIABLE, "clsact").output();
    let output = output.expect("start");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && printed.contains(&format!(" {} passed", tests.len())),
        "{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What `netpath up` and `netpath down` do, in a process that a test may kill. Nothing when the test was not
/// started by [`Lab::command`].
pub fn helper() {
    let (Ok(what), Some(file)) = (env::var(WHAT_VARIABLE), env::var_os(FILE_VARIABLE)) else {
        return;
    };
    let topology = parse(&fs::read_to_string(file).expect("topology file"));
    let result = match what.as_str() {
        "up" => provision::up(&topology, &UpOptions::default(), &mut |_| {}),
        "down" => {
            let nodes = topology.nodes.iter().map(|node| node.name.to_string());
            provision::down(&Vec::from_iter(nodes), &mut |_| {})
        }
        other => panic!("{other}"),
    };
    result.unwrap_or_else(|error| panic!("{what}: {error}"));
}

impl Lab {
    /// A process that does `netpath up` or `netpath down` for this lab: the real program where `NETPATH_BIN`
    /// names it, else this test's own binary, whose suite must have an ignored test `helper` that calls [`helper`].
    #[track_caller]
    pub fn command(&self, what: &str) -> Command {
        let file = self.file();
        fs::write(&file, &self.text).expect("topology file");
        if let Some(program) = env::var_os(PROGRAM_VARIABLE) {
            let mut command = Command::new(program);
            command.args([what, "-f"]).arg(file);
            return command;
        }
        let mut command = test_process("helper");
        command.env(WHAT_VARIABLE, what).env(FILE_VARIABLE, file);
        command
    }

    pub(super) fn file(&self) -> PathBuf {
        env::temp_dir().join(format!("{}.toml", self.prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_is_known_by_its_files() {
        for (file, expected) in [
            ("tests/tests/labs/lab_kill.rs", "lab_kill"),
            ("/w/tests/tests/labs/lab_flows/mod.rs", "lab_flows"),
            (
                "tests/tests/labs/lab_damages/damages/rows.rs",
                "lab_damages",
            ),
        ] {
            assert_eq!(suite(Path::new(file)), expected);
        }
    }

    #[test]
    #[should_panic(expected = "tests/src/lab/processes.rs is of no suite")]
    fn the_library_has_no_suite() {
        in_its_binary("helper");
    }
}
