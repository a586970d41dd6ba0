//! Where is my packet? The way of one packet, predicted: namespace by namespace, across the nodes that netpath knows, and the way of
//! the answer to it.
//!
//! Nothing is sent and nothing is changed. On the fast path the loaded programs themselves are asked ([`Datapath::ask`]); on the
//! kernel's path the kernel is ([`kernel_way`]). What cannot be known is named, and the way is then one that the packet *may* take.
//!
//! [`Datapath::ask`]: crate::datapath::Datapath::ask
//! [`kernel_way`]: crate::kernel_way

mod crossing;
mod ends;
mod error;
mod fast;
mod fault;
mod frame;
mod obstacle;
mod places;
mod question;
mod told;
mod verdict;
mod walk;
mod way;

use self::{
    ends::Ends,
    places::{PlaceId, Places},
    verdict::verdict,
    walk::{Left, Position, Trace, Walk},
};
pub use self::{
    error::ExplainError,
    obstacle::Obstacle,
    question::{Protocol, Question, Target},
    way::{Arrives, By, Comparison, Effect, Explanation, Hop, PlaceKind, Step, Way, WayEnd},
};
use crate::{
    finding::Finding,
    kernel_way::{Entry, Packet},
};

/// Finds out what becomes of a packet.
///
/// # Errors
/// When an end is not known, or something cannot be read.
pub fn explain(question: &Question) -> Result<Explanation, ExplainError> {
    let places = Places::look()?;
    let ends = Ends::of(&places, question)?;
    let packet = question.packet(ends.source, ends.destination);
    question.check(&packet)?;
    let start = Position {
        place: ends.start.0,
        entry: ends.start.1,
        packet: packet.clone(),
    };
    let before = Left::default();
    let walk = Walk {
        places: &places,
        before: &before,
        diff: question.diff,
    };
    let traces = walk.follow(start)?;
    let wanted = ends
        .wanted
        .filter(|it| places.endpoint(*it).is_some() || !is_led_on(&traces, *it, &ends));
    let there = Told::of(&places, traces, wanted);
    let back = match (&there.main().delivered, there.arrives) {
        (Some(delivered), Arrives::Yes | Arrives::May) if question.wants_reply() => {
            Some(answer(&places, question, &ends, there.main(), delivered)?)
        }
        _ => None,
    };
    conclude(&places, &ends, packet, there, back)
}

/// Whether a rule leads what is for a node on to somebody else, as with a published port: then it arrives where it is delivered.
fn is_led_on(traces: &[Trace], node: PlaceId, ends: &Ends) -> bool {
    let mut delivered = traces.iter().filter_map(|trace| trace.delivered.as_ref());
    delivered.any(|it| it.place != node && it.packet.destination != ends.destination)
}

/// The way of the answer.
fn answer(
    places: &Places,
    question: &Question,
    ends: &Ends,
    there: &Trace,
    delivered: &Position,
) -> Result<Told, ExplainError> {
    let walk = Walk {
        places,
        before: &there.left,
        diff: question.diff,
    };
    let start = Position {
        place: delivered.place,
        entry: Entry::Sent,
        packet: question.answer(&delivered.packet),
    };
    Ok(Told::of(places, walk.follow(start)?, ends.sender))
}

/// The ways that a packet may take, and whether it arrives by them.
struct Told {
    traces: Vec<Trace>,
    arrives: Arrives,
    /// Which of them is told.
    main: usize,
    /// It was to arrive here.
    wanted: Option<PlaceId>,
}

impl Told {
    fn of(_places: &Places, traces: Vec<Trace>, wanted: Option<PlaceId>) -> Self {
        let each: Vec<Arrives> = traces.iter().map(|trace| arrives(trace, wanted)).collect();
        let is_all = |it: Arrives| each.iter().all(|found| *found == it);
        let arrives = match (is_all(Arrives::Yes), is_all(Arrives::No)) {
            (true, _) => Arrives::Yes,
            (false, true) => Arrives::No,
            (false, false) => Arrives::May,
        };
        // Of several the worst tells most.
        let worst = each.iter().enumerate().max_by_key(|(_, found)| **found);
        Self {
            main: worst.map_or(0, |(at, _)| at),
            traces,
            arrives,
            wanted,
        }
    }

    fn main(&self) -> &Trace {
        &self.traces[self.main]
    }

    fn way(&self, packet: Packet) -> Way {
        let main = self.main();
        let mut unknown = Vec::new();
        if self.arrives == Arrives::May {
            for found in self.traces.iter().flat_map(|trace| &trace.unknown) {
                if !unknown.contains(found) {
                    unknown.push(found.clone());
                }
            }
        }
        let mut end = main.end.clone();
        if let (WayEnd::Delivered { is_wanted, .. }, Some(at), Some(wanted)) =
            (&mut end, &main.delivered, self.wanted)
        {
            *is_wanted = at.place == wanted;
        }
        Way {
            packet,
            hops: main.hops.clone(),
            end,
            arrives: self.arrives,
            unknown,
        }
    }

    fn finding(
        &self,
        places: &Places,
        before: Option<&Trace>,
    ) -> Result<Option<Finding>, ExplainError> {
        let main = self.main();
        match (&main.delivered, self.wanted) {
            (Some(at), Some(wanted)) if at.place != wanted => {
                fault::elsewhere(places, main, wanted)
            }
            _ => fault::finding(places, main, before),
        }
    }
}

fn arrives(trace: &Trace, wanted: Option<PlaceId>) -> Arrives {
    match (&trace.end, &trace.delivered, wanted) {
        (WayEnd::Delivered { .. }, Some(at), Some(wanted)) if at.place != wanted => Arrives::No,
        (WayEnd::Delivered { .. }, ..) => Arrives::Yes,
        (WayEnd::Lost { .. }, ..) => Arrives::No,
        (WayEnd::Leaves { .. } | WayEnd::TooMany, ..) => Arrives::May,
    }
}

fn conclude(
    places: &Places,
    ends: &Ends,
    packet: Packet,
    there: Told,
    back: Option<Told>,
) -> Result<Explanation, ExplainError> {
    let finding = match (&back, there.finding(places, None)?) {
        (_, Some(found)) => Some(found),
        (Some(back), None) => back.finding(places, Some(there.main()))?,
        (None, None) => None,
    };
    let there_way = there.way(packet);
    let back_way = back.as_ref().map(|told| {
        let first = told.main().hops.first();
        let packet = first.map_or_else(|| there_way.packet.clone(), |hop| hop.packet.clone());
        told.way(packet)
    });
    let of_back = back.as_ref().map_or(Arrives::Yes, |told| told.arrives);
    let arrives = there.arrives.max(of_back);
    let verdict = verdict(
        ends,
        places,
        &there_way,
        back_way.as_ref(),
        finding.as_ref(),
    );
    Ok(Explanation {
        there: there_way,
        back: back_way,
        arrives,
        verdict,
        finding,
        unread: places.unread.clone(),
    })
}
