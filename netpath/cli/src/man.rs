//! `netpath man`.

use std::{fs, path::PathBuf};

use anyhow::Context as _;

use super::{Context, Exit, command};

/// Arguments of `netpath man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Write the pages of all subcommands into this directory instead
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints or writes manual pages.
pub fn run(args: &ManArgs, context: &Context) -> anyhow::Result<Exit> {
    match &args.dir {
        Some(dir) => {
            let writing = || format!("writing manual pages to {}", dir.display());
            fs::create_dir_all(dir).with_context(writing)?;
            clap_mangen::generate_to(command(), dir).with_context(writing)?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command()).render(&mut page)?;
            context.output.raw(&page)?;
        }
    }
    Ok(Exit::Done)
}
