//! The kernel side of a node: programs, pinned maps and links. The only user of aya.
//!
//! A node's state is what is pinned; a [`Datapath`] is a view of it. Any process may open one, and a new
//! version of netpath adopts what an older one pinned as long as the ABI version is the same.

mod attach;
mod clock;
mod clsact;
mod error;
mod floor;
mod hops;
mod identity;
mod kernel;
mod load;
mod log;
mod mapped;
mod maps;
mod mend;
mod migrate;
mod observe;
mod pins;
mod raw;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod stack;
mod sys;
mod table;
mod tcx;
mod test_run;
mod timed;
mod trail;

pub use self::{
    clock::{coarse_now, monotonic as monotonic_now},
    clsact::Clsact,
    error::DatapathError,
    floor::{Floor, FloorTo},
    kernel::{AttachMode, attach_mode},
    log::{DatapathLog, LoggedPacket},
    maps::{MapSummary, Maps, Writer, from_bytes, map_names, to_bytes},
    mend::Missing,
    observe::{Observed, Observer, Untold},
    pins::{nodes, unfinished},
    table::{PerCpuTable, Single, Table, Writable},
    tcx::Running,
    test_run::{ReturnCode, TestOutcome, TestPacket},
    timed::TimedProgram,
    trail::Answer,
};
pub use netpath_common::tables::Capacity;

use std::path::{Path, PathBuf};

use netpath_common::{
    ABI_VERSION, Bypass, EndpointId, FastPathMode, Identity, Ids, Settings,
    tables::{MapKind, UPLINK_ADDRESSES},
};
pub use netpath_common::{Hook, ProgramKind};

use self::{error::and_then, pins::Pins, raw::RawMap};
use crate::lock::{Lock, Subject, TopologyLock};

/// The version of aya that this netpath is built with.
pub const AYA_VERSION: &str = env!("NETPATH_AYA_VERSION");

/// Which build of the programs is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ObjectKind {
    /// The one for use.
    #[default]
    Plain,
    /// With per-packet logging.
    Logging,
}

/// What a node is, when its datapath is made.
#[derive(Clone, Copy, Debug)]
pub struct NodeIdentity<'a> {
    /// Its name.
    pub name: &'a str,
    /// The cookie of its namespace.
    pub netns_cookie: u64,
    /// Whether netpath makes that namespace.
    pub netns_made: bool,
}

/// One node's programs and maps.
#[derive(Debug)]
pub struct Datapath {
    name: String,
    pins: Pins,
    /// The node's maps.
    pub maps: Maps,
}

