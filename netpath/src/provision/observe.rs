//! What is up.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use netpath_common::{
    EndpointEntry, FastPathMode, Ifindex, InterfaceKind, Mac, Origin, ProgramKind, PuntReason,
};

use super::{
    EndpointStatus, FastPath, InterfaceStatus, NextHopStatus, NodeStatus, RouteStatus, UNREADABLE,
    UplinkStatus, error::ProvisionError, require, snapshot,
};
use crate::{
    capabilities::Work,
    datapath::{Datapath, attach_mode, nodes},
    descriptors,
    finding::Finding,
    model::{NodePlace, is_forwardable},
    mounts,
    reconcile::{
        self, Drift, Fresh, Home, Object, Recorded, RecordedUplink, Refused, Wanted, World,
    },
};

/// The nodes that are up, and what all that is told of them follows from.
#[derive(Debug, Default)]
pub struct Examined {
    /// What is told of each.
    pub nodes: Vec<NodeStatus>,
    /// Of those that could be looked at: what they are to be, as recorded, and what is there.
    pub worlds: Vec<(Wanted, World)>,
}

/// See [`super::examine`]. `command` is netpath's subcommand.
pub fn examine(command: &str) -> Result<Examined, ProvisionError> {
    require(Work::Nodes)?;
    mounts::require_visible(command)?;
    // One node after the other, and another whose wire is asked about.
    descriptors::require(2)?;
    let attach_mode = attach_mode()?.name();
    let (mut status, mut seen) = (Vec::new(), Vec::new());
    for name in nodes()? {
        match node(&name, attach_mode, &mut seen) {
            Ok(found) => status.extend(found),
            // One bad node is one row, and the rest works.
            Err(error) => status.push(unreadable(&name, attach_mode, &error)),
        }
    }
    let of: Vec<(&Wanted, &World)> = seen.iter().map(|(wanted, world)| (wanted, world)).collect();
    for (name, told) in reconcile::missing_ways_back(&of) {
        let node = status.iter_mut().find(|node| node.name == name);
        node.into_iter()
            .for_each(|node| node.drift.push(told.finding(&name)));
    }
    Ok(Examined {
        nodes: status,
        worlds: seen,
    })
}

fn unreadable(name: &str, attach_mode: &'static str, error: &ProvisionError) -> NodeStatus {
    NodeStatus {
        name: name.to_owned(),
        netns: String::new(),
        directory: Datapath::directory_of(name).display().to_string(),
        attach_mode,
        fast_path: FastPath::Unknown,
        uplinks: Vec::new(),
        routes: Vec::new(),
        endpoints: Vec::new(),
        drift: vec![UNREADABLE.found(
            Object::Node.told(name, name),
            error.to_string(),
            UNREADABLE.cure,
        )],
    }
}

/// One that could be looked at is among those `seen` then.
fn node(
    name: &str,
    attach_mode: &'static str,
    seen: &mut Vec<(Wanted, World)>,
) -> Result<Option<NodeStatus>, ProvisionError> {
    let mut snapshot = snapshot::take(name, None)?;
    // Programs of another version are no drift: only `up` knows which are wanted.
    snapshot.world.observed.programs_current = true;
    snapshot.world.observed.has_room = true;
    let world = &snapshot.world;
    let Some(recorded) = &world.recorded else {
        return Ok(None);
    };
    let wanted = Wanted::of_recorded(name, recorded)?;
    let mut status = NodeStatus {
        name: name.to_owned(),
        netns: match recorded.place {
            NodePlace::Lab => name.to_owned(),
            NodePlace::Host => "host".to_owned(),
        },
        directory: Datapath::directory_of(name).display().to_string(),
        attach_mode,
        fast_path: FastPath::Off,
        uplinks: Vec::new(),
        routes: Vec::new(),
        endpoints: Vec::new(),
        drift: Vec::new(),
    };
    if let Some(refused) = reconcile::elsewhere(&wanted, world) {
        status.drift = vec![refused.finding()];
        status.fast_path = FastPath::Unknown;
        return Ok(Some(status));
    }
    if snapshot.netns.is_none() {
        let gone = Drift::NamespaceGone(name.to_owned());
        status.drift = vec![gone.finding(Object::Node.told(name, name))];
        return Ok(Some(status));
    }
    let mut drift = drift(&wanted, recorded, world);
    let mut of =
        |object: Object, name: &str| drift.remove(&(object, name.to_owned())).unwrap_or_default();
    status.uplinks = uplinks(recorded, world, &mut of);
    status.endpoints = endpoints(recorded, world, &mut of);
    status.routes = routes(recorded, world);
    status.drift = of(Object::Node, name);
    status.drift.extend(drift.into_values().flatten());
    status.fast_path = overall(recorded, &status);
    seen.push((wanted, snapshot.world));
    Ok(Some(status))
}

