//! Faults of a machine.

use netpath_tests::{
    command::TempFile,
    lab::{addresses, on_a_machine, run},
};

use super::{Told, obey};

/// What is planted in the machine's namespace, what is found, and the lines that take it away where the cure names no command.
const CASES: &[(&[&str], &str, &[&str])] = &[
    (
        &["ip link set up0 down"],
        "uplink_down of uplink up0 on H",
        &[],
    ),
    (
        &["sysctl -qw net.ipv4.ip_forward=0"],
        "machine_not_forwarding of uplink up0 on H",
        &[],
    ),
    (
        &["ip link set up0 arp off"],
        "arp_off of uplink up0 on H",
        &["ip link set up0 arp on"],
    ),
    (
        &["ip addr add 10.0.1.2/32 dev br7"],
        "address_of_the_machine of endpoint a1 on H",
        &["ip addr del 10.0.1.2/32 dev br7"],
    ),
    (
        &["ip addr del 100.100.198.250/24 dev up0"],
        "uplink_address_missing of uplink up0 on H",
        &["ip addr add 100.100.198.250/24 dev up0"],
    ),
    (
        &[
            "ip link set up0 down",
            "ip link set up0 name up9",
            "ip link set up9 up",
        ],
        "uplink_renamed of uplink up0 on H",
        &[
            "ip link set up9 down",
            "ip link set up9 name up0",
            "ip link set up0 up",
        ],
    ),
];

#[test]
fn what_is_wrong_with_a_machine_is_found() {
    on_a_machine(|lab| {
        lab.converge();
        let file = TempFile::new(lab.text());
        let addresses6 = "ip addr replace fd00:198::250/64 dev up0 nodad";
        // These are routes of others: they go with their address or interface.
        let routes = [
            "ip route replace 10.0.4.0/24 via 100.100.198.253",
            "ip route replace 10.99.0.0/16 via 100.100.198.253",
        ];
        for (plant, found, lines) in CASES {
            plant.iter().for_each(|line| drop(run(line)));
            let told = Told::by(&["-f", file.path()]);
            let words = told.words(lab);
            assert!(words.iter().any(|it| it == found), "{plant:?}: {words:?}");
            assert_eq!(told.status, Some(3), "{plant:?}");
            let cure = told.cure(found.split(' ').next().expect("an id"));
            match lines {
                [] => obey(&cure),
                lines => lines.iter().for_each(|line| drop(run(line))),
            }
            run(addresses6);
            routes.iter().for_each(|line| drop(run(line)));
            obey(&format!("`netpath up -f {}`", file.path()));
            let told = Told::by(&["-f", file.path()]);
            assert_eq!(told.not_ok(), Vec::<String>::new(), "{plant:?}: {cure}");
        }
        lab.assert_reaches("a1", addresses("b1")[0], 63);
    });
}

#[test]
fn an_uplink_without_a_carrier_is_found() {
    on_a_machine(|lab| {
        lab.converge();
        let node = lab.name("H");
        lab.ip("P", "link set eth0 down");
        let told = Told::by(&["--node", &node]);
        let words = told.words(lab);
        assert!(
            words.iter().any(|it| it == "no_carrier of uplink up0 on H"),
            "{words:?}"
        );
        assert!(told.cure("no_carrier").contains("`ip link show`"));
    });
}

/// Somebody else on the link has the uplink's address.
#[test]
fn who_else_answers_for_an_address_is_found_when_asked() {
    on_a_machine(|lab| {
        lab.converge();
        let node = lab.name("H");
        lab.ip("P", "addr add 100.100.198.250/32 dev eth0");
        lab.ip("P", "addr add fd00:198::250/128 dev eth0 nodad");
        let told = Told::by(&["--node", &node, "--probe"]);
        let found: Vec<String> = told
            .found()
            .iter()
            .map(|it| format!("{} {}", it["id"], it["problem"]))
            .collect();
        for address in ["100.100.198.250", "fd00:198::250"] {
            let is_told = |it: &&String| {
                it.contains("address_answered") && it.contains(&format!(" {address}: "))
            };
            assert_eq!(found.iter().filter(is_told).count(), 1, "{found:?}");
        }
        assert_eq!(told.status, Some(3));
        lab.ip("P", "addr del 100.100.198.250/32 dev eth0");
        lab.ip("P", "addr del fd00:198::250/128 dev eth0");
        let told = Told::by(&["--node", &node, "--probe"]);
        assert_eq!(told.not_ok(), Vec::<String>::new());
    });
}

const UNNUMBERED: &str = r#"
[[node]]
name = "@H"
netns = "host"
uplink = [{ dev = "up0" }]
endpoint = [{ name = "@a1", addresses = ["10.0.1.2/24"], host_dev = "va1" }]
"#;

#[test]
fn an_uplink_that_has_no_address_is_told() {
    on_a_machine(|lab| {
        lab.rewrite(UNNUMBERED);
        lab.converge();
        let node = lab.name("H");
        assert_eq!(Told::by(&["--node", &node]).not_ok(), Vec::<String>::new());
        run("ip addr flush dev up0");
        // The programs are told what the node's own addresses are.
        lab.converge();
        let told = Told::by(&["--node", &node]);
        assert_eq!(
            told.words(lab),
            ["uplink_without_address of uplink up0 on H"]
        );
        assert_eq!(told.status, Some(0));
        assert!(
            told.cure("uplink_without_address")
                .contains("`ip address add`")
        );
    });
}
