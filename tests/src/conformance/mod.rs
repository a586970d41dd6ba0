//! The same packets through the same lab, with the fast path off and on, and what arrived compared byte for
//! byte. docs/conformance.md is the result.
//!
//! Node A is the router under test; node B across the wire always forwards by the kernel. Each [`Case`] sends
//! frames from one place; the [`Runner`] records every frame that then enters any endpoint or node B's uplink.

mod by_tun;
mod case;
mod cases;
mod explained;
mod lab;
mod observe;
mod page;
mod reasons;
mod run;
mod verdict;

pub use by_tun::all_by_tun;
pub use case::{Case, Flow, Path, Probe, Step};
pub use cases::all;
pub use lab::{Lab, Place};
pub use page::page;
pub use reasons::reason_faults;
pub use run::Runner;
pub use verdict::{Outcome, Result, judge, unused_explanations};
