//! A rule as `iptables-legacy-save` writes it, as the operations that mean the same. What is not known becomes a condition
//! or a target that is not known either.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use netpath_common::Family;

use crate::netfilter::{
    Count,
    nft::{Header, Operation, Register, Relation, Rule, Translation, Value, meta},
};

pub(super) const R0: Register = Register(0);
const IFNAMSIZ: usize = 16;

/// Matches of which the options are known, or that have none.
const KNOWN: [&str; 11] = [
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "icmpv6",
    "comment",
    "conntrack",
    "state",
    "mark",
    "multiport",
    "addrtype",
];

/// A rule from its words behind the chain's name. `own` are the table's chains.
pub(super) fn of(family: Family, words: &[String], own: &BTreeSet<String>, count: Count) -> Rule {
    let mut rule = Reader {
        family,
        operations: vec![Operation::Counter(Some(count))],
        of: None,
    };
    let mut rest = words;
    let mut negated = false;
    while let Some((option, behind)) = rest.split_first() {
        rest = behind;
        if option == "!" {
            negated = true;
            continue;
        }
        let length = behind
            .iter()
            .position(|word| word == "!" || is_option(word))
            .unwrap_or(behind.len());
        // A text may begin like an option.
        let length = if option == "--comment" { 1 } else { length };
        let (values, behind) = behind.split_at(length.min(behind.len()));
        rest = behind;
        if matches!(option.as_str(), "-j" | "-g") {
            rule.target(option == "-g", values, rest, own);
            break;
        }
        rule.option(option, values, negated);
        negated = false;
    }
    Rule {
        handle: 0,
        operations: rule.operations,
        text: None,
    }
}

fn is_option(word: &str) -> bool {
    word.starts_with('-') && word.len() > 1
}

pub(super) struct Reader {
    pub(super) family: Family,
    pub(super) operations: Vec<Operation>,
    /// The match that the options are of which come.
    of: Option<String>,
}

impl Reader {
    fn option(&mut self, option: &str, values: &[String], negated: bool) {
        let value = values.first().map(String::as_str).unwrap_or_default();
        let understood = match option {
            "-m" => {
                self.of = Some(value.to_owned());
                KNOWN.contains(&value).then_some(())
            }
            // Of a match that is not known as a whole.
            _ if option.starts_with("--") && !self.is_known() => Some(()),
            "-s" => self.address(Translation::Source, value, negated),
            "-d" => self.address(Translation::Destination, value, negated),
            "-i" => self.interface(meta::IIFNAME, value, negated),
            "-o" => self.interface(meta::OIFNAME, value, negated),
            "-p" => self.protocol(value, negated),
            "--sport" => self.port(0, value, negated),
            "--dport" => self.port(2, value, negated),
            "--sports" => self.ports(0, value, negated),
            "--dports" => self.ports(1, value, negated),
            "--ports" => self.ports(2, value, negated),
            "--tcp-flags" => self.flags(values, negated),
            "--icmp-type" | "--icmpv6-type" => self.icmp(value, negated),
            "--ctstate" | "--state" => self.state(value, negated),
            "--mark" => self.mark(value, negated),
            "--src-type" => self.kind(value, 0, negated),
            "--dst-type" => self.kind(value, 2, negated),
            "--comment" => Some(()),
            _ => None,
        };
        match (understood, &self.of) {
            (Some(()), _) => {}
            // As one whose structure is not known.
            (None, Some(of)) if option == "-m" || option.starts_with("--") => {
                let of = of.clone();
                self.matches(&of, u32::MAX, Vec::new());
            }
            (None, _) => {
                let what = format!("option {option}");
                self.operations.push(Operation::Condition(what));
            }
        }
    }

    fn is_known(&self) -> bool {
        let of = self.of.as_deref();
        of.is_none_or(|of| KNOWN.contains(&of))
    }

    fn load(&mut self, value: Value) {
        let into = R0;
        self.operations.push(Operation::Load { value, into });
    }

    fn compare(&mut self, data: Vec<u8>, negated: bool) {
        self.operations.push(Operation::Compare {
            register: R0,
            relation: match negated {
                true => Relation::NotEqual,
                false => Relation::Equal,
            },
            data,
        });
    }

