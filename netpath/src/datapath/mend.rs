//! Pins that somebody removed.
//!
//! Every program of a node holds every map of it, also those that it does not read ([`bind`]): a map lives as long as a
//! program does, wherever that is pinned or attached, and can be pinned again. Without any program a map goes with its
//! pin, and with it what it held.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd as _,
};

use aya::{
    maps::MapData,
    programs::{
        ProgramInfo, SchedClassifier,
        links::{FdLink, PinnedLink},
        loaded_programs,
    },
};
use netpath_common::{
    Settings,
    tables::{Capacity, TABLES, TableSpec},
};

use super::{
    Datapath, Found, ObjectKind, attach,
    error::{DatapathError, file, map},
    load,
    maps::Maps,
    pins::Pins,
    raw::{Layout, RawMap},
    sys,
};
use crate::lock::TopologyLock;

/// What the kernel keeps of a map's name, in bytes (`BPF_OBJ_NAME_LEN`, less the zero at its end).
const NAME: usize = 15;

/// Pins that are missing of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Maps that a program still holds.
    pub held: Vec<&'static str>,
    /// Maps that nothing holds any more: what was in them is gone.
    pub lost: Vec<&'static str>,
    /// Whether programs are missing.
    pub programs: bool,
}

impl Missing {
    /// Whether there is nothing to mend.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.lost.is_empty() && !self.programs
    }
}

/// Has a program hold all maps of a directory (Linux 5.10).
pub(super) fn bind(program: &SchedClassifier, maps: &[RawMap]) -> Result<(), DatapathError> {
    let fd = program.fd().map_err(|source| DatapathError::Program {
        program: "to hold the maps",
        dev: None,
        source,
    })?;
    for map in maps {
        sys::bind_map(fd.as_fd(), map.fd())
            .map_err(file(map.name, "have a program hold the map"))?;
    }
    Ok(())
}

/// All maps of a directory.
pub(super) fn all(pins: &Pins) -> Result<Vec<RawMap>, DatapathError> {
    TABLES
        .iter()
        .map(|spec| RawMap::open(&pins.map(spec.name), spec.name))
        .collect()
}

impl Datapath {
    /// Which pins are missing of a node; none where nothing is pinned under its name.
    ///
    /// # Errors
    /// When the kernel does not tell, or what is pinned there is not netpath's.
    pub fn missing(node: &str) -> Result<Missing, DatapathError> {
        let pins = Pins::of(node);
        if !pins.exists()? {
            return Ok(Missing::default());
        }
        Ok(missing(&pins)?.0)
    }

    /// Pins again what the programs still hold, and programs that are missing. Returns what was missing; maps that are
    /// lost still are.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn mend(
        node: &str,
        object: ObjectKind,
        lock: &TopologyLock,
    ) -> Result<Missing, DatapathError> {
        let pins = Pins::of(node);
        if !pins.exists()? {
            return Ok(Missing::default());
        }
        let (missing, held) = missing(&pins)?;
        pins.complete()?;
        for map in held {
            map.pin_too(pins.map(map.name))?;
        }
        if missing.programs && missing.lost.is_empty() {
            load::replace_programs(&pins, object)?;
            let maps = Maps::open(&pins)?;
            attach::point_hooks_at(&pins, &maps)?;
            let fingerprint = load::fingerprint(object);
            let settings = maps.writer(lock).settings;
            settings.update(|settings| settings.object = fingerprint)?;
        }
        Ok(missing)
    }

    /// Makes maps that are lost anew, empty, and the programs, so that the rest can be read and removed. The node forwards
    /// no more where they were read.
    ///
    /// # Errors
    /// When the kernel refuses, or nobody can say any more which node it was: `meta` is lost.
    pub fn replace_lost(
        node: &str,
        object: ObjectKind,
        lock: &TopologyLock,
    ) -> Result<(), DatapathError> {
        let pins = Pins::of(node);
        let (missing, _) = missing(&pins)?;
        if missing.lost.contains(&"meta") {
            return Err(DatapathError::Damaged {
                path: pins.directory().to_owned(),
                problem: "its map meta is lost, and with it whose namespace it was: remove the directory with `rm -r`, which \
                          detaches its programs, and what `ip netns` and `ip link` show of it by hand"
                    .to_owned(),
            });
        }
        if missing.lost.is_empty() {
            return Ok(());
        }
        let capacity = Capacity::DEFAULT;
        load::replace_maps(&pins, capacity, object)?;
        if missing.lost.contains(&"settings") {
            let maps = Maps::open(&pins)?;
            // Of no programs, so that `up` puts this build's in their place.
            maps.writer(lock).settings.set(&Settings {
                configured: 1,
                ..load::settings(0, capacity)
            })?;
        }
        Self::mend(node, object, lock).map(drop)
    }
}

