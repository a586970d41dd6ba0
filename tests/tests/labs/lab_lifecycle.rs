//! Up, up again, changed, damaged, interrupted, failed, down: what a topology goes through.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use netpath::{
    netns::{Netns, NetnsError},
    probe::{
        measure::StopOnDrop,
        stream::{StreamOptions, udp_stream},
    },
    provision::{self, Change, ProvisionError, UpOptions},
    reconcile::{Refusal, Refused},
};
use netpath_tests::lab::{Lab, ONE_NODE, TWO_NODES, addresses, portrait};

fn address(text: &str) -> IpAddr {
    text.parse().expect(text)
}

/// Fails unless everybody reaches everybody, both families.
fn assert_all_reach(lab: &Lab) {
    for (from, to, ttl) in [
        ("a1", "a2", 63),
        ("a1", "b1", 62),
        ("b2", "a1", 62),
        ("b1", "a2", 62),
    ] {
        for dst in addresses(to) {
            lab.assert_reaches(from, dst, ttl);
        }
    }
}

#[test]
fn up_again_changes_nothing() {
    let lab = Lab::prepare(TWO_NODES);
    let planned = lab.plan();
    lab.assert_nothing_left();
    assert_eq!(lab.converge(), planned, "what was planned");
    assert_all_reach(&lab);
    let before = lab.traffic("A");
    assert!(before.rows() > 0);
    for _ in 0..2 {
        assert_eq!(lab.plan(), Vec::<String>::new());
        assert_eq!(lab.converge(), Vec::<String>::new());
    }
    // `since` fails if any counter is less than it was.
    let difference = lab.traffic("A").since(&before);
    assert_eq!(difference.without_chatter().count(), 0, "{difference:?}");
    assert_all_reach(&lab);
}

const A3: &str = r#"    { name = "@a3", addresses = ["10.0.5.2/24", "fd00:5::2/64"], host_dev = "va3" },
]
"#;

/// `ONE_NODE` with a third endpoint.
fn with_a3() -> String {
    format!(
        "{}{A3}",
        ONE_NODE.trim_end().strip_suffix(']').expect("a list")
    )
}

#[test]
fn a_changed_file_converges_under_traffic() {
    let mut lab = Lab::up(ONE_NODE);
    let (a1, a2) = (lab.netns("a1"), lab.netns("a2"));
    let options = StreamOptions {
        packets: u64::MAX,
        window: Some(4),
        deadline: Duration::from_secs(60),
        ..StreamOptions::new(addresses("a1")[0], addresses("a2")[0])
    };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // Streams of those who are not touched, until all is done.
        let stream = scope.spawn(|| {
            let mut sent = 0;
            while !done.load(Ordering::Acquire) {
                let options = StreamOptions {
                    packets: 500,
                    ..options.clone()
                };
                let report = udp_stream(&a1, &a2, &options).expect("stream");
                assert!(report.is_exact(500), "{report:?}");
                sent += 500;
            }
            sent
        });
        let before = lab.traffic_now("A");
        // Also when an assertion fails: the other thread must end.
        let finish = StopOnDrop(&done);

        lab.rewrite(&with_a3());
        let changes = lab.converge();
        assert_eq!(
            changes,
            ["+ endpoint a3 on A: 10.0.5.2/24, fd00:5::2/64, eth0 to va3"]
        );
        for dst in ["10.0.5.2", "fd00:5::2"].map(address) {
            lab.assert_reaches("a2", dst, 63);
        }

        lab.edit(
            r#""10.0.5.2/24", "fd00:5::2/64""#,
            r#""10.0.5.2/24", "10.0.6.2/24", "fd00:6::2/64""#,
        );
        let changes = lab.converge();
        assert_eq!(
            changes,
            ["~ endpoint a3 on A: addresses 10.0.5.2/24, 10.0.6.2/24, fd00:6::2/64"]
        );
        for dst in ["10.0.5.2", "10.0.6.2", "fd00:6::2"].map(address) {
            lab.assert_reaches("a2", dst, 63);
        }
        lab.assert_loses("a2", address("fd00:5::2"));

        lab.edit(r#"host_dev = "va3""#, r#"host_dev = "vx3", dev = "inner""#);
        let changes = lab.converge();
        assert_eq!(
            changes,
            ["~ endpoint a3 on A: interface inner, host interface vx3"]
        );
        assert!(!lab.ip("A", "-o link").contains("va3"));
        assert!(!lab.ip("a3", "-o link").contains("eth0"));
        lab.assert_reaches("a2", address("fd00:6::2"), 63);

        lab.rewrite(ONE_NODE);
        let changes = lab.converge();
        assert_eq!(
            changes,
            ["- endpoint a3 on A: 10.0.5.2/24, 10.0.6.2/24, fd00:6::2/64"]
        );
        lab.assert_loses("a2", address("10.0.6.2"));
        assert!(!lab.ip("A", "-o link").contains("vx3"));
        assert_eq!(lab.converge(), Vec::<String>::new());

        drop(finish);
        let sent: u64 = stream.join().expect("the stream");
        let (packets, _) = lab
            .traffic("A")
            .since(&before)
            .row("va1 > va2 redirect_peer");
        assert!(
            packets <= sent && packets + 500 >= sent,
            "{packets} of {sent}"
        );
    });
}

