//! What netpath reads of nf_tables, against what `nft`, `iptables-nft` and `ip6tables-nft` put there.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use ipnet::IpNet;
use netpath::{
    netfilter::{
        Policy, legacy_tables,
        nft::{
            Base, ChainId, Device, EffectKind, Effects, Expression, Hook, Meeting, NamePattern,
            Packets, Ruleset, TableFamily, Verdict,
        },
    },
    netns::Inside,
};
use netpath_common::{Family, Ifindex};
use nix::sched::{CloneFlags, unshare};

/// Runs something in a namespace that nothing else uses and that ends with it.
fn alone(work: impl FnOnce(&Inside<'_>) + Send) {
    let run = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root");
        work(&Inside::current());
    };
    thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn run(program: &str, arguments: &str) {
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace());
    let output = command.output().expect("it is installed");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}

fn nft(script: &str) {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nft is installed");
    let mut input = child.stdin.take().expect("a pipe");
    // It wants an end of the line between two of them.
    let script = script.replace("} }", "}\n}").replace("} }", "}\n}");
    input.write_all(script.as_bytes()).expect("written");
    drop(input);
    let output = child.wait_with_output().expect("ended");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

/// The program of a family, and a prefix and two in it, two others, and an address.
struct Net {
    family: Family,
    program: &'static str,
    table: TableFamily,
    /// Routed prefixes.
    a: &'static str,
    b: &'static str,
    /// Of `a`.
    in_a: &'static str,
    in_b: &'static str,
    other: &'static str,
    any: &'static str,
}

const NETS: [Net; 2] = [
    Net {
        family: Family::V4,
        program: "iptables-nft",
        table: TableFamily::Ip,
        a: "10.1.0.0/16",
        b: "10.2.0.0/16",
        in_a: "10.1.7.1/32",
        in_b: "10.2.7.1/32",
        other: "172.16.0.0/12",
        any: "0.0.0.0/0",
    },
    Net {
        family: Family::V6,
        program: "ip6tables-nft",
        table: TableFamily::Ip6,
        a: "fd00:1::/33",
        b: "fd00:2::/40",
        in_a: "fd00:1::7/128",
        in_b: "fd00:2::7/128",
        other: "2001:db8::/32",
        any: "::/0",
    },
];

impl Net {
    /// As `nft` calls the family.
    fn word(&self) -> &'static str {
        match self.family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        }
    }

    fn iptables(&self, arguments: &str) {
        let arguments = arguments
            .replace("IN_A", self.in_a)
            .replace("IN_B", self.in_b)
            .replace(
                "ICMP",
                if self.family == Family::V4 {
                    "icmp"
                } else {
                    "ipv6-icmp"
                },
            );
        let arguments = arguments
            .split_whitespace()
            .map(|word| match word {
                "A" => self.a,
                "B" => self.b,
                other => other,
            })
            .collect::<Vec<_>>();
        run(self.program, &arguments.join(" "));
    }

    /// From, to, by.
    fn packets<'a>(&self, source: &str, destination: &str, iif: Option<&'a str>) -> Packets<'a> {
        let net = |text: &str| text.parse::<IpNet>().expect(text);
        Packets {
            source: net(source),
            destination: net(destination),
            iif: iif.map(|name| Device {
                ifindex: Ifindex(77),
                name,
            }),
            oif: None,
        }
    }
}

fn base(ruleset: &Ruleset, family: TableFamily, table: &str, name: &str) -> (ChainId, Base) {
    let found = ruleset
        .base_chains()
        .find(|(id, ..)| id.family == family && id.table == table && id.name == name);
    let (id, _, base) = found.unwrap_or_else(|| panic!("{family:?} {table} {name}: {ruleset:?}"));
    (id.clone(), base.clone())
}

fn effects(inside: &Inside<'_>, family: TableFamily, table: &str, name: &str) -> Effects {
    let ruleset = Ruleset::read(inside).expect("ruleset");
    let (id, base) = base(&ruleset, family, table, name);
    Effects::of(&ruleset, &id, &base)
}

