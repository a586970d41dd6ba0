//! Routes that refuse, rules, next hops of all kinds, and many at once.

use std::net::IpAddr;

use super::List;
use crate::{
    Family,
    conformance::{
        case::{Flow, Path, Step},
        lab::Place,
    },
};

/// MACs of next hops that exist only as permanent neighbours of node A's uplink.
const NEXT_HOPS: [(u8, &str); 3] = [
    (11, "02:00:00:00:08:11"),
    (12, "02:00:00:00:08:12"),
    (13, "02:00:00:00:08:13"),
];

pub(super) fn add(list: &mut List<'_>) {
    for flow in list.flows() {
        refusing(list, &flow);
        local_rules(list, &flow);
        if flow.path == Path::ToRemote {
            rules(list, &flow);
            next_hops(list, &flow);
            multipath(list, &flow);
        }
        redirects(list, &flow);
        reverse_path(list, &flow);
    }
}

/// A prefix inside what the topology routes to node B, with a host in it.
fn remote(family: Family) -> (&'static str, IpAddr) {
    let (prefix, host) = match family {
        Family::V4 => ("10.2.9.0/24", "10.2.9.9"),
        Family::V6 => ("fd00:2:9::/48", "fd00:2:9::9"),
    };
    (prefix, host.parse().expect(host))
}

fn hop(family: Family, number: u8) -> String {
    match family {
        Family::V4 => format!("10.8.0.{number}"),
        Family::V6 => format!("fd00:8::{number}"),
    }
}

/// The next hops as neighbours.
fn neighbours(family: Family) -> impl Iterator<Item = Step> {
    NEXT_HOPS.into_iter().map(move |(number, mac)| {
        let hop = hop(family, number);
        Step::ip(
            Place::NodeA,
            format!("neigh replace {hop} dev up0 lladdr {mac} nud permanent"),
            format!("neigh del {hop} dev up0"),
        )
    })
}

fn option(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4 ",
        Family::V6 => "-6 ",
    }
}

