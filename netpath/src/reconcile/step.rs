//! Steps: what is done, and how it is told.

use std::fmt;

use super::{Drift, Op, Refused};
use crate::finding::Finding;

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Made.
    Create,
    /// Brought to the wanted state.
    Update,
    /// Removed.
    Remove,
}

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Object {
    /// A node with its maps and programs.
    Node,
    /// An uplink.
    Uplink,
    /// A route towards another node.
    Route,
    /// An endpoint with its namespace and veth.
    Endpoint,
    /// The programs on an interface.
    FastPath,
}

impl Object {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Uplink => "uplink",
            Self::Route => "route",
            Self::Endpoint => "endpoint",
            Self::FastPath => "fast path",
        }
    }

    /// One of this kind, in words: `endpoint demo01 on node03`.
    #[must_use]
    pub fn told(self, name: &str, node: &str) -> String {
        match name == node {
            true => format!("{} {name}", self.name()),
            false => format!("{} {name} on {node}", self.name()),
        }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// What is done.
    pub action: Action,
    /// To what kind of object.
    pub object: Object,
    /// Of which node.
    pub node: String,
    /// Its name: an endpoint's, a device's, a prefix.
    pub name: String,
    /// What exactly, for people.
    pub detail: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.action {
            Action::Create => '+',
            Action::Update => '~',
            Action::Remove => '-',
        };
        write!(f, "{sign} {}", self.object.told(&self.name, &self.node))?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

/// One thing to do for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How it is told; `None` for what only prepares a later step, or follows from an earlier one.
    pub change: Option<Change>,
    /// Of which object it is.
    pub object: (Object, String),
    /// What it cures.
    pub drift: Vec<Drift>,
    /// What is done, in order.
    pub ops: Vec<Op>,
}

/// What is wrong with an object and not netpath's to mend: it is told, with its cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Of which object it is.
    pub object: (Object, String),
    /// What is wrong.
    pub drift: Drift,
}

impl Told {
    /// As a finding of a node's.
    #[must_use]
    pub fn finding(&self, node: &str) -> Finding {
        let (object, name) = &self.object;
        self.drift.finding(object.told(name, node))
    }
}

/// What is to be done for a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In order.
    pub steps: Vec<Step>,
    /// What is done after them, and after those of all other nodes: it takes away namespaces and interfaces that are wanted no
    /// more, and nothing makes those again as they were. Until it has begun all can be undone.
    pub removals: Vec<Step>,
    /// What is still wrong after them, for others to mend.
    pub told: Vec<Told>,
    /// For what the steps must not be begun.
    pub refusals: Vec<Refused>,
}

impl Plan {
    /// What would be told of it.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        let steps = self.steps.iter().chain(&self.removals);
        steps.filter_map(|step| step.change.as_ref())
    }

    /// What is told of a node and not mended.
    pub fn findings(&self, node: &str) -> impl Iterator<Item = Finding> {
        self.told.iter().map(move |told| told.finding(node))
    }
}
