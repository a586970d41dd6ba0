//! Routes, rules and neighbours.

use std::{
    thread,
    time::{Duration, Instant},
};

use netpath::{
    netlink::{
        Netlink, NetlinkError, NewRoute, NextHop, Replace, Route, RouteKind, RuleAction, Scope,
        Table,
    },
    sysctl,
};
use netpath_common::{Ifindex, Mac};

use super::*;

fn hop(via: &str, ifindex: Ifindex) -> NextHop {
    NextHop {
        via: Some(addr(via)),
        ifindex: Some(ifindex),
        weight: 1,
        dead: false,
        linkdown: false,
        onlink: false,
        encapsulated: false,
    }
}

/// The one route to a destination.
fn the(netlink: &Netlink, dst: &str) -> Route {
    let routes = netlink.routes(Table::Main).expect("routes");
    let found = to(&routes, dst);
    assert_eq!(found.len(), 1, "{dst}: {found:?}");
    found[0].clone()
}

#[test]
fn routes_are_read_whole() {
    alone(|_, netlink| {
        let [a, b] = two_links(&netlink);
        for line in [
            "route add 10.1.0.0/16 proto bird metric 7 nexthop via 10.0.0.2 dev a0 weight 3 \
             nexthop via 10.0.1.2 dev b0",
            "route add 10.2.0.0/16 via inet6 fe80::2 dev a0",
            "route add 10.3.0.0/16 via 10.0.1.9 dev b0 onlink tos 0x10 src 10.0.0.1",
            "route add blackhole 10.4.0.0/16",
            "route add unreachable fd00:4::/48",
            "route add prohibit 10.4.1.0/24",
            "route add throw 10.4.2.0/24 table 1000",
            "route add 10.5.0.0/16 dev a0",
            "nexthop add id 11 via 10.0.0.3 dev a0",
            "nexthop add id 12 via 10.0.1.3 dev b0",
            "nexthop add id 20 group 11/12,2",
            "route add 10.6.0.0/16 nhid 20",
            "route add 10.7.0.0/16 nhid 11",
            "nexthop add id 13 blackhole",
            "route add 10.8.0.0/16 nhid 13",
            "route add fd00:6::/48 nexthop via fd00::2 dev a0 nexthop via fd00::3 dev a0 weight 2",
            "route add default via 10.0.0.9",
            "route add default via 10.0.0.8 metric 50",
        ] {
            ip(line);
        }
        let found = the(&netlink, "10.1.0.0/16");
        assert_eq!((found.protocol, found.metric), (12, 7));
        let heavy = NextHop {
            weight: 3,
            ..hop("10.0.0.2", a)
        };
        assert_eq!(found.next_hops, [heavy, hop("10.0.1.2", b)]);
        assert_eq!(found.single_next_hop(), None);

        let found = the(&netlink, "10.2.0.0/16");
        assert_eq!(found.single_next_hop(), Some(&hop("fe80::2", a)));

        let found = the(&netlink, "10.3.0.0/16");
        assert_eq!((found.tos, found.source), (0x10, Some(addr("10.0.0.1"))));
        assert!(found.next_hops[0].onlink);

        for (dst, kind) in [
            ("10.4.0.0/16", RouteKind::Blackhole),
            ("fd00:4::/48", RouteKind::Unreachable),
            ("10.4.1.0/24", RouteKind::Prohibit),
            ("10.8.0.0/16", RouteKind::Blackhole),
        ] {
            let found = the(&netlink, dst);
            assert_eq!(found.kind, kind, "{dst}");
            assert_eq!(found.single_next_hop(), None, "{dst}");
        }

        let found = the(&netlink, "10.5.0.0/16");
        assert_eq!(found.scope, Scope::Link);
        assert!(found.is_only_through(a));
        assert_eq!(found.way().to_string(), "on the link");

        let found = the(&netlink, "10.6.0.0/16");
        assert_eq!(found.nexthop_id, Some(20));
        let heavy = NextHop {
            weight: 2,
            ..hop("10.0.1.3", b)
        };
        assert_eq!(found.next_hops, [hop("10.0.0.3", a), heavy]);
        let found = the(&netlink, "10.7.0.0/16");
        assert_eq!(found.nexthop_id, Some(11));
        assert!(found.is_only_via(addr("10.0.0.3")));

        let found = the(&netlink, "fd00:6::/48");
        assert_eq!(found.next_hops.len(), 2);
        assert_eq!(found.metric, 1024);

        let routes = netlink.routes(Table::Main).expect("routes");
        let mut defaults = to(&routes, "0.0.0.0/0");
        defaults.sort_by_key(|route| route.metric);
        assert_eq!(defaults.len(), 2);
        assert!(defaults[0].is_only_via(addr("10.0.0.9")) && defaults[0].metric == 0);
        assert!(defaults[1].is_only_via(addr("10.0.0.8")) && defaults[1].metric == 50);

        // Table main alone, and all of them.
        assert!(routes.iter().all(|route| route.table == 254));
        assert_eq!(to(&routes, "10.4.2.0/24"), []);
        let all = netlink.routes(Table::All).expect("routes");
        let [throw] = &to(&all, "10.4.2.0/24")[..] else {
            panic!("{all:?}")
        };
        assert_eq!((throw.kind, throw.table), (RouteKind::Throw, 1000));
        let [local] = &to(&all, "10.0.0.1/32")[..] else {
            panic!("{all:?}")
        };
        assert_eq!((local.kind, local.table), (RouteKind::Local, 255));

        // As many as `ip` shows.
        let shown = |family: &str| {
            ip(&format!("{family} -o route show table main"))
                .lines()
                .count()
        };
        assert_eq!(routes.len(), shown("-4") + shown("-6"));

        // A next hop whose link has lost its carrier, and one whose link is down.
        ip("link set b1 down");
        let down = || the(&netlink, "10.1.0.0/16").next_hops[1].clone();
        let deadline = Instant::now() + Duration::from_secs(5);
        while !down().linkdown {
            assert!(Instant::now() < deadline, "{:?}", down());
            thread::sleep(Duration::from_millis(5));
        }
        assert!(!down().dead);
        ip("link set b0 down");
        assert!(down().dead);
    });
}

