//! The benchmark: the same two endpoints, and only the path between them switched.

mod results;
pub mod stats;

pub use results::*;
