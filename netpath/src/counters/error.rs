//! What may fail.

use crate::{Ending, Ends, datapath::DatapathError};

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

impl Ends for CountersError {
    fn ending(&self) -> Ending {
        match self {
            // Another version's, as an ABI version that this one does not know.
            Self::UnknownOutcome { .. } => Ending::Refused,
            Self::Datapath(error) => error.ending(),
            Self::NotUp { .. } => Ending::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_versions_counters_are_refused_whoever_notices() {
        let node = || "node03".to_owned();
        let refused = [
            CountersError::UnknownOutcome {
                node: node(),
                number: 9,
            },
            CountersError::from(DatapathError::Newer {
                path: "/sys/fs/bpf/netpath/node03".into(),
                found: 9,
                expected: 2,
            }),
        ];
        for error in refused {
            assert_eq!(error.ending(), Ending::Refused, "{error}");
        }
        let error = CountersError::NotUp { node: node() };
        assert_eq!(error.ending(), Ending::Failed);
    }
}
