//! What an operation changes, and what the kernel changes because of it. Planning goes by this, so it says no more than
//! what a later step depends on.

mod addresses;
mod links;
mod maps;

use netpath_common::{Bypass, EndpointId, FastPathMode, Ifindex, Mac};

use super::{
    AddressKind, Framing, Link, Maps, Namespace, NamespaceState, Op, Place, Recorded, Route, World,
    observed::taken_by,
};
use crate::model::{NodePlace, is_forwardable};

/// The first of the indexes and cookies that stand for what is yet to be made: far above those that the kernel gives.
const UNMADE: u32 = 1 << 30;

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
                kind,
            } => {
                let (address, place) = (*address, place.clone());
                self.change_link(&place, dev, |link| {
                    link.addresses.push(address);
                    if *kind == AddressKind::NoSource {
                        link.no_sources.insert(address);
                    }
                });
                if place == Place::Node {
                    let taken = taken_by(&address).filter(|it| is_forwardable(*it));
                    self.observed.own.extend(taken);
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
                is_router,
            } => self.add_neighbour(place, dev, (*address, *mac), *is_router),
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
            Op::RemoveRoute(place, old) => {
                let is_it = |route: &Route| route.own().as_ref() == Some(old);
                self.namespace_mut(place)
                    .routes
                    .retain(|route| !is_it(route));
            }
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
            // The kernel adds to them itself, with each packet.
            Op::EnterConnections(_) => {}
            Op::Attach(program, dev) => self.attach(*program, dev),
            Op::RemoveClsact(dev) => {
                let ifindex = self.ifindex(dev);
                self.observed
                    .attached
                    .retain(|(index, _)| *index != ifindex);
                self.observed.clsact.remove(dev);
            }
            Op::Detach(program, dev) => {
                let ifindex = self.ifindex(dev);
                self.observed.attached.remove(&(ifindex, *program));
                self.observed.loose.remove(&(ifindex, *program));
                self.observed.link_pins.remove(&(*program, dev.clone()));
            }
        }
    }

    fn make_node(&mut self, place: NodePlace, fast_path: FastPathMode) {
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
            Op::WishFastPath(mode) => node.fast_path = *mode,
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
            Op::RecordRoute(dst, record) => drop(node.routes.insert(*dst, record.clone())),
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
                framing: Framing::Ethernet,
                veth: false,
                up: false,
                carrier: false,
                no_arp: false,
                mtu: 65_536,
                controller: Ifindex(0),
                other_end: None,
                xdp: false,
                addresses: Vec::new(),
                no_sources: Default::default(),
                altnames: Vec::new(),
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
}
