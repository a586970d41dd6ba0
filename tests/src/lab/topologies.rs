//! The topologies that tests share.

use std::net::IpAddr;

use netpath::sysctl;

use super::{Deadline, Lab, run};

/// Two nodes on a wire, each with two endpoints, FORWARD at DROP: the built-in lab with other names.
pub const TWO_NODES: &str = r#"
[[node]]
name = "@A"
forward_policy = "drop"
uplink = [{ dev = "up0", addresses = ["100.100.198.250/24", "fd00:198::250/64"], wire = "@w" }]
route = [
    { dst = "10.0.3.0/24", via = "100.100.198.253" },
    { dst = "10.0.4.0/24", via = "100.100.198.253" },
    { dst = "fd00:3::/64", via = "fd00:198::253" },
    { dst = "fd00:4::/64", via = "fd00:198::253" },
]
endpoint = [
    { name = "@a1", addresses = ["10.0.1.2/24", "fd00:1::2/64"], host_dev = "va1" },
    { name = "@a2", addresses = ["10.0.2.2/24", "fd00:2::2/64"], host_dev = "va2" },
]

[[node]]
name = "@B"
forward_policy = "drop"
uplink = [{ dev = "up0", addresses = ["100.100.198.253/24", "fd00:198::253/64"], wire = "@w" }]
route = [
    { dst = "10.0.1.0/24", via = "100.100.198.250" },
    { dst = "10.0.2.0/24", via = "100.100.198.250" },
    { dst = "fd00:1::/64", via = "fd00:198::250" },
    { dst = "fd00:2::/64", via = "fd00:198::250" },
]
endpoint = [
    { name = "@b1", addresses = ["10.0.3.2/24", "fd00:3::2/64"], host_dev = "vb1" },
    { name = "@b2", addresses = ["10.0.4.2/24", "fd00:4::2/64"], host_dev = "vb2" },
]
"#;

/// Nodes B and C, each on a wire of its own, and A between them.
pub const HUB: &str = r#"
[[node]]
name = "@A"
forward_policy = "drop"
uplink = [
    { dev = "up0", addresses = ["10.9.1.1/24", "fd00:91::1/64"], wire = "@v" },
    { dev = "up1", addresses = ["10.9.2.1/24", "fd00:92::1/64"], wire = "@w" },
]
route = [
    { dst = "10.2.0.0/16", via = "10.9.1.2" },
    { dst = "10.3.0.0/16", via = "10.9.2.3" },
    { dst = "fd00:2::/32", via = "fd00:91::2" },
    { dst = "fd00:3::/32", via = "fd00:92::3" },
]

[[node]]
name = "@B"
uplink = [{ dev = "up0", addresses = ["10.9.1.2/24", "fd00:91::2/64"], wire = "@v" }]
route = [
    { dst = "10.3.0.0/16", via = "10.9.1.1" },
    { dst = "fd00:3::/32", via = "fd00:91::1" },
]
endpoint = [{ name = "@b1", addresses = ["10.2.1.2/24", "fd00:2:1::2/64"], host_dev = "vb1" }]

[[node]]
name = "@C"
uplink = [{ dev = "up0", addresses = ["10.9.2.3/24", "fd00:92::3/64"], wire = "@w" }]
route = [
    { dst = "10.2.0.0/16", via = "10.9.2.1" },
    { dst = "fd00:2::/32", via = "fd00:92::1" },
]
endpoint = [{ name = "@c1", addresses = ["10.3.1.2/24", "fd00:3:1::2/64"], host_dev = "vc1" }]
"#;

/// One node with two endpoints and nothing else.
pub const ONE_NODE: &str = r#"
[[node]]
name = "@A"
forward_policy = "drop"
uplink = [{ dev = "up0", addresses = ["100.100.198.250/24", "fd00:198::250/64"], wire = "@w" }]
endpoint = [
    { name = "@a1", addresses = ["10.0.1.2/24", "fd00:1::2/64"], host_dev = "va1" },
    { name = "@a2", addresses = ["10.0.2.2/24", "fd00:2::2/64"], host_dev = "va2" },
]
"#;

