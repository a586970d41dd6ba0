//! From a directory of an older ABI version, or with too little room, to one of this build: under running traffic.
//!
//! The new directory is staged beside the old one. Maps whose layout and room are right are pinned in both, so that
//! counters go on; the others are made, and filled with what the steps from version to version made of the old entries.
//! Then each link or filter goes from the old program to the new one in one step, and in between both forward alike, as
//! their maps say the same. Last, the two directories change names in one step, and the old one goes.
//!
//! Killed at any time, the node forwards on, and its directory is the old one or the new one: the next run begins again.

mod v2_to_v3;
mod v3_to_v4;
mod v4_to_v5;
mod v5_to_v6;
mod v6_to_v7;
mod v7_to_v8;
mod v8_to_v9;

use std::collections::BTreeMap;

use netpath_common::{
    ABI_VERSION, Settings,
    tables::{Capacity, TABLES},
};

use super::{
    AttachMode, Datapath, Found, ObjectKind, attach, attach_mode,
    error::{DatapathError, and_then},
    load,
    maps::{Maps, Writer},
    pins::Pins,
    raw::{Layout, RawMap},
};
use crate::{
    lock::{Lock, Subject, TopologyLock},
    netns::{NameState, Netns, name_state},
};

/// Keys and values as they lie in memory.
pub(super) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// A step from one version to the next.
type Step = fn(&mut Contents<'_>) -> Result<(), DatapathError>;

/// Every step, by the version that it starts from. Each knows the layouts of its two versions only, and those for ever.
const STEPS: &[(u32, Step)] = &[
    (2, v2_to_v3::step),
    (3, v3_to_v4::step),
    (4, v4_to_v5::step),
    (5, v5_to_v6::step),
    (6, v6_to_v7::step),
    (7, v7_to_v8::step),
    (8, v8_to_v9::step),
];

/// The oldest version that there is a way from.
pub(super) const OLDEST: u32 = STEPS[0].0;

/// The entries of a node's maps, on their way from version to version.
pub(super) struct Contents<'a> {
    pins: &'a Pins,
    /// What steps have changed; the rest is as it is pinned.
    changed: BTreeMap<&'static str, Entries>,
}

impl<'a> Contents<'a> {
    fn of(pins: &'a Pins) -> Self {
        Self {
            pins,
            changed: BTreeMap::new(),
        }
    }

    fn open(&self, name: &'static str) -> Result<RawMap, DatapathError> {
        RawMap::open(&self.pins.map(name), name)
    }

    /// Every entry of a map, with keys and values of these sizes.
    fn entries(
        &self,
        name: &'static str,
        key_size: usize,
        value_size: usize,
    ) -> Result<Entries, DatapathError> {
        let mut entries = Vec::new();
        match self.changed.get(name) {
            Some(changed) => entries.clone_from(changed),
            None => {
                let map = self.open(name)?;
                map.chunks(|keys, values| {
                    let keys = keys.chunks_exact(map.layout.key_size);
                    let values = values.chunks_exact(map.stride);
                    entries.extend(
                        keys.zip(values)
                            .map(|(key, value)| (key.to_vec(), value.to_vec())),
                    );
                    Ok(())
                })?;
            }
        }
        let is_as_expected =
            |(key, value): &(Vec<u8>, Vec<u8>)| (key.len(), value.len()) == (key_size, value_size);
        if entries.iter().all(is_as_expected) {
            return Ok(entries);
        }
        Err(DatapathError::Foreign {
            path: self.pins.map(name),
            problem: format!(
                "map {name} has not the keys of {key_size} and values of {value_size} bytes of its version"
            ),
        })
    }

    /// The one value of an array.
    fn value(&self, name: &'static str, size: usize) -> Result<Vec<u8>, DatapathError> {
        let entries = self.entries(name, 4, size)?;
        let first = entries.into_iter().next();
        first
            .map(|(_, value)| value)
            .ok_or_else(|| DatapathError::Damaged {
                path: self.pins.directory().to_owned(),
                problem: format!("its map {name} is empty"),
            })
    }

