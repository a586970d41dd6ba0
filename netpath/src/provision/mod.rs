//! Namespaces, veths, addresses, routes, sysctls: making a topology true and taking it away again.

mod apply;
mod change;
mod check;
mod down;
mod endpoint;
mod error;
mod fast_path;
mod iptables;
pub(crate) mod netlink;
mod node;
mod observe;
mod plan;
mod route;
mod status;
mod sysctl;
mod uplink;

pub use self::{
    change::{Action, Change, Object},
    endpoint::{GATEWAY_V4, GATEWAY_V6},
    error::ProvisionError,
    status::{
        Drift, EndpointStatus, FastPath, InterfaceStatus, NodeStatus, RouteStatus, UplinkStatus,
    },
};

use std::sync::{Arc, atomic::AtomicBool};

use crate::{
    datapath::{Datapath, ObjectKind},
    lock::{Lock, Subject},
    model::Topology,
    mounts,
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
}

impl Default for UpOptions {
    fn default() -> Self {
        Self {
            fast_path: None,
            object: ObjectKind::Plain,
            interrupted: Arc::default(),
        }
    }
}

/// What [`up`] would change, found without touching anything.
///
/// # Errors
/// Whatever [`up`] would refuse before it touches anything.
pub fn plan(topology: &Topology, options: &UpOptions) -> Result<Vec<Change>, ProvisionError> {
    apply::plan(topology, options)
}

/// Makes a topology true, and says what it changed: nothing if it was true already. `progress` is told of
/// each change when it is done.
///
/// # Errors
/// Before anything is touched, for what cannot be done; after a failure half-way, what this call had made
/// is removed again, in reverse.
pub fn up(
    topology: &Topology,
    options: &UpOptions,
    progress: &mut dyn FnMut(&Change),
) -> Result<Vec<Change>, ProvisionError> {
    apply::up(topology, options, progress)
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
    down::down(nodes, progress)
}

/// Which part of what is up a command is about.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only this node.
    pub node: Option<String>,
    /// Only this endpoint.
    pub endpoint: Option<String>,
}

/// Attaches or detaches the fast path and re-creates nothing.
///
/// # Errors
/// When nothing of that name is up, or the kernel refuses.
pub fn set_fast_path(on: bool, selection: &Selection) -> Result<Vec<Change>, ProvisionError> {
    check::root()?;
    mounts::require_visible("fastpath")?;
    fast_path::set(on, selection)
}

/// Replaces a node's programs by those of another build, under the running traffic. Returns whether anything changed:
/// not where they are that build's already, nor where the node is not up any more.
///
/// # Errors
/// When another netpath goes on being at work, or the kernel refuses a program.
pub fn set_object(node: &str, object: ObjectKind) -> Result<bool, ProvisionError> {
    let _lock = Lock::take(Subject::Topology)?;
    match Datapath::open(node)? {
        Some(mut datapath) => Ok(datapath.upgrade(object)?),
        None => Ok(false),
    }
}

/// The state of every node that is up, as recorded and as found.
///
/// # Errors
/// When a pinned directory cannot be read.
pub fn observe() -> Result<Vec<NodeStatus>, ProvisionError> {
    observe::observe()
}
