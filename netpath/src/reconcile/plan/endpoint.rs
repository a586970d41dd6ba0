//! An endpoint: its namespace, its veth pair, what is configured on both ends, and its entries in the maps.

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::{FastPathWish, FeatureBits, Ifindex, InterfaceKind, Mac};

use super::{
    super::{
        Action, Drift, Home, Link, NamespaceState, Neighbour, NewRoute, Object, Op, Owner, Place,
        Recorded, RecordedEndpoint, WantedEndpoint, World, drift::List, observed::Interface,
    },
    Draft, Planner,
    entries::ENDPOINT,
    first_of_family, gateways,
    sysctls::{endpoint_sysctls, veth_sysctls},
};

use crate::model::NodePlace;

/// The smallest MTU with which the kernel does IPv6, in bytes (RFC 8200, section 5).
const IPV6_MIN_MTU: u32 = 1280;
/// What a veth that is smaller is set to: Ethernet's, in bytes.
const VETH_MTU: u32 = 1500;

/// One endpoint, being planned.
struct Work<'w> {
    wanted: &'w WantedEndpoint,
    place: Place,
    /// What is recorded; `None` of a new one.
    before: Option<RecordedEndpoint>,
    /// What is to be recorded.
    record: RecordedEndpoint,
}

impl Work<'_> {
    /// Whether an address was recorded: if so, its absence is drift.
    fn had(&self, address: &IpNet) -> bool {
        let before = self.before.as_ref();
        before.is_some_and(|before| before.addresses.contains(address))
    }

    /// Whether there was an address of a family.
    fn had_family(&self, of: IpAddr) -> bool {
        let before = self.before.as_ref();
        before.is_some_and(|before| first_of_family(&before.addresses, of).is_some())
    }

    fn had_prefix(&self, prefix: &IpNet) -> bool {
        let before = self.before.as_ref();
        before.is_some_and(|before| before.prefixes.contains(prefix))
    }

    fn owner(&self) -> Owner {
        Owner::Endpoint {
            id: self.record.id,
            dev: self.record.host_dev.clone(),
            endpoint_mac: self.record.endpoint_mac,
            host_mac: self.record.host_mac,
        }
    }
}

