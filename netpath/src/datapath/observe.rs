//! Observing packets at the kernel's tracepoints, and being told what the programs of nodes decide of them: what a trace is made of.
//!
//! All of it ends with the process. What nodes are asked to tell is asked for a moment only, and again and again, so that the
//! programs stop by themselves where nobody asks any more.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    time::Duration,
};

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, Map, MapData, MapInfo, PerCpuArray, RingBuf},
    programs::{ProgramError, ProgramInfo, RawTracePoint},
};
use netpath_common::{
    ProgramKind,
    trace::{
        IS_DECISION, IS_PACKET, TRACES, TraceCounts, TraceDecision, TraceEvent, TraceFilter,
        TraceLease, TraceOffsets, TracePoint,
    },
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    Datapath, ObjectKind, clock,
    error::{DatapathError, file, map},
    load,
    raw::RawMap,
};
use crate::lock::{Lock, Subject};

/// The programs on tracepoints, built from netpath-ebpf by build.rs.
pub(super) static OBSERVER: &[u8] = aya::include_bytes_aligned!(env!("NETPATH_BPF_OBSERVER"));

/// For how long nodes are asked to tell at a time.
const LEASE: Duration = Duration::from_secs(2);

/// The maps of a node's programs by which they are asked, in netpath-ebpf's trace.rs. They go with the programs.
const LEASES: &str = "cache_trace";
const TRACED: &str = "cache_traced";
const TOLD: &str = "cache_told";

/// The lease of all traces together, in front of those of each.
const OF_ALL: u32 = 0;

/// What was seen or decided.
#[derive(Clone, Debug)]
pub enum Observed {
    /// A packet, at a tracepoint.
    Packet(Box<TraceEvent>),
    /// What a program has decided of one.
    Decision(TraceDecision),
}

/// What was not told, of all processors together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Untold {
    /// Events that there was no room for.
    pub lost: u64,
    /// Packets that were not followed, since there were more than may be at a time.
    pub skipped: u64,
}

/// The programs on tracepoints, and the nodes that were asked to tell. Dropped, all is as before.
pub struct Observer {
    ebpf: Ebpf,
    told: RingBuf<MapData>,
    nodes: Vec<Asked>,
    missing: Vec<TracePoint>,
    asked_until: u64,
}

impl Observer {
    /// Attaches to the tracepoints: from now on it is told of what the filter matches.
    ///
    /// # Errors
    /// When the kernel refuses the programs, or has none of the tracepoints.
    pub fn start(offsets: &TraceOffsets, filter: &TraceFilter) -> Result<Self, DatapathError> {
        let mut loader = EbpfLoader::new();
        loader.override_global("OFFSETS", offsets, true);
        let mut ebpf = loader.load(OBSERVER)?;
        let filters = ebpf.map_mut("filter").ok_or_else(|| lacks("filter"))?;
        let mut filters: Array<_, TraceFilter> = filters.try_into().map_err(map("filter"))?;
        filters.set(0, filter, 0).map_err(map("filter"))?;
        let told = ebpf.take_map("told").ok_or_else(|| lacks("told"))?;
        let told = told.try_into().map_err(map("told"))?;
        let mut missing = Vec::new();
        for point in TracePoint::ALL {
            if !attach(&mut ebpf, point)? {
                missing.push(point);
            }
        }
        if missing.len() == TracePoint::ALL.len() {
            return Err(DatapathError::KernelLacks {
                what: "the tracepoints of packets (CONFIG_TRACEPOINTS)",
            });
        }
        Ok(Self {
            ebpf,
            told,
            nodes: Vec::new(),
            missing,
            asked_until: 0,
        })
    }

    /// Tracepoints that this kernel has not.
    pub fn missing(&self) -> &[TracePoint] {
        &self.missing
    }

