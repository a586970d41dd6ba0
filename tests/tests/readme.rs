//! README's example is the file that `netpath init` prints, and its sessions run as they are printed.
//!
//! A `console` block after the comment `<!-- runs in a lab -->` or `<!-- runs on a machine -->` is run line by line: `# `
//! starts a command, which has to succeed, and all other lines are what it prints. There `...` stands for anything, as a
//! line of its own for any lines. A command with nothing after it may print what it likes.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use netpath::{capabilities::Work, model::BUILTIN_LAB, netns::Netns};
use netpath_tests::{
    binary,
    lab::{BuiltinLab, builtin_left_behind, on_a_machine, portrait, run},
    netpath,
};

/// Set to write the example into README.
const WRITE: &str = "NETPATH_WRITE";

fn readme() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")
}

fn text() -> String {
    fs::read_to_string(readme()).expect("README.md")
}

/// The first block of a language after `from`: where its text starts, and the text.
fn block<'t>(text: &'t str, from: usize, language: &str) -> (usize, &'t str) {
    let fence = format!("```{language}\n");
    let start = text[from..].find(&fence).map(|at| from + at + fence.len());
    let start = start.unwrap_or_else(|| panic!("README has no {language} block after {from}"));
    let end = text[start..].find("```").expect("the block ends");
    (start, &text[start..start + end])
}

#[test]
fn the_example_is_what_init_prints() {
    let output = netpath(&["init"]).output().expect("start netpath");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), BUILTIN_LAB);
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

/// One command of a session and what is printed after it.
struct Step<'t> {
    command: &'t str,
    printed: Vec<&'t str>,
}

/// The steps of all blocks that run in a place; at least one.
fn sessions<'t>(text: &'t str, place: &str) -> Vec<Step<'t>> {
    let mark = format!("<!-- runs {place} -->");
    let blocks = text
        .match_indices(&mark)
        .map(|(at, _)| block(text, at, "console").1);
    let mut steps: Vec<Step<'_>> = Vec::new();
    for line in blocks.flat_map(str::lines) {
        match (line.strip_prefix("# "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step {
                command,
                printed: Vec::new(),
            }),
            (None, Some(step)) => step.printed.push(line),
            (None, None) => panic!("{line:?} is printed by no command"),
        }
    }
    assert!(!steps.is_empty(), "README has no block {mark}");
    steps
}

/// Whether a line is as printed, where `...` stands for anything.
fn is_like(line: &str, printed: &str) -> bool {
    let line = line.trim_end();
    let Some((start, rest)) = printed.split_once("...") else {
        return line == printed;
    };
    let Some(mut left) = line.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split("...").collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match left.split_once(part) {
            Some((_, after)) => left = after,
            None => return false,
        }
    }
    left.ends_with(end)
}

fn are_like(lines: &[&str], printed: &[&str]) -> bool {
    match (printed.split_first(), lines.split_first()) {
        (None, None) => true,
        (Some((&"...", rest)), _) => {
            (0..=lines.len()).any(|skipped| are_like(&lines[skipped..], rest))
        }
        (Some((printed, rest)), Some((line, after))) => {
            is_like(line, printed) && are_like(after, rest)
        }
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// A directory to work in, gone with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(of: &str) -> Self {
        let path = env::temp_dir().join(format!("netpath-readme-{}-{of}", std::process::id()));
        fs::create_dir(&path).expect("a temporary directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

/// Types a session as it stands, in the calling thread's namespace.
fn play(steps: &[Step<'_>], directory: &Directory) {
    let binaries = binary().parent().expect("a directory").to_owned();
    let path = env::var("PATH").expect("PATH");
    for Step { command, printed } in steps {
        let output = Command::new("sh")
            .args(["-c", &format!("{{ {command}\n}} 2>&1")])
            .env("PATH", format!("{}:{path}", binaries.display()))
            .current_dir(&directory.0)
            .stdin(Stdio::null())
            .output()
            .expect("start");
        let seen = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "# {command}\n{seen}");
        // Said where a test has a bpffs of its own above the machine's.
        let is_own = |line: &&str| !line.contains("/sys/fs/bpf is mounted twice");
        let lines: Vec<&str> = seen.lines().filter(is_own).collect();
        assert!(
            printed.is_empty() || are_like(&lines, printed),
            "# {command}\nprints\n{seen}\nand not\n{}",
            printed.join("\n")
        );
    }
}

#[test]
fn the_beginning_works_as_printed() {
    let text = text();
    let steps = sessions(&text, "in a lab");
    let _lab = BuiltinLab::take();
    let _gone = ContainerGone;
    play(&steps, &Directory::new("lab"));
    assert_eq!(builtin_left_behind(), Vec::<PathBuf>::new());
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
    let steps = sessions(&text, "on a machine");
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

#[test]
fn what_is_like_what() {
    for (line, printed) in [
        ("a b", "a b"),
        ("a b  ", "a b"),
        ("time 2031ms", "time ...ms"),
        ("3 of 4 in 5 s", "3 of ... in ... s"),
    ] {
        assert!(is_like(line, printed), "{line}");
    }
    for (line, printed) in [("a c", "a b"), ("time 3s", "time ...ms"), ("", "a")] {
        assert!(!is_like(line, printed), "{line}");
    }
    assert!(are_like(&["a", "b", "c"], &["a", "...", "c"]));
    assert!(are_like(&["a"], &["...", "a", "..."]));
    assert!(!are_like(&["a", "b"], &["a"]) && !are_like(&["a"], &["a", "b"]));
}
