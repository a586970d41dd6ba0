//! What the fast path bypasses is told before it bites, each rule in its group; and a machine's packets take it only over what changes
//! nothing, or was accepted.

use netpath::{
    Ends as _,
    audit::{Act, Group, Item, ItemKind},
    provision::{self, FastPathMode, Selection, UpOptions},
};
use netpath_tests::{
    lab::{Lab, addresses, attaches_by_filters, on_a_machine, portrait, run},
    netpath,
};

/// Runs the same for both families.
fn iptables(rule: &str) {
    for command in ["iptables", "ip6tables"] {
        run(&format!("{command} -w {rule}"));
    }
}

/// Rules that accept what goes between pods, as network plugins put them beside a policy of DROP.
fn accept_pods() {
    for (command, pods) in [("iptables", "10.0.0.0/8"), ("ip6tables", "fd00::/8")] {
        for side in ["-s", "-d"] {
            run(&format!("{command} -w -A FORWARD {side} {pods} -j ACCEPT"));
        }
    }
}

fn items(lab: &Lab) -> Vec<Item> {
    let audited = provision::audit(Some(lab.topology()), None);
    let mut audited = audited.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(audited.len(), 1);
    audited.remove(0).items
}

/// The one item in which all of these words stand.
fn item(items: &[Item], words: &[&str]) -> Item {
    let line = |item: &Item| format!("{} {}", item.place, item.text);
    let is_it = |item: &&Item| words.iter().all(|word| line(item).contains(word));
    let mut found = items.iter().filter(is_it);
    let first = found
        .next()
        .unwrap_or_else(|| panic!("no {words:?} in {items:#?}"));
    assert_eq!(found.next(), None, "{words:?}");
    first.clone()
}

#[track_caller]
fn assert_group(items: &[Item], words: &[&str], group: Group, acts: &[Act]) {
    let found = item(items, words);
    assert_eq!(
        (found.group, found.acts.as_slice()),
        (group, acts),
        "{found:?}"
    );
}

/// As a file that accepts nothing.
fn asks(lab: &mut Lab) {
    lab.edit("bypass = [\"forward\"]\n", "");
}

fn plain() -> UpOptions {
    UpOptions::default()
}

fn machine() -> String {
    portrait(&netpath::netns::Netns::current().expect("namespace"))
}

#[test]
fn a_machines_packets_take_it_only_where_that_is_accepted() {
    on_a_machine(|lab| {
        asks(lab);
        let before = machine();
        for result in [
            lab.try_converge(),
            provision::plan(lab.topology(), &plain()),
        ] {
            let error = result.expect_err("refused");
            assert!(error.is_refusal(), "{error}");
            let told = error.to_string();
            for words in [
                "ip filter FORWARD: policy DROP",
                "ip6 filter FORWARD: policy DROP",
                "from 10.0.",
                "--accept-bypass",
            ] {
                assert!(told.contains(words), "no {words} in {told}");
            }
            assert_eq!(machine(), before);
        }
        // What takes no packets bypasses nothing.
        lab.set_options(UpOptions {
            fast_path: Some(false),
            ..plain()
        });
        lab.converge();
        let node = lab.name("H");
        let switch = |mode: FastPathMode, accept_bypass, endpoint: Option<String>| {
            let selection = Selection {
                node: Some(node.clone()),
                endpoint,
                accept_bypass,
                ..Selection::default()
            };
            provision::set_fast_path(mode, &selection, &mut |_| {})
        };
        lab.fast_path(FastPathMode::Shadow, "H", None);
        for endpoint in [None, Some(lab.name("a1"))] {
            let error = switch(FastPathMode::On, false, endpoint).expect_err("refused");
            assert!(
                error.is_refusal() && error.to_string().contains("policy DROP"),
                "{error}"
            );
        }
        lab.assert_loses("a1", addresses("a2")[0]);
        switch(FastPathMode::On, true, None).expect("accepted");
        lab.assert_reaches("a1", addresses("a2")[0], 63);
        // It is remembered: nobody is asked again.
        lab.set_options(plain());
        assert_eq!(lab.converge(), Vec::<String>::new());
        switch(FastPathMode::Off, false, None).expect("off");
        assert_eq!(lab.converge(), Vec::<String>::new());
        switch(FastPathMode::On, false, None).expect("on again");
        assert_eq!(lab.plan(), Vec::<String>::new());
        assert_group(
            &items(lab),
            &["ip filter FORWARD", "policy"],
            Group::Accepted,
            &[Act::Drop],
        );
        lab.down();
        assert!(lab.try_converge().is_err(), "accepted for ever");
        lab.set_options(UpOptions {
            accept_bypass: true,
            ..plain()
        });
        lab.converge();
        lab.set_options(plain());
        assert_eq!(lab.converge(), Vec::<String>::new());
        lab.down();
        // A file may say it, too.
        lab.edit(
            "netns = \"host\"",
            "netns = \"host\"\nbypass = [\"forward\"]",
        );
        lab.converge();
        lab.assert_reaches("a1", addresses("a2")[0], 63);
    });
}

