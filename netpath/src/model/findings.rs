//! The findings in a topology file, and where they are.

use std::{fmt, ops::Range, path::Path};

use super::fault::Fault;
use crate::{
    Ending, Ends,
    finding::{Finding, Place},
};

/// How many findings are shown: a file that a program wrote may have the same fault in every line.
const SHOWN: usize = 50;

/// All that is wrong with a topology file, or with one endpoint; shown one finding a line, the first ones and how many there
/// are more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyErrors {
    findings: Vec<Finding>,
}

impl TopologyErrors {
    /// These findings; at least one.
    pub(super) fn of(findings: Vec<Finding>) -> Self {
        Self { findings }
    }

    /// The findings by line; at least one.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

impl fmt::Display for TopologyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().take(SHOWN).enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            finding.fmt(f)?;
        }
        match self.findings.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(
                f,
                "\n{more} more like these: correct what is above, and look again"
            ),
        }
    }
}

impl std::error::Error for TopologyErrors {}

impl Ends for TopologyErrors {
    fn ending(&self) -> Ending {
        Ending::Refused
    }
}

/// A value and the line it stands on.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<T> {
    /// Counted from 1; 0 of what stands in no file.
    pub(super) line: usize,
    pub(super) value: T,
}

impl<T> At<T> {
    /// Of what somebody said by itself.
    pub(super) fn nowhere(value: T) -> Self {
        Self { line: 0, value }
    }

    /// Where it stands, as the end of a sentence.
    pub(super) fn place(&self) -> String {
        match self.line {
            0 => String::new(),
            line => format!(" (line {line})"),
        }
    }
}

/// The findings so far in one file.
pub(super) struct Findings<'a> {
    file: &'a Path,
    /// Byte offset at which each line starts.
    line_starts: Vec<usize>,
    list: Vec<Finding>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(file: &'a Path, text: &str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(offset, _)| offset + 1);
        Self {
            file,
            line_starts: std::iter::once(0).chain(after_newlines).collect(),
            list: Vec::new(),
        }
    }

    /// The line, from 1, on which a span of bytes starts.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.line_starts
            .partition_point(|start| *start <= span.start)
    }

    pub(super) fn add(&mut self, line: usize, key: impl Into<String>, fault: Fault) {
        let Fault {
            kind,
            problem,
            cure,
        } = fault;
        let file = self.file.to_owned();
        self.list.push(Finding {
            place: Some(Place { file, line }),
            ..kind.kind().found(key, problem, cure)
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn into_result(mut self) -> Result<(), TopologyErrors> {
        if self.list.is_empty() {
            return Ok(());
        }
        self.list
            .sort_by_key(|finding| finding.place.as_ref().map(|place| place.line));
        Err(TopologyErrors {
            findings: self.list,
        })
    }
}
