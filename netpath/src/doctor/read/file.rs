//! A topology file, against what is there.

use super::super::{Part, Seen, SeenFile};
use crate::{
    finding::Finding,
    model::Topology,
    provision::{self, UpOptions},
    reconcile::{self, Wanted, World},
};

pub(super) fn read(topology: &Topology, only: Option<&str>, seen: &mut Seen) {
    let mut topology = topology.clone();
    let is_asked = |name: &str| only.is_none_or(|only| only == name);
    let mut file = SeenFile {
        told: missing_ways_back(&topology, seen)
            .filter(|(node, _)| is_asked(node))
            .map(|(_, finding)| finding)
            .collect(),
        ..SeenFile::default()
    };
    topology.nodes.retain(|node| is_asked(node.name.as_ref()));
    if !seen.unseen.contains_key(&Part::Nodes) {
        plan(&topology, seen, &mut file);
    }
    seen.file = Some(file);
}

/// What the file alone says, without a look at the machine, and the routes of those that are up besides.
fn missing_ways_back<'a>(
    topology: &Topology,
    seen: &Seen,
) -> impl Iterator<Item = (String, Finding)> + use<'a> {
    let absent = World::default();
    let wanted = topology.nodes.iter().map(|node| Wanted::of(node, None));
    let wanted: Vec<Wanted> = wanted.collect();
    let world = |name: &str| {
        let mut up = seen.looked_at().filter(|(_, it, _)| it.name == name);
        up.next().map_or(&absent, |(_, _, world)| world)
    };
    let nodes: Vec<(&Wanted, &World)> = wanted.iter().map(|it| (it, world(&it.name))).collect();
    let missing = reconcile::missing_ways_back(&nodes).into_iter();
    let missing = missing.map(|(node, told)| {
        let finding = told.finding(&node);
        (node, finding)
    });
    missing.collect::<Vec<_>>().into_iter()
}

/// What `up` would do, refuse and tell.
fn plan(topology: &Topology, seen: &mut Seen, file: &mut SeenFile) {
    let is_up = |name: &str| seen.nodes.iter().any(|node| node.status.name == name);
    let names = topology.nodes.iter().map(|node| node.name.to_string());
    file.missing = names.filter(|name| !is_up(name)).collect();
    match provision::plan_telling(topology, &UpOptions::default()) {
        Ok(planned) => {
            let told = planned.findings.into_iter();
            let told: Vec<_> = told.filter(|it| !file.told.contains(it)).collect();
            file.told.extend(told);
            for change in planned.changes {
                let of_node = file.changes.entry(change.node.clone()).or_default();
                of_node.push(change.to_string());
            }
        }
        Err(error) => match error.refusals() {
            Some(refused) => file.refused = refused,
            None => drop(seen.unseen.insert(Part::File, error.to_string())),
        },
    }
}