/// The most that is known of effects of a kind.
fn meeting(effects: &Effects, kind: &EffectKind, packets: &Packets<'_>) -> Meeting {
    let mut found = Meeting::No;
    for (effect, meeting) in effects.meetings(packets) {
        match meeting {
            _ if effect.kind != *kind => {}
            Meeting::Yes => return Meeting::Yes,
            Meeting::Perhaps => found = Meeting::Perhaps,
            Meeting::No => {}
        }
    }
    found
}

fn kinds(effects: &Effects) -> Vec<EffectKind> {
    effects.iter().map(|effect| effect.kind.clone()).collect()
}

#[test]
fn base_chains_are_read() {
    alone(|inside| {
        assert_eq!(Ruleset::read(inside).expect("asked"), Ruleset::default());
        run("ip", "link add a0 type veth peer name a1");
        nft("table inet t {
               chain pre { type filter hook prerouting priority raw; policy drop; counter accept; }
               chain plain { return; }
               chain in { type filter hook ingress devices = { a0, a1 } priority 5; }
             }
             table netdev n {
               chain in { type filter hook ingress device a0 priority -7; policy drop; }
               chain out { type filter hook egress device a1 priority 7; }
             }
             table bridge b { chain f { type filter hook forward priority 0; } }
             table arp a { chain i { type filter hook input priority 0; } }
             table ip z { flags dormant; chain pre { type nat hook prerouting priority -100; } }
             table ip6 s { chain post { type nat hook postrouting priority 100; } }
             table ip r { chain o { type route hook output priority -150; } }");
        let ruleset = Ruleset::read(inside).expect("ruleset");
        let found: Vec<_> = ruleset
            .base_chains()
            .map(|(id, _, base)| {
                let name = format!("{} {}", id.table, id.name);
                (id.family, name, &*base.kind, base.hook, base.priority)
            })
            .collect();
        let chain = |family, name: &str, kind, hook, priority| {
            (family, name.to_owned(), kind, hook, priority)
        };
        assert_eq!(
            found,
            [
                chain(TableFamily::Inet, "t in", "filter", Hook::Ingress, 5),
                chain(TableFamily::Inet, "t pre", "filter", Hook::Prerouting, -300),
                chain(TableFamily::Ip, "r o", "route", Hook::Output, -150),
                chain(TableFamily::Ip6, "s post", "nat", Hook::Postrouting, 100),
                chain(TableFamily::Arp, "a i", "filter", Hook::Input, 0),
                chain(TableFamily::Bridge, "b f", "filter", Hook::Forward, 0),
                chain(TableFamily::Netdev, "n in", "filter", Hook::Ingress, -7),
                chain(TableFamily::Netdev, "n out", "filter", Hook::Egress, 7),
            ]
        );
        let name = |name: &str| NamePattern::Exact(name.to_owned());
        let devices = |family, table, chain| base(&ruleset, family, table, chain).1.devices;
        assert_eq!(devices(TableFamily::Netdev, "n", "in"), [name("a0")]);
        assert_eq!(devices(TableFamily::Netdev, "n", "out"), [name("a1")]);
        let both = devices(TableFamily::Inet, "t", "in");
        assert!(both.len() == 2 && both.contains(&name("a0")) && both.contains(&name("a1")));
        let (id, pre) = base(&ruleset, TableFamily::Inet, "t", "pre");
        assert_eq!((pre.policy, pre.devices), (Policy::Drop, vec![]));
        let expressions = &ruleset.chains[&id].rules[0].expressions;
        assert!(
            matches!(
                expressions[..],
                [
                    Expression::Counter { count: Some(_) },
                    Expression::Verdict(Verdict::Accept)
                ]
            ),
            "{expressions:?}"
        );
        assert_eq!(
            base(&ruleset, TableFamily::Inet, "t", "in").1.policy,
            Policy::Accept
        );
        // Those that are not called are there too.
        assert_eq!(ruleset.chains.len(), 10);
        let asleep = ruleset.chains.iter().filter(|(_, chain)| chain.dormant);
        assert_eq!(asleep.map(|(id, _)| &*id.table).collect::<Vec<_>>(), ["z"]);
    });
}

