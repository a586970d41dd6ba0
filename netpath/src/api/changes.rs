//! What `up`, `down` and `fastpath` changed, or would change.

use serde::Serialize;

use crate::provision::{self, Action, Object};

/// `netpath up -j`, and the same of `down` and `fastpath`. Schema: docs/schema/up.json.
#[derive(Clone, Debug, Serialize)]
pub struct Changes {
    /// In the order in which they were made.
    pub changes: Vec<Change>,
    /// Whether the command failed after them. `up` has then taken back what it could.
    pub failed: bool,
    /// [`Changes::VERSION`].
    pub version: u32,
}

impl Changes {
    /// Of the document.
    pub const VERSION: u32 = 1;

    /// Of a command that is over.
    #[must_use]
    pub fn new(changes: &[provision::Change], failed: bool) -> Self {
        Self {
            changes: changes.iter().map(Change::from).collect(),
            failed,
            version: Self::VERSION,
        }
    }
}

/// One change.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// `create`, `update` or `remove`.
    pub action: &'static str,
    /// `node`, `uplink`, `route`, `endpoint` or `fast_path`.
    pub object: &'static str,
    /// The object's node.
    pub node: String,
    /// Its name: an endpoint's, a device's, a prefix.
    pub name: String,
    /// What exactly, for people.
    pub detail: String,
}

impl From<&provision::Change> for Change {
    fn from(change: &provision::Change) -> Self {
        Self {
            action: match change.action {
                Action::Create => "create",
                Action::Update => "update",
                Action::Remove => "remove",
            },
            object: match change.object {
                Object::Node => "node",
                Object::Uplink => "uplink",
                Object::Route => "route",
                Object::Endpoint => "endpoint",
                Object::FastPath => "fast_path",
            },
            node: change.node.clone(),
            name: change.name.clone(),
            detail: change.detail.clone(),
        }
    }
}
