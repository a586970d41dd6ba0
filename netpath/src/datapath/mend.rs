//! Pins that somebody removed, or put something else in the place of.
//!
//! Every program of a node holds every map of it, also those that it does not read ([`bind`]): a map lives as long as a
//! program does, wherever that is pinned or attached, and can be pinned again. Without any program a map goes with its
//! pin, and with it what it held.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::fd::AsFd as _,
};

use aya::{
    maps::{MapData, MapInfo},
    programs::{
        ProgramInfo, SchedClassifier,
        links::{FdLink, PinnedLink},
        loaded_programs,
    },
};
use netpath_common::{
    Identity, ProgramKind, Settings,
    tables::{Capacity, TABLES, spec},
};

use super::{
    Datapath, Found, ObjectKind, attach,
    error::{DatapathError, file, map},
    identity, load,
    maps::Maps,
    pins::Pins,
    raw::{Layout, RawMap},
    sys,
};
use crate::lock::TopologyLock;

/// What the kernel keeps of a map's name, in bytes (`BPF_OBJ_NAME_LEN`, less the zero at its end).
const NAME: usize = 15;

/// Pins of a node that are missing, or lead elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Maps that a program still holds.
    pub held: Vec<&'static str>,
    /// Maps that nothing holds any more: what was in them is gone.
    pub lost: Vec<&'static str>,
    /// Whether programs are missing.
    pub programs: bool,
    /// Maps under whose pin there is another map, while the programs go by the one that they hold.
    pub replaced: Vec<&'static str>,
    /// Programs under whose pin there is another: of another name, or one that does not go by the node's maps.
    pub foreign: Vec<&'static str>,
    /// What `meta` should hold, where somebody has put something else there.
    pub identity: Option<Identity>,
}

impl Missing {
    /// Whether there is nothing to mend.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
            && self.lost.is_empty()
            && self.replaced.is_empty()
            && self.foreign.is_empty()
            && self.identity.is_none()
            && !self.programs
    }

    /// What is there under pins of netpath's and is not what netpath pinned.
    pub fn elsewhere(&self) -> Vec<&'static str> {
        [self.replaced.as_slice(), &self.foreign].concat()
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
            pin_over(&map, &pins)?;
        }
        // With what the maps say that are pinned by now.
        if let Some(identity) = identity::wanted(&pins, &Missing::default())? {
            Maps::open(&pins)?.writer(lock).meta.set(&identity)?;
        }
        let wants_programs = missing.programs || !missing.foreign.is_empty();
        if wants_programs && missing.lost.is_empty() {
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
                ..load::settings(0, capacity, &maps.meta.get()?)
            })?;
        }
        Self::mend(node, object, lock).map(drop)
    }
}

/// Pins a map under its name, in one step also where another is pinned there.
fn pin_over(map: &RawMap, pins: &Pins) -> Result<(), DatapathError> {
    let path = pins.map(map.name);
    let new = pins.map(&format!("{}_new", map.name));
    match fs::remove_file(&new) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => result.map_err(file(&new, "remove"))?,
    }
    map.pin_too(new.clone())?;
    fs::rename(&new, &path).map_err(file(&new, "rename over another map"))
}

/// What is missing or elsewhere, and the maps of it that are held.
fn missing(pins: &Pins) -> Result<(Missing, Vec<RawMap>), DatapathError> {
    // Another version's directory has other maps; whoever opens or migrates it says what is wrong with it. A `meta` that
    // tells nothing may have been put in the place of the node's.
    if pins.map("meta").exists() {
        match super::version(pins) {
            Ok(Found::Same | Found::Overwritten) | Err(DatapathError::Foreign { .. }) => {}
            Ok(_) => return Ok((Missing::default(), Vec::new())),
            Err(error) => return Err(error),
        }
    }
    let pinned = pinned_maps(pins)?;
    let programs = pinned_programs(pins)?;
    let held = held(pins, &pinned, &programs)?;
    let mut missing = Missing {
        programs: programs.len() < ProgramKind::ALL.len(),
        ..Missing::default()
    };
    let mut again = Vec::new();
    for spec in TABLES {
        let of_spec = held.get(kernel_name(spec.name));
        match (pinned.get(spec.name), of_spec) {
            (Some(pinned), Some(held)) if held.contains_key(pinned) => {}
            // No program tells.
            (Some(_), None) => {}
            (None, None) => missing.lost.push(spec.name),
            (found, Some(held)) => {
                let map = match held.first_key_value() {
                    Some((id, _)) => RawMap::of(by_id(*id)?, spec.name)?,
                    None => continue,
                };
                match (found, map.layout == Layout::of(spec)) {
                    (None, false) => missing.lost.push(spec.name),
                    (Some(_), false) => {}
                    (None, true) => {
                        missing.held.push(spec.name);
                        again.push(map);
                    }
                    (Some(_), true) => {
                        missing.replaced.push(spec.name);
                        again.push(map);
                    }
                }
            }
        }
    }
    let holds_all = |program: &Program| {
        TABLES.iter().all(|spec| {
            let wanted = held.get(kernel_name(spec.name));
            wanted.is_none_or(|held| held.keys().any(|id| program.maps.contains(id)))
        })
    };
    let foreign = programs.iter().filter(|(kind, program)| {
        program.name.as_deref() != Some(kernel_name(kind.name())) || !holds_all(program)
    });
    missing.foreign = foreign.map(|(kind, _)| kind.name()).collect();
    missing.identity = identity::wanted(pins, &missing)?;
    Ok((missing, again))
}