#[test]
fn addresses_and_interfaces_of_rules_are_understood() {
    alone(|inside| {
        run("ip", "link add a0 type veth peer name a1");
        let index = fs::read_to_string("/proc/thread-self/net/dev").expect("interfaces");
        assert!(index.contains("a0"));
        for net in &NETS {
            let (a, b, ip) = (net.a, net.b, net.word());
            let (in_a, in_b) = (net.in_a, net.in_b);
            // A table for each rule and family of chains: what it asks, and whether it is met by packets from a to b by
            // a0, from in_a to in_b by whatever, from others to b by a0, and from a to b by x9.
            use Meeting::{No, Perhaps, Yes};
            for (rule, expected) in [
                ("drop".to_owned(), [Yes, Yes, Yes, Yes]),
                (format!("{ip} saddr {a} drop"), [Yes, Yes, No, Yes]),
                (format!("{ip} daddr {a} drop"), [No, No, No, No]),
                (
                    format!("{ip} saddr {a} {ip} daddr {b} drop"),
                    [Yes, Yes, No, Yes],
                ),
                // Both addresses are compared at once.
                (
                    format!("{ip} saddr {in_a} {ip} daddr {in_b} drop"),
                    [Yes, Yes, No, Yes],
                ),
                (
                    format!("{ip} saddr {in_a} {ip} daddr {in_a} drop"),
                    [No, No, No, No],
                ),
                (format!("{ip} saddr != {a} drop"), [No, No, Yes, No]),
                (format!("{ip} saddr != {in_a} drop"), [Yes, No, Yes, Yes]),
                ("iifname a0 drop".to_owned(), [Yes, Yes, Yes, No]),
                ("iifname != a0 drop".to_owned(), [No, Yes, No, Yes]),
                ("iifname \"a*\" drop".to_owned(), [Yes, Yes, Yes, No]),
                ("iifname \"a\" drop".to_owned(), [No, Yes, No, No]),
                // Of another index than those that are asked about.
                ("iif a0 drop".to_owned(), [No, Yes, No, No]),
                (
                    format!("{ip} saddr {a} tcp dport 22 drop"),
                    [Perhaps, Perhaps, No, Perhaps],
                ),
                ("ct state established drop".to_owned(), [Perhaps; 4]),
                ("meta mark 7 drop".to_owned(), [Perhaps; 4]),
                ("limit rate 7/second drop".to_owned(), [Perhaps; 4]),
                (
                    format!("{ip} saddr {{ {a}, 127.0.0.0/8 }} drop")
                        .replace("127.0.0.0/8", net.other),
                    [Perhaps; 4],
                ),
                (
                    format!("{ip} saddr {in_a} accept; drop"),
                    [Perhaps, No, Yes, Perhaps],
                ),
                (format!("{ip} saddr {a} return; drop"), [No, No, Yes, No]),
                (
                    format!("{ip} saddr {a} iifname a0 accept; drop"),
                    [No, Perhaps, Yes, Yes],
                ),
                ("tcp dport 22 accept; drop".to_owned(), [Perhaps; 4]),
                ("reject".to_owned(), [Yes; 4]),
            ] {
                for family in ["inet", ip] {
                    nft(&format!(
                        "table {family} t {{ chain c {{
                           type filter hook forward priority 0; {rule}; }} }}"
                    ));
                    let table = if family == ip {
                        net.table
                    } else {
                        TableFamily::Inet
                    };
                    let effects = effects(inside, table, "t", "c");
                    let found = [
                        net.packets(a, b, Some("a0")),
                        net.packets(in_a, in_b, None),
                        net.packets(net.other, b, Some("a0")),
                        net.packets(a, b, Some("x9")),
                    ]
                    .map(|packets| meeting(&effects, &EffectKind::Drop, &packets));
                    assert_eq!(found, expected, "{family}: {rule}: {effects:#?}");
                    nft(&format!("delete table {family} t"));
                }
            }
        }
    });
}

