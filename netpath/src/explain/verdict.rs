//! What was found out in one sentence. Pure.

use std::net::IpAddr;

use super::{
    ends::Ends,
    places::{PlaceId, Places},
    way::{Arrives, Way, WayEnd},
};
use crate::finding::Finding;

/// All of it in one sentence.
pub(super) fn verdict(
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
    let from = end(ends.sender, ends.source);
    let to = match &there.end {
        WayEnd::Delivered { place, packet, .. } if packet.destination != ends.destination => {
            format!(
                "{}, which is translated: at {place} ({})",
                ends.destination, packet.destination
            )
        }
        _ => end(ends.wanted, ends.destination),
    };
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
                false => format!(
                    "{what} may arrive: what is not known is {}",
                    unknown.join(", ")
                ),
            }
        }
    }
}
