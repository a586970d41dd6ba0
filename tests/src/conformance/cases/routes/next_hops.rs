//! Next hops of all kinds.

use super::{hop, neighbours, option, remote};
use crate::{
    Family,
    conformance::{
        case::{Flow, Step},
        cases::List,
        lab::Place,
    },
};

pub(super) fn add(list: &mut List<'_>, flow: &Flow) {
    let (prefix, host) = remote(flow.family);
    let family = flow.family;
    let frame = || {
        [
            flow.to(host).udp().build(),
            flow.to(host).udp().ttl(1).build(),
        ]
    };
    let via = hop(family, 11);
    let routes = [
        ("via a neighbour", format!("{prefix} via {via} dev up0")),
        (
            "onlink",
            match family {
                Family::V4 => format!("{prefix} via 192.0.2.33 dev up0 onlink"),
                Family::V6 => format!("{prefix} via 2001:db8::33 dev up0 onlink"),
            },
        ),
        ("on the link", format!("{prefix} dev up0")),
        (
            "with a metric",
            format!("{prefix} via {via} dev up0 metric 77"),
        ),
        (
            "with a source",
            format!("{prefix} via {via} src {}", Place::NodeA.address(family)),
        ),
    ];
    let strangers = ["192.0.2.33", "2001:db8::33", "10.2.9.9", "fd00:2:9::9"];
    let strangers = strangers.map(|address| {
        Step::ip(
            Place::NodeA,
            format!("neigh replace {address} dev up0 lladdr 02:00:00:00:08:33 nud permanent"),
            format!("neigh del {address} dev up0"),
        )
    });
    for (name, route) in routes {
        let case = list.frames(flow, format!("next hop: {name}"), "fib_tests.sh", frame());
        case.steps = neighbours(family).chain(strangers.clone()).collect();
        case.steps.push(Step::add(Place::NodeA, "route", &route));
    }
    if flow.is_v4() {
        let case = list.frames(flow, "next hop: IPv6", "RFC 5549; fib_nexthops.sh", frame());
        let via = hop(Family::V6, 11);
        case.steps = neighbours(Family::V6)
            .chain([Step::ip(
                Place::NodeA,
                format!("route add {prefix} via inet6 {via} dev up0"),
                format!("route del {prefix}"),
            )])
            .collect();
    }
    for (name, kind) in [
        ("nexthop object", ""),
        ("nexthop object, blackhole", "blackhole"),
    ] {
        let case = list.frames(
            flow,
            format!("next hop: {name}"),
            "fib_nexthops.sh",
            frame(),
        );
        let object = if kind.is_empty() {
            format!("nexthop add id 71 via {via} dev up0")
        } else {
            format!("{}nexthop add id 71 {kind}", option(family))
        };
        case.steps = neighbours(family)
            .chain([
                Step::ip(Place::NodeA, object, "nexthop del id 71"),
                Step::ip(
                    Place::NodeA,
                    format!("route add {prefix} nhid 71"),
                    format!("route del {prefix}"),
                ),
            ])
            .collect();
    }
}
