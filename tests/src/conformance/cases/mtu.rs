//! Packets larger than the way out.

use super::{List, Probe};
use crate::{
    Addresses as _, Family,
    conformance::{
        case::{Flow, Path, Step},
        place::Place,
    },
};

/// An MTU smaller than the sender's, and large enough for IPv6 (RFC 8200, section 5).
const SMALL: u32 = 1300;
/// A jumbo MTU.
const JUMBO: u32 = 9000;

pub(super) fn add(list: &mut List<'_>) {
    for flow in list.flows() {
        egress(list, &flow);
        receiver_only(list, &flow);
        route(list, &flow);
        jumbo(list, &flow);
        gso(list, &flow);
    }
}

fn standard(flow: &Flow) -> &'static str {
    match flow.family {
        Family::V4 => "RFC 1191; RFC 1812, 5.2.6",
        Family::V6 => "RFC 8201; RFC 4443, 3.2",
    }
}

/// An IP packet of exactly `length` bytes.
fn packet(list: &mut List<'_>, flow: &Flow, length: u32, dont_fragment: bool) -> Vec<u8> {
    let headers = flow.family.headers() - 14 + 8;
    let payload: Vec<u8> = (0..length as usize - headers).map(|i| i as u8).collect();
    let frame = flow.udp().id(list.identification()).payload(&payload);
    if dont_fragment {
        frame.dont_fragment().build()
    } else {
        frame.build()
    }
}

/// DF set and, in IPv4, not set.
fn flags(flow: &Flow) -> &'static [bool] {
    if flow.is_v4() {
        &[true, false]
    } else {
        &[true]
    }
}

fn name(what: &str, flow: &Flow, length: u32, dont_fragment: bool) -> String {
    match (flow.is_v4(), dont_fragment) {
        (true, true) => format!("{what}, {length} bytes, DF"),
        (true, false) => format!("{what}, {length} bytes, no DF"),
        (false, _) => format!("{what}, {length} bytes"),
    }
}

/// Both ends of the veth that packets of this path leave by.
fn narrow_egress(path: Path, mtu: u32) -> Vec<Step> {
    let mut steps = vec![Step::mtu(Place::NodeA, path.egress(), mtu)];
    if path.is_to_endpoint() {
        let inside = path.receiver();
        steps.push(Step::mtu(inside, inside.dev(), mtu));
    }
    steps
}

fn egress(list: &mut List<'_>, flow: &Flow) {
    for length in [SMALL - 1, SMALL, SMALL + 1, 1500] {
        for &df in flags(flow) {
            let name = name("small egress MTU", flow, length, df);
            let frame = packet(list, flow, length, df);
            let case = list.frames(flow, name, standard(flow), [frame]);
            case.steps = narrow_egress(flow.path, SMALL);
        }
    }
    for &df in flags(flow) {
        let name = name("exact MTU", flow, 1500, df);
        let frame = packet(list, flow, 1500, df);
        list.frames(flow, name, standard(flow), [frame]);
    }
    let expired = packet(list, flow, 1500, true);
    let mut expired = expired;
    let (at, low) = if flow.is_v4() { (22, 1) } else { (21, 1) };
    expired[at] = low;
    if flow.is_v4() {
        mend_header(&mut expired);
    }
    let case = list.frames(
        flow,
        "small egress MTU, 1500 bytes, and TTL 1",
        "ip_forward(), ip6_forward(): TTL first",
        [expired],
    );
    case.steps = narrow_egress(flow.path, SMALL);
    let fragment = flow.ip().protocol(17).fragment(1480, true);
    let fragment = fragment
        .id(list.identification())
        .payload(&[0x5a; 1400])
        .build();
    let case = list.frames(
        flow,
        "small egress MTU, a fragment of 1420 bytes",
        "RFC 791, 3.2",
        [fragment],
    );
    case.steps = narrow_egress(flow.path, SMALL);
}

/// Only the receiver's own end is smaller: nobody on the way can know. It takes a VLAN tag's length more than
/// its MTU.
fn receiver_only(list: &mut List<'_>, flow: &Flow) {
    if !flow.path.is_to_endpoint() {
        return;
    }
    let inside = flow.path.receiver();
    for length in [SMALL, SMALL + 4, SMALL + 5, 1500] {
        let frame = packet(list, flow, length, true);
        let case = list.frames(
            flow,
            format!("small MTU at the receiver's end only, {length} bytes"),
            "is_skb_forwardable()",
            [frame],
        );
        case.steps = vec![Step::mtu(inside, inside.dev(), SMALL)];
    }
}

