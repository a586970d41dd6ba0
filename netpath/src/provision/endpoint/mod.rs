//! An endpoint: a namespace, a veth pair, addresses, routes, neighbours, and its entries in the maps.
//!
//! The endpoint reaches everything through one gateway that every node has: 169.254.1.1 and fe80::1 on
//! the host-side veth. Neither its own prefix nor anybody else's is on its link, so that every packet it
//! sends passes the node.

mod drift;
mod entries;
mod netns;
mod network;
mod veth;

use ipnet::IpNet;
use netpath_common::{
    ADDRESSES_MAX, EndpointRecord, Ifindex, PREFIXES_MAX, PrefixBytes, RecordState,
};

pub use self::{
    drift::drift,
    netns::{own_netns, remove_netns},
    network::{GATEWAY_V4, GATEWAY_V6, ensure_routes},
};
use self::{
    entries::{publish, withdraw},
    netns::ensure_netns,
    network::{configure_host_side, configure_inside, host_route},
    veth::{ensure_veth, remove_veth},
};
use super::{
    error::ProvisionError,
    netlink::Netlink,
    node::{Node, Sources, key, random_mac, text},
};
use crate::{
    datapath::{from_bytes, to_bytes},
    model,
};

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
    // A wish of the operator's stays.
    let complete = match old {
        Some(old) if old.state == RecordState::SwitchedOff as u32 => RecordState::SwitchedOff,
        _ => RecordState::Complete,
    };
    publish(node, wanted, &record, &veth, complete)?;
    record.host_ifindex = veth.host.ifindex;
    record.state = complete as u32;
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