/// What is missing, and the maps of it that are held.
fn missing(pins: &Pins) -> Result<(Missing, Vec<RawMap>), DatapathError> {
    // Another version's directory has other maps; whoever opens or migrates it says what is wrong with it.
    if pins.map("meta").exists() && !matches!(super::version(pins)?, Found::Same) {
        return Ok((Missing::default(), Vec::new()));
    }
    let is_missing = |spec: &&TableSpec| !pins.map(spec.name).exists();
    let specs: Vec<&TableSpec> = TABLES.iter().filter(is_missing).collect();
    let mut missing = Missing {
        programs: netpath_common::ProgramKind::ALL
            .iter()
            .any(|kind| !pins.program(kind.name()).exists()),
        ..Missing::default()
    };
    if specs.is_empty() {
        return Ok((missing, Vec::new()));
    }
    let mut by_name = held(pins)?;
    let mut found = Vec::new();
    for spec in specs {
        match by_name.remove(kernel_name(spec.name)) {
            Some(data) => {
                let map = RawMap::of(data, spec.name)?;
                if map.layout == Layout::of(spec) {
                    missing.held.push(spec.name);
                    found.push(map);
                } else {
                    missing.lost.push(spec.name);
                }
            }
            None => missing.lost.push(spec.name),
        }
    }
    Ok((missing, found))
}

fn kernel_name(name: &str) -> &str {
    name.get(..NAME).unwrap_or(name)
}

/// The maps that a node's programs hold, by the names that the kernel keeps.
fn held(pins: &Pins) -> Result<BTreeMap<String, MapData>, DatapathError> {
    let mut ids = BTreeSet::new();
    for program in programs(pins)? {
        let failed = |source| DatapathError::Program {
            program: "of the node",
            dev: None,
            source,
        };
        ids.extend(program.map_ids().map_err(failed)?.into_iter().flatten());
    }
    let mut held = BTreeMap::new();
    for id in ids {
        let data = MapData::from_id(id).map_err(map("of a program"))?;
        let info = data.info().map_err(map("of a program"))?;
        if let Some(name) = info.name_as_str() {
            held.insert(name.to_owned(), data);
        }
    }
    Ok(held)
}

/// The programs of a node that are pinned, and those that its pinned links run.
fn programs(pins: &Pins) -> Result<Vec<ProgramInfo>, DatapathError> {
    let mut found = Vec::new();
    for kind in netpath_common::ProgramKind::ALL {
        let path = pins.program(kind.name());
        if path.exists() {
            let failed = |source| DatapathError::Program {
                program: kind.name(),
                dev: None,
                source,
            };
            let program = SchedClassifier::from_pin(&path).map_err(failed)?;
            found.push(program.info().map_err(failed)?);
        }
    }
    let mut linked = BTreeSet::new();
    for (program, dev) in pins.links()? {
        let path = pins.link(&program, &dev);
        let failed = |source| DatapathError::Link {
            path: path.clone(),
            source,
        };
        let link = FdLink::from(PinnedLink::from_pin(&path).map_err(failed)?);
        linked.insert(link.info().map_err(failed)?.program_id());
    }
    for info in &found {
        linked.remove(&info.id());
    }
    if !linked.is_empty() {
        // One that ended meanwhile is none of them.
        let loaded = loaded_programs().filter_map(Result::ok);
        found.extend(loaded.filter(|info| linked.contains(&info.id())));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_the_maps_apart_by_name() {
        let names: BTreeSet<&str> = TABLES.iter().map(|spec| kernel_name(spec.name)).collect();
        assert_eq!(names.len(), TABLES.len());
    }
}
