//! Taking away: what is wanted no more, what an interrupted run left, a whole node.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use netpath_common::{Bypass, Ifindex, InterfaceKind, Mac, Origin};

use super::{
    super::{
        Action, Home, Link, NamespaceState, Object, Op, OwnRoute, Place, Plan, RecordedEndpoint,
        RecordedRoute, RecordedUplink, Scope, Wanted, WireClaim, World, observed::taken_by,
        words::List,
    },
    Draft, Fresh, Planner,
    entries::{ENDPOINT, UPLINK},
    names::{own_uplink, own_veth},
    refuse::is_dead,
};
use crate::model::{Capacity, NodePlace};

/// What removes a node with all that netpath made for it, whatever became of it meanwhile. What is not provably
/// netpath's stays.
#[must_use]
pub fn down(name: &str, world: &World) -> Plan {
    let place = world
        .recorded
        .as_ref()
        .map_or(NodePlace::Lab, |node| node.place);
    let nothing = Wanted {
        name: name.to_owned(),
        place,
        forward_drop: false,
        fast_path: None,
        bypass: Bypass::default(),
        room: Capacity::default(),
        scope: Scope::All,
        uplinks: Vec::new(),
        routes: Vec::new(),
        endpoints: Vec::new(),
    };
    let mut fresh = Fresh::new(0);
    let mut planner = Planner::new(&nothing, world, &mut fresh);
    let is_lab = place == NodePlace::Lab;
    let state = world.observed.node.state;
    if is_dead(world) {
        planner.remains();
        return planner.plan;
    }
    planner.refuse_node();
    if world.recorded.is_none() || planner.is_elsewhere() {
        return planner.plan;
    }
    if is_lab && matches!(state, NamespaceState::Absent | NamespaceState::EmptyFile) {
        planner.remains();
    } else {
        planner.all();
    }
    planner.plan
}