    fn max_entries(&self, name: &'static str) -> Result<u32, DatapathError> {
        Ok(self.open(name)?.max_entries)
    }

    fn put(&mut self, name: &'static str, entries: Entries) {
        self.changed.insert(name, entries);
    }

    /// Takes back a map that the next version has no more.
    fn remove(&mut self, name: &'static str) {
        self.changed.remove(name);
    }

    fn put_value(&mut self, name: &'static str, value: Vec<u8>) {
        self.put(name, vec![(0u32.to_ne_bytes().to_vec(), value)]);
    }
}

impl Datapath {
    /// Brings the directory of a node that an older netpath made to this version, under the running traffic, and its
    /// programs to this build's. Returns the version that was found, if it was older. The calling thread is in the
    /// node's namespace, or the namespace is one that netpath made.
    ///
    /// # Errors
    /// When the kernel refuses, or the directory is too old for this build; then everything is as it was.
    pub fn migrate(
        node: &str,
        object: ObjectKind,
        _lock: &TopologyLock,
    ) -> Result<Option<u32>, DatapathError> {
        let pins = Pins::of(node);
        let found = match super::version(&pins)? {
            Found::Older(found) => found,
            Found::Absent | Found::Same => return Ok(None),
            Found::Newer(found) => return Err(super::newer(&pins, found)),
            Found::Overwritten => return Err(super::identity::overwritten(&pins)),
        };
        let mut contents = Contents::of(&pins);
        for version in found..ABI_VERSION {
            let (_, step) = STEPS
                .iter()
                .find(|(from, _)| *from == version)
                .ok_or_else(|| super::older(&pins, found))?;
            step(&mut contents)?;
        }
        rebuild(node, &contents, None, object)?;
        Ok(Some(found))
    }

