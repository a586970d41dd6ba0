//! The FORWARD chain, read and changed the way an administrator would: with iptables and ip6tables.

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

use netpath::netns::Netns;
use netpath_common::Family;

use super::{cast::iptables, error::DemoError};

/// Packets and bytes, as the packet filter counts them: bytes from the IP header on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

impl Count {
    /// What was counted since.
    pub fn since(self, before: Self) -> Self {
        Self {
            packets: self.packets.wrapping_sub(before.packets),
            bytes: self.bytes.wrapping_sub(before.bytes),
        }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} packets, {} bytes", self.packets, self.bytes)
    }
}

/// The FORWARD chain of one family, as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// `DROP` or `ACCEPT`.
    pub policy: String,
    /// Packets that no rule decided.
    pub by_policy: Count,
    /// Packets that each rule matched.
    pub by_rule: Vec<Count>,
    /// The listing.
    pub text: String,
}

impl Chain {
    /// All that the rules matched.
    pub fn by_rules(&self) -> Count {
        let mut sum = Count::default();
        for rule in &self.by_rule {
            sum.packets += rule.packets;
            sum.bytes += rule.bytes;
        }
        sum
    }

    /// All that came to the chain.
    pub fn total(&self) -> Count {
        let rules = self.by_rules();
        Count {
            packets: self.by_policy.packets + rules.packets,
            bytes: self.by_policy.bytes + rules.bytes,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (policy, counters) = lines
            .next()?
            .strip_prefix("Chain FORWARD (policy ")?
            .strip_suffix(" bytes)")?
            .split_once(' ')?;
        let (packets, bytes) = counters.split_once(" packets, ")?;
        let by_rule = lines
            // The columns' names.
            .skip(1)
            .filter(|line| !line.trim().is_empty())
            .map(|line| {
                let mut words = line.split_whitespace();
                count(words.next()?, words.next()?)
            })
            .collect::<Option<_>>()?;
        Some(Self {
            policy: policy.to_owned(),
            by_policy: count(packets, bytes)?,
            by_rule,
            text: text.trim_end().to_owned(),
        })
    }
}

fn count(packets: &str, bytes: &str) -> Option<Count> {
    Some(Count {
        packets: packets.parse().ok()?,
        bytes: bytes.parse().ok()?,
    })
}

/// What to do with rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    Append,
    Delete,
}

/// Reads a namespace's FORWARD chain.
pub fn forward(netns: &Netns, family: Family) -> Result<Chain, DemoError> {
    let text = run(netns, family, &LIST)?;
    Chain::parse(&text).ok_or_else(|| DemoError::Unreadable {
        what: format!("the output of `{} {}`", iptables(family), LIST.join(" ")),
        line: text.lines().next().unwrap_or_default().to_owned(),
    })
}

/// Numbers only, exact, with interfaces; waits for others who use the packet filter.
const LIST: [&str; 3] = ["-w", "-nvxL", "FORWARD"];

/// The command that shows the chain.
pub fn list_command(netns: &str, family: Family) -> String {
    format!(
        "ip netns exec {netns} {} {}",
        iptables(family),
        LIST.join(" ")
    )
}

/// Appends or deletes the rules that accept all that comes from or goes to some devices; returns the
/// commands that do the same.
pub fn accept(
    netns: &Netns,
    family: Family,
    edit: Edit,
    devices: &[&str],
) -> Result<Vec<String>, DemoError> {
    let edit = match edit {
        Edit::Append => "-A",
        Edit::Delete => "-D",
    };
    let mut commands = Vec::new();
    for device in devices {
        for direction in ["-i", "-o"] {
            let rule = ["-w", edit, "FORWARD", direction, device, "-j", "ACCEPT"];
            run(netns, family, &rule)?;
            commands.push(format!(
                "ip netns exec {} {} {}",
                netns.name(),
                iptables(family),
                rule.join(" ")
            ));
        }
    }
    Ok(commands)
}

/// A Ctrl-C on the terminal is for netpath alone: hence a process group of its own.
fn run(netns: &Netns, family: Family, arguments: &[&str]) -> Result<String, DemoError> {
    let program = iptables(family);
    let line = || format!("{program} {}", arguments.join(" "));
    let output = netns
        .run(|| {
            Command::new(program)
                .args(arguments)
                .env("LC_ALL", "C")
                .stdin(Stdio::null())
                .process_group(0)
                .output()
        })?
        .map_err(|source| DemoError::Start {
            command: line(),
            source,
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(DemoError::Command {
        command: line(),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: &str =
        "    pkts      bytes target     prot opt in     out     source               destination";

    #[test]
    fn an_empty_chain() {
        let text = format!("Chain FORWARD (policy DROP 3 packets, 252 bytes)\n{HEADING}\n");
        let chain = Chain::parse(&text).expect("a chain");
        assert_eq!(chain.policy, "DROP");
        assert_eq!(chain.total().to_string(), "3 packets, 252 bytes");
        assert_eq!(chain.by_rule, []);
    }

    #[test]
    fn rules_are_counted() {
        let text = format!(
            "Chain FORWARD (policy ACCEPT 0 packets, 0 bytes)\n{HEADING}\n\
             \x20      5      420 ACCEPT     0    --  veth1  *       0.0.0.0/0            0.0.0.0/0\n\
             \x20      7      588            0    --  *      veth1   0.0.0.0/0            0.0.0.0/0\n"
        );
        let chain = Chain::parse(&text).expect("a chain");
        let sum = Count {
            packets: 12,
            bytes: 1008,
        };
        assert_eq!((chain.by_rule.len(), chain.by_rules()), (2, sum));
        assert_eq!(sum.since(chain.by_rule[0]).packets, 7);
    }

    #[test]
    fn what_is_no_listing_is_refused() {
        for text in [
            "",
            "Chain INPUT (policy DROP 3 packets, 252 bytes)\n",
            "Chain FORWARD (policy DROP 3K packets, 252 bytes)\n",
            "Chain FORWARD (policy DROP 3 packets, 252 bytes)\nx\nnone at all\n",
        ] {
            assert_eq!(Chain::parse(text), None, "{text}");
        }
    }
}
