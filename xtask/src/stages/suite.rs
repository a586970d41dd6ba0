//! Running the conformance suite, and which of its cases failed.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::conformance;

/// It takes half a minute.
const LIMIT: Duration = Duration::from_secs(300);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Runs only cases whose name contains this.
const ONLY_VARIABLE: &str = "NETPATH_CONFORMANCE_ONLY";

/// What the panic message of the suite says of a number of cases.
const DIFFER: &str = " cases differ:";
/// And of a case whose end could not be seen.
const LOST: &str = "behind its frames is lost";

/// The cases that fail, by name; none if the suite passes. Of all, or of those whose name contains `only`.
pub fn failing(executable: &Path, log: &Path, only: Option<&str>) -> Result<Vec<String>> {
    let file = File::create(log).with_context(|| format!("make {}", log.display()))?;
    let mut suite = Command::new(executable);
    suite
        .args(["--nocapture", "--exact", conformance::TEST])
        .env("RUST_BACKTRACE", "0")
        .env_remove(ONLY_VARIABLE)
        .env_remove("NETPATH_CONFORMANCE_PAGE")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file);
    if let Some(only) = only {
        suite.env(ONLY_VARIABLE, only);
    }
    let mut child = suite
        .spawn()
        .with_context(|| format!("cannot start {}", executable.display()))?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            bail!("the suite had no result after {} s", LIMIT.as_secs());
        }
        thread::sleep(POLL_INTERVAL);
    };
    let said = fs::read_to_string(log).with_context(|| format!("read {}", log.display()))?;
    if status.success() {
        return Ok(Vec::new());
    }
    names(&said).with_context(|| format!("the suite failed otherwise than by a case:\n{said}"))
}

/// The cases that a failed suite names; `None` if it failed for something else, which proves nothing.
fn names(said: &str) -> Option<Vec<String>> {
    if let Some(lost) = said.lines().find(|line| line.ends_with(LOST)) {
        return Some(vec![lost.to_owned()]);
    }
    let mut lines = said.lines();
    let count = lines.find_map(|line| {
        let (count, _total) = line.strip_suffix(DIFFER)?.split_once(" of ")?;
        count.parse::<usize>().ok()
    })?;
    let is_name = |line: &&str| !line.starts_with(' ') && line.ends_with(')');
    let names: Vec<String> = lines
        .filter(is_name)
        .take(count)
        .map(str::to_owned)
        .collect();
    (names.len() == count).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn cases_are_named() {
        let said = "\nthread 'x' panicked at tests/tests/packets/conformance.rs:46:5:\n\
            2 of 1919 cases differ:\nTTL 1, UDP (V4, same node)\n  counted: {\"a\": 1}\n  only with kernel : a1: x\n    00 (1)\n\
            \nTTL 2, UDP (V6, to another node)\n  counted: {}\n\nnote: run with `RUST_BACKTRACE=1`\n";
        let expected = [
            "TTL 1, UDP (V4, same node)",
            "TTL 2, UDP (V6, to another node)",
        ];
        assert_eq!(names(said).unwrap(), expected);
    }

    #[test]
    fn a_lost_marker_is_a_failure_of_its_case() {
        let said = "panicked at x:\nTTL 1 (V4, same node): the V4 marker to a2 behind its frames is lost\n";
        assert_eq!(names(said).unwrap().len(), 1);
    }

    #[test]
    fn another_failure_is_none_of_a_case() {
        assert_eq!(
            names("panicked at x:\nthe verifier refuses from_uplink\n"),
            None
        );
        assert_eq!(
            names("3 of 9 cases differ:\nonly one (V4, same node)\n"),
            None
        );
    }
}
