//! What kept endpoints and uplinks have no more.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::{
    super::{Action, Neighbour, Object, Op, Place, Recorded, RecordedEndpoint, WantedEndpoint},
    Draft, Planner,
};

impl Planner<'_> {
    /// Takes away what kept endpoints and uplinks have no more, before anybody else is to have it.
    pub(in super::super) fn retire(&mut self) {
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

    pub(in super::super) fn retire_endpoint(
        &mut self,
        wanted: &WantedEndpoint,
        before: &RecordedEndpoint,
    ) {
        let mut draft = Draft {
            silent: true,
            quiet: true,
            ..Draft::default()
        };
        let place = Place::Endpoint(wanted.name.clone());
        let moved = !self.stays_in(wanted, before);
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
            self.remove_own_routes(&mut draft, dst);
        }
        self.step(Action::Update, Object::Endpoint, &wanted.name, None, draft);
    }

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