/// What is not as it was made, by object: what a plan for what is recorded would mend.
fn drift(
    wanted: &Wanted,
    recorded: &Recorded,
    world: &World,
) -> BTreeMap<(Object, String), Vec<Finding>> {
    let plan = reconcile::plan(wanted, world, &mut Fresh::new(0));
    let mut drift: BTreeMap<(Object, String), Vec<Finding>> = BTreeMap::new();
    for step in plan.steps.iter().chain(&plan.removals) {
        let (object, name) = &step.object;
        let told = object.told(name, &wanted.name);
        let origin = match object {
            Object::Endpoint => recorded.endpoints.get(name).map(|record| record.origin),
            _ => None,
        };
        let findings = step
            .drift
            .iter()
            .map(|drift| cured(drift, told.clone(), origin));
        drift
            .entry(step.object.clone())
            .or_default()
            .extend(findings);
    }
    for told in &plan.told {
        let finding = told.finding(&wanted.name);
        drift.entry(told.object.clone()).or_default().push(finding);
    }
    refused(&plan.refusals, wanted, &mut drift);
    drift
}

/// `up` mends what is its file's.
fn cured(drift: &Drift, told: String, origin: Option<Origin>) -> Finding {
    let cure = match origin {
        Some(Origin::Command) => "the same `netpath endpoint add` again mends it",
        Some(Origin::Cni) => "have the container runtime make it anew",
        Some(Origin::File) | None => return drift.finding(told),
    };
    let finding = drift.finding(told);
    match drift.is_mended_by_up() {
        true => Finding {
            cure: cure.to_owned(),
            ..finding
        },
        false => finding,
    }
}

/// What `up` would refuse it does not mend: of such an object that is what is wrong, with its cure.
fn refused(
    refusals: &[Refused],
    wanted: &Wanted,
    drift: &mut BTreeMap<(Object, String), Vec<Finding>>,
) {
    let endpoints = wanted
        .endpoints
        .iter()
        .map(|e| (Object::Endpoint, e.name.clone()));
    let uplinks = wanted
        .uplinks
        .iter()
        .map(|u| (Object::Uplink, u.dev.clone()));
    let routes = wanted
        .routes
        .iter()
        .map(|r| (Object::Route, r.dst.to_string()));
    let objects: Vec<(Object, String)> = endpoints.chain(uplinks).chain(routes).collect();
    let node = (Object::Node, wanted.name.clone());
    let mut found: BTreeMap<(Object, String), Vec<Finding>> = BTreeMap::new();
    for refused in refusals {
        let is_it =
            |(object, name): &&(Object, String)| object.told(name, &wanted.name) == refused.object;
        let object = objects.iter().find(is_it).unwrap_or(&node);
        found
            .entry(object.clone())
            .or_default()
            .push(refused.finding());
    }
    drift.extend(found);
}

fn interface(
    world: &World,
    dev: &str,
    ifindex: Ifindex,
    mac: Mac,
    programs: &[ProgramKind],
    numbers: impl IntoIterator<Item = u16>,
) -> InterfaceStatus {
    let link = world.observed.node.link(dev);
    let on = link.is_some_and(|link| {
        let mut programs = programs.iter();
        programs.all(|program| world.observed.attached.contains(&(link.ifindex, *program)))
    });
    let known = world.observed.maps.interfaces.get(&ifindex);
    let punts = known.map(|known| [known.punts.ingress, known.punts.egress]);
    InterfaceStatus {
        dev: dev.to_owned(),
        ifindex,
        mac: mac.to_string(),
        mtu: link.map(|link| link.mtu),
        fast_path: match known {
            _ if !on => FastPath::Off,
            Some(known) if known.shadow => FastPath::Shadow,
            _ => FastPath::On,
        },
        kernel: reasons(punts.into_iter().flatten().chain(numbers)),
    }
}

/// The names of reasons, each once; 0 is none.
fn reasons(numbers: impl IntoIterator<Item = u16>) -> Vec<&'static str> {
    let numbers: BTreeSet<u16> = numbers.into_iter().collect();
    let reasons = numbers.into_iter().filter_map(PuntReason::from_number);
    reasons.map(PuntReason::name).collect()
}

/// Of what goes to an address or a prefix, and between it and others.
fn of_entry(entry: &EndpointEntry) -> [u16; 2] {
    [entry.punt_to, entry.between()]
}

fn uplinks(
    recorded: &Recorded,
    world: &World,
    drift: &mut dyn FnMut(Object, &str) -> Vec<Finding>,
) -> Vec<UplinkStatus> {
    let status = |(dev, record): (&String, &reconcile::RecordedUplink)| {
        let programs = InterfaceKind::Uplink.programs();
        UplinkStatus {
            interface: interface(world, dev, record.ifindex, record.mac, programs, []),
            addresses: addresses_of(dev, record, world),
            wire: Some(record.wire.clone()).filter(|wire| !wire.is_empty()),
            made: record.made,
            drift: drift(Object::Uplink, dev),
        }
    };
    recorded.uplinks.iter().map(status).collect()
}

