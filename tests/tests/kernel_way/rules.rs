//! Random routes, settings and rules of the router.

use std::fmt::Write as _;

use netpath::random::SplitMix64;
use netpath_common::Family;

use super::world::{DEAD, ip, narrow, wide};

/// A program with its arguments and its input.
pub type Call = (&'static str, Vec<&'static str>, String);

fn one<T: Copy>(random: &mut SplitMix64, of: &[T]) -> T {
    of[random.below(of.len())]
}

fn chance(random: &mut SplitMix64, percent: usize) -> bool {
    random.below(100) < percent
}

/// Lines for `ip -batch`.
pub fn routes(family: Family, random: &mut SplitMix64) -> String {
    let via = |side, last| ip(family, [side, 0, last]);
    let mut script = String::new();
    let mut add = |text: String| writeln!(script, "{text}").expect("a string");
    for (x, next) in [(20, via(2, 2)), (30, via(3, 3)), (50, via(2, DEAD))] {
        let mtu = match random.below(4) {
            0 => " mtu 1300",
            1 => " mtu lock 1300",
            _ => "",
        };
        add(format!("route add {} via {next}{mtu}", wide(family, x)));
    }
    add(format!(
        "route add {} nexthop via {} nexthop via {}",
        wide(family, 60),
        via(2, 2),
        via(3, 3)
    ));
    for (x, kind) in [(40, "unreachable"), (41, "blackhole"), (42, "prohibit")] {
        add(format!("route add {kind} {}", wide(family, x)));
    }
    add(format!("route add default via {} table 100", via(3, 3)));
    let kind = one(random, &["unreachable", "blackhole", "prohibit", "throw"]);
    add(format!("route add {kind} default table 101"));
    for (mark, table) in [(1, 100), (2, 101)] {
        if chance(random, 70) {
            add(format!(
                "rule add fwmark {mark} table {table} prio {}",
                100 + mark
            ));
        }
    }
    let to = narrow(family, [20, 5]);
    for (rule, percent) in [
        (format!("to {to} table 100"), 50),
        (format!("to {to} iif r0 table 101"), 20),
        ("ipproto tcp dport 8080 table 100".to_owned(), 20),
        ("ipproto udp dport 5000-5005 table 101".to_owned(), 15),
        (format!("from {} table 100", ip(family, [1, 0, 5])), 15),
        (format!("tos 0x10 to {} table 100", wide(family, 30)), 20),
        (format!("to {} prohibit", narrow(family, [30, 3])), 20),
        (format!("to {} blackhole", narrow(family, [30, 4])), 20),
    ] {
        if chance(random, percent) {
            add(format!("rule add {rule} prio {}", 200 + random.below(100)));
        }
    }
    script
}

/// Sysctls, in the order in which they are set.
pub fn settings(family: Family, random: &mut SplitMix64) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut add = |key: &str, value: usize| found.push((key.to_owned(), value.to_string()));
    match family {
        Family::V4 => {
            add("ipv4/ip_forward", usize::from(chance(random, 95)));
            if chance(random, 5) {
                add("ipv4/conf/r0/forwarding", 0);
            }
            add("ipv4/conf/all/rp_filter", one(random, &[0, 0, 0, 1, 2]));
            add("ipv4/conf/r0/rp_filter", one(random, &[0, 0, 0, 1, 2]));
            add("ipv4/conf/r1/rp_filter", one(random, &[0, 0, 0, 2]));
            add("ipv4/conf/all/src_valid_mark", random.below(2));
            add("ipv4/ip_forward_use_pmtu", random.below(2));
            add("ipv4/fib_multipath_hash_policy", random.below(2));
        }
        Family::V6 => {
            add("ipv6/conf/all/forwarding", usize::from(chance(random, 95)));
            if chance(random, 3) {
                add("ipv6/conf/r1/disable_ipv6", 1);
            }
            add("ipv6/fib_multipath_hash_policy", random.below(2));
        }
    }
    found
}

