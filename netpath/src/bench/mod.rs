//! The benchmark: the same two endpoints, and only the path between them switched.

mod names;
pub mod report;
mod results;
pub mod stats;

pub use names::{RULES_MAX, UnknownName};
pub use results::*;
