//! Sources and destinations that are special, somebody else's, or the node's own.

use std::net::IpAddr;

use super::List;
use crate::{
    Family,
    conformance::{
        case::{Flow, Step},
        place::Place,
    },
};

/// Addresses of special kinds (RFC 6890), by family.
fn special(family: Family) -> &'static [(&'static str, &'static str)] {
    match family {
        Family::V4 => &[
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "this network"),
            ("127.0.0.1", "loopback"),
            ("169.254.7.7", "link-local"),
            ("192.0.2.7", "documentation"),
            ("224.0.0.1", "all hosts"),
            ("224.0.0.251", "local multicast"),
            ("239.1.2.3", "multicast"),
            ("240.0.0.1", "class E"),
            ("255.255.255.255", "broadcast"),
            ("100.64.0.1", "carrier-grade NAT"),
        ],
        Family::V6 => &[
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::10.1.2.2", "IPv4-compatible"),
            ("::ffff:10.1.2.2", "IPv4-mapped"),
            ("64:ff9b::1", "NAT64"),
            ("100::1", "discard-only"),
            ("fe80::77", "link-local"),
            ("fec0::1", "site-local"),
            ("ff01::1", "interface-local multicast"),
            ("ff02::1", "all nodes"),
            ("ff05::2", "site-local multicast"),
            ("ff0e::1:2", "global multicast"),
            ("2001:db8::7", "documentation"),
        ],
    }
}

pub(super) fn add(list: &mut List<'_>) {
    for flow in list.flows() {
        sources(list, &flow);
        destinations(list, &flow);
        turned_back(list, &flow);
        node(list, &flow);
    }
}

fn sources(list: &mut List<'_>, flow: &Flow) {
    for (address, kind) in special(flow.family) {
        let frame = flow.from(address.parse().expect(address)).udp().build();
        list.frames(
            flow,
            format!("source: {kind}, {address}"),
            "RFC 1812, 5.3.7; RFC 6890",
            [frame],
        );
    }
    const SPOOFING: &str = "RFC 2827; RFC 3704";
    let owners = [
        (Place::A1, "a1's"),
        (Place::A2, "a2's"),
        (Place::A3, "a3's"),
        (Place::B1, "b1's"),
        (Place::NodeA, "the node's own"),
        (Place::NodeB, "the other node's"),
        (Place::C1, "of another node's endpoint, by another way"),
    ];
    let has = |(owner, _): &(Place, &str)| list.lab.has(*owner);
    let owners: Vec<_> = owners.into_iter().filter(has).collect();
    for (owner, whose) in owners {
        let address = owner.address(flow.family);
        if address == flow.source {
            continue;
        }
        let name = match owner == flow.path.receiver() {
            true => format!("source: {whose}, the destination itself"),
            false => format!("source: {whose}"),
        };
        let from = flow.from(address);
        list.frames(flow, format!("{name}, UDP"), SPOOFING, [from.udp().build()]);
        let syn_ack = from.ip().tcp(40_000, 40_001, 0x12).build();
        list.frames(
            flow,
            format!("{name}, as if established"),
            SPOOFING,
            [syn_ack],
        );
        let expired = from.udp().ttl(1).build();
        list.frames(flow, format!("{name}, TTL 1"), SPOOFING, [expired]);
    }
    let neighbour = match flow.source {
        IpAddr::V4(address) => IpAddr::V4((u32::from(address) + 1).into()),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) + 1).into()),
    };
    let frame = flow.from(neighbour).udp().build();
    list.frames(
        flow,
        "source: of the sender's prefix, not its address",
        SPOOFING,
        [frame],
    );
}

