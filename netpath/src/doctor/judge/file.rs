//! A topology file, against what is there.

use super::{
    super::{Build, Fault, Found, Seen, SeenNode},
    found,
};

pub(in super::super) fn file(seen: &Seen) -> Vec<Found> {
    let Some(file) = &seen.file else {
        return Vec::new();
    };
    let told: Vec<_> = seen
        .nodes
        .iter()
        .flat_map(|node| node.status.findings())
        .collect();
    let mut all: Vec<Found> = Vec::new();
    for finding in file.refused.iter().chain(&file.told) {
        // What `show` tells of a node that is up is told by its own check.
        if !told.contains(&finding) {
            all.push(Found::told(finding));
        }
    }
    let missing = file.missing.iter();
    all.extend(missing.map(|node| found(Fault::NotUp, format!("node {node}"))));
    for (node, changes) in &file.changes {
        let is_as_made =
            |it: &SeenNode| it.beyond.build == Build::Own && it.status.findings().next().is_none();
        let mut up = seen.nodes.iter().filter(|it| it.status.name == *node);
        // What is not as it was made is told already.
        if up.any(is_as_made) {
            let fault = Fault::DiffersFromFile(changes.join("; "));
            all.push(found(fault, format!("node {node}")));
        }
    }
    all
}
