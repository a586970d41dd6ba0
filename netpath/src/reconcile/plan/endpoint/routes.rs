//! The node's routes to an endpoint.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    super::{
        super::{Drift, Link, NewRoute, World},
        Draft, Planner, first_of_family,
    },
    Work,
    veth::host_link,
};

impl Planner<'_> {
    /// Notes routes of the node that are not there, where they could be.
    pub(super) fn routes_gone(&mut self, draft: &mut Draft, work: &Work<'_>) {
        let Some(host) = host_link(&self.world, &work.record) else {
            return;
        };
        if !host.up {
            draft.note(Drift::InterfaceDown(host.name.clone()));
        }
        let host = host_link(self.initial, &work.record).cloned();
        for route in self.node_routes(work) {
            let recorded = work.had(&with_full_length(route.dst, &work.record.addresses))
                || work.had_prefix(&route.dst);
            // One that an earlier step took away with an address follows from that step.
            if recorded
                && host
                    .as_ref()
                    .is_some_and(|host| !has(self.initial, host, &route))
            {
                draft.note(match has_a_source(self.initial, &route) {
                    true => Drift::NodeRouteSource(route.dst),
                    false => Drift::NodeRouteGone(route.dst),
                });
            }
        }
    }

    /// The node's routes to an endpoint: those of the addresses first, since those of the prefixes lead over them. They
    /// prefer no source: with that address the kernel would take an IPv4 route away.
    pub(super) fn node_routes(&self, work: &Work<'_>) -> Vec<NewRoute> {
        let record = &work.record;
        if self.is_in_vrf(&record.host_dev) {
            return Vec::new();
        }
        let route = |dst: IpNet, via: Option<IpAddr>| NewRoute {
            dst,
            via,
            dev: Some(record.host_dev.clone()),
            onlink: via.is_some(),
            source: None,
            replaces: self.replaces(dst),
        };
        let addresses = record
            .addresses
            .iter()
            .map(|address| route(address.addr().into(), None));
        // By the first address of the family: so they leave with its MAC, and nobody is asked for what is in them.
        let prefixes = record.prefixes.iter().filter_map(|&prefix| {
            let via = first_of_family(&record.addresses, prefix.addr())?;
            Some(route(prefix, Some(via)))
        });
        addresses.chain(prefixes).collect()
    }
}

/// Whether the node has a route through an endpoint's veth.
pub(super) fn has(world: &World, host: &Link, wanted: &NewRoute) -> bool {
    world.observed.node.routes.iter().any(|route| {
        route.dst == wanted.dst
            && route.via == wanted.via
            && route.ifindex == Some(host.ifindex)
            && route.source == wanted.source
    })
}

fn has_a_source(world: &World, wanted: &NewRoute) -> bool {
    let routes = &world.observed.node.routes;
    routes
        .iter()
        .any(|route| route.ours && route.dst == wanted.dst && route.via == wanted.via)
}

/// The address with its prefix length that a host route leads to.
fn with_full_length(dst: IpNet, addresses: &[IpNet]) -> IpNet {
    let address = addresses
        .iter()
        .find(|address| IpNet::from(address.addr()) == dst);
    address.copied().unwrap_or(dst)
}
