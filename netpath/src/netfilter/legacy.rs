//! Legacy xtables, as far as the kernel tells of them without being asked for each table: which ones there are.

use std::{fs, io};

use netpath_common::Family;

use super::error::NetfilterError;
use crate::netns::Inside;

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
