//! `netpath man`.

use std::{fs, path::PathBuf};

use super::{Context, Exit, Failure, command, output::StdoutError};

/// Arguments of `netpath man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Write the pages of all subcommands into this directory instead
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints or writes manual pages.
pub fn run(args: &ManArgs, context: &Context) -> Result<Exit, Failure> {
    match &args.dir {
        Some(dir) => {
            fs::create_dir_all(dir)
                .and_then(|()| clap_mangen::generate_to(command(), dir))
                .map_err(|error| {
                    Failure::new(format!(
                        "writing manual pages to {}: {error}",
                        dir.display()
                    ))
                })?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command())
                .render(&mut page)
                .map_err(StdoutError::from)?;
            context.output.raw(&page)?;
        }
    }
    Ok(Exit::Done)
}