#[test]
fn what_accepts_pods_traffic_beside_a_policy_of_drop_changes_nothing() {
    on_a_machine(|lab| {
        asks(lab);
        // Docker's and kube-proxy's, which do not concern pods.
        for rule in [
            "-N DOCKER-USER",
            "-N DOCKER",
            "-N KUBE-FORWARD",
            "-A FORWARD -j DOCKER-USER",
            "-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A FORWARD -o docker0 -j DOCKER",
            "-A FORWARD -i docker0 ! -o docker0 -j ACCEPT",
            "-A DOCKER-USER -j RETURN",
            "-A DOCKER ! -i docker0 -o docker0 -j DROP",
            "-A FORWARD -m comment --comment kube -j KUBE-FORWARD",
            "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
            "-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT",
            "-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        ] {
            iptables(rule);
        }
        for rule in [
            "-t nat -N KUBE-NODEPORTS",
            "-t nat -N KUBE-POSTROUTING",
            "-t nat -A PREROUTING -d 10.96.0.10/32 -p tcp -m tcp --dport 53 -j DNAT --to-destination 10.0.2.2:53",
            "-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",
            "-t nat -A KUBE-NODEPORTS -p tcp -m tcp --dport 30080 -j DNAT --to-destination 10.0.2.2:80",
            "-t nat -A POSTROUTING -j KUBE-POSTROUTING",
            "-t nat -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
            "-t nat -A KUBE-POSTROUTING -j MASQUERADE",
            "-t nat -A POSTROUTING -s 10.0.0.0/8 ! -d 10.0.0.0/8 -j MASQUERADE",
            "-t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
        ] {
            run(&format!("iptables -w {rule}"));
        }
        // The rest falls to the policy: only what is known to be a connection's is accepted.
        let found = items(lab);
        for family in ["ip filter FORWARD", "ip6 filter FORWARD"] {
            assert_group(&found, &[family, "policy"], Group::Changes, &[Act::Drop]);
        }
        accept_pods();
        let found = items(lab);
        let others: Vec<&Item> = found
            .iter()
            .filter(|it| it.group != Group::NoEffect)
            .collect();
        assert_eq!(others, Vec::<&Item>::new());
        let policy = item(&found, &["ip filter FORWARD", "policy"]);
        assert_eq!(policy.why, "rules before it accept all that is routed");
        lab.converge();
        lab.assert_reaches("a1", addresses("a2")[0], 63);
        lab.assert_reaches("a1", addresses("b1")[1], 63);
    });
}

