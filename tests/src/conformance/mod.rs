//! The same packets through the same lab, with the fast path off and on, and what arrived compared byte for
//! byte. docs/conformance.md is the result.
//!
//! Node A is the router under test; nodes B and C across a wire each always forward by the kernel. Each [`Case`] sends
//! frames from one place; the [`Runner`] records every frame that then enters any endpoint or another node's uplink.

mod by_uplink;
mod case;
mod cases;
mod explained;
mod lab;
mod observe;
mod page;
mod place;
mod reasons;
mod run;
mod topology;
mod verdict;

pub use by_uplink::{all_by_uplink, some_by_uplink};
pub use case::{Case, Flow, Path, Probe, Step};
pub use cases::all;
pub use lab::Lab;
pub use page::page;
pub use place::Place;
pub use reasons::reason_faults;
pub use run::Runner;
pub use verdict::{Outcome, Result, judge, unused_explanations};