#[test]
fn a_family_meets_its_own_packets_only() {
    use Meeting::{No, Yes};
    alone(|inside| {
        let [v4, v6] = &NETS;
        for (family, table, rule, expected) in [
            ("ip", TableFamily::Ip, "drop", [Yes, No]),
            ("ip6", TableFamily::Ip6, "drop", [No, Yes]),
            ("inet", TableFamily::Inet, "drop", [Yes, Yes]),
            (
                "inet",
                TableFamily::Inet,
                "meta nfproto ipv6 drop",
                [No, Yes],
            ),
            (
                "inet",
                TableFamily::Inet,
                "meta protocol != ip drop",
                [No, Yes],
            ),
            (
                "bridge",
                TableFamily::Bridge,
                "ether type ip drop",
                [Yes, No],
            ),
            (
                "bridge",
                TableFamily::Bridge,
                "ether type arp drop",
                [No, No],
            ),
            (
                "bridge",
                TableFamily::Bridge,
                "ether type ip6 drop",
                [No, Yes],
            ),
            (
                "bridge",
                TableFamily::Bridge,
                "ip saddr 10.1.0.0/16 drop",
                [Yes, No],
            ),
        ] {
            let hook = "type filter hook prerouting priority 0;";
            nft(&format!(
                "table {family} t {{ chain c {{ {hook} {rule}; }} }}"
            ));
            let effects = effects(inside, table, "t", "c");
            let found = [v4, v6].map(|net| {
                let packets = net.packets(net.a, net.b, None);
                meeting(&effects, &EffectKind::Drop, &packets)
            });
            assert_eq!(found, expected, "{family}: {rule}: {effects:#?}");
            nft(&format!("delete table {family} t"));
        }
        // Such packets do not exist.
        nft("table inet t { chain c { type filter hook prerouting priority 0; drop; } }");
        let effects = effects(inside, TableFamily::Inet, "t", "c");
        let packets = v4.packets(v4.a, v6.b, None);
        assert_eq!(meeting(&effects, &EffectKind::Drop, &packets), No);
    });
}

#[test]
fn chains_are_followed() {
    use Meeting::{No, Perhaps, Yes};
    alone(|inside| {
        for net in &NETS {
            let (a, b, other, ip) = (net.a, net.b, net.other, net.word());
            nft(&format!(
                "table {ip} t {{
                   chain leaf {{ iifname a0 return; meta mark set 7; }}
                   chain ends {{ iifname a1 accept; }}
                   chain none {{ drop; }}
                   chain by_map {{ meta mark set 9; }}
                   chain c {{
                     type filter hook prerouting priority -150; policy drop;
                     {ip} saddr {a} jump leaf
                     jump ends
                     {ip} saddr {a} goto ends
                     {ip} saddr {a} notrack
                     iifname vmap {{ x1 : jump by_map, x2 : drop }}
                     {ip} saddr {other} log
                     accept
                   }}
                 }}"
            ));
            let effects = effects(inside, net.table, "t", "c");
            let from_a = |iif| net.packets(a, b, Some(iif));
            let from_other = |iif| net.packets(other, b, Some(iif));
            let meets = |kind, packets: Packets<'_>| meeting(&effects, &kind, &packets);
            // `by_map` marks too, and nobody knows for whom.
            assert_eq!(meets(EffectKind::Mark, from_a("b0")), Yes);
            assert_eq!(meets(EffectKind::Mark, from_a("a0")), No);
            assert_eq!(meets(EffectKind::Mark, from_other("b0")), Perhaps);
            // Accepted by `ends`, or not there.
            assert_eq!(
                meets(EffectKind::Other("log".to_owned()), from_other("a1")),
                No
            );
            assert_eq!(
                meets(EffectKind::Other("log".to_owned()), from_other("b0")),
                Perhaps
            );
            assert_eq!(meets(EffectKind::Other("log".to_owned()), from_a("b0")), No);
            // A goto does not come back.
            assert_eq!(meets(EffectKind::Notrack, from_a("b0")), No);
            assert_eq!(meets(EffectKind::Notrack, from_other("b0")), No);
            // But its end leads to the policy, which it is the only way to.
            assert_eq!(meets(EffectKind::Drop, from_a("a1")), No);
            assert!(effects.iter().all(|effect| effect.chain != "none"));
            let policy = effects.iter().last().expect("a policy");
            assert_eq!((&policy.kind, policy.rule), (&EffectKind::Drop, None));
            nft(&format!("delete table {ip} t"));
        }
    });
}

