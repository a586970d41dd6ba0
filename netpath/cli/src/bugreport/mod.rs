//! `netpath bugreport`: what somebody needs to know who is to help, in one archive, without secrets.

mod archive;
mod kernel;
mod parts;
mod redact;

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use netpath::{capabilities, model::Topology};
use serde::Serialize;

use self::{archive::Archive, parts::Part};
use super::{Context, Exit, Failure, Refusal, file, note};

/// Arguments of `netpath bugreport`.
#[derive(Debug, clap::Args)]
pub struct BugreportArgs {
    /// The topology that it is about, whose text goes along without its comments; `-` reads it from stdin
    #[arg(short, long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,

    /// The archive, which must not be there yet [default: netpath-bugreport-SECONDS.tar.gz, seconds since 1970]
    #[arg(long, value_name = "ARCHIVE")]
    to: Option<PathBuf>,
}

/// What never goes along.
const LEFT_OUT: &[&str] = &[
    "keys of WireGuard, IPsec and MACsec: nothing that prints them is run",
    "settings that are secrets (stable_secret, tcp_fastopen_key)",
    "comments of the topology file, of rules and of interfaces: tokens are kept there",
    "a topology file with mistakes: only what is wrong with it is told",
    "namespaces of a node's endpoints after the first 16, unless something is wrong with them",
    "the environment, command lines, users, files and packets",
];

/// `netpath bugreport -j`. Schema: docs/schema/bugreport.json.
#[derive(Serialize)]
struct Written {
    file: String,
    parts: Vec<WrittenPart>,
    left_out: &'static [&'static str],
    version: u32,
}

#[derive(Serialize)]
struct WrittenPart {
    name: String,
    bytes: usize,
    error: Option<String>,
}

/// Of the document.
const VERSION: u32 = 1;

/// Collects everything, and writes it.
pub fn run(args: &BugreportArgs, context: &Context) -> Result<Exit, Failure> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.map_or(0, |it| it.as_secs());
    let name = format!("netpath-bugreport-{seconds}");
    let path = args
        .to
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{name}.tar.gz")));
    if path == Path::new("-") {
        let problem = "--to: the archive is a file, and its name goes to stdout: name a file";
        return Err(Refusal(problem.to_owned()).into());
    }
    let (text, topology) = match &args.file {
        Some(path) => topology(path)?,
        None => (None, None),
    };
    let mut parts = parts::collect(topology.as_ref());
    parts.extend(text);
    parts.push(Part::new("left-out.txt", lines(LEFT_OUT)));
    // What is written is whoever asked for it.
    capabilities::act_as_self();
    let mut archive = Archive::create(&path, &name, seconds)?;
    for part in &parts {
        archive.add(part)?;
    }
    archive.finish()?;
    tell(&path, &parts, context)
}

/// The text without comments, or what is wrong with it.
fn topology(path: &Path) -> Result<(Option<Part>, Option<Topology>), Failure> {
    let (shown, text) = file::text(path)?;
    Ok(match Topology::parse(shown, &text) {
        Ok(topology) => {
            let text = redact::without_comments(&text);
            (Some(Part::new("topology.toml", text)), Some(topology))
        }
        Err(errors) => {
            let wrong = Part::new("topology-errors.txt", format!("{errors}\n"));
            (Some(wrong), None)
        }
    })
}

fn lines(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What is in it, and what could not be had.
fn tell(path: &Path, parts: &[Part], context: &Context) -> Result<Exit, Failure> {
    let missing: Vec<&Part> = parts.iter().filter(|it| it.error.is_some()).collect();
    for part in &missing {
        if let Some(error) = &part.error {
            note(format_args!("{} is missing: {error}", part.name));
        }
    }
    if context.output.is_table() {
        context.output.line(path.display())?;
        let count = parts.len() - missing.len();
        note(format_args!(
            "{count} parts; left out: {}; look at it before you give it away",
            LEFT_OUT.join("; ")
        ));
    } else {
        let written = parts.iter().map(|part| WrittenPart {
            name: part.name.clone(),
            bytes: part.bytes.len(),
            error: part.error.clone(),
        });
        let document = Written {
            file: path.display().to_string(),
            parts: written.collect(),
            left_out: LEFT_OUT,
            version: VERSION,
        };
        context.output.show(&document, Vec::new)?;
    }
    Ok(match missing.is_empty() {
        true => Exit::Done,
        false => Exit::Degraded,
    })
}