    /// Asks a node's programs to tell what they decide of the packets that are followed. False where they are of another build,
    /// which may tell something else.
    ///
    /// # Errors
    /// When somebody else traces the node, or the kernel refuses.
    pub fn ask(&mut self, datapath: &Datapath) -> Result<bool, DatapathError> {
        let is_known = [ObjectKind::Plain, ObjectKind::Logging]
            .into_iter()
            .try_fold(false, |known, kind| {
                Ok::<_, DatapathError>(known || datapath.has_object(kind)?)
            })?;
        let Some(mut asked) = Asked::find(datapath)?.filter(|_| is_known) else {
            return Ok(false);
        };
        let _lock = Lock::take_briefly(Subject::Trace)?;
        asked.place = asked.free()?.ok_or_else(|| DatapathError::Traced {
            node: datapath.name().to_owned(),
        })?;
        let Some(Map::LruHashMap(traced)) = self.ebpf.map("traced") else {
            return Err(lacks("traced"));
        };
        let traced = traced.fd().as_fd().as_raw_fd();
        let key = asked.place.to_ne_bytes();
        asked.traced.set(&key, &traced.to_ne_bytes())?;
        asked.told.set(&key, &self.told.as_raw_fd().to_ne_bytes())?;
        asked.ask_until(clock::monotonic() + nanoseconds(LEASE))?;
        self.asked_until = 0;
        self.nodes.push(asked);
        Ok(true)
    }

    /// Hands over what was told, after waiting for it for so long.
    ///
    /// # Errors
    /// When the ring buffer cannot be read, or a node not be asked any longer.
    pub fn read(
        &mut self,
        wait: Duration,
        mut sink: impl FnMut(Observed),
    ) -> Result<(), DatapathError> {
        self.renew()?;
        let wait = wait.min(LEASE / 4).as_millis();
        let patience = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
        let fd = self.told.as_raw_fd();
        // SAFETY: the ring buffer's descriptor is open for as long as it is, which is longer than this.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], patience) {
            // A signal: the caller looks at it.
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(file("the trace's ring buffer", "poll")(errno.into())),
        }
        while let Some(item) = self.told.next() {
            if let Some(observed) = observed(&item) {
                sink(observed);
            }
        }
        Ok(())
    }

    /// What was not told so far.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn untold(&self) -> Result<Untold, DatapathError> {
        let counts = self.ebpf.map("counts").ok_or_else(|| lacks("counts"))?;
        let counts: PerCpuArray<_, TraceCounts> = counts.try_into().map_err(map("counts"))?;
        let counts = counts.get(&0, 0).map_err(map("counts"))?;
        Ok(counts.iter().fold(Untold::default(), |sum, counts| Untold {
            lost: sum.lost + counts.lost,
            skipped: sum.skipped + counts.skipped,
        }))
    }

    fn renew(&mut self) -> Result<(), DatapathError> {
        let now = clock::monotonic();
        if self.asked_until > now + nanoseconds(LEASE / 2) {
            return Ok(());
        }
        let until = now + nanoseconds(LEASE);
        for node in &self.nodes {
            node.ask_until(until)?;
        }
        self.asked_until = until;
        Ok(())
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let lock = Lock::take_briefly(Subject::Trace);
        for node in &self.nodes {
            let released = match &lock {
                Ok(_) => node.release(node.place).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = released {
                tracing::warn!("node {}: {error}: it tells no more in a moment", node.name);
            }
        }
    }
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer")
            .field("missing", &self.missing)
            .finish_non_exhaustive()
    }
}

/// What a node's programs are asked by.
struct Asked {
    name: String,
    /// Which of the traces this is.
    place: u32,
    leases: RawMap,
    traced: RawMap,
    told: RawMap,
}

impl Asked {
    /// `None` where the programs have nothing to be asked by.
    fn find(datapath: &Datapath) -> Result<Option<Self>, DatapathError> {
        let kind = ProgramKind::FromEndpoint.name();
        let failed = |source| DatapathError::Program {
            program: kind,
            dev: None,
            source,
        };
        let program = ProgramInfo::from_pin(datapath.pins.program(kind)).map_err(failed)?;
        let ids = program.map_ids().map_err(failed)?.unwrap_or_default();
        let mut found = [None, None, None];
        for id in ids {
            let info = MapInfo::from_id(id).map_err(map("of a program"))?;
            let names = [LEASES, TRACED, TOLD];
            let Some(at) = names
                .iter()
                .position(|name| info.name_as_str() == Some(name))
            else {
                continue;
            };
            let data = MapData::from_id(id).map_err(map(names[at]))?;
            found[at] = Some(RawMap::of(data, names[at])?);
        }
        let [Some(leases), Some(traced), Some(told)] = found else {
            return Ok(None);
        };
        Ok(Some(Self {
            name: datapath.name().to_owned(),
            place: 0,
            leases,
            traced,
            told,
        }))
    }