#[test]
fn what_rules_do_is_named() {
    alone(|inside| {
        let redirect = |by: &str| EffectKind::Redirect(by.to_owned());
        let other = |what: &str| EffectKind::Other(what.to_owned());
        for (kind, hook, rule, expected) in [
            ("filter", "prerouting", "counter", vec![]),
            (
                "filter",
                "prerouting",
                "meta mark set 7",
                vec![EffectKind::Mark],
            ),
            (
                "filter",
                "prerouting",
                "meta mark set ct mark",
                vec![EffectKind::Mark],
            ),
            (
                "filter",
                "prerouting",
                "ct mark set meta mark",
                vec![other("ct mark")],
            ),
            (
                "filter",
                "prerouting",
                "meta priority set none",
                vec![other("meta priority")],
            ),
            ("filter", "prerouting", "notrack", vec![EffectKind::Notrack]),
            (
                "filter",
                "prerouting",
                "log prefix \"x\"",
                vec![other("log")],
            ),
            (
                "filter",
                "prerouting",
                "tcp dport 80 tproxy to :8080",
                vec![redirect("tproxy")],
            ),
            (
                "filter",
                "prerouting",
                "dup to 10.9.9.9",
                vec![redirect("dup")],
            ),
            (
                "filter",
                "prerouting",
                "fib saddr oif missing drop",
                vec![EffectKind::Drop],
            ),
            ("filter", "forward", "reject", vec![EffectKind::Drop]),
            (
                "filter",
                "forward",
                "ip ttl set 7",
                vec![other("network header byte 8, 2 long")],
            ),
            (
                "filter",
                "forward",
                "tcp option maxseg size set 1200",
                vec![other("exthdr")],
            ),
            (
                "nat",
                "prerouting",
                "dnat to 10.9.9.9",
                vec![redirect("nat")],
            ),
            (
                "nat",
                "prerouting",
                "tcp dport 80 redirect to :8080",
                vec![redirect("redir")],
            ),
            ("nat", "postrouting", "masquerade", vec![redirect("masq")]),
        ] {
            let base = format!("type {kind} hook {hook} priority 0;");
            nft(&format!("table ip t {{ chain c {{ {base} {rule}; }} }}"));
            let effects = effects(inside, TableFamily::Ip, "t", "c");
            assert_eq!(kinds(&effects), expected, "{rule}");
            nft("delete table ip t");
        }
        // An expression that is not known: it may do anything, to packets of which it asks anything.
        nft("table ip t {
               set seen { type ipv4_addr; flags dynamic; size 100; }
               chain c { type filter hook prerouting priority 0; update @seen { ip saddr } drop; }
             }");
        let effects = effects(inside, TableFamily::Ip, "t", "c");
        assert_eq!(kinds(&effects), [other("dynset"), EffectKind::Drop]);
        let [v4, _] = &NETS;
        let packets = v4.packets(v4.a, v4.b, None);
        assert_eq!(
            meeting(&effects, &EffectKind::Drop, &packets),
            Meeting::Perhaps
        );
    });
}

#[test]
fn rules_at_an_interface_are_of_that_interface() {
    use Meeting::{No, Yes};
    alone(|inside| {
        run("ip", "link add a0 type veth peer name a1");
        for net in &NETS {
            let (a, ip) = (net.a, net.word());
            nft(&format!(
                "table netdev n {{ chain c {{
                   type filter hook ingress device a0 priority 0;
                   {ip} saddr {a} drop
                   {ip} saddr {a} fwd to a1
                 }} }}"
            ));
            let effects = effects(inside, TableFamily::Netdev, "n", "c");
            let met = |source, iif| {
                let packets = net.packets(source, net.b, iif);
                meeting(&effects, &EffectKind::Drop, &packets)
            };
            assert_eq!(met(a, Some("a0")), Yes);
            assert_eq!(met(a, None), Yes);
            assert_eq!(met(a, Some("a1")), No);
            assert_eq!(met(net.other, Some("a0")), No);
            let forwarded = EffectKind::Redirect("fwd".to_owned());
            assert_eq!(kinds(&effects), [EffectKind::Drop, forwarded]);
            nft("delete table netdev n");
        }
    });
}

