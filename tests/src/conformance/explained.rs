//! The differences that are meant.

use super::case::{Case, Path};
use crate::Family;

/// Why cases differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What the cases' names begin with.
    pub cases: &'static str,
    /// Only this family.
    pub family: Option<Family>,
    /// Only these paths; none stands for all.
    pub paths: &'static [Path],
    /// Why.
    pub reason: &'static str,
}

/// All of them. One that explains nothing any more fails the suite.
pub const EXPLAINED: &[Explanation] = &[];

/// The explanation of a case's difference.
pub fn find(case: &Case) -> Option<&'static Explanation> {
    EXPLAINED.iter().find(|explanation| {
        case.name.starts_with(explanation.cases)
            && explanation
                .family
                .is_none_or(|family| family == case.family)
            && (explanation.paths.is_empty() || explanation.paths.contains(&case.path))
    })
}