#[test]
fn each_rule_is_in_its_group() {
    on_a_machine(|lab| {
        iptables("-P FORWARD ACCEPT");
        asks(lab);
        let (yes, no) = (Group::Changes, Group::NoEffect);
        let telnet = "-p tcp -m tcp --dport 23 -j DROP";
        for rule in [
            "-A FORWARD -s 192.0.2.0/24 -j DROP",
            &format!("-A FORWARD {telnet}"),
            "-A FORWARD -s 10.0.1.2/32 -m limit --limit 5/min -j LOG",
            "-A FORWARD -d 10.0.3.0/24 -j REJECT",
            "-A FORWARD -m conntrack --ctstate INVALID -j DROP",
            "-A FORWARD -i nowhere0 -j DROP",
            "-A FORWARD -s 10.0.2.2/32 -j ACCEPT",
            "-A FORWARD -s 10.0.2.2/32 -j DROP",
            "-t nat -A POSTROUTING -o up0 -j MASQUERADE",
            "-t nat -A PREROUTING -s 10.0.1.2/32 -d 10.0.2.2/32 -p udp -j DNAT --to-destination 10.0.3.2",
        ] {
            run(&format!("iptables -w {rule}"));
        }
        for rule in [
            "add table inet t",
            "add set inet t s { type ipv4_addr ; }",
            "add map inet t m { type ipv6_addr : verdict ; }",
            "add chain inet t f { type filter hook forward priority 1 ; policy accept ; }",
            "add rule inet t f ip saddr @s counter drop",
            "add element inet t m { fd00:1::2 : drop }",
            "add rule inet t f ip6 saddr vmap @m",
            "add rule inet t f ip6 daddr fd00:2::2 counter drop",
            "add rule inet t f meta mark 7 drop",
            "add rule inet t f ct state invalid counter drop",
            "add rule inet t f ct state established,related accept",
            "add rule inet t f ip6 saddr fd00:99::/32 drop",
        ] {
            run(&format!("nft {rule}"));
        }
        let found = items(lab);
        for (words, group, acts) in [
            (&["-s 192.0.2.0/24 -j DROP"][..], no, &[Act::Drop][..]),
            (&[telnet], yes, &[Act::Drop]),
            (&["-j LOG"], yes, &[Act::Log]),
            (&["-j REJECT"], yes, &[Act::Drop]),
            (&["--ctstate INVALID"], no, &[Act::Drop]),
            (&["nowhere0"], no, &[Act::Drop]),
            (&["-s 10.0.2.2/32 -j ACCEPT"], no, &[]),
            (&["-s 10.0.2.2/32 -j DROP"], no, &[Act::Drop]),
            (&["-o up0 -j MASQUERADE"], yes, &[Act::Rewrite]),
            (&["-j DNAT"], yes, &[Act::Rewrite]),
            (&["inet t f", "@s"], Group::Unknown, &[Act::Drop]),
            (&["inet t f", "@m"], Group::Unknown, &[Act::Drop]),
            (&["inet t f", "fd00:2::2"], yes, &[Act::Drop]),
            (&["inet t f", "0x00000007"], no, &[Act::Drop]),
            (&["inet t f", "ct state invalid"], no, &[Act::Drop]),
            (&["inet t f", "established"], no, &[]),
            (&["inet t f", "fd00:99::/32"], no, &[Act::Drop]),
            (&["inet t f", "policy ACCEPT"], no, &[]),
            (&["ip filter FORWARD", "policy ACCEPT"], no, &[]),
        ] {
            assert_group(&found, words, group, acts);
        }
        assert!(item(&found, &["inet t f", "@s"]).why.contains("set s"));
        assert!(item(&found, &["inet t f", "@m"]).why.contains("map m"));
        let rejected = item(&found, &["-j REJECT"]);
        assert_eq!(rejected.why, "from 10.0.1.2 to 10.0.3.0/24");
        assert_eq!((rejected.kind, rejected.reason), (ItemKind::Rule, None));
    });
}

/// What netpath leaves to the kernel anyway is no change, and neither is what would come behind it.
#[test]
fn what_is_heeded_is_the_kernels() {
    on_a_machine(|lab| {
        iptables("-P FORWARD ACCEPT");
        asks(lab);
        lab.converge();
        for rule in [
            "-t raw -A PREROUTING -s 10.0.1.2/32 -p udp -j DROP",
            "-t mangle -A PREROUTING -s 10.0.2.2/32 -j LOG",
            "-A FORWARD -s 10.0.1.2/32 -d 10.0.2.2/32 -j DROP",
            "-A FORWARD -s 10.0.2.2/32 -d 10.0.3.2/32 -j DROP",
        ] {
            run(&format!("iptables -w {rule}"));
        }
        run("tc qdisc add dev va2 root pfifo limit 100");
        if !attaches_by_filters() {
            run("tc qdisc add dev va2 ingress");
        }
        run("tc filter add dev va2 ingress protocol all pref 7 u32 match u32 0 0 flowid 1:1");
        lab.set_sysctl("H", "ipv4/conf/up0/rp_filter", "1");
        lab.converge();
        let found = items(lab);
        let heeded = item(&found, &["raw PREROUTING", "-j DROP"]);
        assert_eq!(
            (heeded.group, heeded.reason.map(|it| it.name())),
            (Group::Heeded, Some("rules"))
        );
        // A log is no reason to leave packets to the kernel; here they are it for another.
        let of_a1 = item(&found, &["-s 10.0.1.2/32 -d 10.0.2.2/32"]);
        let of_a2 = item(&found, &["-s 10.0.2.2/32 -d 10.0.3.2/32"]);
        assert_eq!([of_a1.group, of_a2.group], [Group::NoEffect; 2]);
        let shaped = item(&found, &["va2", "egress: qdisc pfifo"]);
        assert_eq!(
            (shaped.group, shaped.reason.map(|it| it.name())),
            (Group::Heeded, Some("shaped"))
        );
        let filtered = item(&found, &["va2", "ingress: filter u32 pref 7"]);
        assert_eq!(filtered.group, Group::Heeded);
        let filter = item(&found, &["up0", "rp_filter strict"]);
        assert_eq!(
            (filter.kind, filter.group),
            (ItemKind::ReversePathFilter, Group::Heeded)
        );
        // What is accepted is bypassed, and told.
        lab.edit(
            "netns = \"host\"",
            "netns = \"host\"\nbypass = [\"shaped\"]",
        );
        lab.converge();
        let found = items(lab);
        assert_eq!(item(&found, &["va2", "egress"]).group, Group::Accepted);
        assert_group(
            &found,
            &["mangle PREROUTING", "-j LOG"],
            Group::Changes,
            &[Act::Log],
        );
        assert_group(
            &found,
            &["-s 10.0.2.2/32 -d 10.0.3.2/32"],
            Group::Changes,
            &[Act::Drop],
        );
        assert_eq!(
            item(&found, &["-s 10.0.1.2/32 -d 10.0.2.2/32"]).group,
            Group::NoEffect
        );
    });
}

