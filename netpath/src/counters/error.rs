//! What may fail.

use crate::datapath::DatapathError;

/// A failure to read counters.
#[derive(Debug, thiserror::Error)]
pub enum CountersError {
    /// The node is not up.
    #[error("no node {node} is up: `netpath show` lists what is")]
    NotUp {
        /// Its name.
        node: String,
    },
    /// A row has an outcome that this version does not know.
    #[error("node {node} counts an outcome {number}: read it with the netpath that brought it up")]
    UnknownOutcome {
        /// The node.
        node: String,
        /// The outcome's number.
        number: u8,
    },
    /// The maps could not be read.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
}

impl CountersError {
    /// Whether it is about one node's directory as a whole: then other nodes are none the worse.
    pub fn is_about_a_directory(&self) -> bool {
        matches!(self, Self::Datapath(error) if error.is_about_a_directory())
    }
}
