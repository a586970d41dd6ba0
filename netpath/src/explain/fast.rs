//! What the fast path does with a packet: the loaded programs are asked, on a packet made for that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netpath_common::{DropReason, EndpointEntry, Ifindex, Mac, Outcome, PuntReason, Trail};

use super::{
    ExplainError, frame,
    places::{At, Hooked, Places},
    way::{Effect, Step},
};
use crate::{
    datapath::{Answer, DatapathError, Maps, ProgramKind, TestPacket},
    kernel_way::Packet,
};

/// What the kernel takes of a packet for a run: a page, less its own headroom (`bpf_prog_test_run_skb`).
pub(super) const LONGEST: u32 = 3400;

/// `AF_INET` and `AF_INET6` of linux/socket.h, as the FIB says them.
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

/// What the fast path does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decided {
    /// Into the namespace behind this interface.
    Peer(Ifindex),
    /// Out of this interface.
    Out {
        /// Which.
        egress: Ifindex,
        /// The next hop's address; without one there is but the other end.
        next_hop: Option<IpAddr>,
    },
    /// To the kernel.
    Punt(PuntReason),
    /// Nowhere.
    Drop(DropReason),
}

/// A packet on the fast path.
#[derive(Clone, Debug)]
pub(super) struct Fast {
    pub steps: Vec<Step>,
    pub decided: Decided,
    /// The egress that was found, also where it is not taken.
    pub egress: Option<Ifindex>,
    /// Whether its connection was asked for, and is not the kernel's.
    pub is_fast: bool,
    /// As it leaves.
    pub packet: Packet,
    /// Of a packet in fragments: the first and the last go the same way.
    pub is_same_for_all: bool,
}

/// Asks the program that sees what comes in by an interface.
pub(super) fn ask(
    places: &Places,
    at: At,
    hooked: &Hooked<'_>,
    packet: &Packet,
    source_mac: Option<Mac>,
) -> Result<Fast, ExplainError> {
    let mac = places.link(at)?.and_then(|link| link.mac);
    let own = mac.unwrap_or_default();
    let datapath = hooked.datapath;
    let ask = |frame: Vec<u8>| {
        let test = TestPacket {
            mark: packet.mark,
            ..TestPacket::new(frame, at.ifindex)
        };
        let netns = places.place(at.place).netns()?;
        let answer = netns.enter(|inside| datapath.ask(inside, hooked.program, &test))??;
        let told = Told {
            places,
            at,
            maps: &datapath.maps,
            packet,
            trail: answer.trail,
        };
        told.fast(hooked.program, &answer)
    };
    let (first, last) = frame::of(packet, source_mac.unwrap_or_default(), own);
    let first = ask(first)?;
    let is_same_for_all = match last {
        Some(last) => ask(last)?.decided == first.decided,
        None => true,
    };
    Ok(Fast {
        is_same_for_all,
        ..first
    })
}

/// The trail in words.
struct Told<'a> {
    places: &'a Places,
    at: At,
    maps: &'a Maps,
    packet: &'a Packet,
    trail: Trail,
}

