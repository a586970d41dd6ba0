//! What somebody else has the kernel do with packets goes on being done: IPsec policies, queueing disciplines and
//! filters, hooks of interfaces, XDP inside an endpoint, rules outside of filter FORWARD. Each drops packets here, so
//! that a packet that passes it by is seen to arrive.

use std::{
    ffi::OsStr,
    process::{Command, Output},
};

use netpath::datapath::{AttachMode, attach_mode};
use netpath_tests::{
    command::{Programs, assert_ends},
    lab::{self, Lab, TWO_NODES, addresses, again_with_clsact, on_a_machine},
    netpath,
};

/// [`TWO_NODES`] with FORWARD at ACCEPT: what the kernel is left arrives, unless something else drops it.
fn accepting() -> String {
    TWO_NODES.replace("drop", "accept")
}

/// Something that drops what goes from a1 to a2, in both families: how it comes, how it goes, and by what name it is told.
struct Act {
    reason: &'static str,
    /// In this namespace.
    place: &'static str,
    add: &'static [&'static str],
    remove: &'static [&'static str],
}

const ACTS: [Act; 15] = [
    Act {
        reason: "ipsec",
        place: "A",
        add: &[
            "ip xfrm policy add src 10.0.1.2/32 dst 10.0.2.0/24 dir fwd action block",
            "ip xfrm policy add src fd00:1::2/128 dst fd00:2::/64 dir fwd action block",
        ],
        remove: &["ip xfrm policy flush"],
    },
    Act {
        reason: "ipsec",
        place: "A",
        add: &[
            "ip xfrm policy add src 0.0.0.0/0 dst 10.0.2.2/32 dir out tmpl proto esp mode transport",
            "ip xfrm policy add src ::/0 dst fd00:2::2/128 dir out tmpl proto esp mode transport",
        ],
        remove: &["ip xfrm policy flush"],
    },
    Act {
        reason: "shaped",
        place: "A",
        add: &[
            "tc qdisc replace dev va1 clsact",
            "tc filter add dev va1 ingress pref 50000 bpf da bytecode 1,6_0_0_2,",
        ],
        remove: &["tc filter del dev va1 ingress pref 50000"],
    },
    Act {
        reason: "shaped",
        place: "A",
        add: &[
            "tc qdisc replace dev va2 clsact",
            "tc filter add dev va2 egress pref 50000 bpf da bytecode 1,6_0_0_2,",
        ],
        remove: &["tc filter del dev va2 egress pref 50000"],
    },
    Act {
        reason: "shaped",
        place: "A",
        // Takes nothing that is longer than a byte.
        add: &["tc qdisc add dev va2 root bfifo limit 1"],
        remove: &["tc qdisc del dev va2 root"],
    },
    Act {
        reason: "netdev_hook",
        place: "A",
        add: &[
            "nft add table netdev t",
            "nft add chain netdev t c { type filter hook ingress device va1 priority 0 ; }",
            "nft add rule netdev t c meta protocol { ip, ip6 } drop",
        ],
        remove: &["nft delete table netdev t"],
    },
    Act {
        reason: "netdev_hook",
        place: "A",
        add: &[
            "nft add table netdev e",
            "nft add chain netdev e c { type filter hook egress device va2 priority 0 ; }",
            "nft add rule netdev e c meta protocol { ip, ip6 } drop",
        ],
        remove: &["nft delete table netdev e"],
    },
    Act {
        reason: "rules",
        place: "A",
        add: &[
            "iptables-nft -w -t raw -A PREROUTING -s 10.0.1.2 -d 10.0.2.2 -j DROP",
            "ip6tables-nft -w -t raw -A PREROUTING -s fd00:1::2 -d fd00:2::2 -j DROP",
        ],
        remove: &["iptables-nft -w -t raw -F", "ip6tables-nft -w -t raw -F"],
    },
    Act {
        reason: "rules",
        place: "A",
        add: &[
            "iptables-nft -w -t mangle -A FORWARD -d 10.0.2.2 -j DROP",
            "ip6tables-nft -w -t mangle -A FORWARD -d fd00:2::2 -j DROP",
        ],
        remove: &[
            "iptables-nft -w -t mangle -F",
            "ip6tables-nft -w -t mangle -F",
        ],
    },
    Act {
        reason: "rules",
        place: "A",
        add: &[
            "iptables-nft -w -t security -A FORWARD -d 10.0.2.2 -j DROP",
            "ip6tables-nft -w -t security -A FORWARD -d fd00:2::2 -j DROP",
        ],
        remove: &[
            "iptables-nft -w -t security -F",
            "ip6tables-nft -w -t security -F",
        ],
    },
    Act {
        reason: "rules",
        place: "A",
        add: &[
            "nft add table inet t",
            "nft add chain inet t c { type filter hook postrouting priority 50 ; }",
            "nft add rule inet t c oifname va2 drop",
        ],
        remove: &["nft delete table inet t"],
    },
    Act {
        reason: "rules",
        place: "A",
        add: &[
            "iptables-legacy -w -t raw -A PREROUTING -s 10.0.1.2 -d 10.0.2.2 -j DROP",
            "ip6tables-legacy -w -t raw -A PREROUTING -s fd00:1::2 -d fd00:2::2 -j DROP",
        ],
        remove: &[
            "iptables-legacy -w -t raw -F",
            "ip6tables-legacy -w -t raw -F",
        ],
    },
    Act {
        reason: "rules",
        place: "A",
        // The mark is what is heeded: what is dropped by it, filter FORWARD drops.
        add: &[
            "iptables-legacy -w -t mangle -A PREROUTING -s 10.0.1.2 -j MARK --set-mark 7",
            "ip6tables-legacy -w -t mangle -A PREROUTING -s fd00:1::2 -j MARK --set-mark 7",
            "iptables-nft -w -A FORWARD -m mark --mark 7 -j DROP",
            "ip6tables-nft -w -A FORWARD -m mark --mark 7 -j DROP",
        ],
        remove: &[
            "iptables-legacy -w -t mangle -F",
            "ip6tables-legacy -w -t mangle -F",
            "iptables-nft -w -F FORWARD",
            "ip6tables-nft -w -F FORWARD",
        ],
    },
    Act {
        reason: "rules",
        place: "A",
        add: &[
            "iptables-legacy -w -t security -A FORWARD -o va2 -j DROP",
            "ip6tables-legacy -w -t security -A FORWARD -o va2 -j DROP",
        ],
        remove: &[
            "iptables-legacy -w -t security -F",
            "ip6tables-legacy -w -t security -F",
        ],
    },
    Act {
        reason: "ipsec",
        place: "A",
        // What no policy is about.
        add: &["ip xfrm policy setdefault fwd block"],
        remove: &["ip xfrm policy setdefault fwd accept"],
    },
];

