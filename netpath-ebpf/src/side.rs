//! Between source and destination: is this connection on the fast path's side, or on the kernel's? Both its ends have to be
//! routed. An endpoint's packets are, where their destination is in the table.

use netpath_common::{EndpointEntry, PuntReason, RouteKind, Verdict};

use crate::{
    access::Skb,
    destination::Tables,
    ends::{self, Between, Part},
    family::{V4, V6},
    once::once,
    parse::Parse,
};

/// A connection with what is not routed is the kernel's in both directions: its answers are already, for want of a route. An
/// ICMP error is of the connection that it quotes, whoever sends it.
#[inline(always)]
pub fn inside<F: Sided>(skb: &Skb, source: Option<u16>) -> Result<u16, Verdict> {
    match source {
        Some(punt_between) => Ok(punt_between),
        None if F::quotes_inside(skb) != 0 => Ok(SOMEBODY),
        None => Err(Verdict::Punt(PuntReason::Outside)),
    }
}

/// As [`of_endpoint`](crate::source::of_endpoint) returns it, for a source of which nobody has looked whether there is a
/// reason: one with another's, but none by itself.
const SOMEBODY: u16 = !EndpointEntry::ALONE;

/// A family whose errors are looked into.
pub trait Sided: Parse + Tables + Between {
    /// [`quotes_inside`].
    fn quotes_inside(skb: &Skb) -> u32;
}

macro_rules! sided {
    ($family:ident, $quotes_inside:ident) => {
        once!(fn $quotes_inside(&skb) -> u32 = quotes_inside::<$family>);

        impl Sided for $family {
            #[inline(always)]
            fn quotes_inside(skb: &Skb) -> u32 {
                $quotes_inside(skb)
            }
        }
    };
}
sided!(V4, side_quotes_inside_v4);
sided!(V6, side_quotes_inside_v6);

/// Whether it is an ICMP error about a packet that its receiver sent to what is routed.
#[inline(always)]
fn quotes_inside<F: Sided>(skb: &Skb) -> u32 {
    let is_inside = match (F::ends(skb), ends::of::<F>(skb)) {
        (Ok((_, receiver)), Some((quoted, Part::Error))) => {
            quoted.source == receiver && is_known::<F>(&quoted.destination)
        }
        _ => false,
    };
    is_inside.into()
}

/// Whether an address is routed to another node, or the node's own: what goes to an endpoint of this node nobody outside has seen.
#[inline(always)]
fn is_known<F: Tables>(address: &F::Address) -> bool {
    match F::endpoint(address) {
        Some(entry) => entry.is_node(),
        None => F::route(address).is_some_and(|route| route.kind() == RouteKind::Remote),
    }
}
