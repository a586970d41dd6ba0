//! Whether an effect meets packets of connections that nobody marks or translates: sharper than [`Effects::meetings`], which has
//! to hold for all packets that there may be.

use super::{
    super::{
        about::About,
        condition::{Conditions, Packets, Share},
    },
    Effect, EffectKind, Effects,
};

/// Whether an effect meets some packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// None of them.
    Never,
    /// None but those that connection tracking takes for invalid.
    Rarely,
    /// It cannot be told, because of these conditions.
    Perhaps(Vec<String>),
    /// Some of them.
    Surely,
}

/// How much of some packets conditions hold for.
#[derive(Clone, Copy, Debug)]
struct Held {
    share: Share,
    /// It cannot be told.
    doubtful: bool,
    /// Only what is invalid.
    rare: bool,
    /// Of packets in these states only, and of all of those; of all states where nothing is asked.
    states: u32,
}

/// What has been stopped so far.
#[derive(Clone, Copy, Debug, Default)]
struct Stopped {
    all: bool,
    /// All packets in these states.
    states: u32,
    /// The first end of which it cannot be told.
    doubtful: Option<usize>,
    /// The first of those whose packets pass.
    passes: Option<usize>,
}

impl Effects {
    /// Each of them, with whether it meets any of these packets.
    pub fn judged(&self, packets: &Packets<'_>) -> Vec<(&Effect, Judged)> {
        let stopped = self.judged_stops(packets);
        let elsewhere = self.elsewhere(packets);
        let judged = |effect: &Effect| {
            let before = effect.after.map_or(Stopped::default(), |at| stopped[at]);
            let here = effect.conditions.held(packets);
            if elsewhere || before.all || here.share == Share::None {
                return Judged::Never;
            }
            if !here.doubtful && here.states & !before.states == 0 {
                return Judged::Never;
            }
            let mut doubts = effect.conditions.doubts();
            // What may be lost before is lost here at the latest.
            let doubtful = match effect.kind {
                EffectKind::Drop => before.passes,
                _ => before.doubtful,
            };
            if let Some(at) = doubtful {
                doubts.extend(self.ended[at].conditions.doubts());
            }
            match doubts.is_empty() {
                false => Judged::Perhaps(doubts),
                true if here.rare => Judged::Rarely,
                true => Judged::Surely,
            }
        };
        self.effects.iter().map(|it| (it, judged(it))).collect()
    }

    fn judged_stops(&self, packets: &Packets<'_>) -> Vec<Stopped> {
        let mut all: Vec<Stopped> = Vec::with_capacity(self.ended.len());
        for (at, ended) in self.ended.iter().enumerate() {
            let mut stopped = ended.before.map_or(Stopped::default(), |it| all[it]);
            let here = ended.conditions.held(packets);
            match (here.share, here.doubtful) {
                (Share::None, _) => {}
                (_, true) => {
                    stopped.doubtful = stopped.doubtful.or(Some(at));
                    stopped.passes = stopped.passes.or((!ended.is_lost).then_some(at));
                }
                (Share::All, false) => stopped.states |= here.states,
                (Share::Some, false) => {}
            }
            stopped.all |= stopped.states & About::WHOLE == About::WHOLE;
            all.push(stopped);
        }
        all
    }
}

impl Conditions {
    fn held(&self, packets: &Packets<'_>) -> Held {
        let mut held = Held {
            share: self.known_share(packets),
            doubtful: false,
            rare: false,
            states: u32::MAX,
        };
        for about in &self.abouts {
            let share = match *about {
                About::Packet => Share::Some,
                About::Mark {
                    value,
                    mask,
                    negated,
                } => Share::whole((value & mask == 0) != negated),
                About::LocalDestination { negated } => Share::whole(negated),
                About::States(states) => {
                    held.states &= states;
                    held.rare |= about.is_rare();
                    Share::whole(about.is_rare() || states & About::USUAL != 0)
                }
                About::Unknown => {
                    held.doubtful = true;
                    Share::Some
                }
            };
            held.share = held.share.min(share);
        }
        held.doubtful &= held.share != Share::None;
        held
    }

    /// The names of what is asked and cannot be told.
    fn doubts(&self) -> Vec<String> {
        let asked = self.others.iter().zip(&self.abouts);
        let unknown = asked.filter(|(_, about)| **about == About::Unknown);
        unknown.map(|(name, _)| name.clone()).collect()
    }
}
