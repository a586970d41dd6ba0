//! Between source and destination: is this connection on the fast path's side, or on the kernel's? Both its ends have to be
//! routed. An endpoint's packets are, where their destination is in the table.

use netpath_common::{EndpointEntry, PuntReason, RouteKind, Verdict};

use crate::{
    access::Skb,
    destination::Tables,
    ends::{self, Between, Part},
    parse::Parsed,
};

/// A connection with what is not routed is the kernel's in both directions: its answers are already, for want of a route. An
/// ICMP error is of the connection that it quotes, whoever sends it.
#[inline(always)]
pub fn inside<F: Tables + Between>(
    skb: &Skb,
    packet: &Parsed<F>,
    source: Option<u16>,
) -> Result<u16, Verdict> {
    match source {
        Some(punt_between) => Ok(punt_between),
        None if quotes_inside(skb, packet) => Ok(SOMEBODY),
        None => Err(Verdict::Punt(PuntReason::Outside)),
    }
}

/// As [`of_endpoint`](crate::source::of_endpoint) returns it, for a source of which nobody has looked whether there is a
/// reason: one with another's, but none by itself.
const SOMEBODY: u16 = !EndpointEntry::ALONE;

/// Whether it is an ICMP error about a packet that its receiver sent to what is routed. A function of its own, as it is rarely
/// asked.
#[inline(never)]
fn quotes_inside<F: Tables + Between>(skb: &Skb, packet: &Parsed<F>) -> bool {
    match ends::of::<F>(skb) {
        Some((quoted, Part::Error)) => {
            quoted.source == packet.destination && is_known::<F>(&quoted.destination)
        }
        _ => false,
    }
}

/// Whether an address is routed to another node, or the node's own: what goes to an endpoint of this node nobody outside has seen.
#[inline(always)]
fn is_known<F: Tables>(address: &F::Address) -> bool {
    match F::endpoint(address) {
        Some(entry) => entry.is_node(),
        None => F::route(address).is_some_and(|route| route.kind() == RouteKind::Remote),
    }
}