impl Planner<'_> {
    /// Everything of a node, and the node.
    fn all(&mut self) {
        let Some(node) = self.world.recorded.clone() else {
            return;
        };
        let all = node.endpoints.iter();
        self.remove_endpoints(all.map(|(name, endpoint)| (name, endpoint, None)).collect());
        for (&dst, route) in &node.routes {
            self.remove_route(dst, route.clone());
        }
        for (dev, uplink) in &node.uplinks {
            self.remove_uplink(dev, uplink);
        }
        let mut draft = Draft::default();
        self.act(&mut draft, Op::RemoveNode);
        let name = self.wanted.name.clone();
        self.step(
            Action::Remove,
            Object::Node,
            &name,
            Some(String::new()),
            draft,
        );
    }

    /// What is left of a node whose namespace is gone, and with it its interfaces.
    pub(super) fn remains(&mut self) {
        let Some(node) = self.world.recorded.clone() else {
            return;
        };
        let mut draft = Draft::default();
        for (name, endpoint) in &node.endpoints {
            self.remove_namespace(&mut draft, name, endpoint);
        }
        for (dev, uplink) in &node.uplinks {
            self.remove_wire(&mut draft, dev, uplink);
            self.act(&mut draft, Op::ForgetUplink(dev.clone()));
        }
        let is_dead = is_dead(&self.world);
        self.act(&mut draft, Op::RemoveRemains);
        let name = self.wanted.name.clone();
        let detail = match is_dead {
            true => "what is left of it: its network namespace is gone",
            false => "what an interrupted run left of it",
        };
        let detail = detail.to_owned();
        self.step(Action::Remove, Object::Node, &name, Some(detail), draft);
    }

    /// What is recorded and wanted no more lets go of all that others may be to have: addresses, prefixes, routes. Its
    /// namespaces and interfaces stay for [`Self::removals`].
    pub(super) fn surplus(&mut self) {
        let Some(node) = self.world.recorded.clone() else {
            return;
        };
        for (name, endpoint) in self.surplus_endpoints() {
            self.release_endpoint(&name, &endpoint);
        }
        let wanted = self.wanted;
        let destinations: BTreeSet<IpNet> = wanted.routes.iter().map(|route| route.dst).collect();
        for (&dst, route) in &node.routes {
            if !destinations.contains(&dst) {
                self.remove_route(dst, route.clone());
            }
        }
        for (dev, uplink) in self.surplus_uplinks() {
            match uplink.made {
                true => self.release_uplink(&dev, &uplink),
                false => self.remove_uplink(&dev, &uplink),
            }
        }
    }

    /// Takes away what is wanted no more, and what nothing makes again as it was.
    pub(super) fn removals(&mut self) {
        let steps = std::mem::take(&mut self.plan.steps);
        let endpoints = self.surplus_endpoints();
        let told = endpoints.iter().map(|(name, endpoint)| {
            let detail = List(&endpoint.addresses).to_string();
            (name, endpoint, Some(detail))
        });
        let told: Vec<_> = told.collect();
        if !told.is_empty() {
            self.remove_endpoints(told);
        }
        for (dev, uplink) in self.surplus_uplinks() {
            self.remove_uplink(&dev, &uplink);
        }
        if !self.plan.steps.is_empty() {
            let mut draft = Draft {
                silent: true,
                ..Draft::default()
            };
            self.features(&mut draft);
            let name = self.wanted.name.clone();
            self.step(Action::Update, Object::Node, &name, None, draft);
        }
        self.plan.removals = std::mem::replace(&mut self.plan.steps, steps);
    }

    pub(super) fn surplus_endpoints(&self) -> Vec<(String, RecordedEndpoint)> {
        let wanted = self.wanted;
        let names: BTreeSet<&str> = wanted.endpoints.iter().map(|e| e.name.as_str()).collect();
        let recorded = self.world.recorded.iter().flat_map(|node| &node.endpoints);
        let surplus = recorded.filter(|(name, endpoint)| {
            let is_managed = match &wanted.scope {
                Scope::All => true,
                Scope::File => endpoint.origin == Origin::File,
                Scope::Endpoint(only) => name == &only,
            };
            is_managed && !names.contains(name.as_str())
        });
        let surplus = surplus.map(|(name, endpoint)| (name.clone(), endpoint.clone()));
        surplus.collect()
    }

    pub(super) fn surplus_uplinks(&self) -> Vec<(String, RecordedUplink)> {
        let recorded = self.world.recorded.iter().flat_map(|node| &node.uplinks);
        let surplus = recorded.filter(|(dev, _)| {
            let mut wanted = self.wanted.uplinks.iter();
            !wanted.any(|wanted| wanted.dev == **dev)
        });
        let surplus = surplus.map(|(dev, uplink)| (dev.clone(), uplink.clone()));
        surplus.collect()
    }

    pub(super) fn release_endpoint(&mut self, name: &str, endpoint: &RecordedEndpoint) {
        let mut draft = Draft {
            silent: true,
            ..Draft::default()
        };
        self.record_pending(&mut draft, name, endpoint);
        self.withdraw(
            &mut draft,
            endpoint,
            &endpoint.addresses,
            &endpoint.prefixes,
        );
        let link = own_veth(&self.world, name, endpoint);
        if let Some(dev) = link.filter(|link| link.up).map(|link| link.name.clone()) {
            // With it go its routes, and nothing passes it.
            self.set_down(&mut draft, &Place::Node, &dev);
        }
        self.step(Action::Update, Object::Endpoint, name, None, draft);
    }

    fn record_pending(&mut self, draft: &mut Draft, name: &str, endpoint: &RecordedEndpoint) {
        if endpoint.complete {
            let pending = RecordedEndpoint {
                complete: false,
                ..endpoint.clone()
            };
            let op = Op::RecordEndpoint(name.to_owned(), Box::new(pending));
            self.act(draft, op);
        }
    }

    fn release_uplink(&mut self, dev: &str, uplink: &RecordedUplink) {
        let mut draft = Draft {
            silent: true,
            ..Draft::default()
        };
        self.uplink_pending(&mut draft, dev, uplink);
        if let Some(link) = own_uplink(&self.world, uplink).cloned() {
            if link.up {
                self.set_down(&mut draft, &Place::Node, &link.name);
            }
            // IPv6 addresses go with its being up, unless it was down already.
            let left = self.world.observed.node.link(&link.name);
            let left = left.map_or(&[][..], |link| &link.addresses);
            let left = uplink.addresses.iter().filter(|net| left.contains(net));
            for address in left.copied().collect::<Vec<_>>() {
                let op = Op::RemoveAddress {
                    place: Place::Node,
                    dev: link.name.clone(),
                    address,
                };
                self.act(&mut draft, op);
            }
        }
        self.withdraw_addresses(&mut draft, uplink);
        self.step(Action::Update, Object::Uplink, dev, None, draft);
    }

    fn uplink_pending(&mut self, draft: &mut Draft, dev: &str, uplink: &RecordedUplink) {
        if uplink.complete {
            let pending = RecordedUplink {
                complete: false,
                ..uplink.clone()
            };
            let op = Op::RecordUplink(dev.to_owned(), Box::new(pending));
            self.act(draft, op);
        }
    }

    /// Takes away endpoints: all that leads to them, then their veths in one go, then what is left of each.
    fn remove_endpoints(&mut self, gone: Vec<(&String, &RecordedEndpoint, Option<String>)>) {
        let whole_node = gone.iter().all(|(_, _, detail)| detail.is_none());
        // A lab node's veths end with its namespace, all of them in one go.
        let with_node = whole_node && self.wanted.place == NodePlace::Lab;
        if !with_node {
            self.cut_off(&gone);
        }
        for (name, endpoint, detail) in gone {
            let mut draft = Draft::default();
            if !with_node {
                self.remove_veth(&mut draft, endpoint);
            }
            self.remove_namespace(&mut draft, name, endpoint);
            if !with_node {
                self.act(&mut draft, Op::ForgetEndpoint(name.clone()));
            }
            // Told also where nothing of it is left but its record.
            let detail = Some(detail.unwrap_or_default());
            self.told(Action::Remove, Object::Endpoint, name, detail, draft);
        }
    }

    fn cut_off(&mut self, gone: &[(&String, &RecordedEndpoint, Option<String>)]) {
        let mut draft = Draft {
            silent: true,
            ..Draft::default()
        };
        let mut veths = Vec::new();
        for (name, endpoint, _) in gone {
            self.record_pending(&mut draft, name, endpoint);
            self.withdraw(
                &mut draft,
                endpoint,
                &endpoint.addresses,
                &endpoint.prefixes,
            );
            if self.world.observed.maps.devices.contains_key(&endpoint.id) {
                self.act(&mut draft, Op::RemoveDevice(endpoint.id));
            }
            let link = self.world.observed.node.link_with(endpoint.host_mac);
            veths.extend(link.map(|link| (link.name.clone(), endpoint.host_mac)));
        }
        if !veths.is_empty() {
            self.act(&mut draft, Op::DeleteVeths(veths));
        }
        let name = self.wanted.name.clone();
        self.step(Action::Update, Object::Node, &name, None, draft);
    }

    /// As [`Planner::step`], also without an operation.
    fn told(
        &mut self,
        action: Action,
        object: Object,
        name: &str,
        detail: Option<String>,
        draft: Draft,
    ) {
        self.plan.steps.push(super::Step {
            change: Some(super::Change {
                action,
                object,
                node: self.wanted.name.clone(),
                name: name.to_owned(),
                detail: detail.unwrap_or_default(),
            }),
            object: (object, name.to_owned()),
            drift: draft.drift,
            ops: draft.ops,
        });
    }

    /// Takes addresses and prefixes of an endpoint out of the maps, as far as they are its own there.
    pub(super) fn withdraw(
        &mut self,
        draft: &mut Draft,
        endpoint: &RecordedEndpoint,
        addresses: &[IpNet],
        prefixes: &[IpNet],
    ) {
        for &prefix in prefixes {
            let route = self.world.observed.maps.routes.get(&prefix);
            if route.is_some_and(|route| route.endpoint.id == endpoint.id) {
                self.act(draft, Op::RemovePrefix(prefix));
            }
        }
        for address in addresses.iter().map(IpNet::addr) {
            let entry = self.world.observed.maps.endpoints.get(&address);
            if entry.is_some_and(|entry| entry.id == endpoint.id) {
                self.act(draft, Op::RemoveEntry(address));
            }
        }
    }

    /// Takes away an end of a veth pair that is netpath's by its MAC, and with it the other.
    pub(super) fn delete_end(&mut self, draft: &mut Draft, place: Place, mac: Mac) {
        let link = self.world.namespace(&place).and_then(|n| n.link_with(mac));
        if let Some(dev) = link.map(|link| link.name.clone()) {
            self.act(draft, Op::DeleteLink { place, dev, mac });
        }
    }

    /// Takes away an endpoint's veth pair, wherever its ends are and whatever they are called: their MACs prove them.
    pub(super) fn remove_veth(&mut self, draft: &mut Draft, endpoint: &RecordedEndpoint) {
        self.delete_end(draft, Place::Node, endpoint.host_mac);
        if let Some(place) = self.place_of(endpoint) {
            self.delete_end(draft, place, endpoint.endpoint_mac);
        }
        // The programs went with the interface; what is left of them are pins, or the next one's of that name.
        let node = self.world.recorded.iter();
        let mut others = node.flat_map(|node| node.endpoints.values());
        let is_taken =
            others.any(|other| other.id != endpoint.id && other.host_dev == endpoint.host_dev);
        for program in ENDPOINT.iter().copied().filter(|_| !is_taken) {
            let pin = (program, endpoint.host_dev.clone());
            if self.world.observed.link_pins.contains(&pin) {
                self.act(draft, Op::Detach(program, pin.1));
            }
        }
        // One that was never finished has no index in its record yet.
        let known = self.world.observed.maps.interfaces.iter();
        let known = known.filter(|(_, known)| {
            known.kind == Some(InterfaceKind::Endpoint) && known.id == endpoint.id
        });
        for ifindex in known.map(|(ifindex, _)| *ifindex).collect::<Vec<_>>() {
            self.act(draft, Op::Unregister(ifindex));
        }
    }

    /// The namespace of a recorded endpoint, if it is there and is the recorded one.
    fn place_of(&self, endpoint: &RecordedEndpoint) -> Option<Place> {
        let node = self.world.recorded.as_ref()?;
        let (name, _) = node
            .endpoints
            .iter()
            .find(|(_, found)| found.id == endpoint.id)?;
        let namespace = self.world.observed.endpoints.get(name)?;
        let is_it =
            endpoint.cookie != 0 && namespace.state == NamespaceState::Present(endpoint.cookie);
        is_it.then(|| Place::Endpoint(name.clone()))
    }

    /// Takes away the namespace that netpath made for an endpoint, or the empty file of one that was never finished.
    fn remove_namespace(&mut self, draft: &mut Draft, name: &str, endpoint: &RecordedEndpoint) {
        let state = self
            .world
            .observed
            .endpoints
            .get(name)
            .map_or(NamespaceState::Absent, |n| n.state);
        let is_ours = match state {
            NamespaceState::EmptyFile => endpoint.cookie != 0,
            NamespaceState::Present(cookie) => cookie == endpoint.cookie,
            NamespaceState::Absent | NamespaceState::NotANamespace => false,
        };
        if endpoint.home == Home::Made && is_ours {
            self.act(draft, Op::RemoveNamespace(Place::Endpoint(name.to_owned())));
        }
    }

    fn remove_route(&mut self, dst: IpNet, route: RecordedRoute) {
        let mut draft = Draft::default();
        if self.world.observed.maps.routes.contains_key(&dst) {
            self.act(&mut draft, Op::RemovePrefix(dst));
        }
        if route.made {
            self.remove_own_routes(&mut draft, dst);
            self.remove_own_hop(&mut draft, dst, &route);
        }
        self.act(&mut draft, Op::ForgetRoute(dst));
        let detail = Some(String::new());
        self.step(
            Action::Remove,
            Object::Route,
            &dst.to_string(),
            detail,
            draft,
        );
    }

    pub(super) fn remove_own_routes(&mut self, draft: &mut Draft, dst: IpNet) {
        for own in self.world.observed.node.own_routes(dst) {
            self.act(draft, Op::RemoveRoute(Place::Node, own));
        }
    }

    /// Of IPv6 the kernel makes one route with several next hops of netpath's and what somebody adds beside it. The protocol
    /// number goes with the next hop, and only that is removed.
    pub(super) fn remove_own_hop(&mut self, draft: &mut Draft, dst: IpNet, route: &RecordedRoute) {
        let dev = route.dev.as_ref();
        let ifindex = dev.and_then(|dev| self.world.observed.node.link(dev));
        let ifindex = ifindex.map(|link| link.ifindex);
        let mut routes = self.world.observed.node.routes.iter();
        if routes.any(|route| route.dst == dst && route.hops.len() > 1) {
            let own = OwnRoute {
                dst,
                via: route.via,
                ifindex,
                source: None,
            };
            self.act(draft, Op::RemoveRoute(Place::Node, own));
        }
    }

    fn remove_uplink(&mut self, dev: &str, uplink: &RecordedUplink) {
        let mut draft = Draft::default();
        self.uplink_pending(&mut draft, dev, uplink);
        self.withdraw_uplink(&mut draft, dev, uplink);
        self.act(&mut draft, Op::ForgetUplink(dev.to_owned()));
        self.step(
            Action::Remove,
            Object::Uplink,
            dev,
            Some(String::new()),
            draft,
        );
    }

    /// Takes away all of an uplink but its record, which says that it is nowhere.
    pub(super) fn drop_uplink(&mut self, draft: &mut Draft, dev: &str, uplink: &RecordedUplink) {
        self.withdraw_uplink(draft, dev, uplink);
        let nowhere = RecordedUplink {
            wire_cookie: 0,
            ifindex: Ifindex(0),
            clsact_made: false,
            ..uplink.clone()
        };
        let op = Op::RecordUplink(dev.to_owned(), Box::new(nowhere));
        self.act(draft, op);
    }

    fn withdraw_uplink(&mut self, draft: &mut Draft, dev: &str, uplink: &RecordedUplink) {
        for &program in UPLINK {
            let pin = (program, dev.to_owned());
            let runs = (uplink.ifindex, program);
            let runs = self.world.observed.attached.contains(&runs);
            if runs || self.world.observed.link_pins.contains(&pin) {
                self.take_off(draft, program, dev);
            }
        }
        self.withdraw_addresses(draft, uplink);
        if self
            .world
            .observed
            .maps
            .interfaces
            .contains_key(&uplink.ifindex)
        {
            self.act(draft, Op::Unregister(uplink.ifindex));
        }
        let link = self.world.observed.node.link_with(uplink.mac);
        if let Some(link) = link.filter(|_| uplink.made) {
            let op = Op::DeleteLink {
                place: Place::Node,
                dev: link.name.clone(),
                mac: uplink.mac,
            };
            self.act(draft, op);
        }
        self.remove_wire(draft, dev, uplink);
    }

    /// Takes the entries of an uplink's addresses out of the maps, as far as nobody else has them by now, nor the machine
    /// itself.
    fn withdraw_addresses(&mut self, draft: &mut Draft, uplink: &RecordedUplink) {
        let kept = self.wanted.uplinks.iter().flat_map(|kept| &kept.addresses);
        let kept: BTreeSet<IpAddr> = kept.flat_map(taken_by).collect();
        for address in uplink.addresses.iter().flat_map(taken_by) {
            let entry = self.world.observed.maps.endpoints.get(&address);
            let is_its = entry.is_some_and(|entry| entry.ifindex == Ifindex(0));
            let is_own = self.world.observed.own.contains(&address);
            if is_its && !kept.contains(&address) && !is_own {
                self.act(draft, Op::RemoveEntry(address));
            }
        }
    }

    /// Whether somebody else has a port on a wire.
    fn has_others(&self, wire: &str) -> bool {
        let own = |link: &Link| {
            let mut uplinks = self
                .world
                .recorded
                .iter()
                .flat_map(|node| node.uplinks.values());
            uplinks.any(|uplink| link.mac == Some(uplink.port_mac))
        };
        let links = self
            .world
            .observed
            .wires
            .get(wire)
            .map_or(&[][..], |wire| &wire.links);
        let mut ports = links.iter().filter(|link| link.controller != Ifindex(0));
        ports.any(|port| !own(port))
    }

    /// Takes away the wire's namespace when nobody else speaks of it. The record proves it netpath's, so it goes after
    /// it. A node that cannot be read may speak of it: then it stays.
    fn remove_wire(&mut self, draft: &mut Draft, dev: &str, uplink: &RecordedUplink) {
        if uplink.wire.is_empty() || uplink.wire_cookie == 0 {
            return;
        }
        let is_claimed = self.world.observed.claims.iter().any(|claim| match claim {
            WireClaim::Recorded { wire, cookie } => {
                (wire, *cookie) == (&uplink.wire, uplink.wire_cookie)
            }
            WireClaim::Unknown(_) => self.has_others(&uplink.wire),
        });
        let node = self.world.recorded.as_ref();
        let is_shared = node.is_some_and(|node| {
            node.uplinks.iter().any(|(other, record)| {
                other != dev
                    && (&record.wire, record.wire_cookie) == (&uplink.wire, uplink.wire_cookie)
            })
        });
        let state = self
            .world
            .observed
            .wires
            .get(&uplink.wire)
            .map(|wire| wire.state);
        let is_it = match state {
            Some(NamespaceState::Present(cookie)) => cookie == uplink.wire_cookie,
            Some(NamespaceState::EmptyFile) => true,
            Some(NamespaceState::Absent | NamespaceState::NotANamespace) | None => false,
        };
        if is_it && !is_claimed && !is_shared {
            let place = Place::Wire(uplink.wire.clone());
            self.act(draft, Op::RemoveNamespace(place));
        }
    }
}
