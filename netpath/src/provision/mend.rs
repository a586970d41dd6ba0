//! Making what was recorded true again, without a file.

use std::sync::atomic::AtomicBool;

use super::{
    beside,
    carry_out::{Making, Site},
    error::{self, ProvisionError},
    expedited, random, require, snapshot,
    up::{mended, migration},
};
use crate::{
    capabilities::Work,
    datapath::{self, Capacity, Datapath, ObjectKind},
    descriptors,
    lock::TopologyLock,
    mounts,
    reconcile::{self, Action, Change, Fresh, Object, Wanted},
};

/// See [`super::mend`].
pub fn mend(
    nodes: &[String],
    interrupted: &AtomicBool,
    progress: &mut dyn FnMut(&Change),
) -> Result<Vec<Change>, ProvisionError> {
    require(Work::Nodes)?;
    mounts::require_lasting("doctor --fix")?;
    mounts::require_shared_namespaces("doctor --fix")?;
    mounts::require_writable()?;
    descriptors::require(2)?;
    let lock = TopologyLock::take(interrupted)?;
    let _expedited = expedited(nodes);
    let mut changes = Vec::new();
    let mut report = |change: &Change| {
        progress(change);
        changes.push(change.clone());
    };
    for name in datapath::unfinished()? {
        // Whoever was at work on it is at work no more: it would hold the lock.
        Datapath::remove_unfinished(&name)?;
        report(&Change {
            action: Action::Remove,
            object: Object::Node,
            node: name.clone(),
            name,
            detail: "pins of one that was never finished, or not wholly removed".to_owned(),
        });
    }
    let failed = nodes
        .iter()
        .filter_map(|name| node(name, &lock, &mut report).err());
    let failed = error::all(failed.collect());
    let told = beside::tell(nodes, &lock);
    match (failed, told) {
        (None, Ok(())) => Ok(changes),
        (None, Err(error)) => Err(error),
        (Some(cause), told) => Err(cause.and(told.err())),
    }
}

fn node(
    name: &str,
    lock: &TopologyLock,
    report: &mut dyn FnMut(&Change),
) -> Result<(), ProvisionError> {
    let missing = Datapath::mend(name, ObjectKind::Plain, lock)?;
    if !missing.is_empty() {
        report(&mended(name, &missing)?);
    }
    if let Some(version) = Datapath::migrate(name, ObjectKind::Plain, lock)? {
        report(&migration(name, version));
    }
    let mut snapshot = snapshot::take(name, None)?;
    let Some(recorded) = &snapshot.world.recorded else {
        return Ok(());
    };
    let wanted = Wanted::of_recorded(name, recorded)?;
    let mut making = Making {
        capacity: Capacity::DEFAULT,
        object: ObjectKind::Plain,
    };
    if let Some(datapath) = &snapshot.datapath {
        let settings = datapath.maps.settings.get()?;
        making.capacity = Capacity {
            endpoints: settings.max_endpoints,
            routes: settings.max_routes,
            route_records: settings.max_route_records,
            connections: settings.max_connections,
        };
        // Whoever has the programs log packets wants it so.
        snapshot.world.observed.programs_current =
            datapath.has_object(ObjectKind::Plain)? || datapath.has_object(ObjectKind::Logging)?;
    }
    snapshot.world.observed.has_room = true;
    let plan = reconcile::plan(&wanted, &snapshot.world, &mut Fresh::new(random()?));
    let refusals = plan.refusals.iter().cloned().map(ProvisionError::from);
    if let Some(error) = error::all(refusals.collect()) {
        return Err(error);
    }
    let mut site = Site::new(name, lock, snapshot, Some(making));
    site.steps(&plan.steps, report)?;
    site.steps(&plan.removals, report)
}
