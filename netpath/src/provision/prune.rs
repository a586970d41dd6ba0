//! Nodes that are up and that no file has any more.

use netpath_common::{EndpointRecord, Origin};

use super::{error::ProvisionError, require};
use crate::{
    capabilities::Work,
    datapath::{self, Datapath, DatapathError},
    mounts,
};

/// What is up beyond the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surplus {
    /// Nodes with nothing on them but what a file asked for.
    pub nodes: Vec<String>,
    /// Those that are left alone all the same, each with the reason.
    pub kept: Vec<Kept>,
}

/// A node that is in no file and stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node {name} is in no file and stays: {reason}: `netpath down {name}` removes it")]
pub struct Kept {
    /// The node.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// Finds the nodes that are up and not among `wanted`. What a command or a container runtime put on a node is not a
/// file's to remove, so such a node is kept; and one of which that cannot be told.
///
/// # Errors
/// When netpath's directory cannot be read.
pub fn surplus(wanted: &[String]) -> Result<Surplus, ProvisionError> {
    require(Work::Nodes)?;
    mounts::require_visible("down")?;
    let mut surplus = Surplus::default();
    for name in datapath::nodes()? {
        if wanted.contains(&name) {
            continue;
        }
        match reason_to_keep(&name) {
            Ok(None) => surplus.nodes.push(name),
            Ok(Some(reason)) => surplus.kept.push(Kept { name, reason }),
            Err(error) => surplus.kept.push(Kept {
                name,
                reason: error.to_string(),
            }),
        }
    }
    Ok(surplus)
}

fn reason_to_keep(node: &str) -> Result<Option<String>, DatapathError> {
    // Older versions knew no other origin than files; `down` brings their pins up to date.
    if Datapath::older_version(node)?.is_some() {
        return Ok(None);
    }
    let Some(datapath) = Datapath::open(node)? else {
        return Ok(None);
    };
    let records = datapath.maps.endpoint_records.all()?;
    let others = records.values().filter(|record| !is_a_files(record));
    Ok(match others.count() {
        0 => None,
        1 => Some("an endpoint on it was not made by a file".to_owned()),
        count => Some(format!("{count} endpoints on it were not made by a file")),
    })
}

fn is_a_files(record: &EndpointRecord) -> bool {
    record.origin == Origin::File as u32
}