/// Whatever has met a rule is counted there, also by connection tracking's view of it.
#[test]
fn counters_are_the_kernels() {
    on_a_machine(|lab| {
        iptables("-P FORWARD ACCEPT");
        run("iptables -w -A FORWARD -s 10.0.1.2/32 -d 10.0.2.2/32 -p icmp -j LOG");
        run("nft add table ip6 t");
        run("nft add chain ip6 t f { type filter hook forward priority 1 ; policy accept ; }");
        run("nft add rule ip6 t f ip6 daddr fd00:2::2 counter accept");
        lab.converge();
        let packets = |lab: &Lab| {
            let found = items(lab);
            [
                &["-j LOG"][..],
                &["ip6 t f", "fd00:2::2"],
                &["ip filter FORWARD", "policy"],
            ]
            .map(|words| item(&found, words).count.expect("counted").packets)
        };
        let before = packets(lab);
        for dst in addresses("a2") {
            lab.assert_reaches("a1", dst, 63);
        }
        assert_eq!(packets(lab), before, "on the fast path");
        lab.fast_path(FastPathMode::Shadow, "H", None);
        for dst in addresses("a2") {
            lab.assert_reaches("a1", dst, 63);
        }
        // Three and their answers.
        let counted = packets(lab);
        assert_eq!(
            [
                counted[0] - before[0],
                counted[1] - before[1],
                counted[2] - before[2]
            ],
            [3, 3, 6]
        );
    });
}

#[test]
fn legacy_tables_are_read() {
    on_a_machine(|lab| {
        iptables("-P FORWARD ACCEPT");
        asks(lab);
        for rule in [
            "-P FORWARD DROP",
            "-A FORWARD -s 10.0.0.0/16 -d 10.0.0.0/16 -j ACCEPT",
            "-A FORWARD ! -i va1 -p tcp -m tcp --dport 23 -j DROP",
        ] {
            run(&format!("iptables-legacy -w {rule}"));
        }
        let found = items(lab);
        assert_group(
            &found,
            &["legacy ip filter FORWARD", "--dport 23"],
            Group::NoEffect,
            &[Act::Drop],
        );
        assert_group(
            &found,
            &["legacy ip filter FORWARD", "policy"],
            Group::NoEffect,
            &[Act::Drop],
        );
        run("iptables-legacy -w -D FORWARD 1");
        let found = items(lab);
        assert_group(
            &found,
            &["legacy ip filter FORWARD", "--dport 23"],
            Group::Changes,
            &[Act::Drop],
        );
        let policy = item(&found, &["legacy ip filter FORWARD", "policy"]);
        assert_eq!(
            (policy.group, policy.count.map(|it| it.packets)),
            (Group::Changes, Some(0))
        );
        let error = lab.try_converge().expect_err("refused").to_string();
        assert!(error.contains("legacy ip filter FORWARD"), "{error}");
    });
}

