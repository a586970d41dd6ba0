//! Routes back out of the interface that a packet came in by.

use super::{hop, neighbours, remote};
use crate::conformance::{
    case::{Flow, Path, Step},
    cases::List,
    place::Place,
};

/// A route back out of the interface that the packet came in by. How many redirects the kernel sends depends
/// on the clock, so there is one case for each source.
pub(super) fn add(list: &mut List<'_>, flow: &Flow) {
    let (prefix, host) = remote(flow.family);
    let source = "RFC 1812, 5.2.7.2; RFC 4861, 8.2";
    let (name, frame, via, dev) = match flow.path {
        Path::SameNode => {
            let frame = flow.to(host).udp().build();
            let name = "redirect: a remote prefix behind the sender itself";
            (name, frame, flow.source.to_string(), "va1")
        }
        Path::FromUplink => {
            // From node B itself, a neighbour on the wire.
            let from = flow.from(Place::NodeB.address(flow.family)).to(host);
            let name = "redirect: a better router on the wire";
            (name, from.udp().build(), hop(flow.family, 11), "up0")
        }
        Path::ToRemote | Path::Transit => return,
    };
    let case = list.frames(flow, name, source, [frame]);
    case.steps = neighbours(flow.family).collect();
    case.steps.push(Step::add(
        Place::NodeA,
        "route",
        &format!("{prefix} via {via} dev {dev} onlink"),
    ));
    case.with_redirects = true;
    let sysctl = format!("ipv4/conf/{dev}/send_redirects");
    case.steps.push(Step::sysctl(Place::NodeA, &sysctl, "1"));
}