#[test]
fn without_its_expansion_a_nexthop_object_is_still_named() {
    alone(|inside, netlink| {
        two_links(&netlink);
        sysctl::set(inside, "ipv4/nexthop_compat_mode", "0").expect("sysctl");
        ip("nexthop add id 11 via 10.0.0.3 dev a0");
        ip("route add 10.7.0.0/16 nhid 11");
        let found = the(&netlink, "10.7.0.0/16");
        assert_eq!((found.nexthop_id, found.next_hops.len()), (Some(11), 0));
        assert_eq!(found.single_next_hop(), None);
        assert_eq!(found.way().to_string(), "by nexthop object 11");
    });
}

#[test]
fn a_namespace_without_routes_has_none() {
    alone(|_, netlink| {
        assert_eq!(netlink.routes(Table::Main).expect("routes"), []);
        assert_eq!(netlink.all_addresses().expect("addresses"), []);
    });
}

fn new_route(dst: &str, via: &str) -> NewRoute {
    NewRoute {
        dst: net(dst),
        via: Some(addr(via)),
        ifindex: None,
        onlink: false,
        source: None,
    }
}

#[test]
fn only_a_route_of_netpaths_is_replaced() {
    alone(|_, netlink| {
        let [a, _] = two_links(&netlink);
        for (dst, [ours, other, next]) in [
            ("10.9.0.0/16", ["10.0.0.2", "10.0.0.3", "10.0.0.4"]),
            ("fd00:9::/48", ["fd00::2", "fd00::3", "fd00::4"]),
        ] {
            let first = new_route(dst, ours);
            netlink.add_route(&first, Replace::No).expect("new");
            assert!(the(&netlink, dst).is_ours());
            let error = netlink.add_route(&first, Replace::No).expect_err(dst);
            assert!(matches!(error, NetlinkError::RouteExists { .. }), "{error}");
            // Replaced, also where it is known to be there; once only.
            netlink
                .add_route(&new_route(dst, next), Replace::Ours)
                .expect("ours");
            assert_eq!(the(&netlink, dst).next_hops, [hop(next, a)]);
            let known = netlink.known_routes().expect("routes");
            netlink
                .add_route_among(&known, &first, Replace::Ours)
                .expect("ours");
            assert_eq!(the(&netlink, dst).next_hops, [hop(ours, a)]);
            netlink.delete_route(&first).expect("there");
            netlink.delete_route(&first).expect("gone already");

            // Somebody's, of the same metric.
            let metric = if dst.contains(':') {
                " metric 1024"
            } else {
                ""
            };
            ip(&format!("route add {dst} via {other}{metric}"));
            let before = the(&netlink, dst);
            let known = netlink.known_routes().expect("routes");
            for replace in [Replace::No, Replace::Ours] {
                let results = [
                    netlink.add_route(&first, replace),
                    netlink.add_route_among(&known, &first, replace),
                ];
                for result in results {
                    let error = result.expect_err(dst);
                    let NetlinkError::RouteExists { found } = &error else {
                        panic!("{error}")
                    };
                    assert_eq!(**found, before);
                    assert!(error.to_string().contains(other), "{error}");
                }
            }
            // Not known yet: found all the same.
            let error = netlink
                .add_route_among(&Default::default(), &first, Replace::Ours)
                .expect_err(dst);
            assert!(matches!(error, NetlinkError::RouteExists { .. }), "{error}");
            // In a namespace of netpath's own it may be.
            netlink.add_route(&first, Replace::Any).expect("anybody's");
            assert_eq!(the(&netlink, dst).next_hops, [hop(ours, a)]);
            ip(&format!("route replace {dst} via {other}{metric}"));
            assert_eq!(the(&netlink, dst), before);
            // Neither is it removed.
            let link = netlink.link("a0").expect("a0").expect("a0");
            netlink
                .delete_route(&new_route(dst, other))
                .expect("none of ours");
            netlink
                .delete_route_through(&link, net(dst))
                .expect("none of ours");
            assert_eq!(the(&netlink, dst), before);
            // One of another metric is in nobody's way.
            ip(&format!("route del {dst}"));
            ip(&format!("route add {dst} via {other} metric 77"));
            netlink.add_route(&first, Replace::No).expect("beside it");
            let routes = netlink.routes(Table::Main).expect("routes");
            assert_eq!(to(&routes, dst).len(), 2);
        }
    });
}

