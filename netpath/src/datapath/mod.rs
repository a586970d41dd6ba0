//! The kernel side of a node: programs, pinned maps and links. The only user of aya.
//!
//! A node's state is what is pinned; a [`Datapath`] is a view of it. Any process may open one, and a new
//! version of netpath adopts what an older one pinned as long as the ABI version is the same.

mod attach;
mod bulk;
mod error;
mod kernel;
mod load;
mod log;
mod maps;
mod pins;
mod sys;
mod test_run;
mod timed;

pub use self::{
    attach::{Hook, ProgramKind},
    error::DatapathError,
    kernel::{AttachMode, attach_mode},
    load::Capacity,
    log::DatapathLog,
    maps::{MAPS, MapSummary, Maps, from_bytes, to_bytes},
    pins::nodes,
    test_run::{ReturnCode, TestOutcome, TestPacket},
    timed::TimedProgram,
};

use std::path::Path;

use aya::maps::{Array, Map, MapData};
use netpath_common::{ABI_VERSION, EndpointId, Meta};

use self::{error::map, pins::Pins};
use crate::lock::{Lock, Subject};

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
    /// When it is of another ABI version, or not netpath's.
    pub fn open(node: &str) -> Result<Option<Self>, DatapathError> {
        let pins = Pins::of(node);
        if !pins.exists() {
            return Ok(None);
        }
        match check_abi(&pins).and_then(|()| Maps::open(&pins)) {
            Ok(maps) => Ok(Some(Self {
                name: node.to_owned(),
                pins,
                maps,
            })),
            // It went while it was being opened.
            Err(_) if !pins.exists() => Ok(None),
            Err(error) => Err(error),
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
        let _lock = Lock::take(Subject::Bpffs)?;
        pins::ensure_bpffs()?;
        kernel::require()?;
        let staged = Pins::stage(identity.name)?;
        let made = load::create(&staged, capacity, object).and_then(|()| {
            let mut maps = Maps::open(&staged)?;
            maps.set_meta(&Meta {
                abi_version: ABI_VERSION,
                next_endpoint_id: EndpointId(1),
                netns_cookie: identity.netns_cookie,
                netns_made: u32::from(identity.netns_made),
                // What is wanted of a node unless somebody says otherwise, also if nobody gets to.
                fast_path: 1,
                forward_drop: 0,
                configured: 0,
                name: netpath_common::fixed(identity.name).ok_or_else(|| {
                    DatapathError::Foreign {
                        path: staged.directory().to_owned(),
                        problem: "the name is too long".to_owned(),
                    }
                })?,
                object: load::fingerprint(object),
                features: 0,
                padding: 0,
            })?;
            Ok(maps)
        });
        match made {
            Ok(maps) => Ok(Self {
                name: identity.name.to_owned(),
                pins: staged.publish(identity.name)?,
                maps,
            }),
            Err(error) => {
                staged.remove()?;
                pins::leave_bpffs()?;
                Err(error)
            }
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
    /// link or filter changes from one to the other atomically. Returns whether anything changed. Only the holder of
    /// the topology lock may do so: it writes `meta`, as everything does that changes a node.
    ///
    /// # Errors
    /// When the kernel refuses a program; the old ones stay.
    pub fn upgrade(&mut self, object: ObjectKind) -> Result<bool, DatapathError> {
        let wanted = load::fingerprint(object);
        if self.maps.meta()?.object == wanted {
            return Ok(false);
        }
        load::replace_programs(&self.pins, object)?;
        match attach_mode() {
            AttachMode::Tcx => self.update_links()?,
            AttachMode::Clsact => self.update_filters()?,
        }
        let meta = Meta {
            object: wanted,
            // As it is now: loading the programs took its time.
            ..self.maps.meta()?
        };
        self.maps.set_meta(&meta)?;
        Ok(true)
    }

    /// Whether the pinned programs are those of this build.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn has_object(&self, object: ObjectKind) -> Result<bool, DatapathError> {
        Ok(self.maps.meta()?.object == load::fingerprint(object))
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its maps, programs and links are pinned.
    pub fn directory(&self) -> &Path {
        self.pins.directory()
    }

    /// Gives out an endpoint id that was never used before.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn next_endpoint_id(&mut self) -> Result<EndpointId, DatapathError> {
        let mut meta = self.maps.meta()?;
        let id = meta.next_endpoint_id;
        meta.next_endpoint_id = EndpointId(id.0 + 1);
        self.maps.set_meta(&meta)?;
        Ok(id)
    }

    /// Unpins everything of the node: TCX programs are detached with it.
    ///
    /// # Errors
    /// When bpffs refuses.
    pub fn remove(self) -> Result<(), DatapathError> {
        drop(self.maps);
        let _lock = Lock::take(Subject::Bpffs)?;
        self.pins.retire(&self.name)?;
        pins::leave_bpffs()
    }

    /// Unpins what a run that was killed left of a node while making or removing it. No other process may
    /// be at work on that node.
    ///
    /// # Errors
    /// When bpffs refuses.
    pub fn remove_unfinished(node: &str) -> Result<(), DatapathError> {
        let _lock = Lock::take(Subject::Bpffs)?;
        Pins::remove_unfinished(node)?;
        pins::leave_bpffs()
    }
}

/// `abi_version` is the first field in every version, so only that much is read.
fn check_abi(pins: &Pins) -> Result<(), DatapathError> {
    let path = pins.map("meta");
    let foreign = |problem: String| DatapathError::Foreign {
        path: pins.directory().to_owned(),
        problem,
    };
    if !path.exists() {
        return Err(foreign("it holds no map `meta`".to_owned()));
    }
    let data = MapData::from_pin(&path).map_err(map("meta"))?;
    let size = data.info().map_err(map("meta"))?.value_size();
    let found = if size as usize == size_of::<Meta>() {
        let meta = Map::from_map_data(data).map_err(map("meta"))?;
        let meta: Array<MapData, Meta> = meta
            .try_into()
            .map_err(|error| foreign(format!("map `meta` is of another type: {error}")))?;
        meta.get(&0, 0).map_err(map("meta"))?.abi_version
    } else {
        load::first_word(&path, size)?
    };
    if found != ABI_VERSION {
        return Err(DatapathError::AbiVersion {
            path: pins.directory().to_owned(),
            found,
            expected: ABI_VERSION,
        });
    }
    Ok(())
}
