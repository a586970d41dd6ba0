//! The nodes that a file names, also where the file is refused: what was brought up with it is to go down with it.

use std::path::Path;

use toml::de::DeValue;

use super::{Name, Topology, TopologyErrors, document, findings::Findings};

/// The nodes that a file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedNodes {
    /// Their names, each once, in the order of the file.
    pub names: Vec<String>,
    /// How many nodes have no name that could be one.
    pub unnamed: usize,
    /// Whether the kernel is to expedite its grace periods for one of them.
    pub expedite: bool,
    /// All that is wrong with the file; `None` where it is valid.
    pub errors: Option<TopologyErrors>,
}

impl NamedNodes {
    /// Reads the names from a topology file's text. `file` is only named in findings, never opened.
    ///
    /// # Errors
    /// All that is wrong with the text, where it names no node for certain: it is not TOML, or no node has a name.
    pub fn parse(file: impl AsRef<Path>, text: &str) -> Result<Self, TopologyErrors> {
        let file = file.as_ref();
        let errors = match Topology::parse(file, text) {
            Ok(topology) => return Ok(topology.into()),
            Err(errors) => errors,
        };
        // What is wrong is told by the errors above. Nothing is guessed of a text with mistakes in its syntax.
        let Some(document) = document::parse(text, &mut Findings::new(file, text)) else {
            return Err(errors);
        };
        let Some(DeValue::Array(nodes)) = document.get("node").map(|value| value.get_ref()) else {
            return Err(errors);
        };
        let mut names: Vec<String> = Vec::new();
        let (mut unnamed, mut expedite) = (0, false);
        for node in nodes {
            expedite |= expedites(node.get_ref());
            match name(node.get_ref()) {
                Some(name) if names.contains(&name) => {}
                Some(name) => names.push(name),
                None => unnamed += 1,
            }
        }
        match names.is_empty() {
            true => Err(errors),
            false => Ok(Self {
                names,
                unnamed,
                expedite,
                errors: Some(errors),
            }),
        }
    }
}

impl From<Topology> for NamedNodes {
    fn from(topology: Topology) -> Self {
        let expedite = topology.nodes.iter().any(|node| node.expedite);
        let names = topology.nodes.into_iter().map(|node| node.name.to_string());
        Self {
            names: names.collect(),
            unnamed: 0,
            expedite,
            errors: None,
        }
    }
}

/// As a valid file has it: by default for a lab's.
fn expedites(node: &DeValue<'_>) -> bool {
    let DeValue::Table(node) = node else {
        return false;
    };
    let value = |key: &str| node.get(key).map(|value| value.get_ref());
    match (value("expedite"), value("netns")) {
        (Some(DeValue::Boolean(expedite)), _) => *expedite,
        (_, netns) => netns.is_none(),
    }
}

fn name(node: &DeValue<'_>) -> Option<String> {
    let DeValue::Table(node) = node else {
        return None;
    };
    match node.get("name")?.get_ref() {
        DeValue::String(text) => Some(text.parse::<Name>().ok()?.to_string()),
        _ => None,
    }
}
