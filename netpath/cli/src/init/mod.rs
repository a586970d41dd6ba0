//! `netpath init`.

mod host;

use netpath::model::BUILTIN_LAB;

use super::{Context, Exit, Failure, Refusal};

/// Arguments of `netpath init`.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// The built-in lab: nodes and endpoints in namespaces, with nothing outside touched (the default)
    #[arg(long)]
    lab: bool,

    /// This machine as a node, with its uplinks as they are found and two endpoints of addresses that are free here
    #[arg(long, conflicts_with = "lab")]
    host: bool,
}

/// Prints a topology file to start from.
pub fn run(args: &InitArgs, context: &Context) -> Result<Exit, Failure> {
    if !context.output.is_table() {
        let refusal = "a topology file is TOML: leave out --output and --json";
        return Err(Refusal(refusal.to_owned()).into());
    }
    let text = match args.host {
        true => host::starter(&host::Machine::look()?)?,
        false => BUILTIN_LAB.to_owned(),
    };
    context.output.raw(text.as_bytes())?;
    Ok(Exit::Done)
}
