//! A chain as `iptables -nvxL CHAIN` lists it.

use std::{fmt, str::FromStr};

/// Packets and bytes, as the packet filter counts them: bytes from the IP header on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Count {
    /// What was counted since.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            packets: self.packets.wrapping_sub(before.packets),
            bytes: self.bytes.wrapping_sub(before.bytes),
        }
    }

    fn read(packets: &str, bytes: &str) -> Option<Self> {
        Some(Self {
            packets: packets.parse().ok()?,
            bytes: bytes.parse().ok()?,
        })
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packets, {} bytes", self.packets, self.bytes)
    }
}

/// What becomes of packets that no rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// They pass.
    Accept,
    /// They do not.
    Drop,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Accept => "ACCEPT",
            Self::Drop => "DROP",
        })
    }
}

impl FromStr for Policy {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "ACCEPT" => Ok(Self::Accept),
            "DROP" => Ok(Self::Drop),
            _ => Err(()),
        }
    }
}

/// A rule, as far as its listing is of the same form for all rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it matched.
    pub count: Count,
    /// The third column: its target; the protocol of a rule that has none.
    pub target: String,
}

/// A built-in chain with its counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// For packets that no rule decides.
    pub policy: Policy,
    /// Packets that no rule decided.
    pub by_policy: Count,
    /// The rules, in their order.
    pub rules: Vec<Rule>,
    /// The listing.
    pub text: String,
}

impl Chain {
    /// All that the rules matched.
    pub fn by_rules(&self) -> Count {
        let mut sum = Count::default();
        for rule in &self.rules {
            sum.packets += rule.count.packets;
            sum.bytes += rule.count.bytes;
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

    /// Reads a listing; `None` where it is none of this chain.
    pub(super) fn parse(chain: &str, text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (policy, counters) = lines
            .next()?
            .strip_prefix("Chain ")?
            .strip_prefix(chain)?
            .strip_prefix(" (policy ")?
            .strip_suffix(" bytes)")?
            .split_once(' ')?;
        let (packets, bytes) = counters.split_once(" packets, ")?;
        let rules = lines
            // The columns' names.
            .skip(1)
            .filter(|line| !line.trim().is_empty())
            .map(|line| {
                let mut words = line.split_whitespace();
                Some(Rule {
                    count: Count::read(words.next()?, words.next()?)?,
                    target: words.next()?.to_owned(),
                })
            })
            .collect::<Option<_>>()?;
        Some(Self {
            policy: policy.parse().ok()?,
            by_policy: Count::read(packets, bytes)?,
            rules,
            text: text.trim_end().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: &str =
        "    pkts      bytes target     prot opt in     out     source               destination";

    #[test]
    fn an_empty_chain() {
        let text = format!("Chain FORWARD (policy DROP 3 packets, 252 bytes)\n{HEADING}\n");
        let chain = Chain::parse("FORWARD", &text).expect("a chain");
        assert_eq!(chain.policy, Policy::Drop);
        assert_eq!(chain.total().to_string(), "3 packets, 252 bytes");
        assert_eq!(chain.rules, []);
    }

    #[test]
    fn rules_are_counted() {
        let text = format!(
            "Chain FORWARD (policy ACCEPT 0 packets, 0 bytes)\n{HEADING}\n\
             \x20      5      420 ACCEPT     0    --  veth1  *       0.0.0.0/0            0.0.0.0/0\n\
             \x20      7      588            0    --  *      veth1   0.0.0.0/0            0.0.0.0/0\n"
        );
        let chain = Chain::parse("FORWARD", &text).expect("a chain");
        let sum = Count {
            packets: 12,
            bytes: 1008,
        };
        assert_eq!((chain.rules.len(), chain.by_rules()), (2, sum));
        assert_eq!(sum.since(chain.rules[0].count).packets, 7);
        let targets: Vec<&str> = chain.rules.iter().map(|rule| &*rule.target).collect();
        assert_eq!(targets, ["ACCEPT", "0"]);
    }

    #[test]
    fn what_is_no_listing_is_refused() {
        for text in [
            "",
            "Chain INPUT (policy DROP 3 packets, 252 bytes)\n",
            "Chain FORWARD (policy DROP 3K packets, 252 bytes)\n",
            "Chain FORWARD (policy DROP 3 packets, 252 bytes)\nx\nnone at all\n",
        ] {
            assert_eq!(Chain::parse("FORWARD", text), None, "{text}");
        }
    }
}
