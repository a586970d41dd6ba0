//! Where the programs of the fast path decide.

use netpath_common::PuntReason;

use super::{Fault, Position, Taken, Trace, Walk, Ways, Why};
use crate::{
    explain::{
        ExplainError,
        crossing::{self, Crossing},
        fast::{Decided, Fast},
        places::{At, PlaceId},
        told,
        way::{By, Comparison, Step, WayEnd},
    },
    kernel_way::{End, Entry, Packet, Tuple},
};

impl Walk<'_> {
    /// With what the way there would have made the programs note.
    pub(super) fn with_noted(&self, position: &Position, mut asked: Fast) -> Fast {
        let packet = &position.packet;
        let protocol = packet.protocol();
        let is_answer = |(place, number, ends): &(PlaceId, u8, Tuple)| {
            *place == position.place
                && *number == protocol
                && ends.reversed(protocol) == packet.tuple()
        };
        if !asked.is_fast || !self.before.noted.iter().any(is_answer) {
            return asked;
        }
        let reason = PuntReason::KernelConnection;
        let side = asked.steps.iter().position(|step| step.what == "side");
        asked.steps.truncate(side.unwrap_or(asked.steps.len()));
        asked.steps.push(Step::passes(
            "side",
            "the kernel has sent on what it answers: the connection is the kernel's",
        ));
        asked.steps.push(Step::passes(
            "verdict",
            format!("left to the kernel ({})", reason.name()),
        ));
        Fast {
            decided: Decided::Punt(reason),
            packet: packet.clone(),
            ..asked
        }
    }

    pub(super) fn by_fast_path(
        &self,
        position: Position,
        at: At,
        asked: Fast,
        mut trace: Trace,
        ways: &mut Ways,
    ) -> Result<(), ExplainError> {
        let places = self.places;
        let mut hop = self.hop(&position, By::FastPath)?;
        hop.steps = asked.steps;
        hop.packet = asked.packet.clone();
        let egress = |ifindex| At {
            place: position.place,
            ifindex,
        };
        if self.diff {
            hop.kernel = Some(self.compare(&position, asked.decided, &asked.packet)?);
        }
        match asked.decided {
            Decided::Peer(ifindex) => {
                let out = egress(ifindex);
                let dev = places.dev(out)?;
                hop.egress = Some(dev.clone());
                let Some(target) = places.behind(out)? else {
                    hop.outcome = format!("redirected into the namespace behind {dev}");
                    trace.hops.push(hop);
                    let end = WayEnd::Leaves {
                        place: places.place(position.place).name.clone(),
                        dev,
                        next_hop: None,
                        mac: None,
                        packet: asked.packet,
                    };
                    ways.ended.push(trace.ends(end));
                    return Ok(());
                };
                let name = &places.place(target.place).name;
                hop.outcome = format!("redirected into {name}");
                trace.hops.push(hop);
                let is_up = places.link(target)?.is_some_and(|link| link.up);
                let source_mac = places.link(out)?.and_then(|link| link.mac);
                let next = Position {
                    place: target.place,
                    entry: Entry::By {
                        ifindex: target.ifindex,
                        source_mac,
                    },
                    packet: asked.packet,
                };
                match is_up {
                    true => ways.open.push((next, trace)),
                    false => {
                        let dev = places.dev(target)?;
                        let fault = Fault::at(&next, Why::Down(target));
                        ways.ended
                            .push(trace.lost(places, fault, &format!("{dev} is down")));
                    }
                }
            }
            Decided::Out {
                egress: ifindex,
                next_hop,
            } => {
                let out = egress(ifindex);
                let dev = places.dev(out)?;
                hop.egress = Some(dev.clone());
                hop.outcome = match next_hop {
                    Some(next_hop) => format!("redirected out of {dev} to {next_hop}"),
                    None => format!("redirected out of {dev}"),
                };
                let neighbour = crossing::neighbour(places, out, next_hop)?;
                hop.steps.push(told::neighbour(next_hop, neighbour));
                trace.hops.push(hop);
                trace.taken.push(Taken {
                    from: out,
                    next_hop,
                    destination: asked.packet.destination,
                });
                let crossing = Crossing {
                    from: out,
                    next_hop,
                    neighbour,
                    by_kernel: false,
                };
                self.cross(&crossing, asked.packet, trace, ways)?;
            }
            Decided::Drop(reason) => {
                hop.outcome = format!("dropped ({})", reason.name());
                trace.hops.push(hop);
                let mut fault = Fault::at(&position, Why::Fast(reason));
                fault.ingress = Some(at);
                let text = format!("the fast path drops it ({})", reason.name());
                ways.ended.push(trace.lost(places, fault, &text));
            }
            // Whoever calls has seen to it.
            Decided::Punt(_) => ways.ended.push(trace.ends(WayEnd::TooMany)),
        }
        Ok(())
    }

    /// What the kernel would do in the fast path's place.
    pub(super) fn compare(
        &self,
        position: &Position,
        decided: Decided,
        after: &Packet,
    ) -> Result<Comparison, ExplainError> {
        let answer = self.ask_kernel(position)?;
        let Some(end) = answer.certain() else {
            let unknown: Vec<&str> = answer.unknown().iter().map(|it| it.what.as_str()).collect();
            return Ok(Comparison {
                agrees: false,
                text: format!("may do otherwise: {}", unknown.join(", ")),
            });
        };
        let agrees = match (decided, end) {
            (Decided::Peer(ifindex), End::Leaves(leaving)) => {
                leaving.ifindex == ifindex && leaving.packet == *after
            }
            (Decided::Out { egress, next_hop }, End::Leaves(leaving)) => {
                leaving.ifindex == egress
                    && next_hop.is_none_or(|it| it == leaving.next_hop)
                    && leaving.packet == *after
            }
            (Decided::Drop(_), End::Dropped { .. } | End::Answered { .. }) => true,
            _ => false,
        };
        Ok(Comparison {
            agrees,
            text: end.to_string(),
        })
    }
}
