//! The rules of iptables-nft and ip6tables-nft.

use netpath::netfilter::{
    legacy_tables,
    nft::{EffectKind, Meeting},
};

use super::*;

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
