//! Following a packet from namespace to namespace: where the programs of the fast path see it they are asked, else the kernel is.

mod by_fast_path;
mod by_kernel;

use std::net::IpAddr;

use netpath_common::{DropReason, Mac};

use super::{
    ExplainError,
    crossing::{self, Crossing},
    fast::{self, Decided},
    places::{At, PlaceId, Places},
    way::{By, Hop, Step, WayEnd},
};
use crate::kernel_way::{Cause, Entry, Packet, RuleAt, Tracked, Tuple, Unknown};

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
    /// Its length before somebody cut it into fragments, of which the longest is followed.
    pub whole: Option<u32>,
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

/// The ways that a packet may take.
struct Ways {
    /// Those that go on from somewhere.
    open: Vec<(Position, Trace)>,
    /// Those that have come to an end.
    ended: Vec<Trace>,
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
        let mut ways = Ways {
            open: vec![(start, Trace::new())],
            ended: Vec::new(),
        };
        while let Some((position, trace)) = ways.open.pop() {
            if ways.ended.len() + ways.open.len() >= WAYS {
                ways.ended.push(trace.ends(WayEnd::TooMany));
                break;
            }
            self.go(position, trace, &mut ways)?;
        }
        Ok(ways.ended)
    }

    /// Through one namespace.
    fn go(
        &self,
        position: Position,
        mut trace: Trace,
        ways: &mut Ways,
    ) -> Result<(), ExplainError> {
        let key = (position.place, position.entry, position.packet.tuple());
        if trace.seen.contains(&key) || trace.hops.len() >= HOPS {
            let fault = Fault::at(&position, Why::Loop);
            ways.ended
                .push(trace.lost(self.places, fault, "it goes round in circles"));
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
            // Nothing comes in by an interface that is down: the kernel's part says so.
            let is_up = self.places.link(at)?.is_none_or(|link| link.up);
            if let Some(hooked) = self.places.hooked(at)?.filter(|_| is_up) {
                if !hooked.is_attached {
                    let dev = self.places.dev(at)?;
                    let text = format!("off: {} is not attached to {dev}", hooked.program.name());
                    given.steps.push(Step::passes("fast path", text));
                    given.is_off = true;
                } else if position.packet.longest() > fast::LONGEST {
                    let text = format!(
                        "the programs cannot be asked about a packet of {} bytes",
                        position.packet.longest()
                    );
                    trace.unknown.push(Unknown {
                        what: text,
                        rule: None,
                    });
                    ways.ended.push(trace.ends(WayEnd::TooMany));
                    return Ok(());
                } else {
                    let asked = fast::ask(self.places, at, &hooked, &position.packet, source_mac)?;
                    let asked = self.with_noted(&position, asked);
                    if !asked.is_same_for_all {
                        trace.unknown.push(Unknown {
                            what: "what becomes of its fragments, which the programs do not treat alike"
                                .to_owned(),
                            rule: None,
                        });
                        ways.ended.push(trace.ends(WayEnd::TooMany));
                        return Ok(());
                    }
                    match asked.decided {
                        Decided::Punt(reason) => {
                            given.is_noted = fast::is_noted(reason);
                            given.egress = asked.egress.map(|ifindex| At {
                                place: position.place,
                                ifindex,
                            });
                            given.steps = asked.steps;
                        }
                        _ => return self.by_fast_path(position, at, asked, trace, ways),
                    }
                }
            }
        }
        self.by_kernel(&position, given, trace, ways)
    }

    fn cross(
        &self,
        crossing: &Crossing,
        packet: Packet,
        trace: Trace,
        ways: &mut Ways,
    ) -> Result<(), ExplainError> {
        match crossing.go(self.places, packet)? {
            crossing::Beyond::On(next) => ways.open.push((next, trace)),
            crossing::Beyond::Outside(end) => ways.ended.push(trace.ends(end)),
            crossing::Beyond::Lost(fault, text) => {
                ways.ended.push(trace.lost(self.places, *fault, &text));
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
            whole: None,
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
