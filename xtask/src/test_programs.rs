//! The test programs that cargo builds, the suites in them, and how libtest counts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::workspace::Workspace;

/// What is tried.
const BINARY: &str = "netpath";

/// A test program, or a suite of one: what a process of its own runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestProgram {
    /// The suite's name, or the package's whose own tests these are.
    pub name: String,
    pub executable: PathBuf,
    /// The package's directory, where cargo would start it.
    pub directory: PathBuf,
    /// The names of a suite's tests in the executable, which has those of other suites too. A package's own are not told.
    pub suite: Option<Vec<String>>,
}

impl TestProgram {
    /// What runs all of it, and nothing else.
    pub fn arguments(&self) -> impl Iterator<Item = &str> {
        let tests = self.suite.iter().flatten().map(String::as_str);
        self.suite.iter().map(|_| "--exact").chain(tests)
    }
}

/// What one build makes: of the features of one package alone, cargo would build most dependencies anew.
pub struct Built {
    pub programs: Vec<TestProgram>,
    pub netpath: PathBuf,
}

/// Which tests.
#[derive(Clone, Copy)]
pub enum Tests {
    All,
    /// Those of `tests/tests`.
    Suites,
}

/// Builds the binary and test programs, as `cargo test` does.
pub fn build(workspace: &Workspace, tests: Tests) -> Result<Built> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--workspace", "--bin", BINARY]);
    cargo.args(["--quiet", "--message-format=json-render-diagnostics"]);
    match tests {
        Tests::All => cargo.arg("--tests"),
        Tests::Suites => cargo.args(["--test", "*"]),
    };
    let messages = command::output(&mut cargo)?;
    let (mut programs, mut netpath) = (Vec::new(), None);
    for message in messages.lines() {
        let message: serde_json::Value =
            serde_json::from_str(message).context("cargo wrote something else than JSON")?;
        match program_of_message(&message) {
            Some((program, true)) => programs.extend(suites_of(&program)?),
            Some((program, false)) => programs.push(program),
            None => {}
        }
        netpath = netpath.or_else(|| binary_of_message(&message));
    }
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    for pair in programs.windows(2) {
        let name = &pair[0].name;
        ensure!(*name != pair[1].name, "two suites are called {name}");
    }
    let netpath = netpath.with_context(|| format!("cargo built no binary {BINARY}"))?;
    Ok(Built { programs, netpath })
}

/// The path of the binary, where a message of cargo tells of it.
fn binary_of_message(message: &serde_json::Value) -> Option<PathBuf> {
    let is_binary = message["profile"]["test"] == false
        && message["target"]["kind"][0] == "bin"
        && message["target"]["name"] == BINARY;
    let path = message["executable"].as_str().filter(|_| is_binary)?;
    Some(path.into())
}

/// The suites of one of `tests/tests`: it knows its modules itself, so that none can be forgotten.
fn suites_of(program: &TestProgram) -> Result<Vec<TestProgram>> {
    let mut list = Command::new(&program.executable);
    let listing = command::output(list.args(["--list", "--format", "terse"]))?;
    let suite = |(name, tests)| TestProgram {
        name,
        suite: Some(tests),
        ..program.clone()
    };
    Ok(suites(&listing)?.into_iter().map(suite).collect())
}

/// The modules in a listing, and the names of their tests, ignored ones too.
fn suites(listing: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let mut suites: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in listing.lines() {
        let test = line.strip_suffix(": test");
        let test = test.with_context(|| format!("{line:?} is no test"))?;
        let module = test.split_once("::");
        let (module, _) =
            module.with_context(|| format!("{test} is in no module, so of no suite"))?;
        suites
            .entry(module.to_owned())
            .or_default()
            .push(test.to_owned());
    }
    // libtest takes what people type for a part of a name.
    for name in suites.keys() {
        let typed = format!("{name}::");
        let others = suites.iter().filter(|(other, _)| *other != name);
        let taken = others
            .flat_map(|(_, tests)| tests)
            .find(|test| test.contains(&typed));
        ensure!(
            taken.is_none(),
            "{typed} also means {taken:?}: a suite needs another name"
        );
    }
    Ok(suites)
}

/// The test program that a message of cargo tells of, if it does, and whether it is one of `tests/tests`.
fn program_of_message(message: &serde_json::Value) -> Option<(TestProgram, bool)> {
    let target = &message["target"];
    if message["profile"]["test"] != true {
        return None;
    }
    let directory = Path::new(message["manifest_path"].as_str()?).parent()?;
    let is_integration = target["kind"][0] == "test";
    let target_name = target["name"].as_str()?;
    let program = TestProgram {
        name: if is_integration {
            target_name.to_owned()
        } else {
            let kind = target["kind"][0].as_str()?;
            format!("{} ({kind})", directory.file_name()?.to_str()?)
        },
        executable: message["executable"].as_str()?.into(),
        directory: directory.to_owned(),
        suite: None,
    };
    Some((program, is_integration))
}

