//! The test programs that cargo builds, and how libtest counts.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command;
use crate::workspace::Workspace;

/// What is tried.
const BINARY: &str = "netpath";

/// A test program.
pub struct TestProgram {
    /// Name of the file in `tests/tests`, or of the package whose own tests these are.
    pub name: String,
    pub executable: PathBuf,
    /// The package's directory, where cargo would start it.
    pub directory: PathBuf,
    /// Whether it is one of `tests/tests`.
    pub is_integration: bool,
}

/// What one build makes: of the features of one package alone, cargo would build most dependencies anew.
pub struct Built {
    pub programs: Vec<TestProgram>,
    pub netpath: PathBuf,
}

/// Builds the binary and all test programs, or of `tests/tests` those that are named, as `cargo test` does.
pub fn build(workspace: &Workspace, named: &[String]) -> Result<Built> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--workspace", "--bin", BINARY]);
    cargo.args(["--quiet", "--message-format=json-render-diagnostics"]);
    match named.is_empty() {
        true => cargo.arg("--tests"),
        false => cargo.args(named.iter().flat_map(|name| ["--test", name])),
    };
    let messages = command::output(&mut cargo)?;
    let (mut programs, mut netpath) = (Vec::new(), None);
    for message in messages.lines() {
        let message: serde_json::Value =
            serde_json::from_str(message).context("cargo wrote something else than JSON")?;
        programs.extend(program_of_message(&message));
        netpath = netpath.or_else(|| binary_of_message(&message));
    }
    programs.sort_by(|a, b| a.name.cmp(&b.name));
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

/// The test program that a message of cargo tells of, if it does.
fn program_of_message(message: &serde_json::Value) -> Option<TestProgram> {
    let target = &message["target"];
    if message["profile"]["test"] != true {
        return None;
    }
    let directory = Path::new(message["manifest_path"].as_str()?).parent()?;
    let is_integration = target["kind"][0] == "test";
    let target_name = target["name"].as_str()?;
    Some(TestProgram {
        name: if is_integration {
            target_name.to_owned()
        } else {
            let kind = target["kind"][0].as_str()?;
            format!("{} ({kind})", directory.file_name()?.to_str()?)
        },
        executable: message["executable"].as_str()?.into(),
        directory: directory.to_owned(),
        is_integration,
    })
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
                "target": {"kind": [kind], "name": "lab_paths"},
                "executable": "/w/target/debug/deps/lab_paths-1",
            })
        };
        assert!(program_of_message(&message(false, "test")).is_none());
        let suite = program_of_message(&message(true, "test")).expect("a test program");
        assert_eq!(
            (suite.name.as_str(), suite.is_integration),
            ("lab_paths", true)
        );
        let unit = program_of_message(&message(true, "bin")).expect("a test program");
        assert_eq!(
            (unit.name.as_str(), unit.is_integration),
            ("cli (bin)", false)
        );
        assert_eq!(unit.directory, Path::new("/w/netpath/cli"));
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
