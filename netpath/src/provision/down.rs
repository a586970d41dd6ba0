//! Removing what netpath made, whatever became of it meanwhile.

use super::{
    DownOptions, beside,
    carry_out::Site,
    departures::{Departures, Remaining},
    error::{self, ProvisionError},
    expedited, require, snapshot,
    unproven::Unproven,
};
use crate::{
    capabilities::Work,
    datapath::{self, Datapath, ObjectKind},
    descriptors,
    expedite::Expedited,
    lock::TopologyLock,
    mounts,
    reconcile::{self, Change, Object, Op},
};

/// What [`super::down_unless`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// What was removed.
    pub changes: Vec<Change>,
    /// What the kernel still has of it.
    pub remaining: Vec<Remaining>,
}

/// See [`super::down`].
pub fn down(
    nodes: &[String],
    options: DownOptions<'_>,
    progress: &mut dyn FnMut(&Change),
) -> Result<Removed, ProvisionError> {
    require(Work::Nodes)?;
    mounts::require_visible("down")?;
    mounts::require_writable()?;
    descriptors::require(2)?;
    // Nothing of the nodes may be up; then nothing is unmounted either.
    if datapath::nodes()?.iter().any(|name| nodes.contains(name)) {
        mounts::require_shared_namespaces("down")?;
    }
    let lock = TopologyLock::take(options.interrupted)?;
    let _expedited = match options.expedite {
        Some(wanted) => Expedited::by_default(wanted),
        None => expedited(nodes),
    };
    let mut departures = Departures::new()?;
    let mut changes = Vec::new();
    let mut unproven = Vec::new();
    let mut errors = Vec::new();
    for name in nodes {
        let mut report = |change: &Change| {
            progress(change);
            changes.push(change.clone());
        };
        let departures = Some(&mut departures);
        errors.extend(node(name, &lock, departures, &mut unproven, &mut report).err());
    }
    errors.extend(beside::tell(nodes, &lock).err());
    let mut remaining: Vec<Remaining> = unproven.into_iter().map(Remaining::Unproven).collect();
    match departures.wait() {
        Ok(namespaces) => remaining.extend(namespaces),
        Err(error) => errors.push(error),
    }
    match error::all(errors) {
        None => Ok(Removed { changes, remaining }),
        Some(error) => Err(error),
    }
}

/// Removes one node with all that is on it. One that is not there is no error. The pins are what proves the rest to be
/// netpath's: they stay as long as anything does.
pub fn node(
    name: &str,
    lock: &TopologyLock,
    departures: Option<&mut Departures>,
    unproven: &mut Vec<Unproven>,
    report: &mut dyn FnMut(&Change),
) -> Result<(), ProvisionError> {
    let missing = Datapath::mend(name, ObjectKind::Plain, lock)?;
    if !missing.lost.is_empty() {
        Datapath::replace_lost(name, ObjectKind::Plain, lock)?;
    }
    // What an older netpath made is removed by what this one knows.
    Datapath::migrate(name, ObjectKind::Plain, lock)?;
    // What proves nothing any more must not keep the rest.
    let snapshot = snapshot::take_readable(name, None)?;
    let others = snapshot::endpoints_of_others(name)?;
    unproven.extend(Unproven::of(name, &missing, &snapshot, &others));
    if snapshot.world.recorded.is_none() {
        return Ok(Datapath::remove_unfinished(name)?);
    }
    let plan = reconcile::down(name, &snapshot.world);
    let mut errors: Vec<ProvisionError> = plan
        .refusals
        .into_iter()
        .map(ProvisionError::from)
        .collect();
    let mut site = Site::new(name, lock, snapshot, None);
    if let Some(departures) = departures {
        site = site.watched(departures);
    }
    for step in &plan.steps {
        let ends_the_node = step.object.0 == Object::Node
            && step
                .ops
                .iter()
                .any(|op| matches!(op, Op::RemoveNode | Op::RemoveRemains));
        if ends_the_node && !errors.is_empty() {
            break;
        }
        match site.step(step) {
            Ok(()) => step.change.iter().for_each(&mut *report),
            Err(error) => {
                errors.push(error);
                // Their records are what proves them netpath's.
                if step.ops.iter().any(|op| matches!(op, Op::DeleteVeths(_))) {
                    break;
                }
            }
        }
    }
    match error::all(errors) {
        None => Ok(()),
        Some(error) => Err(error),
    }
}
