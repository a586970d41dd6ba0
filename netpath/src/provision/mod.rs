//! Namespaces, veths, addresses, routes, sysctls: making a topology true and taking it away again.

mod audit;
mod beside;
mod carry_out;
mod departures;
mod down;
mod endpoint;
mod error;
mod iptables;
mod mend;
mod observe;
mod prune;
mod records;
mod snapshot;
mod status;
mod switch;
mod unproven;
mod up;

pub use self::{
    audit::AuditedNode,
    departures::Remaining,
    down::Removed,
    endpoint::{GivenNetns, NetnsPathError, NewEndpoint, OldEndpoint},
    error::ProvisionError,
    observe::Examined,
    prune::{Kept, Surplus, surplus},
    status::{
        EndpointStatus, FastPath, InterfaceStatus, NextHopStatus, NodeStatus, RouteStatus,
        UNREADABLE, UplinkStatus,
    },
    unproven::Unproven,
    up::Raised,
};
pub use netpath_common::FastPathMode;

pub use crate::reconcile::{Action, Change, GATEWAY_V4, GATEWAY_V6, Object};

use std::sync::{Arc, atomic::AtomicBool};

use crate::{
    capabilities::{self, Capability, Lack, Work},
    datapath::{Datapath, DatapathError, ObjectKind},
    descriptors,
    expedite::Expedited,
    lock::TopologyLock,
    model::Topology,
    mounts,
    reconcile::Refusal,
};

/// How to bring a topology up.
#[derive(Clone, Debug)]
pub struct UpOptions {
    /// Whether the fast path is to be on; `None` leaves a node that is up as it is, and turns a new one on.
    pub fast_path: Option<bool>,
    /// Which build of the programs to use.
    pub object: ObjectKind,
    /// Set from outside (a signal handler) to make the work stop and be undone.
    pub interrupted: Arc<AtomicBool>,
    /// What the fast path changes on a machine when it passes rules by is accepted.
    pub accept_bypass: bool,
}

impl Default for UpOptions {
    fn default() -> Self {
        Self {
            fast_path: None,
            object: ObjectKind::Plain,
            interrupted: Arc::default(),
            accept_bypass: false,
        }
    }
}

/// What [`up`] would change, found without touching anything.
///
/// # Errors
/// Whatever [`up`] would refuse before it touches anything.
pub fn plan(topology: &Topology, options: &UpOptions) -> Result<Vec<Change>, ProvisionError> {
    plan_telling(topology, options).map(|raised| raised.changes)
}

/// As [`plan`]; with what would still be wrong, and is not netpath's to mend.
///
/// # Errors
/// As for [`plan`].
pub fn plan_telling(topology: &Topology, options: &UpOptions) -> Result<Raised, ProvisionError> {
    up::plan(topology, options)
}

/// Makes a topology true, and says what it changed: nothing if it was true already. `progress` is told of
/// each change when it is done.
///
/// # Errors
/// Before anything is touched, for what cannot be done; after a failure half-way every node is made again as it was
/// recorded before.
pub fn up(
    topology: &Topology,
    options: &UpOptions,
    progress: &mut dyn FnMut(&Change),
) -> Result<Vec<Change>, ProvisionError> {
    up_telling(topology, options, progress).map(|raised| raised.changes)
}

/// As [`up`]; with what is still wrong, and is not netpath's to mend.
///
/// # Errors
/// As for [`up`].
pub fn up_telling(
    topology: &Topology,
    options: &UpOptions,
    progress: &mut dyn FnMut(&Change),
) -> Result<Raised, ProvisionError> {
    up::up(topology, options, progress)
}

/// Removes nodes with all that netpath made for them, whatever became of it meanwhile. A node that is not
/// there is no error.
///
/// # Errors
/// When something that is netpath's could not be removed; everything else is removed all the same.
pub fn down(
    nodes: &[String],
    progress: &mut dyn FnMut(&Change),
) -> Result<Vec<Change>, ProvisionError> {
    let removed = down_unless(nodes, &AtomicBool::new(false), progress)?;
    for remaining in &removed.remaining {
        tracing::warn!("{remaining}");
    }
    Ok(removed.changes)
}

