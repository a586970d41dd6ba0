//! The rules of the paths that have some: the four FORWARD rules of `netpath demo`, one NAT rule that none of the
//! traffic matches, and as many further rules as the path says, none of which matches either.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    net::{Ipv4Addr, Ipv6Addr},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

use netpath_common::Family;

use super::{
    error::BenchError,
    lab::{LabNode, UPLINK},
    results::Path,
};

/// First address of 198.18.0.0/15, set aside for benchmarks (RFC 2544); nobody in the lab has one.
const NOBODY_V4: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// First address of 2001:2::/48, the same for IPv6 (RFC 5180).
const NOBODY_V6: u128 = 0x2001_0002 << 96;
/// Sources that the NAT rule is for.
const MASQUERADED: [&str; 2] = ["198.18.0.0/15", "2001:2::/48"];
/// The table and the counter of the nftables paths.
const NFT_TABLE: &str = "bench";
const NFT_COUNTER: &str = "accepted";

/// The rules of a path, in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RuleSet {
    kind: Kind,
    family: Family,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Iptables(u32),
    Nft(u32),
    NftSet(u32),
    NftFlowtable,
}

impl RuleSet {
    /// The rules of a path; `None` where it has none.
    pub fn of(path: Path, family: Family) -> Option<Self> {
        let kind = match path {
            Path::Direct | Path::Netpath | Path::Kernel => return None,
            Path::Iptables => Kind::Iptables(0),
            Path::IptablesRules(rules) => Kind::Iptables(rules),
            Path::NftRules(rules) => Kind::Nft(rules),
            Path::NftSet(elements) => Kind::NftSet(elements),
            Path::NftFlowtable => Kind::NftFlowtable,
        };
        Some(Self { kind, family })
    }

    /// Loads the rules into a node that has none.
    pub fn load(self, node: &LabNode) -> Result<(), BenchError> {
        let (command, arguments, text) = match self.kind {
            Kind::Iptables(rules) => (
                iptables(self.family, "-nft-restore"),
                &["-w"][..],
                self.iptables(node, rules),
            ),
            Kind::Nft(rules) => ("nft".to_owned(), &NFT[..], self.nft(node, rules, "", "")),
            Kind::NftSet(elements) => {
                let set = self.set(elements);
                let address = self.nft_family();
                let rule = format!("{address} saddr @many drop\n");
                ("nft".to_owned(), &NFT[..], self.nft(node, 0, &set, &rule))
            }
            Kind::NftFlowtable => {
                let [one, other] = node.endpoint_devs;
                let table = format!(
                    "flowtable flows {{ hook ingress priority 0; devices = {{ {one}, {other}, {UPLINK} }}; }}\n"
                );
                let rule = "meta l4proto { tcp, udp } flow add @flows\n";
                ("nft".to_owned(), &NFT[..], self.nft(node, 0, &table, rule))
            }
        };
        run(node, &command, arguments, &text).map(drop)
    }

    /// Packets that the four rules have accepted since they were loaded.
    pub fn accepted(self, node: &LabNode) -> Result<u64, BenchError> {
        type Parse = fn(&str) -> Option<u64>;
        let (command, arguments, parse): (_, &[&str], Parse) = match self.kind {
            Kind::Iptables(_) => (
                iptables(self.family, "-nft"),
                &["-w", "-nvxL", "FORWARD"],
                iptables_accepted,
            ),
            Kind::Nft(_) | Kind::NftSet(_) | Kind::NftFlowtable => {
                let family = self.nft_family();
                (
                    "nft".to_owned(),
                    &["list", "counter", family, NFT_TABLE, NFT_COUNTER],
                    nft_counted,
                )
            }
        };
        let text = run(node, &command, arguments, "")?;
        parse(&text).ok_or_else(|| BenchError::Unreadable {
            path: format!("{command} {}", arguments.join(" ")),
            line: text.lines().next().unwrap_or_default().to_owned(),
        })
    }

