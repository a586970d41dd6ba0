//! The rules of the paths that have some: the four FORWARD rules of `netpath demo`, one NAT rule that none of the
//! traffic matches, and as many further rules as the path says, none of which matches either. One path has NAT rules
//! besides that its traffic does match.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
};

use netpath::{
    command,
    netfilter::{self, Chain, Iptables},
};
use netpath_common::Family;

use super::{
    error::BenchError,
    lab::{LabNode, UPLINK, endpoint, service, subnet},
    results::{Path, Reach},
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
    Nat,
}

impl RuleSet {
    /// The rules of a path; `None` where it has none.
    pub fn of(path: Path, family: Family) -> Option<Self> {
        let kind = match path {
            Path::Direct
            | Path::Floor
            | Path::FloorRemote
            | Path::Netpath
            | Path::Kernel
            | Path::Bridge
            | Path::Macvlan
            | Path::Ipvlan
            | Path::Vxlan
            | Path::Ipip => return None,
            Path::Iptables => Kind::Iptables(0),
            Path::IptablesRules(rules) => Kind::Iptables(rules),
            Path::NftRules(rules) => Kind::Nft(rules),
            Path::NftSet(elements) => Kind::NftSet(elements),
            Path::NftFlowtable => Kind::NftFlowtable,
            Path::Nat => Kind::Nat,
        };
        Some(Self { kind, family })
    }

    /// Loads the rules into a node that has none.
    pub fn load(self, node: &LabNode) -> Result<(), BenchError> {
        let (command, arguments, text) = match self.kind {
            Kind::Iptables(rules) => (
                iptables_restore(self.family),
                &["-w"][..],
                self.iptables(node, rules, ""),
            ),
            Kind::Nat => (
                iptables_restore(self.family),
                &["-w"][..],
                self.iptables(node, 0, &self.services()),
            ),
            Kind::Nft(rules) => ("nft", &NFT[..], self.nft(node, rules, "", "")),
            Kind::NftSet(elements) => {
                let set = self.set(elements);
                let address = self.nft_family();
                let rule = format!("{address} saddr @many drop\n");
                ("nft", &NFT[..], self.nft(node, 0, &set, &rule))
            }
            Kind::NftFlowtable => {
                let [one, other] = node.endpoint_devs;
                let table = format!(
                    "flowtable flows {{ hook ingress priority 0; devices = {{ {one}, {other}, {UPLINK} }}; }}\n"
                );
                let rule = "meta l4proto { tcp, udp } flow add @flows\n";
                ("nft", &NFT[..], self.nft(node, 0, &table, rule))
            }
        };
        node.netns
            .run(|| command::run(command, arguments, &text))??;
        Ok(())
    }

    /// Packets that the four rules have accepted since they were loaded.
    pub fn accepted(self, node: &LabNode) -> Result<u64, BenchError> {
        let counted = node.netns.run(|| match self.kind {
            Kind::Iptables(_) | Kind::Nat => Iptables::nft(self.family)
                .chain("FORWARD")
                .map(|chain| accepted(&chain)),
            Kind::Nft(_) | Kind::NftSet(_) | Kind::NftFlowtable => {
                netfilter::nft_counter(self.family, NFT_TABLE, NFT_COUNTER).map(Some)
            }
        })??;
        counted.ok_or_else(|| BenchError::Unreadable {
            path: format!("FORWARD of {}", node.netns.name()),
            line: "not four ACCEPT rules".to_owned(),
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
    fn iptables(self, node: &LabNode, rules: u32, nat: &str) -> String {
        let mut text = format!(
            "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n{nat}-A POSTROUTING -s {} -o {UPLINK} -j MASQUERADE\nCOMMIT\n\
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

    /// Every receiver's service, at any of its ports, as kube-proxy translates a ClusterIP.
    fn services(self) -> String {
        let rules = Reach::ALL.map(|reach| {
            let service = service(reach, self.family);
            let receiver = endpoint(subnet(reach), self.family);
            format!("-A PREROUTING -d {service} -j DNAT --to-destination {receiver}\n")
        });
        rules.concat()
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

/// Sum of the packets of the four ACCEPT rules; `None` where there are not four.
fn accepted(chain: &Chain) -> Option<u64> {
    let accepting = chain.rules.iter().filter(|rule| rule.target == "ACCEPT");
    let counts: Vec<u64> = accepting.map(|rule| rule.count.packets).collect();
    (counts.len() == 4).then(|| counts.iter().sum())
}

/// Loads iptables' rules, in its nf_tables variant: tables of the legacy one cannot be taken out of a namespace
/// again, and the paths without rules would go through them.
fn iptables_restore(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables-nft-restore",
        Family::V6 => "ip6tables-nft-restore",
    }
}

/// What a program says of its version; `None` where it is not installed, or says nothing, which is told.
pub(super) fn version(program: &str) -> Option<String> {
    let told = command::run(program, &["--version"], "").inspect_err(|error| {
        tracing::warn!("the report does not name the version of {program}: {error}")
    });
    let text = told.ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// The program that iptables' rules are loaded with.
pub(super) const IPTABLES: &str = "iptables-nft";

#[cfg(test)]
mod tests {
    use netpath::netfilter::{Count, Policy, Rule};

    use super::*;

    #[test]
    fn accepted_packets_are_summed() {
        let rule = |packets, target: &str| Rule {
            count: Count { packets, bytes: 64 },
            target: target.to_owned(),
        };
        let mut chain = Chain {
            policy: Policy::Accept,
            by_policy: Count::default(),
            rules: vec![
                rule(9, "DROP"),
                rule(5, "ACCEPT"),
                rule(7, "ACCEPT"),
                rule(0, "ACCEPT"),
                rule(1, "ACCEPT"),
            ],
            text: String::new(),
        };
        assert_eq!(accepted(&chain), Some(13));
        chain.rules.pop();
        assert_eq!(accepted(&chain), None);
    }

    #[test]
    fn addresses_of_nobody_stay_in_their_prefixes() {
        let rules = |family| RuleSet::of(Path::Iptables, family).expect("has rules");
        let last = crate::RULES_MAX - 1;
        assert_eq!(rules(Family::V4).nobody(last), "198.19.255.255");
        assert_eq!(rules(Family::V6).nobody(last), "2001:2::1:ffff");
    }
}
