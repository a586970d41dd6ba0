//! What a base chain's rules would do to packets, and to which.

mod judge;
mod walk;

pub use self::judge::Judged;

use super::{
    condition::{Conditions, NamePattern, Packets, Share},
    ruleset::Hook,
};

/// What is done to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EffectKind {
    /// It is dropped, or answered with an error.
    Drop,
    /// Its mark is set, by which rules choose a routing table.
    Mark,
    /// It goes elsewhere, or a copy of it does: `nat`, `tproxy`, `dup`, `fwd`, ...; by what.
    Redirect(String),
    /// It goes to a program.
    Queue,
    /// Its connection is not tracked.
    Notrack,
    /// Anything else, by its name; also what is not known to change anything.
    Other(String),
}

/// One thing that a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// What.
    pub kind: EffectKind,
    /// To which packets.
    pub conditions: Conditions,
    /// The chain that says so.
    pub chain: String,
    /// The rule, by its number; `None`: the chain's policy.
    pub rule: Option<u64>,
    /// What may have ended the way of packets before.
    after: Option<usize>,
}

/// Whether an effect meets some packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// None of them.
    No,
    /// At least some of them, by conditions that are all understood.
    Yes,
    /// Some of them, or none: not all conditions are understood.
    Perhaps,
}

/// Packets that go no further, and those before.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ended {
    conditions: Conditions,
    before: Option<usize>,
    /// They were dropped, or went to a program.
    is_lost: bool,
}

/// All that a base chain's rules do, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effects {
    hook: Hook,
    devices: Vec<NamePattern>,
    effects: Vec<Effect>,
    ended: Vec<Ended>,
}

impl Effects {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Effect> {
        self.effects.iter()
    }

    /// Each of them, with whether it may meet any of these packets.
    pub fn meetings(&self, packets: &Packets<'_>) -> Vec<(&Effect, Meeting)> {
        let before = self.stopped(packets);
        let elsewhere = self.elsewhere(packets);
        let meeting = |effect: &Effect| {
            let before = effect.after.map_or(Share::None, |index| before[index]);
            let here = effect.conditions.share(packets);
            match (here, before) {
                _ if elsewhere => Meeting::No,
                (Share::None, _) | (_, Share::All) => Meeting::No,
                (_, Share::None) if effect.conditions.exact() => Meeting::Yes,
                _ => Meeting::Perhaps,
            }
        };
        self.effects
            .iter()
            .map(|effect| (effect, meeting(effect)))
            .collect()
    }

    /// Whether the chain is of other interfaces than theirs.
    fn elsewhere(&self, packets: &Packets<'_>) -> bool {
        let device = match self.hook {
            Hook::Ingress => packets.iif,
            Hook::Egress => packets.oif,
            _ => None,
        };
        device.is_some_and(|device| {
            let mut devices = self.devices.iter();
            !devices.any(|pattern| pattern.matches(device.name))
        })
    }

    /// How many of the packets have been stopped by each end and those before it, each of which is of a lower index.
    fn stopped(&self, packets: &Packets<'_>) -> Vec<Share> {
        let mut stopped: Vec<Share> = Vec::with_capacity(self.ended.len());
        for ended in &self.ended {
            let before = ended.before.map_or(Share::None, |index| stopped[index]);
            stopped.push(before.max(ended.conditions.share(packets)));
        }
        stopped
    }
}
