//! Routed pod networking with a TC eBPF fast path.

pub mod counters;
pub mod datapath;
mod ending;
pub mod lock;
pub mod model;
pub mod netns;
pub mod probe;
pub mod provision;

pub use self::ending::{Ending, Ends};
