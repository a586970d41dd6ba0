//! Policy rules.

use aya::programs::TcAttachType;
use netpath::probe::capture::Injector;

use super::{hop, neighbours, option, remote};
use crate::{
    Family,
    conformance::{
        case::{Flow, Probe, Step},
        cases::List,
        lab::Lab,
        place::Place,
    },
    lab::Deadline,
    tc_program::{Behaviour, Position, Seen, TcProgram},
};

/// A rule or route about a local endpoint.
pub(super) fn add_local(list: &mut List<'_>, flow: &Flow) {
    if !flow.path.is_to_endpoint() {
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

/// Another way to the remote prefix, in a table that only rules lead to.
fn detour(family: Family) -> Step {
    let (prefix, _) = remote(family);
    Step::ip(
        Place::NodeA,
        format!(
            "route add {prefix} via {} dev up0 table 100",
            hop(family, 11)
        ),
        format!("{}route del {prefix} table 100", option(family)),
    )
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
    let source = flow.source;
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
        case.once = refuses;
        case.steps = neighbours(family)
            .chain([detour(family)])
            .chain(rule_steps(family, &rule))
            .collect();
    }
}

/// Rules by mark. Another program on the hook sets it on node A: a mark does not cross into a namespace.
///
/// Of one flow some packets are marked, by their length, and the others are not.
pub(super) fn add_marked(list: &mut List<'_>, flow: &Flow) {
    let (_, host) = remote(flow.family);
    let family = flow.family;
    for (name, mark, rule) in [
        ("fwmark 7 lookup 100", 7, "fwmark 7 lookup 100"),
        ("fwmark 7 lookup 100, mark 8", 8, "fwmark 7 lookup 100"),
        (
            "fwmark 0x7/0xf lookup 100, mark 0x80000017",
            0x8000_0017,
            "fwmark 0x7/0xf lookup 100",
        ),
        ("not fwmark 7 lookup 100", 7, "not fwmark 7 lookup 100"),
        ("fwmark 7 blackhole", 7, "fwmark 7 blackhole"),
        ("fwmark 7 prohibit", 7, "fwmark 7 prohibit"),
        ("fwmark 7 unreachable", 7, "fwmark 7 unreachable"),
    ] {
        let refuses = !rule.contains("lookup");
        let from = if refuses { list.erring(flow) } else { *flow };
        let to = from.to(host);
        let marked = to.ip().udp(40_000, 40_001).payload(&[7; 77]).build();
        let unmarked = to.ip().udp(40_000, 40_001).payload(&[0; 78]).build();
        let mark = Step::mark(flow.path.ingress(), marked.len(), mark);
        let case = list.frames(
            &from,
            format!("rule by a mark that is set: {name}"),
            "fib_rule_tests.sh: fwmark",
            [unmarked.clone(), marked, unmarked],
        );
        case.once = refuses;
        case.steps = neighbours(family)
            .chain([detour(family), mark])
            .chain(rule_steps(family, &format!("pref 100 {rule}")))
            .collect();
    }
}

/// The mark of a packet means something on the node that set it, and not in an endpoint.
pub(super) fn add_mark_delivered(list: &mut List<'_>, flow: &Flow) {
    if !flow.path.is_to_endpoint() {
        return;
    }
    let frame = flow.ip().udp(40_000, 40_001).payload(&[7; 77]).build();
    let (length, path) = (frame.len() as u32, flow.path);
    let work = move |lab: &Lab| {
        let watch = |place: Place, dev, position, behaviour: Behaviour| {
            let behaviour = behaviour.only_length(length);
            let hook = TcAttachType::Ingress;
            TcProgram::attach(lab.netns(place), dev, hook, position, behaviour)
        };
        let receiver = path.receiver();
        let before = watch(
            Place::NodeA,
            path.ingress(),
            Position::Before,
            Behaviour::mark(7),
        );
        let inside = watch(receiver, receiver.dev(), Position::After, Behaviour::WATCH);
        let at = path.injected_at();
        let open = || Injector::open(at.dev());
        let injector = lab.netns(at).run(open).expect("the namespace is there");
        injector.expect("opening").send(&frame).expect("sending");
        let deadline = Deadline::new();
        while inside.seen().packets == 0 {
            deadline.check(|| format!("nothing arrives; node A saw {:?}", before.seen()));
        }
        let Seen {
            packets, marked, ..
        } = inside.seen();
        vec![format!(
            "{} marked on node A; {packets} arrive, {marked} with a mark",
            before.seen().packets
        )]
    };
    list.add(
        flow,
        "a mark does not follow a packet into an endpoint",
        "skb_scrub_packet()",
        Probe::Work(Box::new(work)),
    );
}
