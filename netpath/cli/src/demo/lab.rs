//! The lab while the story is told: removed however it ends.

use netpath::{
    datapath, lab,
    model::{Topology, wire_namespace},
    netns::{NameState, name_state},
    provision::{ProvisionError, UpOptions},
};

use super::error::DemoError;

/// The lab, with what the farewell has to find gone.
pub struct Lab {
    lab: lab::Lab,
    /// Names of namespaces that were free before.
    namespaces: Vec<String>,
}

impl Lab {
    /// Brings the lab up, unless any of it is up already.
    pub fn up(topology: &Topology, options: &UpOptions) -> Result<Self, DemoError> {
        refuse(&up_already(topology)?)?;
        let namespaces = free_names(topology)?;
        let lab = lab::Lab::up(topology, options, &mut |_| {}).map_err(|error| match error {
            ProvisionError::Undo { .. } => error.into(),
            error => DemoError::Up(error),
        })?;
        // Somebody brought them up since the first look.
        let foreign: Vec<String> = topology
            .nodes
            .iter()
            .map(|node| node.name.to_string())
            .filter(|name| !lab.nodes().contains(name))
            .collect();
        refuse(&foreign)?;
        Ok(Self { lab, namespaces })
    }

    /// Leaves it to the user.
    pub fn keep(self) {
        self.lab.keep();
    }

    /// Removes it.
    pub fn remove(&mut self) -> Result<(), ProvisionError> {
        self.lab.remove()
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
