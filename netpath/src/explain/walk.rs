//! Following a packet from namespace to namespace: where the programs of the fast path see it they are asked, else the kernel is.

use std::net::IpAddr;

use netpath_common::{DropReason, Mac, PuntReason};

use super::{
    ExplainError,
    crossing::{self, Crossing},
    fast::{self, Decided, Fast},
    places::{At, PlaceId, Places},
    told,
    way::{By, Comparison, Effect, Hop, Step, WayEnd},
};
use crate::kernel_way::{
    self, Answer, Cause, Connection, End, Entry, Leaving, Live, Outcome, Packet, Place, Question,
    RuleAt, Tracked, Tuple, Unknown,
};

/// The longest way that is followed.
const HOPS: usize = 40;
/// How many ways are followed, where something cannot be known.
const WAYS: usize = 32;

/// What the packet of the way there has left in the namespaces, which the answer to it finds.
#[derive(Clone, Debug, Default)]
pub(super) struct Left {
    /// Connections that a namespace tracks.
    pub tracked: Vec<(PlaceId, Tracked)>,
    /// Connections that the programs of a node have noted as the kernel's: the protocol, and the ends as they left.
    pub noted: Vec<(PlaceId, u8, Tuple)>,
}

/// A packet somewhere.
#[derive(Clone, Debug)]
pub(super) struct Position {
    pub place: PlaceId,
    pub entry: Entry,
    pub packet: Packet,
}

/// A next hop that was taken.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub from: At,
    pub next_hop: Option<IpAddr>,
    /// Where to.
    pub destination: IpAddr,
}

/// A way, with what is needed to say what is wrong.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    pub hops: Vec<Hop>,
    pub end: WayEnd,
    pub left: Left,
    pub unknown: Vec<Unknown>,
    /// Rules that have translated it.
    pub translated: Vec<(PlaceId, RuleAt)>,
    pub taken: Vec<Taken>,
    pub fault: Option<Fault>,
    /// Where it is delivered.
    pub delivered: Option<Position>,
    seen: Vec<(PlaceId, Entry, Tuple)>,
}

/// Why a packet goes no further, and where.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub place: PlaceId,
    /// The interface that it came in by.
    pub ingress: Option<At>,
    /// The interface that it would leave by, where that is known.
    pub egress: Option<At>,
    pub why: Why,
    /// As it was.
    pub packet: Packet,
    /// The fast path is off where it came in.
    pub is_off: bool,
}

/// Why a packet goes no further.
#[derive(Clone, Debug)]
pub(super) enum Why {
    /// The kernel says so.
    Kernel(Cause),
    /// The fast path does.
    Fast(DropReason),
    /// The interface that it is sent to is down.
    Down(At),
    /// The interface that it is sent to takes no packets of this size.
    Narrow(At),
    /// Nobody answers for the next hop.
    Silent(IpAddr),
    /// Who has the next hop answers nobody by this interface.
    Mute(At),
    /// Nobody has the Ethernet address that it is sent to.
    Nobody(Option<IpAddr>, Mac),
    /// It goes round in circles.
    Loop,
}

/// Follows packets.
pub(super) struct Walk<'a> {
    pub places: &'a Places,
    /// What the way there has left.
    pub before: &'a Left,
    /// Whether the kernel is asked too where the fast path decides.
    pub diff: bool,
}

/// What is known of a packet where the kernel gets it.
struct Given {
    steps: Vec<Step>,
    is_noted: bool,
    is_off: bool,
    egress: Option<At>,
}