    fn nft_family(self) -> &'static str {
        match self.family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        }
    }

    /// An address that nobody has.
    fn nobody(self, number: u32) -> String {
        match self.family {
            Family::V4 => Ipv4Addr::from(NOBODY_V4 + number).to_string(),
            Family::V6 => Ipv6Addr::from(NOBODY_V6 + u128::from(number)).to_string(),
        }
    }

    fn masqueraded(self) -> &'static str {
        match self.family {
            Family::V4 => MASQUERADED[0],
            Family::V6 => MASQUERADED[1],
        }
    }

    /// For iptables-restore.
    fn iptables(self, node: &LabNode, rules: u32) -> String {
        let mut text = format!(
            "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -s {} -o {UPLINK} -j MASQUERADE\nCOMMIT\n\
             *filter\n:FORWARD ACCEPT [0:0]\n",
            self.masqueraded()
        );
        for number in 0..rules {
            let nobody = self.nobody(number);
            text.push_str(&format!("-A FORWARD -s {nobody} -j DROP\n"));
        }
        for dev in node.endpoint_devs {
            text.push_str(&format!(
                "-A FORWARD -i {dev} -j ACCEPT\n-A FORWARD -o {dev} -j ACCEPT\n"
            ));
        }
        text.push_str("COMMIT\n");
        text
    }

    /// For `nft -f`.
    fn nft(self, node: &LabNode, rules: u32, objects: &str, first: &str) -> String {
        let family = self.nft_family();
        let mut text = format!(
            "table {family} {NFT_TABLE} {{\ncounter {NFT_COUNTER} {{}}\n{objects}\
             chain postrouting {{\ntype nat hook postrouting priority srcnat;\n\
             oifname {UPLINK} {family} saddr {} masquerade\n}}\n\
             chain forward {{\ntype filter hook forward priority filter;\n{first}",
            self.masqueraded()
        );
        for number in 0..rules {
            let nobody = self.nobody(number);
            text.push_str(&format!("{family} saddr {nobody} counter drop\n"));
        }
        for dev in node.endpoint_devs {
            for side in ["iifname", "oifname"] {
                text.push_str(&format!("{side} {dev} counter name {NFT_COUNTER} accept\n"));
            }
        }
        text.push_str("}\n}\n");
        text
    }

    /// One set of so many elements.
    fn set(self, elements: u32) -> String {
        let kind = match self.family {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        };
        let mut text = format!("set many {{ type {kind}; elements = {{ ");
        for number in 0..elements {
            let separator = if number == 0 { "" } else { ", " };
            // Writing to a String cannot fail.
            let _infallible = write!(text, "{separator}{}", self.nobody(number));
        }
        text.push_str(" }; }\n");
        text
    }
}

/// Reads commands from standard input.
const NFT: [&str; 2] = ["-f", "-"];

/// Sum of the packets of all ACCEPT rules.
fn iptables_accepted(text: &str) -> Option<u64> {
    let rules = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let packets = words.next()?;
        (words.nth(1)? == "ACCEPT").then_some(packets)
    });
    let counts: Vec<u64> = rules
        .map(|packets| packets.parse().ok())
        .collect::<Option<_>>()?;
    (counts.len() == 4).then(|| counts.iter().sum())
}

fn nft_counted(text: &str) -> Option<u64> {
    let mut words = text
        .split_whitespace()
        .skip_while(|word| *word != "packets");
    words.nth(1)?.parse().ok()
}

/// iptables in its nf_tables variant: tables of the legacy one cannot be taken out of a namespace again, and
/// the paths without rules would go through them.
fn iptables(family: Family, suffix: &str) -> String {
    let prefix = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    format!("{prefix}{suffix}")
}

/// What a program says of its version; `None` where it does not start.
pub(super) fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// The program that iptables' rules are loaded with.
pub(super) const IPTABLES: &str = "iptables-nft";

fn run(
    node: &LabNode,
    command: &str,
    arguments: &[&str],
    input: &str,
) -> Result<String, BenchError> {
    let line = || format!("{command} {}", arguments.join(" "));
    let output = node.netns.run(|| {
        let mut child = Command::new(command)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is netpath's to answer.
            .process_group(0)
            .spawn()?;
        let mut stdin = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let written = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output()?;
        // A program that refuses its input may not read all of it: what it says is the better reason.
        if output.status.success() {
            written?;
        }
        Ok::<_, io::Error>(output)
    })?;
    let failed = |message| BenchError::Command {
        command: line(),
        message,
    };
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(failed(
        message.lines().next().unwrap_or_default().to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_packets_are_summed() {
        let text = "Chain FORWARD (policy ACCEPT 1 packets, 64 bytes)\n\
                    \x20   pkts      bytes target     prot opt in     out     source      destination\n\
                    \x20      9      420 DROP   0  --  *      *     198.18.0.0   0.0.0.0/0\n\
                    \x20      5      420 ACCEPT 0  --  veth1  *     0.0.0.0/0    0.0.0.0/0\n\
                    \x20      7      588 ACCEPT 0  --  *      veth1 0.0.0.0/0    0.0.0.0/0\n\
                    \x20      0        0 ACCEPT 0  --  veth2  *     0.0.0.0/0    0.0.0.0/0\n\
                    \x20      1       64 ACCEPT 0  --  *      veth2 0.0.0.0/0    0.0.0.0/0\n";
        assert_eq!(iptables_accepted(text), Some(13));
        assert_eq!(iptables_accepted(&text[..text.len() - 70]), None);
        let text = "table ip bench {\n\tcounter accepted {\n\t\tpackets 17 bytes 1204\n\t}\n}\n";
        assert_eq!(nft_counted(text), Some(17));
        assert_eq!(nft_counted("table ip bench {\n}\n"), None);
    }

    #[test]
    fn addresses_of_nobody_stay_in_their_prefixes() {
        let rules = |family| RuleSet::of(Path::Iptables, family).expect("has rules");
        let last = crate::RULES_MAX - 1;
        assert_eq!(rules(Family::V4).nobody(last), "198.19.255.255");
        assert_eq!(rules(Family::V6).nobody(last), "2001:2::1:ffff");
    }
}
