//! Addresses, routes and neighbours on both sides of the veth pair.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netpath_common::EndpointRecord;

use super::super::{
    error::ProvisionError,
    node::{Node, Sources, quiet_ipv6},
    route::Table,
};
use crate::{
    model,
    netlink::{Link, Netlink, NewRoute, Replace},
    netns::Netns,
    sysctl::{self, Tree},
};

/// The gateway of every endpoint. Link-local (RFC 3927), so it takes nobody's address.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The same for IPv6.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

pub(super) fn configure_inside(
    netns: &Netns,
    wanted: &model::Endpoint,
    record: &EndpointRecord,
) -> Result<(), ProvisionError> {
    netns.enter(|inside| {
        let netlink = Netlink::open(inside)?;
        let link = netlink
            .link(wanted.dev.as_ref())?
            .ok_or_else(|| ProvisionError::NotUp {
                object: "interface",
                name: wanted.dev.to_string(),
            })?;
        netlink.set_up(&link)?;
        let present = netlink.addresses(link.ifindex)?;
        for address in &wanted.addresses {
            if !present.contains(address) {
                netlink.add_address(&link, *address, false)?;
            }
        }
        for (gateway, default) in gateways(&wanted.addresses) {
            netlink.add_neighbour(&link, gateway, record.host_mac)?;
            let route = NewRoute {
                dst: default,
                via: Some(gateway),
                ifindex: Some(link.ifindex),
                onlink: true,
                source: first_of_family(&wanted.addresses, gateway),
            };
            // The namespace is netpath's own.
            netlink.add_route(&route, Replace::Any)?;
        }
        Ok(())
    })?
}

/// The gateway and the default route of each family that the endpoint has.
pub(super) fn gateways(addresses: &[IpNet]) -> impl Iterator<Item = (IpAddr, IpNet)> {
    let v4 = addresses.iter().any(|address| address.addr().is_ipv4());
    let v6 = addresses.iter().any(|address| address.addr().is_ipv6());
    let default = |address: IpAddr| IpNet::new(address, 0).ok();
    [
        (
            v4,
            IpAddr::V4(GATEWAY_V4),
            default(Ipv4Addr::UNSPECIFIED.into()),
        ),
        (
            v6,
            IpAddr::V6(GATEWAY_V6),
            default(Ipv6Addr::UNSPECIFIED.into()),
        ),
    ]
    .into_iter()
    .filter_map(|(has, gateway, default)| default.filter(|_| has).map(|default| (gateway, default)))
}

/// The route of an endpoint's address on its node. The node speaks to it from an uplink's address, which
/// is what a traceroute shows.
pub(super) fn host_route(address: IpAddr, host: &Link, sources: Sources) -> NewRoute {
    NewRoute {
        dst: IpNet::from(address),
        via: None,
        ifindex: Some(host.ifindex),
        onlink: false,
        source: sources.towards(address),
    }
}

/// The routes of the prefixes that are routed to an endpoint, by its first address of the family: so they leave with
/// its MAC, and nobody is asked for the addresses in them.
pub(super) fn prefix_routes(
    addresses: &[IpNet],
    prefixes: &[IpNet],
    host: &Link,
    sources: Sources,
) -> Vec<NewRoute> {
    let route = |&prefix: &IpNet| {
        Some(NewRoute {
            dst: prefix,
            via: Some(first_of_family(addresses, prefix.addr())?),
            ifindex: Some(host.ifindex),
            onlink: true,
            source: sources.towards(prefix.addr()),
        })
    };
    // The model has checked that there is an address of each prefix's family.
    prefixes.iter().filter_map(route).collect()
}

/// The first address that is of the same family as another.
fn first_of_family(addresses: &[IpNet], other: IpAddr) -> Option<IpAddr> {
    addresses
        .iter()
        .map(IpNet::addr)
        .find(|address| address.is_ipv4() == other.is_ipv4())
}

/// Makes the node's routes to an endpoint true. `table` is the node's.
pub fn ensure_routes(
    table: &Table,
    node: &Node,
    wanted: &model::Endpoint,
    sources: Sources,
) -> Result<(), ProvisionError> {
    let Some(host) = table.netlink().link(wanted.host_dev.as_ref())? else {
        return Ok(());
    };
    routes_to(wanted, &host, sources)
        .iter()
        .try_for_each(|route| table.put(route, node.replaces()))
}

/// The node's routes to an endpoint. The host routes first: the prefixes' routes lead over them.
fn routes_to(wanted: &model::Endpoint, host: &Link, sources: Sources) -> Vec<NewRoute> {
    let addresses = wanted.addresses.iter().map(IpNet::addr);
    let mut routes: Vec<NewRoute> = addresses
        .map(|address| host_route(address, host, sources))
        .collect();
    routes.extend(prefix_routes(
        &wanted.addresses,
        &wanted.prefixes,
        host,
        sources,
    ));
    routes
}

pub(super) fn configure_host_side(
    node: &Node,
    wanted: &model::Endpoint,
    record: &EndpointRecord,
    host: &Link,
    sources: Sources,
) -> Result<(), ProvisionError> {
    let dev = &host.name;
    node.inside(|inside| {
        quiet_ipv6(inside, dev)?;
        for (tree, setting) in [
            // Only fe80::1, not one made from the MAC as well.
            (Tree::Ipv6, "addr_gen_mode"),
            (Tree::Ipv6, "forwarding"),
            (Tree::Ipv4, "forwarding"),
            (Tree::Ipv4, "rp_filter"),
        ] {
            sysctl::set(inside, &sysctl::of_interface(tree, dev, setting), "1")?;
        }
        let netlink = Netlink::open(inside)?;
        netlink.set_up(host)?;
        for (gateway, _) in gateways(&wanted.addresses) {
            let length = if gateway.is_ipv4() { 32 } else { 64 };
            if let Ok(gateway) = IpNet::new(gateway, length) {
                netlink.add_address(host, gateway, true)?;
            }
        }
        for address in wanted.addresses.iter().map(IpNet::addr) {
            netlink.add_neighbour(host, address, record.endpoint_mac)?;
        }
        for route in routes_to(wanted, host, sources) {
            netlink.add_route(&route, node.replaces())?;
        }
        Ok(netlink.await_operational(dev)?)
    })
}
