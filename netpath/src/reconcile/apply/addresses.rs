//! Addresses of interfaces, neighbours and routes, and what the kernel does with the one when another goes.

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::{Ifindex, Mac};

use super::super::{
    Hop, Link, Namespace, Neighbour, NewRoute, Place, Replaces, Route, World, observed::taken_by,
};

impl World {
    pub(super) fn remove_address(&mut self, place: &Place, dev: &str, address: IpNet) {
        let mut gone = vec![address];
        self.change_link(place, dev, |link| {
            let position = link.addresses.iter().position(|found| *found == address);
            let first = link
                .addresses
                .iter()
                .position(|found| is_same_subnet(found, &address));
            link.addresses.retain(|found| *found != address);
            link.no_sources.remove(&address);
            // With the first IPv4 address of a subnet go the others of it (`__inet_del_ifa`).
            if position == first {
                gone.extend(
                    link.addresses
                        .iter()
                        .filter(|found| is_same_subnet(found, &address)),
                );
                link.addresses
                    .retain(|found| !is_same_subnet(found, &address));
            }
        });
        self.without_ipv4(place, dev);
        let namespace = self.namespace_mut(place);
        for address in &gone {
            forget_source(namespace, address.addr());
            forget_next_hops(namespace, address);
        }
        if *place == Place::Node {
            self.forget_own(&gone);
        }
    }

    /// Addresses are gone from one of the node's interfaces: they are its own no more, unless another has them too.
    pub(super) fn forget_own(&mut self, gone: &[IpNet]) {
        for address in gone.iter().flat_map(taken_by) {
            let left = self.observed.node.links.iter().flat_map(|it| &it.addresses);
            if !left.flat_map(taken_by).any(|found| found == address) {
                self.observed.own.remove(&address);
            }
        }
    }

    /// With the last IPv4 address of an interface go its IPv4 routes and neighbours (`fib_disable_ip`).
    pub(super) fn without_ipv4(&mut self, place: &Place, dev: &str) {
        let namespace = self.namespace_mut(place);
        let link = namespace.link(dev);
        let left = |link: &&Link| !link.addresses.iter().any(|net| net.addr().is_ipv4());
        let Some(ifindex) = link.filter(left).map(|link| link.ifindex) else {
            return;
        };
        let is_its =
            |index: Option<Ifindex>, address: IpAddr| index == Some(ifindex) && address.is_ipv4();
        namespace
            .routes
            .retain(|route| !is_its(route.ifindex, route.dst.addr()));
        namespace
            .neighbours
            .retain(|found| !is_its(Some(found.ifindex), found.address));
    }

    pub(super) fn add_neighbour(
        &mut self,
        place: &Place,
        dev: &str,
        (address, mac): (IpAddr, Mac),
        is_router: bool,
    ) {
        let namespace = self.namespace_mut(place);
        let Some(ifindex) = namespace.link(dev).map(|link| link.ifindex) else {
            return;
        };
        let neighbours = &mut namespace.neighbours;
        neighbours.retain(|found| (found.ifindex, found.address) != (ifindex, address));
        neighbours.push(Neighbour {
            ifindex,
            address,
            mac,
            is_router,
        });
    }

    pub(super) fn add_route(&mut self, place: &Place, new: &NewRoute) {
        let namespace = self.namespace_mut(place);
        let reaching = |via: IpAddr| {
            let on = |link: &&Link| link.addresses.iter().any(|net| net.contains(&via));
            namespace.links.iter().find(on).map(|link| link.ifindex)
        };
        let ifindex = match (&new.dev, new.via) {
            (Some(dev), _) => namespace.link(dev).map(|link| link.ifindex),
            (None, Some(via)) => reaching(via),
            (None, None) => None,
        };
        let routes = &mut namespace.routes;
        routes.retain(|route| match (&new.replaces, route.own()) {
            (Replaces::Any, _) => route.dst != new.dst,
            (Replaces::These(old), Some(own)) => !old.contains(&own),
            (Replaces::These(_), None) => true,
        });
        routes.push(Route {
            dst: new.dst,
            via: new.via,
            ifindex,
            hops: vec![Hop {
                via: new.via,
                ifindex,
            }],
            refuses: false,
            metric: 0,
            source: new.source,
            for_all: true,
            ours: true,
            like_ours: true,
            kernel: false,
            told: String::new(),
            text: String::new(),
        });
    }
}

fn is_same_subnet(one: &IpNet, other: &IpNet) -> bool {
    one.addr().is_ipv4() && one.trunc() == other.trunc()
}

/// An address is gone: IPv4 routes that prefer it go (`fib_sync_down_addr`), IPv6 routes prefer none any more
/// (`rt6_remove_prefsrc`).
pub(super) fn forget_source(namespace: &mut Namespace, address: IpAddr) {
    let has = |route: &Route| route.source == Some(address);
    namespace
        .routes
        .retain(|route| !(has(route) && address.is_ipv4()));
    for route in namespace.routes.iter_mut().filter(|route| has(route)) {
        route.source = None;
    }
}

/// An address is gone, and with it the way to the next hops of its subnet, unless another address still has it.
fn forget_next_hops(namespace: &mut Namespace, address: &IpNet) {
    let subnet = address.trunc();
    let mut left = namespace.links.iter().flat_map(|link| &link.addresses);
    if left.any(|found| found.trunc() == subnet) {
        return;
    }
    namespace
        .routes
        .retain(|route| !(route.ours && route.via.is_some_and(|via| subnet.contains(&via))));
}