impl Planner<'_> {
    /// Makes an endpoint true, whatever is there of it already.
    pub(super) fn endpoint(&mut self, wanted: &WantedEndpoint) {
        let Some(node) = &self.world.recorded else {
            return;
        };
        let before = node.endpoints.get(&wanted.name).cloned();
        let mut draft = Draft::default();
        let record = self.wished_record(&mut draft, wanted, before.as_ref());
        let mut work = Work {
            wanted,
            place: Place::Endpoint(wanted.name.clone()),
            before,
            record,
        };
        let changes = work
            .before
            .as_ref()
            .map_or_else(Vec::new, |old| changes(old, wanted));
        draft.quiet = work.before.is_none();
        if work.before.as_ref().is_some_and(|before| !before.complete) {
            draft.note(Drift::HalfMade);
            draft.quiet = true;
        }
        let before = work.before.clone();
        if before.as_ref() != Some(&work.record) {
            let pending = RecordedEndpoint {
                complete: false,
                ..work.record.clone()
            };
            self.record(&mut draft, &work, pending);
        }
        draft.quiet |= changes
            .iter()
            .any(|change| matches!(change, Drift::Dev(_) | Drift::HostDev(_) | Drift::Home(_)));
        self.veth_gone(&mut draft, &work);
        self.routes_gone(&mut draft, &work);
        self.endpoint_namespace(&mut draft, &mut work);
        let made = self.veth(&mut draft, &work);
        self.host_side(&mut draft, &work);
        self.inside(&mut draft, &work);
        self.await_veth(&mut draft, &work, made);
        self.publish(&mut draft, &mut work);
        draft.quiet = false;
        changes.into_iter().for_each(|change| draft.note(change));
        self.finish_endpoint(draft, work);
    }

    fn finish_endpoint(&mut self, mut draft: Draft, work: Work<'_>) {
        let done = RecordedEndpoint {
            complete: true,
            ..work.record.clone()
        };
        let node = self.world.recorded.as_ref();
        if node.and_then(|node| node.endpoints.get(&work.wanted.name)) != Some(&done) {
            self.record(&mut draft, &work, done);
        }
        let name = &work.wanted.name;
        match &work.before {
            None => {
                let detail = Some(description(work.wanted));
                self.step(Action::Create, Object::Endpoint, name, detail, draft);
            }
            Some(_) => {
                // What only follows from another step of this plan is not told apart from it.
                draft.silent = draft.drift.is_empty();
                self.step(Action::Update, Object::Endpoint, name, None, draft);
            }
        }
    }

    fn record(&mut self, draft: &mut Draft, work: &Work<'_>, record: RecordedEndpoint) {
        let op = Op::RecordEndpoint(work.wanted.name.clone(), Box::new(record));
        self.act(draft, op);
    }

    /// What identifies the endpoint stays, all else is as wanted.
    fn wished_record(
        &mut self,
        draft: &mut Draft,
        wanted: &WantedEndpoint,
        before: Option<&RecordedEndpoint>,
    ) -> RecordedEndpoint {
        let identity = match before {
            Some(before) => before.clone(),
            None => self.new_record(draft, wanted),
        };
        let moved = identity.home != wanted.home;
        RecordedEndpoint {
            origin: wanted.origin,
            home: wanted.home.clone(),
            cookie: if moved { 0 } else { identity.cookie },
            dev: wanted.dev.clone(),
            host_dev: wanted.host_dev.clone(),
            addresses: wanted.addresses.clone(),
            prefixes: wanted.prefixes.clone(),
            fast_path: wanted.fast_path.unwrap_or(identity.fast_path),
            ..identity
        }
    }

    fn new_record(&mut self, draft: &mut Draft, wanted: &WantedEndpoint) -> RecordedEndpoint {
        let id = self
            .world
            .recorded
            .as_ref()
            .map_or_else(Default::default, |node| node.next_id);
        let next = netpath_common::EndpointId(id.0 + 1);
        self.act(draft, Op::SetNextId(next));
        RecordedEndpoint {
            origin: wanted.origin,
            home: wanted.home.clone(),
            cookie: 0,
            id,
            complete: false,
            ifindex: Ifindex(0),
            endpoint_mac: self.fresh.mac(),
            host_mac: self.fresh.mac(),
            dev: String::new(),
            host_dev: String::new(),
            addresses: Vec::new(),
            prefixes: Vec::new(),
            fast_path: FastPathWish::AsNode,
        }
    }

    /// Notes an interface outside that is not there.
    fn veth_gone(&mut self, draft: &mut Draft, work: &Work<'_>) {
        let dev = &work.record.host_dev;
        if host_link(&self.world, &work.record).is_some() {
            return;
        }
        match self.world.observed.node.link_with(work.record.host_mac) {
            Some(renamed) => {
                let to = renamed.name.clone();
                draft.note(Drift::InterfaceRenamed {
                    dev: dev.clone(),
                    to,
                });
            }
            None => draft.note(Drift::InterfaceGone(dev.clone())),
        }
    }

    /// Notes routes of the node that are not there, where they could be.
    fn routes_gone(&mut self, draft: &mut Draft, work: &Work<'_>) {
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
                if !has_other_source(self.initial, &route) {
                    draft.note(Drift::NodeRouteGone(route.dst));
                } else if self.sources == self.recorded_sources {
                    draft.note(Drift::NodeRouteSource(route.dst));
                }
            }
        }
    }

    /// Makes the namespace, unless it is somebody else's to make.
    fn endpoint_namespace(&mut self, draft: &mut Draft, work: &mut Work<'_>) {
        let name = &work.wanted.name;
        let state = self
            .world
            .namespace(&work.place)
            .map_or(NamespaceState::Absent, |n| n.state);
        let is_ours =
            work.record.cookie != 0 && state == NamespaceState::Present(work.record.cookie);
        if !is_ours {
            draft.note(Drift::NamespaceGone(match &work.wanted.home {
                Home::Made => name.clone(),
                Home::Given(path) => path.clone(),
            }));
            draft.quiet = true;
            match (&work.wanted.home, state) {
                (Home::Given(_), NamespaceState::Present(cookie)) => work.record.cookie = cookie,
                (Home::Given(_), _) => return,
                (Home::Made, state) => {
                    if state == NamespaceState::EmptyFile {
                        self.act(draft, Op::RemoveNamespace(work.place.clone()));
                    }
                    let op = Op::MakeNamespace {
                        place: work.place.clone(),
                        record: name.clone(),
                    };
                    // Its record says so already when it becomes visible.
                    let pending = RecordedEndpoint {
                        complete: false,
                        ..work.record.clone()
                    };
                    self.record(draft, work, pending);
                    self.act(draft, op);
                    let node = self.world.recorded.as_ref();
                    let recorded = node.and_then(|node| node.endpoints.get(name));
                    work.record.cookie = recorded.map_or(0, |recorded| recorded.cookie);
                }
            }
        }
        if work.wanted.home == Home::Made {
            self.sysctls(draft, &work.place, endpoint_sysctls());
        }
        self.loopback_up(draft, &work.place);
    }

    /// Makes the veth pair anew unless both of its ends are there. Returns whether it did.
    fn veth(&mut self, draft: &mut Draft, work: &Work<'_>) -> bool {
        let record = &work.record;
        let there = self.world.namespace(&work.place);
        let inside = there.and_then(|there| there.link(&record.dev));
        let outside = host_link(&self.world, record);
        let is_ours = |link: &Link| link.mac == Some(record.endpoint_mac);
        if outside.is_some() && inside.is_some_and(is_ours) {
            return false;
        }
        match inside {
            None => draft.note(Drift::InterfaceGone(record.dev.clone())),
            Some(link) if !is_ours(link) => draft.note(Drift::OtherMac(record.dev.clone())),
            Some(_) => {}
        }
        draft.quiet = true;
        // A moved or renamed end, or one whose MAC was changed, goes with the other.
        let rest = [
            (Place::Node, record.host_mac),
            (work.place.clone(), record.endpoint_mac),
        ];
        for (place, mac) in rest {
            let namespace = self.world.namespace(&place);
            let Some(dev) = namespace
                .and_then(|n| n.link_with(mac))
                .map(|link| link.name.clone())
            else {
                continue;
            };
            self.act(draft, Op::DeleteLink { place, dev, mac });
        }
        let op = Op::AddVeth {
            dev: record.host_dev.clone(),
            mac: record.host_mac,
            place: work.place.clone(),
            peer: record.dev.clone(),
            peer_mac: record.endpoint_mac,
        };
        self.act(draft, op);
        true
    }

    fn host_side(&mut self, draft: &mut Draft, work: &Work<'_>) {
        let record = &work.record;
        let dev = record.host_dev.clone();
        self.ipv6_mtu(draft, &Place::Node, &dev);
        self.sysctls(draft, &Place::Node, veth_sysctls(&dev));
        self.up(draft, &Place::Node, &dev);
        for (gateway, _) in gateways(&record.addresses) {
            self.gateway(draft, &dev, gateway, work.had_family(gateway));
        }
        for address in &record.addresses {
            let neighbour = (address.addr(), record.endpoint_mac);
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
        let link = self.world.observed.node.link(dev);
        if link.is_some_and(|link| link.addresses.contains(&address)) {
            return;
        }
        if recorded {
            draft.note(Drift::GatewayGone(gateway));
        }
        let op = Op::AddAddress {
            place: Place::Node,
            dev: dev.to_owned(),
            address,
            prefix_route: true,
        };
        self.act(draft, op);
    }

    /// An MTU too small for IPv6 takes all of it from an interface, its sysctls too.
    pub(super) fn ipv6_mtu(&mut self, draft: &mut Draft, place: &Place, dev: &str) {
        let link = self
            .world
            .namespace(place)
            .and_then(|there| there.link(dev));
        let Some(mtu) = link.map(|link| link.mtu).filter(|mtu| *mtu < IPV6_MIN_MTU) else {
            return;
        };
        draft.note(Drift::Mtu {
            dev: dev.to_owned(),
            mtu,
        });
        draft.quiet = true;
        let op = Op::SetMtu {
            place: place.clone(),
            dev: dev.to_owned(),
            mtu: VETH_MTU,
        };
        self.act(draft, op);
    }

    fn neighbour(
        &mut self,
        draft: &mut Draft,
        place: &Place,
        dev: &str,
        (address, mac): (IpAddr, Mac),
        recorded: bool,
    ) {
        let Some(there) = self.world.namespace(place) else {
            return;
        };
        let Some(ifindex) = there.link(dev).map(|link| link.ifindex) else {
            return;
        };
        let is_there = there
            .neighbours
            .iter()
            .any(|n| (n.ifindex, n.address, n.mac) == (ifindex, address, mac));
        if is_there {
            return;
        }
        if recorded {
            draft.note(Drift::NeighbourGone(address));
        }
        let op = Op::AddNeighbour {
            place: place.clone(),
            dev: dev.to_owned(),
            address,
            mac,
        };
        self.act(draft, op);
    }

    fn inside(&mut self, draft: &mut Draft, work: &Work<'_>) {
        let record = &work.record;
        let dev = record.dev.clone();
        self.ipv6_mtu(draft, &work.place, &dev);
        let disable_ipv6 = format!("ipv6/conf/{dev}/disable_ipv6");
        self.sysctls(draft, &work.place, vec![(disable_ipv6, "0")]);
        self.up(draft, &work.place, &dev);
        for &address in &record.addresses {
            self.inside_address(draft, work, address);
        }
        for (gateway, default) in gateways(&record.addresses) {
            self.default_route(draft, work, gateway, default);
            let neighbour = (gateway, record.host_mac);
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
            prefix_route: false,
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
        let route = NewRoute {
            dst,
            via: Some(via),
            dev: Some(work.record.dev.clone()),
            onlink: true,
            source,
            of_anybody: work.wanted.home == Home::Made,
        };
        self.act(draft, Op::AddRoute(work.place.clone(), route));
    }

    /// Whether an address was not there when planning began.
    fn misses_address(&self, work: &Work<'_>, address: Option<IpAddr>) -> bool {
        let there = self.initial.namespace(&work.place);
        let link = there.and_then(|there| there.link(&work.record.dev));
        !link.is_some_and(|link| link.addresses.iter().any(|net| Some(net.addr()) == address))
    }

    fn await_veth(&mut self, draft: &mut Draft, work: &Work<'_>, made: bool) {
        let set_up = |op: &Op| matches!(op, Op::SetUp { dev, .. } if dev != "lo");
        if !made && !draft.ops.iter().any(set_up) {
            return;
        }
        let ends = [
            (Place::Node, work.record.host_dev.clone()),
            (work.place.clone(), work.record.dev.clone()),
        ];
        for (place, dev) in ends {
            self.act(draft, Op::AwaitOperational { place, dev });
        }
    }

    /// The endpoint in the maps. Its interface becomes ready last: until then its packets are dropped.
    fn publish(&mut self, draft: &mut Draft, work: &mut Work<'_>) {
        let ifindex = self.world.ifindex(&work.record.host_dev);
        if ifindex == Ifindex(0) {
            return;
        }
        let id = work.record.id;
        self.register(draft, work, ifindex);
        let on = self
            .world
            .recorded
            .as_ref()
            .is_some_and(|node| node.fast_path);
        let on = work.record.fast_path.wants(on);
        self.programs(draft, &work.record.host_dev, &ENDPOINT, on);
        if self.world.observed.maps.devices.get(&id) != Some(&ifindex) {
            draft.note(Drift::EntryGone {
                map: "devices",
                key: id.0.to_string(),
            });
            self.act(draft, Op::SetDevice(id, work.record.host_dev.clone()));
        }
        let owner = work.owner();
        for address in work.record.addresses.clone() {
            let recorded = work.had(&address);
            self.entry(draft, recorded, address.addr(), &owner);
        }
        if !work.record.prefixes.is_empty() {
            self.feature(draft, FeatureBits::LOCAL_PREFIXES);
        }
        for prefix in work.record.prefixes.clone() {
            let recorded = work.had_prefix(&prefix);
            self.prefix_entry(draft, recorded, prefix, &owner);
        }
        let interface = self.world.observed.maps.interfaces.get(&ifindex);
        if !interface.is_some_and(|interface| interface.ready) {
            draft.note(Drift::NotReady(work.record.host_dev.clone()));
            self.act(draft, Op::SetReady(work.record.host_dev.clone()));
        }
        let old = work.record.ifindex;
        if old != Ifindex(0) && old != ifindex {
            let known = self.world.observed.maps.interfaces.get(&old);
            if known.is_some_and(|known| known.id == id) {
                self.act(draft, Op::Unregister(old));
            }
        }
        work.record.ifindex = ifindex;
    }

    fn register(&mut self, draft: &mut Draft, work: &Work<'_>, ifindex: Ifindex) {
        let record = &work.record;
        let wanted = Interface {
            kind: Some(InterfaceKind::Endpoint),
            ready: true,
            id: record.id,
            rp_filter: 0,
            dev: record.host_dev.clone(),
            endpoint: work.wanted.name.clone(),
        };
        let found = self.world.observed.maps.interfaces.get(&ifindex);
        let described = found.is_some_and(|found| {
            Interface {
                ready: true,
                ..found.clone()
            } == wanted
        });
        if described {
            return;
        }
        let key = ifindex.0.to_string();
        if record.ifindex == ifindex {
            draft.note(match found {
                Some(_) => Drift::EntryAltered {
                    map: "interfaces",
                    key,
                },
                None => Drift::EntryGone {
                    map: "interfaces",
                    key,
                },
            });
        }
        let op = Op::Register {
            dev: wanted.dev,
            kind: InterfaceKind::Endpoint,
            id: record.id,
            endpoint: wanted.endpoint,
            rp_filter: 0,
        };
        self.act(draft, op);
    }

    /// The node's routes to an endpoint: those of the addresses first, since those of the prefixes lead over them. The
    /// node speaks to it from an uplink's address, which is what a traceroute shows.
    fn node_routes(&self, work: &Work<'_>) -> Vec<NewRoute> {
        let record = &work.record;
        let route = |dst: IpNet, via: Option<IpAddr>| NewRoute {
            dst,
            via,
            dev: Some(record.host_dev.clone()),
            onlink: via.is_some(),
            source: self.sources.towards(dst.addr()),
            of_anybody: self.wanted.place == NodePlace::Lab,
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

    /// Takes away what kept endpoints and uplinks have no more, before anybody else is to have it.
    pub(super) fn retire(&mut self) {
        for wanted in &self.wanted.endpoints {
            let node = self.world.recorded.as_ref();
            let before = node
                .and_then(|node: &Recorded| node.endpoints.get(&wanted.name))
                .cloned();
            if let Some(before) = before {
                self.retire_endpoint(wanted, &before);
            }
        }
        for wanted in &self.wanted.uplinks {
            self.retire_uplink(wanted);
        }
    }

    fn retire_endpoint(&mut self, wanted: &WantedEndpoint, before: &RecordedEndpoint) {
        let mut draft = Draft {
            silent: true,
            quiet: true,
            ..Draft::default()
        };
        let place = Place::Endpoint(wanted.name.clone());
        let moved = before.home != wanted.home;
        if moved || before.dev != wanted.dev || before.host_dev != wanted.host_dev {
            self.remove_veth(&mut draft, before);
        }
        let surplus = |old: &[IpNet], new: &[IpNet]| -> Vec<IpNet> {
            old.iter()
                .filter(|net| !new.contains(net))
                .copied()
                .collect()
        };
        let addresses = surplus(&before.addresses, &wanted.addresses);
        let prefixes = surplus(&before.prefixes, &wanted.prefixes);
        self.withdraw(&mut draft, before, &addresses, &prefixes);
        for &address in &addresses {
            let there = self.world.namespace(&place);
            let link = there.and_then(|there| there.link(&before.dev));
            if link.is_some_and(|link| link.addresses.contains(&address)) {
                let op = Op::RemoveAddress {
                    place: place.clone(),
                    dev: before.dev.clone(),
                    address,
                };
                self.act(&mut draft, op);
            }
        }
        for address in addresses.iter().map(IpNet::addr) {
            self.forget_neighbour(&mut draft, &before.host_dev, address);
        }
        for dst in prefixes
            .into_iter()
            .chain(addresses.iter().map(|a| IpNet::from(a.addr())))
        {
            let routes = &self.world.observed.node.routes;
            if routes.iter().any(|route| route.ours && route.dst == dst) {
                self.act(&mut draft, Op::RemoveRoute(Place::Node, dst));
            }
        }
        self.step(Action::Update, Object::Endpoint, &wanted.name, None, draft);
    }
}

impl Planner<'_> {
    /// Forgets a neighbour on the host-side veth, if it is known there.
    fn forget_neighbour(&mut self, draft: &mut Draft, dev: &str, address: IpAddr) {
        let node = &self.world.observed.node;
        let ifindex = node.link(dev).map(|link| link.ifindex);
        let is_it = |found: &Neighbour| Some(found.ifindex) == ifindex && found.address == address;
        if node.neighbours.iter().any(is_it) {
            let op = Op::RemoveNeighbour {
                place: Place::Node,
                dev: dev.to_owned(),
                address,
            };
            self.act(draft, op);
        }
    }
}

/// The host-side veth, if it is there and is the one that netpath made: its MAC says so.
fn host_link<'w>(world: &'w World, record: &RecordedEndpoint) -> Option<&'w Link> {
    let link = world.observed.node.link(&record.host_dev);
    link.filter(|link| link.mac == Some(record.host_mac))
}

