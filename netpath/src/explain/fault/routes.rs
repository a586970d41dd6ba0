//! Where routes lead a packet, and the command that puts them right.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Doctor, command, ip};
use crate::{
    explain::{
        ExplainError,
        obstacle::Obstacle,
        places::{PlaceId, Places},
        walk::Taken,
    },
    finding::Finding,
    netlink::{RouteKind, Table},
    provision::RouteStatus,
};

impl Doctor<'_> {
    /// The interface that the packet would have left by.
    pub(super) fn egress(&self) -> Result<Option<String>, ExplainError> {
        if self.fault.egress.is_some() {
            return self.dev(self.fault.egress);
        }
        let state = self.places.state(self.fault.place)?;
        let destination = self.fault.packet.destination;
        let routes = state.routes.iter().filter(|route| Table::Main.has(route));
        let holding = routes.filter(|route| route.dst.contains(&destination));
        let longest = holding.max_by_key(|route| route.dst.prefix_len());
        let hop = longest.and_then(|route| route.next_hops.first()?.ifindex);
        Ok(hop.map(|ifindex| state.dev(ifindex)))
    }

    /// The first next hop of the way that is not the one which is recorded.
    pub(super) fn led_elsewhere(&self, taken: &[Taken]) -> Result<Option<Finding>, ExplainError> {
        for step in taken {
            let place = step.from.place;
            let Some((route, via)) = recorded(self.places, place, step.destination) else {
                continue;
            };
            if step.next_hop.is_none_or(|next_hop| next_hop == via) {
                continue;
            }
            let (name, dst) = (self.name(place), route.dst);
            let found = step
                .next_hop
                .map_or_else(|| "elsewhere".to_owned(), |it| it.to_string());
            let problem = format!(
                "{name} leads {dst} to {found} by {}, and it is to be {via}: behind it the packet gets no further",
                self.places.dev(step.from)?
            );
            let cure = format!(
                "put the route right: {}",
                command(&self.entry(place), replace(route, via))
            );
            return Ok(Some(
                Obstacle::LedElsewhere.kind().found(name, problem, cure),
            ));
        }
        Ok(None)
    }

    pub(super) fn no_route(&self) -> Result<Finding, ExplainError> {
        let place = self.fault.place;
        let (here, destination) = (self.name(place).to_owned(), self.fault.packet.destination);
        let problem = format!("{here} has no route to {destination}");
        if self.places.endpoint(place).is_some() {
            let cure = "`netpath up` makes its routes".to_owned();
            return Ok(self.found(Obstacle::NoRoute, problem, cure));
        }
        let line = match recorded(self.places, place, destination) {
            Some((route, via)) => Some(replace(route, via)),
            None => self.way_to(destination)?,
        };
        let cure = match line {
            Some(line) => format!("add it: {}", command(&self.entry(place), line)),
            None => format!("give {here} a route to {destination}"),
        };
        Ok(self.found(Obstacle::NoRoute, problem, cure))
    }

    /// The route to the node that has a destination, where both are on one wire.
    pub(super) fn way_to(&self, destination: IpAddr) -> Result<Option<String>, ExplainError> {
        let connected = self.places.connected(self.fault.place);
        let owners = self.places.owners(destination, Some(&connected))?;
        let Some(&owner) = owners.first() else {
            return Ok(None);
        };
        let here = self.places.node(self.fault.place);
        let there = self.places.node(owner);
        let nets = here.uplinks.iter().flat_map(|uplink| &uplink.addresses);
        let nets: Vec<&IpNet> = nets.collect();
        let others = there.uplinks.iter().flat_map(|uplink| &uplink.addresses);
        let mut vias = others.map(IpNet::addr).filter(|via| {
            via.is_ipv4() == destination.is_ipv4() && nets.iter().any(|net| net.contains(via))
        });
        let Some(via) = vias.next() else {
            return Ok(None);
        };
        let prefix = self.places.endpoint(owner).and_then(|endpoint| {
            let mut nets = endpoint.addresses.iter().chain(&endpoint.prefixes);
            nets.find(|net| net.contains(&destination))
                .map(IpNet::trunc)
        });
        let prefix = prefix.unwrap_or_else(|| IpNet::from(destination));
        Ok(Some(format!(
            "{} route add {prefix} via {via}",
            ip(destination)
        )))
    }

    pub(super) fn refused(&self, kind: RouteKind) -> Result<Finding, ExplainError> {
        let place = self.fault.place;
        let (here, destination) = (self.name(place).to_owned(), self.fault.packet.destination);
        let problem = format!("{here} has a route of kind {kind} to {destination}");
        let entry = self.entry(place);
        let line = match recorded(self.places, place, destination) {
            Some((route, via)) => Some(replace(route, via)),
            None => {
                let routes = &self.places.state(place)?.routes;
                let of_kind = routes.iter().filter(|route| route.kind == kind);
                let holding = of_kind.filter(|route| route.dst.contains(&destination));
                let longest = holding.max_by_key(|route| route.dst.prefix_len());
                longest.map(|route| {
                    format!(
                        "{} route del {kind} {} table {}",
                        ip(destination),
                        route.dst,
                        route.table
                    )
                })
            }
        };
        let cure = match line {
            Some(line) => format!("put it right: {}", command(&entry, line)),
            None => Obstacle::RouteRefuses.kind().cure.to_owned(),
        };
        Ok(self.found(Obstacle::RouteRefuses, problem, cure))
    }
}

/// The route of the file that is for a destination, with its next hop.
pub(super) fn recorded(
    places: &Places,
    place: PlaceId,
    destination: IpAddr,
) -> Option<(&RouteStatus, IpAddr)> {
    if places.endpoint(place).is_some() {
        return None;
    }
    let routes = places.node(place).routes.iter();
    let holding = routes.filter(|route| route.dst.contains(&destination));
    let longest = holding.max_by_key(|route| route.dst.prefix_len())?;
    Some((longest, longest.via?))
}

pub(super) fn replace(route: &RouteStatus, via: IpAddr) -> String {
    let dev = route.dev.as_ref().map(|dev| format!(" dev {dev}"));
    let dev = dev.unwrap_or_default();
    format!("{} route replace {} via {via}{dev}", ip(via), route.dst)
}
