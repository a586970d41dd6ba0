//! What netpath reads from the kernel and writes to it by netlink, against what `ip` did or shows.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    net::{IpAddr, UdpSocket},
    os::{
        fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    process::Command,
    thread,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use netpath::{
    netlink::{
        LinkKind, NamespacesGone, Netlink, NetlinkError, NewRoute, NextHop, Peer, QdiscParent,
        Replace, Route, RouteKind, RuleAction, Scope, Table, VethEnd, XdpMode, XdpProgram, Xfrm,
        XfrmAction, XfrmDefaults, XfrmDirection, XfrmMark, XfrmPolicy, XfrmPorts, XfrmSelector,
    },
    netns::{Inside, Netns},
    sysctl,
};
use netpath_common::Hook;
use netpath_common::{Ifindex, Mac};
use nix::sched::{CloneFlags, unshare};

/// Runs something in a namespace that nothing else uses and that ends with it.
fn alone<T: Send>(work: impl FnOnce(&Inside<'_>, Netlink) -> T + Send) -> T {
    let run = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root");
        let inside = Inside::current();
        let netlink = Netlink::open(&inside).expect("socket");
        work(&inside, netlink)
    };
    thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn ip(arguments: &str) -> String {
    run("ip", arguments.split_whitespace())
}

fn tc(arguments: &str) -> String {
    run("tc", arguments.split_whitespace())
}

fn run(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let mut command = Command::new(program);
    command.args(arguments);
    let output = command.output().expect("it is installed");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    String::from_utf8(output.stdout).expect("text")
}

/// Two veth pairs, `a0`-`a1` with 10.0.0.1/24 and fd00::1/64, and `b0`-`b1` with 10.0.1.1/24. Returns the indices of a0
/// and b0.
fn two_links(netlink: &Netlink) -> [Ifindex; 2] {
    for line in [
        "link set lo up",
        "link add a0 mtu 1400 type veth peer name a1",
        "link add b0 type veth peer name b1",
        "link set a1 up",
        "link set b1 up",
        "link set a0 up",
        "link set b0 up",
        "addr add 10.0.0.1/24 dev a0",
        "addr add fd00::1/64 dev a0 nodad",
        "addr add 10.0.1.1/24 dev b0",
    ] {
        ip(line);
    }
    netlink.await_operational("a0").expect("a0");
    netlink.await_operational("b0").expect("b0");
    ["a0", "b0"].map(|dev| netlink.link(dev).expect(dev).expect(dev).ifindex)
}

fn net(text: &str) -> IpNet {
    text.parse().expect(text)
}

fn addr(text: &str) -> IpAddr {
    text.parse().expect(text)
}

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

fn to(routes: &[Route], dst: &str) -> Vec<Route> {
    let dst = net(dst);
    let found = routes.iter().filter(|route| route.dst == dst);
    found.cloned().collect()
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
fn links_are_read_and_changed() {
    alone(|_, netlink| {
        two_links(&netlink);
        ip("link add v0 type vxlan id 7 dstport 4789 dev a0");
        netlink.add_bridge("br0").expect("bridge");
        let mut kinds: Vec<(String, LinkKind)> = netlink
            .links()
            .expect("links")
            .into_iter()
            .map(|link| (link.name, link.kind))
            .collect();
        kinds.sort_by(|one, other| one.0.cmp(&other.0));
        let kind = |name: &str, kind| (name.to_owned(), kind);
        assert_eq!(
            kinds,
            [
                kind("a0", LinkKind::Veth),
                kind("a1", LinkKind::Veth),
                kind("b0", LinkKind::Veth),
                kind("b1", LinkKind::Veth),
                kind("br0", LinkKind::Bridge),
                kind("lo", LinkKind::Unsaid),
                kind("v0", LinkKind::Other("vxlan".to_owned())),
            ]
        );
        let find = |name: &str| netlink.link(name).expect(name).expect(name);
        assert_eq!(netlink.link("none").expect("asked"), None);
        assert!(find("br0").up);
        let link = find("a0");
        assert_eq!((link.mtu, link.up, link.operational), (1400, true, true));
        netlink.set_mtu(&link, 1300).expect("mtu");
        netlink.set_down(&link).expect("down");
        netlink.rename(&link, "eth0.5").expect("rename");
        netlink
            .set_controller(&link, find("br0").ifindex)
            .expect("port");
        let link = find("eth0.5");
        assert_eq!((link.mtu, link.up), (1300, false));
        assert_eq!(link.controller, find("br0").ifindex);
        netlink.set_up(&link).expect("up");
        assert!(find("eth0.5").up);
        netlink.delete_link(&link).expect("there");
        netlink.delete_link(&link).expect("gone already");
        assert_eq!(netlink.link("eth0.5").expect("asked"), None);
        let error = netlink.add_bridge("br0").expect_err("taken");
        assert_eq!(error.errno(), Some(libc::EEXIST));
        assert!(
            error.to_string().starts_with("make bridge br0: "),
            "{error}"
        );
    });
}

#[test]
fn a_veth_is_made_into_another_namespace() {
    alone(|_, netlink| {
        let other = thread::scope(|scope| {
            scope
                .spawn(|| {
                    unshare(CloneFlags::CLONE_NEWNET).expect("root");
                    Netns::current().expect("/proc")
                })
                .join()
                .expect("no panic")
        });
        let end = |name, last| VethEnd {
            name,
            mac: Mac([2, 0, 0, 0, 0, last]),
        };
        netlink
            .add_veth(
                end("here", 1),
                end("there", 2),
                std::os::fd::AsFd::as_fd(&other),
            )
            .expect("veth");
        let here = netlink.link("here").expect("asked").expect("made");
        assert_eq!(here.mac, Some(Mac([2, 0, 0, 0, 0, 1])));
        assert_eq!(netlink.link("there").expect("asked"), None);
        // The socket stays where it was opened.
        let there = other
            .enter(Netlink::open)
            .expect("entered")
            .expect("socket");
        let link = there.link("there").expect("asked").expect("made");
        assert_eq!(link.mac, Some(Mac([2, 0, 0, 0, 0, 2])));
        there.set_up(&link).expect("up");
        netlink.set_up(&here).expect("up");
        there.await_operational("there").expect("operational");
    });
}

#[test]
fn addresses_of_all_interfaces_are_listed_in_one_go() {
    alone(|_, netlink| {
        let [a, b] = two_links(&netlink);
        ip("addr add 10.0.2.1 peer 10.0.2.2/32 dev b0");
        let found = netlink.all_addresses().expect("addresses");
        let of = |ifindex| {
            found
                .iter()
                .filter(move |(its, _)| *its == ifindex)
                .map(|(_, address)| address)
        };
        assert_eq!(of(a).count(), 3, "IPv4, IPv6, link-local");
        let link_local = of(a)
            .find(|found| found.scope == Scope::Link)
            .expect("link-local");
        assert!(link_local.address.to_string().starts_with("fe80::"));
        let peer = of(b)
            .find(|found| found.peer == Some(addr("10.0.2.2")))
            .expect("peer");
        assert_eq!(peer.address, net("10.0.2.1/32"));
        assert!(peer.permanent && peer.scope == Scope::Universe);
        assert_eq!(
            netlink.addresses(a).expect("addresses"),
            [net("10.0.0.1/24"), net("fd00::1/64")]
        );
        assert_eq!(netlink.addresses(Ifindex(99)).expect("none"), []);
        // As netpath gives them.
        let link = netlink.link("b0").expect("b0").expect("b0");
        for (address, prefix_route) in [("10.7.0.1/24", true), ("fd07::1/64", false)] {
            netlink
                .add_address(&link, net(address), prefix_route)
                .expect(address);
            let shown = ip("addr show dev b0");
            assert!(shown.contains(address), "{shown}");
            let routes = netlink.routes(Table::Main).expect("routes");
            let prefix = net(address).trunc().to_string();
            assert_eq!(to(&routes, &prefix).len(), usize::from(prefix_route));
            netlink.delete_address(&link, net(address)).expect("there");
            netlink
                .delete_address(&link, net(address))
                .expect("gone already");
        }
        assert!(ip("addr show dev b0").contains("10.0.1.1/24 scope global b0"));
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
                .add_neighbour(&link, addr(address), mac)
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

#[test]
fn an_interface_without_clsact_has_no_filters() {
    alone(|_, netlink| {
        two_links(&netlink);
        let link = netlink.link("a0").expect("a0").expect("a0");
        for hook in [Hook::Ingress, Hook::Egress] {
            assert_eq!(netlink.filter_programs(&link, hook).expect("asked"), []);
        }
    });
}

#[test]
fn a_setting_of_an_interface_with_dots_in_its_name_is_found() {
    alone(|inside, _| {
        ip("link add bond0.354 type veth peer name x1");
        let key = sysctl::of_interface(sysctl::Tree::Ipv4, "bond0.354", "forwarding");
        assert_eq!(sysctl::get(inside, &key).expect("read"), "0");
        sysctl::set(inside, &key, "1").expect("written");
        assert_eq!(sysctl::get(inside, &key).expect("read"), "1");
        let gone = sysctl::of_interface(sysctl::Tree::Ipv4, "none", "forwarding");
        let error = sysctl::get(inside, &gone).expect_err("no such interface");
        assert!(
            error.is_missing() && error.to_string().contains(&gone),
            "{error}"
        );
    });
}

#[test]
fn an_interface_that_has_odd_bytes_hides_no_other() {
    alone(|_, netlink| {
        two_links(&netlink);
        // A VLAN's alias is written by whoever likes; a name only lacks blanks, slashes and colons.
        let odd = |start: &str| {
            let mut text = OsString::from(start);
            text.push(OsStr::from_bytes(b"\xe9\xff"));
            text
        };
        let words = |words: &str| -> Vec<OsString> {
            words.split_whitespace().map(OsString::from).collect()
        };
        let mut alias = words("link set dev a0 alias");
        alias.push(odd("caf"));
        run("ip", &alias);
        let mut rename = words("link set dev b0 down name");
        rename.push(odd("b"));
        run("ip", &rename);
        let links = netlink.links().expect("links");
        assert_eq!(links.len(), 5);
        let find = |name: &str| links.iter().find(|link| link.name == name).expect(name);
        // Nobody needs the alias.
        assert_eq!(find("a0").undecoded, None);
        assert_eq!(
            netlink.link("a0").expect("asked").as_ref(),
            Some(find("a0"))
        );
        let link = find("b\\xe9\\xff");
        assert_eq!(link.undecoded.as_deref(), Some("its name is not UTF-8"));
        assert_eq!((link.mtu, &link.kind), (1500, &LinkKind::Veth));
    });
}

#[test]
fn where_an_interface_leads_is_read() {
    alone(|_, netlink| {
        let [a, b] = two_links(&netlink);
        let find = |name: &str| netlink.link(name).expect(name).expect(name);
        let here = |ifindex| {
            Some(Peer {
                ifindex,
                netns: None,
            })
        };
        assert_eq!(find("a1").peer, here(a));
        assert_eq!(find("lo").peer, None);
        ip("link add m0 link b0 type macvlan");
        assert_eq!(find("m0").peer, here(b));
        assert_eq!(find("a0").port_of, None);
        netlink.add_bridge("br0").expect("bridge");
        ip("link set dev a0 master br0");
        assert_eq!(find("a0").port_of.as_deref(), Some("bridge"));
        assert_eq!(find("a0").controller, find("br0").ifindex);
    });
}

/// A program that does nothing, by its type (`BPF_PROG_TYPE_*`) and its answer; it ends with the descriptor. Returns its
/// number too.
fn bpf_program(kind: u32, answer: i32) -> (OwnedFd, u32) {
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: *const u64,
        license: *const libc::c_char,
        log: [u64; 2],
    }
    // r0 = answer; exit.
    let mut first = [0xb7, 0, 0, 0, 0, 0, 0, 0];
    first[4..].copy_from_slice(&answer.to_ne_bytes());
    let instructions = [first, [0x95, 0, 0, 0, 0, 0, 0, 0]].map(u64::from_ne_bytes);
    let load = Load {
        kind,
        count: 2,
        instructions: instructions.as_ptr(),
        license: c"GPL".as_ptr(),
        log: [0; 2],
    };
    const PROG_LOAD: libc::c_int = 5;
    // SAFETY: the structure is what the command takes; what it points to outlives the call and has the length stated.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const load, size_of::<Load>()) };
    assert!(fd >= 0, "BPF_PROG_LOAD: {}", io::Error::last_os_error());
    let fd = i32::try_from(fd).expect("a descriptor");
    // SAFETY: the kernel has just opened it for this caller.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).expect("info");
    let id = info
        .lines()
        .find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok());
    (fd, id.expect("a number"))
}

#[test]
fn xdp_programs_are_read() {
    const XDP: u32 = 6;
    const XDP_PASS: i32 = 2;
    alone(|_, netlink| {
        two_links(&netlink);
        let xdp = |name: &str| netlink.link(name).expect(name).expect(name).xdp;
        assert_eq!(xdp("a0"), []);
        let (native, generic) = (bpf_program(XDP, XDP_PASS), bpf_program(XDP, XDP_PASS));
        for (how, mode, (_, program)) in [
            ("xdpdrv", XdpMode::Native, native),
            ("xdpgeneric", XdpMode::Generic, generic),
        ] {
            let attach = format!("net attach {how} id {program} dev a1");
            run("bpftool", attach.split_whitespace());
            assert_eq!(xdp("a1"), [XdpProgram { mode, program }]);
            let detach = format!("net detach {how} dev a1");
            run("bpftool", detach.split_whitespace());
        }
        assert_eq!(xdp("a1"), []);
    });
}

#[test]
fn queueing_disciplines_are_read() {
    alone(|_, netlink| {
        let [a, b] = two_links(&netlink);
        let at = |ifindex| {
            let found = netlink.qdiscs().expect("qdiscs").into_iter();
            let found = found.filter(move |qdisc| qdisc.ifindex == ifindex);
            found.collect::<Vec<_>>()
        };
        let [default] = &at(a)[..] else {
            panic!("{:?}", at(a))
        };
        assert_eq!(
            (&*default.kind, default.parent),
            ("noqueue", QdiscParent::Root)
        );
        assert!(default.is_default());
        tc("qdisc add dev a0 root handle 5: htb");
        tc("class add dev a0 parent 5: classid 5:1 htb rate 1mbit");
        tc("qdisc add dev a0 parent 5:1 handle 6: tbf rate 1mbit burst 10k latency 10ms");
        tc("qdisc add dev a0 ingress_block 7 clsact");
        tc("qdisc add dev b0 ingress");
        // The same kind as the kernel's own, but somebody's.
        tc("qdisc replace dev b0 root pfifo");
        let found: Vec<_> = at(a)
            .into_iter()
            .map(|qdisc| (qdisc.kind.clone(), qdisc.parent, qdisc.is_default()))
            .collect();
        let added = |kind: &str, parent| (kind.to_owned(), parent, false);
        assert_eq!(
            found,
            [
                added("htb", QdiscParent::Root),
                added("tbf", QdiscParent::Class(0x5_0001)),
                added("clsact", QdiscParent::Ingress),
            ]
        );
        assert_eq!(at(a)[2].ingress_block, Some(7));
        assert_eq!(at(a)[2].egress_block, None);
        let found: Vec<_> = at(b)
            .into_iter()
            .map(|qdisc| (qdisc.kind.clone(), qdisc.parent, qdisc.is_default()))
            .collect();
        assert_eq!(
            found,
            [
                added("pfifo", QdiscParent::Root),
                added("ingress", QdiscParent::Ingress)
            ]
        );
    });
}

#[test]
fn filters_are_read_those_of_a_shared_block_too() {
    const SCHED_CLS: u32 = 3;
    alone(|_, netlink| {
        two_links(&netlink);
        let filters = |name: &str, hook| {
            let link = netlink.link(name).expect(name).expect(name);
            netlink.filters(&link, hook).expect("filters")
        };
        assert_eq!(filters("a0", Hook::Ingress), []);
        tc("qdisc add dev a0 ingress_block 7 clsact");
        tc("qdisc add dev b0 clsact");
        assert_eq!(filters("a0", Hook::Ingress), []);
        tc("filter add block 7 protocol ipv6 pref 9 u32 match ip6 dst fd00::/64 flowid 1:1");
        let found = filters("a0", Hook::Ingress);
        let [.., last] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!((&*last.kind, last.priority), ("u32", 9));
        assert_eq!(last.protocol, 0x86dd);
        assert!(last.handle != 0, "{found:?}");
        assert_eq!(filters("a0", Hook::Egress), []);
        // Classic BPF has a name, eBPF a number too.
        run(
            "tc",
            [
                "filter",
                "add",
                "dev",
                "b0",
                "egress",
                "pref",
                "2",
                "bpf",
                "da",
                "bytecode",
                "1,6 0 0 0,",
            ],
        );
        let (_program, id) = bpf_program(SCHED_CLS, -1);
        let pin = format!("/sys/fs/bpf/netpath-test-{id}");
        run("bpftool", ["prog", "pin", "id", &id.to_string(), &pin]);
        let line = format!("filter add dev b0 egress pref 3 chain 4 bpf da pinned {pin}");
        let added = Command::new("tc").args(line.split_whitespace()).output();
        fs::remove_file(&pin).expect("unpinned");
        let added = added.expect("tc is installed");
        assert!(added.status.success(), "{added:?}");
        let found = filters("b0", Hook::Egress);
        let seen: Vec<_> = found
            .iter()
            .map(|filter| (filter.priority, filter.chain, filter.handle, filter.program))
            .collect();
        assert_eq!(seen, [(2, 0, 1, None), (3, 4, 1, Some(id))]);
        assert!(found.iter().all(|filter| filter.kind == "bpf"));
        assert!(found.iter().all(|filter| filter.protocol == 3));
        let name = found[1].program_name.as_deref().expect("a name");
        assert!(name.starts_with(&format!("netpath-test-{id}")), "{name}");
        assert_eq!(filters("b0", Hook::Ingress), []);
    });
}

fn selector(source: &str, destination: &str) -> XfrmSelector {
    XfrmSelector {
        source: net(source),
        destination: net(destination),
        protocol: 0,
        source_ports: XfrmPorts::default(),
        destination_ports: XfrmPorts::default(),
        ifindex: None,
    }
}

#[test]
fn xfrm_policies_are_read() {
    alone(|inside, netlink| {
        let [a, _] = two_links(&netlink);
        assert_eq!(Xfrm::read(inside).expect("asked"), Xfrm::default());
        for line in [
            "src 10.1.0.0/16 dst 10.2.0.0/16 dir out priority 9 mark 0x10 mask 0xf0 if_id 3 \
             tmpl src 10.0.0.1 dst 10.0.0.2 proto esp reqid 1 mode tunnel",
            "src 10.2.0.0/16 dst 10.1.0.0/16 proto tcp sport 80 dport 443 dir in \
             tmpl proto ah mode transport tmpl proto esp mode transport",
            "src fd00:2::/48 dst fd00:1::/48 dev a0 dir fwd action block",
            "src ::/0 dst ::/0 dir out",
        ] {
            ip(&format!("xfrm policy add {line}"));
        }
        let mut found = Xfrm::read(inside).expect("policies");
        found.policies.sort_by_key(|policy| policy.templates);
        let any = XfrmPolicy {
            selector: Some(selector("::/0", "::/0")),
            direction: XfrmDirection::Out,
            action: XfrmAction::Allow,
            templates: 0,
            priority: 0,
            mark: None,
            if_id: 0,
        };
        let port = |port| XfrmPorts { port, mask: 0xffff };
        let blocked = XfrmPolicy {
            selector: Some(XfrmSelector {
                ifindex: Some(a),
                ..selector("fd00:2::/48", "fd00:1::/48")
            }),
            direction: XfrmDirection::Forward,
            action: XfrmAction::Block,
            ..any.clone()
        };
        let tunnel = XfrmPolicy {
            selector: Some(selector("10.1.0.0/16", "10.2.0.0/16")),
            templates: 1,
            priority: 9,
            mark: Some(XfrmMark {
                value: 0x10,
                mask: 0xf0,
            }),
            if_id: 3,
            ..any.clone()
        };
        let transport = XfrmPolicy {
            selector: Some(XfrmSelector {
                protocol: 6,
                source_ports: port(80),
                destination_ports: port(443),
                ..selector("10.2.0.0/16", "10.1.0.0/16")
            }),
            direction: XfrmDirection::In,
            templates: 2,
            ..any.clone()
        };
        // Those without a template in either order.
        assert_eq!(found.policies.len(), 4);
        for policy in [&any, &blocked] {
            assert!(found.policies[..2].contains(policy), "{found:?}");
        }
        assert_eq!(found.policies[2..], [tunnel, transport]);
        assert_eq!(found.defaults, XfrmDefaults::default());
        ip("xfrm policy setdefault fwd block");
        assert_eq!(
            Xfrm::read(inside).expect("policies").defaults,
            XfrmDefaults {
                block_forward: true,
                ..XfrmDefaults::default()
            }
        );
    });
}

#[test]
fn many_xfrm_policies_are_read_whole() {
    alone(|inside, _| {
        let lines: String = (0..3000)
            .map(|n| {
                let (high, low) = (n / 250, n % 250);
                format!("xfrm policy add src 10.{high}.{low}.0/24 dst 10.99.0.0/16 dir fwd action block\n")
            })
            .collect();
        let batch = std::env::temp_dir().join(format!("netpath-xfrm-{}", std::process::id()));
        fs::write(&batch, lines).expect("written");
        run("ip", [OsStr::new("-batch"), batch.as_os_str()]);
        fs::remove_file(&batch).expect("removed");
        let found = Xfrm::read(inside).expect("policies");
        assert_eq!(found.policies.len(), 3000);
    });
}

/// The local route of an IPv6 address is made by a kernel worker, later than the address.
#[test]
fn a_new_address_is_usable_at_once() {
    alone(|_, netlink| {
        two_links(&netlink);
        ip("-6 route add default dev a0");
        let link = netlink.link("b0").expect("b0").expect("b0");
        let socket = UdpSocket::bind("[::]:0").expect("socket");
        let port = socket.local_addr().expect("bound").port();
        let patience = Some(Duration::from_secs(10));
        socket.set_read_timeout(patience).expect("a time limit");
        for number in 1..=1000 {
            let address: IpAddr = format!("fd77::{number:x}").parse().expect("an address");
            netlink
                .add_address(&link, address.into(), false)
                .expect("added");
            // Otherwise it goes the way of the default route, and is lost.
            socket.send_to(&[1], (address, port)).expect("sent");
            socket.recv(&mut [0]).expect("it comes in");
        }
    });
}

#[test]
fn many_interfaces_go_at_once_and_no_other() {
    alone(|_, netlink| {
        for (name, group) in [("a", 0), ("b", 0), ("c", 7), ("d", 8)] {
            ip(&format!(
                "link add {name}0 group {group} type veth peer name {name}1"
            ));
        }
        let links = netlink.links().expect("links");
        let gone: Vec<_> = links
            .iter()
            .filter(|link| ["a0", "b0"].contains(&link.name.as_str()))
            .collect();
        // Somebody's interfaces are in these groups.
        netlink.delete_links(&gone, 7).expect("removed");
        let left: Vec<String> = netlink
            .links()
            .expect("links")
            .into_iter()
            .map(|link| link.name)
            .collect();
        assert_eq!(left, ["lo", "c1", "c0", "d1", "d0"]);
        // Gone already.
        netlink.delete_links(&gone, 0).expect("nothing to do");
        assert_eq!(netlink.links().expect("links").len(), 5);
    });
}

#[test]
fn an_interface_knows_its_other_end() {
    let other = Netns::unnamed().expect("namespace");
    alone(|_, netlink| {
        let end = |name| VethEnd {
            name,
            mac: Mac([2, 0, 0, 0, 0, name.as_bytes()[0]]),
        };
        netlink
            .add_veth(end("here"), end("there"), other.as_fd())
            .expect("veth");
        let here = netlink.link("here").expect("asked").expect("here");
        let there = other
            .enter(|inside| Netlink::open(inside)?.link("there"))
            .expect("enter")
            .expect("asked")
            .expect("there");
        let peer = here.peer.expect("a peer");
        assert_eq!(peer.ifindex, there.ifindex);
        let id = netlink.namespace_id(other.as_fd()).expect("asked");
        assert!(id.is_some());
        assert_eq!(peer.netns, id);
        assert_eq!(
            netlink.name_namespace(other.as_fd()).expect("asked"),
            id.expect("an id")
        );
        assert_eq!(netlink.namespace_ids().expect("listed").len(), 1);
    });
}

#[test]
fn a_namespace_that_goes_is_heard_of() {
    alone(|inside, netlink| {
        let gone = NamespacesGone::open(inside).expect("socket");
        let soon = || Instant::now() + Duration::from_secs(10);
        assert_eq!(gone.next(Instant::now()).expect("heard"), None);
        let other = Netns::unnamed().expect("namespace");
        assert_eq!(netlink.namespace_id(other.as_fd()).expect("asked"), None);
        let id = netlink.name_namespace(other.as_fd()).expect("named");
        drop(other);
        let mut heard = Vec::new();
        while heard.is_empty() {
            heard = gone.next(soon()).expect("heard").expect("in time");
        }
        assert_eq!(heard, [id]);
        assert!(netlink.namespace_ids().expect("listed").is_empty());
    });
}
