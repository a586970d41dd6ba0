//! The lab while the story is told: removed however it ends.

use netpath::{
    datapath,
    model::{Topology, wire_namespace},
    netns::{NameState, name_state},
    provision::{self, Action, Object, ProvisionError, UpOptions},
};

use super::error::DemoError;

/// The nodes that this run made. Those that are still there are removed on drop, also by a panic.
pub struct Lab {
    made: Vec<String>,
    /// Names of namespaces that were free before.
    namespaces: Vec<String>,
}

impl Lab {
    /// Brings the lab up with the fast path off, unless any of it is up already.
    pub fn up(topology: &Topology, options: &UpOptions) -> Result<Self, DemoError> {
        refuse(&up_already(topology)?)?;
        let mut lab = Self {
            made: Vec::new(),
            namespaces: free_names(topology)?,
        };
        let options = UpOptions {
            fast_path: Some(false),
            ..options.clone()
        };
        let result = provision::up(topology, &options, &mut |change| {
            if change.object == Object::Node && change.action == Action::Create {
                lab.made.push(change.node.clone());
            }
        });
        match result {
            Ok(_) => {}
            Err(error @ ProvisionError::Undo { .. }) => return Err(error.into()),
            Err(error) => {
                // All of it is undone, and whoever makes such a node from now on is somebody else.
                lab.made.clear();
                return Err(DemoError::Up(error));
            }
        }
        // Somebody brought them up since the first look.
        let foreign: Vec<String> = topology
            .nodes
            .iter()
            .map(|node| node.name.to_string())
            .filter(|name| !lab.made.contains(name))
            .collect();
        refuse(&foreign)?;
        Ok(lab)
    }

    /// Leaves it to the user.
    pub fn keep(mut self) {
        self.made.clear();
    }

    /// Removes it.
    pub fn remove(&mut self) -> Result<(), ProvisionError> {
        if !self.made.is_empty() {
            provision::down(&self.made, &mut |_| {})?;
            self.made.clear();
        }
        Ok(())
    }

    /// Namespaces of it that are still there.
    pub fn namespaces_left(&self) -> Result<Vec<&str>, DemoError> {
        let mut left = Vec::new();
        for name in &self.namespaces {
            if name_state(name)? != NameState::Free {
                left.push(name.as_str());
            }
        }
        Ok(left)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::error!(%error, "the lab is not removed: remove it with `netpath down`");
        }
    }
}

/// The lab's nodes that have pins.
pub fn up_already(topology: &Topology) -> Result<Vec<String>, DemoError> {
    let mut nodes = datapath::nodes()?;
    nodes.retain(|node| {
        topology
            .nodes
            .iter()
            .any(|ours| ours.name.as_ref() == node.as_str())
    });
    Ok(nodes)
}

fn refuse(nodes: &[String]) -> Result<(), DemoError> {
    if nodes.is_empty() {
        return Ok(());
    }
    Err(DemoError::AlreadyUp {
        nodes: nodes.join(", "),
    })
}

/// The names that the lab's namespaces will have, without those that are there: the wire may be shared.
fn free_names(topology: &Topology) -> Result<Vec<String>, DemoError> {
    let mut free = Vec::new();
    for node in &topology.nodes {
        let endpoints = node.endpoints.iter().map(|endpoint| endpoint.name.clone());
        let wires = node
            .uplinks
            .iter()
            .filter_map(|uplink| uplink.wire.as_ref());
        let names = [node.name.clone()]
            .into_iter()
            .chain(endpoints)
            .chain(wires.map(wire_namespace));
        for name in names {
            if name_state(name.as_ref())? == NameState::Free {
                free.push(name.to_string());
            }
        }
    }
    free.sort();
    free.dedup();
    Ok(free)
}
