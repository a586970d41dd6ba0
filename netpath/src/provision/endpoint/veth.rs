//! The veth pair between an endpoint and its node.

use std::os::fd::AsFd as _;

use netpath_common::EndpointRecord;

use super::{
    super::{
        error::ProvisionError,
        fast_path,
        node::{Node, text},
    },
    entries::forget_interface,
};
use crate::{
    netlink::{Link, Netlink, VethEnd},
    netns::Netns,
};

/// The host-side veth, if it is there and is the one that netpath made: its random MAC says so.
pub fn own_host_link(
    netlink: &Netlink,
    record: &EndpointRecord,
) -> Result<Option<Link>, ProvisionError> {
    let link = netlink.link(&text(&record.host_dev))?;
    Ok(link.filter(|link| link.mac == Some(record.host_mac)))
}

/// An endpoint's veth pair.
pub(super) struct Veth {
    /// Its host side.
    pub host: Link,
    /// Whether this run made it.
    pub made: bool,
}

pub(super) fn ensure_veth(
    node: &Node,
    netns: &Netns,
    record: &EndpointRecord,
) -> Result<Veth, ProvisionError> {
    let dev = text(&record.dev);
    let host_dev = text(&record.host_dev);
    let inside = netns.enter(|inside| Netlink::open(inside)?.link(&dev))??;
    let complete = inside.is_some_and(|link| link.mac == Some(record.endpoint_mac));
    node.inside(|inside| {
        let netlink = Netlink::open(inside)?;
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
            netns.as_fd(),
        )?;
        let host = netlink.link(&host_dev)?.ok_or(ProvisionError::NotUp {
            object: "interface",
            name: host_dev.clone(),
        })?;
        Ok(Veth { host, made: true })
    })
}

pub(super) fn remove_veth(node: &Node, record: &EndpointRecord) -> Result<(), ProvisionError> {
    node.inside(|inside| {
        let netlink = Netlink::open(inside)?;
        match own_host_link(&netlink, record)? {
            Some(link) => Ok(netlink.delete_link(&link)?),
            None => Ok(()),
        }
    })?;
    // The programs went with the interface; what is left of them are pins.
    let host_dev = text(&record.host_dev);
    fast_path::detach_endpoint(&node.datapath(), &node.netns, &host_dev)?;
    forget_interface(&mut node.datapath(), record.host_ifindex, record.id)
}
