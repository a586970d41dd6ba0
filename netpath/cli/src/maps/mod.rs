//! `netpath maps`.

mod decode;

use netpath::{
    capabilities::Work,
    datapath::{self, Datapath, DatapathError, MapSummary, Maps, map_names},
    model::Name,
    mounts,
    provision::ProvisionError,
};
use serde::Serialize;

use self::decode::Entry;
use super::{Context, Exit, Failure, Refusal, Table, completions, note};

/// Arguments of `netpath maps`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = false)]
pub struct MapsArgs {
    /// Only this node [default: all that are up]
    #[arg(long, value_name = "NODE", global = true, add = completions::nodes())]
    node: Option<Name>,

    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the maps with their types, sizes and memory (the default)
    List,
    /// Print every entry of a map, decoded; per-CPU counters are summed over the CPUs
    Dump {
        /// The map, as `netpath maps list` shows it
        #[arg(add = completions::maps())]
        name: String,
    },
}

/// Of both documents.
const VERSION: u32 = 1;

/// Schema: docs/schema/maps.json.
#[derive(Serialize)]
pub(super) struct Summaries {
    maps: Vec<NodeMap>,
    version: u32,
}

#[derive(Serialize)]
struct NodeMap {
    node: String,
    #[serde(flatten)]
    map: MapSummary,
}

/// Schema: docs/schema/maps-dump.json.
#[derive(Serialize)]
pub(super) struct Dump {
    map: &'static str,
    entries: Vec<NodeEntry>,
    version: u32,
}

#[derive(Serialize)]
struct NodeEntry {
    node: String,
    #[serde(flatten)]
    entry: Entry,
}

/// Lists maps or dumps one.
pub fn run(args: &MapsArgs, context: &Context) -> Result<Exit, Failure> {
    let dumped = match &args.action {
        None | Some(Action::List) => None,
        Some(Action::Dump { name }) => Some(map_name(name)?),
    };
    context.require(Work::Maps)?;
    mounts::require_visible("maps")?;
    let nodes = match &args.node {
        Some(node) => vec![node.to_string()],
        None => datapath::nodes()?,
    };
    if nodes.is_empty() {
        note("nothing is up: `netpath up` brings up the built-in lab");
    }
    let mut open = Vec::new();
    let mut exit = Exit::Done;
    for node in &nodes {
        match Datapath::open(node) {
            Ok(Some(datapath)) => open.push(datapath),
            // Another node's trouble is not this one's.
            Err(error) if args.node.is_none() && error.is_about_a_directory() => {
                note(error);
                exit = Exit::Degraded;
            }
            // Taken down since it was listed.
            Ok(None) if args.node.is_none() => {}
            Ok(None) => {
                return Err(ProvisionError::NotUp {
                    object: "node",
                    name: node.clone(),
                }
                .into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    match dumped {
        None => list(&open, context)?,
        Some(name) => dump(name, &open, context)?,
    }
    Ok(exit)
}

fn map_name(name: &str) -> Result<&'static str, Refusal> {
    map_names().find(|map| *map == name).ok_or_else(|| {
        let names: Vec<_> = map_names().collect();
        Refusal(format!(
            "no map {name:?}: write one of {}",
            names.join(", ")
        ))
    })
}

/// The maps of nodes.
pub(super) fn summaries(nodes: &[Datapath]) -> Result<Summaries, DatapathError> {
    let mut maps = Vec::new();
    for node in nodes {
        for name in map_names() {
            maps.push(NodeMap {
                node: node.name().to_owned(),
                map: Maps::info(node.name(), name)?,
            });
        }
    }
    Ok(Summaries {
        maps,
        version: VERSION,
    })
}

fn list(nodes: &[Datapath], context: &Context) -> Result<(), Failure> {
    let document = summaries(nodes)?;
    context
        .output
        .show(&document, || vec![summary_table(&document.maps)])?;
    Ok(())
}

fn summary_table(maps: &[NodeMap]) -> Table {
    let mut table = Table::new([
        "node",
        "map",
        "+#id",
        "type",
        "#key",
        "#value",
        "#max entries",
        "#memory",
    ]);
    for NodeMap { node, map } in maps {
        table.row([
            node.clone(),
            map.name.to_owned(),
            map.id.to_string(),
            map.kind.clone(),
            map.key_size.to_string(),
            map.value_size.to_string(),
            map.max_entries.to_string(),
            map.memory.to_string(),
        ]);
    }
    table
}

/// The entries of a map of nodes.
pub(super) fn entries(name: &'static str, nodes: &[Datapath]) -> Result<Dump, DatapathError> {
    let mut entries = Vec::new();
    for node in nodes {
        let decoded = decode::entries(&node.maps, name)?;
        entries.extend(decoded.into_iter().map(|entry| NodeEntry {
            node: node.name().to_owned(),
            entry,
        }));
    }
    Ok(Dump {
        map: name,
        entries,
        version: VERSION,
    })
}

fn dump(name: &'static str, nodes: &[Datapath], context: &Context) -> Result<(), Failure> {
    let document = entries(name, nodes)?;
    if document.entries.is_empty() && !nodes.is_empty() {
        note(format_args!("map {name} is empty"));
    }
    context
        .output
        .show(&document, || vec![dump_table(&document.entries)])?;
    Ok(())
}

/// The fields of keys and values side by side, under their own names.
fn dump_table(entries: &[NodeEntry]) -> Table {
    let headings = entries
        .first()
        .map(|first| first.entry.headings())
        .unwrap_or_default();
    let rows: Vec<_> = entries
        .iter()
        .map(|NodeEntry { node, entry }| (node, entry.cells()))
        .collect();
    // A field that no entry has anything in would only take room.
    let is_told = |at: usize| rows.iter().any(|(_, cells)| !cells[at].is_empty());
    let told: Vec<usize> = (0..headings.len()).filter(|at| is_told(*at)).collect();
    let headings = told.iter().map(|at| headings[*at].clone());
    let mut table = Table::new(std::iter::once("node".to_owned()).chain(headings));
    for (node, cells) in &rows {
        let cells = told.iter().map(|at| cells[*at].clone());
        table.row(std::iter::once((*node).clone()).chain(cells));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_map_is_refused_with_the_names() {
        let error = map_name("hop").expect_err("unknown").to_string();
        assert_eq!(
            error,
            "no map \"hop\": write one of connection_counts, connections_new, connections_v4, \
             connections_v6, devices, endpoint_records, endpoints_v4, endpoints_v6, epoch, \
             features, gates, hop_hits, hop_overflow, hop_rows, hops, ids, interfaces, meta, \
             retired, route_records, routes_v4, routes_v6, settings, uplink_records"
        );
        assert_eq!(map_name("hops").expect("known"), "hops");
    }
}
