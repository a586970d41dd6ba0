//! Nothing of the machine's is replaced, removed or shadowed, and no advice harms it.

use std::{fs, sync::atomic::AtomicBool};

use netpath::{
    Ends as _,
    datapath::{AttachMode, attach_mode},
    netns::{NETNS_DIR, Netns},
    provision::{self, Change, Remaining, UpOptions},
};
use netpath_tests::{
    lab::{
        Deadline, HOST, Lab, ONE_NODE, assert_same_portrait, commands, obey, on_a_machine,
        on_its_own, portrait, refused, run,
    },
    netpath,
};

fn machine() -> Netns {
    Netns::current().expect("namespace")
}

fn routes() -> String {
    run("ip -d -4 route show table all") + &run("ip -d -6 route show table all")
}

/// The advice for a route removes that route and nothing else, wherever it is followed.
#[test]
fn advice_about_a_route_is_about_that_route() {
    // With each, another to the same destination, which is not in the way and stays.
    const ROUTES: [[&str; 2]; 10] = [
        [
            "10.0.1.2 via 100.100.198.253",
            "10.0.1.2 via 100.100.198.254 table 77",
        ],
        [
            "10.0.1.2 dev br7 metric 50",
            "10.0.1.2 dev br7 metric 50 table 77",
        ],
        [
            "10.0.1.2 tos 0x10 via 100.100.198.253",
            "10.0.1.0/24 tos 0x10 via 100.100.198.254",
        ],
        [
            "10.0.1.2 nexthop via 100.100.198.253 nexthop via 100.100.198.254",
            "10.0.1.0/30 via 100.100.198.253",
        ],
        [
            "10.0.1.2 via inet6 fd00:198::253 dev up0",
            "10.0.1.0/30 dev br7",
        ],
        ["blackhole 10.0.1.2", "blackhole 10.0.1.2 table 77"],
        ["local 10.0.1.2 dev lo table main", "local 10.0.9.2 dev lo"],
        ["local 10.0.0.0/16 dev lo", "blackhole 10.0.0.0/16"],
        [
            "fd00:1::2 via fd00:198::253",
            "fd00:1::2 via fd00:198::254 table 77",
        ],
        [
            "unreachable fd00:1::2 metric 7",
            "unreachable fd00:1::2 table 77",
        ],
    ];
    on_a_machine(|lab| {
        for [theirs, beside] in ROUTES {
            run(&format!("ip route add {beside}"));
            let before = routes();
            run(&format!("ip route add {theirs}"));
            let error = refused(lab).to_string();
            obey(lab, &error);
            assert_eq!(routes(), before, "{error}");
            run(&format!("ip route del {beside}"));
        }
        // A route of the file.
        run("ip route add 10.0.3.0/24 dev br7");
        obey(lab, &refused(lab).to_string());
        // One that the kernel made for an address goes with the address only.
        run("ip addr add 10.9.9.9 peer 10.0.1.2/32 dev br7");
        let error = refused(lab).to_string();
        assert_eq!(commands(&error), Vec::<String>::new(), "{error}");
        run("ip addr del 10.9.9.9 peer 10.0.1.2/32 dev br7");
        lab.converge();
    });
}

