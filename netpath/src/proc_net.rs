//! What the kernel counts in /proc/net, of a namespace's interfaces and of each family.
//!
//! /proc/thread-self/net is of the namespace that the thread is in, unlike /sys/class/net, which is of the mount's.

use std::{collections::BTreeMap, fs, io};

use netpath_common::Family;

use crate::{
    Ending, Ends,
    netns::{Netns, NetnsError},
};

const DEV: &str = "/proc/thread-self/net/dev";
/// Columns of packets in [`DEV`], behind the interface's name.
const RECEIVED: usize = 1;
const SENT: usize = 9;
const SNMP: &str = "/proc/thread-self/net/snmp";
const SNMP6: &str = "/proc/thread-self/net/snmp6";

/// Counters could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ProcNetError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// A file could not be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A file is not in the form that is known.
    #[error("{path}: cannot understand {line:?}")]
    Unreadable {
        /// The file.
        path: &'static str,
        /// The line in question, or what is missing.
        line: String,
    },
}

impl Ends for ProcNetError {
    fn ending(&self) -> Ending {
        match self {
            Self::Netns(error) => error.ending(),
            Self::File { .. } | Self::Unreadable { .. } => Ending::Failed,
        }
    }
}

/// Packets that each interface of a namespace has received.
///
/// # Errors
/// When the namespace cannot be entered, or the kernel writes something else than it does today.
pub fn received(netns: &Netns) -> Result<BTreeMap<String, u64>, ProcNetError> {
    counted(&read(netns, DEV)?, RECEIVED).map_err(unreadable(DEV))
}

/// Packets that each interface of a namespace has sent.
///
/// # Errors
/// As for [`received`].
pub fn sent(netns: &Netns) -> Result<BTreeMap<String, u64>, ProcNetError> {
    counted(&read(netns, DEV)?, SENT).map_err(unreadable(DEV))
}

/// Packets of a family that a namespace's kernel has forwarded: `ForwDatagrams` of RFC 1213 and
/// `ipv6IfStatsOutForwDatagrams` of RFC 2465. It counts what the FORWARD chain
/// drops afterwards, and nothing of what a TC program redirects.
///
/// # Errors
/// As for [`received`].
pub fn forwarded(netns: &Netns, family: Family) -> Result<u64, ProcNetError> {
    let (path, forwarded): (_, fn(&str) -> Option<u64>) = match family {
        Family::V4 => (SNMP, forwarded_v4),
        Family::V6 => (SNMP6, forwarded_v6),
    };
    let missing = || unreadable(path)("forwarded datagrams".to_owned());
    forwarded(&read(netns, path)?).ok_or_else(missing)
}

fn read(netns: &Netns, path: &'static str) -> Result<String, ProcNetError> {
    netns
        .run(|| fs::read_to_string(path))?
        .map_err(|source| ProcNetError::File { path, source })
}

fn unreadable(path: &'static str) -> impl Fn(String) -> ProcNetError {
    move |line| ProcNetError::Unreadable { path, line }
}

/// By the column in which they stand, or the line that is not as expected.
fn counted(text: &str, column: usize) -> Result<BTreeMap<String, u64>, String> {
    text.lines()
        // Two lines of headings.
        .skip(2)
        .map(|line| {
            let parsed = line.split_once(':').and_then(|(name, counters)| {
                let packets = counters.split_whitespace().nth(column)?.parse().ok()?;
                Some((name.trim().to_owned(), packets))
            });
            parsed.ok_or_else(|| line.to_owned())
        })
        .collect()
}

fn forwarded_v4(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Ip:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut columns = names.split_whitespace().zip(values.split_whitespace());
    let (_, value) = columns.find(|(name, _)| *name == "ForwDatagrams")?;
    value.parse().ok()
}

fn forwarded_v6(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix("Ip6OutForwDatagrams"))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_received() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
                    face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n    \
                    lo:       0       0    0    0    0     0          0         0        0       0\n\
                    vethhost01:98765   12    0    0    0     0          0         0      100       7\n";
        let received = counted(text, RECEIVED).expect("two interfaces");
        assert_eq!(received["lo"], 0);
        assert_eq!(received["vethhost01"], 12);
        let sent = counted(text, SENT).expect("two interfaces");
        assert_eq!(sent["vethhost01"], 7);
        let line = "vethhost01 98765 12".to_owned();
        assert_eq!(counted(&format!("a\nb\n{line}\n"), SENT), Err(line));
    }

    #[test]
    fn datagrams_forwarded() {
        let snmp = "Ip: Forwarding DefaultTTL InReceives ForwDatagrams InUnknownProtos\n\
                    Ip: 1 64 700 345 0\nIcmp: InMsgs\nIcmp: 9\n";
        assert_eq!(forwarded_v4(snmp), Some(345));
        let snmp6 =
            "Ip6InReceives                   \t700\nIp6OutForwDatagrams             \t345\n";
        assert_eq!(forwarded_v6(snmp6), Some(345));
        for text in ["", "Ip: ForwDatagrams\n", "Ip: Forwarding\nIp: 1\n"] {
            assert_eq!(
                (forwarded_v4(text), forwarded_v6(text)),
                (None, None),
                "{text}"
            );
        }
    }
}
