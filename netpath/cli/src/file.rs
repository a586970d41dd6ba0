//! The topology that a command is about: a file, or the built-in lab.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use netpath::model::{NamedNodes, Topology};

use super::{Failure, Refusal};

/// What a topology file may have, in bytes: many times what the largest one that netpath can make takes.
const SIZE_MAX: u64 = 64 << 20;

/// Reads and checks a topology file; `-` is stdin, and without a file it is the built-in lab.
pub(super) fn load(file: Option<&PathBuf>) -> Result<Topology, Failure> {
    let Some(file) = file else {
        return Ok(Topology::builtin_lab());
    };
    let (shown, text) = text(file)?;
    Ok(Topology::parse(shown, &text)?)
}

/// The names of the nodes of a topology file, which may have mistakes; read as by [`load`].
pub(super) fn load_names(file: Option<&PathBuf>) -> Result<NamedNodes, Failure> {
    let Some(file) = file else {
        return Ok(Topology::builtin_lab().into());
    };
    let (shown, text) = text(file)?;
    let named = NamedNodes::parse(shown, &text);
    named.map_err(|errors| {
        let cure = "it names no node for certain: `netpath down NODE...` removes nodes by name, `netpath show` lists them";
        Failure::from(errors).and(cure)
    })
}

/// What to call a file, and all of it.
fn text(file: &Path) -> Result<(&Path, String), Refusal> {
    if file.as_os_str() == "-" {
        let shown = Path::new("stdin");
        return Ok((shown, read(shown, io::stdin().lock())?));
    }
    let opened = fs::File::open(file).map_err(|error| unreadable(file, &error))?;
    Ok((file, read(file, opened)?))
}

/// All of a file. A device may never end, so no more is read than any topology takes.
fn read(file: &Path, from: impl io::Read) -> Result<String, Refusal> {
    let mut bytes = Vec::new();
    from.take(SIZE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(file, &error))?;
    if bytes.len() as u64 > SIZE_MAX {
        let size = SIZE_MAX >> 20;
        let file = file.display();
        return Err(Refusal(format!(
            "{file}: it is larger than {size} MiB, which no topology file is: name one with -f"
        )));
    }
    String::from_utf8(bytes).map_err(|_| unreadable(file, &io::ErrorKind::InvalidData.into()))
}

/// The names of a topology's nodes.
pub(super) fn node_names(topology: &Topology) -> Vec<String> {
    topology
        .nodes
        .iter()
        .map(|node| node.name.to_string())
        .collect()
}

fn unreadable(file: &Path, error: &io::Error) -> Refusal {
    let file = file.display();
    Refusal(match error.kind() {
        io::ErrorKind::NotFound => format!(
            "{file}: no such file: name a topology file with -f, or leave -f out for the built-in lab"
        ),
        io::ErrorKind::IsADirectory => {
            format!("{file}: it is a directory: name a topology file with -f")
        }
        io::ErrorKind::InvalidData => {
            format!("{file}: it is not UTF-8 text: a topology file is TOML")
        }
        _ => format!("{file}: cannot be read: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Exit;

    #[test]
    fn without_a_file_it_is_the_lab() {
        let topology = load(None).expect("valid");
        assert_eq!(node_names(&topology), ["node03", "node02"]);
    }

    #[test]
    fn a_missing_file_is_refused_by_name() {
        let failure = load(Some(&"/nonexistent/lab.toml".into())).expect_err("missing");
        assert_eq!(failure.exit, Exit::Refused);
        let start = "/nonexistent/lab.toml: no such file: ";
        assert!(failure.text.starts_with(start), "{failure:?}");
        let failure = load(Some(&"/proc".into())).expect_err("a directory");
        assert_eq!(failure.exit, Exit::Refused);
        assert!(failure.text.contains("directory"), "{failure:?}");
    }

    #[test]
    fn a_file_without_an_end_is_refused() {
        let failure = load(Some(&"/dev/zero".into())).expect_err("no topology");
        assert_eq!(failure.exit, Exit::Refused);
        let start = "/dev/zero: it is larger than 64 MiB";
        assert!(failure.text.starts_with(start), "{}", failure.text);
        let failure = load(Some(&std::env::current_exe().expect("this test")));
        let failure = failure.expect_err("no text").text;
        assert!(failure.contains("not UTF-8"), "{failure}");
    }
}
