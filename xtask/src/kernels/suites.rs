//! Which tests run on the other kernels, and how.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::test_programs::{self, TestProgram, Tests};
use crate::workspace::Workspace;

/// Longest time of one suite, in seconds: on a loaded machine the longest takes a third of that.
pub const LIMIT: u32 = 1800;

/// A suite of a test program.
pub struct Suite {
    pub name: String,
    /// The test program, which has others too.
    pub program: PathBuf,
    /// The names of the suite's tests in it.
    tests: Vec<String>,
    selection: Selection,
}

/// What is run of it.
#[derive(Clone, Copy)]
enum Selection {
    Whole,
    /// Some of it, with these variables.
    Part {
        environment: &'static str,
        of: Of,
        why: &'static str,
    },
    /// Nothing, unless it is asked for by name.
    Left {
        why: &'static str,
    },
    /// Nothing, unless it is asked for by name or all is: what it tries is decided in user space, alike on every kernel.
    Alike,
}

/// Which tests of a suite.
#[derive(Clone, Copy)]
enum Of {
    All,
    /// Those whose names in the suite contain one of these.
    Named(&'static [&'static str]),
    /// The one of this name, which is ignored elsewhere.
    Ignored(&'static str),
}

/// What a kernel without IPv6 runs: this suite, and this of it.
pub const WITHOUT_IPV6: &str = "lab_ipv6_off";
const WITHOUT_IPV6_PART: Selection = Selection::Part {
    environment: "",
    of: Of::Ignored("a_kernel_without_ipv6"),
    why: "the kernel has no IPv6",
};

/// Those of [`Selection::Alike`].
const ALIKE: [&str; 23] = [
    "command",
    "lab_bad_input",
    "lab_capabilities",
    "lab_damages",
    "lab_down",
    "lab_endpoint",
    "lab_expedite",
    "lab_faults_damage",
    "lab_faults_down",
    "lab_faults_host",
    "lab_faults_logging",
    "lab_faults_maps",
    "lab_faults_mounts",
    "lab_faults_node",
    "lab_faults_programs",
    "lab_faults_undo",
    "lab_identity",
    "lab_kill",
    "lab_names",
    "lab_prune",
    "lab_views",
    "lock",
    "migration",
];

/// Every suite runs that is not named here.
fn selection(name: &str) -> Selection {
    match name {
        "every_input" => Selection::Part {
            environment: "NETPATH_FUZZ_INPUTS=20000",
            of: Of::Ignored("mutated_packets_as_told"),
            why: "20,000 mutated packets: emulation takes minutes for the rest",
        },
        "netfilter" => Selection::Part {
            environment: "",
            of: Of::Named(&[
                "base_chains_are_read",
                "many_rules_are_read_whole",
                "rules_that_change_meanwhile",
            ]),
            why: "the rest writes expressions of two dozen more modules",
        },
        "lab_connections" => Selection::Part {
            environment: "NETPATH_FLOOD=20000 NETPATH_MIX=1000",
            of: Of::All,
            why: "floods of 20,000 flows and mixes of 1,000 connections: emulation takes too long for more",
        },
        "lab_cache" => Selection::Part {
            environment: "NETPATH_FLOOD=20000",
            of: Of::All,
            why: "20,000 packets of each sender are counted: emulation takes too long for more",
        },
        "lab_doctor" => Selection::Part {
            environment: "",
            of: Of::Named(&["healthy::", "machine::", "fixed::"]),
            why: "most of it is judged by user space, alike on every kernel, and emulation takes minutes for that",
        },
        name if ALIKE.contains(&name) => Selection::Alike,
        "conformance" => Selection::Left {
            why: "its explanations are this machine's kernel's; `--test conformance` runs it",
        },
        "conformance_tun" => Selection::Part {
            environment: "",
            of: Of::Named(&["some_by_"]),
            why: "some of its cases, by tunnels that this machine's kernel may not have: emulation takes too long for the others",
        },
        "kernel_way" | "explain_truth" => Selection::Left {
            why: "its rules take the modules of two dozen matches and targets, of nf_tables and of legacy xtables",
        },
        "lab_completions" | "readme" => Selection::Left {
            why: "they type what people type, with bash and ping, which are the same on every kernel",
        },
        "lab_routing" => Selection::Left {
            why: "its daemons, and all that they need, would have to come along",
        },
        "bench_cross_check" => Selection::Left {
            why: "it compares timings, which takes a quiet machine",
        },
        _ => Selection::Whole,
    }
}

impl Suite {
    /// Where its program is in the machines.
    pub fn place(&self) -> PathBuf {
        let file = self.program.file_name().unwrap_or_default();
        Path::new("/tests").join(file)
    }

    /// Its line in `/tests/plan`, which init.sh reads: name, limit in seconds, command. `only` are parts of the names of
    /// the tests to run, which then say on the console why they fail as soon as they do; if there are none, all of the selection run.
    pub fn line(&self, only: &[String]) -> Result<String> {
        let (environment, of) = match self.selection {
            Selection::Part {
                environment, of, ..
            } => (environment, of),
            Selection::Whole | Selection::Left { .. } | Selection::Alike => ("", Of::All),
        };
        let all = |_: &str| true;
        let (tests, more) = match (only, of) {
            ([], Of::All) => (self.tests(all), ""),
            ([], Of::Named(parts)) => {
                let is_named = |test: &str| parts.iter().any(|part| test.contains(part));
                (self.tests(is_named), "")
            }
            ([], Of::Ignored(name)) => (self.tests(|test| test == name), "--ignored"),
            (only, _) => {
                let is_named = |test: &str| only.iter().any(|part| test.contains(part));
                (self.tests(is_named), "--nocapture")
            }
        };
        let name = &self.name;
        // Without names libtest would run all that the program has.
        ensure!(!tests.is_empty(), "{name} has no test that is called so");
        let (place, tests) = (self.place(), tests.join(" "));
        let program = place.display();
        Ok(format!(
            "{name} {LIMIT} {environment} {program} --exact {more} {tests}\n"
        ))
    }

