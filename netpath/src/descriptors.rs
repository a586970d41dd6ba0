//! File descriptors: every open node takes one for each of its maps, and what has begun needs as many to be undone.

use std::io;

use crate::{Ending, Ends};

/// What a command needs whatever its nodes: standard streams, locks, sockets, pipes to other programs.
const BASE: u64 = 48;
/// What an open node takes: its maps, its namespaces, a program, a link.
const PER_NODE: u64 = 24;

/// There are too few.
#[derive(Debug, thiserror::Error)]
pub enum DescriptorsError {
    /// The hard limit is too low. Nothing was touched.
    #[error(
        "{needed} files have to be open at once, and this process may not have more than {limit}: raise its hard limit, \
         as with `ulimit -Hn {needed}`"
    )]
    TooFew {
        /// How many are needed.
        needed: u64,
        /// The hard limit.
        limit: u64,
    },
    /// The limit could not be read or raised.
    #[error("the limit of open files: {0}")]
    Limit(#[from] io::Error),
}

impl Ends for DescriptorsError {
    fn ending(&self) -> Ending {
        match self {
            Self::TooFew { .. } => Ending::Refused,
            Self::Limit(_) => Ending::Failed,
        }
    }
}

/// Sees to it that so many nodes can be open at once: raises the soft limit of this process where the hard one allows it.
///
/// # Errors
/// When it does not.
pub(crate) fn require(nodes: usize) -> Result<(), DescriptorsError> {
    let nodes = u64::try_from(nodes).unwrap_or(u64::MAX);
    let needed = BASE.saturating_add(nodes.saturating_mul(PER_NODE));
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure outlives the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    if limit.rlim_cur >= needed {
        return Ok(());
    }
    if limit.rlim_max < needed {
        return Err(DescriptorsError::TooFew {
            needed,
            limit: limit.rlim_max,
        });
    }
    limit.rlim_cur = needed;
    // SAFETY: as above.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error().into()),
    }
}
