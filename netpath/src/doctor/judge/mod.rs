//! Judging what was read: no I/O.

pub(super) mod addresses;
pub(super) mod file;
pub(super) mod links;
pub(super) mod machine;
pub(super) mod node;
pub(super) mod routes;

use super::{Fault, Found, Seen};

/// What a check finds besides what `show` tells.
pub(super) type Judge = fn(&Seen) -> Vec<Found>;

fn found(fault: Fault, object: impl Into<String>) -> Found {
    Found::of(&fault, object)
}

/// Whether nine tenths of a room are taken.
fn is_nearly_full(taken: u64, room: u64) -> bool {
    room > 0 && taken.saturating_mul(10) >= room.saturating_mul(9)
}
