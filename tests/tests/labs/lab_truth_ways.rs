//! Where the kernel leads packets otherwise than the file says, by whatever it goes by: `show` and `up` say so, and the next hop
//! that is shown is the one that is used.

use netpath::provision;
use netpath_tests::lab::{Lab, addresses, on_a_machine, run};

/// Nobody is there: what is led to these next hops is lost.
const NOBODY: [&str; 2] = ["100.100.198.254", "fd00:198::254"];

/// What is left to the kernel arrives.
fn accept_all() {
    run("iptables -w -P FORWARD ACCEPT");
    run("ip6tables -w -P FORWARD ACCEPT");
}

/// A machine on which those are known, so that nobody has to be asked for.
fn machine(test: impl FnOnce(&mut Lab) + Send) {
    on_a_machine(|lab| {
        for via in NOBODY {
            run(&format!(
                "ip neigh replace {via} lladdr 02:00:00:00:00:99 nud permanent dev up0"
            ));
        }
        accept_all();
        lab.converge();
        lab.assert_told("H", &[]);
        test(lab);
    });
}

/// With `{}` for `add` and `del`; those with a table that is looked into stay.
struct Case {
    lines: &'static [&'static str],
    told: &'static [&'static str],
    /// Whether a1 still reaches b1, by family.
    reaches: [bool; 2],
    /// The next hop of 10.0.3.0/24 and fd00:3::/64 that is shown.
    next_hops: [&'static str; 2],
}

const FILE: [&str; 2] = ["100.100.198.253", "fd00:198::253"];
const V4: &str = "led_elsewhere of route 10.0.3.0/24 on H";
const V6: &str = "led_elsewhere of route fd00:3::/64 on H";

const CASES: &[Case] = &[
    // A rule and a table of its own.
    Case {
        lines: &["ip rule {} to 10.0.3.0/24 lookup 78"],
        told: &[V4],
        reaches: [false, true],
        next_hops: [NOBODY[0], FILE[1]],
    },
    Case {
        lines: &["ip -6 rule {} from fd00:1::2 to fd00:3::/64 lookup 78"],
        told: &[V6],
        reaches: [true, false],
        next_hops: [FILE[0], NOBODY[1]],
    },
    // Of another endpoint.
    Case {
        lines: &[
            "ip rule {} iif va2 to 10.0.3.0/24 lookup 78",
            "ip -6 rule {} iif va2 to fd00:3::/64 lookup 78",
        ],
        told: &[V4, V6],
        reaches: [true, true],
        next_hops: FILE,
    },
    Case {
        lines: &["ip rule {} from 10.0.2.2 to 10.0.3.0/24 blackhole"],
        told: &["route_refuses of route 10.0.3.0/24 on H"],
        reaches: [true, true],
        next_hops: FILE,
    },
    // Longer prefixes, one half of it and one address.
    Case {
        lines: &[
            "ip route {} 10.0.3.0/25 via 100.100.198.254",
            "ip route {} fd00:3::/65 via fd00:198::254",
        ],
        told: &[V4, V6],
        reaches: [false, false],
        next_hops: FILE,
    },
    Case {
        lines: &[
            "ip route {} blackhole 10.0.3.2",
            "ip route {} unreachable fd00:3::2",
        ],
        told: &[
            "route_refuses of route 10.0.3.0/24 on H",
            "route_refuses of route fd00:3::/64 on H",
        ],
        reaches: [false, false],
        next_hops: FILE,
    },
    // As the file says, and for marked packets: nothing is said.
    Case {
        lines: &[
            "ip route {} 10.0.3.0/25 via 100.100.198.253",
            "ip rule {} fwmark 7 lookup 78",
            "ip rule {} to 10.0.3.0/24 lookup 79",
            "ip -6 rule {} to 2001:db8::/32 lookup 78",
        ],
        told: &[],
        reaches: [true, true],
        next_hops: FILE,
    },
    // Of one type of service only.
    Case {
        lines: &["ip route {} 10.0.3.0/24 tos 0x10 via 100.100.198.254"],
        told: &[V4],
        reaches: [true, true],
        next_hops: FILE,
    },
];

fn next_hops(lab: &Lab) -> [String; 2] {
    let status = lab.status("H");
    ["10.0.3.0/24", "fd00:3::/64"].map(|dst| {
        let mut routes = status.routes.iter();
        let route = routes.find(|route| route.dst.to_string() == dst);
        let hops = route.expect(dst).next_hops.iter();
        let hops = hops.filter_map(|hop| hop.via).map(|via| via.to_string());
        hops.collect::<Vec<_>>().join(", ")
    })
}

fn assert_case(lab: &Lab, case: &Case) {
    let lines = case.lines;
    lab.assert_told("H", case.told);
    assert_eq!(next_hops(lab), case.next_hops, "{lines:?}");
    for (dst, reaches) in addresses("b1").into_iter().zip(case.reaches) {
        match reaches {
            true => lab.assert_reaches("a1", dst, 63),
            false => lab.assert_loses("a1", dst),
        }
    }
}