#[test]
fn rules_of_iptables_are_understood() {
    use Meeting::{No, Perhaps, Yes};
    alone(|inside| {
        for net in &NETS {
            let redirect = |by: &str| EffectKind::Redirect(by.to_owned());
            // What it does, and to packets from a to b by a0, from a to b by x9, and from others to b by a0.
            for (table, chain, rule, kind, expected) in [
                (
                    "raw",
                    "PREROUTING",
                    "-s A -d B -j DROP",
                    EffectKind::Drop,
                    [Yes, Yes, No],
                ),
                (
                    "raw",
                    "PREROUTING",
                    "! -s A -j DROP",
                    EffectKind::Drop,
                    [No, No, Yes],
                ),
                (
                    "raw",
                    "PREROUTING",
                    "-i a0 -d B -j DROP",
                    EffectKind::Drop,
                    [Yes, No, Yes],
                ),
                (
                    "raw",
                    "PREROUTING",
                    "! -i a0 -j DROP",
                    EffectKind::Drop,
                    [No, Yes, No],
                ),
                (
                    "raw",
                    "PREROUTING",
                    "-i a+ -j DROP",
                    EffectKind::Drop,
                    [Yes, No, Yes],
                ),
                (
                    "raw",
                    "PREROUTING",
                    "-s IN_A -d IN_B -j DROP",
                    EffectKind::Drop,
                    [Yes, Yes, No],
                ),
                (
                    "raw",
                    "PREROUTING",
                    "-s IN_A -d IN_A -j DROP",
                    EffectKind::Drop,
                    [No, No, No],
                ),
                (
                    "raw",
                    "PREROUTING",
                    "-s A -m comment --comment x -j DROP",
                    EffectKind::Drop,
                    [Yes, Yes, No],
                ),
                (
                    "raw",
                    "PREROUTING",
                    "-s A -p tcp --dport 22 -j DROP",
                    EffectKind::Drop,
                    [Perhaps, Perhaps, No],
                ),
                (
                    "raw",
                    "PREROUTING",
                    "-p tcp -m multiport --dports 22,80 -j DROP",
                    EffectKind::Drop,
                    [Perhaps; 3],
                ),
                (
                    "raw",
                    "PREROUTING",
                    "-s A -j CT --notrack",
                    EffectKind::Notrack,
                    [Yes, Yes, No],
                ),
                (
                    "raw",
                    "PREROUTING",
                    "-j CT --zone 3",
                    EffectKind::Other("CT".to_owned()),
                    [Yes; 3],
                ),
                (
                    "mangle",
                    "PREROUTING",
                    "-s A -j MARK --set-mark 7",
                    EffectKind::Mark,
                    [Yes, Yes, No],
                ),
                (
                    "mangle",
                    "PREROUTING",
                    "-i a0 -j MARK --set-xmark 7/0xf",
                    EffectKind::Mark,
                    [Yes, No, Yes],
                ),
                (
                    "mangle",
                    "PREROUTING",
                    "-j CONNMARK --restore-mark",
                    EffectKind::Mark,
                    [Yes; 3],
                ),
                (
                    "mangle",
                    "PREROUTING",
                    "-j CONNMARK --save-mark",
                    EffectKind::Other("CONNMARK".to_owned()),
                    [Yes; 3],
                ),
                (
                    "mangle",
                    "PREROUTING",
                    "-s A -p tcp -j TPROXY --on-port 80",
                    redirect("TPROXY"),
                    [Perhaps, Perhaps, No],
                ),
                (
                    "mangle",
                    "PREROUTING",
                    "-s A -j NFQUEUE",
                    EffectKind::Queue,
                    [Yes, Yes, No],
                ),
                (
                    "mangle",
                    "PREROUTING",
                    "-j DSCP --set-dscp 8",
                    EffectKind::Other("DSCP".to_owned()),
                    [Yes; 3],
                ),
                (
                    "mangle",
                    "FORWARD",
                    "-m conntrack --ctstate NEW -j DROP",
                    EffectKind::Drop,
                    [Perhaps; 3],
                ),
                (
                    "nat",
                    "POSTROUTING",
                    "-s A -j MASQUERADE",
                    redirect("MASQUERADE"),
                    [Yes, Yes, No],
                ),
                (
                    "filter",
                    "FORWARD",
                    "-s A -j REJECT",
                    EffectKind::Drop,
                    [Yes, Yes, No],
                ),
            ] {
                net.iptables(&format!("-w -t {table} -A {chain} {rule}"));
                let effects = effects(inside, net.table, table, chain);
                assert_eq!(kinds(&effects), std::slice::from_ref(&kind), "{rule}");
                let found = [
                    net.packets(net.a, net.b, Some("a0")),
                    net.packets(net.a, net.b, Some("x9")),
                    net.packets(net.other, net.b, Some("a0")),
                ]
                .map(|packets| meeting(&effects, &kind, &packets));
                assert_eq!(found, expected, "{} {rule}: {effects:#?}", net.program);
                net.iptables(&format!("-w -t {table} -F {chain}"));
            }
            // A chain of its own, and what comes before.
            for line in ["-N OWN", "-A OWN -i a0 -j RETURN", "-A OWN -j DROP"] {
                net.iptables(&format!("-w -t raw {line}"));
            }
            net.iptables("-w -t raw -A PREROUTING -s A -j OWN");
            let effects = effects(inside, net.table, "raw", "PREROUTING");
            let met = |source, iif| {
                let packets = net.packets(source, net.any, Some(iif));
                meeting(&effects, &EffectKind::Drop, &packets)
            };
            assert_eq!(met(net.a, "a0"), No);
            assert_eq!(met(net.a, "x9"), Yes);
            assert_eq!(met(net.other, "x9"), No);
            // No legacy table was touched.
            let legacy = legacy_tables(inside, net.family).expect("asked");
            assert_eq!(legacy, <[String; 0]>::default());
        }
    });
}

