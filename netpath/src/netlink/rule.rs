//! Rules that choose a routing table (`ip rule`).

use std::fmt;

use netlink_packet_core::Nla as _;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage, rule as packet,
    rule::{RuleAttribute, RuleFlags, RuleMessage},
};

use super::{FAMILIES, Netlink, NetlinkError, channel::About};

/// A rule, as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// For IPv6 rather than IPv4.
    pub ipv6: bool,
    /// Rules are asked in ascending order.
    pub priority: u32,
    /// What it does with a packet that it matches.
    pub action: RuleAction,
    /// What it matches, each as `ip rule` words it (`from 10.0.0.0/8`, `fwmark 0x1/0xff`, `iif eth0`); what this build
    /// does not know as `attribute N`. Empty: every packet. `not` is the first where all of it is inverted.
    pub selectors: Vec<String>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// Looks in this table, by its number.
    Table(u32),
    /// Goes on with the rule of this priority.
    Goto(u32),
    /// Nothing.
    Nop,
    /// Drops.
    Blackhole,
    /// Refuses with "unreachable".
    Unreachable,
    /// Refuses with "prohibited".
    Prohibit,
    /// Any other number.
    Other(u8),
}

impl fmt::Display for RuleAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => write!(f, "lookup {table}"),
            Self::Goto(priority) => write!(f, "goto {priority}"),
            Self::Nop => f.write_str("nop"),
            Self::Blackhole => f.write_str("blackhole"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Prohibit => f.write_str("prohibit"),
            Self::Other(number) => write!(f, "action {number}"),
        }
    }
}

impl Netlink {
    /// The rules of both families, in no promised order.
    ///
    /// # Errors
    /// When they cannot be listed, all of them.
    pub fn rules(&self) -> Result<Vec<Rule>, NetlinkError> {
        let about = About {
            action: "list",
            object: "rules",
        };
        let mut rules = Vec::new();
        for family in FAMILIES {
            let mut message = RuleMessage::default();
            message.header.family = family;
            let request = RouteNetlinkMessage::GetRule(message);
            let found = self.channel.dump(about, &request, |message| match message {
                RouteNetlinkMessage::NewRule(message) => Ok(Some(decode(&message))),
                _ => Ok(None),
            });
            match found {
                Ok(found) => rules.extend(found),
                Err(error) if error.errno() == Some(libc::EAFNOSUPPORT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(rules)
    }
}

pub(super) fn decode(message: &RuleMessage) -> Rule {
    let header = &message.header;
    let mut selectors = Vec::new();
    if header.flags.contains(RuleFlags::Invert) {
        selectors.push("not".to_owned());
    }
    if header.tos != 0 {
        selectors.push(format!("tos {:#x}", header.tos));
    }
    let mut table = u32::from(header.table);
    // The kernel leaves out what is 0.
    let (mut priority, mut target) = (0, 0);
    let (mut mark, mut mask) = (None, None);
    for attribute in &message.attributes {
        let selector = match attribute {
            RuleAttribute::Priority(found) => {
                priority = *found;
                continue;
            }
            RuleAttribute::Table(found) => {
                table = *found;
                continue;
            }
            RuleAttribute::Goto(found) => {
                target = *found;
                continue;
            }
            RuleAttribute::FwMark(found) => {
                mark = Some(*found);
                continue;
            }
            RuleAttribute::FwMask(found) => {
                mask = Some(*found);
                continue;
            }
            // Who made it; and what is given to the packet rather than matched.
            RuleAttribute::Protocol(_) | RuleAttribute::Realm(_) => continue,
            // Always there; all ones says that nothing is suppressed.
            RuleAttribute::SuppressPrefixLen(u32::MAX)
            | RuleAttribute::SuppressIfGroup(u32::MAX) => {
                continue;
            }
            RuleAttribute::L3MDev(false) | RuleAttribute::TunId(0) => continue,
            RuleAttribute::Source(address) => format!("from {address}/{}", header.src_len),
            RuleAttribute::Destination(address) => format!("to {address}/{}", header.dst_len),
            RuleAttribute::Iifname(name) => format!("iif {name}"),
            RuleAttribute::Oifname(name) => format!("oif {name}"),
            RuleAttribute::L3MDev(true) => "l3mdev".to_owned(),
            RuleAttribute::TunId(id) => format!("tun_id {id}"),
            RuleAttribute::UidRange(range) => format!("uidrange {}-{}", range.start, range.end),
            RuleAttribute::IpProtocol(protocol) => format!("ipproto {}", i32::from(*protocol)),
            RuleAttribute::SourcePortRange(range) => format!("sport {}-{}", range.start, range.end),
            RuleAttribute::DestinationPortRange(range) => {
                format!("dport {}-{}", range.start, range.end)
            }
            RuleAttribute::SuppressPrefixLen(length) => format!("suppress_prefixlength {length}"),
            RuleAttribute::SuppressIfGroup(group) => format!("suppress_ifgroup {group}"),
            other => format!("attribute {}", other.kind()),
        };
        selectors.push(selector);
    }
    if mark.is_some() || mask.is_some() {
        let mark = mark.unwrap_or(0);
        selectors.push(match mask {
            Some(u32::MAX) | None => format!("fwmark {mark:#x}"),
            Some(mask) => format!("fwmark {mark:#x}/{mask:#x}"),
        });
    }
    Rule {
        ipv6: header.family == AddressFamily::Inet6,
        priority,
        action: match header.action {
            packet::RuleAction::ToTable => RuleAction::Table(table),
            packet::RuleAction::Goto => RuleAction::Goto(target),
            packet::RuleAction::Nop => RuleAction::Nop,
            packet::RuleAction::Blackhole => RuleAction::Blackhole,
            packet::RuleAction::Unreachable => RuleAction::Unreachable,
            packet::RuleAction::Prohibit => RuleAction::Prohibit,
            other => RuleAction::Other(other.into()),
        },
        selectors,
    }
}
