//! The rules that the story adds and takes away, the way an administrator would.

use netpath::{
    netfilter::{Chain, Iptables, NetfilterError},
    netns::Netns,
};
use netpath_common::Family;

use super::error::DemoError;

const CHAIN: &str = "FORWARD";

/// What to do with rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    Append,
    Delete,
}

/// Reads a namespace's FORWARD chain.
pub fn forward(netns: &Netns, family: Family) -> Result<Chain, DemoError> {
    Ok(netns.run(|| Iptables::new(family).chain(CHAIN))??)
}

/// The command that shows the chain.
pub fn list_command(netns: &str, family: Family) -> String {
    typed(netns, family, &Iptables::list(CHAIN))
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
            let rule = [edit, CHAIN, direction, device, "-j", "ACCEPT"];
            netns
                .run(|| Iptables::new(family).run(&rule))?
                .map_err(NetfilterError::from)?;
            commands.push(typed(netns.name(), family, &rule));
        }
    }
    Ok(commands)
}

fn typed(netns: &str, family: Family, arguments: &[&str]) -> String {
    format!(
        "ip netns exec {netns} {}",
        Iptables::new(family).line(arguments)
    )
}
