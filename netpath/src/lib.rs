//! Routed pod networking with a TC eBPF fast path.

pub mod bench;
pub mod cli;
pub mod counters;
pub mod datapath;
pub mod demo;
pub mod lock;
pub mod model;
pub mod mounts;
pub mod netns;
pub mod probe;
pub mod provision;
