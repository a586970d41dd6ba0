//! TCP connections.

use std::{net::IpAddr, time::Duration};

use netpath::probe::tcp::{TransferOptions, tcp_transfer};

use super::{
    List, Probe,
    delivered::Delivery,
    mtu, narrow_way_out,
    offload::{Offload, Switched},
};
use crate::conformance::{
    case::{Flow, Path, Step},
    lab::Lab,
    place::Place,
};

/// Bytes of a transfer.
const BYTES: u64 = 3_000_000;

/// What is switched for a transfer.
type Switches = Vec<((Place, &'static str), Offload, bool)>;

/// One transfer.
struct Transfer {
    name: &'static str,
    source: &'static str,
    steps: Vec<Step>,
    switches: Switches,
}

pub(super) fn add(list: &mut List<'_>, flow: &Flow) {
    for transfer in path_mtu(list, flow).into_iter().chain(offloads(flow)) {
        let (from, to) = (flow.path.sender(), flow.path.receiver());
        let address = flow.destination;
        let switches = transfer.switches;
        let work = move |lab: &Lab| {
            let switched = switches.iter();
            let switched = switched.map(|&(at, what, on)| Switched::new(lab, at, what, on));
            let switched: Vec<Switched<'_>> = switched.collect();
            let lines = run(lab, from, (to, to.dev()), address);
            drop(switched);
            lines
        };
        let name = format!("TCP, 3 MB, {}", transfer.name);
        let case = list.add(flow, name, transfer.source, Probe::Work(Box::new(work)));
        case.steps = transfer.steps;
    }
    if flow.path == Path::SameNode {
        with_the_node(list, flow);
    }
}

/// Every link but one takes what the sender sends.
fn path_mtu(list: &List<'_>, flow: &Flow) -> Vec<Transfer> {
    let to = flow.path.receiver();
    let mut at_receiver = vec![narrow_way_out(flow.path, 1300)];
    if flow.path.is_to_endpoint() {
        at_receiver.push(Step::mtu(to, to.dev(), 1300));
    }
    // For node B's endpoint, too, the wire is wide.
    let sender = (!flow.path.is_from_endpoint()).then(|| {
        [
            Step::mtu(Place::B1, Place::B1.dev(), 9000),
            Step::mtu(Place::NodeB, Place::B1.host_dev(), 9000),
        ]
    });
    let [before, behind] = mtu::jumbo_steps(list, flow.path);
    let jumbo: Vec<Step> = before
        .into_iter()
        .chain(behind)
        .chain(sender.into_iter().flatten())
        .collect();
    let mut narrow = jumbo.clone();
    narrow.push(narrow_way_out(flow.path, 1500));
    let cases = [
        ("MTU 1500", vec![]),
        ("MTU 1300 at the receiver", at_receiver),
        // Only the sender's node knows of it.
        ("MTU 1300 on the way", vec![narrow_way_out(flow.path, 1300)]),
        ("MTU 9000", jumbo),
        ("MTU 9000, and 1500 on the way", narrow),
    ];
    cases
        .into_iter()
        .map(|(name, steps)| Transfer {
            name,
            source: "RFC 1191; RFC 8201; pmtu.sh",
            steps,
            switches: vec![],
        })
        .collect()
}

/// Without offload every segment is a packet, with its checksum filled in; merged, many are one again.
fn offloads(flow: &Flow) -> impl Iterator<Item = Transfer> + use<> {
    let (from, to) = (flow.path.sender(), flow.path.receiver());
    let (from, to) = ((from, from.dev()), (to, to.dev()));
    let sends_checksums = (from, Offload::TransmitChecksum, false);
    let receiver_sends_them = (to, Offload::TransmitChecksum, false);
    let receiver_looks = (to, Offload::ReceiveChecksum, false);
    let merging = ((Place::NodeA, flow.path.ingress()), Offload::Merge, true);
    let on_the_way = vec![narrow_way_out(flow.path, 1300)];
    [
        ("no offload at the sender", vec![sends_checksums], vec![]),
        (
            "no offload at the receiver",
            vec![receiver_sends_them, receiver_looks],
            vec![],
        ),
        (
            "no offload at either end",
            vec![sends_checksums, receiver_sends_them, receiver_looks],
            vec![],
        ),
        (
            "segments merged by GRO at the node",
            vec![sends_checksums, merging],
            vec![],
        ),
        (
            "segments merged by GRO at the node, MTU 1300 on the way",
            vec![sends_checksums, merging],
            on_the_way,
        ),
    ]
    .into_iter()
    .map(|(name, switches, steps)| Transfer {
        name,
        source: "checksum-offloads.rst; segmentation-offloads.rst",
        steps,
        switches,
    })
}

fn with_the_node(list: &mut List<'_>, flow: &Flow) {
    let endpoint = Place::A1.address(flow.family);
    let node = Place::NodeA.address(flow.family);
    for (name, from, to, address) in [
        (
            "from the node itself to an endpoint",
            Place::NodeA,
            (Place::A1, Place::A1.dev()),
            endpoint,
        ),
        (
            "from an endpoint to the node",
            Place::A1,
            (Place::NodeA, Place::A1.host_dev()),
            node,
        ),
    ] {
        let work = move |lab: &Lab| run(lab, from, to, address);
        let name = format!("TCP, 3 MB, {name}");
        list.add(flow, name, "RFC 1812, 5.2.3", Probe::Work(Box::new(work)));
    }
}

/// What a transfer came to, what of it was seen on the way in, and the path MTU that the sender learnt.
fn run(lab: &Lab, from: Place, (to, dev): (Place, &'static str), address: IpAddr) -> Vec<String> {
    let option = if address.is_ipv4() { "-4" } else { "-6" };
    lab.ip(from, &format!("{option} route flush cache"));
    let options = TransferOptions {
        bytes: BYTES,
        deadline: Duration::from_secs(20),
        ..TransferOptions::new(address)
    };
    let delivery = Delivery::watch(lab, to, dev, address);
    let result = tcp_transfer(lab.netns(from), lab.netns(to), &options);
    let told = lab.ip(from, &format!("route get {address}"));
    let mtu = told
        .split_whitespace()
        .skip_while(|word| *word != "mtu")
        .nth(1)
        .unwrap_or("of the interface");
    let line = match result {
        Ok(report) => format!(
            "{} bytes arrive from {}, path MTU {mtu}",
            report.bytes,
            report.peer.ip()
        ),
        Err(error) => format!("{error}, path MTU {mtu}"),
    };
    lab.ip(from, &format!("{option} route flush cache"));
    let mut lines = vec![line];
    lines.extend(delivery.lines());
    lines
}
