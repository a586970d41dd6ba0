//! Real sockets: what they are told, and what arrives.

mod datagrams;
mod delivered;
mod offload;
mod services;
mod transfers;

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use super::{List, Probe, mtu};
use crate::{
    Family,
    conformance::{
        case::{Flow, Path, Step},
        lab::Lab,
        place::Place,
    },
    connections::report_errors,
};

pub(super) fn add(list: &mut List<'_>) {
    for flow in list.flows() {
        transfers::add(list, &flow);
        datagrams::add(list, &flow);
        services::add(list, &flow);
        if flow.path == Path::ToRemote {
            silent_neighbour(list, &flow);
        }
        forwarding_off(list, &flow);
        if flow.path == Path::SameNode {
            from_the_node(list, &flow);
        }
    }
}

/// Node A's interface that packets of a path leave by, with a smaller MTU.
fn narrow_way_out(path: Path, mtu: u32) -> Step {
    Step::mtu(Place::NodeA, path.egress(), mtu)
}

/// What the node itself sends, and the errors about it.
fn from_the_node(list: &mut List<'_>, flow: &Flow) {
    for to in [Place::A1, Place::A2, Place::B1] {
        let (source, target) = (Place::NodeA.address(flow.family), to.address(flow.family));
        let work = move |lab: &Lab| vec![told(lab, Place::NodeA, source, target)];
        list.add(
            flow,
            format!("from the node: UDP to {to}"),
            "RFC 1812, 5.2.3",
            Probe::Work(Box::new(work)),
        );
    }
}

/// A next hop that nobody answers for: what the sender is told, once the kernel has given up.
fn silent_neighbour(list: &mut List<'_>, flow: &Flow) {
    let (prefix, host, via, family): (_, &str, _, _) = match flow.family {
        Family::V4 => ("10.2.9.0/24", "10.2.9.9", "10.8.0.99", "ipv4"),
        Family::V6 => ("fd00:2:9::/48", "fd00:2:9::9", "fd00:8::99", "ipv6"),
    };
    let (source, target) = (flow.source, host.parse().expect(host));
    let work = move |lab: &Lab| vec![told(lab, Place::A1, source, target)];
    let case = list.add(
        flow,
        "next hop: one that does not answer",
        "RFC 1122, 2.3.2.2; RFC 4861, 7.2.2",
        Probe::Work(Box::new(work)),
    );
    for (key, value) in [("mcast_solicit", "1"), ("retrans_time_ms", "20")] {
        let key = format!("{family}/neigh/up0/{key}");
        case.steps.push(Step::sysctl(Place::NodeA, &key, value));
    }
    let route = format!("{prefix} via {via} dev up0");
    case.steps.push(Step::add(Place::NodeA, "route", &route));
}

fn forwarding_off(list: &mut List<'_>, flow: &Flow) {
    let family = match flow.family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    let (from, source, target) = (flow.path.sender(), flow.source, flow.destination);
    let work = move |lab: &Lab| vec![told(lab, from, source, target)];
    let case = list.add(
        flow,
        "forwarding off at the ingress",
        "ip-sysctl.rst: conf/interface/forwarding",
        Probe::Work(Box::new(work)),
    );
    let key = format!("{family}/conf/{}/forwarding", flow.path.ingress());
    case.steps.push(Step::sysctl(Place::NodeA, &key, "0"));
}

/// What a UDP socket learns about the packet that it sent to a port where nobody listens.
fn told(lab: &Lab, from: Place, source: IpAddr, target: IpAddr) -> String {
    let ask = || {
        let socket = UdpSocket::bind(SocketAddr::new(source, 0)).expect("binding");
        socket.connect((target, 40_001)).expect("connecting");
        socket
            .set_read_timeout(Some(Duration::from_secs(1)))
            .expect("a timeout");
        report_errors(&socket, source.is_ipv4());
        socket.send(b"anybody there?").expect("sending");
        match socket.recv(&mut [0; 64]) {
            Ok(length) => format!("{length} bytes come back"),
            Err(error) => format!("the sender is told: {}", error.kind()),
        }
    };
    lab.netns(from).run(ask).expect("the namespace is there")
}
