//! Addresses of the node's namespace that the topology does not name: of the machine's other network cards, its loopback
//! device, its bridges. The kernel takes nothing from outside that says to come from them (martian sources,
//! `__fib_validate_source`), so the programs have to know them.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use netpath_common::{EndpointEntry, tables::UPLINK_ADDRESSES};

use super::{
    super::{
        Action, AddressPunts, Drift, Object, Op, Owner, RecordedEndpoint, Refusal, WantedEndpoint,
    },
    Draft, Planner,
    entries::{address_map, altered},
};

/// The addresses that a node is to have in its maps, by whose they are.
#[derive(Default)]
struct Claimed {
    endpoints: BTreeSet<IpAddr>,
    prefixes: Vec<IpNet>,
    uplinks: BTreeSet<IpAddr>,
}

impl Claimed {
    /// Whether an endpoint or an uplink has it. One inside an endpoint's prefix is the endpoint's: `up` refuses it there.
    fn has(&self, address: IpAddr) -> bool {
        self.endpoints.contains(&address)
            || self.uplinks.contains(&address)
            || self.prefixes.iter().any(|prefix| prefix.contains(&address))
    }
}

impl Planner<'_> {
    /// Makes the node's other addresses known to the programs, and those that are gone unknown.
    pub(super) fn own_addresses(&mut self) {
        let mut draft = Draft {
            quiet: self.initial.recorded.is_none(),
            ..Draft::default()
        };
        self.refresh_own_addresses(&mut draft);
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
            draft.note(match found {
                None => Drift::OwnAddress(address),
                found => altered(address_map(address), address.to_string(), found, &wanted),
            });
            let punts = AddressPunts::default();
            self.act(draft, Op::SetEntry(address, Owner::Node, punts));
        }
    }

    /// The addresses of the node that neither its topology nor an endpoint has.
    pub(super) fn other_addresses(&self) -> BTreeSet<IpAddr> {
        self.others(&self.claimed())
    }

    fn others(&self, claimed: &Claimed) -> BTreeSet<IpAddr> {
        let own = self.world.observed.own.iter().copied();
        own.filter(|address| !claimed.has(*address)).collect()
    }

    /// Addresses that the maps have as the node's, and that it has no more.
    fn lost(&self, claimed: &Claimed) -> Vec<IpAddr> {
        let observed = &self.world.observed;
        let entries = observed.maps.endpoints.iter();
        let of_node = entries.filter(|(_, entry)| **entry == EndpointEntry::NODE);
        let lost = of_node.filter(|(address, _)| {
            !observed.own.contains(*address) && !claimed.uplinks.contains(*address)
        });
        // What an endpoint is to have gets its own entry.
        let lost = lost.filter(|(address, _)| !claimed.endpoints.contains(*address));
        lost.map(|(address, _)| *address).collect()
    }

    /// What is wanted, and what stays though it is not of the topology.
    fn claimed(&self) -> Claimed {
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
        claimed.uplinks = uplinks.map(IpNet::addr).collect();
        claimed
    }

    /// Refuses a node whose addresses do not all fit. Whether they do depends on the machine, so no check of the file
    /// tells.
    pub(super) fn refuse_room(&mut self) {
        let name = self.wanted.name.clone();
        for refusal in self.without_room() {
            self.refuse_with(Object::Node, &name, refusal);
        }
    }

    /// The families whose addresses do not all fit.
    pub(super) fn without_room(&self) -> Vec<Refusal> {
        let claimed = self.claimed();
        let mut all: BTreeSet<IpAddr> = self.others(&claimed);
        all.extend(claimed.endpoints);
        all.extend(claimed.uplinks);
        let wanted = self.wanted.room.0.saturating_add(UPLINK_ADDRESSES);
        let room = self.initial.observed.address_room.max(wanted);
        let mut refusals = Vec::new();
        for (family, is_ipv4) in [("IPv4", true), ("IPv6", false)] {
            let count = all.iter().filter(|address| address.is_ipv4() == is_ipv4);
            let count = u32::try_from(count.count()).unwrap_or(u32::MAX);
            if count > room {
                refusals.push(Refusal::TooManyAddresses {
                    family,
                    count,
                    room,
                    max_endpoints: count.saturating_sub(UPLINK_ADDRESSES),
                });
            }
        }
        refusals
    }
}
