//! Entries of the maps, and programs.

use netpath_common::{EndpointEntry, ProgramKind, RouteEntry};

use super::super::{AddressPunts, NewInterface, Op, Owner, World, observed::Interface};

impl World {
    pub(super) fn apply_to_maps(&mut self, op: &Op) {
        match op {
            Op::Register(new) => self.register(new),
            Op::Unregister(ifindex) => {
                let maps = &mut self.observed.maps;
                maps.interfaces.remove(ifindex);
                maps.strange_gates.remove(ifindex);
            }
            Op::Unretire(ifindex) => drop(self.observed.maps.retired.remove(ifindex)),
            Op::SetReady(dev) => {
                let ifindex = self.ifindex(dev);
                if let Some(interface) = self.observed.maps.interfaces.get_mut(&ifindex) {
                    interface.ready = true;
                }
            }
            Op::SetDevice(id, dev) => {
                let ifindex = self.ifindex(dev);
                self.observed.maps.devices.insert(*id, ifindex);
            }
            Op::RemoveDevice(id) => drop(self.observed.maps.devices.remove(id)),
            Op::SetEntry(address, owner, punts) => {
                let entry = self.entry(owner, *punts);
                self.observed.maps.endpoints.insert(*address, entry);
            }
            Op::RemoveEntry(address) => drop(self.observed.maps.endpoints.remove(address)),
            Op::SetPrefix(prefix, owner, punts) => {
                let entry = RouteEntry::local(&self.entry(owner, *punts));
                self.observed.maps.routes.insert(*prefix, entry);
            }
            Op::RemovePrefix(prefix) => drop(self.observed.maps.routes.remove(prefix)),
            _ => {}
        }
    }

    /// The map entry of an owner.
    pub(in crate::reconcile) fn entry(&self, owner: &Owner, punts: AddressPunts) -> EndpointEntry {
        let entry = match owner {
            Owner::Node => EndpointEntry::NODE,
            Owner::Machine => return RouteEntry::NODE.endpoint,
            Owner::Endpoint {
                id,
                dev,
                endpoint_mac,
                host_mac,
            } => EndpointEntry {
                ifindex: self.ifindex(dev),
                id: *id,
                endpoint_mac: *endpoint_mac,
                host_mac: *host_mac,
                ..EndpointEntry::NODE
            },
        };
        EndpointEntry {
            punt_to: punts.to,
            punt_between: punts.between,
            ..entry
        }
    }

    fn register(&mut self, new: &NewInterface) {
        let NewInterface { kind, id, .. } = *new;
        let ifindex = self.ifindex(&new.dev);
        let maps = &mut self.observed.maps;
        let before = maps.interfaces.get(&ifindex);
        let same = before.filter(|old| old.kind == Some(kind) && old.id == id);
        let ready = same.is_some_and(|old| old.ready);
        if same.is_none() {
            maps.endpoints
                .retain(|_, entry| entry.ifindex != ifindex || entry.id == id);
            maps.routes
                .retain(|_, route| route.endpoint.ifindex != ifindex || route.endpoint.id == id);
        }
        let interface = Interface {
            kind: Some(kind),
            ready,
            shadow: new.shadow,
            id,
            rp_filter: new.rp_filter,
            punts: new.punts,
            dev: new.dev.clone(),
            endpoint: new.endpoint.clone(),
        };
        maps.interfaces.insert(ifindex, interface);
        maps.strange_gates.remove(&ifindex);
        maps.retired.remove(&ifindex);
    }

    pub(super) fn attach(&mut self, program: ProgramKind, dev: &str) {
        let ifindex = self.ifindex(dev);
        self.observed.attached.insert((ifindex, program));
        self.observed.loose.remove(&(ifindex, program));
        if self.observed.pins_links {
            self.observed.link_pins.insert((program, dev.to_owned()));
        } else {
            self.observed.clsact.entry(dev.to_owned()).or_default();
        }
    }
}
