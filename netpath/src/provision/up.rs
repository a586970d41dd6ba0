//! Making a topology true, and taking it back as it was where that fails.

use std::sync::atomic::Ordering;

use netpath_common::{ABI_VERSION, Bypass, FastPathMode};

use super::{
    UpOptions, audit, beside,
    carry_out::{Making, Site},
    error::{self, ProvisionError},
    iptables, random, require,
    snapshot::{self, Snapshot},
};
use crate::{
    capabilities::Work,
    datapath::{Capacity, Datapath, Missing},
    descriptors,
    expedite::Expedited,
    finding::Finding,
    lock::TopologyLock,
    model::{self, ForwardPolicy, NodePlace, Topology},
    mounts,
    reconcile::{self, Action, Change, Fresh, Object, Plan, Recorded, Refusal, Wanted},
    sysctl,
};

/// What [`super::up_telling`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raised {
    /// What it changed.
    pub changes: Vec<Change>,
    /// What is still wrong, and not netpath's to mend.
    pub findings: Vec<Finding>,
}

/// See [`super::plan_telling`].
pub fn plan(topology: &Topology, options: &UpOptions) -> Result<Raised, ProvisionError> {
    require_allowed(topology)?;
    mounts::require_lasting("up")?;
    mounts::require_writable()?;
    let mut topology = topology.clone();
    let mut changes = Vec::new();
    let mut older = Vec::new();
    for node in &topology.nodes {
        let missing = Datapath::missing(node.name.as_ref())?;
        if !missing.is_empty() {
            changes.push(mended(node.name.as_ref(), &missing)?);
            older.push(node.name.clone());
            continue;
        }
        if let Some(version) = Datapath::older_version(node.name.as_ref())? {
            changes.push(migration(node.name.as_ref(), version));
            older.push(node.name.clone());
        }
    }
    // Of these nothing more can be said before.
    for name in &older {
        tracing::warn!(
            "node {name}: more changes may follow, which can be told only when its pins are mended or brought up to date"
        );
    }
    topology.nodes.retain(|node| !older.contains(&node.name));
    let planned = planned(&topology, options)?;
    changes.extend(planned.iter().flat_map(|it| it.plan.changes()).cloned());
    let findings = planned
        .iter()
        .flat_map(|it| it.plan.findings(&it.wanted.name));
    let findings = findings.chain(between(&planned)).collect();
    Ok(Raised { changes, findings })
}

/// What is wrong between the nodes of a file.
fn between(planned: &[Planned<'_>]) -> Vec<Finding> {
    let nodes = planned.iter();
    let nodes: Vec<_> = nodes.map(|it| (&it.wanted, &it.snapshot.world)).collect();
    let missing = reconcile::missing_ways_back(&nodes).into_iter();
    missing.map(|(node, told)| told.finding(&node)).collect()
}

/// Pins that were missing or led elsewhere; refused where it is not known any more what is the node's.
pub(super) fn mended(node: &str, missing: &Missing) -> Result<Change, ProvisionError> {
    if !missing.lost.is_empty() {
        let refusal = Refusal::LostMaps(missing.lost.clone());
        return Err(refusal.of(Object::Node.told(node, node)).on(node).into());
    }
    let mut gone = missing.held.clone();
    gone.extend(missing.programs.then_some("programs"));
    let altered = Vec::from_iter(missing.identity.is_some().then_some("meta"));
    let told = [
        ("pins that were gone", gone),
        ("pins that led elsewhere", missing.elsewhere()),
        ("overwritten maps", altered),
    ];
    let told = told.iter().filter(|(_, pins)| !pins.is_empty());
    let told: Vec<String> = told
        .map(|(what, pins)| format!("{what}: {}", pins.join(", ")))
        .collect();
    Ok(Change {
        action: Action::Update,
        object: Object::Node,
        node: node.to_owned(),
        name: node.to_owned(),
        detail: told.join("; "),
    })
}

pub(super) fn migration(node: &str, version: u32) -> Change {
    Change {
        action: Action::Update,
        object: Object::Node,
        node: node.to_owned(),
        name: node.to_owned(),
        detail: format!("its maps, from ABI version {version} to {ABI_VERSION}"),
    }
}

/// How much a node's maps are to hold.
fn capacity(node: &model::Node) -> Capacity {
    let routes = u32::try_from(node.routes.len()).unwrap_or(u32::MAX);
    Capacity {
        endpoints: node.capacity.endpoints,
        routes: node.capacity.routes,
        route_records: routes.max(Capacity::DEFAULT.route_records),
        connections: node.capacity.connections,
    }
}

/// One node, and what is to be done for it.
struct Planned<'a> {
    node: &'a model::Node,
    wanted: Wanted,
    snapshot: Snapshot,
    plan: Plan,
}