/// Rules of `iptables-nft` and of `nft`.
pub fn netfilter(family: Family, random: &mut SplitMix64) -> Vec<Call> {
    let mut calls = Vec::new();
    if chance(random, 75) {
        let legacy = chance(random, 30);
        let program = match (family, legacy) {
            (Family::V4, false) => "iptables-nft-restore",
            (Family::V6, false) => "ip6tables-nft-restore",
            (Family::V4, true) => "iptables-legacy-restore",
            (Family::V6, true) => "ip6tables-legacy-restore",
        };
        let mut iptables = Iptables {
            family,
            legacy,
            random,
        };
        calls.push((program, Vec::new(), iptables.all()));
    }
    if chance(random, 60) {
        let own = if family == Family::V4 { "ip" } else { "ip6" };
        let mut nft = Nft {
            family,
            table: one(random, &["inet", own]),
            random,
        };
        calls.push(("nft", vec!["-f", "-"], nft.all()));
    }
    calls
}

struct Iptables<'a> {
    family: Family,
    /// Of legacy rules less is understood.
    legacy: bool,
    random: &'a mut SplitMix64,
}

impl Iptables<'_> {
    fn all(&mut self) -> String {
        let mut text = String::new();
        for table in ["raw", "mangle", "nat", "filter"] {
            if chance(self.random, 60) {
                text.push_str(&self.table(table));
            }
        }
        text
    }

    fn table(&mut self, table: &'static str) -> String {
        let chains: &[&str] = match table {
            "raw" => &["PREROUTING", "OUTPUT"],
            "mangle" => &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
            "nat" => &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
            _ => &["INPUT", "FORWARD", "OUTPUT"],
        };
        let mut text = format!("*{table}\n");
        for chain in chains {
            let drops = table == "filter" && *chain == "FORWARD" && chance(self.random, 25);
            let policy = if drops { "DROP" } else { "ACCEPT" };
            writeln!(text, ":{chain} {policy} [0:0]").expect("a string");
        }
        for user in ["USER", "OTHER"] {
            writeln!(text, ":{user} - [0:0]").expect("a string");
        }
        for chain in chains.iter().chain(&["USER", "OTHER"]) {
            for _ in 0..self.random.below(4) {
                let rule = self.rule(table, chain);
                writeln!(text, "-A {chain} {rule}").expect("a string");
            }
        }
        text + "COMMIT\n"
    }

    fn rule(&mut self, table: &str, chain: &str) -> String {
        // What the router itself says, and what finds neighbours, is left alone.
        let is_free = matches!(chain, "FORWARD" | "PREROUTING") && self.family == Family::V4;
        let protocol = match is_free {
            true => one(self.random, &["", "", "-p udp", "-p tcp"]),
            // Resets are TCP.
            false if chain == "OUTPUT" => "-p udp",
            false => one(self.random, &["-p udp", "-p tcp"]),
        };
        let mut words = vec![protocol.to_owned()];
        for _ in 0..self.random.below(3) {
            let condition = self.condition(table, chain, protocol);
            // Most options may be given once.
            if !words.iter().any(|word| option(word) == option(&condition)) {
                words.push(condition);
            }
        }
        words.push(self.target(table, chain, protocol));
        words.retain(|word| !word.is_empty());
        words.join(" ")
    }

    fn condition(&mut self, table: &str, chain: &str, protocol: &str) -> String {
        let family = self.family;
        let icmp = match family {
            Family::V4 => "-p icmp --icmp-type echo-request",
            Family::V6 => "-p icmpv6 --icmpv6-type echo-request",
        };
        let early = table == "raw";
        if chance(self.random, 1) {
            return one(
                self.random,
                &[
                    "-m limit --limit 1/hour --limit-burst 1",
                    "-m statistic --mode random --probability 0.5",
                    "-m recent --name x --rcheck",
                ],
            )
            .to_owned();
        }
        let choice = self.random.below(if self.legacy { 16 } else { 22 });
        match choice {
            0 => format!("-d {}", wide(family, one(self.random, &[2, 3, 20, 30]))),
            1 => format!("! -d {}", narrow(family, [2, 0])),
            2 => format!("-s {}", ip(family, [1, 0, 2 + self.random.below(10) as u8])),
            3 => format!("-s {}", wide(family, 1)),
            4 if !matches!(chain, "OUTPUT" | "POSTROUTING" | "USER" | "OTHER") => {
                one(self.random, &["-i r0", "-i r1", "! -i r0", "-i r+"]).to_owned()
            }
            5 if !matches!(chain, "PREROUTING" | "INPUT" | "USER" | "OTHER") => {
                one(self.random, &["-o r1", "-o r2", "! -o r2"]).to_owned()
            }
            6 if protocol == "-p udp" => {
                one(self.random, &["--dport 53", "--sport 20000:20004"]).to_owned()
            }
            7 if protocol == "-p tcp" => one(
                self.random,
                &["--dport 80", "--syn", "! --syn", "--tcp-flags RST RST"],
            )
            .to_owned(),
            8 if !protocol.is_empty() => "-m multiport --dports 80,443,5000:6000".to_owned(),
            9 => one(
                self.random,
                &["-m mark --mark 1", "-m mark ! --mark 0x2/0xf"],
            )
            .to_owned(),
            10 if !early => "-m conntrack --ctstate NEW".to_owned(),
            11 if !early => "-m conntrack --ctstate RELATED,ESTABLISHED".to_owned(),
            12 if !early => one(
                self.random,
                &[
                    "-m conntrack --ctstate INVALID",
                    "-m conntrack ! --ctstate INVALID,UNTRACKED",
                ],
            )
            .to_owned(),
            13 if !early => one(
                self.random,
                &[
                    "-m conntrack --ctstate DNAT",
                    "-m conntrack ! --ctstate DNAT",
                ],
            )
            .to_owned(),
            14 => one(
                self.random,
                &[
                    "-m addrtype --dst-type LOCAL",
                    "-m addrtype ! --dst-type LOCAL",
                    "-m addrtype --src-type UNICAST",
                ],
            )
            .to_owned(),
            15 => "-m comment --comment words".to_owned(),
            16 => match family {
                Family::V4 => one(self.random, &["-m ttl --ttl-lt 40", "-m ttl --ttl-eq 63"]),
                Family::V6 => one(self.random, &["-m hl --hl-lt 40", "-m hl --hl-eq 63"]),
            }
            .to_owned(),
            17 => one(
                self.random,
                &["-m length --length 0:200", "-m length ! --length 1300:1400"],
            )
            .to_owned(),
            18 if protocol.is_empty() => icmp.to_owned(),
            19 => one(
                self.random,
                &["-m dscp --dscp 0x2e", "-m tos --tos 0x10/0xff"],
            )
            .to_owned(),
            20 => format!(
                "-m iprange --dst-range {}-{}",
                ip(family, [2, 0, 2]),
                ip(family, [20, 3, 0])
            ),
            21 if !early && !protocol.is_empty() => {
                format!(
                    "-m conntrack --ctorigdst {} --ctdir ORIGINAL",
                    wide(family, 2)
                )
            }
            _ => String::new(),
        }
    }

    fn target(&mut self, table: &str, chain: &str, protocol: &str) -> String {
        let family = self.family;
        let is_user = matches!(chain, "USER" | "OTHER");
        let jump = match chain {
            "USER" => "-j OTHER",
            "OTHER" => "-j RETURN",
            _ => one(self.random, &["-j USER", "-j OTHER", "-g USER"]),
        };
        let common = [jump, "-j RETURN", "-j ACCEPT"];
        match table {
            "raw" => one(
                self.random,
                &[jump, "-j ACCEPT", "-j CT --notrack", "-j DROP"],
            )
            .to_owned(),
            "mangle" if self.legacy => one(
                self.random,
                &[
                    jump,
                    "-j MARK --set-mark 1",
                    "-j MARK --set-mark 2",
                    "-j ACCEPT",
                ],
            )
            .to_owned(),
            "mangle" => one(
                self.random,
                &[
                    jump,
                    "-j MARK --set-mark 1",
                    "-j MARK --set-mark 2",
                    "-j MARK --set-xmark 0x10/0xf0",
                    "-j CONNMARK --save-mark",
                    "-j CONNMARK --restore-mark",
                    "-j CONNMARK --set-mark 1",
                    "-j DSCP --set-dscp 0x0a",
                    "-j ACCEPT",
                    "-j RETURN",
                ],
            )
            .to_owned(),
            "nat" if is_user => one(self.random, &["-j RETURN", "-j ACCEPT"]).to_owned(),
            "nat" => self.translation(chain, protocol),
            _ => {
                let reject = match (family, protocol) {
                    (_, "-p tcp") if chance(self.random, 50) => "-j REJECT --reject-with tcp-reset",
                    (Family::V4, _) => one(
                        self.random,
                        &["-j REJECT", "-j REJECT --reject-with icmp-host-prohibited"],
                    ),
                    (Family::V6, _) => one(
                        self.random,
                        &["-j REJECT", "-j REJECT --reject-with icmp6-adm-prohibited"],
                    ),
                };
                // Rules that are shared are not asked about what is told in one hook alone.
                one(
                    self.random,
                    &[
                        common[0],
                        common[1],
                        common[2],
                        "-j ACCEPT",
                        "-j DROP",
                        reject,
                        "-j ACCEPT",
                    ],
                )
                .to_owned()
            }
        }
    }

    fn translation(&mut self, chain: &str, protocol: &str) -> String {
        let family = self.family;
        let with = |address: std::net::IpAddr, port: &str| match (family, port) {
            (_, "") => address.to_string(),
            (Family::V4, port) => format!("{address}:{port}"),
            (Family::V6, port) => format!("[{address}]:{port}"),
        };
        let has_ports = !protocol.is_empty();
        let port = if has_ports {
            one(self.random, &["", "8080", "9000-9010"])
        } else {
            ""
        };
        match chain {
            "PREROUTING" | "OUTPUT" => {
                let to = one(self.random, &[[2, 0, 2], [3, 0, 3], [20, 1, 7], [1, 0, 12]]);
                let net = narrow(family, [2, 0]);
                match self.random.below(6) {
                    2 if self.legacy => "-j ACCEPT".to_owned(),
                    0 if has_ports => "-j REDIRECT --to-ports 9000".to_owned(),
                    1 => "-j RETURN".to_owned(),
                    2 => format!("-j NETMAP --to {net}"),
                    _ => format!("-j DNAT --to-destination {}", with(ip(family, to), port)),
                }
            }
            _ => {
                let from = one(self.random, &[[2, 0, 1], [3, 0, 1], [2, 0, 50]]);
                let port = if port.contains('-') { "" } else { port };
                match self.random.below(5) {
                    0 | 1 if chain == "POSTROUTING" => "-j MASQUERADE".to_owned(),
                    2 => "-j ACCEPT".to_owned(),
                    _ => format!("-j SNAT --to-source {}", with(ip(family, from), port)),
                }
            }
        }
    }
}

