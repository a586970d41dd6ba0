//! Where a report goes, and what it leaves alone.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("netpath-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.0);
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

#[test]
fn files_are_written_for_everybody_to_read_and_replaced() {
    let scratch = Scratch::new("report-write");
    let dir = scratch.0.join("new/report");
    let (results, plots) = &*RUN;
    let first = write(&dir, results).unwrap();
    assert_eq!(first.len(), 1 + plots.len());
    assert_eq!(first[0], dir.join("report.html"));
    assert_eq!(write(&dir, results).unwrap(), first);
    let mut found: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let mut written = first.clone();
    found.sort();
    written.sort();
    assert_eq!(found, written);
    for path in &first {
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o7777,
            0o644
        );
    }
    let plot = fs::read_to_string(dir.join("hop_cost.svg")).unwrap();
    assert_eq!(plot, svg("hop_cost"));
}

#[test]
fn other_peoples_files_stay() {
    let scratch = Scratch::new("report-foreign");
    let theirs = scratch.0.join("hop_cost.svg");
    fs::write(&theirs, "<svg/>").unwrap();
    let error = write(&scratch.0, &RUN.0).unwrap_err();
    assert!(
        matches!(&error, ReportError::Foreign { path } if *path == theirs),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "<svg/>");
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1);

    fs::remove_file(&theirs).unwrap();
    let elsewhere = scratch.0.join("elsewhere");
    fs::write(&elsewhere, plot::MARK).unwrap();
    symlink(&elsewhere, &theirs).unwrap();
    let error = write(&scratch.0, &RUN.0).unwrap_err();
    assert!(
        matches!(&error, ReportError::Foreign { path } if *path == theirs),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), plot::MARK);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let scratch = Scratch::new("report-directory");
    let file = scratch.0.join("file");
    fs::write(&file, "").unwrap();
    let error = write(&file.join("below"), &RUN.0).unwrap_err();
    assert!(matches!(&error, ReportError::Directory { path, .. } if *path == file.join("below")));
}

#[test]
fn where_a_report_can_be_written_is_known_before() {
    let scratch = Scratch::new("report-check");
    // Made when it is needed, and not before.
    let new = scratch.0.join("new/report");
    check(&new, Kind::Run).unwrap();
    assert!(!scratch.0.join("new").exists());
    // An earlier report is replaced, and other files are nobody's business.
    write(&scratch.0, &RUN.0).unwrap();
    fs::write(scratch.0.join("notes.svg"), "<svg/>").unwrap();
    check(&scratch.0, Kind::Run).unwrap();

    let theirs = scratch.0.join("latency_same_node_v4.svg");
    fs::remove_file(&theirs).unwrap();
    fs::write(&theirs, "<svg/>").unwrap();
    let error = check(&scratch.0, Kind::Run).unwrap_err();
    assert!(
        matches!(&error, ReportError::Taken { path } if *path == theirs),
        "{error}"
    );
    assert_eq!(error.ending(), Ending::Refused);
    // The other report has other names.
    check(&scratch.0, Kind::Growth).unwrap();

    for dir in [
        theirs.clone(),
        theirs.join("below/it"),
        "/proc/report".into(),
    ] {
        let error = check(&dir, Kind::Run).unwrap_err();
        assert!(matches!(&error, ReportError::Unfit { .. }), "{error}");
        assert_eq!(error.ending(), Ending::Refused);
        assert!(
            error.to_string().contains("choose another directory"),
            "{error}"
        );
    }
}

#[test]
fn every_name_of_a_report_is_known_as_one() {
    let scratch = Scratch::new("report-names");
    for path in write(&scratch.0, &RUN.0).unwrap() {
        assert!(Kind::Run.names(&path), "{}", path.display());
        assert!(!Kind::Growth.names(&path), "{}", path.display());
    }
    for other in ["notes.svg", "report.txt", "scale.html"] {
        assert!(!Kind::Run.names(&scratch.0.join(other)), "{other}");
    }
}
