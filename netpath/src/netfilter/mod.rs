//! The kernel's packet filter: read and changed the way an administrator would, with `iptables`, `ip6tables` and `nft`;
//! and all of nf_tables read over netlink ([`nft`]).
//!
//! Everything here acts in the namespace of the calling thread.

mod chain;
pub mod conntrack;
mod error;
mod iptables;
mod legacy;
pub mod nft;
mod save;
mod texts;

#[cfg(test)]
pub(crate) use self::legacy::read as read_legacy;

use std::{fs, io};

use netpath_common::Family;

pub use self::{
    chain::{Chain, Count, Policy, Rule},
    error::NetfilterError,
    iptables::Iptables,
    legacy::{legacy_rules, legacy_tables, priority as legacy_priority},
    texts::{RuleTexts, add_texts},
};

use crate::command;

/// The tables of iptables, of nf_tables and legacy.
pub const IPTABLES_TABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];

const CONNTRACK_COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// Packets that a named counter of an nftables table has counted.
///
/// # Errors
/// When there is no such counter, or nft is not installed.
pub fn nft_counter(family: Family, table: &str, counter: &str) -> Result<u64, NetfilterError> {
    let family = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    let arguments = ["list", "counter", family, table, counter];
    let text = command::run("nft", &arguments, "")?;
    counted(&text)
        .ok_or_else(|| NetfilterError::unreadable(&command::line("nft", &arguments), &text))
}

/// Connections that are tracked.
///
/// # Errors
/// When the kernel does not say.
pub fn connections() -> Result<u64, NetfilterError> {
    let text = match fs::read_to_string(CONNTRACK_COUNT) {
        // Nothing has asked for connection tracking since the machine started.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        text => text.map_err(|source| NetfilterError::File {
            path: CONNTRACK_COUNT,
            source,
        })?,
    };
    let count = text.trim().parse();
    count.map_err(|_| NetfilterError::unreadable(CONNTRACK_COUNT, &text))
}

fn counted(text: &str) -> Option<u64> {
    let mut words = text
        .split_whitespace()
        .skip_while(|word| *word != "packets");
    words.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_of_nftables() {
        let text = "table ip bench {\n\tcounter accepted {\n\t\tpackets 17 bytes 1204\n\t}\n}\n";
        assert_eq!(counted(text), Some(17));
        assert_eq!(counted("table ip bench {\n}\n"), None);
    }
}
