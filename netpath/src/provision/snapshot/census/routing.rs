//! Policy routing (`ip rule`) that leads what is for an endpoint elsewhere than to it. What is for other nodes is not looked
//! at: the kernel's FIB is asked for that, rules included.

use std::collections::BTreeSet;

use ipnet::IpNet;
use netpath_common::{Ifindex, PuntReason};

use super::{Routed, named, overlap};
use crate::{
    netlink::{Link, Route, RouteKind, Rule, RuleAction},
    reconcile::Matter,
};

/// The table in which an endpoint's routes are (`RT_TABLE_MAIN`).
const MAIN: u32 = 254;

/// Rules, and what they go by.
pub(super) struct Routing<'a> {
    pub rules: &'a [Rule],
    /// Of all tables.
    pub routes: &'a [Route],
    pub links: &'a [Link],
    pub uplinks: &'a [&'a str],
}

/// What a rule asks of a packet that is forwarded and has no mark: what netpath redirects.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked<'a> {
    from: Option<IpNet>,
    to: Option<IpNet>,
    iif: Option<&'a str>,
    /// Routes with prefixes of at most this length do not count.
    suppressed: Option<u8>,
    /// Something else, which may be so.
    more: bool,
    /// Something that is never so.
    never: bool,
}

impl<'a> Asked<'a> {
    fn of(rule: &'a Rule) -> Self {
        let mut asked = Self::default();
        let mut inverted = false;
        for selector in &rule.selectors {
            let (name, value) = selector.split_once(' ').unwrap_or((selector, ""));
            match (name, value.parse::<IpNet>()) {
                ("from", Ok(net)) => asked.from = Some(net),
                ("to", Ok(net)) => asked.to = Some(net),
                ("not", _) => inverted = true,
                ("iif", _) => asked.iif = Some(value),
                ("suppress_prefixlength", _) => asked.suppressed = value.parse().ok(),
                // Only the node's own packets have it; and ports of VRFs are told of by themselves.
                ("oif" | "l3mdev" | "tun_id", _) => asked.never = true,
                ("fwmark", _) if is_of_marked(value) => asked.never = true,
                _ => asked.more = true,
            }
        }
        if inverted {
            let suppressed = asked.suppressed;
            asked = Self {
                suppressed,
                more: true,
                ..Self::default()
            };
        }
        asked
    }

    /// Whether every packet to this destination is as it asks.
    fn is_met_by_all_to(&self, destination: IpNet) -> bool {
        let only_to = self.from.is_none() && self.iif.is_none() && !self.more && !self.never;
        only_to && self.to.is_none_or(|to| to.contains(&destination))
    }
}

/// Of `0x1` or `0x1/0xff`: whether a packet without a mark does not match it.
fn is_of_marked(mark: &str) -> bool {
    let (value, _mask) = mark.split_once('/').unwrap_or((mark, ""));
    value != "0x0"
}

impl Routing<'_> {
    /// What the rules lead elsewhere.
    pub fn matters(&self, routed: &Routed<'_>) -> Vec<Matter> {
        let mut rules: Vec<&Rule> = self.rules.iter().collect();
        rules.sort_by_key(|rule| rule.priority);
        // Those that an earlier rule has led where they should go.
        let mut settled = BTreeSet::new();
        let mut matters = Vec::new();
        for rule in rules {
            let asked = Asked::of(rule);
            if rule.action == RuleAction::Table(MAIN) {
                let found = routed.keys().filter(|net| {
                    is_family(rule, **net)
                        && asked.is_met_by_all_to(**net)
                        && asked
                            .suppressed
                            .is_none_or(|length| length < net.prefix_len())
                });
                settled.extend(found.copied());
            } else if !asked.never && rule.action != RuleAction::Nop {
                let open = |net: &IpNet| is_family(rule, *net) && !settled.contains(net);
                matters.extend(self.matter(rule.action, &asked, routed, open));
            }
        }
        matters
    }

    fn matter(
        &self,
        action: RuleAction,
        asked: &Asked<'_>,
        routed: &Routed<'_>,
        open: impl Fn(&IpNet) -> bool,
    ) -> Option<Matter> {
        let destinations = routed.iter().filter(|(net, dev)| {
            let device = dev
                .and_then(|dev| named(self.links, dev))
                .map(|link| link.ifindex);
            dev.is_some()
                && open(net)
                && asked.to.is_none_or(|to| overlap(to, **net))
                && self.leads_elsewhere(action, asked, **net, device)
        });
        let destinations: BTreeSet<IpNet> = destinations.map(|(net, _)| *net).collect();
        let is_source = |net: &IpNet, dev: &Option<&str>| {
            let comes_by = |iif: &str| match dev {
                Some(dev) => *dev == iif,
                None => self.uplinks.contains(&iif),
            };
            asked.from.is_none_or(|from| overlap(from, *net)) && asked.iif.is_none_or(comes_by)
        };
        let v4 = destinations.first().map(|net| net.addr().is_ipv4())?;
        let sources = routed
            .iter()
            .filter(|(net, dev)| net.addr().is_ipv4() == v4 && is_source(net, dev));
        let sources: BTreeSet<IpNet> = sources.map(|(net, _)| *net).collect();
        // Nobody sends to himself by way of the node.
        let is_between_two = sources.union(&destinations).count() > 1;
        (is_between_two && !sources.is_empty()).then_some(Matter {
            reason: PuntReason::Rules,
            sources,
            destinations,
        })
    }

    /// Whether a rule that does this leads what is for an endpoint elsewhere than to this interface.
    fn leads_elsewhere(
        &self,
        action: RuleAction,
        asked: &Asked<'_>,
        destination: IpNet,
        device: Option<Ifindex>,
    ) -> bool {
        let RuleAction::Table(table) = action else {
            return true;
        };
        self.routes.iter().any(|route| {
            let there = route.next_hops.iter().all(|hop| hop.ifindex == device);
            route.table == table
                && overlap(route.dst, destination)
                && route.kind != RouteKind::Throw
                && asked
                    .suppressed
                    .is_none_or(|length| length < route.dst.prefix_len())
                && !(route.kind == RouteKind::Unicast && device.is_some() && there)
        })
    }
}

fn is_family(rule: &Rule, net: IpNet) -> bool {
    rule.ipv6 == net.addr().is_ipv6()
}