/// A record proves a route netpath's; its protocol number proves nothing.
#[test]
fn a_route_with_netpaths_number_is_not_netpaths_for_that() {
    const ROUTES: [&str; 5] = [
        "10.0.1.2 dev br7 proto 110",
        "10.0.3.0/24 dev br7 proto 110",
        "10.0.3.0/24 via 100.100.198.254 proto 110",
        "fd00:1::2 dev br7 proto 110",
        "fd00:3::/64 via fd00:198::254 proto 110",
    ];
    on_a_machine(|lab| {
        for route in ROUTES {
            run(&format!("ip route add {route}"));
            let error = refused(lab).to_string();
            assert!(error.contains("already has a route"), "{error}");
            run(&format!("ip route del {route}"));
        }
        // The same way as netpath's would lead: it is used, and stays.
        run("ip route add 10.0.3.0/24 via 100.100.198.253 proto 110");
        let before = portrait(&machine());
        lab.converge();
        assert_eq!(lab.plan(), Vec::<String>::new());
        lab.down();
        assert_same_portrait(&portrait(&machine()), &before, "afterwards");
        run("ip route del 10.0.3.0/24");

        // Beside netpath's own. Those to a destination of the file are in the way of the next `up`.
        let append = |dst: &&str| {
            for route in ROUTES.iter().filter(|route| route.contains(*dst)) {
                run(&format!("ip route append {route} metric 55"));
            }
        };
        lab.converge();
        ["10.0.1.2", "fd00:1::2"].iter().for_each(append);
        let theirs = || {
            let routes = routes();
            let lines = routes.lines().filter(|line| line.contains("metric 55"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let before = theirs();
        assert_eq!(before.len(), 2, "{before:?}");
        // An undone change, one that is made, and `down`.
        lab.rewrite(&HOST.replace("10.0.1.2/24", "10.0.1.3/24"));
        let _interrupted = lab.converge_until(1);
        assert_eq!(theirs(), before);
        lab.rewrite(
            &HOST
                .replace("10.0.1.2/24", "10.0.1.3/24")
                .replace("fd00:1::2", "fd00:1::3"),
        );
        lab.try_converge().expect("nothing of theirs is in the way");
        assert_eq!(theirs(), before);
        ["10.0.3.0/24", "fd00:3::/64"].iter().for_each(append);
        let before = theirs();
        lab.down();
        assert_eq!(theirs(), before);
    });
}

/// Of IPv6 the kernel joins routes to one destination: the one of netpath's goes out of it, and no other.
#[test]
fn a_next_hop_beside_netpaths_stays() {
    on_a_machine(|lab| {
        lab.converge();
        for dst in ["fd00:3::/64", "10.0.3.0/24"] {
            let via = match dst.contains(':') {
                true => "fd00:198::254",
                false => "100.100.198.254",
            };
            run(&format!("ip route append {dst} via {via}"));
        }
        lab.down();
        assert!(!routes().contains("proto 110"), "{}", routes());
        for (family, dst) in [(4, "10.0.3.0/24"), (6, "fd00:3::/64")] {
            let there = run(&format!("ip -{family} route show {dst}"));
            assert!(
                there.lines().count() == 1 && there.contains("254 dev up0"),
                "{there}"
            );
        }
    });
}

/// Whoever is quicker keeps its route, and what was begun is undone.
#[test]
fn a_route_that_comes_while_netpath_is_at_work_stays() {
    const RACES: [[&str; 2]; 4] = [
        ["10.0.3.0/24", "dev br7"],
        ["10.0.2.2", "dev br7"],
        ["fd00:3::/64", "via fd00:198::254 metric 1024"],
        ["fd00:2::2", "dev br7 metric 1024"],
    ];
    on_a_machine(|lab| {
        let machine = machine();
        for [dst, way] in RACES {
            let before = portrait(&machine);
            let mut added = false;
            let result = provision::up(lab.topology(), &UpOptions::default(), &mut |_| {
                if !std::mem::replace(&mut added, true) {
                    run(&format!("ip route add {dst} {way}"));
                }
            });
            let error = result.expect_err("somebody was quicker").to_string();
            assert!(error.contains(dst), "{error}");
            lab.assert_nothing_left();
            run(&format!("ip route del {dst} {way}"));
            assert_same_portrait(&portrait(&machine), &before, "afterwards");
        }
        // In the place of netpath's own, while that is changed.
        run("ip route del 10.0.4.0/24");
        lab.converge();
        let changed = HOST
            .replace("100.100.198.253", "100.100.198.254")
            .replace("fd00:198::253", "fd00:198::254")
            .replace("[\"forward\"]", "[\"forward\", \"xdp\"]");
        for [dst, way] in [RACES[0], RACES[2]] {
            lab.rewrite(&changed);
            let mut changes = 0;
            let result = provision::up(lab.topology(), &UpOptions::default(), &mut |_: &Change| {
                if changes == 0 {
                    run(&format!("ip route replace {dst} {way}"));
                }
                changes += 1;
            });
            let error = result.expect_err("somebody was quicker").to_string();
            assert!(error.contains(dst), "{error}");
            let there = routes();
            let line = there.lines().filter(|line| line.contains(dst));
            let lines: Vec<&str> = line.collect();
            assert!(
                lines.len() == 1 && !lines[0].contains("proto 110"),
                "{lines:?}"
            );
            run(&format!("ip route del {dst}"));
            lab.rewrite(HOST);
            lab.converge();
            assert_eq!(lab.plan(), Vec::<String>::new());
        }
        // Nobody in between: there is never none.
        lab.rewrite(&changed);
        lab.converge();
        for (family, dst) in [(4, "10.0.3.0/24"), (6, "fd00:3::/64")] {
            let there = run(&format!("ip -{family} route show {dst}"));
            assert!(
                there.lines().count() == 1 && there.contains("254 dev up0 proto 110"),
                "{there}"
            );
        }
        assert_eq!(lab.plan(), Vec::<String>::new());
    });
}

#[test]
fn an_address_that_the_machine_gets_later_stays_the_machines() {
    on_a_machine(|lab| {
        run("ip link add nic2 type veth peer name peer2");
        lab.converge();
        for (address, dev) in [
            ("10.0.1.2/32", "lo"),
            ("10.0.2.2/16", "br7"),
            ("10.0.2.2/32", "nic2"),
            ("fd00:1::2/128", "lo"),
            ("fd00:2::2/64", "br7"),
        ] {
            run(&format!("ip addr add {address} dev {dev}"));
            let (ip, _) = address.split_once('/').expect("a length");
            let error = refused(lab).to_string();
            let words = format!("{ip} is this machine's own address, on {dev}");
            assert!(error.contains(&words), "{error}");
            let told = format!("{:?}", lab.status("H").endpoints);
            assert!(told.contains("address_of_the_machine"), "{told}");
            run(&format!("ip addr del {address} dev {dev}"));
        }
        run("ip link del nic2");
    });
}

/// Whoever is on that link asks for the address there, and is not answered; and the machine would send to the endpoint what is
/// for somebody there.
#[test]
fn an_address_in_the_subnet_of_another_interface_is_refused() {
    on_a_machine(|lab| {
        lab.converge();
        let add = [
            "ip addr add 10.0.1.200/24 dev br7",
            "ip -6 addr add fd00:1::200/64 dev br7 nodad",
        ];
        for (line, subnet, address) in [
            (add[0], "10.0.1.0/24", "10.0.1.2"),
            (add[1], "fd00:1::/64", "fd00:1::2"),
        ] {
            run(line);
            let error = refused(lab).to_string();
            let words = format!(
                "{address} lies in {subnet}, the subnet of this machine's interface br7, which is no uplink"
            );
            assert!(error.contains(&words), "{error}");
            let shown = lab.shown("H");
            let told = "inside_a_subnet of endpoint a1 on H".to_owned();
            assert!(shown.contains(&told), "{shown:?}");
            run(&line.replace(" add ", " del ").replace(" nodad", ""));
            assert_eq!(lab.shown("H"), Vec::<String>::new());
        }
        // One more endpoint is asked the same, also of a prefix.
        let (name, node) = (lab.name("a3"), lab.name("H"));
        let add_endpoint = |address: &str, prefix: &str| {
            let words = [
                "endpoint",
                "add",
                &name,
                "--node",
                &node,
                "--address",
                address,
            ];
            let output = netpath(&words).args(["--prefix", prefix]).output();
            let output = output.expect("start");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.code(), told)
        };
        for (address, prefix) in [
            ("192.0.2.9/32", "10.9.0.0/28"),
            ("10.0.9.2/32", "192.0.2.64/28"),
        ] {
            let (status, told) = add_endpoint(address, prefix);
            assert_eq!(status, Some(2), "{told}");
            assert!(told.contains("lies in 192.0.2.0/24"), "{told}");
        }
        lab.down();
        // Where endpoints are meant to be in it, it is an uplink.
        run(add[0]);
        let uplink = "addresses = [\"100.100.198.250/24\", \"fd00:198::250/64\"] }";
        lab.rewrite(&HOST.replace(uplink, &format!("{uplink}, {{ dev = \"br7\" }}")));
        lab.converge();
        assert_eq!(lab.plan(), Vec::<String>::new());
        let error = add_endpoint("10.0.1.9/32", "10.9.0.0/28");
        assert_eq!(error.0, Some(0), "{}", error.1);
        let removed = netpath(&["endpoint", "remove", &name]).output();
        assert!(removed.expect("start").status.success());
    });
}

/// A node beside [`HOST`] on the same machine, with nothing of that one's.
const SECOND: &str = r#"
[[node]]
name = "@H"
netns = "host"
bypass = ["forward"]
uplink = [{ dev = "up1", addresses = ["100.100.199.250/24", "fd00:199::250/64"] }]
route = [
    { dst = "10.0.30.0/24", via = "100.100.199.253" },
    { dst = "fd00:30::/64", via = "fd00:199::253" },
]
endpoint = [
    { name = "@a1", addresses = ["10.0.10.2/24", "fd00:10::2/64"], host_dev = "vc1" },
]
"#;

/// One with an uplink of its own; and, where two may share one, one that shares it (`lab_uplink_place` has who may).
fn seconds() -> Vec<String> {
    let shared = SECOND
        .replace("up1", "up0")
        .replace("100.100.199.", "100.100.198.");
    let shared = shared.replace("fd00:199::", "fd00:198::");
    let may_share = attach_mode().expect("the kernel answers") == AttachMode::Tcx;
    let shared = may_share.then_some(shared);
    std::iter::once(SECOND.to_owned()).chain(shared).collect()
}

/// The machine's other uplink, to nobody.
fn with_a_second_uplink() {
    for line in [
        "ip link add up1 type veth peer name out1",
        "ip addr add 100.100.199.250/24 dev up1",
        "ip addr add fd00:199::250/64 dev up1 nodad",
        "ip link set up1 up",
        "ip link set out1 up",
    ] {
        run(line);
    }
    let deadline = Deadline::new();
    while !run("ip -o link show dev up1").contains("state UP") {
        deadline.check(|| "the uplink does not come up".to_owned());
    }
}

/// Alone, for a node that cannot be read may be in anybody's namespace.
#[test]
fn with_clsact() {
    on_its_own("two_nodes_with_clsact", "export NETPATH_ATTACH=clsact");
}

#[test]
#[ignore = "in a process that attaches so"]
fn two_nodes_with_clsact() {
    let mode = attach_mode().expect("the kernel answers");
    assert_eq!(mode, AttachMode::Clsact);
    two_nodes_on_one_machine_have_nothing_in_common();
    routes_whose_records_are_lost_are_named_one_by_one();
}

#[test]
fn two_nodes_on_one_machine_have_nothing_in_common() {
    for text in seconds() {
        on_a_machine(|lab| beside(lab, &text));
    }
}

fn beside(lab: &mut Lab, text: &str) {
    with_a_second_uplink();
    lab.converge();
    let first = lab.name("H");
    for (own, theirs) in [
        ("10.0.10.2/24", "10.0.1.2/24"),
        ("fd00:10::2/64", "fd00:1::2/64"),
        ("10.0.10.2/24", "10.0.3.7/24"),
        ("10.0.30.0/24", "10.0.3.0/24"),
        ("10.0.30.0/24", "10.0.2.0/24"),
        ("fd00:30::/64", "fd00:3::/64"),
        ("vc1", "va1"),
    ] {
        let second = Lab::prepare(&text.replace(own, theirs));
        let error = refused(&second).to_string();
        let words = format!("is node {first}'s, which is in this network namespace too");
        assert!(error.contains(&words), "{own} {theirs}: {error}");
        assert_eq!(commands(&error), Vec::<String>::new(), "{error}");
        assert_eq!(lab.plan(), Vec::<String>::new());
    }
    // One that cannot be read is not told to be nobody's.
    let pin = format!("/sys/fs/bpf/netpath/{first}/maps/meta");
    let moved = format!("{pin}_");
    fs::rename(&pin, &moved).expect("rename");
    for (own, theirs) in [
        ("10.0.10.2/24", "10.0.1.2/24"),
        ("10.0.30.0/24", "10.0.3.0/24"),
        ("vc1", "va1"),
    ] {
        let error = refused(&Lab::prepare(&text.replace(own, theirs))).to_string();
        assert!(
            error.contains(&format!("may be node {first}'s")),
            "{own} {theirs}: {error}"
        );
        assert_eq!(commands(&error), Vec::<String>::new(), "{error}");
    }
    fs::rename(&moved, &pin).expect("rename");
    // Each its own.
    let before = portrait(&machine());
    let second = Lab::up(text);
    assert_eq!(second.plan(), Vec::<String>::new());
    assert_eq!(lab.plan(), Vec::<String>::new());
    lab.fast_path(false, "H", None);
    lab.fast_path(true, "H", None);
    second.down();
    lab.converge();
    assert_same_portrait(&portrait(&machine()), &before, "afterwards");
    assert_eq!(lab.plan(), Vec::<String>::new());
}

/// Without their records a node's routes are nobody's, and those of another node there are still that one's.
#[test]
fn routes_whose_records_are_lost_are_named_one_by_one() {
    for text in seconds() {
        on_a_machine(|lab| without_records(lab, &text));
    }
}

fn without_records(lab: &mut Lab, text: &str) {
    with_a_second_uplink();
    lab.converge();
    let second = Lab::up(text);
    let pins = format!("/sys/fs/bpf/netpath/{}", lab.name("H"));
    for directory in ["links", "programs"] {
        for pin in fs::read_dir(format!("{pins}/{directory}")).expect("pins") {
            fs::remove_file(pin.expect("pin").path()).expect("unpin");
        }
    }
    fs::remove_file(format!("{pins}/maps/route_records")).expect("unpin");
    let removed = provision::down_unless(&lab.nodes(), &AtomicBool::new(false), &mut |_| {});
    let remaining = removed.expect("down").remaining;
    let [Remaining::Unproven(left)] = &remaining[..] else {
        panic!("{remaining:?}");
    };
    let entry = format!("nsenter --net=/run/netns/{}", lab.name("H"));
    let expected = [
        format!("{entry} ip route del 10.0.3.0/24 via 100.100.198.253 dev up0 table main"),
        format!(
            "{entry} ip route del fd00:3::/64 via fd00:198::253 dev up0 metric 1024 table main"
        ),
    ];
    assert_eq!(left.commands, expected);
    obey(lab, &format!("`{}`", left.commands.join("` `")));
    assert_eq!(second.plan(), Vec::<String>::new());
    second.down();
    assert!(!routes().contains("proto 110"));
}

/// An endpoint that is to move, or a node that was given another name: whose it is, is said, and nothing else.
#[test]
fn what_is_another_nodes_is_said_to_be() {
    on_a_machine(|lab| {
        lab.converge();
        let (node, prefix) = (lab.name("H"), lab.prefix().to_owned());
        let renamed = HOST.replace("@H", "@H2").replace('@', &prefix);
        let renamed = netpath_tests::lab::parse(&renamed);
        let before = portrait(&machine());
        let error = provision::up(&renamed, &UpOptions::default(), &mut |_| {});
        let error = error.expect_err("a refusal");
        assert!(error.is_refusal(), "{error:?}");
        let error = error.to_string();
        assert_eq!(commands(&error), Vec::<String>::new(), "{error}");
        for line in error.lines() {
            assert!(line.contains(&format!("node {node}")), "{line}");
        }
        assert_same_portrait(&portrait(&machine()), &before, "afterwards");
    });
    // A node's own namespace in the place of an endpoint's.
    let lab = Lab::up(ONE_NODE);
    let taken = lab.name("A");
    let second = Lab::prepare(&ONE_NODE.replace("@a1", &taken));
    let error = second.try_converge().expect_err("a refusal").to_string();
    let words = format!("node {taken} is in network namespace {taken}");
    assert!(error.contains(&words), "{error}");
    assert_eq!(commands(&error), Vec::<String>::new(), "{error}");
    // A node that cannot be read may have it.
    let pin = format!("/sys/fs/bpf/netpath/{}/maps/meta", lab.name("A"));
    let moved = format!("{pin}_");
    fs::rename(&pin, &moved).expect("rename");
    let second = Lab::prepare(&ONE_NODE.replace("@a1", &lab.name("a1")));
    let error = second.try_converge().expect_err("a refusal").to_string();
    fs::rename(&moved, &pin).expect("rename");
    let words = format!("may be node {}'s", lab.name("A"));
    assert!(error.contains(&words), "{error}");
    assert!(!error.contains("netns del"), "{error}");
    assert_eq!(lab.plan(), Vec::<String>::new());
}

/// What an `up` left whose pins and namespaces ended with a mount namespace.
#[test]
fn leftovers_without_proof_are_named_exactly() {
    on_a_machine(|lab| {
        let before = portrait(&machine());
        let file = format!("{NETNS_DIR}/{}", lab.name("a1"));
        fs::write(&file, "").expect("an empty file");
        run("ip link add va1 type veth peer name eth0");
        run("ip addr add 169.254.1.1/32 dev va1");
        run("ip link set va1 up");
        run("ip route add 10.0.1.2 dev va1 proto 110");
        run("ip route add 10.0.3.0/24 via 100.100.198.254 proto 110");
        let error = lab.try_converge().expect_err("a refusal");
        assert!(error.is_refusal(), "{error:?}");
        let error = error.to_string();
        assert!(error.contains("an empty file"), "{error}");
        assert!(
            error.contains("interface va1 was most likely made"),
            "{error}"
        );
        // The route goes with the veth; order is as told.
        let mut commands = commands(&error);
        commands.sort_by_key(|command| command.contains("ip link del"));
        obey(lab, &format!("`{}`", commands.join("` `")));
        assert_same_portrait(&portrait(&machine()), &before, "afterwards");
        lab.converge();
        lab.down();
        assert_same_portrait(&portrait(&machine()), &before, "afterwards");
    });
}
