//! What is configured on both ends of the veth pair.

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::Mac;

use super::{
    super::{
        super::{AddressKind, Drift, Home, Neighbour, NewRoute, Op, Place, Replaces, World},
        Draft, Planner, first_of_family, gateways,
        sysctls::{inside_sysctls, veth_sysctls},
    },
    Work,
    routes::has,
    veth::host_link,
};

impl Planner<'_> {
    pub(super) fn host_side(&mut self, draft: &mut Draft, work: &Work<'_>) {
        let record = &work.record;
        let dev = record.host_dev.clone();
        self.veth_mtu(draft, work);
        let ipv6 = self.ipv6_of_veth(work);
        self.sysctls(draft, &Place::Node, veth_sysctls(&dev, ipv6));
        self.up(draft, &Place::Node, &dev);
        for (gateway, _) in gateways(&record.addresses) {
            self.gateway(draft, &dev, gateway, work.had_family(gateway));
        }
        for address in &record.addresses {
            let neighbour = (address.addr(), record.endpoint_mac, false);
            self.neighbour(draft, &Place::Node, &dev, neighbour, work.had(address));
        }
        for route in self.node_routes(work) {
            let host = host_link(&self.world, record);
            if !host.is_some_and(|host| has(&self.world, host, &route)) {
                self.act(draft, Op::AddRoute(Place::Node, route));
            }
        }
    }

    fn gateway(&mut self, draft: &mut Draft, dev: &str, gateway: IpAddr, recorded: bool) {
        let length = if gateway.is_ipv4() { 32 } else { 64 };
        let Ok(address) = IpNet::new(gateway, length) else {
            return;
        };
        let kind = self.gateway_kind(gateway);
        let link = self.world.observed.node.link(dev);
        let link = link.filter(|link| link.addresses.contains(&address));
        let found = link.map(|link| link.no_sources.contains(&address));
        match found {
            Some(found) if found == (kind == AddressKind::NoSource) => return,
            Some(found) => {
                draft.note(Drift::GatewayScope {
                    gateway,
                    is_source: !found,
                });
                let op = Op::RemoveAddress {
                    place: Place::Node,
                    dev: dev.to_owned(),
                    address,
                };
                self.act(draft, op);
            }
            None if recorded => draft.note(Drift::GatewayGone(gateway)),
            None => {}
        }
        let op = Op::AddAddress {
            place: Place::Node,
            dev: dev.to_owned(),
            address,
            kind,
        };
        self.act(draft, op);
    }

    /// What the node itself sends to an endpoint comes from an address of its own, whichever the kernel chooses: so its
    /// route needs none, and stays when that address goes. Of IPv6 the kernel prefers those that are not link-local by
    /// itself (RFC 6724, rule 2), of IPv4 only where the gateway's is out of question (`inet_select_addr`). A node without
    /// uplinks has no other.
    fn gateway_kind(&self, gateway: IpAddr) -> AddressKind {
        match gateway.is_ipv4() && !self.wanted.uplinks.is_empty() {
            true => AddressKind::NoSource,
            false => AddressKind::OnLink,
        }
    }

    fn neighbour(
        &mut self,
        draft: &mut Draft,
        place: &Place,
        dev: &str,
        (address, mac, is_router): (IpAddr, Mac, bool),
        recorded: bool,
    ) {
        let Some(there) = self.world.namespace(place) else {
            return;
        };
        let Some(ifindex) = there.link(dev).map(|link| link.ifindex) else {
            return;
        };
        let wanted = Neighbour {
            ifindex,
            address,
            mac,
            is_router,
        };
        if there.neighbours.contains(&wanted) {
            return;
        }
        // One that goes with an address that an earlier step takes away follows from that step.
        let initially = self
            .initial
            .namespace(place)
            .is_some_and(|there| there.neighbours.contains(&wanted));
        if recorded && !initially {
            draft.note(Drift::NeighbourGone(address));
        }
        let op = Op::AddNeighbour {
            place: place.clone(),
            dev: dev.to_owned(),
            address,
            mac,
            is_router,
        };
        self.act(draft, op);
    }

    pub(super) fn inside(&mut self, draft: &mut Draft, work: &Work<'_>) {
        let record = &work.record;
        let dev = record.dev.clone();
        let ipv6 = self.ipv6_of_veth(work);
        self.sysctls(draft, &work.place, inside_sysctls(&dev, ipv6));
        self.up(draft, &work.place, &dev);
        for &address in &record.addresses {
            self.inside_address(draft, work, address);
        }
        for (gateway, default) in gateways(&record.addresses) {
            self.default_route(draft, work, gateway, default);
            let neighbour = (gateway, record.host_mac, true);
            let recorded = work.had_family(gateway);
            self.neighbour(draft, &work.place, &dev, neighbour, recorded);
        }
    }

    fn inside_address(&mut self, draft: &mut Draft, work: &Work<'_>, address: IpNet) {
        let dev = &work.record.dev;
        let link = self
            .world
            .namespace(&work.place)
            .and_then(|there| there.link(dev));
        if link.is_some_and(|link| link.addresses.contains(&address)) {
            return;
        }
        if work.had(&address) {
            draft.note(Drift::AddressGone(address));
        }
        let op = Op::AddAddress {
            place: work.place.clone(),
            dev: dev.clone(),
            address,
            kind: AddressKind::Alone,
        };
        self.act(draft, op);
    }

    fn default_route(&mut self, draft: &mut Draft, work: &Work<'_>, via: IpAddr, dst: IpNet) {
        let source = first_of_family(&work.record.addresses, via);
        let is_it = |world: &World| {
            let there = world.namespace(&work.place);
            there.is_some_and(|there| {
                there.routes.iter().any(|route| {
                    (route.dst, route.via) == (dst, Some(via)) && route.source == source
                })
            })
        };
        if is_it(&self.world) {
            return;
        }
        // With the address that it prefers goes the route too: then that is what is wrong.
        let had = work
            .before
            .as_ref()
            .map(|before| first_of_family(&before.addresses, via));
        if had == Some(source) && !self.misses_address(work, source) {
            draft.note(Drift::DefaultRouteGone(via));
        }
        let there = self.world.namespace(&work.place);
        let own = there.map_or_else(Vec::new, |there| there.own_routes(dst));
        let route = NewRoute {
            dst,
            via: Some(via),
            dev: Some(work.record.dev.clone()),
            onlink: true,
            source,
            replaces: match work.wanted.home {
                Home::Made => Replaces::Any,
                Home::Given(_) => Replaces::These(own),
            },
        };
        self.act(draft, Op::AddRoute(work.place.clone(), route));
    }

    /// Whether an address was not there when planning began.
    fn misses_address(&self, work: &Work<'_>, address: Option<IpAddr>) -> bool {
        let there = self.initial.namespace(&work.place);
        let link = there.and_then(|there| there.link(&work.record.dev));
        !link.is_some_and(|link| link.addresses.iter().any(|net| Some(net.addr()) == address))
    }
}
