//! One endpoint of a node that is up: added or removed by whoever is no topology file.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use netpath_common::{NETNS_PATH_SIZE, Origin};

use super::{
    beside,
    carry_out::Site,
    departures::Departures,
    down::Removed,
    error::{self, ProvisionError},
    expedited, random, require,
    snapshot::{self, Snapshot},
};
use crate::{
    capabilities::Work,
    datapath::{self, Datapath, ObjectKind},
    descriptors,
    lock::TopologyLock,
    model::{Endpoint, Name, NodePlace},
    mounts,
    netns::NETNS_DIR,
    reconcile::{
        self, Change, Fresh, Home, NamespaceState, Object, Plan, Recorded, Refusal, Wanted,
        WantedEndpoint,
    },
};

/// An endpoint to be added.
#[derive(Clone, Debug)]
pub struct NewEndpoint {
    /// To this node, which is up.
    pub node: Name,
    /// What it is.
    pub endpoint: Endpoint,
    /// The namespace that it is to have, which stays when the endpoint goes; without one it is made, under the endpoint's name.
    pub netns: Option<GivenNetns>,
    /// Who asks for it. `netpath up` removes none but a file's.
    pub origin: Origin,
    /// Set from outside (a signal handler) to make the work stop and be undone.
    pub interrupted: Arc<AtomicBool>,
}

/// An endpoint to be removed.
#[derive(Clone, Debug)]
pub struct OldEndpoint {
    /// Its name.
    pub name: Name,
    /// Its node, where that is known.
    pub node: Option<Name>,
    /// Who asked for it. One that somebody else asked for is left alone.
    pub origin: Origin,
    /// Set from outside (a signal handler) to make waiting for another netpath end.
    pub interrupted: Arc<AtomicBool>,
}

/// The path of a namespace that is there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenNetns(PathBuf);

/// A path that no record takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{path:?} names no network namespace: give a name of /run/netns, the number of a process, or a path of at most {} bytes \
     that begins with /",
    NETNS_PATH_SIZE - 1
)]
pub struct NetnsPathError {
    /// What was given.
    pub path: String,
}

impl std::str::FromStr for GivenNetns {
    type Err = NetnsPathError;

    /// The number of a process, a path, or a name of /run/netns.
    fn from_str(text: &str) -> Result<Self, NetnsPathError> {
        let path = match text {
            text if text.starts_with('/') => PathBuf::from(text),
            text if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                Path::new("/proc").join(text).join("ns/net")
            }
            "" | "." | ".." => PathBuf::new(),
            text if text.contains('/') => PathBuf::new(),
            text => Path::new(NETNS_DIR).join(text),
        };
        let fits = (1..NETNS_PATH_SIZE).contains(&path.as_os_str().len());
        match fits && !text.contains(char::is_control) {
            true => Ok(Self(path)),
            false => Err(NetnsPathError {
                path: text.to_owned(),
            }),
        }
    }
}

impl GivenNetns {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// As it is recorded. It was made of a text.
    fn home(&self) -> Home {
        Home::Given(self.0.to_string_lossy().into_owned())
    }
}

