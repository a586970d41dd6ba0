//! `netpath completions`.

use super::{Context, Exit, Failure, command};

/// Arguments of `netpath completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

/// Prints the shell's completion script.
pub fn run(args: &CompletionsArgs, context: &Context) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    let mut command = command();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    context.output.raw(&script)?;
    Ok(Exit::Done)
}
