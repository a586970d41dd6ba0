//! An endpoint's entries in the maps.

use ipnet::IpNet;
use netpath_common::{
    EndpointEntry, EndpointId, EndpointRecord, Ifindex, InterfaceEntry, InterfaceKind,
    InterfaceState, Meta, RecordState, RouteEntry,
};

use super::{
    super::{
        error::ProvisionError,
        fast_path,
        node::{self, Node, key},
    },
    veth::Veth,
};
use crate::{datapath::Datapath, model};

/// Writes the endpoint into the maps; `complete` is what its record will say. Its interface becomes ready last: until then its packets are dropped.
pub(super) fn publish(
    node: &Node,
    wanted: &model::Endpoint,
    record: &EndpointRecord,
    veth: &Veth,
    complete: RecordState,
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
            for (prefix, route) in datapath.maps.routes()? {
                let entry = route.endpoint;
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
    // Where they are attached already, that changes nothing.
    if datapath.maps.meta()?.fast_path != 0 && complete != RecordState::SwitchedOff {
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
pub(super) fn withdraw(
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
            .is_some_and(|route| route.endpoint.id == record.id)
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
pub(super) fn forget_interface(
    datapath: &mut Datapath,
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
