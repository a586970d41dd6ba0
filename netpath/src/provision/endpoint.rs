//! An endpoint: a namespace, a veth pair, addresses, routes, neighbours, and its entries in the maps.
//!
//! The endpoint reaches everything through one gateway that every node has: 169.254.1.1 and fe80::1 on
//! the host-side veth. Neither its own prefix nor anybody else's is on its link, so that every packet it
//! sends passes the node.

use std::{net::IpAddr, net::Ipv4Addr, net::Ipv6Addr};

use ipnet::IpNet;
use netpath_common::{
    ADDRESSES_MAX, EndpointEntry, EndpointId, EndpointRecord, Ifindex, InterfaceEntry,
    InterfaceKind, InterfaceState, Meta, PREFIXES_MAX, PrefixBytes, RecordState, RouteEntry,
};

use super::{
    error::ProvisionError,
    fast_path,
    netlink::{Link, Netlink, NewRoute, Route, VethEnd},
    node::{self, Node, Sources, foreign_namespace, key, quiet_ipv6, random_mac, text},
    sysctl,
};
use crate::{
    datapath::{from_bytes, to_bytes},
    model,
    netns::{NameState, Netns, name_state},
};

/// The gateway of every endpoint. Link-local (RFC 3927), so it takes nobody's address.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The same for IPv6.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The addresses or prefixes of a record.
pub fn addresses(fields: &[PrefixBytes]) -> Vec<IpNet> {
    fields.iter().filter_map(from_bytes).collect()
}

/// Addresses or prefixes as a record keeps them. The model has checked their number.
pub fn address_fields<const N: usize>(addresses: &[IpNet]) -> [PrefixBytes; N] {
    let mut fields = [PrefixBytes::default(); N];
    for (field, address) in fields.iter_mut().zip(addresses) {
        *field = to_bytes(*address);
    }
    fields
}

/// Makes an endpoint true, whatever is there of it already.
pub fn ensure(
    node: &Node,
    wanted: &model::Endpoint,
    sources: Sources,
) -> Result<(), ProvisionError> {
    let name = wanted.name.as_ref();
    let name_key = key(name)?;
    let old = node.datapath().maps.endpoint_record(&name_key)?;
    if let Some(old) = &old {
        retire(node, name, old, wanted)?;
    }
    let mut record = pending(node, wanted, old.as_ref())?;
    node.datapath()
        .maps
        .set_endpoint_record(name_key, &record)?;
    let netns = ensure_netns(node, name, &mut record)?;
    let veth = ensure_veth(node, &netns, &record)?;
    configure_inside(&netns, wanted, &record)?;
    configure_host_side(node, wanted, &record, &veth.host, sources)?;
    netns.run(|| Netlink::open()?.await_operational(wanted.dev.as_ref()))??;
    publish(node, wanted, &record, &veth)?;
    record.host_ifindex = veth.host.ifindex;
    record.state = RecordState::Complete as u32;
    Ok(node
        .datapath()
        .maps
        .set_endpoint_record(name_key, &record)?)
}

/// Takes away what the wanted endpoint has no more.
fn retire(
    node: &Node,
    name: &str,
    old: &EndpointRecord,
    wanted: &model::Endpoint,
) -> Result<(), ProvisionError> {
    let surplus = without(&old.addresses, &wanted.addresses);
    let prefixes = without(&old.prefixes, &wanted.prefixes);
    withdraw(node, old, &surplus, &prefixes)?;
    if text(&old.dev) != wanted.dev.as_ref() || text(&old.host_dev) != wanted.host_dev.as_ref() {
        return remove_veth(node, old);
    }
    let dev = wanted.dev.as_ref();
    if let Some(netns) = own_netns(name, old)? {
        netns.run(|| {
            let netlink = Netlink::open()?;
            let Some(link) = netlink.link(dev)? else {
                return Ok(());
            };
            surplus
                .iter()
                .try_for_each(|address| netlink.delete_address(&link, *address))
        })??;
    }
    node.inside(|| {
        let netlink = Netlink::open()?;
        let Some(host) = netlink.link(wanted.host_dev.as_ref())? else {
            return Ok(());
        };
        for &prefix in &prefixes {
            netlink.delete_route_through(&host, prefix)?;
        }
        surplus.iter().try_for_each(|address| {
            netlink.delete_route(&host_route(address.addr(), &host, Sources::default()))
        })
    })
}

