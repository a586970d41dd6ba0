//! What may fail.

use crate::{Ending, Ends, datapath::DatapathError};

/// A failure to read connections.
#[derive(Debug, thiserror::Error)]
pub enum FlowsError {
    /// The node is not up.
    #[error("no node {node} is up: `netpath show` lists what is")]
    NotUp {
        /// Its name.
        node: String,
    },
    /// The maps could not be read.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
}

impl Ends for FlowsError {
    fn ending(&self) -> Ending {
        match self {
            Self::Datapath(error) => error.ending(),
            Self::NotUp { .. } => Ending::Failed,
        }
    }
}
