//! Packets that the kernel's own path treats alike, whichever stage leaves them to it or drops them: what they
//! are counted as tells the stages apart. Without such a case a stage could go and nobody would notice.

use std::net::{IpAddr, Ipv4Addr};

use netpath::probe::frame::{ETHERTYPE_ARP, FrameBuilder, TPID_VLAN, Tag};

use super::List;
use crate::{
    Family,
    conformance::{
        case::{Flow, Path, Step},
        place::Place,
    },
};

const SOURCE: &str = "docs/architecture.md: every packet is counted once, with its reason";

pub(super) fn add(list: &mut List<'_>) {
    for flow in list.flows() {
        counted(
            list,
            &flow,
            "forwarded",
            forwarded(&flow),
            flow.udp().build(),
        );
        malformed(list, &flow);
        destinations(list, &flow);
        tables(list, &flow);
        sides(list, &flow);
        connections(list, &flow);
        expired_and_large(list, &flow);
        if let (IpAddr::V4(source), IpAddr::V4(node)) =
            (flow.source, Place::NodeA.address(Family::V4))
        {
            not_ip(list, &flow, source, node);
        } else {
            solicitation(list, &flow);
            if flow.path == Path::ToRemote {
                tunnel(list, &flow);
            }
        }
    }
}

fn forwarded(flow: &Flow) -> &'static str {
    match flow.path.is_to_endpoint() {
        true => "redirect_peer",
        false => "redirect_neigh",
    }
}

fn counted<'a>(
    list: &'a mut List<'_>,
    flow: &Flow,
    name: &str,
    outcome: &'static str,
    frame: Vec<u8>,
) -> &'a mut super::Case {
    let case = list.frames(flow, format!("stage: {name}"), SOURCE, [frame]);
    case.counted_as = Some(outcome);
    case
}

fn malformed(list: &mut List<'_>, flow: &Flow) {
    const MALFORMED: &str = "drop(malformed)";
    const IP: usize = 14;
    let whole = flow.udp().build();
    let cut = whole[..IP + 12].to_vec();
    counted(list, flow, "header cut short", MALFORMED, cut);
    let mut version = whole.clone();
    version[IP] = 0x30 | version[IP] & 0xf;
    counted(list, flow, "version 3", MALFORMED, version);
    let beyond = whole[..whole.len() - 1].to_vec();
    counted(list, flow, "packet cut short", MALFORMED, beyond);
    if flow.is_v4() {
        let short = flow.udp().forge_ip_length(19).build();
        counted(list, flow, "total length 19", MALFORMED, short);
    }
}

/// None of them is in the route table either.
fn destinations(list: &mut List<'_>, flow: &Flow) {
    let destinations = match flow.family {
        Family::V4 => ["224.1.2.3", "169.254.7.7", "240.0.0.1"],
        Family::V6 => ["ff0e::123", "fe80::77", "::ffff:10.2.1.2"],
    };
    for (destination, outcome) in destinations.into_iter().zip([
        "punt(multicast)",
        "punt(link_local)",
        "punt(martian_destination)",
    ]) {
        let to: IpAddr = destination.parse().expect(destination);
        let flow = &list.erring(flow);
        let frame = flow.to(to).udp().build();
        counted(list, flow, &format!("to {destination}"), outcome, frame);
    }
}

/// Which table knows the destination, or that none does: the kernel alone has a default route.
fn tables(list: &mut List<'_>, flow: &Flow) {
    let node = flow.to(Place::NodeA.address(flow.family)).udp().build();
    let name = "to the node's own address";
    counted(list, flow, name, "punt(node_address)", node);
    let nested = flow.path.receiver().nested(flow.family);
    let prefix = flow.to(nested).udp().build();
    counted(list, flow, "to a prefix", forwarded(flow), prefix);
    if flow.path.is_from_endpoint() {
        let (family, outside) = match flow.family {
            Family::V4 => ("-4", "198.51.100.9"),
            Family::V6 => ("-6", "2001:db8:51::9"),
        };
        let frame = flow.to(outside.parse().expect(outside)).udp().build();
        let name = "outside the routed prefixes, with a default route";
        let case = counted(list, flow, name, "punt(no_route)", frame);
        let route = format!("default via {}", Place::NodeB.address(flow.family));
        case.steps = vec![Step::ip(
            Place::NodeA,
            format!("{family} route add {route}"),
            format!("{family} route del {route}"),
        )];
    }
}

