//! Entries of the maps that the programs read.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use netpath_common::{EndpointEntry, Ifindex, InterfaceKind, ProgramKind, PuntReason, RouteEntry};

use super::{
    super::{
        Action, AddressPunts, Drift, Maps, Object, Op, Owner, Recorded, World,
        observed::{Interface, taken_by},
    },
    Draft, Planner,
};

/// The programs of an endpoint's host-side veth.
pub(super) const ENDPOINT: &[ProgramKind] = InterfaceKind::Endpoint.programs();
/// The programs of an uplink.
pub(super) const UPLINK: &[ProgramKind] = InterfaceKind::Uplink.programs();

/// The map that holds the entry of an address.
pub(super) fn address_map(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "endpoints_v4",
        IpAddr::V6(_) => "endpoints_v6",
    }
}

/// The map that holds the entry of a prefix.
pub(super) fn prefix_map(prefix: IpNet) -> &'static str {
    match prefix {
        IpNet::V4(_) => "routes_v4",
        IpNet::V6(_) => "routes_v6",
    }
}

impl Planner<'_> {
    /// Makes the entry of an address true. It is drift where it was there once: `recorded`. What is true already is not
    /// written again: packets are looking it up.
    pub(super) fn entry(
        &mut self,
        draft: &mut Draft,
        recorded: bool,
        address: IpAddr,
        owner: &Owner,
        punts: AddressPunts,
    ) {
        let wanted = self.world.entry(owner, punts);
        let found = self.world.observed.maps.endpoints.get(&address);
        if found == Some(&wanted) {
            return;
        }
        let is_new = found.is_none();
        if recorded {
            let map = address_map(address);
            draft.note(altered(map, address.to_string(), found, &wanted));
            self.becomes_an_end(draft, is_new);
        }
        self.act(draft, Op::SetEntry(address, owner.clone(), punts));
    }

    /// As [`Planner::entry`], for a prefix.
    pub(super) fn prefix_entry(
        &mut self,
        draft: &mut Draft,
        recorded: bool,
        prefix: IpNet,
        owner: &Owner,
        punts: AddressPunts,
    ) {
        let wanted = self.world.entry(owner, punts);
        let found = self.world.observed.maps.routes.get(&prefix);
        if found == Some(&RouteEntry::local(&wanted)) {
            return;
        }
        let is_new = found.is_none();
        if recorded {
            let found = found.map(|route| &route.endpoint);
            let map = prefix_map(prefix);
            draft.note(altered(map, prefix.to_string(), found, &wanted));
        }
        self.becomes_an_end(draft, is_new && (recorded || *owner == Owner::Node));
        self.act(draft, Op::SetPrefix(prefix, owner.clone(), punts));
    }

    /// Attaches or detaches the programs of an interface.
    pub(super) fn programs(
        &mut self,
        draft: &mut Draft,
        dev: &str,
        programs: &[ProgramKind],
        on: bool,
    ) {
        let ifindex = self.world.ifindex(dev);
        let mut missing = Vec::new();
        for &program in programs {
            let dev = dev.to_owned();
            let is_attached = self.world.observed.attached.contains(&(ifindex, program));
            let is_ahead = self.ahead.remove(&(ifindex, program));
            match (on, is_attached) {
                (true, true) if is_ahead => {
                    draft.note(Drift::ProgramMissing { program, dev });
                    draft.is_ahead = true;
                }
                (true, false) => {
                    draft.note(Drift::ProgramMissing { program, dev });
                    missing.push(program);
                }
                (false, true) => {
                    draft.note(Drift::ProgramSurplus {
                        program,
                        dev: dev.clone(),
                    });
                    self.take_off(draft, program, &dev);
                }
                (true, true) if self.world.observed.loose.contains(&(ifindex, program)) => {
                    draft.note(Drift::LinkUnpinned {
                        program,
                        dev: dev.clone(),
                    });
                    self.act(draft, Op::Attach(program, dev));
                }
                (true, true) | (false, false) => {}
            }
        }
        if !missing.is_empty() {
            self.attach(draft, dev, &missing);
        }
    }

    /// Removes what the maps hold and no record explains, and the pins of links to interfaces that are nobody's.
    pub(super) fn surplus_entries(&mut self) {
        let mut draft = Draft::default();
        for (drift, op) in self.surplus_of_maps() {
            draft.note(drift);
            self.act(&mut draft, op);
        }
        let before = surplus_pins(self.initial);
        for (program, dev) in surplus_pins(&self.world) {
            // Else it is of what was renamed or removed in this run.
            if before.contains(&(program, dev.clone())) {
                draft.note(Drift::LinkSurplus {
                    program,
                    dev: dev.clone(),
                });
            }
            self.act(&mut draft, Op::Detach(program, dev));
        }
        self.features(&mut draft);
        draft.silent = draft.drift.is_empty();
        let name = self.wanted.name.clone();
        self.step(Action::Update, Object::Node, &name, None, draft);
    }
}

/// How an entry of a map is not as it is wanted.
pub(super) fn altered(
    map: &'static str,
    key: String,
    found: Option<&EndpointEntry>,
    wanted: &EndpointEntry,
) -> Drift {
    let Some(found) = found else {
        return Drift::EntryGone { map, key };
    };
    let other_punts = EndpointEntry {
        punt_to: wanted.punt_to,
        punt_between: wanted.punt_between,
        ..*found
    };
    if other_punts != *wanted {
        return Drift::EntryAltered { map, key };
    }
    let number = |entry: &EndpointEntry| match entry.punt_to {
        0 => entry.between(),
        to => to,
    };
    punts(key, number(wanted), number(found))
}

