//! What netpath makes must outlive the command and be seen by everybody: where its mounts would end with it, it is
//! refused.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use netpath_tests::{
    binary,
    lab::{HOST, Lab, ONE_NODE, on_a_machine},
};

/// The lab's topology as a file, which goes with it.
struct File(PathBuf);

impl File {
    fn of(lab: &Lab) -> Self {
        let path = std::env::temp_dir().join(format!("{}-mounts.toml", lab.prefix()));
        fs::write(&path, lab.text()).expect("a temporary file");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

/// Runs netpath behind a command that changes where it runs.
fn behind(prefix: &[&str], arguments: &[&str]) -> Output {
    let mut command = Command::new(prefix[0]);
    command.args(&prefix[1..]).arg(binary()).args(arguments);
    command.stdin(Stdio::null()).output().expect("start")
}

/// Brings a file up in a mount namespace of its own, by its name in the working directory, and types there what is advised.
fn as_advised(file: &File) -> Output {
    let inside = |line: &str| {
        let directory = file.0.parent().expect("a directory");
        let netpath = binary();
        let programs = netpath.parent().expect("a directory");
        let path = std::env::var("PATH").expect("a search path");
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", line])
            .current_dir(directory)
            .env("PATH", format!("{}:{path}", programs.display()))
            .stdin(Stdio::null());
        command.output().expect("start")
    };
    let name = file.0.file_name().expect("a name").display();
    let refused = inside(&format!("netpath up -f {name}"));
    assert_ends(&refused, 2, &[]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    inside(&commands_of(&told).concat())
}

/// What stands between backticks.
fn commands_of(told: &str) -> Vec<&str> {
    told.split('`').skip(1).step_by(2).collect()
}

fn assert_ends(output: &Output, status: i32, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    for words in words {
        assert!(stderr.contains(words), "no {words:?} in: {stderr}");
    }
}

#[test]
fn up_within_ip_netns_exec_is_refused() {
    let mut lab = Lab::prepare(ONE_NODE);
    drop(lab.foreign_namespace("H"));
    let (file, name) = (File::of(&lab), lab.name("H"));
    let exec = ["ip", "netns", "exec", &name];
    for arguments in [
        &["up", "-f", file.path(), "--dry-run"][..],
        &["up", "-f", file.path()],
    ] {
        let typed = arguments.join(" ");
        let remedy = format!("`nsenter --net=/run/netns/{name} netpath {typed}`");
        assert_ends(&behind(&exec, arguments), 2, &[&remedy]);
        lab.assert_nothing_left();
    }
    // What it names works.
    let enter = format!("--net=/run/netns/{name}");
    let output = behind(&["nsenter", &enter], &["up", "-f", file.path()]);
    assert_ends(&output, 0, &[]);
    assert_eq!(lab.plan(), Vec::<String>::new());
}

#[test]
fn what_is_up_is_not_denied_where_it_cannot_be_seen() {
    let mut lab = Lab::up(ONE_NODE);
    drop(lab.foreign_namespace("H"));
    let (file, name) = (File::of(&lab), lab.name("H"));
    let exec = ["ip", "netns", "exec", &name];
    let node = lab.name("A");
    let commands: [&[&str]; 8] = [
        &["show"],
        &["show", "-f", file.path()],
        &["stats"],
        &["maps"],
        &["flows"],
        &["fastpath", "off", "--node", &node],
        &["down", "-f", file.path()],
        &["down", "--all"],
    ];
    for arguments in commands {
        let output = behind(&exec, arguments);
        let typed = arguments.join(" ");
        let remedy = format!("`nsenter --net=/run/netns/{name} netpath {typed}`");
        assert_ends(&output, 2, &[&remedy]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("nothing is up"), "{stderr}");
    }
    assert_eq!(lab.plan(), Vec::<String>::new());
    assert_eq!(lab.fast_path(true, "A", None), Vec::<String>::new());
    let enter = format!("--net=/run/netns/{name}");
    assert_ends(
        &behind(&["nsenter", &enter], &["show", "-f", file.path()]),
        0,
        &[],
    );
}

#[test]
fn a_mount_namespace_that_hides_what_is_made_is_refused() {
    let mut lab = Lab::prepare(ONE_NODE);
    drop(lab.foreign_namespace("H"));
    let file = File::of(&lab);
    let arguments = ["up", "-f", file.path()];
    for propagation in ["private", "slave"] {
        let unshare = ["unshare", "--mount", "--propagation", propagation];
        let output = behind(&unshare, &arguments);
        assert_ends(
            &output,
            2,
            &[
                "/run/netns",
                "nsenter --mount=/proc/",
                "/ns/mnt --wd=. netpath up",
            ],
        );
        lab.assert_nothing_left();
    }
    // What it names works there, also with a file that is named from the working directory.
    assert_ends(&as_advised(&file), 0, &[]);
    assert_eq!(lab.plan(), Vec::<String>::new());
    lab.down();
    // Where the machine's mounts are shared both ways, nothing is hidden.
    let unshare = ["unshare", "--mount", "--propagation", "unchanged"];
    assert_ends(&behind(&unshare, &arguments), 0, &[]);
    assert_eq!(lab.plan(), Vec::<String>::new());
    // State that is seen may be told and switched from anywhere; namespaces cannot be removed from there.
    let unshare = ["unshare", "--mount"];
    assert_ends(&behind(&unshare, &["show", "-f", file.path()]), 0, &[]);
    assert_ends(
        &behind(&unshare, &["down", "-f", file.path()]),
        2,
        &["/run/netns"],
    );
    assert_eq!(lab.plan(), Vec::<String>::new());
    let unshare = ["unshare", "--mount", "--propagation", "unchanged"];
    assert_ends(&behind(&unshare, &["down", "-f", file.path()]), 0, &[]);
    lab.assert_nothing_left();
}

#[test]
fn a_bpffs_of_ones_own_is_not_the_machines() {
    let mut lab = Lab::prepare(ONE_NODE);
    drop(lab.foreign_namespace("H"));
    let file = File::of(&lab);
    let hidden = |command: &str| {
        let (netpath, file) = (binary(), file.path());
        let line = format!(
            "mount -t bpf bpf /sys/fs/bpf && exec {} {command} -f {file}",
            netpath.display()
        );
        let unshare = ["--mount", "--propagation", "private", "sh", "-c", &line];
        let mut command = Command::new("unshare");
        command
            .args(unshare)
            .stdin(Stdio::null())
            .output()
            .expect("start")
    };
    let output = hidden("up");
    assert_ends(&output, 2, &["/sys/fs/bpf"]);
    lab.assert_nothing_left();
    lab.converge();
    for command in ["show", "down", "up"] {
        assert_ends(&hidden(command), 2, &["/sys/fs/bpf"]);
    }
    assert_eq!(lab.plan(), Vec::<String>::new());
}

#[test]
fn a_host_node_without_endpoints_needs_no_namespace() {
    on_a_machine(|lab| {
        let lines = HOST
            .lines()
            .filter(|line| !line.contains("@a") && !line.contains("endpoint = ["));
        let text = lines.collect::<Vec<_>>().join("\n");
        // The bracket that closed the endpoints.
        let text = text.trim_end().trim_end_matches(']').to_owned();
        lab.rewrite(&text);
        let file = File::of(lab);
        let output = behind(&["unshare", "--mount"], &["up", "-f", file.path()]);
        assert_ends(&output, 0, &[]);
        assert_eq!(lab.plan(), Vec::<String>::new());
        lab.rewrite(HOST);
        fs::write(file.path(), lab.text()).expect("write");
        let output = behind(&["unshare", "--mount"], &["up", "-f", file.path()]);
        assert_ends(&output, 2, &["/run/netns"]);
    });
}

/// The same filesystem, mounted so that nothing can be changed: in a mount namespace of its own, for others are at work on it.
#[test]
fn a_read_only_bpffs_is_named() {
    let lab = Lab::prepare(ONE_NODE);
    let file = File::of(&lab);
    let read_only = |command: &str| {
        let line = format!(
            "mount -o remount,ro,bind /sys/fs/bpf && exec {} {command}",
            binary().display()
        );
        let unshare = ["unshare", "--mount", "--propagation", "private", "sh", "-c"];
        let mut command = Command::new(unshare[0]);
        command.args(&unshare[1..]).arg(&line);
        command.stdin(Stdio::null()).output().expect("start")
    };
    let remedy = [
        "is mounted read-only",
        "`mount -o remount,rw,bind /sys/fs/bpf`",
    ];
    let up = format!("up -f {}", file.path());
    let dry_run = format!("{up} --dry-run");
    for command in [&up, &dry_run] {
        assert_ends(&read_only(command), 2, &remedy);
        lab.assert_nothing_left();
    }
    lab.converge();
    let node = lab.name("A");
    let off = format!("fastpath off --node {node}");
    let down = format!("down -f {}", file.path());
    for command in [&up, &dry_run, &off, &down] {
        assert_ends(&read_only(command), 2, &remedy);
    }
    // What is only read can be.
    let output = read_only(&format!("show -f {}", file.path()));
    assert_ends(&output, 0, &[]);
    assert_eq!(lab.plan(), Vec::<String>::new());
}
