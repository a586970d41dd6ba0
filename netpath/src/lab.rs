//! A topology that is gone when dropped: for whoever brings one up for a while, as the demo, the benchmarks and tests do.

use crate::{
    model::Topology,
    provision::{self, Action, Change, Object, ProvisionError, UpOptions},
};

/// The nodes that a bring-up has made, with all that belongs to them. They are removed when this is dropped, by an early
/// return or a panic too; what is not removed then is told by `tracing`. A signal has to be caught, and
/// [`UpOptions::interrupted`] set: nothing is dropped in a process that a signal kills.
///
/// A node that was up before belongs to somebody else, and stays.
#[derive(Debug)]
pub struct Lab {
    nodes: Vec<String>,
}

impl Lab {
    /// Makes a topology true. `progress` is told of each change when it is done.
    ///
    /// # Errors
    /// As for [`provision::up`]. Where that could not undo what it had done, what is left is removed as far as possible.
    pub fn up(
        topology: &Topology,
        options: &UpOptions,
        progress: &mut dyn FnMut(&Change),
    ) -> Result<Self, ProvisionError> {
        let mut lab = Self { nodes: Vec::new() };
        let result = provision::up(topology, options, &mut |change| {
            if change.object == Object::Node && change.action == Action::Create {
                lab.nodes.push(change.node.clone());
            }
            progress(change);
        });
        match result {
            Ok(_) => Ok(lab),
            Err(error @ ProvisionError::Undo { .. }) => Err(error),
            Err(error) => {
                // All of it is undone, and whoever makes such a node from now on is somebody else.
                lab.keep();
                Err(error)
            }
        }
    }

    /// The nodes that it made and has not removed, by name.
    pub fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// Leaves it to whoever runs `netpath down`.
    pub fn keep(mut self) {
        self.nodes.clear();
    }

    /// Removes it. What could not be removed is tried once more when this is dropped.
    ///
    /// # Errors
    /// As for [`provision::down`].
    pub fn remove(&mut self) -> Result<(), ProvisionError> {
        if !self.nodes.is_empty() {
            provision::down(&self.nodes, &mut |_| {})?;
            self.nodes.clear();
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            let nodes = self.nodes.join(", ");
            tracing::error!(%error, "{nodes} not removed: remove with `netpath down --all`");
        }
    }
}
