//! A node that has seen nothing of any connection.

use std::sync::atomic::AtomicBool;

use netpath::{
    datapath::{Datapath, DatapathError, Writer},
    lock::TopologyLock,
};

/// Takes all connections from the tables of a node that is up.
pub fn forget_connections(node: &str) {
    let datapath = Datapath::open(node).unwrap_or_else(|error| panic!("{node}: {error}"));
    let datapath = datapath.unwrap_or_else(|| panic!("{node} is not up"));
    let lock = TopologyLock::take(&AtomicBool::new(false)).unwrap_or_else(|e| panic!("{e}"));
    clear(&datapath.writer(&lock)).unwrap_or_else(|error| panic!("{node}: {error}"));
}

/// Empties the tables.
///
/// # Errors
/// When the kernel refuses.
pub fn clear(maps: &Writer<'_>) -> Result<(), DatapathError> {
    let v4: Vec<_> = maps.connections_v4.all()?.into_keys().collect();
    maps.connections_v4.remove_many(&v4)?;
    let v6: Vec<_> = maps.connections_v6.all()?.into_keys().collect();
    maps.connections_v6.remove_many(&v6)
}
