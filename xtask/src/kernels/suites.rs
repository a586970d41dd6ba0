//! Which tests run on which kernel.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::command;
use crate::workspace::Workspace;

/// Longest time of one test program, in seconds.
const LIMIT: u32 = 180;

/// A test program.
pub struct Suite {
    pub name: String,
    pub program: PathBuf,
}

impl Suite {
    /// Its line in `/tests/plan`, which init.sh reads: name, limit in seconds, arguments.
    pub fn line(&self) -> String {
        format!("{} {LIMIT}\n", self.name)
    }
}

/// Builds the test programs as `cargo xtask test` does.
pub fn build(workspace: &Workspace) -> Result<Vec<Suite>> {
    let mut cargo = workspace.cargo();
    cargo.args([
        "test",
        "--no-run",
        "--workspace",
        "--exclude",
        "netpath-ebpf",
    ]);
    cargo.args(["--quiet", "--message-format=json-render-diagnostics"]);
    let messages = command::output(&mut cargo)?;
    let mut suites = Vec::new();
    for message in messages.lines() {
        let message: serde_json::Value =
            serde_json::from_str(message).context("cargo wrote something else than JSON")?;
        let target = &message["target"];
        let is_test = message["profile"]["test"] == true && target["kind"][0] == "test";
        if let (true, Some(name), Some(program)) = (
            is_test,
            target["name"].as_str(),
            message["executable"].as_str(),
        ) {
            suites.push(Suite {
                name: name.to_owned(),
                program: program.into(),
            });
        }
    }
    suites.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(suites)
}
