//! What is wrong with a machine, its nodes and a topology file.

use serde::Serialize;

use super::Change;
use crate::{
    doctor::{Checked, Found, Report, State},
    provision,
};

/// `netpath doctor -j`. Schema: docs/schema/doctor.json.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// Whether everything could be looked at and nothing is wrong. What is only worth a word is nothing wrong.
    pub healthy: bool,
    /// What the kernel is, and how programs are attached to it.
    pub kernel: String,
    /// The nodes that are up, of those that were asked for.
    pub nodes: Vec<String>,
    /// Every check, in the order in which they are made.
    pub checks: Vec<CheckResult>,
    /// What `--fix` changed, before everything was looked at again.
    pub fixed: Vec<Change>,
    /// [`Diagnosis::VERSION`].
    pub version: u32,
}

impl Diagnosis {
    /// Of the document.
    pub const VERSION: u32 = 1;

    /// What was found, after this was changed.
    #[must_use]
    pub fn new(report: &Report, fixed: &[provision::Change]) -> Self {
        Self {
            healthy: report.is_healthy(),
            kernel: report.kernel.clone(),
            nodes: report.nodes.clone(),
            checks: report.checks.iter().map(CheckResult::from).collect(),
            fixed: fixed.iter().map(Change::from).collect(),
            version: Self::VERSION,
        }
    }
}

/// A check, and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct CheckResult {
    /// Its name.
    pub id: &'static str,
    /// What is looked at.
    pub about: &'static str,
    /// `ok`, `note`, `unseen` or `fault`: the worst of what was found.
    pub state: &'static str,
    /// Why not all could be looked at; null where all could.
    pub unseen: Option<String>,
    /// What was found.
    pub found: Vec<Symptom>,
}

/// Something that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Symptom {
    /// Its kind, of docs/findings.md.
    pub id: &'static str,
    /// `fault`, or `note` for what nothing is lost for.
    pub level: &'static str,
    /// What it is wrong with, such as `endpoint demo01 on node03`.
    pub object: String,
    /// What is wrong, for people.
    pub problem: String,
    /// Why it matters, for people.
    pub why: &'static str,
    /// What mends it, for people.
    pub cure: String,
    /// Whether `netpath doctor --fix` mends it.
    pub fixable: bool,
}

impl From<&Checked> for CheckResult {
    fn from(checked: &Checked) -> Self {
        Self {
            id: checked.check.id,
            about: checked.check.about,
            state: checked.state.name(),
            unseen: checked.unseen.clone(),
            found: checked.found.iter().map(Symptom::from).collect(),
        }
    }
}

impl From<&Found> for Symptom {
    fn from(found: &Found) -> Self {
        let level = match found.is_notice {
            true => State::Note,
            false => State::Fault,
        };
        Self {
            id: found.finding.id,
            level: level.name(),
            object: found.finding.object.clone(),
            problem: found.finding.problem.clone(),
            why: found.why,
            cure: found.finding.cure.clone(),
            fixable: found.is_fixable,
        }
    }
}