/// What a record has and the topology has no more.
fn without(recorded: &[PrefixBytes], wanted: &[IpNet]) -> Vec<IpNet> {
    let mut recorded = addresses(recorded);
    recorded.retain(|address| !wanted.contains(address));
    recorded
}

/// The record to start with: what identifies the endpoint stays, all else is as wanted.
fn pending(
    node: &Node,
    wanted: &model::Endpoint,
    old: Option<&EndpointRecord>,
) -> Result<EndpointRecord, ProvisionError> {
    let device = |name: &model::InterfaceName| {
        netpath_common::fixed(name.as_ref()).ok_or_else(|| ProvisionError::Unmet {
            problem: format!("the interface name {name} is too long"),
            remedy: "shorten it".into(),
        })
    };
    let identity = match old {
        Some(old) => *old,
        None => EndpointRecord {
            netns_cookie: 0,
            id: node.datapath().next_endpoint_id()?,
            state: RecordState::Pending as u32,
            host_ifindex: Ifindex(0),
            endpoint_mac: random_mac()?,
            host_mac: random_mac()?,
            dev: [0; netpath_common::IFNAME_SIZE],
            host_dev: [0; netpath_common::IFNAME_SIZE],
            addresses: [PrefixBytes::default(); ADDRESSES_MAX],
            prefixes: [PrefixBytes::default(); PREFIXES_MAX],
        },
    };
    Ok(EndpointRecord {
        state: RecordState::Pending as u32,
        dev: device(&wanted.dev)?,
        host_dev: device(&wanted.host_dev)?,
        addresses: address_fields(&wanted.addresses),
        prefixes: address_fields(&wanted.prefixes),
        ..identity
    })
}

/// The endpoint's namespace, if it is there and is the one that netpath made.
pub fn own_netns(name: &str, record: &EndpointRecord) -> Result<Option<Netns>, ProvisionError> {
    match name_state(name)? {
        NameState::Free | NameState::EmptyFile | NameState::Foreign => Ok(None),
        NameState::Namespace => {
            let netns = Netns::named(name)?;
            Ok((netns.cookie()? == record.netns_cookie).then_some(netns))
        }
    }
}

fn ensure_netns(
    node: &Node,
    name: &str,
    record: &mut EndpointRecord,
) -> Result<Netns, ProvisionError> {
    let netns = match own_netns(name, record)? {
        Some(netns) => netns,
        None => create_netns(node, name, record)?,
    };
    // Each time: the run that made it may have been killed before this.
    netns.run(|| {
        for scope in ["all", "default"] {
            quiet_ipv6(scope)?;
        }
        let netlink = Netlink::open()?;
        match netlink.link("lo")? {
            Some(lo) => netlink.set_up(&lo),
            None => Ok(()),
        }
    })??;
    Ok(netns)
}

fn create_netns(
    node: &Node,
    name: &str,
    record: &mut EndpointRecord,
) -> Result<Netns, ProvisionError> {
    match name_state(name)? {
        NameState::Free => {}
        // Left by a creation that was interrupted after its record was written.
        NameState::EmptyFile if record.netns_cookie != 0 => Netns::remove(name)?,
        NameState::EmptyFile | NameState::Namespace | NameState::Foreign => {
            return Err(foreign_namespace(name));
        }
    }
    let name_key = key(name)?;
    Netns::create(name, |cookie| {
        record.netns_cookie = cookie;
        node.datapath().maps.set_endpoint_record(name_key, record)?;
        Ok(())
    })
}

/// The host-side veth, if it is there and is the one that netpath made: its random MAC says so.
pub fn own_host_link(
    netlink: &Netlink,
    record: &EndpointRecord,
) -> Result<Option<Link>, ProvisionError> {
    let link = netlink.link(&text(&record.host_dev))?;
    Ok(link.filter(|link| link.mac == Some(record.host_mac)))
}

/// An endpoint's veth pair.
struct Veth {
    /// Its host side.
    host: Link,
    /// Whether this run made it.
    made: bool,
}

