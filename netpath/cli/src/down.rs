//! `netpath down`.

use std::path::PathBuf;

use netpath::{datapath, mounts, provision};

use super::{Context, Exit, Failure, expedite::ExpediteArgs, file, note, up::ChangeReport};

/// Arguments of `netpath down`.
#[derive(Debug, clap::Args)]
pub struct DownArgs {
    /// The topology whose nodes to remove; `-` reads it from stdin [default: the built-in lab]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Remove every node that is up
    #[arg(long, conflicts_with = "file")]
    all: bool,

    #[command(flatten)]
    expedite: ExpediteArgs,
}

/// Removes the nodes. Once begun it goes on to the end, whatever signals come.
pub fn run(args: &DownArgs, context: &Context) -> Result<Exit, Failure> {
    let nodes = if args.all {
        None
    } else {
        Some(file::node_names(&file::load(args.file.as_ref())?))
    };
    context.require_root()?;
    mounts::require_visible("down")?;
    context.catch_signals()?;
    let _expedited = args.expedite.begin()?;
    let nodes = match nodes {
        Some(nodes) => nodes,
        None => datapath::nodes()?,
    };
    let mut report = ChangeReport::new(context);
    let mut told = false;
    let result = provision::down_unless(&nodes, &context.interrupted, &mut |change| {
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
    }
    if context.is_interrupted() {
        note("interrupted, but everything was removed");
    }
    Ok(match removed.remaining.is_empty() {
        true => Exit::Done,
        false => Exit::Degraded,
    })
}
