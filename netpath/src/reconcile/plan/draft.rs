//! A step in the making.

use std::collections::HashSet;

use super::super::{Drift, Op};

/// What is found wrong with one object, and what is to be done about it.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub drift: Vec<Drift>,
    /// The same, to be found: an emptied map is as much drift as it had entries.
    pub noted: HashSet<Drift>,
    pub ops: Vec<Op>,
    /// Findings are not noted: the object is new, or what they follow from is noted already.
    pub quiet: bool,
    /// The step is not told: it belongs to another.
    pub silent: bool,
    /// Something of it is done by an earlier step, and told by this one.
    pub is_ahead: bool,
}

impl Draft {
    /// Notes what is wrong, unless it follows from what is noted already.
    pub fn note(&mut self, drift: Drift) {
        if !self.quiet && self.noted.insert(drift.clone()) {
            self.drift.push(drift);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.drift.is_empty() && self.ops.is_empty() && !self.is_ahead
    }

    /// All that is wrong, in words.
    pub fn detail(&self) -> String {
        let words: Vec<String> = self.drift.iter().map(ToString::to_string).collect();
        words.join(", ")
    }
}