/// What the kernel has delivered of a connection makes the rest of it the kernel's, unless that was for one packet alone.
fn connections(list: &mut List<'_>, flow: &Flow) {
    const PRIORITY: Tag = Tag {
        tpid: TPID_VLAN,
        tci: 0,
    };
    let tagged = flow.udp().tag(PRIORITY).build();
    let name = "stage: one packet that the kernel delivers, and another of its connection";
    list.frames(flow, name, SOURCE, [tagged, flow.udp().build()]);
    let alone = match flow.family {
        // A security label, which the kernel only passes on (RFC 1108).
        Family::V4 => flow.udp().options(&[130, 4, 0, 0]),
        // Padding (RFC 8200, section 4.2).
        Family::V6 => flow.udp().extension(0, &[1, 4, 0, 0, 0, 0]),
    };
    let name = "stage: one packet with options, and another of its connection";
    list.frames(flow, name, SOURCE, [alone.build(), flow.udp().build()]);
}

/// A source that is not routed, and ICMP errors from there: those follow the packet that they quote. Nobody answers any of them.
fn sides(list: &mut List<'_>, flow: &Flow) {
    if flow.path.is_from_endpoint() {
        return;
    }
    let (stranger, reply, unreachable) = match flow.family {
        Family::V4 => ("198.51.100.9", 0, 3),
        Family::V6 => ("2001:db8:51::9", 129, 1),
    };
    let stranger: IpAddr = stranger.parse().expect(stranger);
    let from = flow.from(stranger);
    let about = |to: IpAddr| {
        let back = Flow {
            source: flow.destination,
            destination: to,
            ..*flow
        };
        let quoted = back.udp().build();
        let error = from.ip().icmp(unreachable, 1, [0; 4]);
        error.payload(&quoted[14..]).build()
    };
    let answer = from.ip().icmp(reply, 0, [0; 4]).build();
    for (name, outcome, frame) in [
        ("from outside", "punt(outside)", answer),
        (
            "from outside, an error about what is routed",
            forwarded(flow),
            about(flow.source),
        ),
        (
            "from outside, an error about what is not",
            "punt(outside)",
            about(stranger),
        ),
    ] {
        counted(list, flow, name, outcome, frame);
    }
}

/// A neighbour that is known is asked again by unicast (RFC 1122, 2.3.2.1), and has to answer.
fn not_ip(list: &mut List<'_>, flow: &Flow, source: Ipv4Addr, node: Ipv4Addr) {
    let frame = |ethertype, payload: &[u8]| {
        FrameBuilder::new(flow.source_mac, flow.destination_mac)
            .ethertype(ethertype)
            .payload(payload)
            .build()
    };
    let mut request = vec![0, 1, 8, 0, 6, 4, 0, 1];
    request.extend(flow.source_mac.0);
    request.extend(source.octets());
    request.extend([0; 6]);
    request.extend(node.octets());
    let request = frame(ETHERTYPE_ARP, &request);
    let case = counted(list, flow, "unicast ARP request", "punt(arp)", request);
    case.with_discovery = true;
    let stranger = frame(0x9999, &flow.udp().build()[14..]);
    counted(
        list,
        flow,
        "unknown EtherType",
        "punt(ether_type)",
        stranger,
    );
}

/// The kernel looks at the TTL first (`ip_forward`), and so does the reason.
fn expired_and_large(list: &mut List<'_>, flow: &Flow) {
    let frame = flow.ip().ttl(1).udp(40_000, 40_001).payload(&[0x5a; 1400]);
    let name = "TTL 1, larger than the MTU";
    let expired = "punt(ttl_exceeded)";
    let case = counted(list, flow, name, expired, frame.build());
    let egress = flow.path.egress();
    case.steps.push(Step::mtu(Place::NodeA, egress, 1300));
}

/// The kernel forwards it like any other packet.
fn solicitation(list: &mut List<'_>, flow: &Flow) {
    let frame = flow.ip().ttl(255).icmp(135, 0, [0; 4]).payload(&[0xfd; 16]);
    let name = "neighbour solicitation to be forwarded";
    let case = counted(list, flow, name, "punt(neighbour_discovery)", frame.build());
    case.with_discovery = true;
}

/// A route that only the kernel can follow: segment routing (RFC 8754).
fn tunnel(list: &mut List<'_>, flow: &Flow) {
    let to: IpAddr = "fd00:2:8::1".parse().expect("an address");
    let segment = Place::NodeB.address(flow.family);
    let route = format!("fd00:2:8::/48 encap seg6 mode encap segs {segment} dev up0");
    let frame = flow.to(to).udp().build();
    let name = "route into a lightweight tunnel";
    let case = counted(list, flow, name, "punt(fib_unsupported)", frame);
    case.steps.push(Step::add(Place::NodeA, "route", &route));
}
