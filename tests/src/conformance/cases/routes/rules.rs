//! Policy rules.

use super::{hop, neighbours, option, remote};
use crate::{
    Family,
    conformance::{
        case::{Flow, Path, Step},
        cases::List,
        lab::Place,
    },
};

/// A rule or route about a local endpoint.
pub(super) fn add_local(list: &mut List<'_>, flow: &Flow) {
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

pub(super) fn add(list: &mut List<'_>, flow: &Flow) {
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
