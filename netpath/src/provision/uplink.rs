//! Uplinks, and in a lab the wires that they are on: a bridge in a namespace of its own.

use std::{io, os::fd::AsFd as _};

use ipnet::IpNet;
use netpath_common::{
    ADDRESSES_MAX, EndpointEntry, EndpointId, Ifindex, InterfaceEntry, InterfaceKind,
    InterfaceState, Mac, Meta, NAME_SIZE, PrefixBytes, RecordState, UplinkRecord,
};

use super::{
    endpoint::{address_fields, addresses},
    error::ProvisionError,
    fast_path,
    netlink::{Link, Netlink, VethEnd},
    node::{self, Node, foreign_namespace, key, random_mac, text},
    sysctl,
};
use crate::{
    datapath::{Datapath, DatapathError, nodes},
    model::{self, Name, wire_namespace, wire_port},
    netns::{NameState, Netns, name_state},
};

/// The bridge of a wire, in the wire's namespace.
const BRIDGE: &str = "br0";

/// Makes an uplink true, whatever is there of it already.
pub fn ensure(node: &Node, owner: &Name, wanted: &model::Uplink) -> Result<(), ProvisionError> {
    let dev = wanted.dev.as_ref();
    let dev_key = key(dev)?;
    let old = node.datapath().maps.uplink_record(&dev_key)?;
    let wire = wanted.wire.as_ref().map_or("", AsRef::as_ref);
    let old = match old {
        Some(old) if text(&old.wire) != wire => {
            remove(node, dev, &old)?;
            None
        }
        old => old,
    };
    if let Some(old) = &old {
        retire(node, old, wanted)?;
    }
    let mut record = UplinkRecord {
        state: RecordState::Pending as u32,
        addresses: address_fields(&wanted.addresses),
        ..match old {
            Some(old) => old,
            None => blank(wire)?,
        }
    };
    let link = match &wanted.wire {
        Some(wire) => {
            record.made = 1;
            node.datapath().maps.set_uplink_record(dev_key, &record)?;
            let netns = ensure_wire(node, dev, wire, &mut record)?;
            let port = wire_port(owner, &wanted.dev);
            let link = ensure_veth(node, dev, port.as_ref(), &netns, &record)?;
            configure(node, &link, wanted)?;
            netns.run(|| Netlink::open()?.await_operational(port.as_ref()))??;
            link
        }
        None => {
            let link = node.inside(|| Netlink::open()?.link(dev))?;
            let link = link.ok_or_else(|| no_such_uplink(dev))?;
            record.mac = link.mac.unwrap_or_default();
            node.datapath().maps.set_uplink_record(dev_key, &record)?;
            link
        }
    };
    publish(node, wanted, &record, &link)?;
    record.ifindex = link.ifindex;
    record.state = RecordState::Complete as u32;
    Ok(node.datapath().maps.set_uplink_record(dev_key, &record)?)
}

pub fn no_such_uplink(dev: &str) -> ProvisionError {
    ProvisionError::Unmet {
        problem: format!("there is no interface {dev} to be an uplink"),
        remedy: "name one that `ip link` lists".into(),
    }
}

fn blank(wire: &str) -> Result<UplinkRecord, ProvisionError> {
    Ok(UplinkRecord {
        wire_cookie: 0,
        state: RecordState::Pending as u32,
        ifindex: Ifindex(0),
        made: 0,
        mac: random_mac()?,
        port_mac: random_mac()?,
        wire: netpath_common::fixed::<NAME_SIZE>(wire).unwrap_or([0; NAME_SIZE]),
        addresses: [PrefixBytes::default(); ADDRESSES_MAX],
    })
}

/// Takes away the addresses that the wanted uplink has no more.
fn retire(node: &Node, old: &UplinkRecord, wanted: &model::Uplink) -> Result<(), ProvisionError> {
    let surplus: Vec<IpNet> = addresses(&old.addresses)
        .into_iter()
        .filter(|address| !wanted.addresses.contains(address))
        .collect();
    for address in &surplus {
        node.datapath().maps.remove_endpoint(address.addr())?;
    }
    if old.made == 0 {
        return Ok(());
    }
    node.inside(|| {
        let netlink = Netlink::open()?;
        match netlink.link(wanted.dev.as_ref())? {
            Some(link) if link.mac == Some(old.mac) => surplus
                .iter()
                .try_for_each(|address| netlink.delete_address(&link, *address)),
            _ => Ok(()),
        }
    })
}