/// Plans every node; refuses if any has to be refused, with all that is wrong.
fn planned<'a>(
    topology: &'a Topology,
    options: &UpOptions,
) -> Result<Vec<Planned<'a>>, ProvisionError> {
    // Every node of the file is open at once, and another whose wire is asked about.
    descriptors::require(topology.nodes.len() + 1)?;
    // A lab is a namespace, and so is an endpoint.
    let makes_namespaces =
        |node: &model::Node| node.place == NodePlace::Lab || !node.endpoints.is_empty();
    if topology.nodes.iter().any(makes_namespaces) {
        mounts::require_shared_namespaces("up")?;
    }
    Datapath::check_kernel()?;
    require_ipv6(topology)?;
    let mut errors = Vec::new();
    if needs_iptables(topology) {
        errors.extend(iptables::require().err());
    }
    let mut planned = Vec::new();
    for node in &topology.nodes {
        match plan_node(node, options) {
            Ok(node) => {
                errors.extend(node.plan.refusals.iter().cloned().map(ProvisionError::from));
                planned.push(node);
            }
            Err(error) => errors.push(error),
        }
    }
    match error::all(errors) {
        None => Ok(planned),
        Some(error) => Err(error),
    }
}

fn require_allowed(topology: &Topology) -> Result<(), ProvisionError> {
    require(Work::Nodes)?;
    match needs_iptables(topology) {
        true => iptables::require_allowed(),
        false => Ok(()),
    }
}

fn needs_iptables(topology: &Topology) -> bool {
    let mut nodes = topology.nodes.iter();
    nodes.any(|node| node.forward_policy == ForwardPolicy::Drop)
}

/// Refuses a file with IPv6 on a kernel that has none, once: nothing of it could be made as it is wanted.
fn require_ipv6(topology: &Topology) -> Result<(), ProvisionError> {
    let mut nodes = topology.nodes.iter();
    let uses_ipv6 = nodes.any(|node| Wanted::of(node, None).uses_ipv6());
    match uses_ipv6 && !sysctl::has_ipv6() {
        true => Err(Refusal::NoIpv6.of("this machine").into()),
        false => Ok(()),
    }
}

fn plan_node<'a>(
    node: &'a model::Node,
    options: &UpOptions,
) -> Result<Planned<'a>, ProvisionError> {
    let mut wanted = Wanted::of(node, options.fast_path.map(FastPathMode::from));
    let mut snapshot = snapshot::take(&wanted.name, Some(&wanted))?;
    let recorded = snapshot.world.recorded.as_ref();
    wanted.bypass = audit::accepted(Some(&wanted), recorded);
    if options.accept_bypass && wanted.place == NodePlace::Host {
        wanted.bypass = wanted.bypass.and(Bypass::OF_FORWARD);
    }
    if let Some(datapath) = &snapshot.datapath {
        snapshot.world.observed.programs_current = datapath.has_object(options.object)?;
        snapshot.world.observed.has_room = datapath.has_room(&capacity(node))?;
        tell_surplus_room(node, datapath)?;
    }
    let mut plan = reconcile::plan(&wanted, &snapshot.world, &mut Fresh::new(random()?));
    if comes_on(&wanted, snapshot.world.recorded.as_ref()) {
        plan.refusals.extend(audit::refused(&wanted, &snapshot)?);
    }
    Ok(Planned {
        node,
        wanted,
        snapshot,
        plan,
    })
}

/// Whether packets are to take the fast path that did not before.
fn comes_on(wanted: &Wanted, recorded: Option<&Recorded>) -> bool {
    let before = recorded.map_or(FastPathMode::Off, |node| node.fast_path);
    let unsaid = recorded.map_or(FastPathMode::On, |node| node.fast_path);
    let after = wanted.fast_path.unwrap_or(unsaid);
    before != FastPathMode::On && after == FastPathMode::On
}

