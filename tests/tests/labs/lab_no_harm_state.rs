//! A machine full of other people's things is byte for byte the same after `down`, whatever was done in between.

use std::env;

use netpath::{netns::Netns, provision};
use netpath_tests::{
    has_tcx,
    lab::{
        Deadline, HOST, Lab, addresses, assert_same_portrait, in_mode, is_in_mode, on_a_machine,
        portrait, run,
    },
    routing::{Daemon, Running},
};

/// Somebody's settings, addresses, routes of many kinds, rules, filters, policies, and another CNI's veth. `@` is the
/// lab's prefix, and `~` a blank within a word.
const THEIRS: &str = "
sysctl -qw net.ipv4.conf.all.rp_filter=2
sysctl -qw net.ipv4.conf.default.rp_filter=1
sysctl -qw net.ipv4.conf.up0.proxy_arp=1
sysctl -qw net.ipv4.conf.default.forwarding=0
sysctl -qw net.ipv6.conf.default.accept_ra=2
sysctl -qw net.ipv6.conf.up0.accept_ra=2
sysctl -qw net.ipv4.neigh.up0.gc_stale_time=77
sysctl -qw net.ipv4.ip_local_port_range=20000~30000
ip link add cali0 type veth peer name eth9 netns @P
ip link set cali0 up
ip -n @P link set eth9 up
ip link add ifb0 type ifb
ip link set ifb0 up
ip addr add 10.88.0.1/32 dev lo
ip addr add fd00:88::1/128 dev lo
ip addr add 10.88.1.1/24 dev br7
ip addr add fd00:88:1::1/64 dev br7 nodad
ip addr add 10.88.2.1 peer 10.88.2.2/32 dev cali0
ip route add 10.77.0.2 dev cali0 scope link
ip route add fd00:77::2 dev cali0 metric 9
ip route add blackhole 10.77.0.0/16 proto 80
ip route add unreachable 10.78.0.0/16 metric 5
ip route add prohibit 10.79.0.0/16
ip route add throw 10.80.0.0/16 table 78
ip route add local 10.81.0.0/24 dev lo
ip route add 10.82.0.0/16 tos 0x10 via 100.100.198.253 metric 4000000000
ip route add 10.83.0.0/16 nexthop via 100.100.198.253 weight 3 nexthop via 100.100.198.252
ip route add 10.84.0.0/16 via inet6 fd00:198::253 dev up0
ip route add 10.85.0.0/16 via 100.100.198.253 mtu 1400 proto 110
ip route add 10.0.1.2/32 via 100.100.198.253 table 77
ip route add 10.0.3.0/24 via 100.100.198.254 table 77 proto 110
ip route add default via 100.100.198.253 metric 100
ip route add blackhole fd00:78::/64
ip route add unreachable fd00:79::/64 metric 5
ip route add throw fd00:80::/64 table 78
ip route add fd00:83::/64 nexthop via fd00:198::253 nexthop via fd00:198::254
ip route add fd00:3::/64 via fd00:198::254 table 77 proto 110
ip route add default via fd00:198::253 metric 100
ip nexthop add id 7 via 100.100.198.253 dev up0
ip nexthop add id 8 via 100.100.198.254 dev up0
ip nexthop add id 9 group 7,2/8,1
ip route add 10.86.0.0/16 nhid 7
ip route add 10.87.0.0/16 nhid 9
ip rule add fwmark 0x7 lookup 77 priority 500
ip rule add iif br7 lookup 78 priority 501
ip -6 rule add from fd00:88::/64 lookup 77 priority 502
ip neigh add 10.77.0.2 dev cali0 lladdr 02:00:00:00:00:78 nud permanent
ip neigh add fd00:77::2 dev cali0 lladdr 02:00:00:00:00:78 nud permanent
ip neigh add proxy 10.77.0.9 dev up0
tc qdisc add dev up0 clsact
tc filter add dev up0 ingress prio 5 u32 match u32 0 0 action mirred egress redirect dev ifb0
tc filter add dev up0 egress bpf da bytecode 1,6~0~0~0,
tc qdisc add dev ifb0 root tbf rate 100mbit burst 100k latency 50ms
tc qdisc add dev cali0 root tbf rate 10mbit burst 20k latency 50ms
tc qdisc add dev cali0 clsact
tc filter add dev cali0 ingress bpf da bytecode 1,6~0~0~0,
tc qdisc add dev br7 root handle 1: htb default 2
tc class add dev br7 parent 1: classid 1:1 htb rate 10mbit
tc class add dev br7 parent 1:1 classid 1:2 htb rate 5mbit
tc qdisc add dev br7 parent 1:2 handle 20: pfifo limit 100
tc filter add dev br7 parent 1: prio 3 u32 match ip dst 10.88.1.9/32 flowid 1:2
ip xfrm policy add src 10.88.0.0/16 dst 10.90.0.0/16 dir out tmpl src 100.100.198.250 dst 100.100.198.253 proto esp mode tunnel
ip xfrm policy add src 10.0.1.2/32 dst 10.99.0.0/16 dir fwd action block
ip xfrm policy add src fd00:88::/32 dst fd00:90::/32 dir in action block priority 9
nft add table inet theirs
nft add set inet theirs s { type ipv4_addr ; elements = { 10.88.0.7 } ; }
nft add chain inet theirs pre { type filter hook input priority -10 ; }
nft add rule inet theirs pre ip saddr @s counter drop
nft add table netdev theirs
nft add chain netdev theirs in { type filter hook ingress device br7 priority 0 ; }
nft add rule netdev theirs in ip saddr 10.91.0.1 drop
iptables-nft -w -t nat -A POSTROUTING -s 10.77.0.0/16 -j MASQUERADE
iptables-nft -w -t raw -A PREROUTING -d 172.17.0.2 -j DROP
ip6tables-nft -w -t mangle -A FORWARD -d fd00:91::/64 -j DROP
iptables-legacy -w -t mangle -A OUTPUT -d 10.92.0.0/16 -j TOS --set-tos 8
ip6tables-legacy -w -t filter -A INPUT -s fd00:92::/64 -j DROP
sysctl -qw net.ipv6.conf.default.accept_dad=2
";

