//! Policy routing (`ip rule`) that leads what is for an endpoint elsewhere than to it. What is for other nodes is not looked
//! at: the kernel's FIB is asked for that, rules included.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    rc::Rc,
};

use ipnet::IpNet;
use netpath_common::{Ifindex, PuntReason};

use super::{Routed, overlap};
use crate::{
    netlink::{Link, NoWay, Route, RouteKind, Rule, RuleAction},
    reconcile::Matter,
};

/// The table in which an endpoint's routes are (`RT_TABLE_MAIN`).
const MAIN: u32 = 254;
/// Those that the kernel's own rules look into besides (`RT_TABLE_LOCAL`, `RT_TABLE_DEFAULT`).
const LOCAL: u32 = 255;
const DEFAULT: u32 = 253;

/// The routes of a table by their destinations: each of what is routed is looked for in it.
#[derive(Debug, Default)]
struct Routes<'a> {
    by_dst: BTreeMap<IpNet, Vec<&'a Route>>,
    /// Which lengths the prefixes have.
    lengths: BTreeSet<u8>,
}

impl<'a> Routes<'a> {
    fn insert(&mut self, route: &'a Route) {
        let dst = route.dst.trunc();
        self.by_dst.entry(dst).or_default().push(route);
        self.lengths.insert(dst.prefix_len());
    }

    /// Those to a prefix that has an address in common with this one: to a shorter one around it, to it, and to longer ones in it.
    fn overlapping(&self, net: IpNet) -> impl Iterator<Item = &'a Route> {
        let net = net.trunc();
        let shorter = self.lengths.range(..net.prefix_len());
        let around = shorter.filter_map(move |&length| IpNet::new(net.addr(), length).ok());
        let around = around.filter_map(|around| self.by_dst.get(&around.trunc()));
        let last = IpNet::from(net.broadcast());
        let within = self.by_dst.range(net..=last);
        let within = within.filter(move |(dst, _)| net.contains(*dst));
        around
            .chain(within.map(|(_, routes)| routes))
            .flatten()
            .copied()
    }
}

