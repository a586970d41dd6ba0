//! An endpoint's entries in the maps.

use ipnet::IpNet;
use netpath_common::{
    EndpointEntry, EndpointId, EndpointRecord, FeatureBits, Ifindex, InterfaceEntry, InterfaceKind,
    InterfaceState, RouteEntry,
};

use super::{
    super::{
        error::ProvisionError,
        fast_path,
        node::{self, HeldNode, key},
    },
    veth::Veth,
};
use crate::model;

/// Writes the endpoint into the maps. Its interface becomes ready last: until then its packets are dropped.
pub(super) fn publish(
    node: &HeldNode<'_>,
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
    let (datapath, writer) = (node.datapath(), node.writer());
    let known = datapath.maps.interfaces.get(&host.ifindex)?;
    let was_here = !veth.made
        && record.host_ifindex == host.ifindex
        && known.is_some_and(|found| found.endpoint_id == record.id);
    if !was_here {
        if known.is_some() {
            // The index was another interface's: its addresses are not this one's.
            for (address, entry) in datapath.maps.endpoints()? {
                if entry.ifindex == host.ifindex && entry.id != record.id {
                    writer.remove_endpoint(address)?;
                }
            }
            for (prefix, route) in datapath.maps.routes()? {
                let entry = route.endpoint;
                if entry.ifindex == host.ifindex && entry.id != record.id {
                    writer.remove_route(prefix)?;
                }
            }
        }
        if record.host_ifindex != Ifindex(0) && record.host_ifindex != host.ifindex {
            forget_interface(node, record.host_ifindex, record.id)?;
        }
        // Nor are the counters.
        writer.reuse_index(host.ifindex)?;
        writer.interfaces.set(&host.ifindex, &interface)?;
    }
    if datapath.maps.settings.get()?.fast_path != 0 && !was_here {
        node.inside(|| fast_path::attach_endpoint(datapath, &host.name).map(drop))?;
    }
    let entry = EndpointEntry {
        ifindex: host.ifindex,
        id: record.id,
        endpoint_mac: record.endpoint_mac,
        host_mac: record.host_mac,
    };
    node.inside(|| Ok(node.writer().set_device(record.id, host.ifindex)?))?;
    // What is true already is not written again: packets are looking it up.
    for address in wanted.addresses.iter().map(IpNet::addr) {
        if datapath.maps.endpoint(address)? != Some(entry) {
            writer.set_endpoint(address, &entry)?;
        }
    }
    if !wanted.prefixes.is_empty() {
        // Before there is one: it must never be overlooked.
        node::set_feature(node, FeatureBits::LOCAL_PREFIXES)?;
    }
    for &prefix in &wanted.prefixes {
        writer.set_route(prefix, &RouteEntry::local(&entry))?;
    }
    interface.state = InterfaceState::Ready as u32;
    Ok(writer.interfaces.set(&host.ifindex, &interface)?)
}

/// Takes addresses and prefixes of this endpoint out of the maps.
pub(super) fn withdraw(
    node: &HeldNode<'_>,
    record: &EndpointRecord,
    addresses: &[IpNet],
    prefixes: &[IpNet],
) -> Result<(), ProvisionError> {
    let (datapath, writer) = (node.datapath(), node.writer());
    for &prefix in prefixes {
        if datapath
            .maps
            .route(prefix)?
            .is_some_and(|route| route.endpoint.id == record.id)
        {
            writer.remove_route(prefix)?;
        }
    }
    for address in addresses.iter().map(IpNet::addr) {
        if datapath
            .maps
            .endpoint(address)?
            .is_some_and(|entry| entry.id == record.id)
        {
            writer.remove_endpoint(address)?;
        }
    }
    Ok(())
}

/// Forgets an interface and its counters, if it still is this endpoint's.
pub(super) fn forget_interface(
    node: &HeldNode<'_>,
    ifindex: Ifindex,
    id: EndpointId,
) -> Result<(), ProvisionError> {
    if node
        .datapath()
        .maps
        .interfaces
        .get(&ifindex)?
        .is_some_and(|found| found.endpoint_id == id)
    {
        node.writer().retire_interface(ifindex)?;
    }
    Ok(())
}