/// A route with a smaller MTU than its interface.
fn route(list: &mut List<'_>, flow: &Flow) {
    let (to, egress) = (flow.destination, flow.path.egress());
    let (change, undo) = if let Some(node) = flow.path.next_node() {
        let via = node.address(flow.family);
        (
            format!("route add {to} via {via} dev {egress} mtu {SMALL}"),
            format!("route del {to}"),
        )
    } else {
        let source = Place::NodeA.address(flow.family);
        let route = format!("route replace {to} dev {egress} proto 78 src {source}");
        (format!("{route} mtu {SMALL}"), route)
    };
    for (what, lock) in [("small route MTU", ""), ("small locked route MTU", "lock ")] {
        let change = change.replace(" mtu ", &format!(" mtu {lock}"));
        for length in [SMALL, SMALL + 1] {
            for &df in flags(flow) {
                let name = name(what, flow, length, df);
                let frame = packet(list, flow, length, df);
                let case = list.frames(flow, name, "ip_dst_mtu_maybe_forward()", [frame]);
                case.steps = vec![Step::ip(Place::NodeA, &change, &undo)];
            }
        }
    }
}

/// Jumbo frames up to node A, and on from it.
pub(super) fn jumbo_steps(list: &List<'_>, path: Path) -> [Vec<Step>; 2] {
    let wide = |wire: Place| {
        let ports = list.lab.ports(wire).iter();
        ports.map(move |port| Step::mtu(wire, port, JUMBO))
    };
    let before = if path.is_from_endpoint() {
        vec![
            Step::mtu(Place::A1, Place::A1.dev(), JUMBO),
            Step::mtu(Place::NodeA, Place::A1.host_dev(), JUMBO),
        ]
    } else {
        [
            (Place::NodeB, Place::NodeB.dev()),
            (Place::NodeA, Place::NodeA.dev()),
        ]
        .map(|(node, dev)| Step::mtu(node, dev, JUMBO))
        .into_iter()
        .chain(wide(Place::Wire))
        .collect()
    };
    let mut behind = narrow_egress(path, JUMBO);
    if let Some(node) = path.next_node() {
        let (wire, receiver) = (path.way_out(), path.receiver());
        behind.extend(wide(wire));
        behind.extend([
            Step::mtu(node, node.dev(), JUMBO),
            Step::mtu(node, receiver.host_dev(), JUMBO),
            Step::mtu(receiver, receiver.dev(), JUMBO),
        ]);
    }
    [before, behind]
}

fn jumbo(list: &mut List<'_>, flow: &Flow) {
    let [before, behind] = jumbo_steps(list, flow.path);
    for &df in flags(flow) {
        let name = name("jumbo into 1500", flow, JUMBO, df);
        let frame = packet(list, flow, JUMBO, df);
        let case = list.frames(flow, name, standard(flow), [frame]);
        case.steps.clone_from(&before);
    }
    for length in [JUMBO, JUMBO - 1] {
        let name = name("jumbo all the way", flow, length, true);
        let frame = packet(list, flow, length, true);
        let case = list.frames(flow, name, standard(flow), [frame]);
        case.steps = [&before[..], &behind].concat();
    }
}

/// Packets that stand for many segments.
fn gso(list: &mut List<'_>, flow: &Flow) {
    let tcp = |df: bool| {
        let headers = flow.family.headers() - 14 + 20;
        let frame = flow.ip().tcp(40_000, 40_001, 0x10).tcp_numbers(1000, 1);
        let frame = frame.payload(&vec![0x47; 65_000 - headers]);
        // What the kernel completes when it segments: the pseudo header alone.
        let frame = frame.forge_transport_checksum(0);
        if df { frame.dont_fragment() } else { frame }.build()
    };
    for (segment, narrow) in [(1400u16, None), (1200, Some(SMALL)), (1400, Some(SMALL))] {
        for &df in flags(flow) {
            let mtu = narrow.unwrap_or(1500);
            let what = format!("64 KB of TCP in segments of {segment} into MTU {mtu}");
            let name = match (flow.is_v4(), df) {
                (true, true) => format!("{what}, DF"),
                (true, false) => format!("{what}, no DF"),
                (false, _) => what,
            };
            let probe = Probe::Gso(vec![(tcp(df), segment)]);
            let case = list.add(flow, name, "ip_exceeds_mtu(), ip6_pkt_too_big()", probe);
            if let Some(mtu) = narrow {
                case.steps = narrow_egress(flow.path, mtu);
            }
        }
    }
}

fn mend_header(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let checksum = netpath::probe::frame::internet_checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
}
