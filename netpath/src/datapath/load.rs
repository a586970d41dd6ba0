//! Loading the embedded object.

use std::{fs, path::Path};

use aya::{
    Ebpf, EbpfLoader,
    programs::{ProgramError, SchedClassifier},
};

use super::{
    ObjectKind, ProgramKind,
    error::{DatapathError, file},
    kernel,
    maps::MAPS,
    pins::Pins,
};
use crate::hash::fnv1a_64;

/// The TC programs, built from netpath-ebpf by build.rs.
static PLAIN: &[u8] = aya::include_bytes_aligned!(env!("NETPATH_BPF_OBJECT"));
/// The same with per-packet logging.
static LOGGING: &[u8] = aya::include_bytes_aligned!(env!("NETPATH_BPF_OBJECT_DEBUG"));

/// How much a node's maps hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Endpoint addresses, of each family.
    pub endpoints: u32,
    /// Routed prefixes, of each family.
    pub routes: u32,
}

fn bytes(object: ObjectKind) -> &'static [u8] {
    match object {
        ObjectKind::Plain => PLAIN,
        ObjectKind::Logging => LOGGING,
    }
}

/// Tells one build of the programs from another: a hash of the object.
pub(super) fn fingerprint(object: ObjectKind) -> u64 {
    fnv1a_64(bytes(object))
}

/// Loads the object with its maps pinned, or reused where they already are, and its programs verified.
fn load(
    pins: &Pins,
    capacity: Option<Capacity>,
    object: ObjectKind,
) -> Result<Ebpf, DatapathError> {
    let flags = kernel::fib_flags();
    let mut loader = EbpfLoader::new();
    loader.override_global("FIB_FLAGS", &flags, true);
    if let Some(capacity) = capacity {
        loader
            .map_max_entries("endpoint_records", capacity.endpoints.saturating_mul(2))
            // A veth for each endpoint of one family only, and the uplinks.
            .map_max_entries(
                "interfaces",
                capacity.endpoints.saturating_mul(2).saturating_add(1024),
            )
            // As many endpoints as records.
            .map_max_entries("devices", capacity.endpoints.saturating_mul(2))
            .map_max_entries("endpoints_v4", capacity.endpoints)
            .map_max_entries("endpoints_v6", capacity.endpoints)
            .map_max_entries("routes_v4", capacity.routes)
            .map_max_entries("routes_v6", capacity.routes);
    }
    for name in MAPS {
        loader.map_pin_path(name, pins.map(name));
    }
    let mut ebpf = loader.load(bytes(object))?;
    for kind in ProgramKind::ALL {
        program(&mut ebpf, kind)?
            .load()
            .map_err(|source| readable(kind, source))?;
    }
    Ok(ebpf)
}

fn program(ebpf: &mut Ebpf, kind: ProgramKind) -> Result<&mut SchedClassifier, DatapathError> {
    let name = kind.name();
    let missing = || DatapathError::Foreign {
        path: "the embedded object".into(),
        problem: format!("it holds no classifier {name}"),
    };
    ebpf.program_mut(name)
        .ok_or_else(missing)?
        .try_into()
        .map_err(|_| missing())
}

/// The verifier's own words first: the last lines of its log say what it did not like.
fn readable(kind: ProgramKind, source: ProgramError) -> DatapathError {
    let program = kind.name();
    match source {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => DatapathError::Verifier {
            program,
            source: io_error,
            log: verifier_log.to_string(),
        },
        source => DatapathError::Program {
            program,
            dev: None,
            source,
        },
    }
}

/// Makes and pins maps and programs in a staged directory.
pub(super) fn create(
    pins: &Pins,
    capacity: Capacity,
    object: ObjectKind,
) -> Result<(), DatapathError> {
    let mut ebpf = load(pins, Some(capacity), object)?;
    for kind in ProgramKind::ALL {
        let path = pins.program(kind.name());
        program(&mut ebpf, kind)?
            .pin(&path)
            .map_err(|source| DatapathError::Pin { path, source })?;
    }
    Ok(())
}

/// Pins this build's programs in the place of those that are pinned, on the same maps.
pub(super) fn replace_programs(pins: &Pins, object: ObjectKind) -> Result<(), DatapathError> {
    let mut ebpf = load(pins, None, object)?;
    for kind in ProgramKind::ALL {
        let path = pins.program(kind.name());
        let new = pins.program(&format!("{}_new", kind.name()));
        match fs::remove_file(&new) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            result => result.map_err(file(&new, "remove"))?,
        }
        program(&mut ebpf, kind)?
            .pin(&new)
            .map_err(|source| DatapathError::Pin {
                path: new.clone(),
                source,
            })?;
        fs::rename(&new, &path).map_err(file(&new, "rename over the old program"))?;
    }
    Ok(())
}

/// The first four bytes of entry 0 of a pinned array whose value is not of a size that we know.
pub(super) fn first_word(path: &Path, value_size: u32) -> Result<u32, DatapathError> {
    use aya::maps::{Array, Map, MapData};
    /// Values are read whole, and aya wants a type for each size: these are all that a version may have.
    fn read<const N: usize>(path: &Path) -> Result<u32, DatapathError> {
        let foreign = |problem: String| DatapathError::Foreign {
            path: path.to_owned(),
            problem,
        };
        let data = MapData::from_pin(path).map_err(super::map("meta"))?;
        let opened = Map::from_map_data(data).map_err(super::map("meta"))?;
        let array: Array<MapData, [u8; N]> = opened
            .try_into()
            .map_err(|error| foreign(format!("map `meta` is not an array: {error}")))?;
        let value = array.get(&0, 0).map_err(super::map("meta"))?;
        value
            .first_chunk()
            .map(|word| u32::from_ne_bytes(*word))
            .ok_or_else(|| foreign("map `meta` is too small".to_owned()))
    }
    match value_size {
        4 => read::<4>(path),
        8 => read::<8>(path),
        16 => read::<16>(path),
        32 => read::<32>(path),
        64 => read::<64>(path),
        // Version 1.
        104 => read::<104>(path),
        // Version 2.
        112 => read::<112>(path),
        128 => read::<128>(path),
        other => Err(DatapathError::Foreign {
            path: path.to_owned(),
            problem: format!("map `meta` has values of {other} bytes"),
        }),
    }
}