/// A blank within a word is written `_` in these lines.
fn run(lab: &Lab, place: &str, lines: &[&str]) {
    for line in lines {
        let words: Vec<String> = line.split(' ').map(|word| word.replace('_', " ")).collect();
        let output = lab.inside(place, || {
            Command::new(&words[0])
                .args(&words[1..])
                .output()
                .expect("start")
        });
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {stderr}");
    }
}

fn arrives(lab: &Lab) {
    for dst in addresses("a2") {
        lab.assert_reaches("a1", dst, 63);
    }
}

fn is_lost(lab: &Lab) {
    for dst in addresses("a2") {
        lab.assert_loses("a1", dst);
    }
}

fn to_another_node(lab: &Lab) {
    for dst in addresses("b1") {
        lab.assert_reaches("a1", dst, 62);
    }
}

#[test]
fn what_somebody_has_the_kernel_do_is_done() {
    let lab = Lab::up(&accepting());
    for (number, act) in ACTS.iter().enumerate() {
        let Act { reason, place, .. } = act;
        arrives(&lab);
        run(&lab, place, act.add);
        // It came without an `up`.
        let told = lab.told("A");
        assert!(
            !told.is_empty() && told.iter().all(|id| *id == "bypassed"),
            "{number} {reason}: {told:?}"
        );
        let plan = lab.plan();
        assert!(
            plan.iter()
                .all(|line| line.contains(&format!("({reason})"))),
            "{number}: {plan:?}"
        );
        assert_eq!(lab.converge(), plan, "{number}");
        is_lost(&lab);
        assert_eq!(lab.plan(), Vec::<String>::new(), "{number}");
        run(&lab, place, act.remove);
        assert!(!lab.plan().is_empty(), "{number} {reason}");
        lab.converge();
        assert_eq!(lab.plan(), Vec::<String>::new(), "{number}");
        arrives(&lab);
    }
}

