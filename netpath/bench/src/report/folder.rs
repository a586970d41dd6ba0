//! Whether a report can be written where it is wanted, before minutes are spent on what goes into it.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use nix::unistd::{AccessFlags, access};

use super::{Kind, ReportError, file_error, may_replace};

/// Fails where a report cannot be written: the directory cannot be made or written, or a file in it has a name of the report's
/// and is none of netpath's. Nothing is left behind.
///
/// # Errors
/// Then, and when it cannot be looked at.
pub fn check(dir: &Path, report: Kind) -> Result<(), ReportError> {
    let unfit = |path: &Path| {
        let path = path.to_owned();
        move |source| ReportError::Unfit { path, source }
    };
    let there = nearest(dir);
    if !fs::metadata(there).map_err(unfit(there))?.is_dir() {
        return Err(unfit(there)(ErrorKind::NotADirectory.into()));
    }
    // As the user whose the report will be: until then netpath may act on files as root.
    access(there, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|errno| unfit(there)(errno.into()))?;
    // Root may write everywhere, and yet no file system takes every file.
    let trial = there.join(format!(".netpath-report-{}", std::process::id()));
    File::create_new(&trial)
        .and_then(|_| fs::remove_file(&trial))
        .map_err(unfit(there))?;
    if there != dir {
        return Ok(());
    }
    for entry in fs::read_dir(dir).map_err(unfit(dir))? {
        let path = entry.map_err(unfit(dir))?.path();
        let is_in_the_way = report.names(&path)
            && !may_replace(&path).map_err(|source| file_error(&path, "examine", source))?;
        if is_in_the_way {
            return Err(ReportError::Taken { path });
        }
    }
    Ok(())
}

/// The directory itself, or what of its path is there.
fn nearest(dir: &Path) -> &Path {
    let is_there = |path: &&Path| {
        let found = fs::symlink_metadata(path);
        !matches!(
            found.map_err(|error: io::Error| error.kind()),
            Err(ErrorKind::NotFound)
        )
    };
    let mut above = dir
        .ancestors()
        .map(|path| match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        });
    above.find(is_there).unwrap_or(dir)
}
