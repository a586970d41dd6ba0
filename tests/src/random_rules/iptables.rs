//! Random rules of iptables.

use std::fmt::Write as _;

use netpath::random::SplitMix64;
use netpath_common::Family;

use super::{chance, ip, narrow, one, wide};

/// Random tables, as `iptables-restore` takes them.
pub struct Iptables<'a> {
    pub family: Family,
    /// Of legacy rules less is understood.
    pub legacy: bool,
    pub random: &'a mut SplitMix64,
}

impl Iptables<'_> {
    pub fn all(&mut self) -> String {
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
