//! Which tests run on the other kernels, and how.

use std::path::PathBuf;

use anyhow::Result;

use crate::test_programs::{self, TestProgram};
use crate::workspace::Workspace;

/// Longest time of one test program, in seconds: on a loaded machine the longest takes a third of that.
pub const LIMIT: u32 = 1800;

/// A test program.
pub struct Suite {
    pub name: String,
    pub program: PathBuf,
    pub selection: Selection,
}

/// What is run of it.
#[derive(Clone, Copy)]
pub enum Selection {
    Whole,
    /// Some of it, with these variables and arguments.
    Part {
        environment: &'static str,
        arguments: &'static str,
        why: &'static str,
    },
    /// Nothing, unless it is asked for by name.
    Left {
        why: &'static str,
    },
}

/// Every test program runs that is not named here.
fn selection(name: &str) -> Selection {
    match name {
        "every_input" => Selection::Part {
            environment: "NETPATH_FUZZ_INPUTS=20000",
            arguments: "--exact --ignored mutated_packets_as_told",
            why: "20,000 mutated packets: emulation takes minutes for the rest",
        },
        "netfilter" => Selection::Part {
            environment: "",
            arguments: "base_chains_are_read many_rules_are_read_whole rules_that_change_meanwhile",
            why: "the rest writes expressions of two dozen more modules",
        },
        "lab_damages" => Selection::Part {
            environment: "",
            arguments: "every_pin every_link every_filter",
            why: "rows of maps are the same on every kernel, and twice as many",
        },
        "conformance" | "conformance_tun" => Selection::Left {
            why: "its explanations are this machine's kernel's; `--test conformance` runs it",
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
    /// Its line in `/tests/plan`, which init.sh reads: name, limit in seconds, command.
    pub fn line(&self) -> String {
        let name = &self.name;
        let (environment, arguments) = match self.selection {
            Selection::Part {
                environment,
                arguments,
                ..
            } => (environment, arguments),
            Selection::Whole | Selection::Left { .. } => ("", ""),
        };
        format!("{name} {LIMIT} {environment} /tests/{name} {arguments}\n")
    }

    /// What does not run of it, and why.
    pub fn omission(&self) -> Option<String> {
        match self.selection {
            Selection::Whole => None,
            Selection::Part { why, .. } => Some(format!("{}, in part: {why}", self.name)),
            Selection::Left { why } => Some(format!("{}, left out: {why}", self.name)),
        }
    }
}

/// Builds the test programs as `cargo xtask test` does, or those that are asked for by name.
pub fn build(workspace: &Workspace, names: &[String]) -> Result<Vec<Suite>> {
    let programs = test_programs::build(workspace, names)?.programs;
    let integration = programs
        .into_iter()
        .filter(|program| program.is_integration);
    let suite = |program: TestProgram| Suite {
        selection: selection(&program.name),
        name: program.name,
        program: program.executable,
    };
    Ok(integration.map(suite).collect())
}

/// Those that are asked for by name; if none is, all that are not left out.
pub fn select(suites: Vec<Suite>, names: &[String]) -> Vec<Suite> {
    let is_selected = |suite: &Suite| {
        if names.is_empty() {
            !matches!(suite.selection, Selection::Left { .. })
        } else {
            names.contains(&suite.name)
        }
    };
    suites.into_iter().filter(is_selected).collect()
}
