//! What single rules match and do.

use std::fs;

use netpath::netfilter::nft::{EffectKind, Meeting, TableFamily};

use super::*;

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
                vec![other("@nh,64,16")],
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
