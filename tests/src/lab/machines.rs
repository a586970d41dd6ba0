//! Two machines, each with a node of its own, and between them an uplink of any kind.

use std::net::IpAddr;

use netpath::netns::Netns;

use super::{
    Deadline, Lab, run,
    tun::Cable,
    uplink_kinds::{Made, UplinkKind},
    wireguard::{set_key, set_peer},
};

/// What each machine has for itself: its number, its endpoints, and those of the other.
const ENDPOINTS: [[&str; 2]; 2] = [["a1", "a2"], ["b1", "b2"]];

/// Addresses of the two uplinks, IPv4 and IPv6.
#[must_use]
pub fn uplink_addresses(machine: usize) -> [IpAddr; 2] {
    let number = machine + 1;
    [format!("10.77.0.{number}"), format!("fd00:77::{number}")]
        .map(|address| address.parse().expect("an address"))
}

fn topology(kind: &UplinkKind, machine: usize) -> String {
    let other = 1 - machine;
    let quoted = |addresses: &[String]| -> String {
        let families = addresses.iter().zip([true, kind.carries_ipv6]);
        let kept = families.filter(|(_, is_carried)| *is_carried);
        let quoted: Vec<String> = kept.map(|(text, _)| format!("\"{text}\"")).collect();
        quoted.join(", ")
    };
    let own = uplink_addresses(machine);
    let own = quoted(&[format!("{}/24", own[0]), format!("{}/64", own[1])]);
    let mut text = format!(
        "[[node]]\nname = \"@H\"\nnetns = \"host\"\nbypass = [\"forward\"]\nuplink = [{{ dev = \"up0\", addresses = [{own}] }}]\n"
    );
    for endpoint in ENDPOINTS[other] {
        let (addresses, via) = (super::addresses(endpoint), uplink_addresses(other));
        for &family in kind.families() {
            let length = [24, 64][family];
            let net = ipnet::IpNet::new(addresses[family], length).expect("a prefix");
            let (dst, via) = (net.trunc(), via[family]);
            text += &format!("[[node.route]]\ndst = \"{dst}\"\nvia = \"{via}\"\n");
        }
    }
    for endpoint in ENDPOINTS[machine] {
        let [v4, v6] = super::addresses(endpoint);
        let addresses = quoted(&[format!("{v4}/24"), format!("{v6}/64")]);
        text += &format!(
            "[[node.endpoint]]\nname = \"@{endpoint}\"\naddresses = [{addresses}]\nhost_dev = \"v{endpoint}\"\n"
        );
    }
    text
}

/// Has a machine forward, in its namespace.
pub(crate) fn play_a_router() {
    for key in ["ipv4.ip_forward", "ipv6.conf.all.forwarding"] {
        run(&format!("sysctl -qw net.{key}=1"));
    }
    run("ip link set lo up");
}

/// Gives a machine its part of the network below the uplinks.
fn set_up_below(machine: usize) {
    let number = machine + 1;
    for line in [
        format!("ip addr add 192.0.2.{number}/24 dev nic0"),
        format!("ip addr add fd00:c0::{number}/64 dev nic0 nodad"),
        "ip link set nic0 up".to_owned(),
        // A macvlan's address is not its own.
        "sysctl -qw net.ipv4.conf.nic0.arp_ignore=1".to_owned(),
    ] {
        run(&line);
    }
}

/// The private keys of the two machines' WireGuard devices.
const KEYS: [[u8; 32]; 2] = [[0x48; 32], [0x51; 32]];

/// Makes the two WireGuard devices known to one another.
fn introduce(machines: [&Netns; 2]) {
    let keys = [0, 1].map(|number: usize| {
        let key = machines[number].run(move || set_key("up0", KEYS[number]));
        key.expect("enter")
    });
    for (number, machine) in machines.into_iter().enumerate() {
        let (key, at) = (keys[1 - number], [192, 0, 2, 2 - number as u8]);
        let done = machine.run(move || set_peer("up0", key, at.into()));
        done.expect("enter");
    }
}

fn make_uplink(kind: &UplinkKind, machine: usize) {
    let words = |line: &str| {
        let (own, other) = (machine + 1, 2 - machine);
        line.replace("%own6", &format!("fd00:c0::{own}"))
            .replace("%other6", &format!("fd00:c0::{other}"))
            .replace("%own", &format!("192.0.2.{own}"))
            .replace("%other", &format!("192.0.2.{other}"))
    };
    for line in kind.lines() {
        run(&words(line));
    }
}

/// Makes the uplinks `up0` of two machines, the second of which has this name. They are down and have no addresses. Those that
/// need it are over `nic0`. What is returned carries packets between them as long as it lives.
pub(crate) fn join(machines: [&Netns; 2], second: &str, kind: &UplinkKind) -> Option<Cable> {
    if let Made::Tun(link_type) = kind.made {
        return Some(Cable::between(machines, "up0", link_type));
    }
    let line = format!("ip link add nic0 type veth peer name nic0 netns {second}");
    machines[0].run(|| run(&line)).expect("enter");
    for (number, machine) in machines.into_iter().enumerate() {
        machine.run(move || set_up_below(number)).expect("enter");
    }
    for (number, machine) in machines.into_iter().enumerate() {
        machine.run(|| make_uplink(kind, number)).expect("enter");
    }
    if matches!(kind.made, Made::WireGuard) {
        introduce(machines);
    }
    None
}

/// Sets up a machine with its uplink, in its namespace. FORWARD drops: what arrives came by the fast path.
fn set_up(kind: &UplinkKind, machine: usize) {
    play_a_router();
    let [v4, v6] = uplink_addresses(machine);
    run(&format!("ip addr add {v4}/24 dev up0"));
    if kind.carries_ipv6 {
        run(&format!("ip addr add {v6}/64 dev up0 nodad"));
    }
    for line in [
        "ip link set up0 up",
        "iptables -w -P FORWARD DROP",
        "ip6tables -w -P FORWARD DROP",
    ] {
        run(line);
    }
}

/// Runs a test with two labs whose nodes `@H` are machines, each in a namespace of its own; both are up. The first has
/// `a1` and `a2`, the second `b1` and `b2`. The calling thread is in the first one's namespace.
pub fn on_two_machines(kind: &UplinkKind, test: impl FnOnce(&mut Lab, &Lab) + Send) {
    let [(mut here, machine), (there, other)] = [0, 1].map(|number| {
        let mut lab = Lab::prepare(&topology(kind, number));
        let machine = lab.foreign_namespace("H");
        if matches!(kind.made, Made::WireGuard) {
            // Messages that keep it alive.
            lab.note_talkative("up0");
        }
        (lab, machine)
    });
    // Each is dropped in its own namespace.
    let work = move || {
        let other = Netns::current().expect("namespace");
        let there = there;
        let work = || {
            let machine = Netns::current().expect("namespace");
            let machines = [&machine, &other];
            let _cable = join(machines, &there.name("H"), kind);
            for (number, machine) in machines.into_iter().enumerate() {
                machine.run(|| set_up(kind, number)).expect("enter");
            }
            for lab in [&here, &there] {
                let deadline = Deadline::new();
                while !lab.ip("H", "-o link show dev up0").contains("LOWER_UP") {
                    deadline.check(|| "the uplink does not come up".to_owned());
                }
            }
            there.inside("H", || there.converge());
            here.converge();
            test(&mut here, &there);
            drop(here);
        };
        machine.run(work).expect("enter");
    };
    other.run(work).expect("enter");
}
