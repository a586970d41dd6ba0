//! IP packets in more than a plain Ethernet header: with the right source the kernel's to judge, with a wrong one
//! dropped before it sees them.

use std::net::IpAddr;

use netpath_common::PuntReason;

use super::{Case, List};
use crate::{
    Family, Wrapping,
    conformance::{
        case::{Flow, Path},
        place::Place,
    },
};

const SOURCE: &str = "IEEE 802.1Q; RFC 1042; RFC 2827; docs/adr/0004";

pub(super) fn add(list: &mut List<'_>) {
    for flow in list.flows() {
        for wrapping in &Wrapping::ALL {
            honest(list, &flow, wrapping);
            forged(list, &flow, wrapping);
            martian(list, &flow, wrapping);
            if !flow.path.is_from_endpoint() && wrapping.is_for_others() {
                passing_by(list, &flow, wrapping);
            }
        }
        let deep = Wrapping::TOO_DEEP;
        let name = format!("link: {}", deep.name);
        case(list, &flow, name, &deep, "drop(malformed)");
    }
}

fn case<'a>(
    list: &'a mut List<'_>,
    flow: &Flow,
    name: String,
    wrapping: &Wrapping,
    counted: &'static str,
) -> &'a mut Case {
    let frame = wrapping.wrap(&flow.udp().build());
    let case = list.frames(flow, name, SOURCE, [frame]);
    case.counted_as = Some(counted);
    case
}

fn punted(wrapping: &Wrapping) -> &'static str {
    match wrapping.reason {
        PuntReason::Vlan => "punt(vlan)",
        PuntReason::Broadcast => "punt(broadcast)",
        PuntReason::Multicast => "punt(multicast)",
        PuntReason::NotToThisHost => "punt(not_to_this_host)",
        PuntReason::EtherType => "punt(ether_type)",
        other => panic!("no wrapping is punted as {}", other.name()),
    }
}

fn honest(list: &mut List<'_>, flow: &Flow, wrapping: &Wrapping) {
    let name = format!("wrapped: {}", wrapping.name);
    case(list, flow, name, wrapping, punted(wrapping));
}

/// Another endpoint's address, and the node's own. What is for others is judged only where it is also for somebody here.
fn forged(list: &mut List<'_>, flow: &Flow, wrapping: &Wrapping) {
    for (owner, whose) in [(Place::A3, "a3's"), (Place::NodeA, "the node's own")] {
        let flow = flow.from(owner.address(flow.family));
        let name = format!("source: {whose}, {}", wrapping.name);
        let counted = match flow.path == Path::Transit && wrapping.is_for_others() {
            true => punted(wrapping),
            false => "drop(spoofed)",
        };
        case(list, &flow, name, wrapping, counted);
    }
}

/// An address that nobody may have; what is for others is not judged by it.
fn martian(list: &mut List<'_>, flow: &Flow, wrapping: &Wrapping) {
    let (name, address) = match flow.family {
        Family::V4 => ("class E", "240.0.0.1"),
        Family::V6 => ("IPv4-mapped", "::ffff:10.1.2.2"),
    };
    let flow = flow.from(address.parse().expect(address));
    let name = format!("source: {name}, {}", wrapping.name);
    let counted = match !flow.path.is_from_endpoint() && wrapping.is_for_others() {
        true => punted(wrapping),
        false => "drop(martian_source)",
    };
    case(list, &flow, name, wrapping, counted);
}

/// What an endpoint sent to somebody behind the same uplink's VLAN or MAC comes back with the endpoint's source.
fn passing_by(list: &mut List<'_>, flow: &Flow, wrapping: &Wrapping) {
    let address = match flow.family {
        Family::V4 => "198.51.100.9",
        Family::V6 => "2001:db8:51::9",
    };
    let to: IpAddr = address.parse().expect(address);
    let flow = flow.from(Place::A3.address(flow.family)).to(to);
    let name = format!("source: a3's, to others, {}", wrapping.name);
    case(list, &flow, name, wrapping, punted(wrapping));
}
