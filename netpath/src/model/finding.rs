//! What is wrong with a topology file, and where.

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use crate::{Ending, Ends};

/// One thing that is wrong with a topology file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {key}: {problem}: {remedy}", file.display())]
pub struct Finding {
    /// The file, as it was given to the parser.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The key with the tables around it, such as `node.endpoint.addresses`; `TOML` where the text is
    /// not TOML at all.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub remedy: String,
}

/// All that is wrong with a topology file; shown one finding a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyErrors {
    findings: Vec<Finding>,
}

impl TopologyErrors {
    /// The findings by line; at least one.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

impl fmt::Display for TopologyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for TopologyErrors {}

impl Ends for TopologyErrors {
    fn ending(&self) -> Ending {
        Ending::Refused
    }
}

/// What is wrong with a value, before it is known where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) problem: String,
    pub(super) remedy: String,
}

impl Fault {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

/// A value and the line it stands on.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<T> {
    pub(super) line: usize,
    pub(super) value: T,
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
        let Fault { problem, remedy } = fault;
        let file = self.file.to_owned();
        self.list.push(Finding {
            file,
            line,
            key: key.into(),
            problem,
            remedy,
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
        self.list.sort_by_key(|finding| finding.line);
        Err(TopologyErrors {
            findings: self.list,
        })
    }
}
