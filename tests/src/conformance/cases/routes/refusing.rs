//! Routes that refuse.

use std::net::IpAddr;

use super::remote;
use crate::{
    Family,
    conformance::{
        case::{Flow, Step},
        cases::List,
        place::Place,
    },
};

pub(super) fn add(list: &mut List<'_>, flow: &Flow) {
    let (prefix, host) = remote(flow.family);
    for kind in ["blackhole", "unreachable", "prohibit", "throw"] {
        for ttl in [1, 64] {
            let flow = &list.erring(flow);
            let frame = flow.to(host).udp().ttl(ttl).build();
            let name = format!("route: {kind}, TTL {ttl}");
            let case = list.frames(flow, name, "RFC 1812, 5.2.7.1; fib_props[]", [frame]);
            case.steps = vec![Step::add(
                Place::NodeA,
                "route",
                &format!("{kind} {prefix}"),
            )];
        }
    }
    let kinds: &[&str] = match flow.family {
        Family::V4 => &["local", "broadcast"],
        Family::V6 => &["local", "anycast"],
    };
    for kind in kinds {
        let flow = &list.erring(flow);
        let frame = flow.to(host).udp().build();
        let name = format!("route: {kind}");
        let case = list.frames(flow, name, "fib_props[]", [frame]);
        let route = format!(
            "{kind} {prefix} dev {}",
            if *kind == "local" { "lo" } else { "up0" }
        );
        case.steps = vec![Step::add(Place::NodeA, "route", &route)];
    }
    let outside: IpAddr = match flow.family {
        Family::V4 => "198.51.100.9".parse().expect("an address"),
        Family::V6 => "2001:db8:51::9".parse().expect("an address"),
    };
    let flow = &list.erring(flow);
    let frame = flow.to(outside).udp().build();
    list.frames(
        flow,
        "route: none",
        "RFC 1812, 5.2.7.1; RFC 4443, 3.1",
        [frame],
    );
}
