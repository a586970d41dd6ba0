//! What became of an endpoint since it was made.

use ipnet::IpNet;
use netpath_common::{EndpointRecord, RecordState};

use super::{
    super::{
        error::ProvisionError,
        netlink::{Link, Netlink, Route},
        node::{Sources, text},
    },
    addresses,
    netns::own_netns,
    network::{gateways, prefix_routes},
};

/// Whether nothing was interrupted while it was made.
fn is_complete(record: &EndpointRecord) -> bool {
    [RecordState::Complete, RecordState::SwitchedOff]
        .map(|state| state as u32)
        .contains(&record.state)
}

/// What of an endpoint is not as it was made. `links` and `routes` are the node's.
pub fn drift(
    name: &str,
    record: &EndpointRecord,
    links: &[Link],
    routes: &[Route],
) -> Result<Vec<String>, ProvisionError> {
    if !is_complete(record) {
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
