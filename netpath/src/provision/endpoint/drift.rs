//! What became of an endpoint since it was made.

use ipnet::IpNet;
use netpath_common::{EndpointRecord, RecordState};

use super::{
    super::{
        error::ProvisionError,
        node::{Sources, text},
    },
    addresses,
    netns::own_netns,
    network::{gateways, prefix_routes},
};
use crate::netlink::{Link, Netlink, NetlinkError, Route, Table};

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
                    route.dst == IpNet::from(address) && route.is_only_through(host.ifindex)
                });
                if !present {
                    drift.push(format!("the node's route to {address} is gone"));
                }
            }
            let prefixes = addresses(&record.prefixes);
            for wanted in prefix_routes(&wanted, &prefixes, host, Sources::default()) {
                let present = routes.iter().any(|route| {
                    route.dst == wanted.dst
                        && route.is_only_through(host.ifindex)
                        && wanted.via.is_none_or(|via| route.is_only_via(via))
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
    netns.enter(|inside| {
        let netlink = Netlink::open(inside)?;
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
        let inside = netlink.routes(Table::Main)?;
        for (gateway, default) in gateways(&wanted) {
            if !inside
                .iter()
                .any(|route| route.dst == default && route.is_only_via(gateway))
            {
                drift.push(format!("the default route via {gateway} is gone"));
            }
        }
        Ok::<(), NetlinkError>(())
    })??;
    Ok(drift)
}