/// What is there before the node is made acts from the first packet.
#[test]
fn what_is_there_before_up_is_found_by_it() {
    let lab = Lab::up(&accepting());
    for act in &ACTS {
        run(&lab, act.place, act.add);
    }
    lab.converge();
    is_lost(&lab);
    assert_eq!(lab.plan(), Vec::<String>::new());
    // With the fast path off the kernel does the same.
    lab.fast_path(false, "A", None);
    is_lost(&lab);
    lab.fast_path(true, "A", None);
    is_lost(&lab);
}

/// Rules name interfaces, which need not be there yet.
#[test]
fn what_waits_for_interfaces_to_be_made_acts_from_the_first_packet() {
    on_a_machine(|lab| {
        for program in ["iptables-nft", "ip6tables-nft"] {
            lab::run(&format!("{program} -w -t raw -A PREROUTING -i va1 -j DROP"));
            let wildcard = "-w -t mangle -A FORWARD -i up0 -o va+ -j DROP";
            lab::run(&format!("{program} {wildcard}"));
        }
        lab.converge();
        assert_eq!(lab.plan(), Vec::<String>::new());
        is_lost(lab);
        for program in ["iptables-nft", "ip6tables-nft"] {
            lab::run(&format!("{program} -w -t raw -F"));
            lab::run(&format!("{program} -w -t mangle -F"));
        }
        lab.converge();
        arrives(lab);
    });
}

/// So do chains at interfaces' own hooks. Before Linux 6.16 the kernel wants the interface.
#[test]
fn a_hook_that_waits_for_an_interface_acts_from_the_first_packet() {
    on_a_machine(|lab| {
        let chain = "{ type filter hook ingress device va1 priority 0 ; }";
        lab::run("nft add table netdev t");
        let made = Command::new("nft")
            .args(["add chain netdev t c", chain])
            .output()
            .expect("start");
        if !made.status.success() {
            let refused = String::from_utf8_lossy(&made.stderr).into_owned();
            assert!(refused.contains("No such file or directory"), "{refused}");
            return;
        }
        lab::run("nft add rule netdev t c meta protocol { ip, ip6 } drop");
        lab.converge();
        assert_eq!(lab.plan(), Vec::<String>::new());
        is_lost(lab);
    });
}

#[test]
fn what_is_accepted_is_passed_by() {
    let mut lab = Lab::up(&accepting());
    for act in &ACTS {
        let Act { reason, place, .. } = act;
        let policy = "forward_policy";
        let with = format!("bypass = [\"{reason}\"]\n{policy}");
        lab.rewrite(&accepting().replacen(policy, &with, 1));
        lab.converge();
        run(&lab, place, act.add);
        assert_eq!(lab.converge(), Vec::<String>::new(), "{reason}");
        arrives(&lab);
        run(&lab, place, act.remove);
    }
    // Not any more.
    run(&lab, ACTS[2].place, ACTS[2].add);
    lab.rewrite(&accepting());
    assert!(!lab.converge().is_empty());
    is_lost(&lab);
    assert_eq!(lab.plan(), Vec::<String>::new());
}