/// See [`super::add_endpoint`].
pub fn add(
    new: &NewEndpoint,
    progress: &mut dyn FnMut(&Change),
) -> Result<Vec<Change>, ProvisionError> {
    const COMMAND: &str = "endpoint add";
    require(Work::Nodes)?;
    mounts::require_visible(COMMAND)?;
    descriptors::require(2)?;
    if new.netns.is_none() {
        mounts::require_shared_namespaces(COMMAND)?;
    }
    let node = new.node.as_ref();
    let lock = TopologyLock::take(&new.interrupted)?;
    let _expedited = expedited(&[new.node.to_string()]);
    Datapath::migrate(node, ObjectKind::Plain, &lock)?;
    let recorded = recorded(node)?.ok_or_else(|| not_up("node", node))?;
    let name = new.endpoint.name.as_ref();
    let wanted = Wanted::of_one(node, &recorded, name, Some(wanted(new)))?;
    let snapshot = snapshot::take_one(node, Some(&wanted), name)?;
    if let Some(other) = elsewhere(node, name)? {
        let refusal = Refusal::NameTaken {
            what: format!("endpoint {name}"),
            by: format!("node {other}'s"),
            cure: "choose another name".into(),
        };
        return Err(refusal.of(Object::Endpoint.told(name, node)).into());
    }
    let namespace = snapshot.world.observed.endpoints.get(name);
    let namespace = namespace.map_or(NamespaceState::Absent, |it| it.state);
    let was_there = recorded.endpoints.get(name).is_some_and(|it| it.complete);
    let plan = plan(&wanted, &snapshot)?;
    let mut changes = Vec::new();
    let mut report = |change: &Change| {
        progress(change);
        changes.push(change.clone());
    };
    let mut site = Site::new(node, &lock, snapshot, None);
    for step in &plan.steps {
        let done = match new.interrupted.load(Ordering::Relaxed) {
            true => Err(ProvisionError::Interrupted),
            false => site.step(step),
        };
        match done {
            Ok(()) => step.change.iter().for_each(&mut report),
            // It was asked for before, and what is left to be done of it can be done again.
            Err(cause) if was_there => return Err(explained(cause, new, namespace)),
            Err(cause) => {
                let cause = explained(cause, new, namespace);
                return Err(cause.and(take_back(node, name, &lock).err()));
            }
        }
    }
    if new.interrupted.load(Ordering::Relaxed) && !was_there {
        return Err(ProvisionError::Interrupted.and(take_back(node, name, &lock).err()));
    }
    tell_others(node, &recorded, &lock)?;
    Ok(changes)
}

/// See [`super::remove_endpoint`].
pub fn remove(
    old: &OldEndpoint,
    progress: &mut dyn FnMut(&Change),
) -> Result<Removed, ProvisionError> {
    const COMMAND: &str = "endpoint remove";
    require(Work::Nodes)?;
    mounts::require_visible(COMMAND)?;
    descriptors::require(2)?;
    let lock = TopologyLock::take(&old.interrupted)?;
    let name = old.name.as_ref();
    let node = match &old.node {
        Some(node) => node.to_string(),
        None => holder(name)?.ok_or_else(|| not_up("endpoint", name))?,
    };
    let _expedited = expedited(std::slice::from_ref(&node));
    Datapath::migrate(&node, ObjectKind::Plain, &lock)?;
    let recorded = recorded(&node)?.ok_or_else(|| not_up("node", &node))?;
    let missing = || not_up("endpoint", &format!("{name} on node {node}"));
    let record = recorded.endpoints.get(name).ok_or_else(missing)?;
    if record.origin != old.origin {
        let refusal = Refusal::OtherOrigin(record.origin);
        return Err(refusal.of(Object::Endpoint.told(name, &node)).into());
    }
    if record.home == Home::Made {
        mounts::require_shared_namespaces(COMMAND)?;
    }
    let mut changes = Vec::new();
    let mut departures = Departures::new()?;
    take_away(
        &node,
        &recorded,
        name,
        &lock,
        &mut departures,
        &mut |change| {
            progress(change);
            changes.push(change.clone());
        },
    )?;
    tell_others(&node, &recorded, &lock)?;
    // Others need not wait for what only the kernel has to do.
    drop(lock);
    let remaining = departures.wait()?;
    Ok(Removed { changes, remaining })
}

fn wanted(new: &NewEndpoint) -> WantedEndpoint {
    let endpoint = &new.endpoint;
    WantedEndpoint {
        name: endpoint.name.to_string(),
        origin: new.origin,
        home: new.netns.as_ref().map_or(Home::Made, GivenNetns::home),
        addresses: endpoint.addresses.clone(),
        prefixes: endpoint.prefixes.clone(),
        dev: endpoint.dev.to_string(),
        host_dev: endpoint.host_dev.to_string(),
        fast_path: None,
        mtu: new.endpoint.mtu,
    }
}

/// What a node's maps record, if it is up.
fn recorded(node: &str) -> Result<Option<Recorded>, ProvisionError> {
    match Datapath::open(node)? {
        Some(datapath) => Ok(Some(super::records::read(&datapath.maps)?.recorded)),
        None => Ok(None),
    }
}

fn not_up(object: &'static str, name: &str) -> ProvisionError {
    ProvisionError::NotUp {
        object,
        name: name.to_owned(),
    }
}

/// The node that has an endpoint of this name, of those that can be read.
fn holder(name: &str) -> Result<Option<String>, ProvisionError> {
    for node in datapath::nodes()? {
        if snapshot::has_endpoint(&node, name)? {
            return Ok(Some(node));
        }
    }
    Ok(None)
}

