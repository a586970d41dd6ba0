//! Legacy xtables, as far as the kernel tells of them without being asked for each table: which ones there are.

use std::{fs, io};

use netpath_common::Family;

use super::error::NetfilterError;
use crate::{
    command::{self, CommandError},
    netns::Inside,
};

/// The tables of legacy iptables or ip6tables that the calling thread's namespace has (`filter`, `nat`, `mangle`, `raw`,
/// `security`). One that was looked at once stays until the namespace ends, with rules or without.
///
/// # Errors
/// When the kernel does not say.
pub fn legacy_tables(_inside: &Inside<'_>, family: Family) -> Result<Vec<String>, NetfilterError> {
    let path = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        // The kernel has none, or has not loaded them.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(NetfilterError::File { path, source }),
    }
}

/// Whether a legacy table of the calling thread's namespace does anything: it has rules, or a policy of DROP. Where nobody
/// can be asked, it may.
///
/// # Errors
/// When `iptables-legacy-save` fails.
pub fn legacy_table_acts(
    _inside: &Inside<'_>,
    family: Family,
    table: &str,
) -> Result<bool, NetfilterError> {
    let program = match family {
        Family::V4 => "iptables-legacy-save",
        Family::V6 => "ip6tables-legacy-save",
    };
    match command::run(program, &["-t", table], "") {
        Ok(text) => Ok(acts(&text)),
        Err(CommandError::Start { .. }) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn acts(saved: &str) -> bool {
    saved.lines().any(|line| {
        let is_policy = line.starts_with(':') && line.contains(" DROP ");
        is_policy || line.starts_with("-A ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_acts_by_rules_or_policies() {
        let empty = "*filter\n:INPUT ACCEPT [0:0]\n:OWN - [0:0]\nCOMMIT\n";
        assert!(!acts(empty));
        assert!(acts(&empty.replace("ACCEPT", "DROP")));
        assert!(acts(&empty.replace("COMMIT", "-A OWN -j DROP\nCOMMIT")));
    }
}