#[test]
fn routes_and_uplinks_follow_the_file() {
    let mut lab = Lab::up(TWO_NODES);
    let before = lab.traffic("A");
    // B moves to another address on the wire, and its endpoint b2 to another prefix.
    let text = TWO_NODES
        .replace("100.100.198.253", "100.100.198.7")
        .replace("fd00:198::253", "fd00:198::7")
        .replace("10.0.4.", "10.0.44.");
    lab.rewrite(&text);
    let changes = lab.converge();
    assert_eq!(changes.len(), 4 + 1 + 1 + 1, "{changes:#?}");
    assert!(
        lab.ip("A", "route get 10.0.44.2")
            .contains("via 100.100.198.7")
    );
    for dst in ["10.0.3.2", "fd00:3::2", "10.0.44.2", "fd00:4::2"].map(address) {
        lab.assert_reaches("a1", dst, 62);
    }
    // No route is left over: to the old prefix, to nobody.
    lab.assert_loses("a1", address("10.0.4.2"));
    for listing in [lab.ip("A", "route"), lab.ip("A", "-6 route")] {
        assert!(
            !listing.contains("253") && !listing.contains("10.0.4."),
            "{listing}"
        );
    }
    assert_eq!(lab.converge(), Vec::<String>::new());
    lab.traffic("A").since(&before);
}