fn ensure_veth(
    node: &Node,
    netns: &Netns,
    record: &EndpointRecord,
) -> Result<Veth, ProvisionError> {
    let dev = text(&record.dev);
    let host_dev = text(&record.host_dev);
    let inside = netns.run(|| Netlink::open()?.link(&dev))??;
    let complete = inside.is_some_and(|link| link.mac == Some(record.endpoint_mac));
    node.inside(|| {
        let netlink = Netlink::open()?;
        let found = netlink.link(&host_dev)?;
        match found {
            Some(link) if link.mac != Some(record.host_mac) => {
                return Err(ProvisionError::NotOurs {
                    object: "interface",
                    name: host_dev.clone(),
                    netns: None,
                    remedy: "set host_dev in the topology file to another name",
                });
            }
            Some(host) if complete => return Ok(Veth { host, made: false }),
            Some(link) => netlink.delete_link(&link)?,
            None => {}
        }
        netlink.add_veth(
            VethEnd {
                name: &host_dev,
                mac: record.host_mac,
            },
            VethEnd {
                name: &dev,
                mac: record.endpoint_mac,
            },
            std::os::fd::AsFd::as_fd(netns),
        )?;
        let host = netlink.link(&host_dev)?.ok_or(ProvisionError::NotUp {
            object: "interface",
            name: host_dev.clone(),
        })?;
        Ok(Veth { host, made: true })
    })
}

fn configure_inside(
    netns: &Netns,
    wanted: &model::Endpoint,
    record: &EndpointRecord,
) -> Result<(), ProvisionError> {
    netns.run(|| {
        let netlink = Netlink::open()?;
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
            netlink.add_route(&NewRoute {
                dst: default,
                via: Some(gateway),
                ifindex: Some(link.ifindex),
                onlink: true,
                source: first_of_family(&wanted.addresses, gateway),
            })?;
        }
        Ok(())
    })?
}

