//! Addresses of the node's namespace that the topology does not name: of the machine's other network cards, its loopback
//! device, its bridges. The kernel takes nothing from outside that says to come from them (martian sources,
//! `__fib_validate_source`), so the programs have to know them. So they have to know those of other nodes' endpoints in the
//! namespace: their programs see only what comes by their own interfaces, and after this node's.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use netpath_common::{EndpointEntry, FeatureBits, RouteEntry};

use super::{
    super::{
        Action, AddressPunts, Drift, Object, Op, Owner, Plan, Recorded, RecordedEndpoint, Wanted,
        WantedEndpoint, World, observed::taken_by,
    },
    Draft, Fresh, Planner,
    entries::{address_map, altered, prefix_map},
    held::holds,
};

/// The addresses that a node is to have in its maps, by whose they are.
#[derive(Default)]
pub(super) struct Claimed {
    pub(super) endpoints: BTreeSet<IpAddr>,
    pub(super) prefixes: Vec<IpNet>,
    /// With their broadcast addresses.
    pub(super) uplinks: BTreeSet<IpAddr>,
    pub(super) routes: BTreeSet<IpNet>,
}

impl Claimed {
    /// Whether an endpoint or an uplink has it. One inside an endpoint's prefix is the endpoint's: `up` refuses it there.
    fn has(&self, address: IpAddr) -> bool {
        self.endpoints.contains(&address)
            || self.uplinks.contains(&address)
            || self.prefixes.iter().any(|prefix| prefix.contains(&address))
    }
}

/// What makes known to the programs of a node what else is not to come from outside, and nothing else: what another node in
/// its namespace got or gave up.
#[must_use]
pub fn own(wanted: &Wanted, world: &World) -> Plan {
    let mut fresh = Fresh::new(0);
    let mut planner = Planner::new(wanted, world, &mut fresh);
    planner.refuse_room();
    if planner.plan.refusals.is_empty() {
        planner.own_addresses();
        planner.features_of_one();
    }
    planner.plan
}

