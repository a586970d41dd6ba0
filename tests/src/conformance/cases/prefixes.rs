//! Prefixes that are routed to endpoints, and endpoints with several addresses.

use std::net::IpAddr;

use super::List;
use crate::conformance::{
    case::{Flow, Step},
    place::Place,
};

const ROUTER: &str = "RFC 1812, 5.2; RFC 8200";

pub(super) fn add(list: &mut List<'_>) {
    for flow in list.flows() {
        let (sender, receiver) = (flow.path.sender(), flow.path.receiver());
        let nested = |place: Place| place.nested(flow.family);
        let second = |place: Place| place.second_address(flow.family);
        for (name, flow) in [
            ("to a prefix", flow.to(nested(receiver))),
            ("from a prefix", flow.from(nested(sender))),
            (
                "between prefixes",
                flow.from(nested(sender)).to(nested(receiver)),
            ),
            ("to a second address", flow.to(second(receiver))),
            ("from a second address", flow.from(second(sender))),
            (
                "between second addresses",
                flow.from(second(sender)).to(second(receiver)),
            ),
        ] {
            all_kinds(list, &flow, name);
        }
        edges(list, &flow, receiver);
        spoofed(list, &flow);
        turned_back(list, &flow, sender);
    }
}

/// What a router forwards, answers, and leaves alone.
fn all_kinds(list: &mut List<'_>, flow: &Flow, name: &str) {
    for ttl in [1, 2, 64] {
        let udp = flow.udp().ttl(ttl).build();
        list.frames(flow, format!("{name}: UDP, TTL {ttl}"), ROUTER, [udp]);
    }
    let request = if flow.is_v4() { 8 } else { 128 };
    let echo = flow.ip().icmp(request, 0, [0, 9, 0, 1]).payload(b"prefix");
    list.frames(
        flow,
        format!("{name}: echo request"),
        ROUTER,
        [echo.build()],
    );
    let syn = flow.ip().tcp(40_000, 40_001, 2).build();
    list.frames(flow, format!("{name}: TCP SYN"), ROUTER, [syn]);
    let id = list.identification();
    let first = flow.ip().id(id).protocol(17).fragment(0, true);
    let last = flow.ip().id(id).protocol(17).fragment(64, false);
    let halves = [first.payload(&[1; 64]), last.payload(&[2; 16])];
    list.frames(
        flow,
        format!("{name}: fragments"),
        ROUTER,
        halves.map(|half| half.build()),
    );
    // About a packet that the receiver has sent.
    let back = flow.from(flow.destination).to(flow.source).udp().build();
    let (kind, code) = if flow.is_v4() { (3, 3) } else { (1, 4) };
    let error = flow.ip().icmp(kind, code, [0; 4]).payload(&back[14..]);
    list.frames(
        flow,
        format!("{name}: ICMP error about it"),
        "RFC 792; RFC 4443",
        [error.build()],
    );
    let large = flow.ip().udp(40_000, 40_001).payload(&[7; 1350]);
    let large = match flow.is_v4() {
        true => large.dont_fragment(),
        false => large,
    };
    list.frames(
        flow,
        format!("{name}: larger than the MTU of the way out"),
        "RFC 1191; RFC 8201",
        [large.build()],
    )
    .steps = vec![Step::mtu(Place::NodeA, flow.path.egress(), 1300)];
}

/// The first and the last address of a prefix, and those beside it.
fn edges(list: &mut List<'_>, flow: &Flow, receiver: Place) {
    let (first, last) = receiver.prefix_edges(flow.family);
    for (name, address) in [
        ("the first address", first),
        ("the last address", last),
        ("just before", neighbour(first, -1)),
        ("just behind", neighbour(last, 1)),
    ] {
        let flow = &list.erring(flow);
        let frame = flow.to(address).udp().build();
        list.frames(
            flow,
            format!("a prefix's edges: {name}"),
            "RFC 4632, 5.1",
            [frame],
        );
    }
}

/// The address `step` before or behind another.
fn neighbour(address: IpAddr, step: i32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4(u32::from(v4).wrapping_add_signed(step).into()),
        IpAddr::V6(v6) => IpAddr::V6(u128::from(v6).wrapping_add_signed(step.into()).into()),
    }
}

/// A prefix is its endpoint's, and nobody else's.
fn spoofed(list: &mut List<'_>, flow: &Flow) {
    for (owner, whose) in [(Place::A1, "a1's prefix"), (Place::A2, "a2's prefix")] {
        if owner == flow.path.sender() {
            continue;
        }
        for ttl in [1, 64] {
            let flow = flow.from(owner.nested(flow.family));
            let frame = flow.udp().ttl(ttl).build();
            let name = format!("source: {whose}, TTL {ttl}");
            let case = list.frames(&flow, name, "RFC 2827; RFC 3704", [frame]);
            case.counted_as = Some("drop(spoofed)");
        }
    }
}

/// Into the sender's own prefix: out of the interface that it came in by.
fn turned_back(list: &mut List<'_>, flow: &Flow, sender: Place) {
    if flow.path.is_from_endpoint() {
        let (first, _) = sender.prefix_edges(flow.family);
        for (ttl, outcome) in [(1, "punt(ttl_exceeded)"), (64, "punt(same_interface)")] {
            let frame = flow.to(first).udp().ttl(ttl).build();
            let name = format!("to the sender's own prefix, TTL {ttl}");
            let case = list.frames(flow, name, "RFC 1812, 5.2.7.2", [frame]);
            case.counted_as = Some(outcome);
            // The kernel sends it back where it came from, and so its connection is the kernel's.
            case.once = true;
        }
    }
}
