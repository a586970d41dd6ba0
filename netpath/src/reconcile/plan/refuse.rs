//! What forbids to make a node as it is wanted: all of it, not only the first.

use std::collections::BTreeMap;

use ipnet::IpNet;
use netpath_common::{Ifindex, InterfaceKind};

use super::{
    super::{
        Framing, Home, NamespaceOwner, NamespaceState, Object, Place, Recorded, RecordedEndpoint,
        Refusal, Route, WantedEndpoint, WantedUplink, WireClaim, World, observed::Interface,
        wanted::WantedRoute,
    },
    Planner,
    held::holds,
    is_ipv6,
    names::{end_on_the_wire, is_ours},
    route::is_by,
};
use crate::model::NodePlace;

/// IPv6 forwards where this is on.
const ALL_IPV6: &str = "ipv6/conf/all/forwarding";

/// The endpoints that the programs know and whose host-side veth is there, without a record that proves their namespace: its
/// entry is gone, or it has another cookie. With each the veth's name.
#[must_use]
pub fn unproven(world: &World) -> BTreeMap<String, String> {
    let Some(node) = &world.recorded else {
        return BTreeMap::new();
    };
    let is_there = |ifindex: &Ifindex, interface: &Interface| {
        let mut links = world.observed.node.links.iter();
        links.any(|link| link.veth && link.ifindex == *ifindex && link.name == interface.dev)
    };
    // Of the entry in `interfaces` nothing is proven: the record of the very interface is.
    let is_recorded = |ifindex: &Ifindex| {
        let mut links = world.observed.node.links.iter();
        let link = links.find(|link| link.ifindex == *ifindex);
        let mac = link.and_then(|link| link.mac);
        node.endpoints.iter().any(|(name, record)| {
            let there = world.observed.endpoints.get(name);
            let is_its = there.is_some_and(|it| it.state == NamespaceState::Present(record.cookie));
            is_its && record.ifindex == *ifindex && mac == Some(record.host_mac)
        })
    };
    let is_proven = |interface: &Interface| {
        let record = node.endpoints.get(&interface.endpoint);
        let record = record.filter(|record| record.id == interface.id);
        let there = world.observed.endpoints.get(&interface.endpoint);
        record.is_some_and(|record| match there.map(|there| there.state) {
            // Whoever gave a namespace may have put another one there since.
            _ if matches!(record.home, Home::Given(_)) => true,
            Some(NamespaceState::Present(cookie)) => cookie == record.cookie,
            _ => true,
        })
    };
    let interfaces = world.observed.maps.interfaces.iter();
    let endpoints = interfaces.filter(|(ifindex, interface)| {
        interface.kind == Some(InterfaceKind::Endpoint)
            && is_there(ifindex, interface)
            && !is_proven(interface)
            && !is_recorded(ifindex)
    });
    let named = endpoints.map(|(_, found)| (found.endpoint.clone(), found.dev.clone()));
    named.collect()
}

fn has_ipv6(endpoint: &WantedEndpoint) -> bool {
    endpoint.addresses.iter().any(is_ipv6)
}

/// Whether a node was on a machine, or in what played one, that is no more.
pub(super) fn is_dead(world: &World) -> bool {
    let is_host = |node: &Recorded| node.place == NodePlace::Host;
    world.recorded.as_ref().is_some_and(is_host)
        && world.observed.node.state == NamespaceState::Absent
}

