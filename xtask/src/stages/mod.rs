//! `cargo xtask stages`

mod removals;
mod source;
mod suite;
mod tree;

use std::time::Instant;

use anyhow::{Result, bail};

use crate::progress;
use crate::setup::{self, Needs};
use crate::workspace::Workspace;
use removals::{REMOVALS, Removal};
use tree::Tree;

/// So many of the failing cases are named.
const NAMED: usize = 3;

/// Arguments of `cargo xtask stages`.
#[derive(clap::Args)]
pub struct Args {
    /// Only stages whose name contains one of these
    stages: Vec<String>,
    /// Only cases whose name contains this: faster, and proof enough if one of them fails
    #[arg(long, value_name = "TEXT")]
    cases: Option<String>,
    /// Name the stages and run nothing
    #[arg(long)]
    list: bool,
}

/// What the suite said of programs that lack a stage.
enum Outcome {
    /// These cases failed.
    Noticed(Vec<String>),
    /// None did.
    Survives,
    /// They do not build or load, or the suite failed otherwise than by a case.
    Unproven(anyhow::Error),
}

/// Removes each stage in turn; the conformance suite has to fail each time.
pub fn task(workspace: &Workspace, args: &Args) -> Result<()> {
    let removals: Vec<&Removal> = REMOVALS
        .iter()
        .filter(|removal| {
            args.stages.is_empty() || args.stages.iter().any(|part| removal.stage.contains(part))
        })
        .collect();
    if removals.is_empty() {
        bail!("no stage is called so; `cargo xtask stages --list` names them");
    }
    if args.list {
        for removal in removals {
            println!("{}", removal.stage);
        }
        return Ok(());
    }
    setup::ensure(workspace, Needs::Test)?;
    let tree = Tree::copy(workspace)?;
    let complete = examine(workspace, &tree, None, args)?;
    if !complete.is_empty() {
        bail!(
            "nothing is removed and the suite fails: {}",
            complete.join("; ")
        );
    }
    let mut rows = Vec::new();
    for removal in removals {
        let outcome = match examine(workspace, &tree, Some(removal), args) {
            Ok(failing) if failing.is_empty() => Outcome::Survives,
            Ok(failing) => Outcome::Noticed(failing),
            Err(error) => Outcome::Unproven(error),
        };
        rows.push((removal.stage, outcome));
    }
    print(&rows);
    let unnoticed = rows
        .iter()
        .filter(|(_, outcome)| !matches!(outcome, Outcome::Noticed(_)));
    let unnoticed: Vec<&str> = unnoticed.map(|(stage, _)| *stage).collect();
    if !unnoticed.is_empty() {
        bail!("no case is known to fail without: {}", unnoticed.join("; "));
    }
    Ok(())
}

fn examine(
    workspace: &Workspace,
    tree: &Tree<'_>,
    removal: Option<&Removal>,
    args: &Args,
) -> Result<Vec<String>> {
    let what = removal.map_or("nothing", |removal| removal.stage);
    progress::step(&format!("without {what}"));
    let started = Instant::now();
    let executable = tree.build_without(removal)?;
    let built = started.elapsed();
    let failing = suite::failing(
        &executable,
        &workspace.target.join("stages/suite.log"),
        args.cases.as_deref(),
    )?;
    progress::note(&format!(
        "{} cases fail; build {:.1} s, suite {:.1} s",
        failing.len(),
        built.as_secs_f64(),
        (started.elapsed() - built).as_secs_f64()
    ));
    Ok(failing)
}

fn print(rows: &[(&str, Outcome)]) {
    println!("| without | cases that fail | the first |\n|---|---|---|");
    for (stage, outcome) in rows {
        match outcome {
            Outcome::Noticed(failing) => {
                let named = failing.iter().take(NAMED);
                let named: Vec<&str> = named.map(String::as_str).collect();
                println!("| {stage} | {} | {} |", failing.len(), named.join("; "));
            }
            Outcome::Survives => println!("| {stage} | **none** | |"),
            Outcome::Unproven(error) => println!("| {stage} | **unknown** | {error:#} |"),
        }
    }
}
