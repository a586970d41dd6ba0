//! What is wrong with a machine, its nodes and a topology file: each check in a line, and of each fault what it is, why it
//! matters, and what mends it.
//!
//! Everything is read first (`read`), what cannot be read is noted, and then judged without I/O (`judge`). What `show` and
//! `up --dry-run` tell is asked of [`provision`], and put to the check that is about it; what nobody else
//! looks at is a [`Fault`]. The table of checks is [`CHECKS`].

mod checks;
mod fault;
mod judge;
mod read;
mod seen;
#[cfg(test)]
mod tests;

pub use self::{
    checks::{CHECKS, Check},
    fault::Fault,
    seen::{Beyond, Build, Fill, Machine, Part, Seen, SeenFile, SeenNode},
};

use std::{collections::BTreeSet, sync::atomic::AtomicBool};

use crate::{
    finding::{Finding, Kind},
    model::{FaultKind, Topology},
    provision::{self, Change, ProvisionError, UNREADABLE},
    reconcile::{Drift, Refusal},
};

/// What is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// A topology file's, against what is there.
    pub topology: Option<&'a Topology>,
    /// Only this node; else the topology's, or without one all that are up.
    pub node: Option<&'a str>,
    /// Whether it is asked on the links of uplinks who else has their addresses: a frame for each.
    pub probe: bool,
}

/// What came of a check, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing to tell.
    Ok,
    /// Nothing is lost for it, but it is worth a word.
    Note,
    /// It could not be looked at, or not wholly.
    Unseen,
    /// Something is wrong.
    Fault,
}

impl State {
    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Unseen => "unseen",
            Self::Fault => "fault",
        }
    }
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What is wrong, with what, and what mends it.
    pub finding: Finding,
    /// The node that is up and is told of by `show` so.
    pub node: Option<String>,
    /// Why it matters.
    pub why: &'static str,
    /// Nothing is lost for it.
    pub is_notice: bool,
    /// [`fix`] mends it.
    pub is_fixable: bool,
}

impl Found {
    fn of(fault: &Fault, object: impl Into<String>) -> Self {
        Self {
            finding: fault.finding(object),
            node: None,
            why: fault.kind().means.trim(),
            is_notice: fault.is_notice(),
            is_fixable: matches!(fault, Fault::LeftUnfinished(_)),
        }
    }

    /// What `show` tells of a node.
    fn told_of(node: &str, finding: &Finding) -> Self {
        Self {
            node: Some(node.to_owned()),
            ..Self::told(finding)
        }
    }

    /// What `show` or `up` tells.
    fn told(finding: &Finding) -> Self {
        Self {
            why: meaning(finding.id),
            node: None,
            is_notice: false,
            is_fixable: Drift::is_mended_by_steps(finding.id),
            finding: finding.clone(),
        }
    }
}

/// What a kind of finding means; empty for none of netpath's.
fn meaning(id: &str) -> &'static str {
    let kinds: [&[Kind]; 5] = [
        Drift::KINDS,
        Refusal::KINDS,
        FaultKind::KINDS,
        Fault::KINDS,
        &[UNREADABLE],
    ];
    let mut kinds = kinds.into_iter().flatten();
    kinds
        .find(|kind| kind.id == id)
        .map_or("", |kind| kind.means.trim())
}

/// A check, and what came of it.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The check.
    pub check: &'static Check,
    /// The worst of what it found.
    pub state: State,
    /// Why not all could be looked at.
    pub unseen: Option<String>,
    /// What it found.
    pub found: Vec<Found>,
}

/// What came of all of them.
#[derive(Clone, Debug)]
pub struct Report {
    /// In the order of [`CHECKS`].
    pub checks: Vec<Checked>,
    /// The nodes that are up, of those that were asked for.
    pub nodes: Vec<String>,
    /// What the kernel is, how programs are attached to it, and whether it has BTF.
    pub kernel: String,
}

impl Report {
    /// Whether everything could be looked at, and nothing is wrong.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        let mut checks = self.checks.iter();
        checks.all(|checked| checked.state <= State::Note)
    }

    /// All that was found.
    pub fn found(&self) -> impl Iterator<Item = &Found> {
        self.checks.iter().flat_map(|checked| &checked.found)
    }

    /// The same, to be told otherwise.
    pub fn found_mut(&mut self) -> impl Iterator<Item = &mut Found> {
        self.checks.iter_mut().flat_map(|it| &mut it.found)
    }
}

/// Looks at everything, changes nothing, and tells what is wrong. What cannot be looked at is told by the checks that need it.
#[must_use]
pub fn examine(options: &Options<'_>) -> Report {
    judge(&read::look(options))
}

/// Mends what is netpath's own and only that, by the same steps as `up` and without a file: what was recorded is made true again.
/// `progress` is told of each change when it is done.
///
/// # Errors
/// As for [`provision::mend`].
pub fn fix(
    report: &Report,
    interrupted: &AtomicBool,
    progress: &mut dyn FnMut(&Change),
) -> Result<Vec<Change>, ProvisionError> {
    if !report.found().any(|found| found.is_fixable) {
        return Ok(Vec::new());
    }
    let fixable = report.found().filter(|found| found.is_fixable);
    let nodes: BTreeSet<&String> = fixable.filter_map(|found| found.node.as_ref()).collect();
    let nodes: Vec<String> = nodes.into_iter().cloned().collect();
    provision::mend(&nodes, interrupted, progress)
}

/// What follows from what was seen.
#[must_use]
pub fn judge(seen: &Seen) -> Report {
    let checks = CHECKS.iter().map(|check| checked(check, seen));
    let nodes = seen.nodes.iter().map(|node| node.status.name.clone());
    let mode = seen.machine.attach_mode;
    let mode = mode.map_or_else(String::new, |mode| format!(", {mode}"));
    let btf = if seen.machine.btf { ", BTF" } else { "" };
    Report {
        checks: checks.collect(),
        nodes: nodes.collect(),
        kernel: format!("Linux {}{mode}{btf}", seen.machine.release),
    }
}

fn checked(check: &'static Check, seen: &Seen) -> Checked {
    let findings = seen.nodes.iter().flat_map(|node| {
        let findings = node.status.findings();
        findings.map(|finding| Found::told_of(&node.status.name, finding))
    });
    let its = findings.filter(|found| checks::of_told(found.finding.id) == check.id);
    let mut found: Vec<Found> = its.collect();
    found.extend((check.judge)(seen));
    let unseen = unseen(check, seen);
    let worst = found.iter().map(|found| match found.is_notice {
        true => State::Note,
        false => State::Fault,
    });
    let missing = unseen.is_some().then_some(State::Unseen);
    Checked {
        check,
        state: worst.chain(missing).max().unwrap_or(State::Ok),
        unseen,
        found,
    }
}

/// Why a check could not look at all that it needs.
fn unseen(check: &Check, seen: &Seen) -> Option<String> {
    let needs: BTreeSet<Part> = check.needs.iter().copied().collect();
    if check.id == "capabilities" && !seen.machine.lacking.is_empty() {
        let lacking = seen.machine.lacking.join(", ");
        return Some(format!("without {lacking} not all can be looked at"));
    }
    let why = needs.iter().find_map(|part| seen.unseen.get(part))?;
    Some(why.clone())
}