/// The uplinks whose records are not to be asked: those that are being removed.
#[derive(Clone, Copy)]
pub enum Leaving<'a> {
    /// None.
    Nobody,
    /// One of a node's.
    Uplink(&'a str, &'a str),
    /// All of a node's.
    Node(&'a str),
}

impl Leaving<'_> {
    fn includes(self, node: &str, dev: &str) -> bool {
        match self {
            Self::Nobody => false,
            Self::Uplink(name, uplink) => (name, uplink) == (node, dev),
            Self::Node(name) => name == node,
        }
    }
}

/// Whether some node's record says that netpath made the wire's namespace with this cookie.
fn is_wire(wire: &str, cookie: u64, leaving: Leaving<'_>) -> Result<bool, ProvisionError> {
    for name in nodes()? {
        let datapath = match Datapath::open(&name) {
            Ok(Some(datapath)) => datapath,
            // What cannot be read proves nothing, and another node's trouble is not this one's.
            Ok(None) | Err(DatapathError::AbiVersion { .. } | DatapathError::Foreign { .. }) => {
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let uplinks = datapath.maps.uplink_records()?;
        if uplinks.iter().any(|(dev, record)| {
            text(&record.wire) == wire
                && record.wire_cookie == cookie
                && !leaving.includes(&name, &text(&dev.name))
        }) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Fails if the wire's namespace exists and no node's record proves it netpath's.
pub fn check_wire(wire: &Name) -> Result<bool, ProvisionError> {
    let name = wire_namespace(wire);
    match name_state(name.as_ref())? {
        NameState::Free => Ok(false),
        // Made before its mount, as an interrupted `up` leaves it; empty, so nothing can be lost.
        NameState::EmptyFile => Ok(false),
        NameState::Namespace => {
            let cookie = Netns::named(name.as_ref())?.cookie()?;
            if is_wire(wire.as_ref(), cookie, Leaving::Nobody)? {
                Ok(true)
            } else {
                Err(foreign_namespace(name.as_ref()))
            }
        }
        NameState::Foreign => Err(foreign_namespace(name.as_ref())),
    }
}

fn ensure_wire(
    node: &Node,
    dev: &str,
    wire: &Name,
    record: &mut UplinkRecord,
) -> Result<Netns, ProvisionError> {
    let name = wire_namespace(wire);
    let dev_key = key(dev)?;
    let netns = if check_wire(wire)? {
        let netns = Netns::named(name.as_ref())?;
        record.wire_cookie = netns.cookie()?;
        node.datapath().maps.set_uplink_record(dev_key, record)?;
        netns
    } else {
        if name_state(name.as_ref())? == NameState::EmptyFile {
            Netns::remove(name.as_ref())?;
        }
        Netns::create(name.as_ref(), |cookie| {
            record.wire_cookie = cookie;
            node.datapath().maps.set_uplink_record(dev_key, record)?;
            Ok::<(), ProvisionError>(())
        })?
    };
    netns.run(|| {
        // A switch says nothing of its own.
        sysctl::set("ipv6/conf/all/disable_ipv6", "1")?;
        sysctl::set("ipv6/conf/default/disable_ipv6", "1")?;
        let netlink = Netlink::open()?;
        if netlink.link(BRIDGE)?.is_none() {
            netlink.add_bridge(BRIDGE)?;
        }
        Ok::<(), ProvisionError>(())
    })??;
    Ok(netns)
}

fn ensure_veth(
    node: &Node,
    dev: &str,
    port: &str,
    wire: &Netns,
    record: &UplinkRecord,
) -> Result<Link, ProvisionError> {
    let connected = wire.run(|| Netlink::open()?.link(port))??;
    let complete = connected.is_some_and(|port| port.mac == Some(record.port_mac));
    let link = node.inside(|| {
        let netlink = Netlink::open()?;
        match netlink.link(dev)? {
            Some(link) if link.mac != Some(record.mac) => {
                return Err(ProvisionError::NotOurs {
                    object: "interface",
                    name: dev.to_owned(),
                    netns: Some(node.name.clone()),
                    remedy: "set dev in the topology file to another name",
                });
            }
            Some(link) if complete => return Ok(link),
            Some(link) => netlink.delete_link(&link)?,
            None => {}
        }
        let end = |name, mac: Mac| VethEnd { name, mac };
        netlink.add_veth(
            end(dev, record.mac),
            end(port, record.port_mac),
            wire.as_fd(),
        )?;
        netlink.link(dev)?.ok_or_else(|| no_such_uplink(dev))
    })?;
    wire.run(|| {
        let netlink = Netlink::open()?;
        let (Some(bridge), Some(port)) = (netlink.link(BRIDGE)?, netlink.link(port)?) else {
            return Err(no_such_uplink(port));
        };
        if port.controller != bridge.ifindex {
            netlink.set_controller(&port, bridge.ifindex)?;
        }
        netlink.set_up(&port)
    })??;
    Ok(link)
}

fn configure(node: &Node, link: &Link, wanted: &model::Uplink) -> Result<(), ProvisionError> {
    node.inside(|| {
        let netlink = Netlink::open()?;
        netlink.set_up(link)?;
        let present = netlink.addresses(link.ifindex)?;
        for address in &wanted.addresses {
            if !present.contains(address) {
                netlink.add_address(link, *address, true)?;
            }
        }
        netlink.await_operational(&link.name)
    })
}

fn publish(
    node: &Node,
    wanted: &model::Uplink,
    record: &UplinkRecord,
    link: &Link,
) -> Result<(), ProvisionError> {
    let rp_filter = node.inside(|| reverse_path_filter(link))?;
    let mut datapath = node.datapath();
    for address in &wanted.addresses {
        datapath
            .maps
            .set_endpoint(address.addr(), &EndpointEntry::NODE)?;
    }
    let known = datapath.maps.interface(link.ifindex)?.is_some();
    let was_here = known && record.ifindex == link.ifindex;
    if !was_here {
        if known {
            // The index was another interface's.
            datapath.maps.forget_hops(link.ifindex)?;
        }
        if record.ifindex != Ifindex(0) && record.ifindex != link.ifindex {
            datapath.maps.remove_interface(record.ifindex)?;
            datapath.maps.forget_hops(record.ifindex)?;
        }
    }
    let entry = InterfaceEntry {
        kind: InterfaceKind::Uplink as u32,
        state: InterfaceState::Ready as u32,
        endpoint_id: EndpointId(0),
        rp_filter,
        name: netpath_common::fixed(&link.name).unwrap_or_default(),
        endpoint: [0; NAME_SIZE],
    };
    if rp_filter != 0 {
        node::set_feature(&mut datapath, Meta::REVERSE_PATH)?;
    }
    datapath.maps.set_interface(link.ifindex, &entry)?;
    // Where it is attached already, that changes nothing.
    if datapath.maps.meta()?.fast_path != 0 {
        let datapath = &*datapath;
        node.inside(|| fast_path::attach_uplink(datapath, &link.name).map(drop))?;
    }
    Ok(())
}

/// The mode of the kernel's reverse-path filter on an interface of the calling thread's namespace: the larger of its
/// own and that of all (`IN_DEV_RPFILTER` in linux/inetdevice.h). An interface without an IPv4 address is never loose
/// (`no_addr` in `__fib_validate_source`).
fn reverse_path_filter(link: &Link) -> Result<u32, ProvisionError> {
    const STRICT: u32 = 1;
    let mut mode = 0;
    for scope in ["all", &link.name] {
        let value = sysctl::get(&format!("ipv4/conf/{scope}/rp_filter"))?;
        // Whatever is not 0 is on, and only 2 is loose.
        mode = mode.max(value.parse().unwrap_or(STRICT));
    }
    let has_ipv4 = || -> Result<bool, ProvisionError> {
        let addresses = Netlink::open()?.addresses(link.ifindex)?;
        Ok(addresses.iter().any(|address| address.addr().is_ipv4()))
    };
    if mode > STRICT && !has_ipv4()? {
        return Ok(STRICT);
    }
    Ok(mode)
}

/// Whether an interface's sysctl was not found: the interface is gone.
fn is_missing(error: &ProvisionError) -> bool {
    matches!(error, ProvisionError::File { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// Tells the programs of an uplink's reverse-path filter as it is now.
pub fn note_reverse_path_filter(node: &Node, dev: &str) -> Result<(), ProvisionError> {
    let found = node.inside(|| {
        let Some(link) = Netlink::open()?.link(dev)? else {
            return Ok(None);
        };
        match reverse_path_filter(&link) {
            Err(error) if is_missing(&error) => Ok(None),
            result => Ok(Some((link.ifindex, result?))),
        }
    })?;
    let mut datapath = node.datapath();
    let Some((ifindex, rp_filter)) = found else {
        return Ok(());
    };
    let Some(entry) = datapath.maps.interface(ifindex)? else {
        return Ok(());
    };
    if entry.rp_filter == rp_filter {
        return Ok(());
    }
    if rp_filter != 0 {
        node::set_feature(&mut datapath, Meta::REVERSE_PATH)?;
    }
    let entry = InterfaceEntry { rp_filter, ..entry };
    Ok(datapath.maps.set_interface(ifindex, &entry)?)
}

/// Removes an uplink. One that netpath did not make is only let go.
pub fn remove(node: &Node, dev: &str, record: &UplinkRecord) -> Result<(), ProvisionError> {
    let mut leaving = *record;
    leaving.state = RecordState::Pending as u32;
    let dev_key = key(dev)?;
    node.datapath().maps.set_uplink_record(dev_key, &leaving)?;
    fast_path::detach_uplink(&node.datapath(), &node.netns, dev)?;
    if record.made != 0 {
        node.inside(|| {
            let netlink = Netlink::open()?;
            match netlink.link(dev)? {
                Some(link) if link.mac == Some(record.mac) => netlink.delete_link(&link),
                _ => Ok(()),
            }
        })?;
    }
    {
        let mut datapath = node.datapath();
        for address in addresses(&record.addresses) {
            datapath.maps.remove_endpoint(address.addr())?;
        }
        if record.ifindex != Ifindex(0) {
            datapath.maps.remove_interface(record.ifindex)?;
            datapath.maps.forget_hops(record.ifindex)?;
        }
    }
    remove_wire(record, Leaving::Uplink(&node.name, dev))?;
    Ok(node.datapath().maps.remove_uplink_record(dev_key)?)
}

/// Takes away the wire's namespace when none but those who leave speak of it. Their records prove it
/// netpath's, so they go after it.
pub fn remove_wire(record: &UplinkRecord, leaving: Leaving<'_>) -> Result<(), ProvisionError> {
    let wire = text(&record.wire);
    if wire.is_empty() || record.wire_cookie == 0 || is_wire(&wire, record.wire_cookie, leaving)? {
        return Ok(());
    }
    let name = format!("{}{wire}", model::WIRE_NAMESPACE_PREFIX);
    match name_state(&name)? {
        NameState::Namespace if Netns::named(&name)?.cookie()? == record.wire_cookie => {
            Ok(Netns::remove(&name)?)
        }
        NameState::EmptyFile => Ok(Netns::remove(&name)?),
        _ => Ok(()),
    }
}

/// What of an uplink is not as it was made. `links` are the node's.
pub fn drift(
    node: &Node,
    dev: &str,
    record: &UplinkRecord,
    links: &[Link],
) -> Result<Vec<String>, ProvisionError> {
    if record.state != RecordState::Complete as u32 {
        return Ok(vec!["was left half-made".into()]);
    }
    let Some(link) = links
        .iter()
        .find(|link| link.name == dev && (record.made == 0 || link.mac == Some(record.mac)))
    else {
        return Ok(vec![format!("interface {dev} is gone")]);
    };
    let mut drift = Vec::new();
    if link.ifindex != record.ifindex {
        drift.push(format!("interface {dev} was made anew"));
    }
    if !link.up {
        drift.push(format!("interface {dev} is down"));
    }
    let filter = match node.inside(|| reverse_path_filter(link)) {
        // It went after it was listed.
        Err(error) if is_missing(&error) => return Ok(vec![format!("interface {dev} is gone")]),
        result => result?,
    };
    let recorded = node.datapath().maps.interface(link.ifindex)?;
    if let Some(recorded) = recorded.filter(|recorded| recorded.rp_filter != filter) {
        drift.push(format!(
            "the kernel's rp_filter is {filter}, and the fast path goes by {}",
            recorded.rp_filter
        ));
    }
    let present = node.inside(|| Netlink::open()?.addresses(link.ifindex))?;
    for address in addresses(&record.addresses) {
        if !present.contains(&address) {
            drift.push(format!("address {address} is gone"));
        }
    }
    Ok(drift)
}
