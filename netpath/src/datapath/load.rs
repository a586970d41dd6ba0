//! Loading the embedded object.

use std::{
    fs,
    sync::{Mutex, OnceLock, PoisonError},
    thread,
};

use aya::{
    Ebpf, EbpfLoader,
    programs::{Program, ProgramError, SchedClassifier},
};

use netpath_common::{
    Identity, Settings,
    tables::{Capacity, TABLES},
};

use super::{
    ObjectKind, ProgramKind,
    error::{DatapathError, file},
    kernel, mend,
    pins::Pins,
};
use crate::hash::fnv1a_64;

/// The TC programs, built from netpath-ebpf by build.rs.
static PLAIN: &[u8] = aya::include_bytes_aligned!(env!("NETPATH_BPF_OBJECT"));
/// The same with per-packet logging.
static LOGGING: &[u8] = aya::include_bytes_aligned!(env!("NETPATH_BPF_OBJECT_DEBUG"));

pub(super) fn bytes(object: ObjectKind) -> &'static [u8] {
    match object {
        ObjectKind::Plain => PLAIN,
        ObjectKind::Logging => LOGGING,
    }
}

/// Tells one build of the programs from another: a hash of the object, which is asked for wherever a node is looked at.
pub(super) fn fingerprint(object: ObjectKind) -> u64 {
    static HASHES: [OnceLock<u64>; 2] = [const { OnceLock::new() }; 2];
    *HASHES[object as usize].get_or_init(|| fnv1a_64(bytes(object)))
}

/// What is wanted of a node unless somebody says otherwise, also if nobody gets to; `object` is the [`fingerprint`] of its
/// programs.
pub(super) fn settings(object: u64, capacity: Capacity, identity: &Identity) -> Settings {
    Settings {
        object,
        fast_path: 1,
        forward_drop: 0,
        configured: 0,
        max_endpoints: capacity.endpoints,
        max_routes: capacity.routes,
        max_route_records: capacity.route_records,
        bypass: 0,
        netns_made: identity.netns_made,
        netns_cookie: identity.netns_cookie,
        max_connections: capacity.connections,
        reserved: 0,
    }
}

/// Loads the object with its maps pinned, or reused where they already are whatever their capacity, and its programs verified.
fn load(
    pins: &Pins,
    capacity: Option<Capacity>,
    object: ObjectKind,
) -> Result<Ebpf, DatapathError> {
    let capacity = capacity.unwrap_or(Capacity::DEFAULT);
    let mut loader = take_loader();
    for spec in TABLES {
        loader.map_pin_path(spec.name, pins.map(spec.name));
        loader.map_max_entries(spec.name, spec.room.entries(&capacity));
    }
    let loaded = loader.load(bytes(object));
    give_back(loader);
    let mut ebpf = loaded?;
    verify_all(&mut ebpf)?;
    Ok(ebpf)
}

/// Loaders to be used again. Each new one reads the types of the whole kernel, which is a good part of what it takes to make a node,
/// and `up` makes as many as the file has.
static LOADERS: Mutex<Vec<EbpfLoader<'static>>> = Mutex::new(Vec::new());

fn take_loader() -> EbpfLoader<'static> {
    static FIB_FLAGS: OnceLock<u32> = OnceLock::new();
    let mut idle = LOADERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loader) = idle.pop() {
        return loader;
    }
    drop(idle);
    let mut loader = EbpfLoader::new();
    loader.override_global("FIB_FLAGS", FIB_FLAGS.get_or_init(kernel::fib_flags), true);
    loader
}

/// What was said of one node's maps is said anew for the next.
fn give_back(loader: EbpfLoader<'static>) {
    let mut idle = LOADERS.lock().unwrap_or_else(PoisonError::into_inner);
    idle.push(loader);
}

