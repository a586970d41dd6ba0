//! What a node is, where somebody has overwritten the map `meta` that says so.
//!
//! The directory says the node's name, and the layouts of its maps their version. Whose namespace it is in stands in
//! `settings`, too. Where the two maps say different things, the one is right whose namespace is there, and nobody is where
//! both or neither are: then nothing is touched, for `down` removes the namespaces that netpath made.

use netpath_common::{
    ABI_VERSION, Identity, Settings,
    tables::{TABLES, spec},
};

use super::{
    Found,
    error::DatapathError,
    mend::Missing,
    pins::Pins,
    raw::{Layout, RawMap},
    table,
};
use crate::netns::{NameState, Netns, name_state};

/// Whose namespace a node is in: netpath's or the machine's own, and its cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Home {
    made: u32,
    cookie: u64,
}

impl Home {
    /// Whether netpath may have written it.
    fn is_plausible(self) -> bool {
        self.made <= 1 && self.cookie != 0
    }

    /// Whether its namespace is there: of a lab under the node's name, of a machine where netpath runs.
    fn is_there(self, node: &str) -> Result<bool, DatapathError> {
        let netns = match self.made {
            0 => Netns::current()?,
            _ if name_state(node)? == NameState::Namespace => Netns::named(node)?,
            _ => return Ok(false),
        };
        Ok(netns.cookie()? == self.cookie)
    }
}

/// That `meta` was overwritten.
pub(super) fn overwritten(pins: &Pins) -> DatapathError {
    let problem = "its map meta was overwritten: `netpath up` writes it again, and `netpath down` removes the node";
    damaged(pins, problem)
}

fn damaged(pins: &Pins, problem: &str) -> DatapathError {
    DatapathError::Damaged {
        path: pins.directory().to_owned(),
        problem: problem.to_owned(),
    }
}

/// Whether the `meta` of a directory, which says that it is of another version, was overwritten: all its maps are of this
/// one. A newer version may have the same layouts, and then its `meta` has the node's name; an older one too, and then what has
/// come since is not there.
pub(super) fn is_overwritten(pins: &Pins, version: u32) -> Result<bool, DatapathError> {
    if version > ABI_VERSION && read::<Identity>(pins, "meta")?.is_none_or(|it| is_of(&it, pins)) {
        return Ok(false);
    }
    for spec in TABLES {
        let path = pins.map(spec.name);
        let is_of_this_version = match path.exists() {
            true => RawMap::open(&path, spec.name)?.layout == Layout::of(spec),
            false => spec.since <= version,
        };
        if !is_of_this_version {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_of_this_version(pins: &Pins) -> Result<bool, DatapathError> {
    match super::version(pins) {
        Ok(Found::Same | Found::Overwritten) => Ok(true),
        // One that tells no version is none of netpath's.
        Ok(_) | Err(DatapathError::Foreign { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What `meta` is to hold, if that is known and it is something else than it holds.
pub(super) fn wanted(pins: &Pins, missing: &Missing) -> Result<Option<Identity>, DatapathError> {
    let is_there = |map| pins.map(map).exists() && !missing.replaced.contains(&map);
    let found = match is_there("meta") && is_of_this_version(pins)? {
        true => read::<Identity>(pins, "meta")?,
        false => None,
    };
    let (Some(found), Some(node)) = (found, node(pins)) else {
        return Ok(None);
    };
    let noted = match is_there("settings") {
        true => read::<Settings>(pins, "settings")?,
        false => None,
    };
    let says = Home {
        made: found.netns_made,
        cookie: found.netns_cookie,
    };
    let noted = noted.map(|noted| Home {
        made: noted.netns_made,
        cookie: noted.netns_cookie,
    });
    let home = match noted.filter(|noted| noted.is_plausible()) {
        Some(noted) if noted != says => one_of(says, noted, node)?.ok_or_else(|| {
            let problem = "its maps meta and settings say different things of its network namespace, and nothing tells \
                           which of them was altered: write the right netns_made and netns_cookie back with `bpftool map \
                           update pinned`";
            damaged(pins, problem)
        })?,
        _ if says.is_plausible() => says,
        _ => {
            let problem = "its maps meta and settings were overwritten, and nothing tells any more whose namespace it was: \
                           remove the directory with `rm -r`, which detaches its programs, and what `ip netns` and `ip \
                           link` show of it by hand";
            return Err(damaged(pins, problem));
        }
    };
    let wanted = Identity {
        abi_version: ABI_VERSION,
        netns_made: home.made,
        netns_cookie: home.cookie,
        name: netpath_common::fixed(node).unwrap_or(found.name),
        reserved: [0; 48],
    };
    Ok((wanted != found).then_some(wanted))
}

/// Which of `meta` and what is noted is right, if that can be told.
fn one_of(says: Home, noted: Home, node: &str) -> Result<Option<Home>, DatapathError> {
    if !says.is_plausible() {
        return Ok(Some(noted));
    }
    Ok(match (says.is_there(node)?, noted.is_there(node)?) {
        (true, false) => Some(says),
        (false, true) => Some(noted),
        _ => None,
    })
}

fn node(pins: &Pins) -> Option<&str> {
    pins.directory().file_name().and_then(|name| name.to_str())
}

fn is_of(identity: &Identity, pins: &Pins) -> bool {
    netpath_common::text(&identity.name) == node(pins)
}

/// The value of an array with one; none where it has another layout.
fn read<T: aya::Pod>(pins: &Pins, map: &'static str) -> Result<Option<T>, DatapathError> {
    let raw = RawMap::open(&pins.map(map), map)?;
    if raw.layout != Layout::of(spec(map)) {
        return Ok(None);
    }
    let value = raw.get(&0u32.to_ne_bytes())?;
    Ok(value.map(|bytes| table::value(&bytes)))
}
