//! The benchmark: the same two endpoints, and only the path between them switched.

mod names;
mod results;

pub use names::{RULES_MAX, UnknownName};
pub use results::*;