/// Rules, and what they go by.
pub(in super::super) struct Routing<'a> {
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

    /// Whether a route of the table that the rule leads to, which has to do with a destination, leads some of it elsewhere than
    /// to this interface.
    fn is_led(&self, route: &Route, destination: IpNet, device: Option<Ifindex>) -> bool {
        let there = route.next_hops.iter().all(|hop| hop.ifindex == device);
        debug_assert!(overlap(route.dst, destination));
        route.kind != RouteKind::Throw
            && self
                .suppressed
                .is_none_or(|length| length < route.dst.prefix_len())
            && !(route.kind == RouteKind::Unicast && device.is_some() && there)
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

impl<'a> Routing<'a> {
    /// The rules that may lead packets elsewhere than the kernel's own do, with the routes that they lead to.
    pub fn unusual(&self) -> Vec<Unusual<'a>> {
        let rules = self.rules.iter().map(|rule| (rule, Asked::of(rule)));
        let unusual = rules.filter(|(rule, asked)| {
            let is_usual = matches!(
                rule.action,
                RuleAction::Nop | RuleAction::Table(MAIN | LOCAL | DEFAULT)
            );
            !is_usual && !asked.never
        });
        let mut tables = self.tables();
        let mut found = Vec::new();
        for (rule, asked) in unusual {
            let routes = match rule.action {
                RuleAction::Table(table) => Rc::clone(tables.entry(table).or_default()),
                _ => Rc::default(),
            };
            found.push(Unusual {
                rule,
                asked,
                routes,
            });
        }
        found
    }

    fn tables(&self) -> BTreeMap<u32, Rc<Routes<'a>>> {
        let mut tables: BTreeMap<u32, Routes<'a>> = BTreeMap::new();
        for route in self.routes {
            tables.entry(route.table).or_default().insert(route);
        }
        let tables = tables.into_iter();
        tables
            .map(|(table, routes)| (table, Rc::new(routes)))
            .collect()
    }

    /// Whether there is a route for a destination that does this to packets.
    pub fn refuses(&self, destination: IpAddr, why: NoWay) -> bool {
        let kind = match why {
            NoWay::NoRoute => return false,
            NoWay::Dropped => RouteKind::Blackhole,
            NoWay::Unreachable => RouteKind::Unreachable,
            NoWay::Prohibited => RouteKind::Prohibit,
        };
        let mut routes = self.routes.iter();
        routes.any(|route| route.kind == kind && route.dst.contains(&destination))
    }

    /// What the rules lead elsewhere.
    pub fn matters(&self, routed: &Routed<'_>) -> Vec<Matter> {
        let tables = self.tables();
        let devices = self.devices();
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
                let routes = match rule.action {
                    RuleAction::Table(table) => Some(tables.get(&table).map(Rc::as_ref)),
                    _ => None,
                };
                // Whether the rule leads what is for an endpoint elsewhere than to its interface.
                let is_led = |net: IpNet, dev: &str| match routes {
                    None => true,
                    Some(routes) => {
                        let device = devices.get(dev).copied();
                        let mut routes = routes.into_iter().flat_map(|it| it.overlapping(net));
                        routes.any(|route| asked.is_led(route, net, device))
                    }
                };
                let is_it = |net: &IpNet, dev: &str| open(net) && is_led(*net, dev);
                matters.extend(self.matter(&asked, routed, is_it));
            }
        }
        matters
    }

    /// The interfaces by all their names.
    fn devices(&self) -> BTreeMap<&str, Ifindex> {
        let links = self.links.iter();
        let names = links.flat_map(|link| {
            let names = std::iter::once(&link.name).chain(&link.altnames);
            names.map(|name| (name.as_str(), link.ifindex))
        });
        names.collect()
    }

    fn matter(
        &self,
        asked: &Asked<'_>,
        routed: &Routed<'_>,
        is_led: impl Fn(&IpNet, &str) -> bool,
    ) -> Option<Matter> {
        let destinations = routed.iter().filter(|(net, dev)| {
            asked.to.is_none_or(|to| overlap(to, **net)) && dev.is_some_and(|dev| is_led(net, dev))
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
}

/// A rule that is none of the kernel's own.
pub(in super::super) struct Unusual<'a> {
    rule: &'a Rule,
    asked: Asked<'a>,
    /// Of the table that it leads to, if it leads to one.
    routes: Rc<Routes<'a>>,
}

impl Unusual<'_> {
    /// Whether it may lead elsewhere what is for a destination, which is behind this interface if it is an endpoint's.
    pub fn concerns(&self, net: IpNet, device: Option<Ifindex>) -> bool {
        is_family(self.rule, net)
            && self.asked.to.is_none_or(|to| overlap(to, net))
            && match self.rule.action {
                RuleAction::Table(_) => {
                    let mut routes = self.routes.overlapping(net);
                    routes.any(|route| self.asked.is_led(route, net, device))
                }
                _ => true,
            }
    }

    /// Whether it does this to packets for a destination, from there, that come in by that, as far as it asks for nothing else.
    pub fn refuses(&self, destination: IpAddr, source: IpAddr, dev: &str, why: NoWay) -> bool {
        let action = match why {
            // The kernel says the same of both (`fib4_rule_action`, `__fib6_rule_action`).
            NoWay::NoRoute => RuleAction::Unreachable,
            NoWay::Dropped => RuleAction::Blackhole,
            NoWay::Prohibited => RuleAction::Prohibit,
            NoWay::Unreachable => return false,
        };
        self.rule.action == action
            && is_family(self.rule, destination.into())
            && self.asked.to.is_none_or(|to| to.contains(&destination))
            && self.may_be_of(source, dev)
    }

    /// Its priority, and whether it asks for more than addresses and interfaces.
    pub fn name(&self) -> (u32, bool) {
        (self.rule.priority, self.asked.more)
    }

    /// Whether a packet from there that comes in by that may be as it asks.
    pub fn may_be_of(&self, source: IpAddr, dev: &str) -> bool {
        let Asked { from, iif, .. } = self.asked;
        from.is_none_or(|from| from.contains(&source)) && iif.is_none_or(|iif| iif == dev)
    }
}