/// A file that changes an address, a name, what is passed by, and what there is at all.
fn changed() -> String {
    let text = HOST
        .replace("10.0.1.2/24", "10.0.1.3/24")
        .replace(r#""va2""#, r#""vb2""#)
        .replace("[\"forward\"]", "[\"forward\", \"shaped\"]");
    let lines = text.lines().filter(|line| !line.contains("10.0.4.0"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn with_tcx() {
    if has_tcx() {
        in_mode("machine", "tcx");
    }
}

#[test]
fn with_clsact() {
    in_mode("machine", "clsact");
}

#[test]
#[ignore = "a process for the other tests"]
fn machine() {
    is_in_mode();
    on_a_machine(|lab| {
        furnish(lab);
        let machine = Netns::current().expect("namespace");
        let before = portrait(&machine);
        let same = |when: &str| assert_same_portrait(&portrait(&machine), &before, when);
        let stands = |when: &str| {
            let now = portrait(&machine);
            let gone = before.lines().filter(|line| !now.contains(line));
            assert_eq!(gone.collect::<Vec<_>>(), Vec::<&str>::new(), "{when}");
        };
        assert!(!lab.plan().is_empty());
        same("planned");
        lab.converge();
        stands("up");
        assert_eq!(lab.plan(), Vec::<String>::new());
        assert!(
            lab.converge_until(1)
                .is_ok_and(|changes| changes.is_empty())
        );
        for endpoint in [Some("a1"), None] {
            lab.fast_path(false, "H", endpoint);
            stands("off");
            lab.fast_path(true, "H", endpoint);
            stands("on");
        }
        lab.rewrite(&changed());
        for count in [1, 2] {
            let interrupted = lab.converge_until(count);
            interrupted.expect_err("interrupted");
            stands("undone");
        }
        lab.converge();
        stands("changed");
        for family in [0, 1] {
            // What its uplink's filters do, they do.
            lab.assert_reaches("a2", addresses("A")[family], 64);
        }
        let nodes = provision::observe().expect("observe");
        let own = nodes.iter().filter(|node| node.name == lab.name("H"));
        let drift = own.flat_map(|node| &node.drift);
        assert_eq!(
            drift.collect::<Vec<_>>(),
            Vec::<&netpath::finding::Finding>::new()
        );
        lab.down();
        same("down");

        lab.rewrite(HOST);
        for count in 1..6 {
            let interrupted = lab.converge_until(count);
            interrupted.expect_err("interrupted");
            same("a first up that was interrupted");
        }
        lab.converge();
        lab.down();
        same("down again");
    });
}

fn furnish(lab: &Lab) {
    for line in THEIRS.trim().lines() {
        let line = match line.contains("ip saddr @s") {
            true => line.to_owned(),
            false => line.replace('@', lab.prefix()),
        };
        let words: Vec<String> = line.split(' ').map(|word| word.replace('~', " ")).collect();
        let output = std::process::Command::new(&words[0])
            .args(&words[1..])
            .output();
        let output = output.expect("start");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {stderr}");
    }
}

/// A machine's routing daemon with one neighbour: it tells of 10.20.N.0/24 and fd20:N::/64 for its number N.
fn bird(number: u8, own: [&str; 2], neighbour: [&str; 2]) -> String {
    let sessions = [("4", own[0], neighbour[0]), ("6", own[1], neighbour[1])];
    let mut config = format!(
        "log stderr all;\nrouter id {};\ndebug protocols {{ states }};\nprotocol device {{ }}\n\
         protocol static pods4 {{\n    ipv4;\n    route 10.20.{number}.0/24 blackhole;\n}}\n\
         protocol static pods6 {{\n    ipv6;\n    route fd20:{number}::/64 blackhole;\n}}\n",
        own[0]
    );
    for (family, own, neighbour) in sessions {
        config += &format!(
            "protocol kernel kernel{family} {{ learn; ipv{family} {{ import all; export all; }}; }}\n\
             protocol bgp session{family} {{\n local {own} as 65000;\n neighbor {neighbour} as 65000;\n direct;\n \
             hold time 3;\n connect delay time 1;\n connect retry time 1;\n error wait time 1, 2;\n \
             ipv{family} {{ import all; export where source = RTS_STATIC; }};\n}}\n"
        );
    }
    config
}

/// A daemon goes on beside it all: it loses no session, and nothing of what it has given the kernel. It learns also of netpath's
/// routes, and keeps none of them.
#[test]
fn beside_a_routing_daemon() {
    on_a_machine(|lab| {
        let (own, neighbour) = (addresses("A"), addresses("B"));
        let [own, neighbour] = [own, neighbour].map(|both| both.map(|it| it.to_string()));
        let [own, neighbour] = [&own, &neighbour].map(|[v4, v6]| [v4.as_str(), v6.as_str()]);
        let directory = |name: &str| env::temp_dir().join(lab.name(name));
        let start = |name, config: &str| Running::start(Daemon::Bird, &directory(name), config);
        let near = start("near", &bird(1, own, neighbour));
        let config = bird(2, neighbour, own);
        let far = lab.inside("P", || start("far", &config));
        let learnt = |number: u8| {
            let routes = run("ip -4 route show proto bird") + &run("ip -6 route show proto bird");
            let prefixes = [
                format!("10.20.{number}.0/24 via"),
                format!("fd20:{number}::/64 via"),
            ];
            prefixes.map(|prefix| routes.contains(&prefix))
        };
        let wait = |number, is_there| {
            let deadline = Deadline::new();
            while learnt(number) != [is_there; 2] {
                deadline.check(|| format!("{number}, {is_there}: {}", near.told()));
            }
        };
        wait(2, true);
        let machine = Netns::current().expect("namespace");
        let before = portrait(&machine);
        let states = near.told().matches("State changed").count();
        assert!(states > 0, "{}", near.told());
        for _ in 0..2 {
            lab.converge();
            assert_eq!(learnt(2), [true; 2]);
            assert_eq!(lab.plan(), Vec::<String>::new());
            far.announce(&config, 3, true);
            wait(3, true);
            far.announce(&config, 3, false);
            wait(3, false);
            lab.down();
            assert_same_portrait(&portrait(&machine), &before, "down");
        }
        far.announce(&config, 3, true);
        wait(3, true);
        let told = near.told();
        assert_eq!(told.matches("State changed").count(), states, "{told}");
    });
}
