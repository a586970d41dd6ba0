//! One endpoint of a node that is up, and nothing else of it: as a command or a container runtime asks for it.

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::{EndpointEntry, Ifindex};

use super::{
    super::{
        Action, AddressPunts, Home, NamespaceOwner, NamespaceState, Object, Op, Owner, Place,
        RecordedEndpoint, Refusal, Route, Scope, WantedEndpoint,
    },
    Draft, Planner, gateways,
    node::needed_features,
};

impl Planner<'_> {
    /// Makes or removes the one endpoint that the scope names. What is refused is not planned.
    pub(super) fn one(&mut self) {
        self.refuse_one();
        if !self.plan.refusals.is_empty() {
            return;
        }
        // Whoever comes is known before its packets pass, and whoever goes until they do no more.
        let comes = !self.wanted.endpoints.is_empty();
        if comes {
            self.between();
        }
        for (name, endpoint) in self.surplus_endpoints() {
            self.release_endpoint(&name, &endpoint);
        }
        if !comes {
            self.between();
        }
        for wanted in &self.wanted.endpoints {
            let node = self.world.recorded.as_ref();
            let before = node.and_then(|node| node.endpoints.get(&wanted.name));
            if let Some(before) = before.cloned() {
                self.retire_endpoint(wanted, &before);
            }
            self.endpoint(wanted);
        }
        self.removals();
        self.features_of_one();
    }

    fn refuse_one(&mut self) {
        self.refuse_node();
        if self.is_elsewhere() {
            return;
        }
        let node = self.wanted.name.clone();
        if !matches!(self.initial.observed.node.state, NamespaceState::Present(_)) {
            self.refuse_with(Object::Node, &node, Refusal::NamespaceDead);
            return;
        }
        let Some(recorded) = &self.initial.recorded else {
            return;
        };
        if !recorded.configured && recorded.place == crate::model::NodePlace::Lab {
            self.refuse_with(Object::Node, &node, Refusal::NodeHalfMade);
        }
        if self.refuse_names() {
            return;
        }
        self.refuse_unproven();
        for wanted in &self.wanted.endpoints {
            self.refuse_namespace(wanted);
            if !self.refuse_given(wanted) {
                self.refuse_interfaces(wanted);
            }
            self.refuse_other_end_of_name(wanted);
        }
        self.refuse_shared();
        self.refuse_held();
        self.refuse_machine_of_endpoints();
        if !self.wanted.endpoints.is_empty() {
            self.refuse_room();
        }
    }

    /// No name outside may be that of another endpoint's interface, which was called otherwise when it was made.
    fn refuse_other_end_of_name(&mut self, wanted: &WantedEndpoint) {
        let Some(link) = self.initial.observed.node.link(&wanted.host_dev) else {
            return;
        };
        let recorded = self.initial.recorded.iter();
        let mut others = recorded.flat_map(|node| &node.endpoints);
        let owner = others.find(|(name, record)| {
            **name != wanted.name
                && record.host_dev != wanted.host_dev
                && link.mac == Some(record.host_mac)
        });
        if let Some((owner, _)) = owner {
            let refusal = Refusal::NameTaken {
                what: format!("interface {}", wanted.host_dev),
                by: format!("endpoint {owner}'s"),
                cure: "choose another name for the interface".into(),
            };
            self.refuse_with(Object::Endpoint, &wanted.name, refusal);
        }
    }

    /// A namespace that is given must be nobody else's: what is made in it leads all its traffic to this node. Returns whether
    /// it is.
    fn refuse_given(&mut self, wanted: &WantedEndpoint) -> bool {
        let Home::Given(path) = &wanted.home else {
            return false;
        };
        let observed = &self.initial.observed;
        let there = observed.endpoints.get(&wanted.name);
        let Some(NamespaceState::Present(cookie)) = there.map(|there| there.state) else {
            return false;
        };
        let record = self.initial.recorded.as_ref();
        let mut whose = None;
        if observed.node.state == NamespaceState::Present(cookie) {
            whose = Some(format!("node {}'s own", self.wanted.name));
        } else if observed.machines.contains(&cookie) {
            whose = Some("the machine's own".to_owned());
        } else if let Some(node) = record {
            let mut endpoints = node.endpoints.iter();
            let other = endpoints.find(|(name, it)| **name != wanted.name && it.cookie == cookie);
            let mut uplinks = node.uplinks.values();
            let wire = uplinks.find(|uplink| uplink.wire_cookie == cookie);
            whose = other
                .map(|(name, _)| format!("endpoint {name}'s"))
                .or(wire.map(|uplink| format!("wire {}'s", uplink.wire)));
        }
        whose = whose.or(match observed.owners.get(&wanted.name) {
            Some(NamespaceOwner::EndpointOf(node)) => Some(format!("an endpoint's of node {node}")),
            Some(NamespaceOwner::Node(node)) => Some(format!("node {node}'s own")),
            // Nothing of it is removed or replaced, whosever it is.
            Some(NamespaceOwner::Perhaps(_)) | None => None,
        });
        if let Some(whose) = whose {
            let path = path.clone();
            let refusal = Refusal::NamespaceTaken { path, whose };
            self.refuse_with(Object::Endpoint, &wanted.name, refusal);
            return true;
        }
        self.refuse_default_route(wanted, path);
        false
    }

    /// Somebody's default route inside goes before netpath's, or is passed by: either breaks what was there.
    fn refuse_default_route(&mut self, wanted: &WantedEndpoint, path: &str) {
        let there = self.initial.observed.endpoints.get(&wanted.name);
        let routes: Vec<&Route> = there.iter().flat_map(|there| &there.routes).collect();
        for (_, default) in gateways(&wanted.addresses) {
            let foreign = routes
                .iter()
                .find(|route| route.dst == default && !route.ours);
            if let Some(route) = foreign {
                let refusal = Refusal::DefaultRouteThere {
                    path: path.to_owned(),
                    told: route.told.clone(),
                };
                self.refuse_with(Object::Endpoint, &wanted.name, refusal);
            }
        }
    }

    /// What others of the node need to know of it: packets between its addresses and theirs may be the kernel's. Of theirs
    /// nothing else is touched.
    fn between(&mut self) {
        let Some(node) = self.world.recorded.clone() else {
            return;
        };
        let mut draft = Draft {
            silent: true,
            ..Draft::default()
        };
        let only = match &self.wanted.scope {
            Scope::Endpoint(only) => only.as_str(),
            Scope::File | Scope::All => return,
        };
        let others = node.endpoints.iter().filter(|(name, _)| *name != only);
        for (_, record) in others {
            let link = self.world.observed.node.link(&record.host_dev);
            if link.is_none_or(|link| link.mac != Some(record.host_mac)) {
                continue;
            }
            for address in record.addresses.iter().map(IpNet::addr) {
                self.between_address(&mut draft, record, address);
            }
            for &prefix in &record.prefixes {
                self.between_prefix(&mut draft, &owner(record), prefix);
            }
        }
        for &dst in node.routes.keys() {
            self.between_prefix(&mut draft, &Owner::Node, dst);
        }
        let name = self.wanted.name.clone();
        self.step(Action::Update, Object::Node, &name, None, draft);
    }

    fn between_address(&mut self, draft: &mut Draft, record: &RecordedEndpoint, address: IpAddr) {
        let found = self.world.observed.maps.endpoints.get(&address);
        let found = found.filter(|entry| entry.id == record.id).copied();
        if let Some(punts) = found.and_then(|entry| self.other_between(&entry, address.into())) {
            let op = Op::SetEntry(address, owner(record), punts);
            self.act(draft, op);
        }
    }

    fn between_prefix(&mut self, draft: &mut Draft, owner: &Owner, prefix: IpNet) {
        let found = self.world.observed.maps.routes.get(&prefix);
        let found = found.map(|route| route.endpoint);
        if let Some(punts) = found.and_then(|entry| self.other_between(&entry, prefix)) {
            let op = Op::SetPrefix(prefix, owner.clone(), punts);
            self.act(draft, op);
        }
    }

    /// What an entry is to say, if that is another thing than it says. Of the interface it leads to nothing is known here.
    fn other_between(&self, entry: &EndpointEntry, net: IpNet) -> Option<AddressPunts> {
        let between = self.address_punts(Ifindex(0), net, true).between;
        (entry.punt_between != between).then_some(AddressPunts {
            to: entry.punt_to,
            between,
        })
    }

    /// What the programs look at, of what is known without looking at every endpoint.
    pub(super) fn features_of_one(&mut self) {
        let features = needed_features(&self.world);
        if features == self.world.observed.maps.features {
            return;
        }
        let mut draft = Draft {
            silent: true,
            ..Draft::default()
        };
        self.act(&mut draft, Op::SetFeatures(features));
        let name = self.wanted.name.clone();
        self.step(Action::Update, Object::Node, &name, None, draft);
    }

    /// Whether an endpoint is wanted in the namespace that it has, be it by another path: the process that it was given by may
    /// have ended while others live there.
    pub(super) fn stays_in(&self, wanted: &WantedEndpoint, record: &RecordedEndpoint) -> bool {
        let there = self
            .initial
            .namespace(&Place::Endpoint(wanted.name.clone()));
        let has_it = there.is_some_and(|it| it.state == NamespaceState::Present(record.cookie));
        let are_given = matches!(
            (&record.home, &wanted.home),
            (Home::Given(_), Home::Given(_))
        );
        record.home == wanted.home || are_given && record.cookie != 0 && has_it
    }

    /// Whether the namespace that somebody gave an endpoint is gone, or another one is in its place: nothing can be mended
    /// then, and nothing of the other is touched.
    pub(super) fn lost_its_namespace(&self, name: &str, record: &RecordedEndpoint) -> bool {
        let there = self.initial.namespace(&Place::Endpoint(name.to_owned()));
        let state = there.map_or(NamespaceState::Absent, |there| there.state);
        matches!(record.home, Home::Given(_))
            && record.cookie != 0
            && state != NamespaceState::Present(record.cookie)
    }
}

fn owner(record: &RecordedEndpoint) -> Owner {
    Owner::Endpoint {
        id: record.id,
        dev: record.host_dev.clone(),
        endpoint_mac: record.endpoint_mac,
        host_mac: record.host_mac,
    }
}
