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
    /// Nothing, unless it is asked for by name or all is: what it tries is decided in user space, alike on every kernel.
    Alike,
}

/// What a kernel without IPv6 runs: this program, and this of it.
pub const WITHOUT_IPV6: &str = "lab_ipv6_off";
const WITHOUT_IPV6_PART: Selection = Selection::Part {
    environment: "",
    arguments: "--exact --ignored a_kernel_without_ipv6",
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
        "lab_connections" => Selection::Part {
            environment: "NETPATH_FLOOD=20000 NETPATH_MIX=1000",
            arguments: "",
            why: "floods of 20,000 flows and mixes of 1,000 connections: emulation takes too long for more",
        },
        "lab_cache" => Selection::Part {
            environment: "NETPATH_FLOOD=20000",
            arguments: "",
            why: "20,000 packets of each sender are counted: emulation takes too long for more",
        },
        "lab_doctor" => Selection::Part {
            environment: "",
            arguments: "healthy:: machine:: fixed::",
            why: "most of it is judged by user space, alike on every kernel, and emulation takes minutes for that",
        },
        name if ALIKE.contains(&name) => Selection::Alike,
        "conformance" => Selection::Left {
            why: "its explanations are this machine's kernel's; `--test conformance` runs it",
        },
        "conformance_tun" => Selection::Part {
            environment: "",
            arguments: "some_by_",
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
    /// Its line in `/tests/plan`, which init.sh reads: name, limit in seconds, command. `only` are parts of the names of
    /// the tests to run, which then say on the console why they fail as soon as they do; if there are none, all of the selection run.
    pub fn line(&self, only: &[String]) -> String {
        let name = &self.name;
        let (environment, arguments) = match self.selection {
            Selection::Part {
                environment,
                arguments,
                ..
            } => (environment, arguments),
            Selection::Whole | Selection::Left { .. } | Selection::Alike => ("", ""),
        };
        let arguments = match only {
            [] => arguments,
            only => &format!("{} --nocapture", only.join(" ")),
        };
        format!("{name} {LIMIT} {environment} /tests/{name} {arguments}\n")
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

/// Builds the test programs and the binary that they try, as `cargo xtask test` does, or those that are asked for by name.
pub fn build(workspace: &Workspace, names: &[String]) -> Result<(PathBuf, Vec<Suite>)> {
    let built = test_programs::build(workspace, names)?;
    let integration = built
        .programs
        .into_iter()
        .filter(|program| program.is_integration);
    let suite = |program: TestProgram| Suite {
        selection: selection(&program.name),
        name: program.name,
        program: program.executable,
    };
    Ok((built.netpath, integration.map(suite).collect()))
}

/// What a kernel without IPv6 runs.
pub fn without_ipv6(suites: Vec<Suite>) -> Vec<Suite> {
    let mut suites = select(suites, &[WITHOUT_IPV6.to_owned()], false);
    for suite in &mut suites {
        suite.selection = WITHOUT_IPV6_PART;
    }
    suites
}

/// Those that are asked for by name; if none is, those that are not left out.
pub fn select(suites: Vec<Suite>, names: &[String], all: bool) -> Vec<Suite> {
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
    suites.into_iter().filter(is_selected).collect()
}