#[test]
fn the_forward_policy_follows_the_file() {
    let mut lab = Lab::up(ONE_NODE);
    let policy = |lab: &Lab| {
        ["iptables", "ip6tables"].map(|command| lab.run("A", &format!("{command} -w -S FORWARD")))
    };
    assert_eq!(policy(&lab), ["-P FORWARD DROP\n"; 2]);
    lab.edit(r#"forward_policy = "drop""#, r#"forward_policy = "accept""#);
    assert_eq!(lab.converge(), ["~ node A: FORWARD policy ACCEPT"]);
    assert_eq!(policy(&lab), ["-P FORWARD ACCEPT\n"; 2]);
    for command in ["iptables", "ip6tables"] {
        lab.run("A", &format!("{command} -w -P FORWARD DROP"));
        assert_eq!(
            lab.converge(),
            ["~ node A: FORWARD policy ACCEPT"],
            "{command}"
        );
        assert_eq!(policy(&lab), ["-P FORWARD ACCEPT\n"; 2]);
    }
    lab.edit(r#"forward_policy = "accept""#, r#"forward_policy = "drop""#);
    lab.converge();
    assert_eq!(policy(&lab), ["-P FORWARD DROP\n"; 2]);
    lab.run("A", "ip6tables -w -P FORWARD ACCEPT");
    assert_eq!(lab.converge(), ["~ node A: FORWARD policy DROP"]);
    assert_eq!(policy(&lab), ["-P FORWARD DROP\n"; 2]);
}

/// A damage: where it is done, the command or the sysctl to write, and what the plan then says.
const DAMAGES: &[(&str, &str, &str)] = &[
    (
        "a1",
        "ip addr del 10.0.1.2/24 dev eth0",
        "~ endpoint a1 on A: address 10.0.1.2/24 is gone",
    ),
    (
        "a1",
        "ip addr del fd00:1::2/64 dev eth0",
        "~ endpoint a1 on A: address fd00:1::2/64 is gone",
    ),
    (
        "a1",
        "ip route del default",
        "~ endpoint a1 on A: the default route via 169.254.1.1 is gone",
    ),
    (
        "a1",
        "ip -6 route del default",
        "~ endpoint a1 on A: the default route via fe80::1 is gone",
    ),
    (
        "a1",
        "ip link set eth0 down",
        "~ endpoint a1 on A: interface eth0 is down",
    ),
    (
        "a1",
        "ip link del eth0",
        "~ endpoint a1 on A: interface va1 is gone",
    ),
    (
        "A",
        "ip link del va1",
        "~ endpoint a1 on A: interface va1 is gone",
    ),
    (
        "A",
        "ip link set va1 down",
        "~ endpoint a1 on A: interface va1 is down",
    ),
    (
        "A",
        "ip addr flush dev va1",
        "~ endpoint a1 on A: the node's route to 10.0.1.2 is gone",
    ),
    (
        "A",
        "ip route del 10.0.1.2",
        "~ endpoint a1 on A: the node's route to 10.0.1.2 is gone",
    ),
    (
        "A",
        "ip -6 route del fd00:1::2",
        "~ endpoint a1 on A: the node's route to fd00:1::2 is gone",
    ),
    (
        "A",
        "ip route del 10.0.3.0/24",
        "~ route 10.0.3.0/24 on A: via 100.100.198.253",
    ),
    (
        "A",
        "ip -6 route del fd00:3::/64",
        "~ route fd00:3::/64 on A: via fd00:198::253",
    ),
    (
        "A",
        "ip link set up0 down",
        "~ uplink up0 on A: interface up0 is down",
    ),
    (
        "A",
        "ip link del up0",
        "~ uplink up0 on A: interface up0 is gone",
    ),
    (
        "A",
        "ip addr flush dev up0",
        "~ uplink up0 on A: address 100.100.198.250/24 is gone",
    ),
    (
        "A",
        "ip link set va1 address 02:00:00:00:00:77",
        "~ endpoint a1 on A: interface va1 has another MAC",
    ),
    (
        "A",
        "write ipv4/conf/va1/rp_filter 0",
        "~ endpoint a1 on A: sysctl net/ipv4/conf/va1/rp_filter is 0",
    ),
    (
        "A",
        "write ipv4/conf/va1/forwarding 0",
        "~ endpoint a1 on A: sysctl net/ipv4/conf/va1/forwarding is 0",
    ),
    (
        "A",
        "write ipv6/conf/va1/accept_ra 1",
        "~ endpoint a1 on A: sysctl net/ipv6/conf/va1/accept_ra is 1",
    ),
    ("A", "write ipv4/ip_forward 0", "~ node A: forwarding"),
    (
        "A",
        "write ipv6/conf/all/forwarding 0",
        "~ node A: forwarding",
    ),
];

#[test]
fn damage_is_seen_and_repaired() {
    let lab = Lab::up(TWO_NODES);
    for (place, command, expected) in DAMAGES {
        match command
            .strip_prefix("write ")
            .and_then(|write| write.split_once(' '))
        {
            Some((sysctl, value)) => lab.set_sysctl(place, sysctl, value),
            None => drop(lab.run(place, command)),
        }
        let plan = lab.plan();
        assert!(
            plan.iter().any(|change| change.starts_with(expected)),
            "{place}: {command}: {plan:#?}"
        );
        assert_eq!(lab.converge(), plan, "{place}: {command}");
        assert_eq!(lab.plan(), Vec::<String>::new(), "{place}: {command}");
        assert_all_reach(&lab);
        lab.assert_reaches("a1", address("169.254.1.1"), 64);
    }
}

#[test]
fn a_namespace_that_somebody_deleted_is_made_again() {
    let lab = Lab::up(TWO_NODES);
    let wire = lab.wire_namespace("w");
    for (name, expected) in [
        (lab.name("a1"), "~ endpoint a1 on A: "),
        (wire, "~ uplink up0 on A: "),
        (
            lab.name("A"),
            "- node A: what an interrupted run left of it",
        ),
    ] {
        Netns::remove(&name).expect("remove");
        // The kernel takes a namespace apart in its own time.
        let deadline = netpath_tests::lab::Deadline::new();
        let plan = loop {
            let plan = lab.plan();
            if plan.iter().any(|change| change.starts_with(expected)) {
                break plan;
            }
            deadline.check(|| format!("{name}: {plan:#?}"));
            thread::sleep(Duration::from_millis(2));
        };
        lab.converge();
        assert_eq!(
            lab.plan(),
            Vec::<String>::new(),
            "{name}, planned {plan:#?}"
        );
        // B may know the MAC of the uplink that was there, and would for half a minute.
        lab.ip("B", "neigh flush dev up0");
        assert_all_reach(&lab);
    }
}

#[test]
fn the_fast_path_goes_off_and_on_by_endpoint() {
    let lab = Lab::up(ONE_NODE);
    let dst = addresses("a2");
    assert_eq!(lab.fast_path(true, "A", None), Vec::<String>::new());
    assert_eq!(
        lab.fast_path(false, "A", Some("a1")),
        ["~ fast path va1 on A: off"]
    );
    assert_eq!(lab.fast_path(false, "A", Some("a1")), Vec::<String>::new());
    let before = lab.traffic("A");
    for dst in dst {
        lab.assert_loses("a1", dst);
    }
    assert_eq!(
        lab.traffic("A")
            .since(&before)
            .row("va1 > va2 redirect_peer")
            .0,
        0
    );
    // Up leaves it as it is, unless it is told.
    assert_eq!(lab.converge(), Vec::<String>::new());
    lab.assert_loses("a1", dst[0]);
    assert_eq!(
        lab.fast_path(true, "A", Some("a1")),
        ["~ fast path va1 on A: on"]
    );
    for dst in dst {
        lab.assert_reaches("a1", dst, 63);
    }
    let mut off = lab.fast_path(false, "A", None);
    off.sort();
    assert_eq!(
        off,
        ["up0", "va1", "va2"].map(|dev| format!("~ fast path {dev} on A: off"))
    );
    assert_eq!(lab.fast_path(true, "A", None).len(), 3);
    for dst in dst {
        lab.assert_reaches("a1", dst, 63);
    }
}

#[test]
fn up_switches_the_fast_path_when_told() {
    let mut lab = Lab::up(ONE_NODE);
    let dst = addresses("a2")[1];
    let told = |on| UpOptions {
        fast_path: on,
        ..UpOptions::default()
    };
    lab.set_options(told(Some(false)));
    assert_eq!(lab.converge(), ["~ fast path A: off"]);
    assert_eq!(lab.converge(), Vec::<String>::new());
    lab.assert_loses("a1", dst);
    lab.set_options(told(None));
    assert_eq!(lab.converge(), Vec::<String>::new());
    lab.assert_loses("a1", dst);
    lab.set_options(told(Some(true)));
    assert_eq!(lab.converge(), ["~ fast path A: on"]);
    lab.assert_reaches("a1", dst, 63);
    // One that was switched off by itself is on again too, and told of.
    lab.fast_path(false, "A", Some("a1"));
    let plan = lab.plan();
    assert_eq!(plan, ["~ fast path A: on"]);
    assert_eq!(lab.converge(), plan);
    lab.assert_reaches("a1", dst, 63);
}

#[test]
fn down_leaves_the_machine_as_it_was() {
    let machine = Netns::current().expect("namespace");
    let before = portrait(&machine);
    let lab = Lab::up(TWO_NODES);
    assert_all_reach(&lab);
    assert_eq!(portrait(&machine), before, "while it is up");
    assert_eq!(
        lab.leftovers().len(),
        2 + 4 + 1 + 2,
        "nodes, endpoints, wire, pins"
    );
    let removed = lab.down();
    assert_eq!(removed.len(), 2 * (2 + 4 + 1 + 1), "{removed:#?}");
    assert_eq!(portrait(&machine), before, "after it");
    assert_eq!(lab.down(), Vec::<String>::new());
    lab.converge();
    assert_all_reach(&lab);
}

#[test]
fn what_fails_half_way_leaves_nothing_of_this_run() {
    for obstacle in ["interface", "namespace"] {
        let mut lab = Lab::prepare(TWO_NODES);
        let taken = lab.name("b2");
        lab.note_foreign("b2", obstacle == "namespace");
        let node = lab.name("B");
        let mut done = 0;
        let result = provision::up(lab.topology(), &UpOptions::default(), &mut |change| {
            done += 1;
            // It comes after everything was checked, before it is needed.
            if change
                .to_string()
                .contains(&format!("+ endpoint {}", lab.name("b1")))
            {
                match obstacle {
                    "interface" => {
                        let netns = Netns::named(&node).expect("node");
                        let add = "ip link add vb2 type veth peer name other";
                        netns.run(|| netpath_tests::lab::run(add)).expect("enter");
                    }
                    _ => drop(Netns::create(&taken, |_| Ok::<(), NetnsError>(())).expect("create")),
                }
            }
        });
        let refusal = match obstacle {
            "interface" => Refusal::MadeMeanwhile("vb2".to_owned()),
            _ => Refusal::ForeignNamespace(taken.clone()),
        };
        let expected = refusal.of(format!("endpoint {taken} on {node}"));
        assert!(
            matches!(&result, Err(ProvisionError::Refused(refused)) if *refused == expected),
            "{result:?}"
        );
        assert_eq!(done, 15);
        lab.assert_nothing_left();
        if obstacle == "namespace" {
            Netns::named(&taken).expect("somebody else's namespace is still there");
        }
    }
}

#[test]
fn a_change_that_fails_half_way_is_taken_back() {
    let mut lab = Lab::up(TWO_NODES);
    let before = lab.traffic("A");
    // a2 changes first, then a3 cannot be made.
    lab.edit(r#""10.0.2.2/24""#, r#""10.0.22.2/24""#);
    lab.edit(
        r#"host_dev = "va2" },"#,
        r#"host_dev = "va2" }, { name = "@a3", addresses = ["10.0.5.2/24"], host_dev = "va3" },"#,
    );
    let node = lab.netns("A");
    let result = provision::up(
        lab.topology(),
        &UpOptions::default(),
        &mut |change: &Change| {
            if change.to_string().starts_with("~ endpoint") {
                let add = "ip link add va3 type veth peer name other";
                node.run(|| netpath_tests::lab::run(add)).expect("enter");
            }
        },
    );
    assert!(
        matches!(
            result,
            Err(ProvisionError::Refused(Refused {
                refusal: Refusal::MadeMeanwhile(_),
                ..
            }))
        ),
        "{result:?}"
    );
    assert!(
        lab.leftovers()
            .iter()
            .all(|path| !path.ends_with(lab.name("a3")))
    );
    lab.rewrite(TWO_NODES);
    assert_eq!(lab.plan(), Vec::<String>::new());
    assert_all_reach(&lab);
    lab.traffic("A").since(&before);
    assert!(
        lab.ip("A", "-o link").contains("va3"),
        "somebody else's interface"
    );
}

#[test]
fn an_interrupted_up_leaves_nothing() {
    let lab = Lab::prepare(TWO_NODES);
    for count in [1, 2, 4, 7, 8, 9, 10, 15] {
        let result = lab.converge_until(count);
        assert!(
            matches!(result, Err(ProvisionError::Interrupted)),
            "{count}: {result:?}"
        );
        lab.assert_nothing_left();
    }
    let result = lab.converge_until(16);
    assert_eq!(result.expect("nothing was left to interrupt").len(), 16);
    assert_all_reach(&lab);
}

#[test]
fn an_interrupted_change_leaves_what_was_there() {
    let mut lab = Lab::up(ONE_NODE);
    lab.rewrite(&with_a3().replace("10.0.2.2/24", "10.0.22.2/24"));
    let result = lab.converge_until(1);
    assert!(
        matches!(result, Err(ProvisionError::Interrupted)),
        "{result:?}"
    );
    lab.rewrite(ONE_NODE);
    assert_eq!(lab.plan(), Vec::<String>::new());
    for dst in addresses("a2") {
        lab.assert_reaches("a1", dst, 63);
    }
}
