//! What a provisioning command changed, or would change.

use std::fmt;

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Made.
    Create,
    /// Brought to the wanted state.
    Update,
    /// Removed.
    Remove,
}

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Object {
    /// A node with its maps and programs.
    Node,
    /// A wire's namespace with its bridge.
    Wire,
    /// An uplink.
    Uplink,
    /// A route towards another node.
    Route,
    /// An endpoint with its namespace and veth.
    Endpoint,
    /// The programs on an interface.
    FastPath,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// What is done.
    pub action: Action,
    /// To what kind of object.
    pub object: Object,
    /// Of which node.
    pub node: String,
    /// Its name: an endpoint's, a device's, a prefix.
    pub name: String,
    /// What exactly, for people.
    pub detail: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.action {
            Action::Create => '+',
            Action::Update => '~',
            Action::Remove => '-',
        };
        let object = match self.object {
            Object::Node => "node",
            Object::Wire => "wire",
            Object::Uplink => "uplink",
            Object::Route => "route",
            Object::Endpoint => "endpoint",
            Object::FastPath => "fast path",
        };
        write!(f, "{sign} {object} {}", self.name)?;
        if self.name != self.node {
            write!(f, " on {}", self.node)?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}
