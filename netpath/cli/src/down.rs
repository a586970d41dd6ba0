//! `netpath down`.

use std::path::PathBuf;

use netpath::{
    capabilities::Work,
    datapath,
    model::{Name, NamedNodes},
    mounts,
    provision::{self, DownOptions, ProvisionError},
};

use super::{
    Context, Exit, Failure, completions, expedite::ExpediteArgs, file, note, up::ChangeReport,
};

/// Arguments of `netpath down`.
#[derive(Debug, clap::Args)]
pub struct DownArgs {
    /// The nodes to remove [default: those of the topology]
    #[arg(value_name = "NODE", conflicts_with_all = ["file", "all"], add = completions::nodes())]
    nodes: Vec<Name>,

    /// The topology whose nodes to remove, which may have mistakes; `-` reads it from stdin [default: the built-in lab]
    #[arg(short, long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,

    /// Remove the nodes that are up and that the file has no more, instead of those that it has
    ///
    /// Nodes of other files are among them: name the one file that has all that is to stay. A node stays, and is told, if
    /// something on it was not made by a file.
    #[arg(long, requires = "file")]
    prune: bool,

    /// Remove every node that is up
    #[arg(long, conflicts_with = "file")]
    all: bool,

    #[command(flatten)]
    expedite: ExpediteArgs,
}

/// What to remove.
enum Selected {
    /// Those of a file, as far as they are up.
    Nodes(NamedNodes),
    /// These, which have to be up.
    Named(Vec<String>),
    /// All but these.
    AllBut(Vec<String>),
    /// All.
    All,
}

/// Removes the nodes. Once begun it goes on to the end, whatever signals come.
pub fn run(args: &DownArgs, context: &Context) -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    let selected = selected(args, &mut exit)?;
    context.require(Work::Nodes)?;
    mounts::require_visible("down")?;
    context.note_signals()?;
    let _expedited = args.expedite.begin()?;
    let expedite = match &selected {
        Selected::Nodes(named) => Some(named.expedite),
        // They are another file's, which is not known.
        Selected::Named(_) | Selected::AllBut(_) | Selected::All => None,
    };
    let nodes = nodes(selected, &mut exit)?;
    let mut report = ChangeReport::new(context);
    let mut told = false;
    let options = DownOptions {
        interrupted: &context.interrupted,
        expedite,
    };
    let result = provision::down_as(&nodes, options, &mut |change| {
        report.add(change);
        if context.is_interrupted() && !told {
            told = true;
            note("interrupted; removing the rest first, so that nothing is left half-made");
        }
    });
    let removed = match result {
        Ok(removed) => removed,
        Err(error) => return Err(report.fail(error.into())),
    };
    report.finish()?;
    for remaining in &removed.remaining {
        note(remaining.to_string());
        exit = Exit::Degraded;
    }
    if context.is_interrupted() {
        note("interrupted, but everything was removed");
    }
    Ok(exit)
}

fn selected(args: &DownArgs, exit: &mut Exit) -> Result<Selected, Failure> {
    let names = |nodes: &[Name]| nodes.iter().map(Name::to_string).collect();
    Ok(if args.all {
        Selected::All
    } else if !args.nodes.is_empty() {
        Selected::Named(names(&args.nodes))
    } else if args.prune {
        // A name that cannot be read may be that of a node that is to stay.
        Selected::AllBut(file::node_names(&file::load(args.file.as_ref())?))
    } else {
        let named = file::load_names(args.file.as_ref())?;
        tell_mistakes(&named, exit);
        Selected::Nodes(named)
    })
}

fn tell_mistakes(named: &NamedNodes, exit: &mut Exit) {
    let Some(errors) = &named.errors else {
        return;
    };
    let names = named.names.join(", ");
    errors.findings().iter().for_each(note);
    note(format!(
        "the file has mistakes; the nodes that it names are removed all the same: {names}"
    ));
    if named.unnamed > 0 {
        note(format!(
            "{} of its nodes have no name: `netpath show` lists what is still up",
            named.unnamed
        ));
        *exit = Exit::Degraded;
    }
}

fn nodes(selected: Selected, exit: &mut Exit) -> Result<Vec<String>, Failure> {
    Ok(match selected {
        Selected::Nodes(named) => named.names,
        Selected::Named(names) => {
            let up = datapath::nodes()?;
            match names.iter().find(|name| !up.contains(name)) {
                None => names,
                Some(name) => {
                    return Err(ProvisionError::NotUp {
                        object: "node",
                        name: name.clone(),
                    }
                    .into());
                }
            }
        }
        Selected::All => datapath::nodes()?,
        Selected::AllBut(names) => {
            let surplus = provision::surplus(&names)?;
            for kept in &surplus.kept {
                note(kept);
                *exit = Exit::Degraded;
            }
            surplus.nodes
        }
    })
}
