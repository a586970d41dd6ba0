//! What the fast path bypasses, of nodes that are up and of those that a file has; and whether that was accepted.

use netpath_common::{Bypass, FastPathMode, FastPathWish};

use super::{
    error::ProvisionError,
    require,
    snapshot::{self, Snapshot},
};
use crate::{
    audit::{Group, Item},
    capabilities::Work,
    datapath::nodes,
    descriptors,
    model::{NodePlace, Topology},
    mounts,
    reconcile::{Object, Recorded, Refusal, Refused, Wanted},
};

/// What the fast path bypasses on one node.
#[derive(Clone, Debug)]
pub struct AuditedNode {
    /// The node.
    pub name: String,
    /// Where it is.
    pub place: NodePlace,
    /// What the fast path is at present; `None` where the node is not up.
    pub fast_path: Option<FastPathMode>,
    /// Whether some of its interfaces are in shadow mode.
    pub has_shadow: bool,
    /// All that packets would have met.
    pub items: Vec<Item>,
}

impl AuditedNode {
    /// Whether something changes what becomes of packets and was not accepted.
    #[must_use]
    pub fn changes_behaviour(&self) -> bool {
        self.items.iter().any(|item| item.group == Group::Changes)
    }
}

/// See [`super::audit`].
pub fn audit(
    topology: Option<&Topology>,
    only: Option<&str>,
) -> Result<Vec<AuditedNode>, ProvisionError> {
    require(Work::Nodes)?;
    mounts::require_visible("audit")?;
    descriptors::require(2)?;
    let is_asked = |name: &str| only.is_none_or(|only| only == name);
    let mut audited = Vec::new();
    match topology {
        Some(topology) => {
            let nodes = topology.nodes.iter();
            for node in nodes.filter(|node| is_asked(node.name.as_ref())) {
                let wanted = Wanted::of(node, None);
                audited.extend(of_node(&wanted.name, Some(&wanted))?);
            }
        }
        None => {
            for name in nodes()?.into_iter().filter(|name| is_asked(name)) {
                match of_node(&name, None) {
                    Ok(node) => audited.extend(node),
                    // One node's trouble is not the others'.
                    Err(error) if only.is_none() => {
                        tracing::warn!(%error, "node {name} is left out");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
    match (audited.is_empty(), only) {
        (true, Some(node)) => Err(ProvisionError::NotUp {
            object: "node",
            name: node.to_owned(),
        }),
        (true, None) => Err(ProvisionError::NothingUp),
        (false, _) => Ok(audited),
    }
}

/// `None` where the node has no namespace: a lab's that is not up has met nothing.
fn of_node(name: &str, wanted: Option<&Wanted>) -> Result<Option<AuditedNode>, ProvisionError> {
    let snapshot = snapshot::take(name, wanted)?;
    if snapshot.netns.is_none() {
        return Ok(None);
    }
    let recorded = snapshot.world.recorded.as_ref();
    let bypass = accepted(wanted, recorded);
    Ok(Some(AuditedNode {
        name: name.to_owned(),
        place: recorded
            .map(|node| node.place)
            .or(wanted.map(|node| node.place))
            .unwrap_or(NodePlace::Host),
        fast_path: recorded.map(|node| node.fast_path),
        has_shadow: recorded.is_some_and(|node| {
            let mut wishes = node.endpoints.values().map(|endpoint| endpoint.fast_path);
            node.fast_path == FastPathMode::Shadow || wishes.any(|it| it == FastPathWish::Shadow)
        }),
        items: snapshot::audit(name, &snapshot, wanted, bypass)?,
    }))
}

/// What may be passed by: what the file says, and what was accepted when the node came up. That it was is recorded until the node
/// is taken down.
pub fn accepted(wanted: Option<&Wanted>, recorded: Option<&Recorded>) -> Bypass {
    let recorded = recorded.map_or(Bypass::default(), |node| node.bypass);
    match wanted {
        Some(wanted) if recorded.accepts_forward() => wanted.bypass.and(Bypass::OF_FORWARD),
        Some(wanted) => wanted.bypass,
        None => recorded,
    }
}

/// Refuses to let a machine's packets take the fast path where that would change what becomes of them, unless it was accepted. A lab
/// is netpath's own.
pub fn refused(wanted: &Wanted, snapshot: &Snapshot) -> Result<Option<Refused>, ProvisionError> {
    if wanted.place != NodePlace::Host || wanted.bypass.accepts_forward() {
        return Ok(None);
    }
    let items = snapshot::audit(&wanted.name, snapshot, Some(wanted), wanted.bypass)?;
    let changes = items.iter().filter(|item| item.is_unaccepted());
    let changes: Vec<String> = changes.map(told).collect();
    let name = wanted.name.as_str();
    Ok((!changes.is_empty()).then(|| {
        Refusal::Bypasses(changes)
            .of(Object::Node.told(name, name))
            .on(name)
    }))
}

fn told(item: &Item) -> String {
    match item.why.as_str() {
        "" => item.line(),
        why => format!("{} ({why})", item.line()),
    }
}
