//! Guards and assertions for tests on a real kernel.
//!
//! A [`TestNode`] is a router in namespaces of its own, with a datapath of its own, and is gone when it is
//! dropped, also by a panic. A [`Passage`] is one packet on one of its hooks; to say what has to become of
//! it is to check the answer, every byte, the mark, and every counter of the node.
//!
//! Everything here panics where it cannot do its work: without root, or on a kernel without BPF, tests fail.

pub mod aged;
mod asm;
mod binary;
mod bpf;
pub mod command;
pub mod conformance;
pub mod connections;
mod counters;
pub mod flows;
pub mod fuzz;
mod gso;
mod guard;
pub mod kernel;
pub mod lab;
mod node;
pub mod oracle;
mod passage;
mod plan;
pub mod random_rules;
pub mod raw;
pub mod routing;
pub mod sessions;
mod system;
pub mod tc_program;
mod wrapping;
pub mod xdp_program;

pub use binary::{BinaryCopy, binary, netpath};
pub use counters::counted;
pub use gso::GsoInjector;
pub use kernel::{fib_lookup_takes_marks, has_tcx};
pub use netpath_common::Family;
pub use node::{Device, TestNode};
pub use passage::{MARK, Passage, as_forwarded};
pub use plan::{Addresses, UNKNOWN_MAC, between};
pub use system::{on_this_cpu, wait_for_ticks};
pub use wrapping::Wrapping;
