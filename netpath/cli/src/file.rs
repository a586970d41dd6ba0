//! The topology that a command is about: a file, or the built-in lab.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use netpath::model::Topology;

use super::{Failure, Refusal};

/// Reads and checks a topology file; `-` is stdin, and without a file it is the built-in lab.
pub(super) fn load(file: Option<&PathBuf>) -> Result<Topology, Failure> {
    let Some(file) = file else {
        return Ok(Topology::builtin_lab());
    };
    if file.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| unreadable(Path::new("stdin"), &error))?;
        return Ok(Topology::parse("stdin", &text)?);
    }
    let text = fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
    Ok(Topology::parse(file, &text)?)
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
}