fn refusing(list: &mut List<'_>, flow: &Flow) {
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

/// A rule or route about a local endpoint.
fn local_rules(list: &mut List<'_>, flow: &Flow) {
    if flow.path == Path::ToRemote {
        return;
    }
    let flow = &list.erring(flow);
    let (from, to) = (flow.source, flow.destination);
    let case = list.frames(
        flow,
        "rule about a local endpoint: prohibit one UDP port",
        "fib_rule_tests.sh",
        [flow.udp().build()],
    );
    let rule = format!("pref 100 from {from} to {to} ipproto udp dport 40001 prohibit");
    case.steps = rule_steps(flow.family, &rule);
}

fn rule_steps(family: Family, rule: &str) -> Vec<Step> {
    let option = option(family);
    vec![Step::ip(
        Place::NodeA,
        format!("{option}rule add {rule}"),
        format!("{option}rule del {rule}"),
    )]
}

fn rules(list: &mut List<'_>, flow: &Flow) {
    let (prefix, host) = remote(flow.family);
    let family = flow.family;
    let via = hop(family, 11);
    let source = flow.source;
    let detour = Step::ip(
        Place::NodeA,
        format!("route add {prefix} via {via} dev up0 table 100"),
        format!("{}route del {prefix} table 100", option(family)),
    );
    let frames = |flow: &Flow, refuses: bool| {
        let udp = flow.to(host);
        if refuses {
            return vec![udp.udp().build(), udp.ip().tcp(40_000, 40_001, 2).build()];
        }
        let mut frames = vec![
            udp.udp().build(),
            udp.udp().tos(0x10).build(),
            udp.udp().tos(0xb8).build(),
            udp.ip().tcp(40_000, 40_001, 2).build(),
            udp.ip().udp(40_000, 53).payload(b"q").build(),
            udp.ip()
                .protocol(17)
                .fragment(64, false)
                .payload(&[1; 8])
                .build(),
            udp.ip()
                .protocol(132)
                .payload(&[0x9c, 0x40, 0x9c, 0x41, 0, 0, 0, 0])
                .build(),
            udp.ip()
                .protocol(50)
                .payload(&[0x9c, 0x40, 0x9c, 0x41, 0, 0, 0, 0])
                .build(),
            udp.udp().fragment(0, true).build(),
        ];
        if !flow.is_v4() {
            let pad = [1, 4, 0, 0, 0, 0];
            frames.push(udp.udp().extension(60, &pad).build());
            frames.push(udp.udp().extension(60, &pad).extension(60, &pad).build());
            frames.push(udp.udp().extension(60, &pad).fragment(64, false).build());
        }
        frames
    };
    for rule in [
        format!("pref 100 from {source} lookup 100"),
        format!("pref 100 to {prefix} lookup 100"),
        "pref 100 iif va1 lookup 100".to_owned(),
        "pref 100 tos 0x10 lookup 100".to_owned(),
        "pref 100 ipproto tcp lookup 100".to_owned(),
        "pref 100 ipproto udp lookup 100".to_owned(),
        "pref 100 ipproto esp lookup 100".to_owned(),
        "pref 100 ipproto udp dport 40001 lookup 100".to_owned(),
        "pref 100 ipproto udp sport 40000 lookup 100".to_owned(),
        "pref 100 fwmark 7 lookup 100".to_owned(),
        format!("pref 100 to {prefix} prohibit"),
        format!("pref 100 to {prefix} blackhole"),
        format!("pref 100 to {prefix} unreachable"),
        format!("pref 100 not from {source} lookup 100"),
        "pref 100 iif va2 lookup 100".to_owned(),
    ] {
        let name = format!("rule: {}", rule.trim_start_matches("pref 100 "));
        let refuses = !rule.contains("lookup");
        let from = if refuses { list.erring(flow) } else { *flow };
        let sent = frames(&from, refuses);
        let case = list.frames(flow, name, "fib_rule_tests.sh", sent);
        case.steps = neighbours(family)
            .chain([detour.clone()])
            .chain(rule_steps(family, &rule))
            .collect();
    }
}

fn next_hops(list: &mut List<'_>, flow: &Flow) {
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

/// Which path each of many flows takes is the kernel's choice, flow by flow.
fn multipath(list: &mut List<'_>, flow: &Flow) {
    const FLOWS: u16 = 100;
    let (prefix, host) = remote(flow.family);
    let family = flow.family;
    let to = flow.to(host);
    let frames = || {
        let mut frames = Vec::new();
        for number in 0..FLOWS {
            let port = 20_000 + number * 7;
            let udp = to
                .ip()
                .udp(port, 40_001)
                .flow_label(u32::from(number) * 331);
            frames.push(udp.payload(&number.to_be_bytes()).build());
            frames.push(to.ip().tcp(port, 40_001, 2).build());
        }
        for number in 0..10 {
            if flow.is_v4() {
                let fragment = to.ip().protocol(17).fragment(800, false).id(number);
                frames.push(fragment.payload(&[number as u8; 16]).build());
            }
            let kind = if flow.is_v4() { 8 } else { 128 };
            frames.push(to.ip().icmp(kind, 0, [0, number as u8, 0, 0]).build());
            for protocol in [33, 50, 51, 136] {
                let spi = [0, 8, 3, number as u8, 7, 7, number as u8, 1, 0, 0];
                frames.push(to.ip().protocol(protocol).payload(&spi).build());
            }
            frames.push(
                to.ip()
                    .protocol(47)
                    .payload(&[0, 0, 8, 0, number as u8])
                    .build(),
            );
        }
        frames
    };
    let sysctl = match family {
        Family::V4 => "ipv4/fib_multipath_hash_policy",
        Family::V6 => "ipv6/fib_multipath_hash_policy",
    };
    for (name, weights) in [
        ("1:1", &[1u32, 1][..]),
        ("2:1", &[2, 1]),
        ("11:45", &[11, 45]),
        ("1:1:1", &[1, 1, 1]),
    ] {
        for policy in ["0", "1"] {
            let legs: String = weights
                .iter()
                .zip(NEXT_HOPS)
                .map(|(weight, (number, _))| {
                    let hop = hop(family, number);
                    format!(" nexthop via {hop} dev up0 weight {weight}")
                })
                .collect();
            let case = list.frames(
                flow,
                format!("ECMP {name}, hash policy {policy}"),
                "RFC 2992; fib_multipath_hash()",
                frames(),
            );
            case.steps = neighbours(family)
                .chain([
                    Step::sysctl(Place::NodeA, sysctl, policy),
                    Step::ip(
                        Place::NodeA,
                        format!("route add {prefix}{legs}"),
                        format!("route del {prefix}"),
                    ),
                ])
                .collect();
        }
    }
    // The kernel sends an error the way of the packets that it is about: here from another address of the
    // sender's side to many hosts.
    let errors = || {
        (1..=40u8).map(|number| {
            let host = match host {
                IpAddr::V4(host) => IpAddr::V4((u32::from(host) + u32::from(number)).into()),
                IpAddr::V6(host) => IpAddr::V6((u128::from(host) + u128::from(number)).into()),
            };
            let to = to.to(host);
            let about = to.from(host).to(Place::A2.address(family)).udp().build();
            let (kind, code) = if flow.is_v4() { (3, 3) } else { (1, 4) };
            to.ip()
                .icmp(kind, code, [0; 4])
                .payload(&about[14..])
                .build()
        })
    };
    let pad = [1, 4, 0, 0, 0, 0];
    let behind = |number: u16| {
        let port = 20_000 + number * 7;
        let udp = to.ip().udp(port, 40_001).payload(&number.to_be_bytes());
        let fragment = to.ip().protocol(17).fragment(800, false).id(number.into());
        [
            udp.clone().extension(60, &pad).build(),
            udp.extension(60, &pad)
                .fragment(0, true)
                .id(number.into())
                .build(),
            fragment.payload(&[number as u8; 16]).build(),
        ]
    };
    for policy in ["0", "1"] {
        let mut special = vec![("ICMP errors", errors().collect::<Vec<_>>())];
        if !flow.is_v4() {
            let frames = (0..40).flat_map(behind).collect();
            special.push(("IPv6 extension headers and fragments", frames));
        }
        for (name, frames) in special {
            let legs: String = [11, 12]
                .map(|number| format!(" nexthop via {} dev up0", hop(family, number)))
                .concat();
            let case = list.frames(
                flow,
                format!("ECMP of {name}, hash policy {policy}"),
                "RFC 2992; icmp_multipath_hash",
                frames,
            );
            case.steps = neighbours(family)
                .chain([
                    Step::sysctl(Place::NodeA, sysctl, policy),
                    Step::ip(
                        Place::NodeA,
                        format!("route add {prefix}{legs}"),
                        format!("route del {prefix}"),
                    ),
                ])
                .collect();
        }
    }
    for kind in ["mpath", "resilient buckets 64"] {
        let case = list.frames(
            flow,
            format!("ECMP by a nexthop group, type {kind}, hash policy 1"),
            "fib_nexthops.sh",
            frames(),
        );
        let member = |id: u8, number: u8| {
            Step::ip(
                Place::NodeA,
                format!("nexthop add id {id} via {} dev up0", hop(family, number)),
                format!("nexthop del id {id}"),
            )
        };
        case.steps = neighbours(family)
            .chain([
                Step::sysctl(Place::NodeA, sysctl, "1"),
                member(71, 11),
                member(72, 12),
                Step::ip(
                    Place::NodeA,
                    format!("nexthop add id 80 group 71,2/72,1 type {kind}"),
                    "nexthop del id 80",
                ),
                Step::ip(
                    Place::NodeA,
                    format!("route add {prefix} nhid 80"),
                    format!("route del {prefix}"),
                ),
            ])
            .collect();
    }
}

/// A route back out of the interface that the packet came in by. How many redirects the kernel sends depends
/// on the clock, so there is one case for each source.
fn redirects(list: &mut List<'_>, flow: &Flow) {
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
        Path::ToRemote => return,
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

/// The reverse-path filter of an uplink.
fn reverse_path(list: &mut List<'_>, flow: &Flow) {
    if flow.is_v4() && flow.path == Path::FromUplink {
        let stranger = flow.from([198, 51, 100, 1].into());
        for value in ["0", "1", "2"] {
            let case = list.frames(
                flow,
                format!("setting: rp_filter {value} at the uplink, no way back to the source"),
                "RFC 3704; ip-sysctl.rst: rp_filter",
                [stranger.udp().build(), flow.udp().build()],
            );
            case.steps = vec![Step::sysctl(Place::NodeA, "ipv4/conf/up0/rp_filter", value)];
        }
    }
}