/// What [`on_a_machine`] runs netpath on: `@H` is there, with its uplink, and plays this machine, where FORWARD drops what netpath
/// is to take.
pub const HOST: &str = r#"
[[node]]
name = "@H"
netns = "host"
bypass = ["forward"]
uplink = [{ dev = "up0", addresses = ["100.100.198.250/24", "fd00:198::250/64"] }]
route = [
    { dst = "10.0.3.0/24", via = "100.100.198.253" },
    { dst = "10.0.4.0/24", via = "100.100.198.253" },
    { dst = "fd00:3::/64", via = "fd00:198::253" },
]
endpoint = [
    { name = "@a1", addresses = ["10.0.1.2/24", "fd00:1::2/64"], host_dev = "va1" },
    { name = "@a2", addresses = ["10.0.2.2/24", "fd00:2::2/64"], host_dev = "va2" },
]
"#;

/// What somebody has set up on the machine: a route that netpath wants too, others that it does not, rules,
/// an interface, a neighbour.
const MACHINE: &str = "
ip link set lo up
ip link add up0 type veth peer name eth0 netns @P
ip addr add 100.100.198.250/24 dev up0
ip addr add fd00:198::250/64 dev up0 nodad
ip link set up0 up
ip link add br7 type bridge
ip link set br7 up
ip addr add 192.0.2.1/24 dev br7
ip -n @P addr add 100.100.198.253/24 dev eth0
ip -n @P addr add fd00:198::253/64 dev eth0 nodad
ip -n @P link set lo up
ip -n @P link set eth0 up
ip -n @P addr add 10.0.3.2/32 dev lo
ip -n @P addr add fd00:3::2/128 dev lo nodad
ip -n @P route add 10.0.0.0/22 via 100.100.198.250
ip -n @P route add fd00::/30 via fd00:198::250
ip route add 10.0.4.0/24 via 100.100.198.253
ip route add 10.99.0.0/16 via 100.100.198.253
ip route add 10.0.1.0/24 via 100.100.198.253 table 77
ip neigh add 100.100.198.77 dev up0 lladdr 02:00:00:00:00:77 nud permanent
iptables -w -P FORWARD DROP
ip6tables -w -P FORWARD DROP
iptables -w -A FORWARD -s 192.0.2.0/24 -j ACCEPT
";

/// Runs a test in a namespace that plays this machine for a `netns = \"host\"` node, with an uplink to another
/// (`@P`, which has 10.0.3.2 and fd00:3::2). Where the kernel has no IPv6 it does without.
pub fn on_a_machine(test: impl FnOnce(&mut Lab) + Send) {
    let mut lab = Lab::prepare(HOST);
    let machine = lab.foreign_namespace("H");
    drop(lab.foreign_namespace("P"));
    let set_up = MACHINE.replace('@', &lab.prefix);
    let has_ipv6 = sysctl::has_ipv6();
    let is_ipv6 = |text: &str| {
        ["ipv6/", "fd00:", "ip6tables"]
            .iter()
            .any(|it| text.contains(it))
    };
    let is_due = move |text: &str| has_ipv6 || !is_ipv6(text);
    // Moved in, so that it is also dropped there.
    let work = move || {
        let accept_dad = "ipv6/conf/default/accept_dad";
        for (machine, key, value) in [
            ("H", "ipv4/ip_forward", "1"),
            ("H", "ipv6/conf/all/forwarding", "1"),
            ("H", accept_dad, "0"),
            ("P", accept_dad, "0"),
        ] {
            if is_due(key) {
                lab.set_sysctl(machine, key, value);
            }
        }
        let lines = set_up.trim().lines().filter(|line| is_due(line));
        lines.for_each(|line| drop(run(line)));
        let deadline = Deadline::new();
        while !run("ip -o link show dev up0").contains("state UP") {
            deadline.check(|| "the uplink does not come up".to_owned());
        }
        test(&mut lab);
    };
    machine.run(work).expect("enter");
}

/// The addresses of [`TWO_NODES`] by endpoint or node, IPv4 and IPv6.
pub fn addresses(of: &str) -> [IpAddr; 2] {
    let [v4, v6] = match of {
        "A" => ["100.100.198.250", "fd00:198::250"],
        "B" => ["100.100.198.253", "fd00:198::253"],
        "a1" => ["10.0.1.2", "fd00:1::2"],
        "a2" => ["10.0.2.2", "fd00:2::2"],
        "b1" => ["10.0.3.2", "fd00:3::2"],
        "b2" => ["10.0.4.2", "fd00:4::2"],
        other => panic!("{other} is not in TWO_NODES"),
    };
    [v4.parse().expect(v4), v6.parse().expect(v6)]
}
