//! What other nodes have in the same network namespace: that is not to be had twice.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use netpath_common::{EndpointEntry, RouteEntry};

use super::{
    super::{Destination, Object, Recorded, Refusal, Route, World},
    GATEWAY_V4, GATEWAY_V6, Planner,
};

impl Planner<'_> {
    /// Refuses addresses, prefixes and routes that are another node's here.
    pub(super) fn refuse_held(&mut self) {
        let wanted = self.wanted;
        for endpoint in &wanted.endpoints {
            let addresses = endpoint.addresses.iter().map(|a| IpNet::from(a.addr()));
            for net in addresses.chain(endpoint.prefixes.iter().copied()) {
                let holder = self.holder(|other| holds(other, net));
                self.refuse_other(
                    Object::Endpoint,
                    &endpoint.name,
                    Destination(net).to_string(),
                    holder,
                );
            }
        }
        for route in &wanted.routes {
            // Without a next hop of its own it takes nobody's route away.
            if route.via.is_none() {
                continue;
            }
            let holder = self.holder(|other| {
                let its = other.routes.get(&route.dst);
                its.is_some_and(|its| its.via.is_some())
                    || nets(other).any(|net| route.dst.contains(&net))
            });
            let what = format!("the route to {}, or an address in it,", route.dst);
            self.refuse_other(Object::Route, &route.dst.to_string(), what, holder);
        }
    }

    fn refuse_other(&mut self, object: Object, name: &str, what: String, holder: Option<String>) {
        if let Some(node) = holder {
            self.refuse_with(object, name, Refusal::OfAnotherNode { what, node });
        }
    }

    /// The other node in this namespace of which something is true.
    pub(super) fn holder(&self, is_it: impl Fn(&Recorded) -> bool) -> Option<String> {
        let mut others = self.initial.observed.others.iter();
        let found = others.find(|(_, other)| is_it(other));
        found.map(|(name, _)| name.clone())
    }

    /// The addresses of their endpoints: what comes from outside comes from none of them. While one of the nodes cannot be
    /// read, those that the programs know are taken for its.
    pub(super) fn held_addresses(&self) -> BTreeSet<IpAddr> {
        let observed = &self.world.observed;
        let others = observed.others.values();
        let endpoints = others.flat_map(|other| other.endpoints.values());
        let addresses = endpoints.flat_map(|it| &it.addresses).map(IpNet::addr);
        let known = observed.maps.endpoints.iter();
        let known = known
            .filter(|(_, entry)| observed.unreadable.is_some() && **entry == EndpointEntry::NODE);
        addresses
            .chain(known.map(|(address, _)| *address))
            .collect()
    }

    /// As [`Self::held_addresses`], the prefixes.
    pub(super) fn held_prefixes(&self) -> BTreeSet<IpNet> {
        let observed = &self.world.observed;
        let others = observed.others.values();
        let endpoints = others.flat_map(|other| other.endpoints.values());
        let prefixes = endpoints.flat_map(|it| &it.prefixes).copied();
        let known = observed.maps.routes.iter();
        let known =
            known.filter(|(_, entry)| observed.unreadable.is_some() && **entry == RouteEntry::NODE);
        prefixes.chain(known.map(|(prefix, _)| *prefix)).collect()
    }

    /// A route that looks as if netpath had made it may be that of a node that cannot be read: it is not to be removed.
    pub(super) fn perhaps_others(&self, route: &Route) -> Option<Refusal> {
        let node = self.initial.observed.unreadable.clone();
        let node = node.filter(|_| route.like_ours)?;
        let what = format!("the route to {}", route.told);
        Some(Refusal::PerhapsOnAnotherNode { what, node })
    }

    /// Why an interface that is not this node's may not be an endpoint's host-side veth.
    pub(super) fn foreign_veth(&self, dev: &str) -> Refusal {
        let mac = self
            .initial
            .observed
            .node
            .link(dev)
            .and_then(|link| link.mac);
        let made = |other: &Recorded| {
            let mut endpoints = other.endpoints.values();
            endpoints.any(|endpoint| Some(endpoint.host_mac) == mac)
        };
        if let Some(node) = self.holder(made) {
            let what = format!("interface {dev}");
            return Refusal::OfAnotherNode { what, node };
        }
        let perhaps = self.initial.observed.unreadable.clone();
        match (is_left(self.initial, dev), perhaps) {
            (true, Some(node)) => Refusal::PerhapsOnAnotherNode {
                what: format!("interface {dev}"),
                node,
            },
            (true, None) => Refusal::LeftInterface(dev.to_owned()),
            (false, _) => Refusal::ForeignInterface {
                dev: dev.to_owned(),
                netns: None,
                key: "host_dev",
            },
        }
    }
}

/// All that leads to the endpoints of a node.
fn nets(node: &Recorded) -> impl Iterator<Item = IpNet> {
    node.endpoints.values().flat_map(|endpoint| {
        let addresses = endpoint.addresses.iter().map(|a| IpNet::from(a.addr()));
        addresses.chain(endpoint.prefixes.iter().copied())
    })
}

/// Whether a node has some of this already, with its endpoints or behind other nodes.
pub(super) fn holds(node: &Recorded, net: IpNet) -> bool {
    let overlaps = |other: IpNet| other.contains(&net) || net.contains(&other);
    let mut led = node.routes.iter().filter(|(_, route)| route.via.is_some());
    nets(node).any(overlaps) || led.any(|(dst, _)| overlaps(*dst))
}

/// Whether it has a gateway's address, which netpath alone gives to a veth.
fn is_left(world: &World, dev: &str) -> bool {
    let link = world.observed.node.link(dev).filter(|link| link.veth);
    link.is_some_and(|link| {
        let mut addresses = link.addresses.iter().map(IpNet::addr);
        addresses.any(|address| address == GATEWAY_V4 || address == GATEWAY_V6)
    })
}
