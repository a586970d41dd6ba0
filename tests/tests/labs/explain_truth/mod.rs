//! What `netpath explain` says becomes of a packet, against what becomes of it: random labs, in which others have left rules,
//! routes and what is broken; packets that are first explained, then sent and looked for at every interface.
//!
//! `NETPATH_EXPLAIN_CASES` says how many packets (default 20), `NETPATH_EXPLAIN_SEED` from which seed. A failure prints the seed of
//! its lab, which alone is run again with `NETPATH_EXPLAIN_CASES=1`.

mod case;
mod changes;
mod expected;
mod seen;
mod socket;
mod topology;
mod world;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, Instant},
};

use netpath::{
    explain::{self, Arrives, By, Explanation, WayEnd},
    kernel_way::{Packet, Transport},
    random::SplitMix64,
};
use netpath_tests::command;

use self::{
    case::Case,
    expected::{Expected, marks_of},
    seen::{Leg, Marks, Seen},
    socket::Shot,
    world::World,
};

const CASES: usize = 20;
const SEED: u64 = 20_261_127;
/// Of each lab.
const PACKETS: usize = 20;
/// How long something may take that is not said; and something that is.
const QUIET: Duration = Duration::from_millis(6);
const LATE: Duration = Duration::from_millis(600);

/// What came out of it all.
#[derive(Default)]
struct Tally {
    cases: usize,
    answers: usize,
    fast: usize,
    counts: BTreeMap<String, usize>,
    may: usize,
    wrong: usize,
}

impl Tally {
    /// Told at once: what comes after it may take long.
    fn wrong(&mut self, what: String) {
        eprintln!("{what}");
        self.wrong += 1;
    }

    fn count(&mut self, what: impl Into<String>) {
        *self.counts.entry(what.into()).or_default() += 1;
    }
}

#[test]
fn what_is_said_is_what_becomes_of_it() {
    let cases = command::number("NETPATH_EXPLAIN_CASES").map_or(CASES, |cases| cases as usize);
    let seed = command::number("NETPATH_EXPLAIN_SEED").unwrap_or(SEED);
    let begun = Instant::now();
    let mut tally = Tally::default();
    let mut labs = 0;
    while tally.cases < cases && tally.wrong <= 30 {
        one_lab(seed + labs, &mut tally);
        labs += 1;
        if labs % 20 == 0 {
            eprintln!(
                "{} packets in {labs} labs, {} wrong",
                tally.cases, tally.wrong
            );
        }
    }
    let Tally {
        cases: sent,
        answers,
        fast,
        may,
        wrong,
        ..
    } = tally;
    let told = format!(
        "{sent} packets in {labs} labs from seed {seed} in {:.0?}: {may} may, {fast} by the fast path, {answers} answers; {:#?}",
        begun.elapsed(),
        tally.counts
    );
    println!("{told}");
    assert!(
        wrong == 0,
        "{told}
{wrong} wrong, as told above"
    );
    if sent >= 1000 {
        assert!(may * 50 <= sent, "more than 2 % may: {told}");
    }
}

fn one_lab(seed: u64, tally: &mut Tally) {
    let mut random = SplitMix64::new(seed);
    let mut world = World::new(&mut random);
    for number in 0..PACKETS {
        let case = Case::random(&world, number, &mut random);
        let name = format!("seed {seed} packet {number}");
        one_case(&mut world, &case, &name, tally);
    }
}