/// Legacy rules outside of filter FORWARD are heeded as those of nf_tables are, unless that is accepted.
#[test]
fn legacy_rules_outside_of_filter_are_heeded() {
    on_a_machine(|lab| {
        iptables("-P FORWARD ACCEPT");
        for command in ["iptables-legacy", "ip6tables-legacy"] {
            run(&format!(
                "{command} -w -t mangle -A PREROUTING -i va1 -j DROP"
            ));
            run(&format!("{command} -w -t raw -A PREROUTING -i va1 -j LOG"));
        }
        asks(lab);
        let is = |group, acts: &[Act], lab: &Lab| {
            let found = items(lab);
            for family in ["ip", "ip6"] {
                let place = format!("legacy {family} mangle PREROUTING");
                assert_group(&found, &[&place, "-j DROP"], group, acts);
            }
        };
        is(Group::Heeded, &[Act::Drop], lab);
        // What it would have logged is passed by, and that is asked about.
        let error = lab.try_converge().expect_err("refused").to_string();
        assert!(
            error.contains("legacy ip raw PREROUTING") && !error.contains("mangle"),
            "{error}"
        );
        for command in ["iptables-legacy", "ip6tables-legacy"] {
            run(&format!("{command} -w -t raw -F"));
        }
        lab.converge();
        for to in addresses("a2") {
            lab.assert_loses("a1", to);
        }
        is(Group::Heeded, &[Act::Drop], lab);
        lab.edit("netns = \"host\"", "netns = \"host\"\nbypass = [\"rules\"]");
        lab.converge();
        is(Group::Accepted, &[Act::Drop], lab);
        for to in addresses("a2") {
            lab.assert_reaches("a1", to, 63);
        }
    });
}

/// Which packets a set has is not known: what drops these is not passed by in silence.
#[test]
fn a_drop_of_what_is_in_a_set_is_asked_about() {
    on_a_machine(|lab| {
        iptables("-P FORWARD ACCEPT");
        for line in [
            "nft add table inet walls",
            "nft add set inet walls bad { type ipv4_addr ; }",
            "nft add element inet walls bad { 10.0.2.2 }",
            "nft add chain inet walls forward { type filter hook forward priority 0 ; }",
            "nft add rule inet walls forward ip daddr @bad counter drop",
        ] {
            run(line);
        }
        asks(lab);
        let dropped = item(&items(lab), &["inet walls forward", "@bad"]);
        assert_eq!((dropped.group, dropped.may_drop), (Group::Unknown, true));
        let error = lab.try_converge().expect_err("refused").to_string();
        assert!(
            error.contains("@bad") && error.contains("--accept-bypass"),
            "{error}"
        );
        // What only looks, or accepts, is nobody's loss.
        run("nft flush chain inet walls forward");
        run("nft add rule inet walls forward ip daddr @bad counter accept");
        lab.converge();
        lab.assert_reaches("a1", addresses("a2")[0], 63);
        run("nft delete table inet walls");
    });
}

#[test]
fn the_command_tells_and_ends_accordingly() {
    on_a_machine(|lab| {
        asks(lab);
        let file = std::env::temp_dir().join(format!("{}audit.toml", lab.prefix()));
        std::fs::write(&file, lab.text()).expect("a file");
        let file = file.to_str().expect("text").to_owned();
        let told = |arguments: &[&str]| {
            let output = netpath(arguments).output().expect("start netpath");
            let text = String::from_utf8(output.stdout).expect("text");
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.code(), text, stderr)
        };
        let (code, text, stderr) = told(&["audit", "-f", &file]);
        assert_eq!(code, Some(3), "{text}{stderr}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert!(
            text.contains("changes") && text.contains("policy DROP"),
            "{text}"
        );
        let (code, _, stderr) = told(&["up", "-f", &file]);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains("--accept-bypass"), "{stderr}");
        let (code, _, stderr) = told(&["up", "-f", &file, "--accept-bypass"]);
        assert_eq!(code, Some(0), "{stderr}");
        let node = lab.name("H");
        let (code, text, stderr) = told(&["audit", "--node", &node, "-j"]);
        assert_eq!(code, Some(0), "{text}{stderr}");
        let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let audited = &document["nodes"][0];
        assert_eq!(
            (&document["version"], &audited["fast_path"]),
            (&1.into(), &"on".into())
        );
        assert_eq!(audited["changes_behaviour"], false);
        let policy = audited["items"].as_array().expect("items").iter();
        let mut policy =
            policy.filter(|it| it["kind"] == "policy" && it["place"] == "ip filter FORWARD");
        assert_eq!(policy.next().expect("it")["group"], "accepted");
        assert_eq!(told(&["up", "-f", &file]).0, Some(0));
        assert_eq!(told(&["audit", "--node", "nobody"]).0, Some(1));
        std::fs::remove_file(&file).expect("removed");
    });
}

/// A lab is netpath's own: nobody is asked.
#[test]
fn a_lab_is_not_asked() {
    let lab = Lab::up(netpath_tests::lab::TWO_NODES);
    let audited = provision::audit(None, Some(&lab.name("A"))).expect("audited");
    assert!(audited[0].changes_behaviour());
}
