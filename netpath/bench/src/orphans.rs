//! Labs of runs that were killed: their process is gone and could not remove them, so that the next run does.
//!
//! A name is taken for a lab's only if it is in the exact form that the benchmarks write, with the id of a process
//! that does not run any more; whatever it stands for is removed only as far as netpath's own records prove it to be
//! netpath's. A run in another PID namespace that shares /run/netns and the pins cannot be told from one that is gone.

use std::{fs, io::ErrorKind, path::Path, process};

use netpath::{
    datapath,
    model::WIRE_NAMESPACE_PREFIX,
    netns::NETNS_DIR,
    provision::{self, ProvisionError},
};

use super::error::{BenchError, file};

/// What the names of `netpath bench` start with.
const LAB: &str = "npb-";

/// What those of `netpath bench scale` start with.
const SCALE: &str = "npbs-";

/// The name of this process's lab of a number.
pub(super) fn lab_name(number: u32) -> String {
    format!("{LAB}{}-{number}", process::id())
}

/// The same for `netpath bench scale`: a node's suffix follows.
pub(super) fn scale_name(number: u32) -> String {
    format!("{SCALE}{}-{number}", process::id())
}

/// Takes away what is left of killed runs, and says what it could not take away.
///
/// # Errors
/// When the nodes or the namespaces cannot be listed.
pub(super) fn sweep() -> Result<Vec<String>, BenchError> {
    let mut nodes = datapath::nodes().map_err(ProvisionError::from)?;
    nodes.retain(|name| is_orphan(name, is_node));
    let mut left = Vec::new();
    for node in nodes {
        if let Err(error) = provision::down(std::slice::from_ref(&node), &mut |_| {}) {
            left.push(format!(
                "node {node} is left of a run that was killed, and is not removed: {error}"
            ));
        }
    }
    // What a node holds that could not be removed is proven by its records, and not to be deleted by hand.
    let candidates = if left.is_empty() {
        namespaces()?
    } else {
        Vec::new()
    };
    for name in candidates {
        let ours = name.strip_prefix(WIRE_NAMESPACE_PREFIX).unwrap_or(&name);
        if is_orphan(ours, |_, _| true) {
            left.push(format!(
                "namespace {name} is left of a run that was killed, and nothing proves it to be netpath's: remove it \
                 with `ip netns del {name}`"
            ));
        }
    }
    Ok(left)
}

fn namespaces() -> Result<Vec<String>, BenchError> {
    let entries = match fs::read_dir(NETNS_DIR) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(file(NETNS_DIR))?,
    };
    entries
        .map(|entry| {
            let name = entry.map_err(file(NETNS_DIR))?.file_name();
            Ok(name.to_string_lossy().into_owned())
        })
        .collect()
}

/// Whether a name is one of a run whose process is gone; `fits` judges what follows the run's number, by the prefix.
fn is_orphan(name: &str, fits: impl Fn(&str, &str) -> bool) -> bool {
    let parsed = [LAB, SCALE].into_iter().find_map(|prefix| {
        let (process, rest) = name.strip_prefix(prefix)?.split_once('-')?;
        let suffix = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let valid = suffix.len() < rest.len() && is_number(process) && fits(prefix, suffix);
        valid.then_some(process)
    });
    parsed.is_some_and(|process| !Path::new("/proc").join(process).exists())
}

/// Whether a suffix is that of a node, not of an endpoint.
fn is_node(prefix: &str, suffix: &str) -> bool {
    match prefix {
        LAB => matches!(suffix, "-n" | "-m"),
        _ => {
            let sized = suffix.strip_prefix(['t', 'i']);
            matches!(suffix, "k" | "n" | "r") || sized.is_some_and(is_number)
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::{process::Command, sync::Arc};

    use super::*;
    use crate::lab::Lab;

    /// The id of a process that has just ended, and is not given out again for a while.
    fn gone() -> u32 {
        let mut child = Command::new("true").spawn().expect("it starts");
        child.wait().expect("it ends");
        child.id()
    }

    #[test]
    fn only_names_of_runs_whose_process_is_gone_are_orphans() {
        let (gone, here) = (gone(), process::id());
        for suffix in ["npb-PID-0-n", "npb-PID-12-m", "npbs-PID-0k", "npbs-PID-0n"] {
            let name = suffix.replace("PID", &gone.to_string());
            assert!(is_orphan(&name, is_node), "{name}");
            let name = suffix.replace("PID", &here.to_string());
            assert!(!is_orphan(&name, is_node), "{name}");
        }
        for suffix in ["npbs-PID-0r", "npbs-PID-1t0", "npbs-PID-0i5000"] {
            let name = suffix.replace("PID", &gone.to_string());
            assert!(is_orphan(&name, is_node), "{name}");
        }
        // Somebody's own, or an endpoint's.
        for other in [
            "npb-PID-n",
            "npb-PID--n",
            "npb-PID-0-a",
            "npb-PID-0-nx",
            "npb-PID-0",
            "npb-xPID-0-n",
            "npb--0-n",
            "npbs-PID-0t",
            "npbs-PID-0tx",
            "npbs-PID-0ka",
            "bs-PID-0k",
            "PID-0-n",
        ] {
            let name = other.replace("PID", &gone.to_string());
            assert!(!is_orphan(&name, is_node), "{name}");
        }
        let endpoint = format!("npb-{gone}-0-a");
        assert!(is_orphan(&endpoint, |_, _| true));
    }

    /// What of a lab is there: pins and namespaces, the wire's too.
    fn there(lab: &str) -> Vec<String> {
        let mut all = datapath::nodes().expect("readable");
        all.extend(namespaces().expect("readable"));
        all.retain(|name| name.contains(lab));
        all.sort();
        all
    }

    #[test]
    fn the_lab_of_a_killed_run_is_taken_away_and_others_stay() {
        let name = |process: u32| format!("npb-{process}-990");
        let (orphan, ours) = (name(gone()), name(process::id()));
        let [lab, living] = [&orphan, &ours].map(|name| Lab::named(name, &Arc::default()));
        let (_lab, _living) = (lab.expect("a lab"), living.expect("a lab"));
        // Two nodes' pins and namespaces, four endpoints and the wire.
        assert_eq!(there(&ours).len(), 2 * 2 + 4 + 1);
        let left = sweep().expect("readable");
        assert_eq!(there(&orphan), [] as [String; 0]);
        assert!(!left.iter().any(|left| left.contains(&orphan)), "{left:?}");
        assert_eq!(there(&ours).len(), 2 * 2 + 4 + 1);
    }

    #[test]
    fn a_namespace_without_proof_is_named_and_stays() {
        struct Foreign(String);
        impl Drop for Foreign {
            fn drop(&mut self) {
                if let Err(error) = netpath::netns::Netns::remove(&self.0) {
                    eprintln!("clean-up: {}: {error}", self.0);
                }
            }
        }
        let name = format!("npb-{}-991-a", gone());
        let made = Command::new("ip").args(["netns", "add", &name]).status();
        assert!(made.expect("iproute2").success());
        let foreign = Foreign(name);
        let left = sweep().expect("readable");
        let told = format!("`ip netns del {}`", foreign.0);
        assert!(left.iter().any(|left| left.contains(&told)), "{left:?}");
        assert_eq!(there(&foreign.0), [foreign.0.as_str()]);
    }
}
