//! The report of a run for people: one page, and its plots as files.

mod explain;
mod folder;
mod format;
mod goal;
mod growth;
mod headline;
mod html;
mod label;
mod page;
pub mod plot;
mod plots;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use netpath::{Ending, Ends};

use super::scale::ScaleResults;
use super::{Measure, Results};

pub use explain::explained;
pub use folder::check;
pub use goal::GoalRow;
pub use headline::headline;
pub use label::warning;
pub use plots::{Plot, plots};

/// Mode of every file: anybody may read a report.
const MODE: u32 = 0o644;

/// How far into a file its mark may be.
const MARK_WITHIN: u64 = 4096;

/// A report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The directory could not be made.
    #[error("report directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory cannot hold a report; nothing has been measured yet.
    #[error("no report can be written to {}: {source}: choose another directory for --report", path.display())]
    Unfit {
        /// The directory, or what of its path is there.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The same for a file in it that has one of the report's names, and is none of netpath's.
    #[error("{}: not written by netpath bench; move it away or choose another directory for --report", path.display())]
    Taken {
        /// The file.
        path: PathBuf,
    },
    /// A file has one of the report's names and is none of netpath's.
    #[error("{}: not written by netpath bench; move it away or choose another directory", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{}: {step}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Ends for ReportError {
    fn ending(&self) -> Ending {
        match self {
            Self::Unfit { .. } | Self::Taken { .. } => Ending::Refused,
            // What goes into it has been measured by then.
            Self::Directory { .. } | Self::Foreign { .. } | Self::File { .. } => Ending::Failed,
        }
    }
}

/// Writes `report.html` and its plots as `.svg` files into `dir`, which is created if absent, and returns their
/// paths, the page first. Files of an earlier report are replaced, each at once; if any of the names is taken by
/// a file that is not one, nothing is written.
pub fn write(dir: &Path, results: &Results) -> Result<Vec<PathBuf>, ReportError> {
    let plots = plots(results);
    write_all(dir, Kind::Run.page(), html::page(results, &plots), plots)
}

/// The same for `netpath bench scale`: `scale.html` and its plots, whose names begin with `scale_`, so that both
/// reports can be in one directory.
pub fn write_scale(dir: &Path, results: &ScaleResults) -> Result<Vec<PathBuf>, ReportError> {
    let plots = growth::plots(results);
    write_all(
        dir,
        Kind::Growth.page(),
        growth::page(results, &plots),
        plots,
    )
}

fn write_all(
    dir: &Path,
    name: &str,
    page: String,
    plots: Vec<Plot>,
) -> Result<Vec<PathBuf>, ReportError> {
    let mut files = vec![(dir.join(name), page)];
    files.extend(
        plots
            .into_iter()
            .map(|plot| (dir.join(plot.name + ".svg"), plot.svg)),
    );

    fs::create_dir_all(dir).map_err(|source| ReportError::Directory {
        path: dir.to_owned(),
        source,
    })?;
    for (path, _) in &files {
        if !may_replace(path).map_err(|source| file_error(path, "examine", source))? {
            return Err(ReportError::Foreign { path: path.clone() });
        }
    }
    for (path, content) in &files {
        replace(path, content)?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

/// Which report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of `netpath bench`.
    Run,
    /// Of `netpath bench scale`.
    Growth,
}

impl Kind {
    /// The name of its page.
    fn page(self) -> &'static str {
        match self {
            Self::Run => "report.html",
            Self::Growth => "scale.html",
        }
    }

    /// Whether it may have a file of this name.
    fn names(self, path: &Path) -> bool {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return false;
        };
        let Some(plot) = name.strip_suffix(".svg") else {
            return name == self.page();
        };
        let mut begins = match self {
            Self::Run => {
                let mut all = Measure::ALL.map(Measure::slug).to_vec();
                all.extend(["cpu_", "hop_cost", "latency_", "rules_"]);
                all.into_iter()
            }
            Self::Growth => vec!["scale_"].into_iter(),
        };
        begins.any(|begin| plot.starts_with(begin))
    }
}

/// Whether there is nothing at `path`, or a file of an earlier report.
fn may_replace(path: &Path) -> io::Result<bool> {
    // Not followed if it is a link: what it leads to may be anybody's.
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        found => found?,
    };
    if !found.is_file() {
        return Ok(false);
    }
    let mut start = Vec::new();
    File::open(path)?
        .take(MARK_WITHIN)
        .read_to_end(&mut start)?;
    let start = String::from_utf8_lossy(&start);
    Ok(start.contains(page::MARK) || start.contains(plot::MARK))
}

/// Puts `content` at `path` in one step: a reader sees the old file or the new one.
fn replace(path: &Path, content: &str) -> Result<(), ReportError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = PathBuf::from(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(&new)
        .map_err(|source| file_error(&new, "create", source))?;
    let written = file
        .write_all(content.as_bytes())
        // Whatever the umask.
        .and_then(|()| file.set_permissions(fs::Permissions::from_mode(MODE)))
        .and_then(|()| fs::rename(&new, path));
    written.map_err(|source| {
        if let Err(error) = fs::remove_file(&new) {
            tracing::warn!("{}: left behind: {error}", new.display());
        }
        file_error(path, "write", source)
    })
}

fn file_error(path: &Path, step: &'static str, source: io::Error) -> ReportError {
    ReportError::File {
        path: path.to_owned(),
        step,
        source,
    }
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
