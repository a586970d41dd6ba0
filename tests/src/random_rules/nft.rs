//! Random rules of nft.

use std::fmt::Write as _;

use netpath::random::SplitMix64;
use netpath_common::Family;

use super::{chance, ip, narrow, one, wide};

/// A random table, as `nft -f` takes it.
pub struct Nft<'a> {
    pub family: Family,
    /// Of which family its table is.
    pub table: &'static str,
    pub random: &'a mut SplitMix64,
}

impl Nft<'_> {
    fn word(&self) -> &'static str {
        match self.family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        }
    }

    pub fn all(&mut self) -> String {
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