fn one_case(world: &mut World, case: &Case, name: &str, tally: &mut Tally) {
    let found = match explain::explain(&case.question) {
        Ok(found) => found,
        Err(error) => {
            let lab = &world.told;
            tally.wrong(format!("{name}: {error}: {:?}\n{lab}", case.question));
            return;
        }
    };
    tally.cases += 1;
    // What is not known may change no more than a packet's header on its way.
    let ways = [Some(&found.there), found.back.as_ref()];
    let mut hops = ways.into_iter().flatten().flat_map(|way| &way.hops);
    if found.arrives != Arrives::May
        && hops.any(|hop| hop.steps.iter().any(|step| step.what == "may"))
    {
        tally.may += 1;
        return;
    }
    let is_told = !found.there.hops.is_empty();
    if found.there.arrives == Arrives::May && !matches!(found.there.end, WayEnd::Leaves { .. })
        || !is_told
    {
        tally.may += 1;
        let lists = !found.there.unknown.is_empty() || found.there.end == WayEnd::TooMany;
        if !lists {
            tally.wrong(told(world, case, name, &found, None));
        }
        return;
    }
    tally.count(end(&found));
    let hops = found.there.hops.iter();
    tally.fast += usize::from(hops.clone().any(|hop| hop.by == By::FastPath));
    world.clear();
    let mut expected = vec![Expected::of(world, Leg::There, &found.there)];
    let is_udp = matches!(found.there.packet.transport, Transport::Udp { .. });
    let back = found.back.as_ref().filter(|it| {
        let is_known = it.arrives != Arrives::May || matches!(it.end, WayEnd::Leaves { .. });
        is_known && found.there.arrives != Arrives::May
    });
    if let Some(back) = back {
        tally.answers += 1;
        if !is_udp {
            expected.push(Expected::of(world, Leg::Back, back));
        }
    } else if found.back.is_some() {
        tally.may += 1;
    }
    let marks = Marks {
        port: case.port,
        there: marks_of(case, &found.there),
        back: found
            .back
            .as_ref()
            .map(|it| marks_of(case, it))
            .unwrap_or_default(),
    };
    let mut seen = Seen::default();
    let sent = match case.send(world, &found.there) {
        Ok(sent) => sent,
        // It goes down at the other end, too.
        Err(_) => {
            tally.count("not to be sent");
            tally.cases -= 1;
            return;
        }
    };
    let mut agreed = observe(world, &expected, &mut seen, &marks);
    let mut reply = None;
    if let (true, true, Some(back), WayEnd::Delivered { packet, place, .. }) =
        (agreed, is_udp, back, &found.there.end)
    {
        expected.push(Expected::of(world, Leg::Back, back));
        let shot = answer(packet);
        let place = world.short(place);
        reply = Some(world.lab.inside(&place, || shot.send()));
        agreed = observe(world, &expected, &mut seen, &marks);
    }
    let refused = [&sent, &reply].into_iter().flatten();
    let refused: Vec<_> = refused.filter_map(|(_, result)| result.err()).collect();
    if !agreed {
        let seen = format!("{seen}    refused: {refused:?}");
        tally.wrong(told(world, case, name, &found, Some(&seen)));
    }
}

/// As a server answers that has set nothing.
fn answer(delivered: &Packet) -> Shot {
    let Transport::Udp {
        source_port,
        destination_port,
    } = delivered.transport
    else {
        unreachable!("UDP")
    };
    Shot {
        from: Some(delivered.destination),
        packet: Packet {
            source: delivered.destination,
            destination: delivered.source,
            transport: Transport::Udp {
                source_port: destination_port,
                destination_port: source_port,
            },
            ttl: 64,
            tos: 0,
            mark: 0,
            ..delivered.clone()
        },
    }
}

/// Looks until what is said has happened, or long enough that it would have.
fn observe(world: &mut World, expected: &[Expected], seen: &mut Seen, marks: &Marks) -> bool {
    let begun = Instant::now();
    let mut since = None;
    loop {
        seen.look(world, marks);
        let agrees = expected.iter().all(|it| it.agrees(world, seen));
        since = match (agrees, since) {
            (true, None) => Some(Instant::now()),
            (true, since) => since,
            (false, _) => None,
        };
        if since.is_some_and(|since| since.elapsed() > QUIET) {
            return true;
        }
        if begun.elapsed() > LATE {
            return false;
        }
        std::thread::sleep(Duration::from_micros(300));
    }
}

fn end(found: &Explanation) -> String {
    match (&found.there.end, &found.finding) {
        (WayEnd::Delivered { is_wanted, .. }, _) if !is_wanted => "delivered elsewhere".to_owned(),
        (WayEnd::Delivered { .. }, Some(finding)) => format!("delivered, and back {}", finding.id),
        (WayEnd::Delivered { .. }, None) => "delivered".to_owned(),
        (WayEnd::Leaves { .. }, _) => "leaves".to_owned(),
        (_, Some(finding)) => format!("lost: {}", finding.id),
        _ => "lost".to_owned(),
    }
}

fn told(world: &World, case: &Case, name: &str, found: &Explanation, seen: Option<&str>) -> String {
    let mut text = format!("{name}: {:?}\n  {:?}\n", case.sender, case.question);
    for (which, way) in [("there", Some(&found.there)), ("back", found.back.as_ref())] {
        let Some(way) = way else {
            continue;
        };
        writeln!(text, "  {which}: {} ({:?})", way.packet, way.arrives).expect("a string");
        for hop in &way.hops {
            writeln!(
                text,
                "   {} by {:?} in by {:?}",
                hop.name, hop.by, hop.ingress
            )
            .expect("a string");
            for step in &hop.steps {
                writeln!(text, "      {}: {}", step.what, step.text).expect("a string");
            }
            writeln!(text, "      > {} {}", hop.outcome, hop.packet).expect("a string");
        }
        writeln!(text, "   it {}; unknown {:?}", way.end, way.unknown).expect("a string");
    }
    writeln!(text, "  {}", found.verdict).expect("a string");
    if let Some(seen) = seen {
        writeln!(text, "  seen:\n{seen}").expect("a string");
    }
    format!("{text}  the lab:\n{}\n", world.told)
}
