//! Interfaces, their addresses, and namespaces that go.

use std::{
    ffi::{OsStr, OsString},
    net::{IpAddr, UdpSocket},
    os::{fd::AsFd as _, unix::ffi::OsStrExt as _},
    thread,
    time::{Duration, Instant},
};

use netpath::{
    netlink::{LinkKind, NamespacesGone, Netlink, Peer, Scope, Table, VethEnd},
    netns::Netns,
    sysctl,
};
use netpath_common::{Ifindex, Mac};
use nix::sched::{CloneFlags, unshare};

use super::*;

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
