//! `netpath completions`, and the answers to what shells then ask.

use clap_complete::{CompleteEnv, CompletionCandidate, engine::ArgValueCandidates, env::Shells};
use netpath::{
    datapath::{self, Datapath, map_names},
    netns::NETNS_DIR,
};
use netpath_common::{Origin, text};

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

/// The endpoints that `netpath endpoint add` made.
pub(super) fn added_endpoints() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(names_of(|origin| origin == Origin::Command)))
}

/// The namespaces that have names. What of them is an endpoint's already is refused by the command.
pub(super) fn namespaces() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let listed = std::fs::read_dir(NETNS_DIR).into_iter().flatten().flatten();
        candidates(listed.filter_map(|entry| entry.file_name().into_string().ok()))
    })
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
    names_of(|_| true)
}

/// Those of this origin. One whose origin cannot be read is nobody's.
fn names_of(is_asked: impl Fn(Origin) -> bool) -> Vec<String> {
    let nodes = names_of_nodes().into_iter();
    let open = nodes.filter_map(|node| Datapath::open(&node).ok().flatten());
    let records = open.flat_map(|datapath| {
        let records = datapath.maps.endpoint_records.all().unwrap_or_default();
        records.into_iter()
    });
    let asked =
        records.filter(|(_, record)| Origin::from_number(record.origin).is_some_and(&is_asked));
    let names = asked.filter_map(|(key, _)| text(&key.name).map(str::to_owned));
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All arguments that are called so, of a command and all below it, by their commands.
    fn arguments(command: &clap::Command, called: &str) -> Vec<(String, bool)> {
        let is_it = |argument: &&clap::Arg| {
            let names = argument.get_value_names().unwrap_or_default();
            names.iter().any(|name| name.as_str() == called)
        };
        let own = command.get_arguments().filter(is_it);
        let own = own.map(|argument| {
            let place = format!("{} {}", command.get_name(), argument.get_id());
            (place, argument.get::<ArgValueCandidates>().is_some())
        });
        let below = command.get_subcommands();
        own.chain(below.flat_map(|it| arguments(it, called)))
            .collect()
    }

    #[test]
    fn what_is_called_a_node_or_an_endpoint_is_completed() {
        for (called, least) in [("NODE", 5), ("ENDPOINT", 3)] {
            let arguments = arguments(&command(), called);
            assert!(arguments.len() >= least, "{arguments:?}");
            for (place, is_completed) in arguments {
                assert!(is_completed, "{place}");
            }
        }
    }
}