#[test]
fn many_routes_are_replaced() {
    alone(|_, netlink| {
        two_links(&netlink);
        let routes = |via: &'static str| {
            (0..2000u32).map(move |number| {
                let dst = format!("10.{}.{}.0/24", 100 + number / 250, number % 250);
                new_route(&dst, via)
            })
        };
        let known = netlink.known_routes().expect("routes");
        for route in routes("10.0.0.2") {
            netlink
                .add_route_among(&known, &route, Replace::Ours)
                .expect("new");
        }
        let known = netlink.known_routes().expect("routes");
        for route in routes("10.0.0.3") {
            netlink
                .add_route_among(&known, &route, Replace::Ours)
                .expect("ours");
        }
        let found = netlink.routes(Table::Main).expect("routes");
        let moved = found
            .iter()
            .filter(|route| route.is_ours() && route.is_only_via(addr("10.0.0.3")));
        assert_eq!(moved.count(), 2000);
    });
}

#[test]
fn neighbours_and_rules_are_read() {
    alone(|_, netlink| {
        let [a, _] = two_links(&netlink);
        let link = netlink.link("a0").expect("a0").expect("a0");
        let mac = Mac([2, 0, 0, 0, 0, 9]);
        for address in ["10.0.0.9", "fd00::9"] {
            netlink
                .add_neighbour(&link, (addr(address), mac), false)
                .expect("added");
            let found = netlink.neighbours().expect("neighbours");
            let found = found
                .iter()
                .find(|found| found.address == addr(address))
                .expect("there");
            assert_eq!((found.ifindex, found.mac), (a, Some(mac)));
            assert_eq!(found.state, netpath::netlink::NeighbourState::Permanent);
        }
        ip("rule add priority 77 fwmark 0x1 iif a0 lookup 1000");
        ip("-6 rule add priority 78 from fd00::/64 goto 32766");
        ip("rule add priority 79 to 10.3.0.0/16 prohibit");
        let rules = netlink.rules().expect("rules");
        let rule = |priority| {
            let found = rules.iter().find(|rule| rule.priority == priority);
            found.expect("there")
        };
        assert_eq!(rule(77).action, RuleAction::Table(1000));
        assert_eq!(rule(77).selectors, ["iif a0", "fwmark 0x1"]);
        assert!(rule(78).ipv6);
        assert_eq!(rule(78).action, RuleAction::Goto(32766));
        assert_eq!(rule(78).selectors, ["from fd00::/64"]);
        assert_eq!(rule(79).action, RuleAction::Prohibit);
        // Local, main and default of IPv4; local and main of IPv6.
        assert_eq!(rules.len(), 3 + 5);
    });
}