/// Whether the node has a route through an endpoint's veth.
fn has(world: &World, host: &Link, wanted: &NewRoute) -> bool {
    world.observed.node.routes.iter().any(|route| {
        route.dst == wanted.dst
            && route.via == wanted.via
            && route.ifindex == Some(host.ifindex)
            && route.source == wanted.source
    })
}

fn has_other_source(world: &World, wanted: &NewRoute) -> bool {
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

/// What the topology wants otherwise than it is recorded.
fn changes(before: &RecordedEndpoint, wanted: &WantedEndpoint) -> Vec<Drift> {
    let mut changes = Vec::new();
    if before.addresses != wanted.addresses {
        changes.push(Drift::Addresses(wanted.addresses.clone()));
    }
    if before.prefixes != wanted.prefixes {
        changes.push(Drift::Prefixes(wanted.prefixes.clone()));
    }
    if before.dev != wanted.dev {
        changes.push(Drift::Dev(wanted.dev.clone()));
    }
    if before.host_dev != wanted.host_dev {
        changes.push(Drift::HostDev(wanted.host_dev.clone()));
    }
    if before.home != wanted.home {
        changes.push(Drift::Home(match &wanted.home {
            Home::Made => wanted.name.clone(),
            Home::Given(path) => path.clone(),
        }));
    }
    changes
}

fn description(wanted: &WantedEndpoint) -> String {
    let prefixes = match wanted.prefixes.as_slice() {
        [] => String::new(),
        prefixes => format!(", prefixes {}", List(prefixes)),
    };
    format!(
        "{}{prefixes}, {} to {}",
        List(&wanted.addresses),
        wanted.dev,
        wanted.host_dev
    )
}
