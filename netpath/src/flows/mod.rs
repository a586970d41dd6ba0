//! Connections: which side each is on, between which ends, and how full the tables are that say so.
//!
//! The fast path keeps no connections of its own: what is here is the kernel's.

mod ends;
mod error;
mod read;
mod row;
#[cfg(test)]
mod tests;

pub use self::{
    error::FlowsError,
    read::{Flows, read_all},
    row::{End, Flow, FlowTable, Side, protocol_name},
};