impl Datapath {
    /// Opens what is pinned for a node; `None` if nothing is.
    ///
    /// # Errors
    /// When it is of another ABI version ([`DatapathError::Older`], [`DatapathError::Newer`]), damaged, or not netpath's.
    pub fn open(node: &str) -> Result<Option<Self>, DatapathError> {
        let pins = Pins::of(node);
        let opened = version(&pins).and_then(|found| match found {
            Found::Absent => Ok(None),
            Found::Same => Maps::open(&pins).map(Some),
            Found::Older(found) => Err(older(&pins, found)),
            Found::Newer(found) => Err(newer(&pins, found)),
            Found::Overwritten => Err(identity::overwritten(&pins)),
        });
        match opened {
            Ok(None) => Ok(None),
            Ok(Some(maps)) => Ok(Some(Self {
                name: node.to_owned(),
                pins,
                maps,
            })),
            // It went while it was being opened.
            Err(error) => match pins.exists() {
                Ok(false) => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Fails where something else is pinned than what netpath pinned, so that what the maps say is not what the programs
    /// go by, or the pinned programs are none of the node's.
    ///
    /// # Errors
    /// Then, and when the kernel does not tell.
    pub fn verify(&self) -> Result<(), DatapathError> {
        let missing = Self::missing(&self.name)?;
        let elsewhere = missing.elsewhere();
        if missing.identity.is_some() {
            return Err(identity::overwritten(&self.pins));
        }
        if elsewhere.is_empty() {
            return Ok(());
        }
        Err(DatapathError::Damaged {
            path: self.pins.directory().to_owned(),
            problem: format!(
                "others are pinned in the place of {}: `netpath up` pins the node's own",
                elsewhere.join(", ")
            ),
        })
    }

    /// The ABI version of what an older netpath has pinned for a node; `None` where nothing is, or nothing older.
    ///
    /// # Errors
    /// When it is too old for this build, damaged or not netpath's.
    pub fn older_version(node: &str) -> Result<Option<u32>, DatapathError> {
        let pins = Pins::of(node);
        match version(&pins)? {
            Found::Older(found) if found < migrate::OLDEST => Err(older(&pins, found)),
            Found::Older(found) => Ok(Some(found)),
            Found::Absent | Found::Same | Found::Newer(_) | Found::Overwritten => Ok(None),
        }
    }

    /// Makes and pins a node's maps and programs, all or nothing. Nothing is attached yet.
    ///
    /// # Errors
    /// When the kernel lacks something, or refuses a program; then nothing is left pinned.
    pub fn create(
        identity: NodeIdentity<'_>,
        capacity: Capacity,
        object: ObjectKind,
    ) -> Result<Self, DatapathError> {
        let _lock = Lock::take_briefly(Subject::Bpffs)?;
        pins::ensure_bpffs()?;
        kernel::require()?;
        let (staged, pins) = (Pins::stage(identity.name)?, Pins::of(identity.name));
        let made = load::create(&staged, capacity, object).and_then(|()| {
            let maps = Maps::open(&staged)?;
            let writer = Writer::unlocked(&maps);
            let node = identity.name;
            let identity = Identity {
                abi_version: ABI_VERSION,
                netns_made: u32::from(identity.netns_made),
                netns_cookie: identity.netns_cookie,
                name: netpath_common::fixed(identity.name).ok_or_else(|| {
                    DatapathError::Foreign {
                        path: staged.directory().to_owned(),
                        problem: "the name is too long".to_owned(),
                    }
                })?,
                reserved: [0; 48],
            };
            writer.settings.set(&load::settings(
                load::fingerprint(object),
                capacity,
                &identity,
            ))?;
            writer.ids.set(&Ids {
                next_endpoint_id: EndpointId(1),
            })?;
            writer.meta.set(&identity)?;
            staged.publish(node)?;
            Ok(maps)
        });
        match made {
            Ok(maps) => Ok(Self {
                name: identity.name.to_owned(),
                pins,
                maps,
            }),
            Err(cause) => Err(and_then(
                cause,
                staged.remove().and_then(|()| pins::leave_directory()),
            )),
        }
    }

    /// Checks, without making anything, that a BPF filesystem is there or may be mounted, and that this
    /// kernel has what the programs need.
    ///
    /// # Errors
    /// When it has not.
    pub fn check_kernel() -> Result<(), DatapathError> {
        kernel::require()
    }

    /// Replaces the programs by those of this build if they are others, under the running traffic: each
    /// link or filter changes from one to the other atomically. Returns whether anything changed.
    ///
    /// # Errors
    /// When the kernel refuses a program; the old ones stay.
    pub fn upgrade(&self, object: ObjectKind, lock: &TopologyLock) -> Result<bool, DatapathError> {
        if self.has_object(object)? {
            return Ok(false);
        }
        load::replace_programs(&self.pins, object)?;
        attach::point_hooks_at(&self.pins, &self.maps)?;
        let fingerprint = load::fingerprint(object);
        let settings = self.maps.writer(lock).settings;
        settings.update(|settings| settings.object = fingerprint)?;
        Ok(true)
    }

    /// Whether the pinned programs are those of this build.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn has_object(&self, object: ObjectKind) -> Result<bool, DatapathError> {
        Ok(self.maps.settings.get()?.object == load::fingerprint(object))
    }

    /// The room that its maps have, whatever its settings say.
    fn room(&self) -> Capacity {
        let addresses = self.maps.endpoints_v4.max_entries();
        Capacity {
            endpoints: addresses.saturating_sub(UPLINK_ADDRESSES),
            routes: self.maps.routes_v4.max_entries(),
            route_records: self.maps.route_records.max_entries(),
            connections: self.maps.connections_v4.max_entries(),
        }
    }

    /// Whether its settings hold what netpath writes there, and say what room its maps have and what node it is.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn settings_are_sound(&self) -> Result<bool, DatapathError> {
        let settings = self.maps.settings.get()?;
        Ok(settings == self.sound(settings, self.maps.meta.get()?))
    }

    /// Writes into its settings what room its maps have and what node it is, and takes out what netpath never writes there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn mend_settings(&self, lock: &TopologyLock) -> Result<(), DatapathError> {
        let settings = self.maps.writer(lock).settings;
        settings.set(&self.sound(settings.get()?, self.maps.meta.get()?))
    }