/// As [`holder`], of other nodes than this: an endpoint's name is one of the whole machine, as in a file.
fn elsewhere(node: &str, name: &str) -> Result<Option<String>, ProvisionError> {
    for other in datapath::nodes()?.into_iter().filter(|it| it != node) {
        if snapshot::has_endpoint(&other, name)? {
            return Ok(Some(other));
        }
    }
    Ok(None)
}

fn plan(wanted: &Wanted, snapshot: &Snapshot) -> Result<Plan, ProvisionError> {
    let plan = reconcile::plan(wanted, &snapshot.world, &mut Fresh::new(random()?));
    let refusals = plan.refusals.iter().cloned().map(ProvisionError::from);
    match error::all(refusals.collect()) {
        None => Ok(plan),
        Some(error) => Err(error),
    }
}

/// Other nodes in a machine's namespace have to know of the endpoint.
fn tell_others(node: &str, recorded: &Recorded, lock: &TopologyLock) -> Result<(), ProvisionError> {
    match recorded.place {
        NodePlace::Host => beside::tell(&[node.to_owned()], lock),
        NodePlace::Lab => Ok(()),
    }
}

/// Whatever fails where the given namespace is gone by now failed for that.
fn explained(cause: ProvisionError, new: &NewEndpoint, was: NamespaceState) -> ProvisionError {
    let Some(netns) = &new.netns else {
        return cause;
    };
    let name = new.endpoint.name.as_ref();
    let is_there = snapshot::home(name, &netns.home()).is_ok_and(|(state, _)| state == was);
    if is_there || matches!(cause, ProvisionError::Interrupted) {
        return cause;
    }
    ProvisionError::WentAway {
        of: Object::Endpoint.told(name, new.node.as_ref()),
        path: netns.path().display().to_string(),
    }
}

/// Nothing is to be left of what was begun.
fn take_back(node: &str, name: &str, lock: &TopologyLock) -> Result<(), ProvisionError> {
    let Some(recorded) = recorded(node)?.filter(|node| node.endpoints.contains_key(name)) else {
        return Ok(());
    };
    let mut departures = Departures::new()?;
    take_away(node, &recorded, name, lock, &mut departures, &mut |_| {})
}

/// What dies takes its interface along, perhaps just now: then it is looked at anew.
fn take_away(
    node: &str,
    recorded: &Recorded,
    name: &str,
    lock: &TopologyLock,
    departures: &mut Departures,
    report: &mut dyn FnMut(&Change),
) -> Result<(), ProvisionError> {
    const ATTEMPTS: u32 = 3;
    let mut attempt = 0;
    loop {
        attempt += 1;
        match take_away_once(node, recorded, name, lock, departures, report) {
            Err(ProvisionError::NotUp {
                object: "interface",
                ..
            }) if attempt < ATTEMPTS => {}
            result => return result,
        }
    }
}

fn take_away_once(
    node: &str,
    recorded: &Recorded,
    name: &str,
    lock: &TopologyLock,
    departures: &mut Departures,
    report: &mut dyn FnMut(&Change),
) -> Result<(), ProvisionError> {
    let wanted = Wanted::of_one(node, recorded, name, None)?;
    let snapshot = snapshot::take_one(node, Some(&wanted), name)?;
    let plan = plan(&wanted, &snapshot)?;
    let mut site = Site::new(node, lock, snapshot, None).watched(departures);
    site.steps(&plan.steps, report)?;
    site.steps(&plan.removals, report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_named_in_three_ways() {
        for (text, path) in [
            ("c1", "/run/netns/c1"),
            ("4711", "/proc/4711/ns/net"),
            ("/var/run/netns/c1", "/var/run/netns/c1"),
            ("/proc/1/ns/net", "/proc/1/ns/net"),
        ] {
            let given: GivenNetns = text.parse().expect("valid");
            assert_eq!(given.path(), Path::new(path));
        }
        let long = format!("/{}", "x".repeat(NETNS_PATH_SIZE - 1));
        for text in ["", ".", "..", "a/b", "./c1", "c1\n", long.as_str()] {
            assert!(text.parse::<GivenNetns>().is_err(), "{text:?}");
        }
    }
}
