//! Where the kernel decides.

use netpath_common::Family;

use super::{Fault, Given, Position, Taken, Trace, Walk, Ways, Why};
use crate::{
    explain::{
        ExplainError,
        crossing::Crossing,
        fast,
        places::{At, PlaceId},
        told,
        way::{By, Effect, Hop, Step, WayEnd},
    },
    kernel_way::{
        self, Answer, Cause, Connection, End, Entry, Leaving, Live, Outcome, Packet, Place,
        Question, Tracked, Unknown,
    },
};

impl Walk<'_> {
    pub(super) fn ask_kernel(&self, position: &Position) -> Result<Answer, ExplainError> {
        let packet = &position.packet;
        let state = self.places.state(position.place)?;
        let mut known = self.before.tracked.iter();
        let is_answer = |(place, tracked): &&(PlaceId, Tracked)| {
            *place == position.place
                && tracked.protocol == packet.protocol()
                && is_reply(tracked, packet)
        };
        let connection = match known.find(is_answer) {
            Some((_, tracked)) => Connection::Known(*tracked),
            None => Connection::New,
        };
        let question = Question {
            packet: packet.clone(),
            entry: position.entry,
            connection,
        };
        let netns = self.places.place(position.place).netns()?;
        let answer =
            netns.enter(|inside| kernel_way::ask(state, &Live::open(inside)?, &question))?;
        Ok(answer?)
    }

    pub(super) fn by_kernel(
        &self,
        position: &Position,
        given: Given,
        trace: Trace,
        ways: &mut Ways,
    ) -> Result<(), ExplainError> {
        let places = self.places;
        let answer = self.ask_kernel(position)?;
        let is_certain = answer.certain().is_some();
        if answer.more {
            ways.ended.push(trace.clone().ends(WayEnd::TooMany));
        }
        // The last one is followed first.
        for way in answer.ways.into_iter().rev() {
            let mut trace = trace.clone();
            let mut hop = self.hop(position, By::Kernel)?;
            hop.steps.clone_from(&given.steps);
            let mut packet = position.packet.clone();
            // The rule that says how; what has been translated before knows none.
            let mut rule = None;
            for step in &way.steps {
                if matches!(step.place, Place::Hook { .. }) && step.outcome == Outcome::Changes {
                    rule.clone_from(&step.rule);
                }
                if step.packet.tuple() != packet.tuple()
                    && let Some(rule) = rule.take()
                {
                    trace.translated.push((position.place, rule));
                }
                packet.clone_from(&step.packet);
                hop.steps.push(told::step(step));
            }
            if !is_certain {
                let supposed = way.supposed.iter();
                trace
                    .unknown
                    .extend(supposed.clone().map(|it| it.unknown.clone()));
                let told = supposed
                    .map(|it| Step::passes("may", format!("{}: {}", it.unknown.what, it.so)));
                hop.steps.splice(0..0, told.collect::<Vec<_>>());
            }
            if let Some(tracked) = way.tracked {
                trace.left.tracked.push((position.place, tracked));
            }
            let mut fault = Fault::at(position, Why::Loop);
            fault.is_off = given.is_off;
            fault.egress = given.egress;
            match way.end {
                End::Leaves(leaving) => {
                    self.leaves(position, &given, *leaving, hop, trace, ways)?;
                }
                End::Delivered { mut packet } => {
                    packet.length = trace.whole.unwrap_or(packet.length);
                    hop.outcome = match trace.whole {
                        Some(_) => "put together again, and delivered".to_owned(),
                        None => "delivered".to_owned(),
                    };
                    hop.packet = packet.clone();
                    trace.hops.push(hop);
                    trace.delivered = Some(Position {
                        place: position.place,
                        entry: position.entry,
                        packet: packet.clone(),
                    });
                    let place = places.place(position.place).name.clone();
                    ways.ended.push(trace.ends(WayEnd::Delivered {
                        place,
                        packet,
                        is_wanted: true,
                    }));
                }
                End::Dropped { cause } => {
                    let text = told::cause(&cause);
                    hop.outcome = format!("dropped: {text}");
                    self.fails(hop, packet, trace, (fault, cause, text), ways);
                }
                End::Answered { cause, error } => {
                    let text = format!("{} (answered with {error})", told::cause(&cause));
                    hop.outcome = format!("refused with {error}");
                    self.fails(hop, packet, trace, (fault, cause, text), ways);
                }
                End::Taken { rule, by } => {
                    hop.outcome = format!("given to {by}");
                    trace.hops.push(hop);
                    trace.unknown.push(Unknown {
                        what: format!("what becomes of it behind {by}"),
                        rule: Some(rule),
                    });
                    ways.ended.push(trace.ends(WayEnd::TooMany));
                }
            }
        }
        Ok(())
    }

    pub(super) fn fails(
        &self,
        mut hop: Hop,
        packet: Packet,
        mut trace: Trace,
        (mut fault, cause, text): (Fault, Cause, String),
        ways: &mut Ways,
    ) {
        if let Some(last) = hop.steps.last_mut() {
            last.effect = Effect::Ends;
        }
        hop.packet = packet.clone();
        trace.hops.push(hop);
        fault.why = Why::Kernel(cause);
        fault.packet = packet;
        ways.ended.push(trace.lost(self.places, fault, &text));
    }

    pub(super) fn leaves(
        &self,
        position: &Position,
        given: &Given,
        mut leaving: Leaving,
        mut hop: Hop,
        mut trace: Trace,
        ways: &mut Ways,
    ) -> Result<(), ExplainError> {
        let out = At {
            place: position.place,
            ifindex: leaving.ifindex,
        };
        hop.outcome = format!("sent out of {} to {}", leaving.dev, leaving.next_hop);
        if let Some(mtu) = leaving.fragments {
            hop.outcome += &format!(", in fragments of at most {mtu} bytes");
            trace.whole.get_or_insert(leaving.packet.length);
            leaving.packet.length = longest_fragment(&leaving.packet, mtu);
        }
        hop.egress = Some(leaving.dev.clone());
        hop.packet = leaving.packet.clone();
        trace.hops.push(hop);
        self.note(position, given, out, &leaving.packet, &mut trace)?;
        trace.taken.push(Taken {
            from: out,
            next_hop: Some(leaving.next_hop),
            destination: leaving.packet.destination,
        });
        let crossing = Crossing {
            from: out,
            next_hop: Some(leaving.next_hop),
            neighbour: leaving.neighbour,
            by_kernel: true,
        };
        self.cross(&crossing, leaving.packet, trace, ways)
    }

    /// The programs at the egress note the connection of what the kernel sends on between two routed ends.
    pub(super) fn note(
        &self,
        position: &Position,
        given: &Given,
        out: At,
        packet: &Packet,
        trace: &mut Trace,
    ) -> Result<(), ExplainError> {
        let is_forwarded = matches!(position.entry, Entry::By { .. });
        if !is_forwarded || !given.is_noted || self.places.endpoint(position.place).is_some() {
            return Ok(());
        }
        let Some(datapath) = self.places.datapath(position.place) else {
            return Ok(());
        };
        let maps = &datapath.maps;
        if fast::is_routed(maps, packet.source)?
            && fast::is_routed(maps, packet.destination)?
            && self.places.is_noted(out)?
        {
            let noted = (position.place, packet.protocol(), packet.tuple());
            trace.left.noted.push(noted);
        }
        Ok(())
    }
}

/// The longest of the fragments that a packet is cut into: all but the last carry a multiple of eight bytes (RFC 791, RFC 8200).
fn longest_fragment(packet: &Packet, mtu: u32) -> u32 {
    let headers = match packet.family() {
        Family::V4 => 20,
        Family::V6 => 40 + 8,
    };
    headers + (mtu.saturating_sub(headers) & !7)
}

/// Whether a packet is the answer to a connection's first.
fn is_reply(tracked: &Tracked, packet: &Packet) -> bool {
    let ends = packet.tuple();
    tracked.reply == ends
}
