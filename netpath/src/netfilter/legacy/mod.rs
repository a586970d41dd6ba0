//! Legacy xtables: which tables there are, as the kernel tells without being asked for each, and what
//! `iptables-legacy-save` says of them.

mod rule;
mod saved;
mod target;

use std::{fs, io};

use netpath_common::Family;

use super::{
    Policy,
    error::NetfilterError,
    nft::{ChainId, WholeChain},
};
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

/// What a legacy table of the calling thread's namespace holds, as chains of [`Whole`](super::nft::Whole) of a table named
/// `filter (legacy)` and the like; `None` where `iptables-legacy-save` is not installed. A table that does nothing, without
/// rules and policies, has no chains.
///
/// # Errors
/// When the program fails, or says what it does not say today.
pub fn legacy_chains(
    _inside: &Inside<'_>,
    family: Family,
    table: &str,
) -> Result<Option<Vec<(ChainId, WholeChain)>>, NetfilterError> {
    let program = match family {
        Family::V4 => "iptables-legacy-save",
        Family::V6 => "ip6tables-legacy-save",
    };
    let arguments = ["-c", "-t", table];
    let text = match command::run(program, &arguments, "") {
        Ok(text) => text,
        Err(CommandError::Start { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let chains = saved::read(family, table, &text)
        .ok_or_else(|| NetfilterError::unreadable(&command::line(program, &arguments), &text))?;
    let acts = chains.iter().any(|(_, chain)| {
        let drops = chain
            .base
            .as_ref()
            .is_some_and(|base| base.policy == Policy::Drop);
        drops || !chain.rules.is_empty()
    });
    Ok(Some(if acts { chains } else { Vec::new() }))
}
