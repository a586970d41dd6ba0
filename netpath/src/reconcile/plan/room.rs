//! Whether the maps hold all that a node is to have: what does not fit is refused before anything is made.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use netpath_common::tables::UPLINK_ADDRESSES;

use super::{
    super::{Object, Refusal, Scope},
    Planner,
};

const FAMILIES: [(&str, bool); 2] = [("IPv4", true), ("IPv6", false)];

impl Planner<'_> {
    /// Refuses a node whose addresses and prefixes do not all fit. Whether they do depends on the machine, so no check of the
    /// file tells.
    pub(super) fn refuse_room(&mut self) {
        let name = self.wanted.name.clone();
        for refusal in self.without_room() {
            self.refuse_with(Object::Node, &name, refusal);
        }
    }

    /// The families of which not all fits.
    pub(super) fn without_room(&self) -> Vec<Refusal> {
        let mut refusals = self.addresses_without_room();
        refusals.extend(self.prefixes_without_room());
        refusals
    }

    fn addresses_without_room(&self) -> Vec<Refusal> {
        let claimed = self.claimed();
        let mut all: BTreeSet<IpAddr> = self.others(&claimed);
        all.extend(claimed.endpoints);
        all.extend(claimed.uplinks);
        let wanted = self.wanted.room.endpoints.saturating_add(UPLINK_ADDRESSES);
        let room = self.initial.observed.address_room.max(wanted);
        let counts = FAMILIES.map(|(family, is_ipv4)| {
            let its = all.iter().filter(|it| it.is_ipv4() == is_ipv4);
            (family, count(its))
        });
        let full = counts.into_iter().filter(|(_, count)| *count > room);
        full.map(|(family, count)| Refusal::TooManyAddresses {
            family,
            count,
            room,
            max_endpoints: count.saturating_sub(UPLINK_ADDRESSES),
        })
        .collect()
    }

    fn prefixes_without_room(&self) -> Vec<Refusal> {
        let claimed = self.claimed();
        let mut all: BTreeSet<IpNet> = self.own_prefixes();
        all.extend(claimed.prefixes);
        all.extend(claimed.routes);
        // Whoever wants one endpoint does not speak of the routes, which stay.
        if let Scope::Endpoint(_) = self.wanted.scope {
            let recorded = self.initial.recorded.iter();
            all.extend(recorded.flat_map(|node| node.routes.keys()));
        }
        let room = self
            .initial
            .observed
            .route_room
            .max(self.wanted.room.routes);
        if room == 0 {
            return Vec::new();
        }
        let counts = FAMILIES.map(|(family, is_ipv4)| {
            let its = all.iter().filter(|it| it.addr().is_ipv4() == is_ipv4);
            (family, count(its))
        });
        let full = counts.into_iter().filter(|(_, count)| *count > room);
        full.map(|(family, count)| Refusal::TooManyPrefixes {
            family,
            count,
            room,
        })
        .collect()
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