    /// These settings as netpath would have written them.
    fn sound(&self, settings: Settings, identity: Identity) -> Settings {
        let room = self.room();
        Settings {
            object: settings.object,
            fast_path: FastPathMode::from_number(settings.fast_path) as u32,
            forward_drop: u32::from(settings.forward_drop != 0),
            configured: u32::from(settings.configured != 0),
            max_endpoints: room.endpoints,
            max_routes: room.routes,
            max_route_records: room.route_records,
            bypass: Bypass(settings.bypass).known().0,
            netns_made: identity.netns_made,
            netns_cookie: identity.netns_cookie,
            max_connections: room.connections,
            reserved: 0,
        }
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where a node's maps, programs and links are pinned, or would be.
    pub fn directory_of(node: &str) -> PathBuf {
        Pins::of(node).directory().to_owned()
    }

    /// Where its maps, programs and links are pinned.
    pub fn directory(&self) -> &Path {
        self.pins.directory()
    }

    /// The node's maps, to be changed. Only the holder of the topology lock can have them.
    pub fn writer<'a>(&'a self, lock: &'a TopologyLock) -> Writer<'a> {
        self.maps.writer(lock)
    }

    /// Unpins everything of the node: TCX programs are detached with it.
    ///
    /// # Errors
    /// When bpffs refuses.
    pub fn remove(self) -> Result<(), DatapathError> {
        drop(self.maps);
        let _lock = Lock::take_briefly(Subject::Bpffs)?;
        self.pins.retire(&self.name)?;
        pins::leave_directory()
    }

    /// Unpins what a run that was killed left of a node while making or removing it. No other process may
    /// be at work on that node.
    ///
    /// # Errors
    /// When bpffs refuses.
    pub fn remove_unfinished(node: &str) -> Result<(), DatapathError> {
        let _lock = Lock::take_briefly(Subject::Bpffs)?;
        Pins::remove_unfinished(node)?;
        pins::leave_directory()
    }
}

/// What is pinned under a node's name.
enum Found {
    Absent,
    /// Of this version.
    Same,
    Older(u32),
    Newer(u32),
    /// Of this version by its maps, and its `meta` says otherwise.
    Overwritten,
}

/// The version of a directory. `abi_version` is the first field of `meta` in every version, whatever its size, so only
/// that much is read.
fn version(pins: &Pins) -> Result<Found, DatapathError> {
    if !pins.exists()? {
        return Ok(Found::Absent);
    }
    let path = pins.map("meta");
    if !path.exists() {
        return Err(DatapathError::Damaged {
            path: pins.directory().to_owned(),
            problem: "its map meta is not pinned: `netpath up` pins it again if a program holds it"
                .to_owned(),
        });
    }
    let meta = RawMap::open(&path, "meta")?;
    let is_meta = meta.layout.kind == MapKind::Single as u32 && meta.layout.key_size == 4;
    let first = match is_meta {
        true => meta.get(&0u32.to_ne_bytes())?,
        false => None,
    };
    let version = first.and_then(|value| Some(u32::from_ne_bytes(*value.first_chunk()?)));
    match version {
        Some(ABI_VERSION) => Ok(Found::Same),
        Some(found) if identity::is_overwritten(pins, found)? => Ok(Found::Overwritten),
        // A `meta` that nobody has written.
        None | Some(0) => Err(DatapathError::Foreign {
            path,
            problem: format!("map meta is {}, and tells no version", meta.layout),
        }),
        Some(found) if found < ABI_VERSION => Ok(Found::Older(found)),
        Some(found) => Ok(Found::Newer(found)),
    }
}

fn older(pins: &Pins, found: u32) -> DatapathError {
    let path = pins.directory().to_owned();
    match found < migrate::OLDEST {
        true => DatapathError::TooOld {
            path,
            found,
            oldest: migrate::OLDEST,
        },
        false => DatapathError::Older {
            path,
            found,
            expected: ABI_VERSION,
        },
    }
}

fn newer(pins: &Pins, found: u32) -> DatapathError {
    DatapathError::Newer {
        path: pins.directory().to_owned(),
        found,
        expected: ABI_VERSION,
    }
}