    /// Whether the maps have room for so much.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn has_room(&self, capacity: &Capacity) -> Result<bool, DatapathError> {
        for spec in TABLES {
            let map = RawMap::open(&self.pins.map(spec.name), spec.name)?;
            if map.max_entries < spec.room.entries(capacity) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Gives the maps room for so much more, as [`Datapath::migrate`] does: what had less room is made anew. They never
    /// get smaller. The node is to be opened again afterwards.
    ///
    /// # Errors
    /// As for [`Datapath::migrate`].
    pub fn grow(
        self,
        capacity: &Capacity,
        object: ObjectKind,
        _lock: &TopologyLock,
    ) -> Result<(), DatapathError> {
        let contents = Contents::of(&self.pins);
        rebuild(&self.name, &contents, Some(capacity), object)
    }
}

/// Stages a directory with these contents, moves the hooks to its programs, and gives it the node's name.
fn rebuild(
    node: &str,
    contents: &Contents<'_>,
    wanted: Option<&Capacity>,
    object: ObjectKind,
) -> Result<(), DatapathError> {
    let _lock = Lock::take_briefly(Subject::Bpffs)?;
    let staged = Pins::stage(node)?;
    let old = contents.pins;
    let moved = fill(&staged, contents, wanted, object).and_then(|maps| {
        attach_to(&staged, old, &maps)
            .and_then(|()| staged.exchange(node))
            .map_err(|cause| and_then(cause, attach::point_hooks_at(old, &maps)))
    });
    match moved {
        // The staged name is now the old directory's.
        Ok(()) => Pins::remove_unfinished(node),
        Err(cause) => Err(and_then(cause, staged.remove())),
    }
}

/// Makes and fills the maps of a staged directory, and loads the programs on them.
fn fill(
    staged: &Pins,
    contents: &Contents<'_>,
    wanted: Option<&Capacity>,
    object: ObjectKind,
) -> Result<Maps, DatapathError> {
    let settings = settings(contents)?;
    let capacity = larger(&settings, wanted);
    let mut copied = Vec::new();
    for spec in TABLES {
        let path = contents.pins.map(spec.name);
        if contents.changed.contains_key(spec.name) || !path.exists() {
            continue;
        }
        let map = contents.open(spec.name)?;
        let has_room = map.max_entries >= spec.room.entries(&capacity);
        match (map.layout == Layout::of(spec), has_room) {
            (true, true) => map.pin_too(staged.map(spec.name))?,
            (true, false) => copied.push(map),
            (false, _) => {
                return Err(DatapathError::Foreign {
                    path,
                    problem: format!("map {} is {}", spec.name, map.layout),
                });
            }
        }
    }
    load::create(staged, capacity, object)?;
    let maps = Maps::open(staged)?;
    for (name, entries) in &contents.changed {
        let map = RawMap::open(&staged.map(name), name)?;
        for (key, value) in entries {
            map.set(key, value)?;
        }
    }
    let writer = Writer::unlocked(&maps);
    writer.settings.set(&Settings {
        object: load::fingerprint(object),
        max_endpoints: capacity.endpoints,
        max_routes: capacity.routes,
        max_route_records: capacity.route_records,
        max_connections: capacity.connections,
        ..settings
    })?;
    inside(&maps, || {
        copied.iter().try_for_each(|map| copy(map, staged))
    })?;
    Ok(maps)
}

/// What is wanted of the node, as steps have left it.
fn settings(contents: &Contents<'_>) -> Result<Settings, DatapathError> {
    let bytes = contents.value("settings", size_of::<Settings>())?;
    Ok(super::table::value(&bytes))
}

fn larger(settings: &Settings, wanted: Option<&Capacity>) -> Capacity {
    let has = Capacity {
        endpoints: settings.max_endpoints,
        routes: settings.max_routes,
        route_records: settings.max_route_records,
        connections: settings.max_connections,
    };
    let wanted = wanted.unwrap_or(&has);
    Capacity {
        endpoints: has.endpoints.max(wanted.endpoints),
        routes: has.routes.max(wanted.routes),
        route_records: has.route_records.max(wanted.route_records),
        connections: has.connections.max(wanted.connections),
    }
}

/// Copies all entries of a map to the larger one of its name.
fn copy(from: &RawMap, staged: &Pins) -> Result<(), DatapathError> {
    let to = RawMap::open(&staged.map(from.name), from.name)?;
    let is_devices = from.name == "devices";
    from.chunks(|keys, values| match to.set_many(keys, values) {
        // The device of this one entry has just gone, and the old map's entry with it.
        Err(DatapathError::Entry { source, .. })
            if is_devices && source.raw_os_error() == Some(libc::EINVAL) =>
        {
            Ok(())
        }
        result => result,
    })
}

/// Pins the links of the old directory in the staged one, too, and moves every hook to its programs.
fn attach_to(staged: &Pins, old: &Pins, maps: &Maps) -> Result<(), DatapathError> {
    if attach_mode()? == AttachMode::Tcx {
        attach::pin_links_too(old, staged)?;
    }
    attach::point_hooks_at(staged, maps)
}

/// Does something in the namespace of the node whose maps these are; nothing where that namespace is gone, and with it
/// its interfaces.
pub(super) fn inside(
    maps: &Maps,
    work: impl FnOnce() -> Result<(), DatapathError> + Send,
) -> Result<(), DatapathError> {
    let identity = maps.meta.get()?;
    let node = netpath_common::text(&identity.name).unwrap_or_default();
    if identity.netns_made == 0 {
        if Netns::current()?.cookie()? != identity.netns_cookie {
            return Err(DatapathError::Elsewhere {
                node: node.to_owned(),
            });
        }
        return work();
    }
    match name_state(node)? {
        NameState::Namespace => Netns::named(node)?.run(work)?,
        NameState::Free | NameState::EmptyFile | NameState::Foreign => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The oldest version that can be brought to this one.
    const OLDEST: u32 = 2;

    #[test]
    fn there_is_a_step_from_every_version() {
        let from: Vec<u32> = STEPS.iter().map(|(from, _)| *from).collect();
        let versions: Vec<u32> = (OLDEST..ABI_VERSION).collect();
        assert_eq!(from, versions, "write the step to ABI {ABI_VERSION}");
    }
}