/// A file that wants less room than there is changes nothing, which somebody may not expect.
fn tell_surplus_room(node: &model::Node, datapath: &Datapath) -> Result<(), ProvisionError> {
    let settings = datapath.maps.settings.get()?;
    let name = &node.name;
    for (key, has, wanted) in [
        (
            "max_endpoints",
            settings.max_endpoints,
            node.capacity.endpoints,
        ),
        ("max_routes", settings.max_routes, node.capacity.routes),
        (
            "max_connections",
            settings.max_connections,
            node.capacity.connections,
        ),
    ] {
        if has > wanted {
            tracing::warn!(
                "node {name} keeps its {key} of {has}, though the file says {wanted}: maps never shrink while packets flow; \
                 `netpath down {name}`, and bringing it up again, makes them anew"
            );
        }
    }
    Ok(())
}

/// A node as it was before this run.
struct Before {
    name: String,
    /// `None` where there was none.
    wanted: Option<Wanted>,
    making: Making,
}

/// See [`super::up_telling`].
pub fn up(
    topology: &Topology,
    options: &UpOptions,
    progress: &mut dyn FnMut(&Change),
) -> Result<Raised, ProvisionError> {
    require_allowed(topology)?;
    mounts::require_lasting("up")?;
    mounts::require_writable()?;
    let lock = TopologyLock::take(&options.interrupted)?;
    let _expedited = Expedited::by_default(topology.nodes.iter().any(|node| node.expedite));
    let mut changes = Vec::new();
    let mut report = |change: &Change| {
        progress(change);
        changes.push(change.clone());
    };
    for node in &topology.nodes {
        let missing = Datapath::mend(node.name.as_ref(), options.object, &lock)?;
        if !missing.is_empty() {
            report(&mended(node.name.as_ref(), &missing)?);
        }
        if let Some(version) = Datapath::migrate(node.name.as_ref(), options.object, &lock)? {
            report(&migration(node.name.as_ref(), version));
        }
    }
    let planned = planned(topology, options)?;
    let mut begun = Vec::new();
    let mut to_clear = Vec::new();
    let mut findings = between(&planned);
    for (index, planned) in planned.into_iter().enumerate() {
        // A node before this one may have made the wire that they share.
        let planned = match index {
            0 => Ok(planned),
            _ => plan_node(planned.node, options),
        };
        let result = planned.and_then(|planned| {
            if !planned.plan.removals.is_empty() {
                to_clear.push(planned.node);
            }
            node(planned, options, &lock, &mut begun, &mut report)
        });
        match result {
            Ok(told) => findings.extend(told),
            Err(cause) => return Err(take_back(cause, begun, &lock)),
        }
    }
    // What is removed from here on cannot be made again as it was.
    if !to_clear.is_empty() && options.interrupted.load(Ordering::Relaxed) {
        return Err(take_back(ProvisionError::Interrupted, begun, &lock));
    }
    let failed = to_clear
        .into_iter()
        .filter_map(|node| clear(node, options, &lock, &mut report).err());
    let failed = error::all(failed.collect());
    let told = end_killed_traces(topology, &mut report).and(tell_others(topology, &lock));
    match (failed, told) {
        (None, Ok(())) => Ok(Raised { changes, findings }),
        (None, Err(error)) => Err(error),
        (Some(cause), told) => Err(ProvisionError::Surplus(Box::new(cause)).and(told.err())),
    }
}

/// What a `netpath trace` that was killed has left in the nodes' programs.
fn end_killed_traces(
    topology: &Topology,
    report: &mut dyn FnMut(&Change),
) -> Result<(), ProvisionError> {
    for node in &topology.nodes {
        let name = node.name.as_ref();
        if let Some(datapath) = Datapath::open(name)?
            && datapath.end_killed_traces()?
        {
            report(&Change {
                action: Action::Update,
                object: Object::Node,
                node: name.to_owned(),
                name: name.to_owned(),
                detail: "its programs tell a trace that was killed nothing any more".to_owned(),
            });
        }
    }
    Ok(())
}

