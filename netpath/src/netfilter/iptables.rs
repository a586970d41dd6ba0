//! iptables and ip6tables.

use netpath_common::Family;

use super::{
    chain::{Chain, Policy},
    error::NetfilterError,
};
use crate::command::{self, CommandError};

/// The program that speaks for a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Iptables {
    program: &'static str,
}

impl Iptables {
    /// In the variant that the machine has chosen.
    pub fn new(family: Family) -> Self {
        Self {
            program: match family {
                Family::V4 => "iptables",
                Family::V6 => "ip6tables",
            },
        }
    }

    /// In the nf_tables variant. Tables of the legacy one cannot be taken out of a namespace again.
    pub fn nft(family: Family) -> Self {
        Self {
            program: match family {
                Family::V4 => "iptables-nft",
                Family::V6 => "ip6tables-nft",
            },
        }
    }

    /// Its name.
    pub fn program(self) -> &'static str {
        self.program
    }

    /// Runs it; waits for others who use the packet filter.
    ///
    /// # Errors
    /// When it is not there, or refuses.
    pub fn run(self, arguments: &[&str]) -> Result<String, CommandError> {
        command::run(self.program, &waiting(arguments), "")
    }

    /// That command, as one types it.
    pub fn line(self, arguments: &[&str]) -> String {
        command::line(self.program, &waiting(arguments))
    }

    /// Fails if it is not installed.
    ///
    /// # Errors
    /// When it does not start.
    pub fn require(self) -> Result<(), CommandError> {
        command::run(self.program, &["--version"], "").map(drop)
    }

    /// A chain of the filter table, with exact counters.
    ///
    /// # Errors
    /// When there is no such chain, or its listing is not in the form that is known.
    pub fn chain(self, chain: &str) -> Result<Chain, NetfilterError> {
        let arguments = Self::list(chain);
        let text = self.run(&arguments)?;
        Chain::parse(chain, &text)
            .ok_or_else(|| NetfilterError::unreadable(&self.line(&arguments), &text))
    }

    /// The arguments that list a chain: numbers only, exact, with interfaces.
    pub fn list(chain: &str) -> [&str; 2] {
        ["-nvxL", chain]
    }

    /// The policy of a chain of the filter table, whatever its rules are.
    ///
    /// # Errors
    /// When there is no such chain, or it is a user's own, which has none.
    pub fn policy(self, chain: &str) -> Result<Policy, NetfilterError> {
        let arguments = ["-S", chain];
        let text = self.run(&arguments)?;
        policy_of(chain, &text)
            .ok_or_else(|| NetfilterError::unreadable(&self.line(&arguments), &text))
    }

    /// Sets the policy of a chain of the filter table.
    ///
    /// # Errors
    /// When it is not there, or refuses.
    pub fn set_policy(self, chain: &str, policy: Policy) -> Result<(), CommandError> {
        self.run(&["-P", chain, &policy.to_string()]).map(drop)
    }
}

fn waiting<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    std::iter::once("-w")
        .chain(arguments.iter().copied())
        .collect()
}

fn policy_of(chain: &str, text: &str) -> Option<Policy> {
    let start = format!("-P {chain} ");
    let policy = text.lines().find_map(|line| line.strip_prefix(&start))?;
    policy.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_among_rules() {
        let text = "-P FORWARD DROP\n-A FORWARD -i veth1 -j ACCEPT\n";
        assert_eq!(policy_of("FORWARD", text), Some(Policy::Drop));
        assert_eq!(policy_of("INPUT", text), None);
        assert_eq!(policy_of("OWN", "-N OWN\n"), None);
    }

    #[test]
    fn a_command_as_one_types_it() {
        let line = Iptables::nft(Family::V6).line(&Iptables::list("FORWARD"));
        assert_eq!(line, "ip6tables-nft -w -nvxL FORWARD");
    }
}
