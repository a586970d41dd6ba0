//! What `kernel_way` says becomes of a packet, against what becomes of it: random packets through random routers, each
//! first asked about, then sent and looked for.
//!
//! `NETPATH_KERNEL_WAY_CASES` says how many packets (default 250), `NETPATH_KERNEL_WAY_SEED` from which seed. A failure
//! prints the seed of its world, which alone is run again with `NETPATH_KERNEL_WAY_CASES=1`.

mod packets;
mod rules;
mod seen;
mod told;
mod world;

use std::{fmt::Write as _, time::Instant};

use netpath::{
    kernel_way::{
        self, Answer, Connection, End, Entry, Kernel, KernelWayError, Live, Place, Question, State,
    },
    netlink::{Lookup, NoWay, Resolved},
    random::SplitMix64,
};
use netpath_common::Family;
use netpath_tests::command;

use self::{packets::Sent, seen::Seen, world::World};

const CASES: usize = 250;
const SEED: u64 = 20_261_127;
/// Of each world. Its router answers no more than five packets of one source at once.
const PACKETS: usize = 10;

/// What came out of it all.
#[derive(Default)]
struct Tally {
    cases: usize,
    may: usize,
    leaves: usize,
    delivered: usize,
    dropped: usize,
    answered: usize,
    translated: usize,
    replies: usize,
    legacy: usize,
    wrong: Vec<String>,
}

#[test]
fn what_is_said_is_what_becomes_of_it() {
    let cases = command::number("NETPATH_KERNEL_WAY_CASES").map_or(CASES, |cases| cases as usize);
    let seed = command::number("NETPATH_KERNEL_WAY_SEED").unwrap_or(SEED);
    let begun = Instant::now();
    let mut tally = Tally::default();
    let mut worlds = 0;
    while tally.cases < cases {
        one_world(seed + worlds, &mut tally);
        worlds += 1;
        if tally.wrong.len() > 30 {
            break;
        }
    }
    let mut told = String::new();
    writeln!(
        told,
        "{} packets in {worlds} worlds from seed {seed} in {:.0?}: {} left, {} delivered, {} dropped, {} answered, {} may; \
         {} translated, {} replies, {} met legacy tables",
        tally.cases,
        begun.elapsed(),
        tally.leaves,
        tally.delivered,
        tally.dropped,
        tally.answered,
        tally.may,
        tally.translated,
        tally.replies,
        tally.legacy
    )
    .expect("a string");
    println!("{told}");
    assert!(tally.wrong.is_empty(), "{told}{}", tally.wrong.join("\n"));
    if cases >= CASES {
        assert!(tally.may * 50 <= tally.cases, "more than 2 % may: {told}");
        for (what, count) in [
            ("left", tally.leaves),
            ("delivered", tally.delivered),
            ("dropped", tally.dropped),
            ("answered", tally.answered),
            ("translated", tally.translated),
            ("replies", tally.replies),
            ("met legacy tables", tally.legacy),
        ] {
            assert!(count * 100 >= tally.cases, "too few {what}: {told}");
        }
    }
}

fn one_world(seed: u64, tally: &mut Tally) {
    let mut random = SplitMix64::new(seed);
    let family = Family::ALL[random.below(2)];
    let mut world = World::new(family, &mut random);
    for number in 0..PACKETS {
        let sent = Sent::random(&world, number, &mut random);
        let case = format!("seed {seed} {family} packet {number}");
        let answer = world.ask(&sent.question());
        world.clear();
        world.send(&sent);
        let seen = world.observe(&answer, &sent);
        check(&world, tally, &case, &answer, &seen, &sent);
        if let Some(reply) = reply(&world, &answer, &sent, &seen) {
            let answer = world.ask(&reply.question());
            world.clear();
            world.send(&reply);
            let seen = world.observe(&answer, &reply);
            tally.replies += 1;
            check(
                &world,
                tally,
                &format!("{case}, its reply"),
                &answer,
                &seen,
                &reply,
            );
        }
    }
}

fn check(world: &World, tally: &mut Tally, case: &str, answer: &Answer, seen: &Seen, sent: &Sent) {
    tally.cases += 1;
    let mut steps = answer.ways.iter().flat_map(|way| &way.steps);
    let is_legacy =
        |place: &Place| matches!(place, Place::Hook { table, .. } if table.ends_with("(legacy)"));
    tally.legacy += usize::from(steps.any(|step| is_legacy(&step.place)));
    match answer.certain() {
        None => tally.may += 1,
        Some(End::Leaves(leaving)) => {
            tally.leaves += 1;
            let before = sent.packet.tuple();
            tally.translated += usize::from(leaving.packet.tuple() != before);
        }
        Some(End::Delivered { .. }) => tally.delivered += 1,
        Some(End::Dropped { .. } | End::Taken { .. }) => tally.dropped += 1,
        Some(End::Answered { .. }) => tally.answered += 1,
    }
    if answer
        .ways
        .iter()
        .any(|way| seen.agrees(world, &way.end, sent))
    {
        return;
    }
    let mut text = format!(
        "{case}: {} by {:?}\n  seen: {seen}\n",
        sent.packet, sent.entry
    );
    for way in &answer.ways {
        writeln!(text, "  said: {}", way.end).expect("a string");
        for step in &way.steps {
            writeln!(text, "    {:?}: {}", step.place, step.text).expect("a string");
        }
        for supposed in &way.supposed {
            writeln!(text, "    supposed: {supposed:?}").expect("a string");
        }
    }
    tally.wrong.push(text + &world.told());
}

/// The answer to a packet that has left, as the receiver would send it.
fn reply(world: &World, answer: &Answer, sent: &Sent, seen: &Seen) -> Option<Sent> {
    let [way] = answer.ways.as_slice() else {
        return None;
    };
    let End::Leaves(leaving) = &way.end else {
        return None;
    };
    if !seen.agrees(world, &way.end, sent) || sent.entry == Entry::Sent {
        return None;
    }
    sent.reply(world, leaving, way.tracked?)
}

/// Does not ask programs for the words of rules, which takes longer than all the rest.
struct Terse<'a>(Live<'a>);

impl Kernel for Terse<'_> {
    fn resolve(&self, lookup: &Lookup) -> Result<Result<Resolved, NoWay>, KernelWayError> {
        self.0.resolve(lookup)
    }

    fn setting(&self, key: &str) -> Result<Option<i64>, KernelWayError> {
        self.0.setting(key)
    }
}

impl World {
    fn ask(&self, question: &Question) -> Answer {
        self.router(|inside| -> Result<Answer, KernelWayError> {
            kernel_way::ask(&State::read(inside)?, &Terse(Live::open(inside)?), question)
        })
    }
}

impl Sent {
    fn question(&self) -> Question {
        Question {
            packet: self.packet.clone(),
            entry: self.entry,
            connection: self.tracked.map_or(Connection::New, Connection::Known),
        }
    }
}