#[test]
fn many_rules_are_read_whole() {
    alone(|inside| {
        let rules: String = (0..6000)
            .map(|n| format!("ip saddr 10.{}.{}.0/24 drop\n", n / 250, n % 250))
            .collect();
        nft(&format!(
            "table ip t {{ chain c {{ type filter hook prerouting priority 0;\n{rules} }} }}"
        ));
        let effects = effects(inside, TableFamily::Ip, "t", "c");
        assert_eq!(effects.iter().count(), 6000);
        let [v4, _] = &NETS;
        let packets = v4.packets("10.7.6.0/24", v4.b, None);
        let met: Vec<_> = effects
            .meetings(&packets)
            .into_iter()
            .filter(|(_, meeting)| *meeting != Meeting::No)
            .collect();
        assert!(matches!(met[..], [(_, Meeting::Yes)]), "{met:?}");
        let handles: BTreeSet<_> = effects.iter().map(|effect| effect.rule).collect();
        assert_eq!(handles.len(), 6000);
    });
}

#[test]
fn rules_that_change_meanwhile_are_read_as_of_one_moment() {
    alone(|inside| {
        // Each generation has a pair: a chain of that number, and a rule that jumps to it.
        let script = |n: u32| {
            format!(
                "table ip t {{}}
                 delete table ip t
                 table ip t {{
                   chain n{n} {{ drop; }}
                   chain c {{ type filter hook prerouting priority 0; jump n{n}; }}
                 }}"
            )
        };
        nft(&script(0));
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..60 {
                    nft(&script(n));
                }
                ended.store(true, Ordering::Release);
            });
            let mut reads = 0;
            while !ended.load(Ordering::Acquire) {
                let effects = effects(inside, TableFamily::Ip, "t", "c");
                assert_eq!(kinds(&effects), [EffectKind::Drop]);
                reads += 1;
            }
            assert!(reads > 10, "{reads}");
        });
    });
}
