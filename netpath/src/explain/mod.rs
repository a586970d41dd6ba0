//! Where is my packet? The way of one packet, predicted: namespace by namespace, across the nodes that netpath knows, and the way of
//! the answer to it.
//!
//! Nothing is sent and nothing is changed. On the fast path the loaded programs themselves are asked ([`Datapath::ask`]); on the
//! kernel's path the kernel is ([`kernel_way`]). What cannot be known is named, and the way is then one that the packet *may* take.
//!
//! [`Datapath::ask`]: crate::datapath::Datapath::ask
//! [`kernel_way`]: crate::kernel_way

mod crossing;
mod error;
mod fast;
mod fault;
mod frame;
mod obstacle;
mod places;
mod question;
mod told;
mod walk;
mod way;

use std::net::IpAddr;

pub use self::{
    error::ExplainError,
    obstacle::Obstacle,
    question::{Protocol, Question, Target},
    way::{Arrives, By, Comparison, Effect, Explanation, Hop, PlaceKind, Step, Way, WayEnd},
};
use self::{
    places::{At, PlaceId, Places},
    walk::{Left, Position, Trace, Walk},
};
use crate::{
    finding::Finding,
    kernel_way::{Entry, Packet},
    netlink::{Lookup, Netlink},
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
    let there = Told::of(&places, walk.follow(start)?, ends.wanted);
    let back = match (&there.main().delivered, there.arrives) {
        (Some(delivered), Arrives::Yes | Arrives::May) if question.wants_reply() => {
            Some(answer(&places, question, &ends, there.main(), delivered)?)
        }
        _ => None,
    };
    conclude(&places, &ends, packet, there, back)
}

/// The ends of a packet, as they were found.
struct Ends {
    source: IpAddr,
    destination: IpAddr,
    /// Where it begins.
    start: (PlaceId, Entry),
    /// Where it begins, where that is known.
    sender: Option<PlaceId>,
    /// Where it is to arrive, where that is known.
    wanted: Option<PlaceId>,
}

impl Ends {
    fn of(places: &Places, question: &Question) -> Result<Self, ExplainError> {
        let (sender, wanted) = places_of(places, question)?;
        let (source, destination) = addresses(places, question, sender, wanted)?;
        let start = match sender {
            Some(place) => (place, Entry::Sent),
            None => outside(places, question, source, wanted)?,
        };
        Ok(Self {
            source,
            destination,
            start,
            sender,
            wanted,
        })
    }
}

/// The namespaces of both ends, where they are known. What has an address is looked for where the other end is, or the node that is
/// named: labs that know nothing of one another may have the same addresses.
fn places_of(
    places: &Places,
    question: &Question,
) -> Result<(Option<PlaceId>, Option<PlaceId>), ExplainError> {
    let node = question.node.as_ref();
    let named_node = match node {
        Some(name) => Some(
            places
                .node_named(name.as_ref())
                .ok_or_else(|| ExplainError::unknown(name))?,
        ),
        None => None,
    };
    let by_name = |end: &Target, node: Option<&str>| match end {
        Target::Name(name) => {
            let found = places.named(name.as_ref(), node);
            found.map(Some).ok_or_else(|| ExplainError::unknown(name))
        }
        Target::Address(_) => Ok(None),
    };
    let sender = by_name(&question.source, node.map(AsRef::as_ref))?;
    let wanted = by_name(&question.destination, None)?;
    let near = named_node.or(sender).or(wanted);
    let by_address = |end: &Target, near: Option<PlaceId>| {
        let Target::Address(address) = end else {
            return Ok(None);
        };
        let connected = near.map(|place| places.connected(place));
        let found = places.owners(*address, connected.as_ref())?;
        match (found.as_slice(), near) {
            ([first, _, ..], None) if !is_alone(places, &found) => Err(ExplainError::Ambiguous {
                address: *address,
                first: places.place(*first).name.clone(),
            }),
            (found, _) => Ok(found.first().copied()),
        }
    };
    let sender = match sender {
        Some(place) => Some(place),
        None => by_address(&question.source, near)?,
    };
    let wanted = match wanted {
        Some(place) => Some(place),
        None => by_address(&question.destination, near.or(sender))?,
    };
    Ok((sender, wanted))
}

/// Whether all of these are connected.
fn is_alone(places: &Places, found: &[PlaceId]) -> bool {
    let mut connected = found.iter().map(|it| places.connected(*it));
    let first = connected.next();
    connected.all(|it| Some(it) == first)
}

