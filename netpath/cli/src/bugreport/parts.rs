//! What goes into a report.

use netpath::{
    api::{Audit, Diagnosis, Flows, Hops, Status},
    counters,
    datapath::{self, AYA_VERSION, Datapath, map_names},
    doctor, flows,
    model::Topology,
    provision,
};
use serde::Serialize;

use super::{
    super::{Failure, maps},
    kernel, redact,
};

/// One file of the archive.
#[derive(Debug)]
pub(super) struct Part {
    /// Its name.
    pub(super) name: String,
    /// What is in it.
    pub(super) bytes: Vec<u8>,
    /// Why there is nothing in it.
    pub(super) error: Option<String>,
}

impl Part {
    pub(super) fn new(name: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            bytes: text.into(),
            error: None,
        }
    }

    pub(super) fn of(name: impl Into<String>, made: Result<Vec<u8>, Failure>) -> Self {
        match made {
            Ok(bytes) => Self::new(name, bytes),
            Err(failure) => Self {
                name: name.into(),
                bytes: Vec::new(),
                error: Some(failure.text),
            },
        }
    }
}

/// Makes a document, for a topology if one was given.
type Make = fn(Option<&Topology>) -> Result<Vec<u8>, Failure>;

/// netpath's own documents: one more is one line more.
const DOCUMENTS: &[(&str, Make)] = &[
    ("show.json", |_| {
        json(&Status::from(&provision::observe()?[..]))
    }),
    ("stats.json", |_| {
        json(&Hops::from(&counters::read_all(None)?.rows[..]))
    }),
    ("flows.json", |_| {
        json(&Flows::from(&flows::read_all(None)?))
    }),
    ("maps.json", |_| json(&maps::summaries(&open()?)?)),
    ("doctor.json", diagnosis),
    ("audit.json", |_| {
        json(&Audit::new(&provision::audit(None, None)?))
    }),
];

/// All parts, each with what could not be had of it.
pub(super) fn collect(topology: Option<&Topology>) -> Vec<Part> {
    let documents = DOCUMENTS.iter();
    let mut parts: Vec<Part> = documents
        .map(|(name, make)| Part::of(*name, make(topology)))
        .collect();
    for map in map_names() {
        let made = open().and_then(|nodes| json(&maps::entries(map, &nodes)?));
        parts.push(Part::of(format!("maps/{map}.json"), made));
    }
    parts.push(Part::new("versions.txt", versions()));
    parts.extend(kernel::parts());
    parts
}

fn json(document: &impl Serialize) -> Result<Vec<u8>, Failure> {
    let text = serde_json::to_string_pretty(document);
    let text = text.map_err(|error| Failure::new(format!("JSON: {error}")))?;
    Ok(redact::document(&text).into_bytes())
}

fn diagnosis(topology: Option<&Topology>) -> Result<Vec<u8>, Failure> {
    let options = doctor::Options {
        topology,
        ..doctor::Options::default()
    };
    json(&Diagnosis::new(&doctor::examine(&options), &[]))
}

/// The nodes that are up and can be read; `show` tells of the others.
fn open() -> Result<Vec<Datapath>, Failure> {
    let names = datapath::nodes()?.into_iter();
    let opened = names.filter_map(|name| Datapath::open(&name).ok().flatten());
    Ok(opened.collect())
}

fn versions() -> String {
    let mut text = format!("netpath {}\naya {AYA_VERSION}\n", env!("CARGO_PKG_VERSION"));
    text += &kernel::versions();
    text
}
