//! Next hops of all kinds.

use std::process::Command;

use super::{hop, neighbours, option, remote};
use crate::{
    Family,
    conformance::{
        case::{Flow, Probe, Step},
        cases::List,
        lab::Lab,
        place::Place,
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
    let strangers = [
        "192.0.2.33",
        "2001:db8::33",
        "10.2.9.9",
        "10.2.10.9",
        "fd00:2:9::9",
        "fd00:2:10::9",
    ];
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
        for (name, via) in [
            ("IPv6", hop(Family::V6, 11)),
            ("IPv6, link-local", LINK_LOCAL.to_owned()),
        ] {
            let route = format!("{prefix} via inet6 {via} dev up0");
            let case = list.frames(
                flow,
                format!("next hop: {name}"),
                "RFC 5549; fib_nexthops.sh",
                frame(),
            );
            case.steps = neighbours(Family::V6).chain([link_local()]).collect();
            case.steps.push(Step::ip(
                Place::NodeA,
                format!("route add {route}"),
                format!("route del {prefix}"),
            ));
        }
    } else {
        let case = list.frames(flow, "next hop: link-local", "RFC 4861", frame());
        let route = format!("{prefix} via {LINK_LOCAL} dev up0");
        case.steps = vec![link_local(), Step::add(Place::NodeA, "route", &route)];
    }
    objects(list, flow, &strangers);
    recursive(list, flow);
}

/// A next hop that exists only as a permanent neighbour.
const LINK_LOCAL: &str = "fe80::8:11";

fn link_local() -> Step {
    Step::ip(
        Place::NodeA,
        format!("neigh replace {LINK_LOCAL} dev up0 lladdr 02:00:00:00:08:44 nud permanent"),
        format!("neigh del {LINK_LOCAL} dev up0"),
    )
}

/// What `ip nexthop` makes.
fn objects(list: &mut List<'_>, flow: &Flow, strangers: &[Step]) {
    let (prefix, host) = remote(flow.family);
    let family = flow.family;
    let (other_prefix, other_host): (_, &str) = match family {
        Family::V4 => ("10.2.10.0/24", "10.2.10.9"),
        Family::V6 => ("fd00:2:10::/48", "fd00:2:10::9"),
    };
    let other_host = other_host.parse().expect(other_host);
    let [first, second] = [11, 12].map(|number| format!("via {} dev up0", hop(family, number)));
    let stranger = match family {
        Family::V4 => "192.0.2.33",
        Family::V6 => "2001:db8::33",
    };
    let mut kinds = vec![
        ("nexthop object", first.clone(), None),
        ("nexthop object, blackhole", "blackhole".to_owned(), None),
        (
            "nexthop object, onlink",
            format!("via {stranger} dev up0 onlink"),
            None,
        ),
        ("nexthop object, on the link", "dev up0".to_owned(), None),
        (
            "nexthop object of two routes, replaced",
            first,
            Some(second.clone()),
        ),
        (
            "nexthop object of two routes, replaced by a blackhole",
            second,
            Some("blackhole".to_owned()),
        ),
    ];
    if flow.is_v4() {
        let via = format!("via {} dev up0", hop(Family::V6, 11));
        kinds.push(("nexthop object, IPv6", via, None));
    }
    for (name, object, replaced) in kinds {
        let case = list.frames(
            flow,
            format!("next hop: {name}"),
            "fib_nexthops.sh",
            [
                flow.to(host).udp().build(),
                flow.to(other_host).udp().build(),
                flow.to(host).udp().ttl(1).build(),
            ],
        );
        let option = match object.contains("via") {
            true => "",
            false => option(family),
        };
        case.steps = Family::ALL
            .into_iter()
            .flat_map(neighbours)
            .chain(strangers.iter().cloned())
            .collect();
        case.steps.push(Step::ip(
            Place::NodeA,
            format!("{option}nexthop add id 71 {object}"),
            "nexthop del id 71",
        ));
        for prefix in [prefix, other_prefix] {
            case.steps.push(Step::ip(
                Place::NodeA,
                format!("route add {prefix} nhid 71"),
                format!("route del {prefix}"),
            ));
        }
        if let Some(by) = replaced {
            let option = super::option(family);
            let change = format!("{option}nexthop replace id 71 {by}");
            case.steps.push(Step::ip(Place::NodeA, change, ""));
        }
    }
}

/// A gateway that is itself behind a gateway: the kernel takes no such route. A routing daemon resolves it and
/// installs the neighbour that it comes to, as in the other cases.
fn recursive(list: &mut List<'_>, flow: &Flow) {
    let (prefix, _) = remote(flow.family);
    let gateway = Place::B1.address(flow.family);
    let family = option(flow.family);
    let work = move |lab: &Lab| {
        let command = format!("{family}route add {prefix} via {gateway}");
        let output = Command::new("ip")
            .args(["-n", lab.name(Place::NodeA)])
            .args(command.split_whitespace())
            .output()
            .expect("iproute2 is installed");
        assert!(!output.status.success(), "{command} is taken");
        let told = String::from_utf8_lossy(&output.stderr);
        vec![format!("`ip route`: {}", told.trim())]
    };
    list.add(
        flow,
        "next hop: one behind another",
        "fib_check_nh(), ip6_route_check_nh()",
        Probe::Work(Box::new(work)),
    );
}
