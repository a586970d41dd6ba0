//! What things are called on the command line, in tables and in reports.

use std::{fmt, str::FromStr};

use super::{
    results::{Measure, Path, Reach},
    stats::Verdict,
};

/// A name that stands for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {what} {name:?}: write {choice}")]
pub struct UnknownName {
    what: &'static str,
    name: String,
    choice: &'static str,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.pad("direct"),
            Self::Floor => f.pad("floor"),
            Self::FloorRemote => f.pad("floor-remote"),
            Self::Netpath => f.pad("netpath"),
            Self::Kernel => f.pad("kernel"),
            Self::Iptables => f.pad("iptables"),
            Self::IptablesRules(rules) => f.pad(&format!("iptables-{rules}")),
            Self::NftRules(rules) => f.pad(&format!("nft-{rules}")),
            Self::NftSet(elements) => f.pad(&format!("nft-set-{elements}")),
            Self::NftFlowtable => f.pad("nft-flowtable"),
            Self::Nat => f.pad("nat"),
            Self::Bridge => f.pad("bridge"),
            Self::Macvlan => f.pad("macvlan"),
            Self::Ipvlan => f.pad("ipvlan"),
            Self::Vxlan => f.pad("vxlan"),
            Self::Ipip => f.pad("ipip"),
        }
    }
}

/// Most rules of a path: as many as there are addresses of 198.18.0.0/15 for them not to match.
pub const RULES_MAX: u32 = 1 << 17;

impl FromStr for Path {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let rules = |prefix: &str| {
            let number = name.strip_prefix(prefix)?.parse().ok()?;
            (1..=RULES_MAX).contains(&number).then_some(number)
        };
        Ok(match name {
            "direct" => Self::Direct,
            "floor" => Self::Floor,
            "floor-remote" => Self::FloorRemote,
            "netpath" => Self::Netpath,
            "kernel" => Self::Kernel,
            "iptables" => Self::Iptables,
            "nft-flowtable" => Self::NftFlowtable,
            "nat" => Self::Nat,
            "bridge" => Self::Bridge,
            "macvlan" => Self::Macvlan,
            "ipvlan" => Self::Ipvlan,
            "vxlan" => Self::Vxlan,
            "ipip" => Self::Ipip,
            _ => rules("iptables-")
                .map(Self::IptablesRules)
                .or_else(|| rules("nft-set-").map(Self::NftSet))
                .or_else(|| rules("nft-").map(Self::NftRules))
                .ok_or_else(|| UnknownName {
                    what: "path",
                    name: name.to_owned(),
                    choice: "direct, floor, floor-remote, netpath, kernel, iptables, iptables-N, nft-N, nft-set-N, \
                             nft-flowtable, nat, bridge, macvlan, ipvlan, vxlan or ipip, with N from 1 to 131072",
                })?,
        })
    }
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::UdpPacket,
        Self::TcpRequest,
        Self::TcpConnect,
        Self::TcpBulk,
    ];

    /// As a title.
    pub fn title(self) -> &'static str {
        match self {
            Self::UdpPacket => "UDP packets",
            Self::TcpRequest => "TCP request and response",
            Self::TcpConnect => "TCP connections",
            Self::TcpBulk => "Bulk TCP",
        }
    }

    /// What one unit of it is.
    pub fn unit(self) -> &'static str {
        match self {
            Self::UdpPacket => "packet",
            Self::TcpRequest => "request",
            Self::TcpConnect => "connection",
            Self::TcpBulk => "byte",
        }
    }

    /// As in the document, and as part of a file name.
    pub fn slug(self) -> &'static str {
        match self {
            Self::UdpPacket => "udp_packet",
            Self::TcpRequest => "tcp_request",
            Self::TcpConnect => "tcp_connect",
            Self::TcpBulk => "tcp_bulk",
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::UdpPacket => "udp",
            Self::TcpRequest => "request",
            Self::TcpConnect => "connect",
            Self::TcpBulk => "bulk",
        })
    }
}

impl FromStr for Measure {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let found = Self::ALL.into_iter().find(|one| one.to_string() == name);
        found.ok_or_else(|| UnknownName {
            what: "measure",
            name: name.to_owned(),
            choice: "udp, request, connect or bulk",
        })
    }
}

impl Reach {
    /// Both.
    pub const ALL: [Self; 2] = [Self::SameNode, Self::TwoNodes];

    /// Its place among [`Reach::ALL`].
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::SameNode => 0,
            Self::TwoNodes => 1,
        }
    }

    /// As in the document, and as part of a file name.
    pub fn slug(self) -> &'static str {
        match self {
            Self::SameNode => "same_node",
            Self::TwoNodes => "two_nodes",
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::SameNode => "same node",
            Self::TwoNodes => "two nodes",
        })
    }
}

impl Verdict {
    /// As part of a style sheet.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::Undecided => "undecided",
            Self::TooNoisy => "too_noisy",
            Self::NotMeasured => "not_measured",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.slug().replace('_', " "))
    }
}

/// A number with a comma at each thousand.
#[must_use]
pub fn grouped(number: impl Into<u64>) -> String {
    let digits = number.into().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let told = [0_u64, 999, 1_000, 12_345_678].map(grouped);
        assert_eq!(told, ["0", "999", "1,000", "12,345,678"]);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let paths = [&[1, RULES_MAX][..], &[]].map(Path::all);
        for path in paths.into_iter().flatten() {
            assert_eq!(path.to_string().parse(), Ok(path));
        }
        for measure in Measure::ALL {
            assert_eq!(measure.to_string().parse(), Ok(measure));
        }
    }

    #[test]
    fn slugs_are_the_names_of_the_document() {
        let written = |name: serde_json::Result<String>| name.expect("serializable");
        for measure in Measure::ALL {
            let slug = format!("\"{}\"", measure.slug());
            assert_eq!(slug, written(serde_json::to_string(&measure)));
        }
        for family in netpath_common::Family::ALL {
            let slug = format!("\"{}\"", family.slug());
            assert_eq!(slug, written(serde_json::to_string(&family)));
        }
        for reach in Reach::ALL {
            let slug = format!("\"{}\"", reach.slug());
            assert_eq!(slug, written(serde_json::to_string(&reach)));
        }
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            "",
            "Direct",
            "iptables-0",
            "nft-131073",
            "nft-set",
            "nft--1",
        ] {
            let error = name.parse::<Path>().expect_err(name);
            assert!(error.to_string().contains("iptables-N"), "{error}");
        }
        assert!("tcp".parse::<Measure>().is_err());
    }
}
