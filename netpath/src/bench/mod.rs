//! The benchmark: the same two endpoints, and only the path between them switched.

pub mod report;
mod results;
pub mod stats;

pub use results::*;
