//! `netpath man`: pages of all commands, of the topology file and of the reasons.

mod keys;
mod reasons;
mod topology;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::{Context, Exit, Failure, Refusal, command, completions, output::StdoutError};

/// Arguments of `netpath man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// The page: netpath, netpath-up and so on, netpath.toml or netpath-reasons
    #[arg(
        value_name = "PAGE",
        default_value = "netpath",
        conflicts_with = "dir",
        add = completions::pages()
    )]
    page: String,

    /// Write all pages into this directory instead
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// A page: its name, the section it is in, and the text for man.
struct Page {
    name: String,
    section: &'static str,
    text: Vec<u8>,
}

impl Page {
    fn file(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }
}

/// Prints or writes manual pages.
pub fn run(args: &ManArgs, context: &Context) -> Result<Exit, Failure> {
    let pages = pages().map_err(StdoutError::from)?;
    match &args.dir {
        Some(dir) => write(dir, &pages).map_err(|error| {
            let dir = dir.display();
            Failure::new(format!("writing manual pages to {dir}: {error}"))
        })?,
        None => {
            let page = pages.iter().find(|page| page.name == args.page);
            let page = page.ok_or_else(|| {
                let names: Vec<&str> = pages.iter().map(|page| page.name.as_str()).collect();
                let (page, names) = (&args.page, names.join(", "));
                Refusal(format!("no page {page:?}: write one of {names}"))
            })?;
            context.output.raw(&page.text)?;
        }
    }
    Ok(Exit::Done)
}

fn write(dir: &Path, pages: &[Page]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut files = pages.iter();
    files.try_for_each(|page| fs::write(dir.join(page.file()), &page.text))
}

/// All pages, that of the command first.
fn pages() -> io::Result<Vec<Page>> {
    let mut root = command().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    of_command(root, &mut pages)?;
    pages.push(topology::page());
    pages.push(reasons::page());
    Ok(pages)
}

/// The names of all pages, for completions.
pub(super) fn page_names() -> Vec<String> {
    let pages = pages().unwrap_or_default();
    pages.into_iter().map(|page| page.name).collect()
}

/// The page of a command, and of its subcommands.
fn of_command(command: clap::Command, pages: &mut Vec<Page>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let (name, others) = (name.to_owned(), command.get_subcommands().cloned());
    let others: Vec<clap::Command> = others.collect();
    let mut text = Vec::new();
    Man::new(command).render(&mut text)?;
    if pages.is_empty() {
        see_also().to_writer(&mut text)?;
    }
    pages.push(Page {
        name,
        section: "1",
        text,
    });
    let mut others = others.into_iter().filter(|it| !it.is_hide_set());
    others.try_for_each(|other| of_command(other, pages))
}

fn see_also() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    roff.text([
        bold("netpath.toml"),
        roman("(5), "),
        bold("netpath-reasons"),
        roman("(7), "),
        bold("ip"),
        roman("(8), "),
        bold("ip-netns"),
        roman("(8), "),
        bold("bpftool"),
        roman("(8)"),
    ]);
    roff
}

/// The beginning of a page that is no command's.
fn begin(name: &str, section: &str, about: &str) -> Roff {
    let mut roff = Roff::new();
    let version = concat!("netpath ", env!("CARGO_PKG_VERSION"));
    roff.control("TH", [name, section, "", version]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{name} - {about}"))]);
    roff
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn every_command_has_a_page() {
        fn commands(command: &clap::Command, name: &str) -> Vec<String> {
            let own = command
                .get_subcommands()
                .filter(|it| it.get_name() != "help");
            let below = own.flat_map(|it| commands(it, &format!("{name}-{}", it.get_name())));
            std::iter::once(name.to_owned()).chain(below).collect()
        }
        let names: Vec<String> = page_names();
        let mut expected = commands(&command(), "netpath");
        assert!(expected.len() > 12, "{expected:?}");
        expected.extend(["netpath.toml".to_owned(), "netpath-reasons".to_owned()]);
        assert_eq!(names, expected);
    }

    /// man's own formatter finds nothing to complain of, and no line is too long for a terminal.
    #[test]
    fn man_can_read_every_page() {
        for page in pages().expect("pages") {
            let mut groff = Command::new("groff");
            groff.args(["-man", "-Tutf8", "-ww", "-Kutf8", "-rLL=78n"]);
            groff
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let mut groff = groff
                .spawn()
                .expect("groff: `cargo xtask setup` installs it");
            let mut stdin = groff.stdin.take().expect("piped");
            stdin.write_all(&page.text).expect("groff reads");
            drop(stdin);
            let output = groff.wait_with_output().expect("it ends");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && said.is_empty(),
                "{}: {said}",
                page.name
            );
            assert!(!output.stdout.is_empty(), "{}", page.name);
        }
    }
}
