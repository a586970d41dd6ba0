//! Attaching, in one mode or the other, and detaching, and nothing else.

use netpath_common::{Bypass, FastPathMode, FastPathWish};

use super::{
    Raised, Selection, audit,
    carry_out::Site,
    error::{self, ProvisionError},
    expedited,
    snapshot::{self, Snapshot},
};
use crate::{
    datapath::{Datapath, ObjectKind, nodes},
    finding::Finding,
    lock::TopologyLock,
    model::NodePlace,
    reconcile::{self, Change, Recorded, Refusal, Refused, Wanted, Wishes},
};

/// See [`super::set_fast_path`].
pub fn set(
    mode: FastPathMode,
    selection: &Selection,
    progress: &mut dyn FnMut(&Change),
) -> Result<Raised, ProvisionError> {
    let lock = TopologyLock::take(&selection.interrupted)?;
    let names = match &selection.node {
        Some(name) => vec![name.clone()],
        None => nodes()?,
    };
    let _expedited = expedited(&names);
    let (mut changes, mut findings) = (Vec::new(), Vec::new());
    let mut errors = Vec::new();
    let mut elsewhere = Vec::new();
    let mut matched = false;
    let mut report = |change: &Change| {
        progress(change);
        changes.push(change.clone());
    };
    for name in &names {
        match node(name, mode, selection, &lock, &mut report) {
            Ok(None) => {}
            Ok(Some(told)) => {
                matched = true;
                findings.extend(told);
            }
            // One bad node is one node: those that can be read are switched.
            Err(ProvisionError::Datapath(error))
                if selection.node.is_none() && error.is_about_a_directory() =>
            {
                tracing::warn!(%error, "node {name} is left as it is");
            }
            Err(ProvisionError::Refused(refused))
                if selection.is_everything()
                    && matches!(refused.refusal, Refusal::OtherNamespace { .. }) =>
            {
                elsewhere.push(refused);
            }
            Err(error) => errors.push(error),
        }
    }
    // Who asks for all that is up asks for what is here, and is told of the rest.
    if matched {
        findings.extend(elsewhere.iter().map(Refused::finding));
    } else {
        errors.extend(elsewhere.into_iter().map(ProvisionError::from));
    }
    if let Some(error) = error::all(errors) {
        return Err(error);
    }
    let (object, name) = match (&selection.endpoint, &selection.node) {
        _ if matched => return Ok(Raised { changes, findings }),
        (Some(endpoint), Some(node)) => ("endpoint", format!("{endpoint} on node {node}")),
        (Some(endpoint), None) => ("endpoint", endpoint.clone()),
        (None, Some(node)) => ("node", node.clone()),
        (None, None) => return Err(ProvisionError::NothingUp),
    };
    Err(ProvisionError::NotUp { object, name })
}

/// Switches one node. Returns what is wrong with it then; `None` where it is not up, or has not the endpoint that is selected.
fn node(
    name: &str,
    mode: FastPathMode,
    selection: &Selection,
    lock: &TopologyLock,
    report: &mut dyn FnMut(&Change),
) -> Result<Option<Vec<Finding>>, ProvisionError> {
    Datapath::migrate(name, ObjectKind::Plain, lock)?;
    let snapshot = snapshot::take_to_switch(name, mode)?;
    let Some(recorded) = snapshot.world.recorded.clone() else {
        return Ok(None);
    };
    // Where a node is matters only to what is on it.
    let Some(wishes) = wishes(&recorded, mode, selection.endpoint.as_deref()) else {
        return Ok(None);
    };
    let before = Wishes::of(&recorded);
    let mut wanted = Wanted::of_recorded(name, &recorded)?;
    if let Some(refusal) = reconcile::elsewhere(&wanted, &snapshot.world) {
        return Err(refusal.into());
    }
    if snapshot.netns.is_none() {
        return Ok(None);
    }
    if selection.accept_bypass && wanted.place == NodePlace::Host {
        wanted.bypass = wanted.bypass.and(Bypass::OF_FORWARD);
    }
    if wishes.take_more_than(&before)
        && let Some(refused) = audit::refused(&wanted, &snapshot)?
    {
        return Err(refused.into());
    }
    match switch(name, lock, &wanted, &wishes, snapshot, report) {
        Ok(told) => Ok(Some(told)),
        // Nothing was touched.
        Err(cause @ ProvisionError::Refused(_)) => Err(cause),
        Err(cause) => Err(cause.and(restore(name, lock, &wanted, &before).err())),
    }
}

/// What is wished then; `None` where there is no such endpoint. A node that is switched as a whole has no exceptions any more.
fn wishes(recorded: &Recorded, mode: FastPathMode, endpoint: Option<&str>) -> Option<Wishes> {
    let mut wishes = Wishes::of(recorded);
    match endpoint {
        None => {
            wishes.node = mode;
            for wish in wishes.endpoints.values_mut() {
                *wish = FastPathWish::AsNode;
            }
        }
        Some(endpoint) => {
            let wish = match mode {
                mode if mode == wishes.node => FastPathWish::AsNode,
                mode => FastPathWish::for_mode(mode),
            };
            *wishes.endpoints.get_mut(endpoint)? = wish;
        }
    }
    Some(wishes)
}

fn switch(
    name: &str,
    lock: &TopologyLock,
    wanted: &Wanted,
    wishes: &Wishes,
    snapshot: Snapshot,
    report: &mut dyn FnMut(&Change),
) -> Result<Vec<Finding>, ProvisionError> {
    let plan = reconcile::switch(wanted, wishes, &snapshot.world);
    let told = plan.findings(name).collect();
    if let Some(refusal) = plan.refusals.into_iter().next() {
        return Err(refusal.into());
    }
    Site::new(name, lock, snapshot, None).steps(&plan.steps, report)?;
    Ok(told)
}

/// After a failure: as it was wished before.
fn restore(
    name: &str,
    lock: &TopologyLock,
    wanted: &Wanted,
    before: &Wishes,
) -> Result<(), ProvisionError> {
    let snapshot = snapshot::take(name, None)?;
    switch(name, lock, wanted, before, snapshot, &mut |_| {}).map(drop)
}
