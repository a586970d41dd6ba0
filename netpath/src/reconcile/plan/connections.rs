//! Programs are attached in an order in which no connection is missed that the kernel translates: those at the egress, which note
//! connections, on every interface that is there; then those that it has translated before are entered; then those at the
//! ingress, which ask.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use netpath_common::{Hook, ProgramKind};

use super::{
    super::{Link, Op, Scope},
    Draft, Planner,
    entries::{ENDPOINT, UPLINK},
    names::{own_uplink, own_veth},
};

impl Planner<'_> {
    /// Attaches programs that an interface lacks.
    pub(super) fn attach(&mut self, draft: &mut Draft, dev: &str, missing: &[ProgramKind]) {
        let at = |hook| missing.iter().copied().filter(move |it| it.hook() == hook);
        at(Hook::Egress).for_each(|program| self.attach_one(draft, dev, program));
        self.enter_connections(draft);
        at(Hook::Ingress).for_each(|program| self.attach_one(draft, dev, program));
    }

    /// What becomes an end while programs run may have connections that the kernel has translated, which nobody noted. A new
    /// endpoint's are entered when its own programs are attached.
    pub(super) fn becomes_an_end(&mut self, draft: &mut Draft, is_new: bool) {
        let is_entered = self.are_connections_entered || self.are_ends_entered;
        if is_new && !is_entered && !self.world.observed.attached.is_empty() {
            self.are_ends_entered = true;
            let op = Op::EnterConnections(self.ends_to_come());
            self.act(draft, op);
        }
    }

    fn attach_one(&mut self, draft: &mut Draft, dev: &str, program: ProgramKind) {
        self.note_clsact(draft, dev);
        self.act(draft, Op::Attach(program, dev.to_owned()));
    }

    /// Once for all interfaces: on one that is made later nothing has passed.
    pub(super) fn enter_connections(&mut self, draft: &mut Draft) {
        if self.are_connections_entered {
            return;
        }
        self.are_connections_entered = true;
        for (dev, programs) in self.interfaces_there() {
            let ifindex = self.world.ifindex(&dev);
            let egress = programs.iter().filter(|it| it.hook() == Hook::Egress);
            for &program in egress {
                if self.world.observed.attached.contains(&(ifindex, program)) {
                    continue;
                }
                self.attach_one(draft, &dev, program);
                self.ahead.insert((ifindex, program));
            }
        }
        let op = Op::EnterConnections(self.ends_to_come());
        self.act(draft, op);
    }

    /// The interfaces that are there, and that programs belong on as far as is planned for.
    fn interfaces_there(&self) -> Vec<(String, &'static [ProgramKind])> {
        let Some(node) = &self.world.recorded else {
            return Vec::new();
        };
        let interfaces = &self.world.observed.maps.interfaces;
        let is_in_place = |link: Option<&Link>, dev: &str| {
            link.is_some_and(|link| link.name == dev && interfaces.contains_key(&link.ifindex))
        };
        let (of_uplinks, of_endpoints) = self.planned();
        let uplinks = node.uplinks.iter().filter(|(dev, record)| {
            let link = match record.made {
                true => own_uplink(&self.world, record),
                false => self.world.observed.node.link(dev),
            };
            let is_planned = self.is_switching || of_uplinks.contains(dev.as_str());
            node.fast_path.attaches() && is_planned && is_in_place(link, dev)
        });
        let endpoints = node.endpoints.iter().filter(|(name, record)| {
            let link = own_veth(&self.world, name, record);
            let is_planned = self.is_switching || of_endpoints.contains(name.as_str());
            // The file's wish is recorded with the endpoint's own step.
            let mut wanted = self.wanted.endpoints.iter();
            let wanted = wanted.find(|wanted| wanted.name == **name);
            let wish = wanted.and_then(|wanted| wanted.fast_path);
            let mode = wish.unwrap_or(record.fast_path).wants(node.fast_path);
            let on = mode.attaches();
            on && is_planned && is_in_place(link, &record.host_dev)
        });
        uplinks
            .map(|(dev, _)| (dev.clone(), UPLINK))
            .chain(endpoints.map(|(_, record)| (record.host_dev.clone(), ENDPOINT)))
            .collect()
    }

    /// The uplinks and the endpoints that are planned for, by their names.
    fn planned(&self) -> (BTreeSet<&str>, BTreeSet<&str>) {
        let uplinks = match self.wanted.scope {
            Scope::Endpoint(_) => [].iter(),
            Scope::File | Scope::All => self.wanted.uplinks.iter(),
        };
        let endpoints = self.wanted.endpoints.iter();
        (
            uplinks.map(|wanted| wanted.dev.as_str()).collect(),
            endpoints.map(|wanted| wanted.name.as_str()).collect(),
        )
    }

    /// What will be routed and is not yet: what is made anew may have had connections before.
    fn ends_to_come(&self) -> Vec<IpNet> {
        let maps = &self.world.observed.maps;
        let is_there = |address: &IpAddr| {
            let entry = maps.endpoints.get(address);
            entry.is_some_and(|entry| !entry.is_node())
        };
        let endpoints = &self.wanted.endpoints;
        let addresses = endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
        let addresses = addresses.map(IpNet::addr).filter(|it| !is_there(it));
        let prefixes = endpoints.iter().flat_map(|endpoint| &endpoint.prefixes);
        let routes = self.wanted.routes.iter().map(|route| &route.dst);
        let prefixes = prefixes.chain(routes).copied();
        let prefixes = prefixes.filter(|prefix| !maps.routes.contains_key(prefix));
        addresses.map(IpNet::from).chain(prefixes).collect()
    }
}