impl Planner<'_> {
    pub(super) fn refuse(&mut self) {
        self.refuse_node();
        if self.is_elsewhere() {
            return;
        }
        self.refuse_unproven();
        self.refuse_room();
        let wanted = self.wanted;
        for endpoint in &wanted.endpoints {
            self.refuse_namespace(endpoint);
        }
        for uplink in &wanted.uplinks {
            self.refuse_wire(uplink);
        }
        for endpoint in &wanted.endpoints {
            self.refuse_interfaces(endpoint);
        }
        self.refuse_names();
        self.refuse_shared();
        self.refuse_held();
        if wanted.place == NodePlace::Host {
            self.refuse_machine();
        }
    }

    fn recorded_node(&self) -> Option<&Recorded> {
        self.initial.recorded.as_ref()
    }

    fn recorded_endpoint(&self, name: &str) -> Option<&RecordedEndpoint> {
        self.recorded_node()?.endpoints.get(name)
    }

    /// Whether what is there under the node's name is not it, so that there is nothing to compare with.
    pub(super) fn is_elsewhere(&self) -> bool {
        let state = self.initial.observed.node.state;
        match (self.recorded_node(), self.wanted.place) {
            (Some(node), place) if node.place != place => true,
            (Some(node), NodePlace::Host) => state != NamespaceState::Present(node.cookie),
            (Some(node), NodePlace::Lab) => match state {
                NamespaceState::Absent | NamespaceState::EmptyFile => false,
                NamespaceState::Present(cookie) => cookie != node.cookie,
                NamespaceState::NotANamespace => true,
            },
            (None, NodePlace::Lab) => state != NamespaceState::Absent,
            (None, NodePlace::Host) => false,
        }
    }

    /// Refuses where what is there under the node's name is not it.
    pub(super) fn refuse_node(&mut self) {
        if !self.is_elsewhere() {
            return;
        }
        let name = self.wanted.name.clone();
        let state = self.initial.observed.node.state;
        let refusal = match (self.recorded_node(), self.wanted.place) {
            (Some(node), place) if node.place != place => Refusal::OtherPlace,
            (_, NodePlace::Host) if is_dead(self.initial) => Refusal::NamespaceDead,
            (None, NodePlace::Lab) if state == NamespaceState::EmptyFile => {
                Refusal::EmptyFile(name.clone())
            }
            (_, NodePlace::Host) => Refusal::OtherNamespace {
                name: self.initial.observed.elsewhere.clone(),
            },
            (_, NodePlace::Lab) => self.foreign_namespace(&name),
        };
        self.refuse_with(Object::Node, &name, refusal);
    }

    /// Whose a namespace is that is not this node's.
    fn foreign_namespace(&self, name: &str) -> Refusal {
        let name = name.to_owned();
        match self.initial.observed.owners.get(&name).cloned() {
            Some(NamespaceOwner::EndpointOf(node)) => Refusal::OnAnotherNode { name, node },
            Some(NamespaceOwner::Node(node)) => Refusal::NodesNamespace { name, node },
            Some(NamespaceOwner::Perhaps(node)) => {
                let what = format!("network namespace {name}");
                Refusal::PerhapsOnAnotherNode { what, node }
            }
            None if self.had_namespace(&name) => Refusal::NamespaceReplaced(name),
            None => Refusal::ForeignNamespace(name),
        }
    }

    /// Whether netpath made a namespace of that name for the node, or for an endpoint of it.
    fn had_namespace(&self, name: &str) -> bool {
        let is_named = |state| matches!(state, NamespaceState::Present(_));
        let endpoint = self
            .recorded_endpoint(name)
            .filter(|record| record.cookie != 0);
        match endpoint {
            Some(record) => {
                let place = Place::Endpoint(name.to_owned());
                let there = self.initial.namespace(&place);
                record.home == Home::Made && there.is_some_and(|there| is_named(there.state))
            }
            None => {
                let is_it = |node: &Recorded| node.place == NodePlace::Lab;
                name == self.wanted.name
                    && self.recorded_node().is_some_and(is_it)
                    && is_named(self.initial.observed.node.state)
            }
        }
    }

    /// Refuses where the programs know an endpoint that no record proves: nobody could tell any more what is netpath's.
    pub(super) fn refuse_unproven(&mut self) {
        for (name, dev) in self.unproven() {
            let refusal = Refusal::Unproven {
                name: name.clone(),
                dev,
            };
            self.refuse_with(Object::Endpoint, &name, refusal);
        }
    }

    fn unproven(&self) -> BTreeMap<String, String> {
        unproven(self.initial)
    }

    /// No endpoint's name may be a namespace that is not netpath's; one that is to be given must be there.
    pub(super) fn refuse_namespace(&mut self, wanted: &WantedEndpoint) {
        let place = Place::Endpoint(wanted.name.clone());
        let state = self
            .initial
            .namespace(&place)
            .map_or(NamespaceState::Absent, |n| n.state);
        let record = self.recorded_endpoint(&wanted.name);
        match &wanted.home {
            Home::Given(path) => {
                // One that is gone is told, and mended by nobody here.
                let was_there = record.is_some_and(|record| record.cookie != 0);
                if !was_there && !matches!(state, NamespaceState::Present(_)) {
                    let refusal = Refusal::NoNamespace(path.clone());
                    self.refuse_with(Object::Endpoint, &wanted.name, refusal);
                }
            }
            Home::Made => {
                let is_free = match state {
                    NamespaceState::Absent => true,
                    NamespaceState::EmptyFile => record.is_some_and(|record| record.cookie != 0),
                    NamespaceState::Present(cookie) => {
                        record.is_some_and(|record| record.cookie == cookie)
                    }
                    NamespaceState::NotANamespace => false,
                };
                if !is_free && !self.unproven().contains_key(&wanted.name) {
                    let refusal = match state {
                        NamespaceState::EmptyFile => Refusal::EmptyFile(wanted.name.clone()),
                        _ => self.foreign_namespace(&wanted.name),
                    };
                    self.refuse_with(Object::Endpoint, &wanted.name, refusal);
                }
            }
        }
    }

    /// A wire's namespace must be one that some record proves netpath's.
    fn refuse_wire(&mut self, wanted: &WantedUplink) {
        let Some(wire) = &wanted.wire else {
            return;
        };
        let place = Place::Wire(wire.name.clone());
        let state = self
            .initial
            .namespace(&place)
            .map_or(NamespaceState::Absent, |n| n.state);
        let is_ours = match state {
            // An empty one was made before its mount, as an interrupted `up` leaves it: nothing can be lost.
            NamespaceState::Absent | NamespaceState::EmptyFile => true,
            NamespaceState::Present(cookie) => {
                let own = self.recorded_node().is_some_and(|node| {
                    let mut uplinks = node.uplinks.values();
                    uplinks.any(|uplink| uplink.wire == wire.name && uplink.wire_cookie == cookie)
                });
                let claim = WireClaim::Recorded {
                    wire: wire.name.clone(),
                    cookie,
                };
                own || self.initial.observed.claims.contains(&claim)
            }
            NamespaceState::NotANamespace => false,
        };
        if !is_ours {
            let name = wire.namespace.clone();
            let mut claims = self.initial.observed.claims.iter();
            let perhaps = claims.find_map(|claim| match claim {
                WireClaim::Unknown(node) => Some(node.clone()),
                WireClaim::Recorded { .. } => None,
            });
            let refusal = match perhaps {
                Some(node) => {
                    let what = format!("network namespace {name}");
                    Refusal::PerhapsOnAnotherNode { what, node }
                }
                None => Refusal::ForeignNamespace(name),
            };
            self.refuse_with(Object::Uplink, &wanted.dev, refusal);
        }
        self.refuse_uplink_of_a_wire(wanted);
    }

    /// The device of an uplink on a wire may be one of netpath's only.
    fn refuse_uplink_of_a_wire(&mut self, wanted: &WantedUplink) {
        let Some(link) = self.initial.observed.node.link(&wanted.dev) else {
            return;
        };
        if is_ours(self.initial, link) {
            return;
        }
        let dev = wanted.dev.clone();
        // As [`Self::other_mac`]: its port is there, and its other end is not told.
        let record = self.recorded_node().and_then(|n| n.uplinks.get(&dev));
        let has_port = record.is_some_and(|record| {
            let wire = self.initial.namespace(&Place::Wire(record.wire.clone()));
            wire.is_some_and(|wire| wire.link_with(record.port_mac).is_some())
                && end_on_the_wire(self.initial, record).is_none()
        });
        let refusal = match record.filter(|_| has_port) {
            Some(record) => Refusal::OtherMac {
                dev,
                mac: record.mac,
            },
            None => Refusal::ForeignInterface {
                dev,
                netns: Some(self.wanted.name.clone()),
                key: "dev",
            },
        };
        self.refuse_with(Object::Uplink, &wanted.dev, refusal);
    }

    /// No device of an endpoint may be an interface that is not netpath's: its MAC says whose it is.
    pub(super) fn refuse_interfaces(&mut self, wanted: &WantedEndpoint) {
        if self.unproven().contains_key(&wanted.name) {
            return;
        }
        let record = self.recorded_endpoint(&wanted.name);
        if record.is_some_and(|record| self.lost_its_namespace(&wanted.name, record)) {
            return;
        }
        let outside = self.initial.observed.node.link(&wanted.host_dev);
        if outside.is_some_and(|link| !is_ours(self.initial, link)) {
            let refusal = self.other_mac(wanted);
            let refusal = refusal.unwrap_or_else(|| self.foreign_veth(&wanted.host_dev));
            self.refuse_with(Object::Endpoint, &wanted.name, refusal);
        }
        let place = Place::Endpoint(wanted.name.clone());
        let there = self.initial.namespace(&place);
        let Some(inside) = there.and_then(|there| there.link(&wanted.dev)) else {
            return;
        };
        let record = self.recorded_endpoint(&wanted.name);
        // Whatever its MAC: as the other end of netpath's own veth it goes with it.
        let is_ours = record.is_some_and(|record| {
            let outside = self.initial.observed.node.link_with(record.host_mac);
            inside.mac == Some(record.endpoint_mac)
                || outside.is_some_and(|outside| inside.other_end == Some(outside.ifindex))
        });
        if !is_ours {
            let refusal = Refusal::ForeignInterface {
                dev: wanted.dev.clone(),
                netns: Some(match &wanted.home {
                    Home::Made => wanted.name.clone(),
                    Home::Given(path) => path.clone(),
                }),
                key: "dev",
            };
            self.refuse_with(Object::Endpoint, &wanted.name, refusal);
        }
    }

    /// Where the other end of the endpoint's veth is there and is netpath's, the one outside has most likely been given
    /// another MAC. Most likely is not proven, so it is not touched.
    fn other_mac(&self, wanted: &WantedEndpoint) -> Option<Refusal> {
        let record = self.recorded_endpoint(&wanted.name)?;
        let there = self
            .initial
            .namespace(&Place::Endpoint(wanted.name.clone()))?;
        there.link_with(record.endpoint_mac)?;
        let (dev, mac) = (&wanted.host_dev, record.host_mac);
        (record.host_dev == *dev).then(|| Refusal::OtherMac {
            dev: dev.clone(),
            mac,
        })
    }

    /// What netpath needs of the machine and does not change.
    fn refuse_machine(&mut self) {
        let wanted = self.wanted;
        for uplink in &wanted.uplinks {
            self.refuse_uplink(uplink);
            self.refuse_place(uplink);
        }
        self.refuse_machine_of_endpoints();
        for route in &wanted.routes {
            self.refuse_route(route);
        }
    }

    /// What the endpoints need of the machine.
    pub(super) fn refuse_machine_of_endpoints(&mut self) {
        let wanted = self.wanted;
        if wanted.place != NodePlace::Host || wanted.endpoints.is_empty() {
            return;
        }
        if wanted.endpoints.iter().any(has_ipv6) {
            // IPv6 forwards between interfaces only where the whole namespace does.
            self.must_forward(Object::Node, &wanted.name, ALL_IPV6);
        }
        self.keep_advertised();
        for endpoint in &wanted.endpoints {
            let addresses = endpoint.addresses.iter().map(|a| IpNet::from(a.addr()));
            for net in addresses.chain(endpoint.prefixes.iter().copied()) {
                self.refuse_taken(&endpoint.name, net);
            }
        }
    }

    fn refuse_uplink(&mut self, wanted: &WantedUplink) {
        let Some(link) = self.initial.observed.node.link(&wanted.dev) else {
            let refusal = self.no_uplink(&wanted.dev);
            self.refuse_with(Object::Uplink, &wanted.dev, refusal);
            return;
        };
        let node = &self.initial.observed.node;
        let mut before = self.wanted.uplinks.iter();
        let mut before = before.by_ref().take_while(|other| *other != wanted);
        let other = before.find(|other| node.link(&other.dev).is_some_and(|it| it == link));
        if let Some(other) = other {
            let refusal = Refusal::SameInterface {
                dev: wanted.dev.clone(),
                other: other.dev.clone(),
            };
            self.refuse_with(Object::Uplink, &wanted.dev, refusal);
        }
        if let Framing::Unknown(hardware) = link.framing {
            let refusal = Refusal::UnknownFraming {
                dev: wanted.dev.clone(),
                hardware,
            };
            self.refuse_with(Object::Uplink, &wanted.dev, refusal);
        }
        if !link.up {
            let refusal = Refusal::UplinkDown(wanted.dev.clone());
            self.refuse_with(Object::Uplink, &wanted.dev, refusal);
        }
        let missing = wanted
            .addresses
            .iter()
            .filter(|address| !link.addresses.contains(address));
        for &address in missing.collect::<Vec<_>>() {
            let refusal = Refusal::NoAddress {
                dev: wanted.dev.clone(),
                address,
            };
            self.refuse_with(Object::Uplink, &wanted.dev, refusal);
        }
        let key = format!("ipv4/conf/{}/forwarding", link.name);
        self.must_forward(Object::Uplink, &wanted.dev, &key);
    }

    /// Why there is no interface of an uplink's name. Where it was renamed since it was recorded, the file is to say so: by
    /// that name it will be found the next time, too, and netpath renames no interface that it did not make.
    fn no_uplink(&self, dev: &str) -> Refusal {
        let record = self.recorded_node().and_then(|node| node.uplinks.get(dev));
        let mut links = self.initial.observed.node.links.iter();
        let link = record.and_then(|record| {
            links.find(|link| {
                link.ifindex == record.ifindex && link.mac.unwrap_or_default() == record.mac
            })
        });
        match link {
            Some(link) => Refusal::UplinkRenamed {
                dev: dev.to_owned(),
                to: link.name.clone(),
            },
            None => Refusal::NoUplink(dev.to_owned()),
        }
    }

    /// To the kernel every number but 0 is on.
    fn must_forward(&mut self, object: Object, name: &str, key: &str) {
        let observed = &self.initial.observed;
        let found = observed.node.sysctls.get(key);
        if found.is_some_and(|value| value != "0") {
            return;
        }
        let advertised = match key {
            ALL_IPV6 => observed.advertised.clone().into(),
            _ => Box::default(),
        };
        let refusal = Refusal::NotForwarding {
            key: key.to_owned(),
            found: found.cloned(),
            advertised,
        };
        self.refuse_with(object, name, refusal);
    }

    /// Where any interface is made to forward IPv6, the kernel takes away every default route that came by advertisements,
    /// unless accept_ra is 2. A new interface starts as `default` says.
    fn keep_advertised(&mut self) {
        let observed = &self.initial.observed;
        let is_on = |dev: &str| {
            let key = format!("ipv6/conf/{dev}/forwarding");
            observed
                .node
                .sysctls
                .get(&key)
                .is_some_and(|value| value != "0")
        };
        let starts_on = is_on("default");
        let mut endpoints = self.wanted.endpoints.iter().filter(|it| has_ipv6(it));
        let makes_forward =
            endpoints.any(|endpoint| match observed.node.link(&endpoint.host_dev) {
                Some(link) => !is_on(&link.name),
                None => !starts_on,
            });
        // Of one that does not forward at all yet that is told with how to make it.
        if makes_forward && is_on("all") && !observed.advertised.is_empty() {
            let refusal = Refusal::Advertised(observed.advertised.clone());
            let name = self.wanted.name.clone();
            self.refuse_with(Object::Node, &name, refusal);
        }
    }

    /// An address or a prefix of an endpoint is wholly the endpoint's: nothing of it may be the machine's own, or be
    /// routed elsewhere.
    fn refuse_taken(&mut self, endpoint: &str, net: IpNet) {
        // Its routes are there too, and not to be removed by hand.
        if self.holder(|other| holds(other, net)).is_some() {
            return;
        }
        let observed = &self.initial.observed.node;
        let own = observed.links.iter().find_map(|link| {
            let mut addresses = link.addresses.iter().map(IpNet::addr);
            addresses
                .find(|address| net.contains(address))
                .map(|address| (address, &link.name))
        });
        let mut refusals = Vec::new();
        if let Some((address, dev)) = own {
            refusals.push(Refusal::OwnAddress {
                net,
                address,
                dev: dev.clone(),
            });
        }
        let foreign = observed.routes.iter().filter(|route| !route.ours);
        let mut foreign = foreign.filter(|route| net.contains(&route.dst));
        // Without an address of the machine's: a whole prefix that it takes for itself.
        let local = &self.initial.observed.local;
        let mut local = local.iter();
        let local = local.find(|route| route.dst.contains(&net) || net.contains(&route.dst));
        let foreign = foreign
            .find(|route| own.is_none() || !route.kernel)
            .or(local.filter(|_| own.is_none()));
        if let Some(route) = foreign {
            refusals.push(
                self.perhaps_others(route)
                    .unwrap_or_else(|| Refusal::RoutedElsewhere {
                        net,
                        told: route.told.clone(),
                        text: (!route.kernel).then(|| route.text.as_str().into()),
                    }),
            );
        }
        if own.is_none() {
            refusals.extend(self.in_subnet(net));
        }
        for refusal in refusals {
            self.refuse_with(Object::Endpoint, endpoint, refusal);
        }
    }

    fn refuse_route(&mut self, wanted: &WantedRoute) {
        let (dst, Some(via)) = (wanted.dst, wanted.via) else {
            return;
        };
        if self
            .holder(|other| other.routes.get(&dst).is_some_and(|it| it.via.is_some()))
            .is_some()
        {
            return;
        }
        // What has led there once may be led elsewhere by a routing daemon.
        let recorded = self.recorded_node().and_then(|node| node.routes.get(&dst));
        if recorded.is_some_and(|record| record.via == wanted.via && record.dev == wanted.dev) {
            return;
        }
        let observed = &self.initial.observed;
        // One to the same next hop is used, unless it may be another node's to remove.
        let is_fit = |route: &Route| {
            route.via == Some(via)
                && is_by(&observed.node, route, wanted.dev.as_deref())
                && !(route.like_ours && observed.unreadable.is_some())
        };
        let mut routes = observed.node.routes.iter();
        let foreign =
            routes.find(|route| route.dst == dst && route.for_all && !route.ours && !is_fit(route));
        if let Some(route) = foreign {
            let refusal = self.perhaps_others(route);
            let refusal = refusal.unwrap_or_else(|| Refusal::ForeignRoute {
                told: route.told.clone(),
                text: route.text.clone(),
                by_one: route.via.is_some(),
            });
            self.refuse_with(Object::Route, &dst.to_string(), refusal);
        }
    }
}