    fn matches(&mut self, name: &str, revision: u32, data: Vec<u8>) {
        let name = name.to_owned();
        self.operations.push(Operation::Match {
            name,
            revision,
            data,
        });
    }

    fn address(&mut self, end: Translation, value: &str, negated: bool) -> Option<()> {
        let (address, mask) = masked(value)?;
        let offset = match (self.family, end) {
            (Family::V4, Translation::Source) => 12,
            (Family::V4, Translation::Destination) => 16,
            (Family::V6, Translation::Source) => 8,
            (Family::V6, Translation::Destination) => 24,
        };
        self.load(Value::Payload {
            header: Header::Network,
            offset,
            length: u32::try_from(address.len()).ok()?,
        });
        self.operations.push(Operation::Mask {
            from: R0,
            into: R0,
            xor: vec![0; mask.len()],
            mask,
        });
        self.compare(address, negated);
        Some(())
    }

    fn interface(&mut self, key: u32, value: &str, negated: bool) -> Option<()> {
        self.load(Value::Meta(key));
        let name = match value.strip_suffix('+') {
            Some(start) => start.as_bytes().to_vec(),
            None => {
                let mut name = value.as_bytes().to_vec();
                name.resize(IFNAMSIZ, 0);
                name
            }
        };
        self.compare(name, negated);
        Some(())
    }

    fn protocol(&mut self, value: &str, negated: bool) -> Option<()> {
        let number = match value {
            "tcp" => 6,
            "udp" => 17,
            "icmp" => 1,
            "ipv6-icmp" | "icmpv6" => 58,
            "sctp" => 132,
            "esp" => 50,
            "ah" => 51,
            "gre" => 47,
            other => match other.parse() {
                Ok(number) => number,
                Err(_) => {
                    self.operations
                        .push(Operation::Condition("protocol".to_owned()));
                    return Some(());
                }
            },
        };
        self.load(Value::Meta(meta::L4PROTO));
        self.compare(vec![number], negated);
        Some(())
    }

    fn port(&mut self, offset: u32, value: &str, negated: bool) -> Option<()> {
        let (least, greatest) = range(value, ':')?;
        self.load(Value::Payload {
            header: Header::Transport,
            offset,
            length: 2,
        });
        self.operations.push(Operation::Range {
            register: R0,
            outside: negated,
            from: least.to_be_bytes().to_vec(),
            to: greatest.to_be_bytes().to_vec(),
        });
        Some(())
    }

    /// `struct xt_multiport_v1`.
    fn ports(&mut self, which: u8, value: &str, negated: bool) -> Option<()> {
        const MOST: usize = 15;
        let mut ports: Vec<(u16, u8)> = Vec::new();
        for one in value.split(',') {
            match range(one, ':')? {
                (least, greatest) if least == greatest => ports.push((least, 0)),
                (least, greatest) => ports.extend([(least, 1), (greatest, 0)]),
            }
        }
        let count = u8::try_from(ports.len())
            .ok()
            .filter(|count| usize::from(*count) <= MOST)?;
        ports.resize(MOST, (0, 0));
        let mut data = vec![which, count];
        data.extend(ports.iter().flat_map(|(port, _)| port.to_ne_bytes()));
        data.extend(ports.iter().map(|(_, begins)| begins));
        data.push(u8::from(negated));
        self.matches("multiport", 1, data);
        Some(())
    }

