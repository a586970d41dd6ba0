//! The kernel's own count of what came in by an interface.

use std::{collections::BTreeMap, fs};

use netpath::netns::Netns;

use super::error::DemoError;

/// Of the calling thread's namespace, unlike /sys/class/net, which is of the mount's.
const FILE: &str = "/proc/thread-self/net/dev";

/// Packets that the kernel received, by interface.
pub fn received(netns: &Netns) -> Result<BTreeMap<String, u64>, DemoError> {
    let text = netns
        .run(|| fs::read_to_string(FILE))?
        .map_err(|source| DemoError::File { path: FILE, source })?;
    parse(&text)
}

fn parse(text: &str) -> Result<BTreeMap<String, u64>, DemoError> {
    text.lines()
        // Two lines of headings.
        .skip(2)
        .map(|line| {
            let parsed = line.split_once(':').and_then(|(name, counters)| {
                let packets = counters.split_whitespace().nth(1)?.parse().ok()?;
                Some((name.trim().to_owned(), packets))
            });
            parsed.ok_or_else(|| DemoError::Unreadable {
                what: FILE.to_owned(),
                line: line.to_owned(),
            })
        })
        .collect()
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
        let received = parse(text).expect("two interfaces");
        assert_eq!(received["lo"], 0);
        assert_eq!(received["vethhost01"], 12);
        assert!(parse("a\nb\nvethhost01 98765 12\n").is_err());
    }
}
