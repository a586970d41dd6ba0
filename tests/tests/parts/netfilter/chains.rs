//! Chains: those at hooks, and those that are jumped to.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use netpath::netfilter::{
    Policy,
    nft::{
        EffectKind, Elements, Hook, Meeting, NamePattern, Operation, Packets, Ruleset, TableFamily,
        Verdict,
    },
};

use super::*;

#[test]
fn base_chains_are_read() {
    alone(|inside| {
        assert_eq!(
            Ruleset::read(inside, Elements::OfVerdicts).expect("asked"),
            Ruleset::default()
        );
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
        let ruleset = Ruleset::read(inside, Elements::OfVerdicts).expect("ruleset");
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
        let operations = &ruleset.chains[&id].rules[0].operations;
        assert!(
            matches!(
                operations[..],
                [
                    Operation::Counter(Some(_)),
                    Operation::Verdict(Verdict::Accept)
                ]
            ),
            "{operations:?}"
        );
        assert_eq!(
            base(&ruleset, TableFamily::Inet, "t", "in").1.policy,
            Policy::Accept
        );
        // Those that are not called are there too, but for those of a table that is switched off.
        assert_eq!(ruleset.chains.len(), 9);
        assert!(ruleset.chains.keys().all(|id| id.table != "z"));
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
