//! Routed pod networking with a TC eBPF fast path.

pub mod api;
pub mod audit;
pub mod capabilities;
pub mod command;
pub mod counters;
pub mod datapath;
mod descriptors;
pub mod doctor;
mod ending;
pub mod expedite;
pub mod explain;
pub mod finding;
pub mod flows;
mod hash;
pub mod kernel_way;
pub mod lab;
pub mod lock;
pub mod model;
pub mod mounts;
pub mod netfilter;
pub mod netlink;
pub mod netns;
pub mod probe;
pub mod proc_net;
pub mod provision;
pub mod random;
pub mod reconcile;
pub mod sysctl;
#[cfg(test)]
mod tests;
pub mod trace;

pub use self::{
    descriptors::DescriptorsError,
    ending::{Ending, Ends},
};
