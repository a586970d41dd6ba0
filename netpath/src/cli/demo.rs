//! `netpath demo`.

use super::{Context, Exit};

/// Arguments of `netpath demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Leave the lab up and say what to try next
    #[arg(long)]
    pub keep: bool,
}

/// Tells the story of the built-in lab.
pub fn run(args: &DemoArgs, context: &Context) -> anyhow::Result<Exit> {
    let _ = (args.keep, context);
    anyhow::bail!("not built yet")
}