/// The addresses of both ends, of one family: IPv4 where both have it.
fn addresses(
    places: &Places,
    question: &Question,
    sender: Option<PlaceId>,
    wanted: Option<PlaceId>,
) -> Result<(IpAddr, IpAddr), ExplainError> {
    let own = |end: &Target, place: Option<PlaceId>| match (end, place) {
        (Target::Address(address), _) => vec![*address],
        (Target::Name(_), Some(place)) => places.addresses(place),
        (Target::Name(_), None) => Vec::new(),
    };
    let (from, to) = (
        own(&question.source, sender),
        own(&question.destination, wanted),
    );
    let pair = |is_v4: bool| {
        let of = |all: &[IpAddr]| all.iter().copied().find(|it| it.is_ipv4() == is_v4);
        of(&from).zip(of(&to))
    };
    let (source, destination) = pair(true)
        .or_else(|| pair(false))
        .ok_or_else(|| ExplainError::Families {
            source_end: question.source.to_string(),
            destination: question.destination.to_string(),
        })?;
    // What has a name sends from where its kernel likes to.
    let chosen = match (&question.source, sender) {
        (Target::Name(_), Some(place)) => places.source_towards(place, destination)?,
        _ => None,
    };
    Ok((chosen.unwrap_or(source), destination))
}

/// Where a packet from outside comes in: by the interface that the way back to it uses, on the node that is said, or that the
/// destination is on.
fn outside(
    places: &Places,
    question: &Question,
    source: IpAddr,
    wanted: Option<PlaceId>,
) -> Result<(PlaceId, Entry), ExplainError> {
    let node = match (&question.node, wanted) {
        (Some(name), _) => places
            .node_named(name.as_ref())
            .ok_or_else(|| ExplainError::unknown(name))?,
        (None, Some(place)) => places.node_of(place),
        (None, None) => {
            let mut nodes = places.nodes();
            match (nodes.next(), nodes.next()) {
                (Some(only), None) => only,
                _ => {
                    return Err(ExplainError::Nowhere {
                        address: source,
                    });
                }
            }
        }
    };
    let lookup = Lookup {
        iif: None,
        oif: None,
        source: None,
        destination: source,
        tos: 0,
        mark: 0,
        protocol: None,
        ports: None,
        flow_label: 0,
    };
    let netns = places.place(node).netns()?;
    let resolved = netns.enter(|inside| Netlink::open(inside)?.resolve(&lookup))??;
    let by_route = resolved.ok().map(|found| found.ifindex);
    let uplinks = &places.node(node).uplinks;
    let first = uplinks.first().map(|uplink| uplink.interface.ifindex);
    // A way back by an endpoint's veth, or into the node itself, is none that it came by.
    let is_uplink = |ifindex: &_| {
        let at = At {
            place: node,
            ifindex: *ifindex,
        };
        places.uplink(at).is_some()
    };
    let ifindex = by_route.filter(is_uplink).or(first);
    let ifindex = ifindex.ok_or_else(|| ExplainError::NoUplink {
        node: places.node(node).name.clone(),
    })?;
    let entry = Entry::By {
        ifindex,
        source_mac: None,
    };
    Ok((node, entry))
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
    let verdict = verdict(ends, places, &there_way, back_way.as_ref(), finding.as_ref());
    Ok(Explanation {
        there: there_way,
        back: back_way,
        arrives,
        verdict,
        finding,
        unread: places.unread.clone(),
    })
}

/// All of it in one sentence.
fn verdict(
    ends: &Ends,
    places: &Places,
    there: &Way,
    back: Option<&Way>,
    finding: Option<&Finding>,
) -> String {
    let end = |place: Option<PlaceId>, address: IpAddr| match place {
        Some(place) => format!("{} ({address})", places.place(place).name),
        None => address.to_string(),
    };
    let [from, to] = [
        end(ends.sender, ends.source),
        end(ends.wanted, ends.destination),
    ];
    let (what, way) = match back {
        Some(back) if there.arrives == Arrives::Yes => ("the answer", back),
        _ => ("the packet", there),
    };
    let problem = finding.map(|finding| finding.problem.as_str());
    match way.arrives {
        Arrives::Yes => match back {
            Some(_) => format!("the packet from {from} arrives at {to}, and the answer comes back"),
            None => format!("the packet from {from} arrives at {to}"),
        },
        Arrives::No => {
            let lost = way.end.to_string();
            format!(
                "{what} {} does not arrive: {}",
                match what {
                    "the answer" => format!("from {to} to {from}"),
                    _ => format!("from {from} to {to}"),
                },
                problem.unwrap_or(&lost)
            )
        }
        Arrives::May => {
            let unknown: Vec<&str> = way.unknown.iter().map(|it| it.what.as_str()).collect();
            match unknown.is_empty() {
                true => format!("{what} {}", way.end),
                false => format!("{what} may arrive: what is not known is {}", unknown.join(", ")),
            }
        }
    }
}