impl Told<'_> {
    fn fast(&self, program: ProgramKind, answer: &Answer) -> Result<Fast, ExplainError> {
        let trail = &self.trail;
        let decided = self.decided()?;
        let mut steps = vec![self.source(program, decided)?];
        let has_egress = trail.egress != Ifindex(0);
        if trail.destination != 0 {
            steps.push(self.destination()?);
        }
        if trail.is_fast != 0 {
            steps.push(Step::passes("side", "the connection is not the kernel's"));
        }
        if has_egress {
            steps.push(self.next_hop()?);
        }
        let mut packet = self.packet.clone();
        let text = match decided {
            Decided::Peer(_) | Decided::Out { .. } => {
                packet.ttl = frame::ttl(&answer.outcome.frame).unwrap_or(packet.ttl);
                packet.mark = answer.outcome.mark;
                let text = format!("{} -> {}", self.packet.ttl, packet.ttl);
                steps.push(Step::of("ttl", text, Effect::Changes));
                Step::passes("verdict", "redirected past the kernel")
            }
            Decided::Punt(reason) => Step::passes(
                "verdict",
                format!(
                    "left to the kernel ({}): {}",
                    reason.name(),
                    sentence(reason.means())
                ),
            ),
            Decided::Drop(reason) => Step::of(
                "verdict",
                format!("dropped ({}): {}", reason.name(), sentence(reason.means())),
                Effect::Ends,
            ),
        };
        steps.push(text);
        Ok(Fast {
            steps,
            decided,
            egress: has_egress
                .then_some(trail.egress)
                .or((trail.destination == Trail::OWNED).then_some(trail.destination_ifindex)),
            is_fast: trail.is_fast != 0,
            packet,
            is_same_for_all: true,
        })
    }

    fn decided(&self) -> Result<Decided, ExplainError> {
        let trail = &self.trail;
        let unknown = || ExplainError::Trail {
            node: self.places.node(self.at.place).name.clone(),
            outcome: trail.outcome,
            reason: trail.reason,
        };
        let outcome = u8::try_from(trail.outcome)
            .ok()
            .and_then(Outcome::from_number);
        let reason = u16::try_from(trail.reason).unwrap_or_default();
        Ok(match outcome.ok_or_else(unknown)? {
            Outcome::RedirectPeer => Decided::Peer(trail.destination_ifindex),
            Outcome::RedirectNeigh => Decided::Out {
                egress: trail.egress,
                next_hop: self.gateway(),
            },
            Outcome::Punt => Decided::Punt(PuntReason::from_number(reason).ok_or_else(unknown)?),
            Outcome::Drop => Decided::Drop(DropReason::from_number(reason).ok_or_else(unknown)?),
            Outcome::Deliver => return Err(unknown()),
        })
    }

    /// The address of the next hop, where it has one.
    fn gateway(&self) -> Option<IpAddr> {
        let [first, ..] = self.trail.gateway;
        match self.trail.family {
            AF_INET => Some(Ipv4Addr::from(first.to_ne_bytes()).into()),
            AF_INET6 => {
                let mut bytes = [0; 16];
                let words = bytes.chunks_exact_mut(4).zip(self.trail.gateway);
                words.for_each(|(to, word)| to.copy_from_slice(&word.to_ne_bytes()));
                Some(Ipv6Addr::from(bytes).into())
            }
            _ => None,
        }
    }

    /// Whose the source is.
    fn source(&self, program: ProgramKind, decided: Decided) -> Result<Step, ExplainError> {
        let source = self.packet.source;
        let whose = self.whose(source)?;
        let text = match (program, decided) {
            (ProgramKind::FromEndpoint, Decided::Drop(DropReason::Spoofed)) => {
                let sender = self.places.behind(self.at)?;
                let sender = sender.map(|at| self.places.place(at.place).name.clone());
                let sender = sender.unwrap_or_else(|| "the endpoint".to_owned());
                return Ok(Step::of(
                    "source",
                    format!("{source} is {whose}, and not {sender}'s, which sends it"),
                    Effect::Ends,
                ));
            }
            _ => format!("{source} is {whose}"),
        };
        Ok(Step::passes("source", text))
    }

    /// Where the destination is.
    fn destination(&self) -> Result<Step, ExplainError> {
        let destination = self.packet.destination;
        let whose = self.whose(destination)?;
        Ok(Step::passes(
            "destination",
            format!("{destination} is {whose}"),
        ))
    }

    /// Whose an address is by the tables that the programs go by.
    fn whose(&self, address: IpAddr) -> Result<String, ExplainError> {
        if let Some(entry) = self.maps.endpoint(address)? {
            return Ok(match entry.is_node() {
                true => "the node's own".to_owned(),
                false => format!("{}'s, by its address", self.endpoint(&entry)?),
            });
        }
        let (prefix, entry) = (
            self.maps.longest_prefix(address)?,
            self.maps.route(address.into())?,
        );
        Ok(match (prefix, entry) {
            (Some(prefix), Some(route)) if !route.endpoint.is_node() => {
                format!(
                    "{}'s, by the prefix {prefix}",
                    self.endpoint(&route.endpoint)?
                )
            }
            (Some(prefix), Some(_)) => format!("of {prefix}, which is routed to other nodes"),
            _ => "in no table of netpath's".to_owned(),
        })
    }

    fn endpoint(&self, entry: &EndpointEntry) -> Result<String, ExplainError> {
        let at = At {
            place: self.at.place,
            ifindex: entry.ifindex,
        };
        let found = self.places.behind(at)?;
        Ok(match found {
            Some(at) => self.places.place(at.place).name.clone(),
            None => format!("interface {}", entry.ifindex.0),
        })
    }

    fn next_hop(&self) -> Result<Step, ExplainError> {
        let at = At {
            place: self.at.place,
            ifindex: self.trail.egress,
        };
        let (dev, mtu) = (self.places.dev(at)?, self.trail.mtu);
        let text = match self.gateway() {
            Some(gateway) => format!("{gateway} by {dev}, MTU {mtu}"),
            None => format!("by {dev}, MTU {mtu}"),
        };
        Ok(Step::passes("next hop", text))
    }
}

/// A sentence in the middle of another.
fn sentence(text: &str) -> &str {
    text.strip_suffix('.').unwrap_or(text)
}

/// Whether the connection of a packet that was left to the kernel for this reason is noted when the kernel sends it on. As
/// `Decision::is_final` of the programs has it.
pub(super) fn is_noted(reason: PuntReason) -> bool {
    use PuntReason::{KernelConnection, MtuExceeded, NoMemory, PaddedGso, TtlExceeded};
    !matches!(
        reason,
        KernelConnection | MtuExceeded | NoMemory | PaddedGso | TtlExceeded
    )
}

/// Whether an address is in the tables of a node, so that what is between two such is noted.
pub(super) fn is_routed(maps: &Maps, address: IpAddr) -> Result<bool, DatapathError> {
    Ok(match maps.endpoint(address)? {
        Some(entry) => !entry.is_node(),
        None => maps.route(address.into())?.is_some(),
    })
}
