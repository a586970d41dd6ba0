//! What an operation changes, and what the kernel changes because of it. Planning goes by this, so it says no more than
//! what a later step depends on.

mod maps;

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::{Bypass, EndpointId, Ifindex, Mac};

use super::{
    Link, Maps, Namespace, NamespaceState, Neighbour, NewRoute, Op, Place, Recorded, Route, World,
};
use crate::model::{NodePlace, is_forwardable};

/// The first of the indexes and cookies that stand for what is yet to be made: far above those that the kernel gives.
const UNMADE: u32 = 1 << 30;

/// The MTU of a new veth, in bytes (`ETH_DATA_LEN` in linux/if_ether.h).
const ETHERNET_MTU: u32 = 1500;

impl World {
    /// The namespace of a place.
    pub fn namespace(&self, place: &Place) -> Option<&Namespace> {
        match place {
            Place::Node => Some(&self.observed.node),
            Place::Endpoint(name) => self.observed.endpoints.get(name),
            Place::Wire(name) => self.observed.wires.get(name),
        }
    }

    fn namespace_mut(&mut self, place: &Place) -> &mut Namespace {
        match place {
            Place::Node => &mut self.observed.node,
            Place::Endpoint(name) => self.observed.endpoints.entry(name.clone()).or_default(),
            Place::Wire(name) => self.observed.wires.entry(name.clone()).or_default(),
        }
    }

    /// The index of one of the node's interfaces; 0 where there is none of that name.
    pub(in crate::reconcile) fn ifindex(&self, dev: &str) -> Ifindex {
        let link = self.observed.node.link(dev);
        link.map_or(Ifindex(0), |link| link.ifindex)
    }