/// What acts on packets is another thing than the programs go by.
fn punts(of: String, found: u16, recorded: u16) -> Drift {
    let name = |number| PuntReason::from_number(number).map(PuntReason::name);
    Drift::Punts {
        of,
        found: name(found),
        recorded: name(recorded),
    }
}

/// How the entry of an interface is not as it is wanted.
pub(super) fn described_otherwise(
    key: String,
    found: Option<&Interface>,
    wanted: &Interface,
) -> Drift {
    let map = "interfaces";
    let Some(found) = found else {
        return Drift::EntryGone { map, key };
    };
    let as_wanted = Interface {
        ready: wanted.ready,
        shadow: wanted.shadow,
        punts: wanted.punts,
        rp_filter: wanted.rp_filter,
        ..found.clone()
    };
    if as_wanted != *wanted {
        return Drift::EntryAltered { map, key };
    }
    if found.shadow != wanted.shadow {
        return Drift::ShadowMode {
            dev: wanted.dev.clone(),
            wanted: wanted.shadow,
        };
    }
    if found.rp_filter != wanted.rp_filter {
        return Drift::ReversePath {
            found: wanted.rp_filter,
            recorded: found.rp_filter,
        };
    }
    let number = |interface: &Interface| match interface.punts.ingress {
        0 => interface.punts.egress,
        ingress => ingress,
    };
    punts(
        format!("what passes interface {}", wanted.dev),
        number(wanted),
        number(found),
    )
}

impl Planner<'_> {
    /// What the maps hold and no record explains. What goes has let go of its addresses and prefixes by now.
    fn surplus_of_maps(&self) -> Vec<(Drift, Op)> {
        let Some(mut node) = self.world.recorded.clone() else {
            return Vec::new();
        };
        for (name, _) in self.surplus_endpoints() {
            if let Some(endpoint) = node.endpoints.get_mut(&name) {
                endpoint.addresses.clear();
                endpoint.prefixes.clear();
            }
        }
        for (dev, _) in self.surplus_uplinks() {
            if let Some(uplink) = node.uplinks.get_mut(&dev) {
                uplink.addresses.clear();
            }
        }
        let own = (self.other_addresses(), self.own_prefixes());
        surplus(&node, (&own.0, &own.1), &self.world.observed.maps)
    }
}

/// Beside what is recorded the node has addresses and prefixes of its own.
fn surplus(
    node: &Recorded,
    (others, own_prefixes): (&BTreeSet<IpAddr>, &BTreeSet<IpNet>),
    maps: &Maps,
) -> Vec<(Drift, Op)> {
    let gone = |map, key: String, op| (Drift::EntrySurplus { map, key }, op);
    let endpoints = || node.endpoints.values();
    let mut surplus = Vec::new();
    let own: BTreeSet<IpAddr> = endpoints()
        .flat_map(|endpoint| &endpoint.addresses)
        .map(IpNet::addr)
        .chain(
            node.uplinks
                .values()
                .flat_map(|uplink| &uplink.addresses)
                .flat_map(taken_by),
        )
        .chain(others.iter().copied())
        .collect();
    for &address in maps
        .endpoints
        .keys()
        .filter(|address| !own.contains(address))
    {
        let op = Op::RemoveEntry(address);
        surplus.push(gone(address_map(address), address.to_string(), op));
    }
    let prefixes: BTreeSet<IpNet> = endpoints()
        .flat_map(|endpoint| &endpoint.prefixes)
        .chain(node.routes.keys())
        .chain(own_prefixes)
        .copied()
        .collect();
    for &prefix in maps
        .routes
        .keys()
        .filter(|prefix| !prefixes.contains(prefix))
    {
        let op = Op::RemovePrefix(prefix);
        surplus.push(gone(prefix_map(prefix), prefix.to_string(), op));
    }
    let ids: BTreeSet<_> = endpoints().map(|endpoint| endpoint.id).collect();
    for &id in maps.devices.keys().filter(|id| !ids.contains(id)) {
        surplus.push(gone("devices", id.0.to_string(), Op::RemoveDevice(id)));
    }
    for &ifindex in &maps.strange_gates {
        let op = Op::Unregister(ifindex);
        surplus.push(gone("gates", ifindex.0.to_string(), op));
    }
    let is_there = |ifindex: &&Ifindex| maps.interfaces.contains_key(*ifindex);
    for &ifindex in maps.retired.iter().filter(is_there) {
        let op = Op::Unretire(ifindex);
        surplus.push(gone("retired", ifindex.0.to_string(), op));
    }
    for (&ifindex, interface) in &maps.interfaces {
        let known = match interface.kind {
            Some(InterfaceKind::Endpoint) => {
                endpoints().any(|e| e.id == interface.id && e.ifindex == ifindex)
            }
            Some(InterfaceKind::Uplink | InterfaceKind::BareUplink) => node
                .uplinks
                .values()
                .any(|uplink| uplink.ifindex == ifindex),
            None => false,
        };
        if !known {
            let op = Op::Unregister(ifindex);
            surplus.push(gone("interfaces", ifindex.0.to_string(), op));
        }
    }
    surplus
}

fn surplus_pins(world: &World) -> Vec<(ProgramKind, String)> {
    let Some(node) = &world.recorded else {
        return Vec::new();
    };
    let is_known = |(program, dev): &&(ProgramKind, String)| {
        if ENDPOINT.contains(program) {
            node.endpoints
                .values()
                .any(|endpoint| endpoint.host_dev == *dev)
        } else {
            node.uplinks.contains_key(dev)
        }
    };
    let pins = world.observed.link_pins.iter();
    pins.filter(|pin| !is_known(pin)).cloned().collect()
}