/// What a condition is about: its match, or its own option.
fn option(condition: &str) -> Vec<&str> {
    if condition.contains("--syn") {
        return vec!["--tcp-flags"];
    }
    // `--dport` behind `-m multiport` is taken for `--dports`.
    if condition.contains("port") {
        return vec!["port"];
    }
    let words = condition.split(' ').filter(|word| *word != "!");
    match condition.starts_with("-m") {
        true => words.take(2).collect(),
        false => words.take(1).collect(),
    }
}

struct Nft<'a> {
    family: Family,
    /// Of which family its table is.
    table: &'static str,
    random: &'a mut SplitMix64,
}

impl Nft<'_> {
    fn word(&self) -> &'static str {
        match self.family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        }
    }

    fn all(&mut self) -> String {
        let family = self.family;
        let table = self.table;
        let word = self.word();
        let kind = if word == "ip" {
            "ipv4_addr"
        } else {
            "ipv6_addr"
        };
        let (net, host) = (wide(family, 20), ip(family, [2, 0, 2]));
        let other = ip(family, [3, 0, 3]);
        let mut text = format!(
            "table {table} t {{
             set hosts {{ type {kind}; elements = {{ {host}, {} }}; }}
             set nets {{ type {kind}; flags interval; elements = {{ {net}, {} }}; }}
             set pairs {{ type {kind} . inet_service; flags interval; elements = {{ {net} . 50-90, {host} . 443 }}; }}
             map ports {{ type inet_service : mark; elements = {{ 80 : 1, 443 : 2, 53 : 0x10 }}; }}
             map fates {{ type inet_service : verdict; elements = {{ 80 : jump user, 5000 : drop, 9000 : accept }}; }}
             map services {{ type inet_service : {kind}; elements = {{ 80 : {host}, 53 : {other} }}; }}
             chain user {{ {}; }}\n",
            ip(family, [1, 0, 1]),
            narrow(family, [2, 0]),
            self.rules("user", 2)
        );
        for (name, hook, priority, percent) in [
            ("pre", "prerouting", -280, 30),
            ("mark", "prerouting", -140, 50),
            ("forward", "forward", 7, 60),
            ("input", "input", -7, 40),
            ("post", "postrouting", 90, 30),
            ("output", "output", -130, 30),
        ] {
            if chance(self.random, percent) {
                let kind = if name == "output" { "route" } else { "filter" };
                let drops = name == "forward" && chance(self.random, 10);
                let policy = if drops { "drop" } else { "accept" };
                let rules = self.rules(name, 4);
                writeln!(
                    text,
                    "chain on_{name} {{ type {kind} hook {hook} priority {priority}; policy {policy}; {rules}; }}"
                )
                .expect("a string");
            }
        }
        for (name, hook, priority) in [("dnat", "prerouting", -101), ("snat", "postrouting", 101)] {
            if chance(self.random, 40) {
                let rules = self.translations(name);
                writeln!(
                    text,
                    "chain on_{name} {{ type nat hook {hook} priority {priority}; {rules}; }}"
                )
                .expect("a string");
            }
        }
        text.push_str("}\n");
        if chance(self.random, 30) {
            let rules = self.rules("ingress", 2);
            writeln!(
                text,
                "table netdev n {{ chain ingress {{ type filter hook ingress device r0 priority 0; {rules}; }}
}}"
            )
            .expect("a string");
        }
        text
    }

    fn rules(&mut self, chain: &str, most: usize) -> String {
        let count = self.random.below(most + 1);
        let rules: Vec<String> = (0..count).map(|_| self.rule(chain)).collect();
        rules.join("; ")
    }

    fn rule(&mut self, chain: &str) -> String {
        let is_udp = matches!(chain, "output" | "post") || self.random.below(2) == 0;
        let protocol = if is_udp { "udp" } else { "tcp" };
        let mut words = vec![format!("meta l4proto {protocol}")];
        for _ in 0..self.random.below(3) {
            words.push(self.condition(chain));
        }
        words.push("counter".to_owned());
        words.push(self.action(chain));
        words.join(" ")
    }

    fn condition(&mut self, chain: &str) -> String {
        let (word, family) = (self.word(), self.family);
        let has_sets = chain != "ingress";
        let tracks = !matches!(chain, "ingress" | "pre");
        let length = if family == Family::V4 {
            "ttl"
        } else {
            "hoplimit"
        };
        if chance(self.random, 1) {
            return one(
                self.random,
                &["limit rate 1/hour burst 1 packets", "numgen random mod 2 1"],
            )
            .to_owned();
        }
        match self.random.below(17) {
            0 if has_sets => format!("{word} daddr @hosts"),
            1 if has_sets => format!("{word} daddr @nets"),
            2 if has_sets => format!("{word} daddr . th dport @pairs"),
            3 if has_sets => format!("{word} daddr != @nets"),
            4 => format!("{word} saddr {}", wide(family, 1)),
            5 => "th dport { 53, 80, 5000-6000 }".to_owned(),
            6 => "th dport 100-6000".to_owned(),
            7 => "th dport > 400".to_owned(),
            8 => format!("{word} {length} < 40"),
            9 => format!("{word} dscp ef"),
            10 => "meta length > 1000".to_owned(),
            11 => "meta mark 1".to_owned(),
            12 => "meta mark & 0xf0 == 0x10".to_owned(),
            13 if tracks => one(
                self.random,
                &[
                    "ct state new",
                    "ct state { established, related }",
                    "ct state != invalid",
                    "ct state untracked",
                ],
            )
            .to_owned(),
            14 if tracks => "ct status dnat".to_owned(),
            14 if chain == "pre" && family == Family::V6 => one(
                self.random,
                &["fib saddr . mark . iif oif missing", "fib saddr oif \"r1\""],
            )
            .to_owned(),
            15 if chain != "ingress" => "fib daddr type local".to_owned(),
            16 if chain == "forward" => "iifname \"r0\" oifname { \"r1\", \"lo\" }".to_owned(),
            _ => String::new(),
        }
    }

    fn action(&mut self, chain: &str) -> String {
        let word = self.word();
        let length = if self.family == Family::V4 {
            "ttl"
        } else {
            "hoplimit"
        };
        let with = match (self.table, self.family) {
            ("inet", _) => "icmpx type admin-prohibited",
            (_, Family::V4) => "icmp type host-prohibited",
            (_, Family::V6) => "icmpv6 type policy-fail",
        };
        let base: &[&str] = match chain {
            "ingress" => &["accept", "drop", "meta mark set 1", "meta mark set 0x12"],
            "user" => &["return", "accept", "meta mark set 2", "drop"],
            "pre" => &["notrack", "meta mark set 1", "accept", "jump user"],
            "mark" => &[
                "meta mark set th dport map @ports",
                "meta mark set meta mark or 0x1",
                "ct mark set 1",
                "meta mark set ct mark",
                "jump user",
                "accept",
            ],
            "output" => &["meta mark set 1", "meta mark set 2", "accept"],
            "post" => &["accept", "meta mark set 3", "drop"],
            "input" => &["accept", "drop", "jump user", "th dport vmap @fates"],
            _ => &[
                "accept",
                "drop",
                "reject",
                "reject with WITH",
                "jump user",
                "goto user",
                "th dport vmap @fates",
                "return",
                "log prefix \"x\"",
            ],
        };
        match self.random.below(12) {
            0 if chain == "mark" => format!("{word} {length} set 20"),
            1 if chain == "mark" => format!("{word} dscp set af11"),
            _ => one(self.random, base).replace("WITH", with),
        }
    }

    fn translations(&mut self, chain: &str) -> String {
        let (word, family) = (self.word(), self.family);
        let host = ip(family, [3, 0, 3]);
        let own = ip(family, [2, 0, 1]);
        let brackets = |port: u16| match family {
            Family::V4 => format!("{host}:{port}"),
            Family::V6 => format!("[{host}]:{port}"),
        };
        let protocol = one(self.random, &["udp", "tcp"]);
        let what = match (chain, self.random.below(4)) {
            ("dnat", 0) => format!("dnat {word} to th dport map @services"),
            ("dnat", 1) => format!("dnat {word} to {}", brackets(8080)),
            ("dnat", 2) => "redirect to :9000".to_owned(),
            ("dnat", _) => format!("dnat {word} to {host}"),
            (_, 0 | 1) => "masquerade".to_owned(),
            (_, 2) => format!("snat {word} to {own}"),
            _ => "accept".to_owned(),
        };
        format!("meta l4proto {protocol} {what}")
    }
}
