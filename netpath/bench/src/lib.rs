//! The benchmark: the same two endpoints, and only the path between them switched.
//!
//! A run makes a lab of its own, and visits in each round every path for every measure, one after the other in
//! an order that changes. It takes each cell for what it claims only if the counters along the path agree.

mod beside;
mod cpu;
mod error;
mod floor;
mod lab;
mod machine;
mod names;
mod netfilter;
mod orphans;
mod passage;
mod plan;
pub mod report;
mod results;
mod rules;
mod run;
pub mod scale;
pub mod stats;
mod switch;
mod traffic;

pub use netpath_common::Family;

pub use error::BenchError;
pub use names::{RULES_MAX, UnknownName, grouped};
pub use plan::{Scope, Visit};
pub use results::*;
pub use run::{BenchOptions, Progress, run};
