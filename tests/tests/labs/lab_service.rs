//! netpath.service: its commands, run as systemd runs them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use netpath::{capabilities::Work, datapath};
use netpath_tests::{binary, command::assert_ends, lab::Lab};

const UNIT: &str = include_str!("../../../netpath/cli/service/netpath.service");

/// Two nodes that need not know of each other: a file each.
const NODES: &str = r#"
[[node]]
name = "@A"
endpoint = [{ name = "@a1", addresses = ["10.0.1.2/24", "fd00:1::2/64"], host_dev = "va1" }]

[[node]]
name = "@B"
endpoint = [{ name = "@b1", addresses = ["10.0.3.2/24", "fd00:3::2/64"], host_dev = "vb1" }]
"#;

/// What stands in the place of /etc/netpath.
struct Directory(PathBuf);

impl Directory {
    fn new(lab: &Lab) -> Self {
        let path = std::env::temp_dir().join(format!("{}-service", lab.prefix()));
        fs::create_dir(&path).expect("a temporary directory");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("a file");
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

/// What the unit says, once.
fn setting(name: &str) -> &'static str {
    let mut lines = UNIT
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let line = lines.next().unwrap_or_else(|| panic!("no {name}"));
    assert!(lines.next().is_none(), "{name} twice");
    line
}

/// Runs the one command of a setting such as `ExecStart`.
fn run(name: &str, directory: &Directory) -> Output {
    let line = setting(name);
    let script = line
        .strip_prefix("/bin/sh -c '")
        .and_then(|rest| rest.strip_suffix('\''));
    let script = script.unwrap_or_else(|| panic!("no script: {line}"));
    let bin = binary().parent().map(Path::to_owned).expect("a directory");
    // systemd.service(5): a dollar sign is written as two.
    let script = script
        .replace("$$", "$")
        .replace("@BINDIR@", bin.to_str().expect("UTF-8"))
        .replace("/etc/netpath", directory.0.to_str().expect("UTF-8"));
    assert!(!script.contains('@') && !script.contains('%'), "{script}");
    // Of root's capabilities systemd leaves it these.
    let set = setting("CapabilityBoundingSet")
        .split_whitespace()
        .fold("-all".to_owned(), |set, name| {
            format!("{set},+{}", name.trim_start_matches("CAP_").to_lowercase())
        });
    Command::new("setpriv")
        .arg(format!("--bounding-set={set}"))
        .args(["--", "/bin/sh", "-c", &script])
        .output()
        .expect("setpriv")
}

fn up(lab: &Lab) -> Vec<String> {
    let up = datapath::nodes().expect("what is up");
    let own = up.iter().filter_map(|name| name.strip_prefix(lab.prefix()));
    own.map(str::to_owned).collect()
}

#[test]
fn it_has_what_its_commands_need() {
    let needs: Vec<String> = Work::Nodes
        .needs()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(setting("CapabilityBoundingSet"), needs.join(" "));
}

#[test]
fn all_files_come_up_and_go_down() {
    let lab = Lab::prepare(NODES);
    let directory = Directory::new(&lab);
    let second = lab.text().rfind("[[node]]").expect("two nodes");
    let (a, b) = lab.text().split_at(second);
    directory.write("a.toml", a);
    directory.write("b.toml", b);
    assert_ends(&run("ExecStart", &directory), 0, &[]);
    assert_eq!(up(&lab), ["A", "B"]);

    // One file's mistakes are not the others'.
    lab.ip("A", "link set va1 down");
    directory.write("a.toml", &a.replacen("name", "nane", 1));
    directory.write("b.toml", &b.replace("vb1", "vb3"));
    assert_ends(&run("ExecReload", &directory), 1, &["a.toml:"]);
    lab.ip("B", "link show dev vb3");
    directory.write("a.toml", a);
    assert_ends(&run("ExecReload", &directory), 0, &[]);
    assert!(lab.ip("A", "link show dev va1").contains(",UP"));

    directory.write("a.toml", &a.replacen("host_dev", "host_def", 1));
    assert_ends(&run("ExecStop", &directory), 0, &["a.toml:"]);
    lab.assert_nothing_left();
}