/// How to take nodes down.
#[derive(Clone, Copy, Debug)]
pub struct DownOptions<'a> {
    /// Set from outside (by a signal handler) to make waiting for another netpath end. What is begun is finished all the same.
    pub interrupted: &'a AtomicBool,
    /// Whether the kernel is to expedite its grace periods meanwhile; `None` where no file says so: for a lab's nodes.
    pub expedite: Option<bool>,
}

/// As [`down`]; but waiting for another netpath ends when `interrupted` is set. Waits until the kernel has cleared up the namespaces that were removed, ten seconds
/// at most, and says what is left of them.
///
/// # Errors
/// As for [`down`].
pub fn down_unless(
    nodes: &[String],
    interrupted: &AtomicBool,
    progress: &mut dyn FnMut(&Change),
) -> Result<Removed, ProvisionError> {
    let options = DownOptions {
        interrupted,
        expedite: None,
    };
    down_as(nodes, options, progress)
}

/// As [`down_unless`], as it is wished.
///
/// # Errors
/// As for [`down`].
pub fn down_as(
    nodes: &[String],
    options: DownOptions<'_>,
    progress: &mut dyn FnMut(&Change),
) -> Result<Removed, ProvisionError> {
    down::down(nodes, options, progress)
}

/// Adds an endpoint to a node that is up, all of it or nothing, and says what that changed: nothing if it was there already,
/// exactly so. `progress` is told of each change when it is done.
///
/// # Errors
/// Before anything is touched, for what cannot be done. After a failure or an interruption half-way nothing is left of it.
pub fn add_endpoint(
    new: &NewEndpoint,
    progress: &mut dyn FnMut(&Change),
) -> Result<Vec<Change>, ProvisionError> {
    endpoint::add(new, progress)
}

/// Removes an endpoint, whatever became of it meanwhile; a namespace that was given stays. `progress` is told of each change
/// when it is done.
///
/// # Errors
/// [`ProvisionError::NotUp`] when there is none of that name; when it is somebody else's, which is then not touched; when
/// something of it could not be removed.
pub fn remove_endpoint(
    old: &OldEndpoint,
    progress: &mut dyn FnMut(&Change),
) -> Result<Removed, ProvisionError> {
    endpoint::remove(old, progress)
}

/// What the fast path bypasses on every node that is up, or of a file, or on one of these.
///
/// # Errors
/// When there is no such node, or something cannot be read.
pub fn audit(
    topology: Option<&Topology>,
    only: Option<&str>,
) -> Result<Vec<AuditedNode>, ProvisionError> {
    audit::audit(topology, only)
}

/// Which part of what is up a command is about.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only this node.
    pub node: Option<String>,
    /// Only this endpoint.
    pub endpoint: Option<String>,
    /// Set from outside (a signal handler) to make waiting for another netpath end.
    pub interrupted: Arc<AtomicBool>,
    /// What the fast path changes on a machine when it passes rules by is accepted.
    pub accept_bypass: bool,
}

impl Selection {
    /// Whether it is all that is up.
    fn is_everything(&self) -> bool {
        self.node.is_none() && self.endpoint.is_none()
    }
}

/// Attaches the fast path, to take packets or in shadow mode, or detaches it, and re-creates nothing. What is wished is recorded,
/// so that it survives. `progress` is told of each change when it is done.
///
/// # Errors
/// When nothing of that name is up, or the kernel refuses; then the node is switched back to what was wished before.
/// Nodes that can be switched are, whatever is wrong with others.
pub fn set_fast_path(
    mode: impl Into<FastPathMode>,
    selection: &Selection,
    progress: &mut dyn FnMut(&Change),
) -> Result<Vec<Change>, ProvisionError> {
    set_fast_path_telling(mode.into(), selection, progress).map(|raised| raised.changes)
}

/// As [`set_fast_path`]; with what is wrong then of the nodes that were switched, and not netpath's to mend: what the kernel
/// is left, it may drop.
///
/// # Errors
/// As for [`set_fast_path`].
pub fn set_fast_path_telling(
    mode: FastPathMode,
    selection: &Selection,
    progress: &mut dyn FnMut(&Change),
) -> Result<Raised, ProvisionError> {
    require(Work::Nodes)?;
    mounts::require_visible("fastpath")?;
    mounts::require_writable()?;
    descriptors::require(2)?;
    switch::set(mode, selection, progress)
}