/// Those that the file says; where it leaves them to the machine, those that the machine has there.
fn addresses_of(dev: &str, record: &RecordedUplink, world: &World) -> Vec<IpNet> {
    let there = world.observed.node.link(dev).filter(|_| !record.made);
    match (record.addresses.as_slice(), there) {
        ([], Some(link)) => {
            let addresses = link.addresses.iter().copied();
            addresses.filter(|net| is_forwardable(net.addr())).collect()
        }
        (addresses, _) => addresses.to_vec(),
    }
}

fn endpoints(
    recorded: &Recorded,
    world: &World,
    drift: &mut dyn FnMut(Object, &str) -> Vec<Finding>,
) -> Vec<EndpointStatus> {
    let status = |(name, record): (&String, &reconcile::RecordedEndpoint)| {
        let programs = InterfaceKind::Endpoint.programs();
        let maps = &world.observed.maps;
        let addresses = record.addresses.iter();
        let entries = addresses.filter_map(|address| maps.endpoints.get(&address.addr()));
        let prefixes = record.prefixes.iter();
        let routes = prefixes.filter_map(|prefix| maps.routes.get(prefix));
        let entries = entries.chain(routes.map(|route| &route.endpoint));
        EndpointStatus {
            name: name.clone(),
            origin: record.origin.name(),
            netns: match &record.home {
                Home::Made => name.clone(),
                Home::Given(path) => path.clone(),
            },
            id: record.id,
            dev: record.dev.clone(),
            mac: record.endpoint_mac.to_string(),
            interface: interface(
                world,
                &record.host_dev,
                record.ifindex,
                record.host_mac,
                programs,
                entries.flat_map(of_entry),
            ),
            addresses: record.addresses.clone(),
            prefixes: record.prefixes.clone(),
            drift: drift(Object::Endpoint, name),
        }
    };
    recorded.endpoints.iter().map(status).collect()
}

fn routes(recorded: &Recorded, world: &World) -> Vec<RouteStatus> {
    let status = |(&dst, record): (&IpNet, &reconcile::RecordedRoute)| {
        let entry = world.observed.maps.routes.get(&dst);
        RouteStatus {
            dst,
            via: record.via,
            dev: record.dev.clone(),
            next_hops: next_hops(world, &dst),
            made: record.made && is_own(world, &dst),
            kernel: reasons(
                entry
                    .into_iter()
                    .flat_map(|route| of_entry(&route.endpoint)),
            ),
        }
    };
    recorded.routes.iter().map(status).collect()
}

/// Whether the route that the kernel goes by is one that netpath made: a daemon may have put its own in the place.
fn is_own(world: &World, dst: &IpNet) -> bool {
    let route = world.observed.node.route_to(dst);
    route.is_some_and(|route| route.ours)
}

fn next_hops(world: &World, dst: &IpNet) -> Vec<NextHopStatus> {
    let node = &world.observed.node;
    let mut ways = world.observed.census.ways.iter();
    let asked = ways.find(|way| (way.of, way.dst, way.tos) == (*dst, *dst, 0));
    if let Some(way) = asked {
        let hops = way.hops.iter().map(|hop| NextHopStatus {
            via: hop.via,
            dev: hop.dev.clone(),
        });
        return hops.collect();
    }
    let hops = node.route_to(dst).into_iter().flat_map(|route| &route.hops);
    let hops = hops.map(|hop| NextHopStatus {
        via: hop.via,
        dev: hop
            .ifindex
            .and_then(|it| node.name_of(it))
            .map(str::to_owned),
    });
    hops.collect()
}

/// Over all interfaces; without any: what is wanted.
fn overall(recorded: &Recorded, status: &NodeStatus) -> FastPath {
    let uplinks = status
        .uplinks
        .iter()
        .map(|uplink| uplink.interface.fast_path);
    let endpoints = status
        .endpoints
        .iter()
        .map(|endpoint| endpoint.interface.fast_path);
    let states: Vec<FastPath> = uplinks.chain(endpoints).collect();
    let all = |wanted: FastPath| states.iter().all(|&state| state == wanted);
    let uniform = [FastPath::On, FastPath::Shadow, FastPath::Off];
    match uniform.into_iter().find(|state| all(*state)) {
        Some(_) if states.is_empty() => match recorded.fast_path {
            FastPathMode::On => FastPath::On,
            FastPathMode::Shadow => FastPath::Shadow,
            FastPathMode::Off => FastPath::Off,
        },
        Some(state) => state,
        None => FastPath::Partly,
    }
}