impl Planner<'_> {
    /// Makes the node's other addresses known to the programs, and those that are gone unknown.
    pub(super) fn own_addresses(&mut self) {
        let mut draft = Draft {
            quiet: self.initial.recorded.is_none(),
            ..Draft::default()
        };
        self.refresh_own_addresses(&mut draft);
        self.refresh_own_prefixes(&mut draft);
        draft.silent = draft.drift.is_empty();
        let name = self.wanted.name.clone();
        self.step(Action::Update, Object::Node, &name, None, draft);
    }

    pub(super) fn refresh_own_addresses(&mut self, draft: &mut Draft) {
        let claimed = self.claimed();
        let own = self.others(&claimed);
        // First: what comes may need the room.
        for address in self.lost(&claimed) {
            draft.note(Drift::OwnAddressGone(address));
            self.act(draft, Op::RemoveEntry(address));
        }
        let wanted = EndpointEntry::NODE;
        for address in own {
            let found = self.world.observed.maps.endpoints.get(&address);
            if found == Some(&wanted) {
                continue;
            }
            draft.note(match (found, self.holder(|other| has(other, address))) {
                (None, Some(node)) => Drift::HeldAddress {
                    net: address.into(),
                    node,
                },
                (None, None) => Drift::OwnAddress(address),
                (found, _) => altered(address_map(address), address.to_string(), found, &wanted),
            });
            let punts = AddressPunts::default();
            self.act(draft, Op::SetEntry(address, Owner::Node, punts));
        }
    }

    /// The same of prefixes that the node takes in as a whole. A destination of the topology inside one keeps its own entry,
    /// and gets the node's in its place: table local is asked before all others.
    pub(super) fn refresh_own_prefixes(&mut self, draft: &mut Draft) {
        let own = self.own_prefixes();
        let known: Vec<IpNet> = self.known_prefixes().collect();
        if !own.is_empty() {
            self.feature(draft, FeatureBits::LOCAL_PREFIXES);
        }
        for prefix in known {
            if own.contains(&prefix) || self.is_destination(&prefix) {
                continue;
            }
            draft.note(Drift::OwnPrefixGone(prefix));
            self.act(draft, Op::RemovePrefix(prefix));
        }
        for prefix in own {
            let found = self.world.observed.maps.routes.get(&prefix);
            if found == Some(&RouteEntry::NODE) {
                continue;
            }
            let holder = self.holder(|other| holds(other, prefix));
            draft.note(match (found.map(|route| &route.endpoint), holder) {
                (None, Some(node)) => Drift::HeldAddress { net: prefix, node },
                (None, None) => Drift::OwnPrefix(prefix),
                (found, _) => altered(
                    prefix_map(prefix),
                    prefix.to_string(),
                    found,
                    &RouteEntry::NODE.endpoint,
                ),
            });
            let punts = AddressPunts::default();
            self.act(draft, Op::SetPrefix(prefix, Owner::Machine, punts));
        }
    }

    /// The prefixes that the node takes in as a whole, and that are no endpoint's of it: `up` refuses those.
    pub(super) fn own_prefixes(&self) -> BTreeSet<IpNet> {
        let claimed = self.claimed();
        let own = self.world.observed.own_prefixes.iter().copied();
        let own = own.chain(self.held_prefixes());
        let is_free =
            |own: &IpNet| !claimed.routes.contains(own) && !claimed.prefixes.contains(own);
        own.filter(is_free).collect()
    }

    /// Whether the topology has, or had, a route to exactly this prefix.
    fn is_destination(&self, prefix: &IpNet) -> bool {
        let recorded = self.world.recorded.as_ref();
        let mut wanted = self.wanted.routes.iter();
        recorded.is_some_and(|node| node.routes.contains_key(prefix))
            || wanted.any(|route| route.dst == *prefix)
    }

    /// Whether an endpoint has an address, or is to have it.
    pub(super) fn is_endpoints(&self, address: IpAddr) -> bool {
        self.claimed().endpoints.contains(&address)
    }

    /// Those that the programs know.
    fn known_prefixes(&self) -> impl Iterator<Item = IpNet> {
        let routes = self.world.observed.maps.routes.iter();
        let own = routes.filter(|(_, entry)| **entry == RouteEntry::NODE);
        own.map(|(prefix, _)| *prefix)
    }

    /// Whether the node takes in all of a prefix.
    pub(super) fn takes_in(&self, net: IpNet) -> bool {
        let mut own = self.world.observed.own_prefixes.iter();
        own.any(|prefix| prefix.contains(&net))
    }

    /// The addresses of the node, and of other nodes' endpoints, that neither its topology nor an endpoint has.
    pub(super) fn other_addresses(&self) -> BTreeSet<IpAddr> {
        self.others(&self.claimed())
    }

    pub(super) fn others(&self, claimed: &Claimed) -> BTreeSet<IpAddr> {
        let own = self.world.observed.own.iter().copied();
        let own = own.chain(self.held_addresses());
        own.filter(|address| !claimed.has(*address)).collect()
    }

    /// Addresses that the maps have as the node's, and that it has no more.
    fn lost(&self, claimed: &Claimed) -> Vec<IpAddr> {
        let observed = &self.world.observed;
        let held = self.held_addresses();
        let entries = observed.maps.endpoints.iter();
        let of_node = entries.filter(|(_, entry)| **entry == EndpointEntry::NODE);
        let lost = of_node.filter(|(address, _)| {
            !observed.own.contains(*address)
                && !claimed.uplinks.contains(*address)
                && !held.contains(*address)
        });
        // What an endpoint is to have gets its own entry.
        let lost = lost.filter(|(address, _)| !claimed.endpoints.contains(*address));
        lost.map(|(address, _)| *address).collect()
    }

    /// What is wanted, and what stays though it is not of the topology.
    pub(super) fn claimed(&self) -> Claimed {
        let wanted = self.wanted;
        let going: BTreeSet<String> = self
            .surplus_endpoints()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let recorded = self.world.recorded.iter().flat_map(|node| &node.endpoints);
        let kept = recorded.filter(|(name, _)| !going.contains(*name));
        let mut claimed = Claimed::default();
        let mut claim = |addresses: &[IpNet], prefixes: &[IpNet]| {
            claimed.endpoints.extend(addresses.iter().map(IpNet::addr));
            claimed.prefixes.extend(prefixes);
        };
        for RecordedEndpoint {
            addresses,
            prefixes,
            ..
        } in kept.map(|(_, endpoint)| endpoint)
        {
            claim(addresses, prefixes);
        }
        for WantedEndpoint {
            addresses,
            prefixes,
            ..
        } in &wanted.endpoints
        {
            claim(addresses, prefixes);
        }
        let uplinks = wanted.uplinks.iter().flat_map(|uplink| &uplink.addresses);
        claimed.uplinks = uplinks.flat_map(taken_by).collect();
        claimed.routes = wanted.routes.iter().map(|route| route.dst).collect();
        claimed
    }
}

/// Whether an endpoint of a node has an address.
fn has(node: &Recorded, address: IpAddr) -> bool {
    let mut addresses = node.endpoints.values().flat_map(|it| &it.addresses);
    addresses.any(|it| it.addr() == address)
}