/// What `netpath show` says of A, by these programs.
fn shown_by(path: impl AsRef<OsStr>, lab: &Lab) -> Output {
    let mut netpath = netpath(&["show", &lab.name("A")]);
    netpath.env("PATH", path).output().expect("start")
}

/// Starting a program takes longer than all that `show` does of a node. Other tests' labs have such tables, and `show` looks at all nodes.
#[test]
fn legacy_programs_are_started_where_there_are_tables_only() {
    lab::on_its_own("legacy_programs_are_started_for_tables", "true");
}

#[test]
#[ignore = "where nothing else is up"]
fn legacy_programs_are_started_for_tables() {
    let lab = Lab::up(&accepting());
    let programs = Programs::none();
    let [v4, v6] = ["iptables-legacy-save", "ip6tables-legacy-save"];
    for name in [v4, v6] {
        programs.add(name, "");
    }
    // What is in these is no matter of the fast path's.
    for table in ["filter", "nat"] {
        let list = format!("iptables-legacy -w -t {table} -S");
        run(&lab, "A", &[&list]);
    }
    assert_ends(&shown_by(programs.path_first(), &lab), 0, &[]);
    assert_eq!(programs.started(), "");
    run(&lab, "A", &["iptables-legacy -w -t raw -S"]);
    assert_ends(&shown_by(programs.path_first(), &lab), 0, &[]);
    assert_eq!(programs.started(), format!("{v4}\n"));
}

/// Tables that nobody here can read may have any rule.
#[test]
fn legacy_tables_that_cannot_be_read_are_heeded() {
    let lab = Lab::up(&accepting());
    let programs = Programs::none();
    assert_ends(&shown_by(programs.path(), &lab), 0, &[]);
    run(&lab, "A", &["ip6tables-legacy -w -t mangle -S"]);
    let output = shown_by(programs.path(), &lab);
    assert_ends(&output, 3, &["(rules)"]);
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(
        told.contains("fd00:2::2") && !told.contains("10.0."),
        "{told}"
    );
}

/// What has nothing to do with what is routed, or changes nothing, costs nothing.
#[test]
fn what_concerns_others_changes_nothing() {
    let lab = Lab::up(&accepting());
    for line in [
        // Docker's.
        "iptables-nft -w -t raw -A PREROUTING -d 172.17.0.2 ! -i docker0 -j DROP",
        "iptables-nft -w -t raw -A PREROUTING -i eth9 -j DROP",
        "iptables-nft -w -t mangle -A PREROUTING -j LOG",
        "iptables-nft -w -t filter -A FORWARD -d 10.0.2.2 -j DROP",
        "iptables-legacy -w -t raw -A PREROUTING -d 172.17.0.2 ! -i docker0 -j DROP",
        "iptables-legacy -w -t mangle -A PREROUTING -i eth9 -j MARK --set-mark 7",
        "iptables-legacy -w -t mangle -A PREROUTING -j LOG",
        "iptables-legacy -w -t filter -A FORWARD -d 10.0.2.2 -j DROP",
        "iptables-legacy -w -t nat -A POSTROUTING -s 10.0.0.0/8 -d 192.168.0.0/16 -j ACCEPT",
        "ip xfrm policy add src 192.168.1.0/24 dst 192.168.2.0/24 dir fwd action block",
        "ip xfrm policy add src 10.0.1.2/32 dst 192.168.2.0/24 dir out action block",
        "ip xfrm policy add src 10.0.1.2/32 dst 10.0.2.2/32 dir in action block",
        "tc qdisc replace dev va1 clsact",
        "tc qdisc add dev up0 root pfifo limit 100",
        "nft add table netdev t",
        "nft add chain netdev t c { type filter hook ingress device va1 priority 0 ; }",
    ] {
        run(&lab, "A", &[line]);
        assert_eq!(lab.plan(), Vec::<String>::new(), "{line}");
    }
    for dst in addresses("a2") {
        lab.assert_reaches("a1", dst, 63);
    }
    to_another_node(&lab);
}

