//! `netpath completions`, and the answers to what shells then ask.

use clap_complete::{CompleteEnv, CompletionCandidate, engine::ArgValueCandidates, env::Shells};
use netpath::datapath::{self, Datapath, map_names};
use netpath_common::text;

use super::{Context, Exit, Failure, Refusal, command, man, output::StdoutError};

/// Set by the scripts when they ask.
const VARIABLE: &str = "NETPATH_COMPLETE";

/// Arguments of `netpath completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

/// Prints the shell's completion script. It asks netpath itself, so that it also knows what is up.
pub fn run(args: &CompletionsArgs, context: &Context) -> Result<Exit, Failure> {
    let shell = args.shell.to_string();
    let shells = Shells::builtins();
    let completer = shells
        .completer(&shell)
        .ok_or_else(|| Refusal(format!("no completions for {shell}")))?;
    let command = command();
    let name = command.get_name();
    let mut script = Vec::new();
    completer
        .write_registration(VARIABLE, name, name, name, &mut script)
        .map_err(StdoutError::from)?;
    context.output.raw(&script)?;
    Ok(Exit::Done)
}

/// Answers a shell that asks, and ends the process then.
pub(super) fn answer() {
    CompleteEnv::with_factory(command).var(VARIABLE).complete();
}

/// The nodes that are up.
pub(super) fn nodes() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(names_of_nodes()))
}

/// The endpoints of all nodes.
pub(super) fn endpoints() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(names_of_endpoints()))
}

/// Nodes and endpoints.
pub(super) fn objects() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let names = names_of_nodes().into_iter();
        candidates(names.chain(names_of_endpoints()))
    })
}

/// The maps.
pub(super) fn maps() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(map_names().map(str::to_owned)))
}

/// The manual pages.
pub(super) fn pages() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(man::page_names()))
}

fn candidates(names: impl IntoIterator<Item = String>) -> Vec<CompletionCandidate> {
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// None where they cannot be read, as without root: whoever presses Tab has not asked to be told why.
fn names_of_nodes() -> Vec<String> {
    datapath::nodes().unwrap_or_default()
}

/// As of nodes.
fn names_of_endpoints() -> Vec<String> {
    let nodes = names_of_nodes().into_iter();
    let open = nodes.filter_map(|node| Datapath::open(&node).ok().flatten());
    let keys = open.flat_map(|datapath| {
        let records = datapath.maps.endpoint_records.all().unwrap_or_default();
        records.into_keys()
    });
    let names = keys.filter_map(|key| text(&key.name).map(str::to_owned));
    names.collect()
}
