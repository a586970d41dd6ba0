//! The benchmark: the same two endpoints, and only the path between them switched.

mod results;
pub mod scale;

pub use results::*;