    /// Does one operation in this world.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::RemoveRemains => self.without_node(),
            Op::MakeNode { place, fast_path } => self.make_node(*place, *fast_path),
            Op::ReplacePrograms => self.observed.programs_current = true,
            Op::Grow => self.observed.has_room = true,
            Op::MendSettings => self.observed.settings_sound = true,
            Op::RemoveNode => self.remove_node(),
            Op::WishFastPath(_)
            | Op::SetForwardPolicy { .. }
            | Op::NoteConfigured
            | Op::Accept(_)
            | Op::SetNextId(_)
            | Op::RecordEndpoint(..)
            | Op::ForgetEndpoint(_)
            | Op::RecordUplink(..)
            | Op::ForgetUplink(_)
            | Op::RecordRoute(..)
            | Op::ForgetRoute(_) => self.apply_to_record(op),
            Op::MakeNamespace { place, record } => self.make_namespace(place, record),
            Op::JoinWire { dev, wire } => self.join_wire(dev, wire),
            Op::RemoveNamespace(place) => self.remove_namespace(place),
            Op::SetSysctl { place, key, value } => self.set_sysctl(place, key, value),
            Op::AddVeth { .. }
            | Op::AddBridge { .. }
            | Op::SetController { .. }
            | Op::DeleteLink { .. }
            | Op::DeleteVeths(_)
            | Op::SetUp { .. }
            | Op::SetDown { .. }
            | Op::Rename { .. }
            | Op::SetMtu { .. }
            | Op::SetMac { .. }
            | Op::AwaitOperational { .. } => self.apply_to_link(op),
            Op::AddAddress {
                place,
                dev,
                address,
                ..
            } => {
                let (address, place) = (*address, place.clone());
                self.change_link(&place, dev, |link| link.addresses.push(address));
                if place == Place::Node && is_forwardable(address.addr()) {
                    self.observed.own.insert(address.addr());
                }
            }
            Op::RemoveAddress {
                place,
                dev,
                address,
            } => self.remove_address(place, dev, *address),
            Op::AddNeighbour {
                place,
                dev,
                address,
                mac,
            } => self.add_neighbour(place, dev, *address, *mac),
            Op::RemoveNeighbour {
                place,
                dev,
                address,
            } => {
                let namespace = self.namespace_mut(place);
                let ifindex = namespace.link(dev).map(|link| link.ifindex);
                namespace
                    .neighbours
                    .retain(|found| Some(found.ifindex) != ifindex || found.address != *address);
            }
            Op::AddRoute(place, route) => self.add_route(place, route),
            Op::RemoveRoute(place, dst) => self
                .namespace_mut(place)
                .routes
                .retain(|route| !(route.ours && route.dst == *dst)),
            Op::SetFeatures(features) => self.observed.maps.features = *features,
            Op::Register(_)
            | Op::Unregister(_)
            | Op::Unretire(_)
            | Op::SetReady(_)
            | Op::SetDevice(..)
            | Op::RemoveDevice(_)
            | Op::SetEntry(..)
            | Op::RemoveEntry(_)
            | Op::SetPrefix(..)
            | Op::RemovePrefix(_) => self.apply_to_maps(op),
            Op::Attach(program, dev) => self.attach(*program, dev),
            Op::Detach(program, dev) => {
                let ifindex = self.ifindex(dev);
                self.observed.attached.remove(&(ifindex, *program));
                self.observed.loose.remove(&(ifindex, *program));
                self.observed.link_pins.remove(&(*program, dev.clone()));
            }
        }
    }

    fn make_node(&mut self, place: NodePlace, fast_path: bool) {
        if place == NodePlace::Lab {
            self.observed.node = self.new_namespace();
            self.observed.own.clear();
        }
        let cookie = match self.observed.node.state {
            NamespaceState::Present(cookie) => cookie,
            _ => 0,
        };
        self.observed.maps = Maps::default();
        self.observed.programs_current = true;
        self.observed.has_room = true;
        self.observed.settings_sound = true;
        self.observed.overwritten.clear();
        self.recorded = Some(Recorded {
            place,
            cookie,
            fast_path,
            forward_drop: false,
            configured: false,
            bypass: Bypass::default(),
            next_id: EndpointId(1),
            endpoints: Default::default(),
            uplinks: Default::default(),
            routes: Default::default(),
        });
    }

    fn remove_node(&mut self) {
        let lab = self
            .recorded
            .as_ref()
            .is_some_and(|node| node.place == NodePlace::Lab);
        if lab {
            let indexes: Vec<Ifindex> = self
                .observed
                .node
                .links
                .iter()
                .map(|link| link.ifindex)
                .collect();
            for ifindex in indexes {
                self.remove_link(&Place::Node, ifindex);
            }
            self.observed.node = Namespace::default();
            self.observed.own.clear();
        }
        self.without_node();
    }

    fn without_node(&mut self) {
        self.recorded = None;
        self.observed.maps = Maps::default();
        self.observed.attached.clear();
        self.observed.loose.clear();
        self.observed.link_pins.clear();
        if self.observed.node.state == NamespaceState::EmptyFile {
            self.observed.node = Namespace::default();
        }
    }

    fn apply_to_record(&mut self, op: &Op) {
        let overwritten = &mut self.observed.overwritten;
        let mut forget = |map, key: String| {
            overwritten.remove(&(map, key));
        };
        match op {
            Op::RecordEndpoint(name, _) | Op::ForgetEndpoint(name) => {
                forget("endpoint_records", name.clone());
            }
            Op::RecordUplink(dev, _) | Op::ForgetUplink(dev) => {
                forget("uplink_records", dev.clone());
            }
            Op::RecordRoute(dst, _) | Op::ForgetRoute(dst) => {
                forget("route_records", dst.to_string());
            }
            _ => {}
        }
        let Some(node) = &mut self.recorded else {
            return;
        };
        match op {
            Op::WishFastPath(on) => node.fast_path = *on,
            Op::SetForwardPolicy { drop } => {
                node.forward_drop = *drop;
                self.observed.forward_drop = Some([*drop; 2]);
            }
            Op::NoteConfigured => node.configured = true,
            Op::Accept(bypass) => node.bypass = *bypass,
            Op::SetNextId(id) => node.next_id = *id,
            Op::RecordEndpoint(name, record) => {
                node.endpoints.insert(name.clone(), (**record).clone());
            }
            Op::ForgetEndpoint(name) => drop(node.endpoints.remove(name)),
            Op::RecordUplink(dev, record) => {
                node.uplinks.insert(dev.clone(), (**record).clone());
            }
            Op::ForgetUplink(dev) => drop(node.uplinks.remove(dev)),
            Op::RecordRoute(dst, record) => drop(node.routes.insert(*dst, *record)),
            Op::ForgetRoute(dst) => drop(node.routes.remove(dst)),
            _ => {}
        }
    }

    /// A cookie that no namespace has.
    fn new_cookie(&self) -> u64 {
        let all = std::iter::once(&self.observed.node)
            .chain(self.observed.endpoints.values())
            .chain(self.observed.wires.values());
        let largest = all.map(|namespace| match namespace.state {
            NamespaceState::Present(cookie) => cookie,
            _ => 0,
        });
        largest.fold(u64::from(UNMADE), u64::max) + 1
    }

    /// A namespace with nothing but its loopback device, which is down.
    fn new_namespace(&self) -> Namespace {
        Namespace {
            state: NamespaceState::Present(self.new_cookie()),
            links: vec![Link {
                ifindex: Ifindex(1),
                name: "lo".into(),
                mac: Some(Mac::default()),
                veth: false,
                up: false,
                mtu: 65_536,
                controller: Ifindex(0),
                other_end: None,
                xdp: false,
                addresses: Vec::new(),
            }],
            ..Namespace::default()
        }
    }

    fn make_namespace(&mut self, place: &Place, record: &str) {
        let namespace = self.new_namespace();
        let NamespaceState::Present(cookie) = namespace.state else {
            return;
        };
        *self.namespace_mut(place) = namespace;
        let Some(node) = &mut self.recorded else {
            return;
        };
        match place {
            Place::Endpoint(_) => {
                if let Some(endpoint) = node.endpoints.get_mut(record) {
                    endpoint.cookie = cookie;
                }
            }
            Place::Wire(_) => {
                if let Some(uplink) = node.uplinks.get_mut(record) {
                    uplink.wire_cookie = cookie;
                }
            }
            Place::Node => {}
        }
    }

    fn join_wire(&mut self, dev: &str, wire: &str) {
        let state = self.observed.wires.get(wire).map(|wire| wire.state);
        if let Some(NamespaceState::Present(cookie)) = state
            && let Some(node) = &mut self.recorded
            && let Some(uplink) = node.uplinks.get_mut(dev)
        {
            uplink.wire_cookie = cookie;
        }
    }

    fn remove_namespace(&mut self, place: &Place) {
        let links = &self.namespace_mut(place).links;
        let indexes: Vec<Ifindex> = links.iter().map(|link| link.ifindex).collect();
        for ifindex in indexes {
            self.remove_link(place, ifindex);
        }
        *self.namespace_mut(place) = Namespace::default();
    }

    fn set_sysctl(&mut self, place: &Place, key: &str, value: &str) {
        let sysctls = &mut self.namespace_mut(place).sysctls;
        sysctls.insert(key.to_owned(), value.to_owned());
        // Both write themselves to every interface (inet_forward_change, addrconf_fixup_forwarding).
        let family = match key {
            "ipv4/ip_forward" => "ipv4/conf/",
            "ipv6/conf/all/forwarding" => "ipv6/conf/",
            _ => return,
        };
        for (key, other) in sysctls.iter_mut() {
            if key.starts_with(family) && key.ends_with("/forwarding") {
                value.clone_into(other);
            }
        }
    }

    /// The other end of a veth pair of netpath's: where it is, its MAC, and its name there if that is recorded.
    fn peer(&self, place: &Place, mac: Mac) -> Option<(Place, Mac, String)> {
        let node = self.recorded.as_ref()?;
        let endpoints = node.endpoints.iter().map(|(name, endpoint)| {
            let place = Place::Endpoint(name.clone());
            let dev = endpoint.dev.clone();
            (endpoint.host_mac, place, endpoint.endpoint_mac, dev)
        });
        let uplinks = node.uplinks.values().filter(|uplink| uplink.made);
        let uplinks = uplinks.map(|uplink| {
            let place = Place::Wire(uplink.wire.clone());
            (uplink.mac, place, uplink.port_mac, String::new())
        });
        endpoints
            .chain(uplinks)
            .find_map(|(here, other, there, dev)| {
                if *place == Place::Node && mac == here {
                    Some((other, there, dev))
                } else if *place == other && mac == there {
                    Some((Place::Node, here, String::new()))
                } else {
                    None
                }
            })
    }

    /// Where the other end of a veth is, and its index.
    fn other_end(&self, place: &Place, link: &Link) -> Option<(Place, Ifindex)> {
        if *place != Place::Node {
            return Some((Place::Node, link.other_end?));
        }
        let endpoints = self.observed.endpoints.iter();
        let endpoints = endpoints.map(|(name, there)| (Place::Endpoint(name.clone()), there));
        let wires = self.observed.wires.iter();
        let wires = wires.map(|(name, there)| (Place::Wire(name.clone()), there));
        endpoints.chain(wires).find_map(|(place, there)| {
            let is_it = |other: &&Link| other.other_end == Some(link.ifindex);
            let other = there.links.iter().find(is_it)?;
            Some((place, other.ifindex))
        })
    }

    /// Takes away an interface, its peer, and all that the kernel keeps for them.
    fn remove_link(&mut self, place: &Place, ifindex: Ifindex) {
        let Some(link) = self.remove_one_link(place, ifindex) else {
            return;
        };
        if let Some((other, index)) = self.other_end(place, &link) {
            self.remove_one_link(&other, index);
            return;
        }
        let Some((other, mac, dev)) = link.mac.and_then(|mac| self.peer(place, mac)) else {
            return;
        };
        // Under its own name it goes whatever MAC somebody has given it.
        let there = self.namespace(&other);
        let peer = there.and_then(|there| there.link_with(mac).or_else(|| there.link(&dev)));
        if let Some(index) = peer.map(|peer| peer.ifindex) {
            self.remove_one_link(&other, index);
        }
    }

    fn remove_one_link(&mut self, place: &Place, ifindex: Ifindex) -> Option<Link> {
        let namespace = self.namespace_mut(place);
        let position = namespace
            .links
            .iter()
            .position(|link| link.ifindex == ifindex)?;
        let link = namespace.links.remove(position);
        namespace
            .routes
            .retain(|route| route.ifindex != Some(ifindex));
        namespace
            .neighbours
            .retain(|neighbour| neighbour.ifindex != ifindex);
        let scope = format!("/conf/{}/", link.name);
        namespace.sysctls.retain(|key, _| !key.contains(&scope));
        for address in &link.addresses {
            forget_source(namespace, address.addr());
        }
        if *place == Place::Node {
            self.forget_own(&link.addresses);
            self.observed
                .attached
                .retain(|(index, _)| *index != ifindex);
            self.observed.loose.retain(|(index, _)| *index != ifindex);
            // The kernel takes such an entry out itself (`dev_map_notification`).
            self.observed
                .maps
                .devices
                .retain(|_, index| *index != ifindex);
        }
        Some(link)
    }

    fn change_link(&mut self, place: &Place, dev: &str, change: impl FnOnce(&mut Link)) {
        let links = &mut self.namespace_mut(place).links;
        if let Some(link) = links.iter_mut().find(|link| link.name == dev) {
            change(link);
        }
    }

    fn new_ifindex(&self, place: &Place) -> Ifindex {
        let links = self.namespace(place).map_or(&[][..], |there| &there.links);
        let largest = links.iter().map(|link| link.ifindex.0).max().unwrap_or(0);
        // Nor one that the maps still hold something of.
        let known = self
            .observed
            .maps
            .interfaces
            .keys()
            .map(|index| index.0)
            .max();
        Ifindex(largest.max(known.unwrap_or(0)).max(UNMADE) + 1)
    }

    fn add_link(&mut self, place: &Place, name: &str, mac: Option<Mac>) {
        let link = Link {
            ifindex: self.new_ifindex(place),
            name: name.to_owned(),
            mac,
            veth: mac.is_some(),
            up: false,
            mtu: ETHERNET_MTU,
            controller: Ifindex(0),
            other_end: None,
            xdp: false,
            addresses: Vec::new(),
        };
        self.namespace_mut(place).links.push(link);
    }

    fn apply_to_link(&mut self, op: &Op) {
        match op {
            Op::AddVeth {
                dev,
                mac,
                place,
                peer,
                peer_mac,
            } => {
                self.add_link(&Place::Node, dev, Some(*mac));
                self.add_link(place, peer, Some(*peer_mac));
                let outside = self.observed.node.link(dev).map(|link| link.ifindex);
                self.change_link(place, peer, |link| link.other_end = outside);
            }
            Op::AddBridge { place, dev } => self.add_link(place, dev, None),
            Op::SetController { place, dev, bridge } => {
                let there = self.namespace(place).and_then(|there| there.link(bridge));
                let index = there.map_or(Ifindex(0), |bridge| bridge.ifindex);
                let mut mac = there.and_then(|bridge| bridge.mac);
                self.change_link(place, dev, |link| {
                    link.controller = index;
                    // A bridge has the least of its ports' addresses (`br_stp_recalculate_bridge_id`).
                    mac = [mac, link.mac].into_iter().flatten().min();
                });
                self.change_link(place, bridge, |link| link.mac = mac);
            }
            Op::DeleteLink { place, dev, .. } => self.delete_link(place, dev),
            Op::DeleteVeths(veths) => {
                for (dev, _) in veths {
                    self.delete_link(&Place::Node, dev);
                }
            }
            Op::SetUp { place, dev } => self.change_link(place, dev, |link| link.up = true),
            Op::SetDown { place, dev } => self.set_down(place, dev),
            Op::Rename { place, dev, to, .. } => self.rename(place, dev, to),
            Op::SetMtu { place, dev, mtu } => {
                self.change_link(place, dev, |link| link.mtu = *mtu);
            }
            Op::SetMac { dev, mac } => {
                self.change_link(&Place::Node, dev, |link| link.mac = Some(*mac));
                let ifindex = self.ifindex(dev);
                // `neigh_changeaddr`.
                let neighbours = &mut self.observed.node.neighbours;
                neighbours.retain(|found| found.ifindex != ifindex);
            }
            _ => {}
        }
    }

    /// With an interface that goes down go its routes, its neighbours and its IPv6 addresses (`fib_disable_ip`,
    /// `neigh_ifdown`, `addrconf_ifdown`).
    fn set_down(&mut self, place: &Place, dev: &str) {
        let mut gone: Vec<IpNet> = Vec::new();
        self.change_link(place, dev, |link| {
            link.up = false;
            gone.extend(link.addresses.iter().filter(|net| net.addr().is_ipv6()));
            link.addresses.retain(|net| net.addr().is_ipv4());
        });
        let namespace = self.namespace_mut(place);
        for address in &gone {
            forget_source(namespace, address.addr());
        }
        let Some(ifindex) = namespace.link(dev).map(|link| link.ifindex) else {
            return;
        };
        let routes = &mut namespace.routes;
        routes.retain(|route| route.ifindex != Some(ifindex));
        let neighbours = &mut namespace.neighbours;
        neighbours.retain(|found| found.ifindex != ifindex);
        if *place == Place::Node {
            self.forget_own(&gone);
        }
    }

    /// Its sysctls are found under the new name from then on; what they were is not asked.
    fn rename(&mut self, place: &Place, dev: &str, to: &str) {
        self.change_link(place, dev, |link| to.clone_into(&mut link.name));
        let scope = format!("/conf/{dev}/");
        let sysctls = &mut self.namespace_mut(place).sysctls;
        sysctls.retain(|key, _| !key.contains(&scope));
    }

    fn delete_link(&mut self, place: &Place, dev: &str) {
        let link = self.namespace(place).and_then(|there| there.link(dev));
        if let Some(ifindex) = link.map(|link| link.ifindex) {
            self.remove_link(place, ifindex);
        }
    }

    fn remove_address(&mut self, place: &Place, dev: &str, address: IpNet) {
        let mut gone = vec![address];
        self.change_link(place, dev, |link| {
            let position = link.addresses.iter().position(|found| *found == address);
            let first = link
                .addresses
                .iter()
                .position(|found| is_same_subnet(found, &address));
            link.addresses.retain(|found| *found != address);
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
    fn forget_own(&mut self, gone: &[IpNet]) {
        for address in gone.iter().map(IpNet::addr) {
            let mut left = self.observed.node.links.iter().flat_map(|it| &it.addresses);
            if !left.any(|found| found.addr() == address) {
                self.observed.own.remove(&address);
            }
        }
    }

    /// With the last IPv4 address of an interface go its IPv4 routes and neighbours (`fib_disable_ip`).
    fn without_ipv4(&mut self, place: &Place, dev: &str) {
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

    fn add_neighbour(&mut self, place: &Place, dev: &str, address: IpAddr, mac: Mac) {
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
        });
    }

    fn add_route(&mut self, place: &Place, new: &NewRoute) {
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
        routes.retain(|route| route.dst != new.dst || !(route.ours || new.of_anybody));
        routes.push(Route {
            dst: new.dst,
            via: new.via,
            ifindex,
            source: new.source,
            ours: true,
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
fn forget_source(namespace: &mut Namespace, address: IpAddr) {
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