    /// Of its tests those whose names in the suite are wanted, by their whole names.
    fn tests(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<&str> {
        let in_suite = |test: &str| {
            let (_suite, name) = test.split_once("::").unwrap_or(("", test));
            is_wanted(name)
        };
        let tests = self.tests.iter().map(String::as_str);
        tests.filter(|test| in_suite(test)).collect()
    }

    /// What does not run of it, and why.
    pub fn omission(&self) -> Option<String> {
        match self.selection {
            Selection::Whole => None,
            Selection::Part { why, .. } => Some(format!("{}, in part: {why}", self.name)),
            Selection::Left { why } => Some(format!("{}, left out: {why}", self.name)),
            Selection::Alike => Some(format!(
                "{}, left out: user space decides, alike on every kernel; `--all` runs it",
                self.name
            )),
        }
    }
}

/// Builds the test programs and the binary that they try, as `cargo xtask test` does.
pub fn build(workspace: &Workspace) -> Result<(PathBuf, Vec<Suite>)> {
    let built = test_programs::build(workspace, Tests::Suites)?;
    let suite = |program: TestProgram| {
        Some(Suite {
            selection: selection(&program.name),
            tests: program.suite?,
            name: program.name,
            program: program.executable,
        })
    };
    let suites = built.programs.into_iter().filter_map(suite);
    Ok((built.netpath, suites.collect()))
}

/// What a kernel without IPv6 runs.
pub fn without_ipv6(suites: Vec<Suite>) -> Result<Vec<Suite>> {
    let mut suites = select(suites, &[WITHOUT_IPV6.to_owned()], false)?;
    for suite in &mut suites {
        suite.selection = WITHOUT_IPV6_PART;
    }
    Ok(suites)
}

/// Those that are asked for by name; if none is, those that are not left out.
pub fn select(suites: Vec<Suite>, names: &[String], all: bool) -> Result<Vec<Suite>> {
    for name in names {
        let is_there = suites.iter().any(|suite| suite.name == *name);
        ensure!(is_there, "there is no suite {name}");
    }
    let is_selected = |suite: &Suite| {
        if names.is_empty() {
            match suite.selection {
                Selection::Whole | Selection::Part { .. } => true,
                Selection::Left { .. } => false,
                Selection::Alike => all,
            }
        } else {
            names.contains(&suite.name)
        }
    };
    Ok(suites.into_iter().filter(is_selected).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(name: &str, tests: &[&str]) -> Suite {
        Suite {
            name: name.to_owned(),
            program: "/w/target/debug/deps/labs-1".into(),
            tests: tests.iter().map(|test| format!("{name}::{test}")).collect(),
            selection: selection(name),
        }
    }

    fn words(line: &str) -> Vec<&str> {
        line.split_whitespace().collect()
    }

    #[test]
    fn a_line_names_its_tests() {
        let paths = suite("lab_paths", &["one", "two"]);
        let line = paths.line(&[]).expect("a line");
        let begin = ["lab_paths", "1800", "/tests/labs-1", "--exact"];
        let all = ["lab_paths::one", "lab_paths::two"];
        assert_eq!(words(&line), [&begin[..], &all].concat());
        let line = paths.line(&["tw".to_owned()]).expect("a line");
        assert_eq!(
            words(&line),
            [&begin[..], &["--nocapture", "lab_paths::two"]].concat()
        );
        // The suite's own name is no part of its tests' names.
        for other in ["three", "lab_paths"] {
            assert!(paths.line(&[other.to_owned()]).is_err(), "{other}");
        }
    }

    #[test]
    fn a_part_is_no_more_than_that() {
        let doctor = suite("lab_doctor", &["healthy::one", "notes::two"]);
        let line = doctor.line(&[]).expect("a line");
        assert!(line.contains(" lab_doctor::healthy::one\n"), "{line}");
        let inputs = suite(
            "every_input",
            &["mutated_packets", "mutated_packets_as_told"],
        );
        let line = inputs.line(&[]).expect("a line");
        let end = [
            "--exact",
            "--ignored",
            "every_input::mutated_packets_as_told",
        ];
        assert!(words(&line).ends_with(&end), "{line}");
        assert!(suite("lab_doctor", &["notes::two"]).line(&[]).is_err());
    }

    #[test]
    fn a_suite_that_is_not_there_is_told() {
        let all = || vec![suite("lab_paths", &["one"]), suite("lab_kill", &["two"])];
        let select = |names: &[&str]| -> Result<Vec<String>> {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let selected = select(all(), &names, false)?;
            Ok(selected.into_iter().map(|suite| suite.name).collect())
        };
        assert_eq!(select(&[]).expect("some"), ["lab_paths"]);
        assert_eq!(select(&["lab_kill"]).expect("it"), ["lab_kill"]);
        assert!(select(&["lab_kil"]).is_err());
    }
}