/// What came while the fast path was off, or of an endpoint alone, is found when it is switched on.
#[test]
fn switching_on_looks_again() {
    let lab = Lab::up(&accepting());
    for endpoint in [None, Some("a1")] {
        for act in [&ACTS[0], &ACTS[2], &ACTS[7], &ACTS[12]] {
            lab.fast_path(false, "A", endpoint);
            run(&lab, act.place, act.add);
            lab.fast_path(true, "A", endpoint);
            is_lost(&lab);
            run(&lab, act.place, act.remove);
            lab.fast_path(true, "A", endpoint);
            arrives(&lab);
        }
    }
}

/// How many packets a queueing discipline has sent.
fn sent(lab: &Lab, dev: &str) -> u64 {
    let listing = lab.run("A", &format!("tc -s qdisc show dev {dev}"));
    let mut words = listing
        .split_whitespace()
        .skip_while(|word| *word != "Sent");
    let packets = words.nth(3).and_then(|word| word.parse().ok());
    packets.unwrap_or_else(|| panic!("no packets in {listing}"))
}

/// A limit to what an endpoint receives, and one to what an uplink receives (by a filter and an ifb): every packet meets
/// them, and is counted as the kernel's.
#[test]
fn what_is_shaped_passes_the_shaper() {
    let lab = Lab::up(&accepting());
    run(
        &lab,
        "A",
        &[
            "tc qdisc add dev va2 root tbf rate 100mbit burst 100k latency 50ms",
            "ip link add ifb0 type ifb",
            "ip link set ifb0 up",
            "tc qdisc add dev ifb0 root tbf rate 100mbit burst 100k latency 50ms",
            "tc qdisc replace dev up0 clsact",
            "tc filter add dev up0 ingress pref 5 u32 match u32 0 0 action mirred egress redirect dev ifb0",
        ],
    );
    lab.converge();
    assert_eq!(lab.plan(), Vec::<String>::new());
    let node = lab.status("A");
    assert_eq!(node.uplinks[0].interface.kernel, ["shaped"]);
    let a2 = node.endpoints.iter().find(|it| it.name == lab.name("a2"));
    assert_eq!(a2.expect("a2").interface.kernel, ["shaped"]);
    for family in [0, 1] {
        let (before, queue) = (lab.traffic("A"), sent(&lab, "va2"));
        lab.assert_reaches("a1", addresses("a2")[family], 63);
        let counted = lab.traffic("A").since(&before);
        assert_eq!(counted.row("va1 > - punt shaped").0, 3);
        assert!(sent(&lab, "va2") >= queue + 3);
        let (before, queue) = (lab.traffic("A"), sent(&lab, "ifb0"));
        lab.assert_reaches("a1", addresses("b1")[family], 62);
        let counted = lab.traffic("A").since(&before);
        // A filter in front of one of netpath's takes them before.
        let seen = match attach_mode().expect("the kernel answers") {
            AttachMode::Tcx => 3,
            AttachMode::Clsact => 0,
        };
        assert_eq!(counted.row("up0 > - punt shaped").0, seen);
        assert!(sent(&lab, "ifb0") >= queue + 3);
    }
    // One that drops all.
    run(&lab, "A", &["tc qdisc replace dev ifb0 root bfifo limit 1"]);
    for dst in addresses("b1") {
        lab.assert_loses("a1", dst);
    }
}

/// The same where programs are clsact filters beside other people's.
#[test]
fn with_clsact() {
    again_with_clsact(&[
        "what_somebody_has_the_kernel_do_is_done",
        "what_is_there_before_up_is_found_by_it",
        "what_is_accepted_is_passed_by",
        "what_concerns_others_changes_nothing",
        "switching_on_looks_again",
        "what_is_shaped_passes_the_shaper",
    ]);
}