    /// `struct xt_tcp`.
    fn flags(&mut self, values: &[String], negated: bool) -> Option<()> {
        const NAMES: [&str; 6] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];
        let of = |text: &String| {
            text.split(',').try_fold(0u8, |all, name| match name {
                "NONE" => Some(all),
                "ALL" => Some(0x3f),
                name => Some(all | 1 << NAMES.iter().position(|known| *known == name)?),
            })
        };
        let [mask, compare] = values else {
            return None;
        };
        let mut data = vec![0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff, 0];
        data.extend([of(mask)?, of(compare)?, u8::from(negated) << 2]);
        self.matches("tcp", 0, data);
        Some(())
    }

    /// `struct ipt_icmp`.
    fn icmp(&mut self, value: &str, negated: bool) -> Option<()> {
        let (kind, codes) = match value.split_once('/') {
            Some((kind, code)) => (kind, (code.parse().ok()?, code.parse().ok()?)),
            None => (value, (0, 0xff)),
        };
        let kind = if kind == "any" {
            0xff
        } else {
            kind.parse().ok()?
        };
        let name = if self.family == Family::V4 {
            "icmp"
        } else {
            "icmp6"
        };
        let data = vec![kind, codes.0, codes.1, u8::from(negated)];
        self.matches(name, 0, data);
        Some(())
    }

    /// `struct xt_conntrack_mtinfo3`, of which only the state is asked.
    fn state(&mut self, value: &str, negated: bool) -> Option<()> {
        const SIZE: usize = 164;
        let mut mask = 0u16;
        for name in value.split(',') {
            mask |= match name {
                "INVALID" => 1,
                "ESTABLISHED" => 1 << 1,
                "RELATED" => 1 << 2,
                "NEW" => 1 << 3,
                "SNAT" => 1 << 6,
                "DNAT" => 1 << 7,
                "UNTRACKED" => 1 << 8,
                _ => return None,
            };
        }
        let mut data = vec![0; SIZE];
        data[146..148].copy_from_slice(&1u16.to_ne_bytes());
        data[148..150].copy_from_slice(&u16::from(negated).to_ne_bytes());
        data[150..152].copy_from_slice(&mask.to_ne_bytes());
        self.matches("conntrack", 3, data);
        Some(())
    }

    /// `struct xt_mark_mtinfo1`.
    fn mark(&mut self, value: &str, negated: bool) -> Option<()> {
        let (mark, mask) = mark(value)?;
        let mut data = mark.to_ne_bytes().to_vec();
        data.extend(mask.to_ne_bytes());
        data.push(u8::from(negated));
        self.matches("mark", 1, data);
        Some(())
    }

    /// `struct xt_addrtype_info_v1`; `at` is where the mask of that side is.
    fn kind(&mut self, value: &str, at: usize, negated: bool) -> Option<()> {
        let mut mask = 0u16;
        for name in value.split(',') {
            mask |= match name {
                "UNICAST" => 1 << 1,
                "LOCAL" => 1 << 2,
                "BROADCAST" => 1 << 3,
                "ANYCAST" => 1 << 4,
                "MULTICAST" => 1 << 5,
                _ => return None,
            };
        }
        let mut data = vec![0; 8];
        data[at..at + 2].copy_from_slice(&mask.to_ne_bytes());
        let flags = u32::from(negated) << (at / 2);
        data[4..8].copy_from_slice(&flags.to_ne_bytes());
        self.matches("addrtype", 1, data);
        Some(())
    }
}

/// `mark[/mask]`.
pub(super) fn mark(value: &str) -> Option<(u32, u32)> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    match value.split_once('/') {
        Some((mark, mask)) => Some((number(mark)?, number(mask)?)),
        None => Some((number(value)?, u32::MAX)),
    }
}

/// `least[:greatest]`.
pub(super) fn range(value: &str, between: char) -> Option<(u16, u16)> {
    let (least, greatest) = value.split_once(between).unwrap_or((value, value));
    Some((least.parse().ok()?, greatest.parse().ok()?))
}

pub(super) fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// An address and the bits of it that count: of a prefix, or by a mask of its own.
fn masked(value: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    if let Ok(net) = value.parse::<IpNet>() {
        return Some((bytes(net.network()), bytes(net.netmask())));
    }
    let (address, mask) = match value.split_once('/') {
        Some((address, mask)) => (address.parse().ok()?, bytes(mask.parse().ok()?)),
        None => {
            let address: IpAddr = value.parse().ok()?;
            (address, vec![0xff; bytes(address).len()])
        }
    };
    let kept = bytes(address)
        .iter()
        .zip(&mask)
        .map(|(byte, mask)| byte & mask)
        .collect();
    Some((kept, mask))
}