#[test]
fn what_is_led_elsewhere_than_the_file_says_is_told() {
    machine(|lab| {
        run("ip route add 10.0.0.0/9 via 100.100.198.254 table 78");
        run("ip -6 route add default via fd00:198::254 table 78");
        // What is thrown back is looked for in the main table.
        run("ip route add throw 10.0.0.0/8 table 79");
        lab.assert_told("H", &[]);
        for case in CASES {
            let all = |how: &str| {
                for line in case.lines {
                    run(&line.replace("{}", how));
                }
            };
            all("add");
            assert_case(lab, case);
            all("del");
        }
        lab.assert_told("H", &[]);
        assert_eq!(next_hops(lab), FILE);
    });
}

#[test]
fn what_leads_elsewhere_before_is_told_by_the_first_up() {
    on_a_machine(|lab| {
        accept_all();
        for (option, via) in ["-4", "-6"].into_iter().zip(NOBODY) {
            run(&format!("ip {option} route add default via {via} table 78"));
            run(&format!("ip {option} rule add iif va1 lookup 78"));
        }
        let options = Default::default();
        let raised = provision::up_telling(lab.topology(), &options, &mut |_| {}).expect("up");
        let told = [
            "led_elsewhere of endpoint a2 on H",
            "led_elsewhere of endpoint a2 on H",
            V4,
            "led_elsewhere of route 10.0.4.0/24 on H",
            V6,
        ];
        assert_eq!(lab.findings(&raised.findings), told);
        lab.assert_told("H", &told);
    });
}

/// A route of somebody's that is only for some packets: it neither takes the place of the file's nor is it taken for it.
#[test]
fn a_route_for_one_type_of_service_is_not_the_files() {
    on_a_machine(|lab| {
        run("ip route add 10.0.3.0/24 tos 0x10 via 100.100.198.253");
        lab.converge();
        lab.assert_told("H", &[]);
        assert_eq!(next_hops(lab)[0], FILE[0]);
        lab.assert_reaches("a1", addresses("b1")[0], 63);
        lab.down();
        let theirs = run("ip -o -4 route show 10.0.3.0/24");
        assert!(theirs.starts_with("10.0.3.0/24 tos "), "{theirs}");
        assert_eq!(theirs.lines().count(), 1, "{theirs}");
    });
}

#[test]
fn what_is_for_an_endpoint_and_led_elsewhere_is_told() {
    machine(|lab| {
        for (option, (address, via)) in ["-4", "-6"]
            .into_iter()
            .zip(addresses("a1").into_iter().zip(NOBODY))
        {
            run(&format!("ip {option} rule add to {address} lookup 78"));
            run(&format!(
                "ip {option} route add {address} via {via} table 78"
            ));
            lab.converge();
            lab.assert_told("H", &["led_elsewhere of endpoint a1 on H"]);
            lab.assert_loses("a2", address);
            let status = lab.status("H");
            let finding = status.findings().next().expect("one");
            let asks = format!("`ip route get {address} from ");
            assert!(finding.cure.contains(&asks), "{finding}");
            run(&format!("ip {option} rule del to {address} lookup 78"));
            lab.converge();
            lab.assert_told("H", &[]);
            lab.assert_reaches("a2", address, 63);
        }
    });
}

/// The kernel says the same of a rule that refuses with "unreachable" and of no route.
#[test]
fn what_refuses_is_told_as_what_it_is() {
    const DOES: [(&str, &str); 3] = [
        ("unreachable", "refuses them (unreachable)"),
        ("prohibit", "refuses them (prohibit)"),
        ("blackhole", "drops them (blackhole)"),
    ];
    machine(|lab| {
        let told = |dst: &str, words: &str| {
            let status = lab.status("H");
            let problems: Vec<&str> = status.findings().map(|it| it.problem.as_str()).collect();
            let problem = format!("packets to {dst} go nowhere: the kernel has {words}");
            assert_eq!(problems, [problem]);
        };
        for (option, dst, address, stranger) in [
            ("-4", "10.0.3.0/24", "10.0.3.2", "192.0.2.1"),
            ("-6", "fd00:3::/64", "fd00:3::2", "2001:db8::1"),
        ] {
            for (action, does) in DOES {
                for asks in [format!("to {dst}"), "iif va1".to_owned()] {
                    run(&format!("ip {option} rule add pref 70 {asks} {action}"));
                    let found: Vec<String> = lab.shown("H");
                    assert!(!found.is_empty(), "{option} {asks} {action}");
                    if asks.starts_with("to") {
                        told(dst, &format!("rule 70, which {does}"));
                    }
                    lab.assert_loses("a1", address.parse().expect("an address"));
                    run(&format!("ip {option} rule del pref 70"));
                }
                run(&format!("ip {option} route add {action} {address}"));
                told(address, &format!("a route that {does}"));
                run(&format!("ip {option} route del {action} {address}"));
            }
            // Nothing that is asked about is as this asks.
            run(&format!(
                "ip {option} rule add pref 70 from {stranger} unreachable"
            ));
            assert_eq!(lab.shown("H"), Vec::<String>::new());
            run(&format!("ip {option} rule del pref 70"));
        }
    });
}
