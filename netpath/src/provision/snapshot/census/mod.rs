//! What else of the kernel's acts on a node's packets.

mod addresses;
mod forward;
mod interfaces;
mod legacy;
pub(super) mod routing;

pub(super) use self::forward::uplinks;

use std::collections::BTreeMap;

use ipnet::IpNet;
use netpath_common::Ifindex;

use self::legacy::Legacy;
use super::{Subject, ways};
use crate::{
    datapath::Datapath,
    netfilter::nft::{Device, Elements, Ruleset},
    netlink::{self, Netlink, Route, Table, Xfrm},
    netns::Inside,
    provision::error::ProvisionError,
    reconcile::{Census, Recorded, Sysctls, Way},
};

/// The sysctl by which the kernel forwards IPv4 by paths' MTUs.
pub(super) const PATH_MTU: &str = "ipv4/ip_forward_use_pmtu";

/// What is read of the node's namespace already.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    pub links: &'a [netlink::Link],
    /// Of all tables.
    pub routes: &'a [Route],
    pub sysctls: &'a Sysctls,
}

/// Takes it, in the node's namespace.
pub(super) fn take(
    subject: &Subject<'_>,
    inside: &Inside<'_>,
    netlink: &Netlink,
    datapath: Option<&Datapath>,
    node: Node<'_>,
) -> Result<Census, ProvisionError> {
    let Node {
        links,
        routes,
        sysctls,
    } = node;
    let ruleset = Ruleset::read(inside, Elements::OfVerdicts)?;
    let routed = routed(subject);
    let mut matters = addresses::of_policies(&Xfrm::read(inside)?, &routed);
    let devices: Vec<&str> = subject
        .host_devs()
        .into_iter()
        .chain(subject.uplinks())
        .collect();
    for dev in subject.seen_host_devs().iter().chain(&subject.uplinks()) {
        if let Some(problem) = named(links, dev).and_then(|link| link.undecoded.as_ref()) {
            return Err(ProvisionError::Interface {
                dev: (*dev).to_owned(),
                problem: problem.clone(),
            });
        }
    }
    matters.extend(addresses::of_rules(&ruleset, &routed, links, &devices));
    for found in legacy::read(inside, &legacy::OUTSIDE)? {
        matters.extend(match found {
            Legacy::Rules(rules) => addresses::of_rules(&rules, &routed, links, &devices),
            Legacy::Unread(family) => vec![addresses::of_what_is_not_known(&routed, family)],
        });
    }
    let uplinks = subject.uplinks().into_iter();
    let uplinks: Vec<&str> = uplinks.map(|dev| kernel_name(links, dev)).collect();
    let routing = routing::Routing {
        rules: &netlink.rules()?,
        routes,
        links,
        uplinks: &uplinks,
    };
    matters.extend(routing.matters(&routed));
    let reader = interfaces::Reader {
        subject,
        inside,
        netlink,
        datapath,
        ruleset: &ruleset,
    };
    let mut census = Census {
        interfaces: reader.interfaces(links)?,
        coming: reader.coming(links),
        beside: reader.beside(links)?,
        matters,
        routed: routed
            .iter()
            .map(|(net, dev)| (*net, dev.is_some()))
            .collect(),
        forward_drops: Vec::new(),
        ways: match subject.recorded {
            Some(node) => ways::ask(node, netlink, &routing)?,
            None => Vec::new(),
        },
        route_mtu: route_mtu(routes),
        path_mtu: sysctls.get(PATH_MTU).is_some_and(|value| value != "0"),
    };
    if subject.only.is_none() && forward::matters(subject, &census) {
        let legacy = legacy::read(inside, &legacy::FILTER)?;
        census.forward_drops =
            forward::Chains::of(&ruleset, &legacy).drops(subject, &routed, links);
    }
    Ok(census)
}

/// Where the kernel leads what a node has recorded, in its namespace.
pub(super) fn ways(node: &Recorded, inside: &Inside<'_>) -> Result<Vec<Way>, ProvisionError> {
    let netlink = Netlink::open(inside)?;
    let routing = routing::Routing {
        rules: &netlink.rules()?,
        routes: &netlink.routes(Table::All)?,
        links: &netlink.links()?,
        uplinks: &[],
    };
    ways::ask(node, &netlink, &routing)
}

/// What is routed, each with the interface that its packets come in by if that is an endpoint's.
pub(super) type Routed<'a> = BTreeMap<IpNet, Option<&'a str>>;

/// All that is routed, or will be.
pub(super) fn routed<'a>(subject: &Subject<'a>) -> Routed<'a> {
    let of = |addresses: &[IpNet], prefixes: &[IpNet], dev: &'a str| {
        let addresses = addresses.iter().map(|address| address.addr().into());
        let nets: Vec<IpNet> = addresses.chain(prefixes.iter().copied()).collect();
        nets.into_iter().map(move |net| (net, Some(dev)))
    };
    let mut routed = BTreeMap::new();
    if let Some(node) = subject.recorded {
        routed.extend(node.routes.keys().map(|dst| (*dst, None)));
        let endpoints = node.endpoints.iter();
        let endpoints = endpoints.filter(|(name, _)| !subject.loses(name));
        let endpoints = endpoints.map(|(_, endpoint)| endpoint);
        routed.extend(endpoints.flat_map(|it| of(&it.addresses, &it.prefixes, &it.host_dev)));
    }
    if let Some(node) = subject.wanted {
        routed.extend(node.routes.iter().map(|route| (route.dst, None)));
        let endpoints = node.endpoints.iter();
        routed.extend(endpoints.flat_map(|it| of(&it.addresses, &it.prefixes, &it.host_dev)));
    }
    routed
}

/// The least MTU that a route has of its own; 0 where none has.
fn route_mtu(routes: &[Route]) -> u32 {
    routes
        .iter()
        .filter_map(|route| route.mtu)
        .min()
        .unwrap_or(0)
}

/// The interface of this name: one that is yet to be made has no index.
pub(super) fn device<'a>(links: &'a [netlink::Link], name: &'a str) -> Device<'a> {
    Device {
        ifindex: named(links, name).map_or(Ifindex(0), |link| link.ifindex),
        name: kernel_name(links, name),
    }
}

/// The kernel's own name for an interface: rules go by it.
pub(super) fn kernel_name<'a>(links: &'a [netlink::Link], name: &'a str) -> &'a str {
    named(links, name).map_or(name, |link| link.name.as_str())
}

/// The interface of this name, or alternative name.
fn named<'a>(links: &'a [netlink::Link], name: &str) -> Option<&'a netlink::Link> {
    links.iter().find(|link| link.is_called(name))
}

/// Whether two prefixes have an address in common.
fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}