/// Replaces a node's programs by those of another build, under the running traffic. Returns whether anything changed:
/// not where they are that build's already, nor where the node is not up any more.
///
/// # Errors
/// When another netpath goes on being at work, or the kernel refuses a program.
pub fn set_object(
    node: &str,
    object: ObjectKind,
    interrupted: &AtomicBool,
) -> Result<bool, ProvisionError> {
    let lock = TopologyLock::take(interrupted)?;
    match Datapath::open(node)? {
        Some(datapath) => Ok(datapath.upgrade(object, &lock)?),
        None => Ok(false),
    }
}

/// The state of every node that is up, as recorded and as found.
///
/// # Errors
/// When netpath's directory cannot be read. A node that cannot be read is a row that says so.
pub fn observe() -> Result<Vec<NodeStatus>, ProvisionError> {
    Ok(observe::examine("show")?.nodes)
}

/// As [`observe`], with what is there of each node. `command` is netpath's subcommand, which is named where it has to be run
/// elsewhere.
///
/// # Errors
/// As for [`observe`].
pub fn examine(command: &str) -> Result<Examined, ProvisionError> {
    observe::examine(command)
}

/// Makes what was recorded of nodes true again, by the same steps as [`up`], and says what it changed: no topology file is
/// looked at, and nothing but netpath's own is touched. `progress` is told of each change when it is done. A node that is
/// refused, or fails, is left, and the others are mended all the same.
///
/// # Errors
/// When another netpath goes on being at work, and for what could not be mended.
pub fn mend(
    nodes: &[String],
    interrupted: &AtomicBool,
    progress: &mut dyn FnMut(&Change),
) -> Result<Vec<Change>, ProvisionError> {
    mend::mend(nodes, interrupted, progress)
}

/// Has grace periods expedited if one of these nodes is a lab's. A machine's own is asked for that. What the file said of it
/// (`expedite`) is known to whoever has the file. A node that cannot be read is none: what is done next with it says why.
fn expedited(nodes: &[String]) -> Option<Expedited> {
    let is_lab = |node: &String| {
        let found = made_its_namespace(node);
        let unknown = |error: &DatapathError| {
            tracing::debug!(%error, "node {node}: whether grace periods may be expedited is not known");
        };
        found.inspect_err(unknown).unwrap_or(false)
    };
    Expedited::by_default(nodes.iter().any(is_lab))
}

/// Whether netpath made the namespace of a node that is up.
fn made_its_namespace(node: &str) -> Result<bool, DatapathError> {
    match Datapath::open(node)? {
        Some(datapath) => Ok(datapath.maps.meta.get()?.netns_made != 0),
        None => Ok(false),
    }
}

/// Refuses what the calling thread is not allowed to do, with all that it lacks. From here on it acts on files as root does.
///
/// # Errors
/// When it lacks something, or that cannot be told.
pub fn require(work: Work) -> Result<(), ProvisionError> {
    let mut lacking = capabilities::lacking(work)?;
    let ptrace = Lack::Own(Capability::SysPtrace);
    if lacking.contains(&ptrace) && mounts::shows_everybodys()? {
        lacking.retain(|it| *it != ptrace);
    }
    refuse_lacking(&lacking)?;
    Ok(capabilities::act_as_root()?)
}

fn refuse_lacking(lacking: &[Lack]) -> Result<(), ProvisionError> {
    match lacking {
        [] => Ok(()),
        lacking => {
            let told = lacking.iter().map(ToString::to_string).collect();
            Err(Refusal::CapabilitiesMissing(told).of("netpath").into())
        }
    }
}

/// A random number of the kernel's.
fn random() -> Result<u64, ProvisionError> {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer outlives the call and has the length stated.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got != 8 {
        return Err(ProvisionError::Random(std::io::Error::last_os_error()));
    }
    Ok(u64::from_ne_bytes(bytes))
}