/// The gateway and the default route of each family that the endpoint has.
fn gateways(addresses: &[IpNet]) -> impl Iterator<Item = (IpAddr, IpNet)> {
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
fn host_route(address: IpAddr, host: &Link, sources: Sources) -> NewRoute {
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
fn prefix_routes(
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

/// Makes the node's routes to an endpoint true.
pub fn ensure_routes(
    node: &Node,
    wanted: &model::Endpoint,
    sources: Sources,
) -> Result<(), ProvisionError> {
    node.inside(|| {
        let netlink = Netlink::open()?;
        let Some(host) = netlink.link(wanted.host_dev.as_ref())? else {
            return Ok(());
        };
        add_routes(&netlink, wanted, &host, sources)
    })
}

/// The host routes first: the prefixes' routes lead over them.
fn add_routes(
    netlink: &Netlink,
    wanted: &model::Endpoint,
    host: &Link,
    sources: Sources,
) -> Result<(), ProvisionError> {
    for address in &wanted.addresses {
        netlink.add_route(&host_route(address.addr(), host, sources))?;
    }
    prefix_routes(&wanted.addresses, &wanted.prefixes, host, sources)
        .iter()
        .try_for_each(|route| netlink.add_route(route))
}

fn configure_host_side(
    node: &Node,
    wanted: &model::Endpoint,
    record: &EndpointRecord,
    host: &Link,
    sources: Sources,
) -> Result<(), ProvisionError> {
    let dev = &host.name;
    node.inside(|| {
        quiet_ipv6(dev)?;
        // Only fe80::1, not one made from the MAC as well.
        sysctl::set(&format!("ipv6/conf/{dev}/addr_gen_mode"), "1")?;
        sysctl::set(&format!("ipv6/conf/{dev}/forwarding"), "1")?;
        sysctl::set(&format!("ipv4/conf/{dev}/forwarding"), "1")?;
        sysctl::set(&format!("ipv4/conf/{dev}/rp_filter"), "1")?;
        let netlink = Netlink::open()?;
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
        add_routes(&netlink, wanted, host, sources)?;
        netlink.await_operational(dev)
    })
}

/// Writes the endpoint into the maps. Its interface becomes ready last: until then its packets are dropped.
fn publish(
    node: &Node,
    wanted: &model::Endpoint,
    record: &EndpointRecord,
    veth: &Veth,
) -> Result<(), ProvisionError> {
    let host = &veth.host;
    let mut interface = InterfaceEntry {
        kind: InterfaceKind::Endpoint as u32,
        state: InterfaceState::Preparing as u32,
        endpoint_id: record.id,
        rp_filter: 0,
        name: record.host_dev,
        endpoint: key(wanted.name.as_ref())?.name,
    };
    let mut datapath = node.datapath();
    let known = datapath.maps.interface(host.ifindex)?;
    let was_here = !veth.made
        && record.host_ifindex == host.ifindex
        && known.is_some_and(|found| found.endpoint_id == record.id);
    if !was_here {
        if known.is_some() {
            // The index was another interface's: its counters are not this one's, nor its addresses.
            datapath.maps.forget_hops(host.ifindex)?;
            for (address, entry) in datapath.maps.endpoints()? {
                if entry.ifindex == host.ifindex && entry.id != record.id {
                    datapath.maps.remove_endpoint(address)?;
                }
            }
            for (prefix, entry) in datapath.maps.routes()? {
                if entry.ifindex == host.ifindex && entry.id != record.id {
                    datapath.maps.remove_route(prefix)?;
                }
            }
        }
        if record.host_ifindex != Ifindex(0) && record.host_ifindex != host.ifindex {
            forget_interface(&mut datapath, record.host_ifindex, record.id)?;
        }
        datapath.maps.set_interface(host.ifindex, &interface)?;
    }
    if datapath.maps.meta()?.fast_path != 0 && !was_here {
        let datapath = &*datapath;
        node.inside(|| fast_path::attach_endpoint(datapath, &host.name).map(drop))?;
    }
    let entry = EndpointEntry {
        ifindex: host.ifindex,
        id: record.id,
        endpoint_mac: record.endpoint_mac,
        host_mac: record.host_mac,
    };
    let maps = &mut datapath.maps;
    node.inside(|| Ok(maps.set_device(record.id, host.ifindex)?))?;
    // What is true already is not written again: packets are looking it up.
    for address in wanted.addresses.iter().map(IpNet::addr) {
        if datapath.maps.endpoint(address)? != Some(entry) {
            datapath.maps.set_endpoint(address, &entry)?;
        }
    }
    if !wanted.prefixes.is_empty() {
        // Before there is one: it must never be overlooked.
        node::set_feature(&mut datapath, Meta::LOCAL_PREFIXES)?;
    }
    for &prefix in &wanted.prefixes {
        datapath
            .maps
            .set_route(prefix, &RouteEntry::local(&entry))?;
    }
    interface.state = InterfaceState::Ready as u32;
    Ok(datapath.maps.set_interface(host.ifindex, &interface)?)
}

/// Takes addresses and prefixes of this endpoint out of the maps.
fn withdraw(
    node: &Node,
    record: &EndpointRecord,
    addresses: &[IpNet],
    prefixes: &[IpNet],
) -> Result<(), ProvisionError> {
    let mut datapath = node.datapath();
    for &prefix in prefixes {
        if datapath
            .maps
            .route(prefix)?
            .is_some_and(|entry| entry.host_mac == record.host_mac)
        {
            datapath.maps.remove_route(prefix)?;
        }
    }
    for address in addresses.iter().map(IpNet::addr) {
        if datapath
            .maps
            .endpoint(address)?
            .is_some_and(|entry| entry.id == record.id)
        {
            datapath.maps.remove_endpoint(address)?;
        }
    }
    Ok(())
}

/// Forgets an interface and its counters, if it still is this endpoint's.
fn forget_interface(
    datapath: &mut crate::datapath::Datapath,
    ifindex: Ifindex,
    id: EndpointId,
) -> Result<(), ProvisionError> {
    if datapath
        .maps
        .interface(ifindex)?
        .is_some_and(|found| found.endpoint_id == id)
    {
        datapath.maps.remove_interface(ifindex)?;
        datapath.maps.forget_hops(ifindex)?;
    }
    Ok(())
}

fn remove_veth(node: &Node, record: &EndpointRecord) -> Result<(), ProvisionError> {
    node.inside(|| {
        let netlink = Netlink::open()?;
        match own_host_link(&netlink, record)? {
            Some(link) => netlink.delete_link(&link),
            None => Ok(()),
        }
    })?;
    // The programs went with the interface; what is left of them are pins.
    let host_dev = text(&record.host_dev);
    fast_path::detach_endpoint(&node.datapath(), &node.netns, &host_dev)?;
    forget_interface(&mut node.datapath(), record.host_ifindex, record.id)
}

/// Removes an endpoint. What is not provably netpath's stays.
pub fn remove(node: &Node, name: &str, record: &EndpointRecord) -> Result<(), ProvisionError> {
    let name_key = key(name)?;
    let mut gone = *record;
    gone.state = RecordState::Pending as u32;
    node.datapath().maps.set_endpoint_record(name_key, &gone)?;
    withdraw(
        node,
        record,
        &addresses(&record.addresses),
        &addresses(&record.prefixes),
    )?;
    node.datapath().maps.remove_device(record.id)?;
    remove_veth(node, record)?;
    remove_netns(name, record)?;
    Ok(node.datapath().maps.remove_endpoint_record(name_key)?)
}

/// Takes away the endpoint's namespace, or the empty file of one that was never finished.
pub fn remove_netns(name: &str, record: &EndpointRecord) -> Result<(), ProvisionError> {
    let ours = match name_state(name)? {
        NameState::EmptyFile => record.netns_cookie != 0,
        NameState::Namespace => own_netns(name, record)?.is_some(),
        NameState::Free | NameState::Foreign => false,
    };
    if ours {
        Netns::remove(name)?;
    }
    Ok(())
}

/// What of an endpoint is not as it was made. `links` and `routes` are the node's.
pub fn drift(
    name: &str,
    record: &EndpointRecord,
    links: &[Link],
    routes: &[Route],
) -> Result<Vec<String>, ProvisionError> {
    if record.state != RecordState::Complete as u32 {
        return Ok(vec!["was left half-made".into()]);
    }
    let mut drift = Vec::new();
    let wanted = addresses(&record.addresses);
    let host_dev = text(&record.host_dev);
    let host = links
        .iter()
        .find(|link| link.name == host_dev && link.mac == Some(record.host_mac));
    match host {
        None => drift.push(format!("interface {host_dev} is gone")),
        Some(host) => {
            if !host.up {
                drift.push(format!("interface {host_dev} is down"));
            }
            for address in wanted.iter().map(IpNet::addr) {
                let present = routes.iter().any(|route| {
                    route.dst == IpNet::from(address) && route.ifindex == Some(host.ifindex)
                });
                if !present {
                    drift.push(format!("the node's route to {address} is gone"));
                }
            }
            let prefixes = addresses(&record.prefixes);
            for wanted in prefix_routes(&wanted, &prefixes, host, Sources::default()) {
                let present = routes.iter().any(|route| {
                    route.dst == wanted.dst
                        && route.ifindex == wanted.ifindex
                        && route.via == wanted.via
                });
                if !present {
                    drift.push(format!("the node's route to {} is gone", wanted.dst));
                }
            }
        }
    }
    let Some(netns) = own_netns(name, record)? else {
        drift.push(format!("namespace {name} is gone"));
        return Ok(drift);
    };
    let dev = text(&record.dev);
    netns.run(|| {
        let netlink = Netlink::open()?;
        let Some(link) = netlink.link(&dev)? else {
            drift.push(format!("interface {dev} is gone"));
            return Ok(());
        };
        if link.mac != Some(record.endpoint_mac) {
            drift.push(format!("interface {dev} has another MAC"));
        }
        if !link.up {
            drift.push(format!("interface {dev} is down"));
        }
        let present = netlink.addresses(link.ifindex)?;
        for address in wanted.iter().filter(|address| !present.contains(address)) {
            drift.push(format!("address {address} is gone"));
        }
        let inside = netlink.routes()?;
        for (gateway, default) in gateways(&wanted) {
            if !inside
                .iter()
                .any(|route| route.dst == default && route.via == Some(gateway))
            {
                drift.push(format!("the default route via {gateway} is gone"));
            }
        }
        Ok::<(), ProvisionError>(())
    })??;
    Ok(drift)
}