/// Has the kernel verify every program, side by side: that is most of what it takes to make a node, and the kernel does it
/// for as many at once as there are processors.
fn verify_all(ebpf: &mut Ebpf) -> Result<(), DatapathError> {
    let named = |(name, program)| Some((ProgramKind::from_name(name)?, program));
    let programs: Vec<(ProgramKind, &mut Program)> =
        ebpf.programs_mut().filter_map(named).collect();
    thread::scope(|scope| {
        let begun: Vec<_> = programs
            .into_iter()
            .map(|(kind, program)| {
                scope.spawn(move || {
                    let program = classifier(program).ok_or_else(|| missing(kind))?;
                    verify(|| program.load()).map_err(|source| readable(kind.name(), source))
                })
            })
            .collect();
        begun.into_iter().try_for_each(|verified| {
            verified
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

/// How often the verifier is asked again, as by libbpf (`PROG_LOAD_ATTEMPTS` in tools/lib/bpf/bpf.c).
const ATTEMPTS: u32 = 5;

/// Has the kernel verify a program. It breaks off with EAGAIN when a signal comes (`do_check` in kernel/bpf/verifier.c), and
/// then is asked again.
pub(super) fn verify(
    mut load: impl FnMut() -> Result<(), ProgramError>,
) -> Result<(), ProgramError> {
    let mut attempts = 1;
    loop {
        match load() {
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.raw_os_error() == Some(libc::EAGAIN) && attempts < ATTEMPTS =>
            {
                attempts += 1;
            }
            result => return result,
        }
    }
}

fn program(ebpf: &mut Ebpf, kind: ProgramKind) -> Result<&mut SchedClassifier, DatapathError> {
    ebpf.program_mut(kind.name())
        .and_then(classifier)
        .ok_or_else(|| missing(kind))
}

fn classifier(program: &mut Program) -> Option<&mut SchedClassifier> {
    program.try_into().ok()
}

fn missing(kind: ProgramKind) -> DatapathError {
    DatapathError::Foreign {
        path: "the embedded object".into(),
        problem: format!("it holds no classifier {}", kind.name()),
    }
}

/// The verifier's own words first: the last lines of its log say what it did not like.
pub(super) fn readable(program: &'static str, source: ProgramError) -> DatapathError {
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
    let maps = mend::all(pins)?;
    for kind in ProgramKind::ALL {
        let path = pins.program(kind.name());
        let program = program(&mut ebpf, kind)?;
        mend::bind(program, &maps)?;
        program
            .pin(&path)
            .map_err(|source| DatapathError::Pin { path, source })?;
    }
    Ok(())
}

/// Makes and pins the maps of a directory that are not there.
pub(super) fn replace_maps(
    pins: &Pins,
    capacity: Capacity,
    object: ObjectKind,
) -> Result<(), DatapathError> {
    load(pins, Some(capacity), object).map(drop)
}

/// Pins this build's programs in the place of those that are pinned, on the same maps.
pub(super) fn replace_programs(pins: &Pins, object: ObjectKind) -> Result<(), DatapathError> {
    let mut ebpf = load(pins, None, object)?;
    let maps = mend::all(pins)?;
    for kind in ProgramKind::ALL {
        let path = pins.program(kind.name());
        let new = pins.program(&format!("{}_new", kind.name()));
        match fs::remove_file(&new) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            result => result.map_err(file(&new, "remove"))?,
        }
        let program = program(&mut ebpf, kind)?;
        mend::bind(program, &maps)?;
        program.pin(&new).map_err(|source| DatapathError::Pin {
            path: new.clone(),
            source,
        })?;
        fs::rename(&new, &path).map_err(file(&new, "rename over the old program"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// A load that fails so often with one error. Returns how it ended, and how often it was tried.
    fn tried(failures: u32, errno: i32) -> (Result<(), Option<i32>>, u32) {
        let mut attempts = 0;
        let result = verify(|| {
            attempts += 1;
            if attempts > failures {
                return Ok(());
            }
            Err(ProgramError::LoadError {
                io_error: io::Error::from_raw_os_error(errno),
                verifier_log: aya_obj::VerifierLog::new(String::new()),
            })
        });
        let result = result.map_err(|error| match error {
            ProgramError::LoadError { io_error, .. } => io_error.raw_os_error(),
            _ => None,
        });
        (result, attempts)
    }

    #[test]
    fn a_load_that_a_signal_broke_off_is_tried_again() {
        assert_eq!(tried(0, libc::EAGAIN), (Ok(()), 1));
        assert_eq!(tried(4, libc::EAGAIN), (Ok(()), 5));
        assert_eq!(tried(9, libc::EAGAIN), (Err(Some(libc::EAGAIN)), 5));
    }

    #[test]
    fn what_the_verifier_refuses_is_refused_at_once() {
        assert_eq!(tried(9, libc::EINVAL), (Err(Some(libc::EINVAL)), 1));
    }
}