    fn until(&self, lease: u32) -> Result<u64, DatapathError> {
        let value = self.leases.get(&lease.to_ne_bytes())?;
        let value = value.and_then(|value| Some(*value.first_chunk::<8>()?));
        Ok(value.map_or(0, u64::from_ne_bytes))
    }

    fn set(&self, lease: u32, until: u64) -> Result<(), DatapathError> {
        let TraceLease { until } = TraceLease { until };
        self.leases.set(&lease.to_ne_bytes(), &until.to_ne_bytes())
    }

    /// A place that no trace has, or one that was killed.
    fn free(&self) -> Result<Option<u32>, DatapathError> {
        let now = clock::monotonic();
        for place in 0..TRACES {
            if self.until(1 + place)? <= now {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    fn ask_until(&self, until: u64) -> Result<(), DatapathError> {
        self.set(1 + self.place, until)?;
        self.set(OF_ALL, until)
    }

    /// Asks no more, and takes the observer's maps out. The caller holds the lock.
    fn release(&self, place: u32) -> Result<(), DatapathError> {
        self.set(1 + place, 0)?;
        self.traced.remove(&place.to_ne_bytes())?;
        self.told.remove(&place.to_ne_bytes())?;
        let mut others = (0..TRACES).map(|other| self.until(1 + other));
        let last = others.try_fold(0, |last, until| Ok::<_, DatapathError>(last.max(until?)))?;
        self.set(OF_ALL, last)
    }
}

impl Datapath {
    /// Takes back what traces that were killed have asked of the node's programs. They have stopped by themselves by then; what is
    /// left is a few maps of theirs, and a number that they look at. Returns whether anything was.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn end_killed_traces(&self) -> Result<bool, DatapathError> {
        let Some(asked) = Asked::find(self)? else {
            return Ok(false);
        };
        let _lock = Lock::take_briefly(Subject::Trace)?;
        let now = clock::monotonic();
        let mut found = false;
        for place in 0..TRACES {
            let until = asked.until(1 + place)?;
            if until != 0 && until <= now {
                asked.release(place)?;
                found = true;
            }
        }
        Ok(found)
    }
}

/// Attaches the program of a tracepoint; false where the kernel has none.
fn attach(ebpf: &mut Ebpf, point: TracePoint) -> Result<bool, DatapathError> {
    let name = point.program();
    let failed = |source| load::readable(name, source);
    let program = ebpf.program_mut(name).ok_or_else(|| lacks(name))?;
    let program: &mut RawTracePoint = program.try_into().map_err(failed)?;
    load::verify(|| program.load()).map_err(failed)?;
    match program.attach(point.tracepoint()) {
        Ok(_) => Ok(true),
        Err(ProgramError::SyscallError(error))
            if error.io_error.kind() == io::ErrorKind::NotFound =>
        {
            Ok(false)
        }
        Err(error) => Err(failed(error)),
    }
}

fn observed(bytes: &[u8]) -> Option<Observed> {
    let kind = u32::from_ne_bytes(*bytes.first_chunk()?);
    match kind {
        IS_PACKET => value(bytes).map(|event| Observed::Packet(Box::new(event))),
        IS_DECISION => value(bytes).map(Observed::Decision),
        _ => None,
    }
}

fn value<T: Pod>(bytes: &[u8]) -> Option<T> {
    let bytes = bytes.get(..size_of::<T>())?;
    // SAFETY: there are as many bytes, and any bytes are a value of such a type.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

fn lacks(what: &'static str) -> DatapathError {
    DatapathError::Foreign {
        path: "the embedded observer".into(),
        problem: format!("it holds no {what}"),
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
