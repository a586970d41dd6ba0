//! The per-hop counters: read, named, compared, and held against the law that every packet that enters an
//! interface is counted exactly once, as redirected, punted or dropped.

mod difference;
mod error;
mod groups;
mod logged;
mod names;
mod read;
mod reason;
mod row;
#[cfg(test)]
mod tests;
mod totals;

pub use self::{
    difference::difference,
    error::CountersError,
    groups::{Group, GroupBy},
    logged::{PacketNames, PacketRow},
    read::{Counters, read, read_all},
    reason::Reason,
    row::HopRow,
    totals::{InterfaceTotals, LawBroken, totals},
};

/// Stands for the ingress of what the node itself sent.
pub const LOCAL: &str = "local";

/// Stands for the ingress of what found no room in the per-hop counters, and is counted by outcome and
/// reason only.
pub const OVERFLOW: &str = "(overflow)";