fn destinations(list: &mut List<'_>, flow: &Flow) {
    for (address, kind) in special(flow.family) {
        let flow = &list.erring(flow);
        let frame = flow.to(address.parse().expect(address)).udp().build();
        list.frames(
            flow,
            format!("destination: {kind}, {address}"),
            "RFC 1812, 5.3.4, 5.3.7; RFC 6890",
            [frame.clone()],
        );
        // With a default route, the lookup succeeds for anything.
        let via = Place::NodeB.address(flow.family);
        let default = match flow.family {
            Family::V4 => format!("route add default via {via}"),
            Family::V6 => format!("-6 route add default via {via}"),
        };
        let undo = default.replace(" add ", " del ");
        let case = list.frames(
            flow,
            format!("destination: {kind}, {address}, with a default route"),
            "RFC 1812, 5.3.4, 5.3.7; RFC 6890",
            [frame],
        );
        case.steps = vec![Step::ip(Place::NodeA, default, undo)];
    }
    let (near, far, broadcast): (&str, &str, &[&str]) = match flow.family {
        Family::V4 => (
            "10.1.2.77",
            "10.2.200.1",
            &["10.8.0.255", "10.8.0.0", "10.1.2.255", "10.2.1.255"],
        ),
        Family::V6 => ("fd00:1:2::77", "fd00:2:200::1", &["fd00:8::", "fd00:1:2::"]),
    };
    const NOBODY: &str = "RFC 1812, 5.2.7.1; RFC 4443, 3.1";
    for (name, address) in [
        ("nobody in a local prefix", near),
        ("nobody in a remote prefix", far),
    ] {
        let flow = &list.erring(flow);
        let frame = flow.to(address.parse().expect(address)).udp().build();
        list.frames(flow, format!("destination: {name}"), NOBODY, [frame]);
    }
    for address in broadcast {
        let flow = &list.erring(flow);
        let frame = flow.to(address.parse().expect(address)).udp().build();
        let name = format!("destination: directed broadcast or anycast, {address}");
        list.frames(flow, name, "RFC 2644; RFC 4291, 2.6.1", [frame]);
    }
}

/// A packet for its own sender, or for the link that it came from.
fn turned_back(list: &mut List<'_>, flow: &Flow) {
    let back = flow.to(flow.source);
    for ttl in [1, 64] {
        let name = format!("destination: the source itself, TTL {ttl}");
        let frame = back.udp().ttl(ttl).build();
        list.frames(flow, name, "land attack; RFC 1812, 5.2.7.2", [frame]);
    }
    if !flow.path.is_from_endpoint() {
        let place = Place::NodeB.address(flow.family);
        let frame = flow.to(place).udp().build();
        list.frames(
            flow,
            "destination: the other node, turned back",
            "RFC 1812, 5.2.7.2",
            [frame],
        );
    }
}

/// The node's own addresses.
fn node(list: &mut List<'_>, flow: &Flow) {
    const SOURCE: &str = "RFC 1812, 5.2.3";
    let gateway: IpAddr = match flow.family {
        Family::V4 => netpath::provision::GATEWAY_V4.into(),
        Family::V6 => netpath::provision::GATEWAY_V6.into(),
    };
    for (whose, address) in [
        ("the uplink", Place::NodeA.address(flow.family)),
        ("the gateway", gateway),
    ] {
        let to = flow.to(address);
        let echo = if flow.is_v4() { 8 } else { 128 };
        for (what, frame) in [
            (
                "echo request",
                to.ip().icmp(echo, 0, [0, 7, 0, 1]).payload(b"node"),
            ),
            (
                "echo request, TTL 1",
                to.ip().icmp(echo, 0, [0, 7, 0, 2]).ttl(1),
            ),
            ("UDP", to.udp()),
            ("TCP SYN", to.ip().tcp(40_000, 40_001, 2)),
            (
                "first fragment",
                to.ip().protocol(17).fragment(0, true).payload(&[1; 64]),
            ),
        ] {
            list.frames(
                flow,
                format!("to the node: {what} to {whose}"),
                SOURCE,
                [frame.build()],
            );
        }
        let quoted = flow.from(address).to(flow.source).udp().build();
        let (kind, code) = if flow.is_v4() { (3, 3) } else { (1, 4) };
        let error = to.ip().icmp(kind, code, [0; 4]).payload(&quoted[14..]);
        list.frames(
            flow,
            format!("to the node: ICMP error to {whose}"),
            SOURCE,
            [error.build()],
        );
    }
}
