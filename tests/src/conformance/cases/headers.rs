//! IPv4 options, IPv6 extension headers, and what stands behind them.

use netpath::probe::frame::{
    EXTENSION_AUTHENTICATION, EXTENSION_DESTINATION, EXTENSION_FRAGMENT, EXTENSION_HOP_BY_HOP,
    EXTENSION_ROUTING,
};

use super::List;
use crate::{
    Family,
    conformance::{
        case::{Flow, Path},
        place::Place,
    },
};

pub(super) fn add(list: &mut List<'_>) {
    for flow in list.flows() {
        match flow.family {
            Family::V4 => options(list, &flow),
            Family::V6 => extensions(list, &flow),
        }
        protocols(list, &flow);
        if flow.family == Family::V6 {
            orders(list, &flow);
        }
    }
}

/// Every order of the extension headers that have no place of their own, with and without hop-by-hop options
/// in front of them, which have (RFC 8200, section 4.1). Routing headers have no segments left.
fn orders(list: &mut List<'_>, flow: &Flow) {
    const OTHERS: [u8; 4] = [
        EXTENSION_DESTINATION,
        EXTENSION_ROUTING,
        EXTENSION_FRAGMENT,
        EXTENSION_AUTHENTICATION,
    ];
    let mut chains: Vec<Vec<u8>> = vec![vec![]];
    let mut last = chains.clone();
    for _ in OTHERS {
        last = last
            .iter()
            .flat_map(|chain| {
                let more = OTHERS.into_iter().filter(|number| !chain.contains(number));
                more.map(|number| [&chain[..], &[number]].concat())
            })
            .collect();
        chains.extend(last.iter().cloned());
    }
    for (name, first) in [
        ("in each of 64 orders", None),
        (
            "in each of 64 orders, behind hop-by-hop",
            Some(EXTENSION_HOP_BY_HOP),
        ),
    ] {
        let frames: Vec<Vec<u8>> = chains[1..]
            .iter()
            .map(|chain| {
                let chain = first.iter().chain(chain);
                let frame = chain.fold(flow.udp(), |frame, number| match *number {
                    EXTENSION_FRAGMENT => frame.id(list.identification()).fragment(0, false),
                    EXTENSION_ROUTING => frame.extension(*number, &[2, 0, 0, 0, 0, 0]),
                    EXTENSION_AUTHENTICATION => frame.extension(*number, &[0; 22]),
                    _ => frame.extension(*number, &[1, 4, 0, 0, 0, 0]),
                });
                frame.build()
            })
            .collect();
        assert_eq!(frames.len(), 64);
        list.frames(
            flow,
            format!("IPv6 extension: 1 to 4 headers {name}"),
            "RFC 8200, 4.1",
            frames,
        );
    }
}