/// How many tests of a program passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: u32,
    pub failed: u32,
}

impl Counts {
    /// Reads what follows `test result: `, such as `ok. 12 passed; 0 failed; ...`.
    pub fn parse(result: &str) -> Result<Self> {
        let count = |what: &str| {
            let number = result
                .split([';', '.'])
                .find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok());
            number.with_context(|| format!("no {what} in {result:?}"))
        };
        Ok(Self {
            passed: count("passed")?,
            failed: count("failed")?,
        })
    }

    /// The line of the sums in a program's whole output; `None` where it did not come so far.
    pub fn of_output(output: &str) -> Result<Option<Self>> {
        let mut results = output
            .lines()
            .filter_map(|line| line.strip_prefix("test result: "));
        results.next_back().map(Self::parse).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_other_builds_are_no_tests() {
        let message = |test: bool, kind: &str| {
            serde_json::json!({
                "manifest_path": "/w/netpath/cli/Cargo.toml",
                "profile": {"test": test},
                "target": {"kind": [kind], "name": "labs"},
                "executable": "/w/target/debug/deps/labs-1",
            })
        };
        assert!(program_of_message(&message(false, "test")).is_none());
        let (labs, is_integration) =
            program_of_message(&message(true, "test")).expect("a test program");
        assert_eq!((labs.name.as_str(), is_integration), ("labs", true));
        let (unit, is_integration) =
            program_of_message(&message(true, "bin")).expect("a test program");
        assert_eq!((unit.name.as_str(), is_integration), ("cli (bin)", false));
        assert_eq!(unit.directory, Path::new("/w/netpath/cli"));
        assert_eq!(unit.arguments().count(), 0);
    }

    #[test]
    fn a_suite_is_a_module() {
        let listing = "lab_flows::full::a: test\nlab_kill::helper: test\nlab_flows::b: test\n";
        let suites = suites(listing).expect("suites");
        let flows = ["lab_flows::full::a", "lab_flows::b"];
        assert_eq!(Vec::from_iter(suites.keys()), ["lab_flows", "lab_kill"]);
        assert_eq!(suites["lab_flows"], flows);
        let program = TestProgram {
            name: "lab_flows".to_owned(),
            executable: "/w/target/debug/deps/labs-1".into(),
            directory: "/w/tests".into(),
            suite: Some(suites["lab_flows"].clone()),
        };
        let arguments = Vec::from_iter(program.arguments());
        assert_eq!(arguments, ["--exact", flows[0], flows[1]]);
    }

    #[test]
    fn a_suite_is_not_mistaken() {
        for other in ["my_lab_spoof::a", "lab_trace::lab_spoof::a"] {
            let error = suites(&format!("lab_spoof::b: test\n{other}: test\n"));
            let error = error
                .expect_err("it is found by the other's name")
                .to_string();
            assert!(error.contains(other), "{error}");
        }
        assert!(suites("alone: test\n").is_err());
        assert!(suites("lab_spoof::b: benchmark\n").is_err());
        let listing = "lab_spoof::b: test\nlab_spoof_matrix::way::a: test\n";
        assert_eq!(suites(listing).expect("two").len(), 2);
    }

    #[test]
    fn the_binary_is_told_from_its_own_tests() {
        let message = |name: &str, kind: &str, test: bool| {
            serde_json::json!({
                "profile": {"test": test},
                "target": {"kind": [kind], "name": name},
                "executable": "/w/target/debug/netpath",
            })
        };
        let binary = binary_of_message(&message("netpath", "bin", false));
        assert_eq!(binary, Some("/w/target/debug/netpath".into()));
        for other in [
            message("netpath", "bin", true),
            message("netpath", "lib", false),
            message("xtask", "bin", false),
        ] {
            assert_eq!(binary_of_message(&other), None);
        }
    }

    #[test]
    fn libtest_is_read() {
        let output = "running 2 tests\ntest a ... ok\n\ntest result: FAILED. 11 passed; 2 failed; 1 ignored; \
                      0 measured; 0 filtered out; finished in 3.10s\n";
        let counts = Counts {
            passed: 11,
            failed: 2,
        };
        assert_eq!(Counts::of_output(output).expect("counts"), Some(counts));
        assert_eq!(Counts::of_output("running 2 tests\n").expect("none"), None);
        assert!(Counts::of_output("test result: ok. many passed\n").is_err());
    }
}