fn kernel_name(name: &str) -> &str {
    name.get(..NAME).unwrap_or(name)
}

/// The ids of the maps that are pinned, by name.
fn pinned_maps(pins: &Pins) -> Result<BTreeMap<&'static str, u32>, DatapathError> {
    let mut ids = BTreeMap::new();
    for spec in TABLES {
        let path = pins.map(spec.name);
        if path.exists() {
            let info = MapInfo::from_pin(&path).map_err(map(spec.name))?;
            ids.insert(spec.name, info.id());
        }
    }
    Ok(ids)
}

/// A program, as far as it tells whose it is.
struct Program {
    name: Option<String>,
    maps: BTreeSet<u32>,
}

impl Program {
    fn of(info: &ProgramInfo) -> Result<Self, DatapathError> {
        let maps = info.map_ids().map_err(|source| DatapathError::Program {
            program: "of the node",
            dev: None,
            source,
        })?;
        Ok(Self {
            name: info.name_as_str().map(str::to_owned),
            maps: maps.into_iter().flatten().collect(),
        })
    }

    /// Whether it bears the name of one of netpath's, so that what it holds may tell.
    fn may_be_ours(&self) -> bool {
        let mut kinds = ProgramKind::ALL.iter();
        kinds.any(|kind| self.name.as_deref() == Some(kernel_name(kind.name())))
    }
}

/// The programs that are pinned.
fn pinned_programs(pins: &Pins) -> Result<Vec<(ProgramKind, Program)>, DatapathError> {
    let mut programs = Vec::new();
    for kind in ProgramKind::ALL {
        let path = pins.program(kind.name());
        if !path.exists() {
            continue;
        }
        let failed = |source| DatapathError::Program {
            program: kind.name(),
            dev: None,
            source,
        };
        let program = SchedClassifier::from_pin(&path).map_err(failed)?;
        programs.push((kind, Program::of(&program.info().map_err(failed)?)?));
    }
    Ok(programs)
}

/// The maps that the node's programs hold, by the names that the kernel keeps, each with how many programs hold it. The
/// programs are the pinned ones; where those do not tell, those that the pinned links run.
fn held(
    pins: &Pins,
    pinned: &BTreeMap<&'static str, u32>,
    programs: &[(ProgramKind, Program)],
) -> Result<BTreeMap<String, BTreeMap<u32, usize>>, DatapathError> {
    let of_pinned = programs.iter().map(|(_, program)| program);
    let held = of_node(pins, pinned, of_pinned)?;
    if TABLES
        .iter()
        .all(|spec| held.contains_key(kernel_name(spec.name)))
    {
        return Ok(held);
    }
    of_node(pins, pinned, linked(pins)?.iter())
}

/// What those of the programs hold that are of this node, as their `meta` says.
fn of_node<'p>(
    pins: &Pins,
    pinned: &BTreeMap<&'static str, u32>,
    programs: impl Iterator<Item = &'p Program>,
) -> Result<BTreeMap<String, BTreeMap<u32, usize>>, DatapathError> {
    let mut held: BTreeMap<String, BTreeMap<u32, usize>> = BTreeMap::new();
    for program in programs.filter(|program| program.may_be_ours()) {
        let mut maps = Vec::new();
        for &id in &program.maps {
            let info = by_id(id)?.info().map_err(map("of a program"))?;
            maps.extend(info.name_as_str().map(|name| (name.to_owned(), id)));
        }
        let meta = maps.iter().find(|(name, _)| name == "meta");
        let is_it = match meta {
            Some((_, id)) if pinned.get("meta") == Some(id) => true,
            Some((_, id)) => is_named(*id, pins)?,
            None => false,
        };
        for (name, id) in maps.into_iter().filter(|_| is_it) {
            *held.entry(name).or_default().entry(id).or_default() += 1;
        }
    }
    Ok(held)
}

fn by_id(id: u32) -> Result<MapData, DatapathError> {
    MapData::from_id(id).map_err(map("of a program"))
}

/// Whether a `meta` names the node that these are the pins of.
fn is_named(meta: u32, pins: &Pins) -> Result<bool, DatapathError> {
    let meta = RawMap::of(by_id(meta)?, "meta")?;
    if meta.layout != Layout::of(spec("meta")) {
        return Ok(false);
    }
    let value = meta.get(&0u32.to_ne_bytes())?;
    let identity = value.map(|bytes| super::table::value::<Identity>(&bytes));
    let node = pins.directory().file_name().and_then(|name| name.to_str());
    Ok(identity.is_some_and(|identity| netpath_common::text(&identity.name) == node))
}

/// Whether a program holds the `hops` of a directory: a node's counters go from version to version.
pub(super) fn counts_in(pins: &Pins, program: u32) -> Result<bool, DatapathError> {
    let hops = MapInfo::from_pin(pins.map("hops"))
        .map_err(map("hops"))?
        .id();
    // One that ended meanwhile does not.
    let mut loaded = loaded_programs().filter_map(Result::ok);
    match loaded.find(|info| info.id() == program) {
        Some(info) => Ok(Program::of(&info)?.maps.contains(&hops)),
        None => Ok(false),
    }
}

/// The programs that the pinned links run.
fn linked(pins: &Pins) -> Result<Vec<Program>, DatapathError> {
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
    if linked.is_empty() {
        return Ok(Vec::new());
    }
    // One that ended meanwhile is none of them.
    let loaded = loaded_programs().filter_map(Result::ok);
    let running = loaded.filter(|info| linked.contains(&info.id()));
    running.map(|info| Program::of(&info)).collect()
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
