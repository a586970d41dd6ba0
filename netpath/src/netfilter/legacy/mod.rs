//! Legacy xtables: which tables there are, as the kernel tells without being asked for each, and what
//! `iptables-legacy-save` says of them, for netlink does not list them.

mod rule;
mod saved;
mod target;

#[cfg(test)]
pub use self::saved::read;

use std::{fs, io};

use netpath_common::Family;

use super::{
    error::NetfilterError,
    nft::{Hook, Ruleset},
};
use crate::{command, netns::Inside};

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

/// What the legacy tables of the calling thread's namespace hold, as the chains of nf_tables that would do the same.
///
/// # Errors
/// When `iptables-legacy-save` is not installed, fails, or says what it does not say today.
pub fn legacy_rules(_inside: &Inside<'_>, family: Family) -> Result<Ruleset, NetfilterError> {
    let program = match family {
        Family::V4 => "iptables-legacy-save",
        Family::V6 => "ip6tables-legacy-save",
    };
    let arguments = ["-c"];
    let text = command::run(program, &arguments, "")?;
    saved::read(family, &text)
        .ok_or_else(|| NetfilterError::unreadable(&command::line(program, &arguments), &text))
}

/// Where a legacy table is called (`NF_IP_PRI_*` of linux/netfilter_ipv4.h; IPv6 has the same), if it is called at this hook.
pub fn priority(table: &str, hook: Hook) -> Option<i32> {
    use Hook::{Forward, Input, Output, Postrouting, Prerouting};
    Some(match (table, hook) {
        ("raw", Prerouting | Output) => -300,
        ("mangle", Prerouting | Input | Forward | Output | Postrouting) => -150,
        ("nat", Prerouting | Output) => -100,
        ("nat", Input | Postrouting) => 100,
        ("filter", Input | Forward | Output) => 0,
        ("security", Input | Forward | Output) => 50,
        _ => return None,
    })
}
