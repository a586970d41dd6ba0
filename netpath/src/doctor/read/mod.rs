//! Reading: all I/O of the doctor. What cannot be read is noted, and the rest is read all the same.

mod beyond;
mod file;
mod machine;
mod probe;
mod rules;

use super::{Options, Part, Seen, SeenNode};
use crate::{
    datapath::nodes,
    mounts::MountsError,
    provision::{self, ProvisionError},
};

/// Looks at everything.
pub(super) fn look(options: &Options<'_>) -> Seen {
    let mut seen = Seen::default();
    machine::read(&mut seen);
    read_nodes(options, &mut seen);
    if let Some(topology) = options.topology {
        file::read(topology, options.node, &mut seen);
    }
    seen
}

fn read_nodes(options: &Options<'_>, seen: &mut Seen) {
    let examined = match provision::examine("doctor") {
        Ok(examined) => examined,
        // The checks of mounts tell it.
        Err(ProvisionError::Mounts(MountsError::Hidden { .. } | MountsError::Covered)) => {
            let why = "what is up cannot be seen from here";
            seen.unseen.insert(Part::Nodes, why.to_owned());
            return;
        }
        Err(error) => {
            seen.unseen.insert(Part::Nodes, error.to_string());
            return;
        }
    };
    let (mut worlds, others) = examined
        .worlds
        .into_iter()
        .partition::<Vec<_>, _>(|(wanted, _)| is_asked(options, &wanted.name));
    seen.others = others;
    for status in examined.nodes {
        if !is_asked(options, &status.name) {
            continue;
        }
        let at = worlds
            .iter()
            .position(|(wanted, _)| wanted.name == status.name);
        let world = at.map(|at| worlds.swap_remove(at));
        let beyond = match &world {
            Some((_, world)) => {
                let found = beyond::read(&status.name, world, options.probe);
                found.unwrap_or_else(|error| {
                    let why = format!("node {}: {error}", status.name);
                    seen.unseen.insert(Part::Beyond, why);
                    Default::default()
                })
            }
            None => Default::default(),
        };
        if let Some(why) = &beyond.unlearnt {
            let why = format!("node {}: {why}", status.name);
            seen.unseen.insert(Part::Paths, why);
        }
        seen.nodes.push(SeenNode {
            status,
            world,
            beyond,
        });
    }
}

/// The one that is named, or else those of the file, or else all.
fn is_asked(options: &Options<'_>, name: &str) -> bool {
    let mut wanted = options.topology.iter().flat_map(|it| &it.nodes);
    match options.node {
        Some(node) => node == name,
        None => options.topology.is_none() || wanted.any(|node| node.name.as_ref() == name),
    }
}

/// How many nodes have pins; none where that cannot be told.
fn node_count() -> usize {
    nodes().map_or(0, |nodes| nodes.len())
}