/// Other nodes have to know of the endpoints that came and went, where they are in the same namespace: a machine's.
fn tell_others(topology: &Topology, lock: &TopologyLock) -> Result<(), ProvisionError> {
    let mut nodes = topology.nodes.iter();
    if nodes.all(|node| node.place == NodePlace::Lab) {
        return Ok(());
    }
    let names = topology.nodes.iter().map(|node| node.name.to_string());
    beside::tell(&names.collect::<Vec<String>>(), lock)
}

/// Removes what a node has and the file has no more. Planned anew: who was on a wire may have left it in this run.
fn clear(
    node: &model::Node,
    options: &UpOptions,
    lock: &TopologyLock,
    report: &mut dyn FnMut(&Change),
) -> Result<(), ProvisionError> {
    let Planned {
        wanted,
        snapshot,
        plan,
        ..
    } = plan_node(node, options)?;
    if let Some(refusal) = plan.refusals.into_iter().next() {
        return Err(refusal.into());
    }
    let mut site = Site::new(&wanted.name, lock, snapshot, None);
    site.steps(&plan.removals, report)
}

/// Makes a node as it is planned. Returns what is wrong with it then.
fn node(
    planned: Planned<'_>,
    options: &UpOptions,
    lock: &TopologyLock,
    begun: &mut Vec<Before>,
    report: &mut dyn FnMut(&Change),
) -> Result<Vec<Finding>, ProvisionError> {
    let Planned {
        node,
        wanted,
        snapshot,
        plan,
    } = planned;
    let told = plan.findings(&wanted.name).collect();
    if let Some(refusal) = plan.refusals.into_iter().next() {
        return Err(refusal.into());
    }
    let making = Making {
        capacity: capacity(node),
        object: options.object,
    };
    let recorded = snapshot.world.recorded.as_ref();
    let before = match recorded {
        Some(recorded) => Some(Wanted::of_recorded(&wanted.name, recorded)?),
        None => None,
    };
    if !plan.steps.is_empty() {
        begun.push(Before {
            name: wanted.name.clone(),
            wanted: before,
            making,
        });
    }
    let mut world = snapshot.world.clone();
    let mut site = Site::new(&wanted.name, lock, snapshot, Some(making));
    for step in &plan.steps {
        if options.interrupted.load(Ordering::Relaxed) {
            return Err(ProvisionError::Interrupted);
        }
        site.step(step)?;
        step.change.iter().for_each(&mut *report);
    }
    let steps = plan.steps.iter().chain(&plan.removals);
    let ops = steps.flat_map(|step| &step.ops);
    if ops.clone().next().is_none() {
        return Ok(told);
    }
    // Where the kernel leads what has come it can be asked only now.
    ops.for_each(|op| world.apply(op));
    snapshot::ask_again(&wanted.name, &mut world)?;
    let told = reconcile::told(&wanted, &world).into_iter();
    Ok(told.map(|told| told.finding(&wanted.name)).collect())
}

/// Makes every node as it was: by a plan for what was recorded of it before.
fn take_back(cause: ProvisionError, begun: Vec<Before>, lock: &TopologyLock) -> ProvisionError {
    let undoing: Vec<ProvisionError> = begun
        .into_iter()
        .rev()
        .filter_map(|before| restore(&before, lock).err())
        .collect();
    cause.and(undoing)
}

fn restore(before: &Before, lock: &TopologyLock) -> Result<(), ProvisionError> {
    let Some(wanted) = &before.wanted else {
        return super::down::node(&before.name, lock, None, &mut Vec::new(), &mut |_| {});
    };
    let mut snapshot = snapshot::take(&before.name, Some(wanted))?;
    snapshot.world.observed.programs_current = true;
    snapshot.world.observed.has_room = true;
    let plan = reconcile::plan(wanted, &snapshot.world, &mut Fresh::new(random()?));
    let refusals = plan
        .refusals
        .iter()
        .cloned()
        .map(ProvisionError::from)
        .collect();
    if let Some(error) = error::all(refusals) {
        return Err(error);
    }
    let mut site = Site::new(&before.name, lock, snapshot, Some(before.making));
    site.steps(&plan.steps, &mut |_| {})?;
    site.steps(&plan.removals, &mut |_| {})
}