fn octets(flow: &Flow, place: Place) -> Vec<u8> {
    match place.address(flow.family) {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn options(list: &mut List<'_>, flow: &Flow) {
    let through_a = octets(flow, Place::NodeA);
    let route = |kind: u8, hops: &[&[u8]]| {
        let mut option = vec![kind, 3 + 4 * hops.len() as u8, 4];
        option.extend(hops.concat());
        option
    };
    let destination = octets(flow, flow.path.receiver());
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no operation", vec![1, 1, 1, 1]),
        ("end of list", vec![0, 0, 0, 0]),
        ("record route", route(7, &[&[0; 4], &[0; 4], &[0; 4]])),
        ("record route, full", vec![7, 7, 8, 10, 0, 0, 1]),
        ("record route, overfull", vec![7, 7, 9, 10, 0, 0, 1]),
        ("timestamp", vec![68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("timestamp, full", vec![68, 8, 9, 0, 0, 0, 0, 0]),
        ("loose source route", route(131, &[&destination])),
        (
            "loose source route through the node",
            route(131, &[&through_a]),
        ),
        ("strict source route", route(137, &[&destination])),
        ("router alert", vec![148, 4, 0, 0]),
        ("security", vec![130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("stream id", vec![136, 4, 0, 1]),
        ("unknown option", vec![0x9e, 4, 0, 0]),
        ("option longer than the header", vec![7, 39, 4, 0]),
        ("option of length 1", vec![7, 1, 4, 0]),
        ("option of length 0", vec![7, 0, 4, 0]),
        ("40 bytes of no operation", vec![1; 40]),
    ];
    for (name, option) in cases {
        // A timestamp of the node's clock differs from run to run: it is full or asks for none.
        let option = if name == "timestamp" {
            // Prespecified addresses that are not the node's (flag 3).
            vec![68, 12, 5, 3, 192, 0, 2, 1, 0, 0, 0, 0]
        } else {
            option
        };
        let frame = flow.udp().options(&option);
        list.frames(
            flow,
            format!("IPv4 option: {name}"),
            "RFC 791, 3.1; RFC 1812, 5.3.13",
            [frame.build()],
        );
    }
    let expired = flow.udp().options(&[1; 4]).ttl(1).build();
    list.frames(
        flow,
        "IPv4 option: no operation, TTL 1",
        "RFC 1812, 5.3.1",
        [expired],
    );
    let wrong = flow.udp().options(&[1; 4]).forge_header_checksum(0x1234);
    list.frames(
        flow,
        "IPv4 option: no operation, wrong checksum",
        "RFC 1812, 5.2.2",
        [wrong.build()],
    );
}

/// Extension headers in their order, by number, with what follows their first two bytes.
type Chain = Vec<(u8, Vec<u8>)>;

fn extensions(list: &mut List<'_>, flow: &Flow) {
    const PAD4: &[u8] = &[1, 4, 0, 0, 0, 0];
    let routing = |kind: u8, left: u8| {
        let mut data = vec![kind, left, 0, 0, 0, 0];
        data.extend(octets(flow, Place::A3));
        data
    };
    let long: Vec<u8> = [1u8, 252]
        .into_iter()
        .chain([0; 252])
        .chain([1, 250])
        .chain([0; 250])
        .collect();
    let chains: Vec<(&str, Chain)> = vec![
        ("hop-by-hop, padding", vec![(0, PAD4.to_vec())]),
        (
            "hop-by-hop, router alert",
            vec![(0, vec![5, 2, 0, 0, 1, 0])],
        ),
        (
            "hop-by-hop, unknown, skip",
            vec![(0, vec![0x1e, 4, 0, 0, 0, 0])],
        ),
        (
            "hop-by-hop, unknown, discard",
            vec![(0, vec![0x5e, 4, 0, 0, 0, 0])],
        ),
        (
            "hop-by-hop, unknown, report",
            vec![(0, vec![0x9e, 4, 0, 0, 0, 0])],
        ),
        (
            "hop-by-hop, unknown, report unicast",
            vec![(0, vec![0xde, 4, 0, 0, 0, 0])],
        ),
        (
            "hop-by-hop, jumbo payload of 100",
            vec![(0, vec![0xc2, 4, 0, 0, 0, 100])],
        ),
        (
            "hop-by-hop, option beyond its end",
            vec![(0, vec![1, 40, 0, 0, 0, 0])],
        ),
        (
            "hop-by-hop twice",
            vec![(0, PAD4.to_vec()), (0, PAD4.to_vec())],
        ),
        ("destination options", vec![(60, PAD4.to_vec())]),
        (
            "destination options, unknown, report",
            vec![(60, vec![0x9e, 4, 0, 0, 0, 0])],
        ),
        ("destination options of 512 bytes", vec![(60, long)]),
        (
            "hop-by-hop after destination options",
            vec![(60, PAD4.to_vec()), (0, PAD4.to_vec())],
        ),
        ("routing type 0", vec![(43, routing(0, 1))]),
        ("routing type 0, none left", vec![(43, routing(0, 0))]),
        ("routing type 2", vec![(43, routing(2, 1))]),
        ("routing type 4 (SRH)", vec![(43, routing(4, 1))]),
        ("routing type 253", vec![(43, routing(253, 1))]),
        ("authentication", vec![(51, vec![0; 22])]),
        (
            "every header in the recommended order",
            vec![
                (0, PAD4.to_vec()),
                (60, PAD4.to_vec()),
                (43, routing(2, 0)),
                (51, vec![0; 22]),
                (60, PAD4.to_vec()),
            ],
        ),
        (
            "24 destination options headers",
            vec![(60, PAD4.to_vec()); 24],
        ),
        ("mobility header", vec![(135, PAD4.to_vec())]),
        ("HIP", vec![(139, PAD4.to_vec())]),
        ("Shim6", vec![(140, PAD4.to_vec())]),
    ];
    for (name, chain) in chains {
        let mut frame = flow.udp();
        for (number, data) in chain {
            frame = frame.extension(number, &data);
        }
        list.frames(
            flow,
            format!("IPv6 extension: {name}"),
            "RFC 8200, 4; RFC 5095",
            [frame.build()],
        );
    }
    let expired = flow.udp().extension(0, PAD4).ttl(1).build();
    list.frames(
        flow,
        "IPv6 extension: hop-by-hop, hop limit 1",
        "RFC 4443, 3.3",
        [expired],
    );
    let cut = flow.ip().protocol(60).payload(&[17, 200, 1, 4]).build();
    list.frames(flow, "IPv6 extension: cut short", "RFC 8200, 4", [cut]);
    let cut = flow.ip().protocol(0).payload(&[17, 200, 1, 4]).build();
    list.frames(
        flow,
        "IPv6 extension: hop-by-hop cut short",
        "RFC 8200, 4.3",
        [cut],
    );
    let fragment = flow.udp().extension(60, PAD4).fragment(0, true).build();
    list.frames(
        flow,
        "IPv6 extension: options before a fragment",
        "RFC 8200, 4.5",
        [fragment],
    );
}

/// Whatever is carried is not a router's business.
fn protocols(list: &mut List<'_>, flow: &Flow) {
    const SOURCE: &str = "RFC 1812, 5.2.1; RFC 8200, 3";
    for (name, protocol) in [
        ("IPv4 in IP", 4u8),
        ("IPv6 in IP", 41),
        ("GRE", 47),
        ("ESP", 50),
        ("no next header", 59),
        ("OSPF", 89),
        ("SCTP", 132),
        ("UDP-Lite", 136),
        ("experimental 253", 253),
        ("reserved 255", 255),
    ] {
        let frame = flow.ip().protocol(protocol).payload(&[0xa5; 40]).build();
        list.frames(flow, format!("protocol: {name}"), SOURCE, [frame]);
        let bare = flow.ip().protocol(protocol).build();
        list.frames(
            flow,
            format!("protocol: {name}, nothing in it"),
            SOURCE,
            [bare],
        );
    }
    for (name, payload) in [("2 bytes", 2usize), ("nothing", 0)] {
        for protocol in [6u8, 17, if flow.is_v4() { 1 } else { 58 }] {
            let frame = flow.ip().protocol(protocol).payload(&vec![0; payload]);
            let name = format!("protocol {protocol} with {name} behind the IP header");
            list.frames(flow, name, SOURCE, [frame.build()]);
        }
    }
    for (name, frame) in [
        ("TCP SYN", flow.ip().tcp(40_000, 40_001, 0x02)),
        ("TCP FIN to nobody", flow.ip().tcp(40_000, 40_001, 0x11)),
        ("TCP with all flags", flow.ip().tcp(40_000, 40_001, 0xff)),
        ("UDP, no checksum", flow.udp().forge_transport_checksum(0)),
        (
            "UDP, wrong checksum",
            flow.udp().forge_transport_checksum(0xbeef),
        ),
        (
            "UDP, checksum 0xffff",
            flow.udp().forge_transport_checksum(0xffff),
        ),
        ("UDP, length too long", flow.udp().forge_udp_length(400)),
        ("UDP, length too short", flow.udp().forge_udp_length(3)),
        ("UDP, port 0", flow.ip().udp(0, 0).payload(b"zero")),
        (
            "echo request",
            flow.ip()
                .icmp(if flow.is_v4() { 8 } else { 128 }, 0, [0, 9, 0, 1])
                .payload(b"echo me"),
        ),
        ("ICMP timestamp request", flow.ip().icmp(13, 0, [0; 4])),
        (
            "ICMP redirect",
            flow.ip()
                .icmp(if flow.is_v4() { 5 } else { 137 }, 1, [10, 8, 0, 9]),
        ),
    ] {
        // The answer holds the time of day.
        if name == "ICMP timestamp request" && (flow.is_v4() || flow.path != Path::SameNode) {
            continue;
        }
        let case = list.frames(flow, format!("protocol: {name}"), SOURCE, [frame.build()]);
        case.with_redirects = name == "ICMP redirect";
    }
}