impl Walk<'_> {
    /// All ways that a packet may take.
    pub(super) fn follow(&self, start: Position) -> Result<Vec<Trace>, ExplainError> {
        let mut ended = Vec::new();
        let mut open = vec![(start, Trace::new())];
        while let Some((position, trace)) = open.pop() {
            if ended.len() + open.len() >= WAYS {
                ended.push(trace.ends(WayEnd::TooMany));
                break;
            }
            self.go(position, trace, &mut open, &mut ended)?;
        }
        Ok(ended)
    }

    /// Through one namespace.
    fn go(
        &self,
        position: Position,
        mut trace: Trace,
        open: &mut Vec<(Position, Trace)>,
        ended: &mut Vec<Trace>,
    ) -> Result<(), ExplainError> {
        let key = (position.place, position.entry, position.packet.tuple());
        if trace.seen.contains(&key) || trace.hops.len() >= HOPS {
            let fault = Fault::at(&position, Why::Loop);
            ended.push(trace.lost(self.places, fault, "it goes round in circles"));
            return Ok(());
        }
        trace.seen.push(key);
        let mut given = Given {
            steps: Vec::new(),
            is_noted: true,
            is_off: false,
            egress: None,
        };
        if let Entry::By {
            ifindex,
            source_mac,
        } = position.entry
        {
            let at = At {
                place: position.place,
                ifindex,
            };
            if let Some(hooked) = self.places.hooked(at)? {
                if !hooked.is_attached {
                    let dev = self.places.dev(at)?;
                    let text = format!("off: {} is not attached to {dev}", hooked.program.name());
                    given.steps.push(Step::passes("fast path", text));
                    given.is_off = true;
                } else if position.packet.length > fast::LONGEST {
                    let text = format!(
                        "the programs cannot be asked about a packet of {} bytes",
                        position.packet.length
                    );
                    trace.unknown.push(Unknown {
                        what: text,
                        rule: None,
                    });
                    ended.push(trace.ends(WayEnd::TooMany));
                    return Ok(());
                } else {
                    let asked =
                        fast::ask(self.places, at, &hooked, &position.packet, source_mac)?;
                    let asked = self.with_noted(&position, asked);
                    match asked.decided {
                        Decided::Punt(reason) => {
                            given.is_noted = fast::is_noted(reason);
                            given.egress = asked.egress.map(|ifindex| At {
                                place: position.place,
                                ifindex,
                            });
                            given.steps = asked.steps;
                        }
                        _ => return self.by_fast_path(position, at, asked, trace, open, ended),
                    }
                }
            }
        }
        self.by_kernel(&position, given, trace, open, ended)
    }

    /// With what the way there would have made the programs note.
    fn with_noted(&self, position: &Position, mut asked: Fast) -> Fast {
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

    fn by_fast_path(
        &self,
        position: Position,
        at: At,
        asked: Fast,
        mut trace: Trace,
        open: &mut Vec<(Position, Trace)>,
        ended: &mut Vec<Trace>,
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
                    ended.push(trace.ends(end));
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
                    true => open.push((next, trace)),
                    false => {
                        let dev = places.dev(target)?;
                        let fault = Fault::at(&next, Why::Down(target));
                        ended.push(trace.lost(places, fault, &format!("{dev} is down")));
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
                self.cross(&crossing, asked.packet, trace, open, ended)?;
            }
            Decided::Drop(reason) => {
                hop.outcome = format!("dropped ({})", reason.name());
                trace.hops.push(hop);
                let mut fault = Fault::at(&position, Why::Fast(reason));
                fault.ingress = Some(at);
                let text = format!("the fast path drops it ({})", reason.name());
                ended.push(trace.lost(places, fault, &text));
            }
            // Whoever calls has seen to it.
            Decided::Punt(_) => ended.push(trace.ends(WayEnd::TooMany)),
        }
        Ok(())
    }

    /// What the kernel would do in the fast path's place.
    fn compare(
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

    fn ask_kernel(&self, position: &Position) -> Result<Answer, ExplainError> {
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

    fn by_kernel(
        &self,
        position: &Position,
        given: Given,
        trace: Trace,
        open: &mut Vec<(Position, Trace)>,
        ended: &mut Vec<Trace>,
    ) -> Result<(), ExplainError> {
        let places = self.places;
        let answer = self.ask_kernel(position)?;
        let is_certain = answer.certain().is_some();
        if answer.more {
            ended.push(trace.clone().ends(WayEnd::TooMany));
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
                trace.unknown.extend(supposed.clone().map(|it| it.unknown.clone()));
                let told = supposed.map(|it| Step::passes("may", format!("{}: {}", it.unknown.what, it.so)));
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
                    self.leaves(position, &given, *leaving, hop, trace, open, ended)?;
                }
                End::Delivered { packet } => {
                    hop.outcome = "delivered".to_owned();
                    hop.packet = packet.clone();
                    trace.hops.push(hop);
                    trace.delivered = Some(Position {
                        place: position.place,
                        entry: position.entry,
                        packet: packet.clone(),
                    });
                    let place = places.place(position.place).name.clone();
                    ended.push(trace.ends(WayEnd::Delivered {
                        place,
                        packet,
                        is_wanted: true,
                    }));
                }
                End::Dropped { cause } => {
                    let text = told::cause(&cause);
                    hop.outcome = format!("dropped: {text}");
                    self.fails(hop, packet, trace, (fault, cause, text), ended);
                }
                End::Answered { cause, error } => {
                    let text = format!("{} (answered with {error})", told::cause(&cause));
                    hop.outcome = format!("refused with {error}");
                    self.fails(hop, packet, trace, (fault, cause, text), ended);
                }
                End::Taken { rule, by } => {
                    hop.outcome = format!("given to {by}");
                    trace.hops.push(hop);
                    trace.unknown.push(Unknown {
                        what: format!("what becomes of it behind {by}"),
                        rule: Some(rule),
                    });
                    ended.push(trace.ends(WayEnd::TooMany));
                }
            }
        }
        Ok(())
    }

    fn fails(
        &self,
        mut hop: Hop,
        packet: Packet,
        mut trace: Trace,
        (mut fault, cause, text): (Fault, Cause, String),
        ended: &mut Vec<Trace>,
    ) {
        if let Some(last) = hop.steps.last_mut() {
            last.effect = Effect::Ends;
        }
        hop.packet = packet.clone();
        trace.hops.push(hop);
        fault.why = Why::Kernel(cause);
        fault.packet = packet;
        ended.push(trace.lost(self.places, fault, &text));
    }

    #[expect(clippy::too_many_arguments, reason = "it is a part of the function that calls it")]
    fn leaves(
        &self,
        position: &Position,
        given: &Given,
        leaving: Leaving,
        mut hop: Hop,
        mut trace: Trace,
        open: &mut Vec<(Position, Trace)>,
        ended: &mut Vec<Trace>,
    ) -> Result<(), ExplainError> {
        let out = At {
            place: position.place,
            ifindex: leaving.ifindex,
        };
        hop.outcome = format!("sent out of {} to {}", leaving.dev, leaving.next_hop);
        if let Some(mtu) = leaving.fragments {
            hop.outcome += &format!(", in fragments of at most {mtu} bytes");
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
        self.cross(&crossing, leaving.packet, trace, open, ended)
    }

    /// The programs at the egress note the connection of what the kernel sends on between two routed ends.
    fn note(
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

    fn cross(
        &self,
        crossing: &Crossing,
        packet: Packet,
        trace: Trace,
        open: &mut Vec<(Position, Trace)>,
        ended: &mut Vec<Trace>,
    ) -> Result<(), ExplainError> {
        match crossing.go(self.places, packet)? {
            crossing::Beyond::On(next) => open.push((next, trace)),
            crossing::Beyond::Outside(end) => ended.push(trace.ends(end)),
            crossing::Beyond::Lost(fault, text) => {
                ended.push(trace.lost(self.places, *fault, &text));
            }
        }
        Ok(())
    }

    fn hop(&self, position: &Position, by: By) -> Result<Hop, ExplainError> {
        let place = self.places.place(position.place);
        let ingress = match position.entry {
            Entry::By { ifindex, .. } => Some(self.places.dev(At {
                place: position.place,
                ifindex,
            })?),
            Entry::Sent => None,
        };
        Ok(Hop {
            kind: self.places.kind(position.place),
            name: place.name.clone(),
            netns: place.file.clone(),
            ingress,
            by,
            steps: Vec::new(),
            outcome: String::new(),
            egress: None,
            packet: position.packet.clone(),
            kernel: None,
        })
    }
}

/// Whether a packet is the answer to a connection's first.
fn is_reply(tracked: &Tracked, packet: &Packet) -> bool {
    let ends = packet.tuple();
    tracked.reply == ends
}

impl Trace {
    fn new() -> Self {
        Self {
            hops: Vec::new(),
            end: WayEnd::TooMany,
            left: Left::default(),
            unknown: Vec::new(),
            translated: Vec::new(),
            taken: Vec::new(),
            fault: None,
            delivered: None,
            seen: Vec::new(),
        }
    }

    fn ends(self, end: WayEnd) -> Self {
        Self { end, ..self }
    }

    fn lost(self, places: &Places, fault: Fault, text: &str) -> Self {
        let place = places.place(fault.place).name.clone();
        Self {
            end: WayEnd::Lost {
                place,
                text: text.to_owned(),
            },
            fault: Some(fault),
            ..self
        }
    }
}

impl Fault {
    pub(super) fn at(position: &Position, why: Why) -> Self {
        let ingress = match position.entry {
            Entry::By { ifindex, .. } => Some(At {
                place: position.place,
                ifindex,
            }),
            Entry::Sent => None,
        };
        Self {
            place: position.place,
            ingress,
            egress: None,
            why,
            packet: position.packet.clone(),
            is_off: false,
        }
    }
}
