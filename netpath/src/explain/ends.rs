//! The ends of a packet: from names and addresses to namespaces and interfaces.

use std::net::IpAddr;

use super::{
    ExplainError,
    places::{At, PlaceId, Places},
    question::{Question, Target},
};
use crate::{
    kernel_way::Entry,
    netlink::{Lookup, Netlink},
};

/// The ends of a packet, as they were found.
pub(super) struct Ends {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Where it begins.
    pub start: (PlaceId, Entry),
    /// Where it begins, where that is known.
    pub sender: Option<PlaceId>,
    /// Where it is to arrive, where that is known.
    pub wanted: Option<PlaceId>,
}

impl Ends {
    pub(super) fn of(places: &Places, question: &Question) -> Result<Self, ExplainError> {
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
            // What several have (127.0.0.1, the gateways' 169.254.1.1 and fe80::1) is that of who asks, or of its node.
            (found, near) => {
                let closest = near.map(|near| [near, places.node_of(near)]);
                let closest = closest.into_iter().flatten().find(|it| found.contains(it));
                Ok(closest.or(found.first().copied()))
            }
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
    let (source, destination) =
        pair(true)
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
                    return Err(ExplainError::Nowhere { address: source });
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
