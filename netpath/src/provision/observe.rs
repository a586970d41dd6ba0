//! What is up.

use std::collections::BTreeMap;

use super::{
    Drift, EndpointStatus, FastPath, InterfaceStatus, NodeStatus, RouteStatus, UplinkStatus, check,
    endpoint::{self, addresses},
    error::ProvisionError,
    fast_path,
    node::{Found, Node, find, text},
    plan::Inventory,
    route, uplink,
};
use crate::{
    datapath::{attach_mode, from_bytes, nodes},
    mounts,
};
use netpath_common::{Ifindex, Mac};

/// See [`super::observe`].
pub fn observe() -> Result<Vec<NodeStatus>, ProvisionError> {
    check::root()?;
    mounts::require_visible("show")?;
    nodes()?
        .iter()
        .filter_map(|name| node(name).transpose())
        .collect()
}

fn node(name: &str) -> Result<Option<NodeStatus>, ProvisionError> {
    match find(name)? {
        Found::Absent => Ok(None),
        Found::Up(node) => status(&node).map(Some),
        Found::Remains(datapath) => Ok(Some(NodeStatus {
            name: name.to_owned(),
            netns: name.to_owned(),
            directory: datapath.directory().display().to_string(),
            attach_mode: attach_mode().name(),
            fast_path: FastPath::Off,
            uplinks: Vec::new(),
            routes: Vec::new(),
            endpoints: Vec::new(),
            drift: Drift(vec![format!("namespace {name} is gone")]),
        })),
    }
}

fn status(node: &Node) -> Result<NodeStatus, ProvisionError> {
    let inventory = Inventory::of(node)?;
    let mut drift = Vec::new();
    let missing = fast_path::missing(node, &inventory.links)?;
    let uplinks = uplinks(node, &inventory, &missing)?;
    let endpoints = endpoints(node, &inventory, &missing)?;
    let mut routes = Vec::new();
    let ways = route::Ways::of(&inventory.routes);
    for (dst, record) in node.datapath().maps.route_records()? {
        let (Some(dst), Some(via)) = (from_bytes(&dst), from_bytes(&record.via)) else {
            continue;
        };
        if !ways.has(dst, &record) {
            drift.push(format!("the kernel's route to {dst} is gone"));
        }
        routes.push(RouteStatus {
            dst,
            via: via.addr(),
            made: record.made != 0,
        });
    }
    let states: Vec<FastPath> = uplinks
        .iter()
        .map(|uplink| uplink.interface.fast_path)
        .chain(
            endpoints
                .iter()
                .map(|endpoint| endpoint.interface.fast_path),
        )
        .collect();
    let meta = node.meta()?;
    let fast_path = match (
        states.iter().all(|&state| state == FastPath::On),
        states.iter().all(|&state| state == FastPath::Off),
    ) {
        // No interface at all: what is wanted.
        (true, true) if meta.fast_path != 0 => FastPath::On,
        (_, true) => FastPath::Off,
        (true, false) => FastPath::On,
        (false, false) => FastPath::Partly,
    };
    let datapath = node.datapath();
    Ok(NodeStatus {
        name: node.name.clone(),
        netns: if node.lab {
            node.name.clone()
        } else {
            "host".into()
        },
        directory: datapath.directory().display().to_string(),
        attach_mode: attach_mode().name(),
        fast_path,
        uplinks,
        routes,
        endpoints,
        drift: Drift(drift),
    })
}

fn interface(
    node: &Node,
    uplink: bool,
    dev: String,
    ifindex: Ifindex,
    mac: Mac,
) -> Result<InterfaceStatus, ProvisionError> {
    let datapath = node.datapath();
    let datapath = &*datapath;
    // An interface that is gone has no programs either; its absence is told as drift.
    let attached = node
        .inside(|| fast_path::are_attached(datapath, uplink, &dev))
        .unwrap_or(false);
    Ok(InterfaceStatus {
        dev,
        ifindex,
        mac: mac.to_string(),
        fast_path: if attached {
            FastPath::On
        } else {
            FastPath::Off
        },
    })
}

fn uplinks(
    node: &Node,
    inventory: &Inventory,
    missing: &BTreeMap<String, Vec<String>>,
) -> Result<Vec<UplinkStatus>, ProvisionError> {
    let records = node.datapath().maps.uplink_records()?;
    records
        .iter()
        .map(|(dev, record)| {
            let dev = text(&dev.name);
            let wire = text(&record.wire);
            let mut drift = uplink::drift(node, &dev, record, &inventory.links)?;
            drift.extend(missing.get(&dev).cloned().unwrap_or_default());
            Ok(UplinkStatus {
                drift: Drift(drift),
                interface: interface(node, true, dev, record.ifindex, record.mac)?,
                addresses: addresses(&record.addresses),
                wire: Some(wire).filter(|wire| !wire.is_empty()),
                made: record.made != 0,
            })
        })
        .collect()
}

fn endpoints(
    node: &Node,
    inventory: &Inventory,
    missing: &BTreeMap<String, Vec<String>>,
) -> Result<Vec<EndpointStatus>, ProvisionError> {
    let records = node.datapath().maps.endpoint_records()?;
    records
        .iter()
        .map(|(name, record)| {
            let name = text(&name.name);
            let mut drift = endpoint::drift(&name, record, &inventory.links, &inventory.routes)?;
            let host_dev = text(&record.host_dev);
            drift.extend(missing.get(&host_dev).cloned().unwrap_or_default());
            Ok(EndpointStatus {
                name,
                id: record.id,
                dev: text(&record.dev),
                mac: record.endpoint_mac.to_string(),
                interface: interface(node, false, host_dev, record.host_ifindex, record.host_mac)?,
                addresses: addresses(&record.addresses),
                prefixes: addresses(&record.prefixes),
                drift: Drift(drift),
            })
        })
        .collect()
}