fn is_family(rule: &Rule, net: IpNet) -> bool {
    rule.ipv6 == net.addr().is_ipv6()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect(text)
    }

    /// Two endpoints of either family, and another node's prefixes.
    fn routed() -> Routed<'static> {
        let endpoints = [
            ("10.0.1.2/32", "va1"),
            ("10.0.2.2/32", "va2"),
            ("fd00:1::2/128", "va1"),
            ("fd00:2::2/128", "va2"),
        ];
        let remote = ["10.0.3.0/24", "fd00:3::/64"];
        let endpoints = endpoints.map(|(address, dev)| (net(address), Some(dev)));
        let remote = remote.map(|prefix| (net(prefix), None));
        endpoints.into_iter().chain(remote).collect()
    }

    fn rule(priority: u32, selectors: &[&str], action: RuleAction) -> Rule {
        Rule {
            ipv6: false,
            priority,
            action,
            selectors: selectors.iter().map(|&it| it.to_owned()).collect(),
        }
    }

    /// Table 77 has this route.
    fn route(dst: &str, kind: RouteKind) -> Route {
        Route {
            dst: net(dst),
            from: None,
            table: 77,
            kind,
            protocol: 4,
            metric: 0,
            tos: 0,
            scope: crate::netlink::Scope::Universe,
            source: None,
            next_hops: Vec::new(),
            nexthop_id: None,
            mtu: None,
        }
    }

    /// From what to what these rules lead elsewhere, where table 77 has this route; behind them is the main table, as always.
    fn led(rules: &[Rule], route: Route) -> Vec<(Vec<String>, Vec<String>)> {
        let mut all = rules.to_vec();
        all.push(rule(32_766, &[], RuleAction::Table(MAIN)));
        all.push(rule(32_767, &[], RuleAction::Table(77)));
        let routing = Routing {
            rules: &all,
            routes: &[route],
            links: &[],
            uplinks: &["up0"],
        };
        let texts = |nets: &BTreeSet<IpNet>| nets.iter().map(ToString::to_string).collect();
        let matters = routing.matters(&routed());
        matters
            .iter()
            .map(|matter| (texts(&matter.sources), texts(&matter.destinations)))
            .collect()
    }

    #[test]
    fn routes_are_found_around_and_within_a_prefix() {
        let dsts = [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.0.0.0/16",
            "10.0.1.0/24",
            "10.0.1.2/32",
            "10.0.1.2/31",
            "10.0.2.0/24",
            "11.0.0.0/8",
            "255.255.255.255/32",
            "::/0",
            "fd00::/16",
            "fd00:1::/32",
            "fd00:1::2/128",
            "fd00:2::/64",
        ];
        let all = dsts.map(|dst| route(dst, RouteKind::Unicast));
        let mut routes = Routes::default();
        all.iter().for_each(|route| routes.insert(route));
        for asked in
            dsts.into_iter()
                .chain(["10.0.1.3/32", "10.0.0.0/15", "128.0.0.0/1", "fe80::/10"])
        {
            let asked = net(asked);
            let found: BTreeSet<IpNet> = routes.overlapping(asked).map(|route| route.dst).collect();
            let each = all.iter().map(|route| route.dst);
            let expected: BTreeSet<IpNet> = each.filter(|dst| overlap(*dst, asked)).collect();
            assert_eq!(found, expected, "{asked}");
        }
    }

    fn default_route() -> Route {
        route("0.0.0.0/0", RouteKind::Unicast)
    }

    const A1: &str = "10.0.1.2/32";
    const A2: &str = "10.0.2.2/32";
    const REMOTE: &str = "10.0.3.0/24";

    #[test]
    fn what_leads_elsewhere_concerns_those_that_it_asks_for() {
        let to_77 = |selectors: &[&str]| [rule(100, selectors, RuleAction::Table(77))];
        for (selectors, sources, destinations) in [
            (&["from 10.0.1.0/24"][..], &[A1][..], &[A1, A2][..]),
            (&["to 10.0.2.2/32"], &[A1, A2, REMOTE], &[A2]),
            (&["iif va1"], &[A1], &[A1, A2]),
            (&["iif up0"], &[REMOTE], &[A1, A2]),
            (&["ipproto tcp", "from 10.0.3.7/32"], &[REMOTE], &[A1, A2]),
            (&["not", "from 10.0.1.2/32"], &[A1, A2, REMOTE], &[A1, A2]),
            (&["fwmark 0x0/0xff"], &[A1, A2, REMOTE], &[A1, A2]),
        ] {
            let texts = |nets: &[&str]| nets.iter().map(|&net| net.to_owned()).collect::<Vec<_>>();
            let expected = vec![(texts(sources), texts(destinations))];
            let found = led(&to_77(selectors), default_route());
            assert_eq!(found, expected, "{selectors:?}");
        }
        // Whatever is in no table.
        let refuses = [rule(100, &["from 10.0.1.2/32"], RuleAction::Blackhole)];
        let nowhere = route("0.0.0.0/0", RouteKind::Throw);
        assert_eq!(led(&refuses, nowhere).len(), 1);
    }

    #[test]
    fn what_leads_nowhere_else_concerns_nobody() {
        let nobody: Vec<(Vec<String>, Vec<String>)> = Vec::new();
        for selectors in [
            &["fwmark 0x7"][..],
            &["fwmark 0x7/0xff", "from 10.0.1.2/32"],
            &["oif up0"],
            &["l3mdev"],
            &["from 192.168.0.0/16"],
            &["to 10.0.3.0/24"],
            // To itself.
            &["from 10.0.1.2/32", "to 10.0.1.2/32"],
            &["suppress_prefixlength 0"],
        ] {
            let found = led(
                &[rule(100, selectors, RuleAction::Table(77))],
                default_route(),
            );
            assert_eq!(found, nobody, "{selectors:?}");
        }
        let rules = [rule(100, &[], RuleAction::Table(77))];
        for route in [
            route("10.0.9.0/24", RouteKind::Unicast),
            route("0.0.0.0/0", RouteKind::Throw),
        ] {
            assert_eq!(led(&rules, route), nobody);
        }
        let ipv6 = route("::/0", RouteKind::Unicast);
        assert_eq!(led(&rules, ipv6), nobody);
        assert_eq!(
            led(&[rule(100, &[], RuleAction::Nop)], default_route()),
            nobody
        );
    }

    /// WireGuard's (`wg-quick`), and those of a cloud's pods.
    #[test]
    fn what_an_earlier_rule_has_led_home_is_not_led_elsewhere() {
        let main = RuleAction::Table(MAIN);
        let wireguard = [
            rule(10, &["suppress_prefixlength 0"], main),
            rule(11, &["not", "fwmark 0xca6c"], RuleAction::Table(77)),
        ];
        assert!(led(&wireguard, default_route()).is_empty());
        let cloud = [
            rule(1536, &["from 10.0.1.2/32"], RuleAction::Table(77)),
            rule(512, &["to 10.0.2.2/32"], main),
            rule(512, &["to 10.0.1.2/32"], main),
        ];
        assert!(led(&cloud, default_route()).is_empty());
        // The other way round.
        let late = [
            rule(9, &["from 10.0.1.2/32"], RuleAction::Table(77)),
            rule(512, &["to 10.0.2.2/32"], main),
        ];
        assert_eq!(led(&late, default_route()).len(), 1);
        // Of some only, or with a prefix that is longer.
        let some = [
            rule(10, &["iif va2"], main),
            rule(10, &["suppress_prefixlength 32"], main),
            rule(11, &["from 10.0.1.2/32"], RuleAction::Table(77)),
        ];
        assert_eq!(led(&some, default_route()).len(), 1);
    }
}
