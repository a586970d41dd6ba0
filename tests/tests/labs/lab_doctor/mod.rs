//! `netpath doctor`: each fault that is planted is found, with the cure that takes it away; nothing is found where nothing is
//! wrong. And `netpath bugreport`.

mod file;
mod fixed;
mod healthy;
mod machine;
mod nodes;
mod notes;
mod place;
mod report;

use std::{
    path::Path,
    process::{Command, Stdio},
};

use jsonschema::Validator;
use netpath_tests::{
    binary,
    command::{TempFile, run_netpath},
    lab::{Lab, again_with_clsact},
};
use serde_json::Value;

/// Found for how tests are run, and for other tests that are at work.
const OF_THE_PLACE: [&str; 3] = ["bpffs_covered", "netpath_at_work", "left_unfinished"];

const SCHEMA: &str = include_str!("../../../../docs/schema/doctor.json");

/// What `netpath doctor -j` prints, and how it ended.
#[derive(Debug)]
pub struct Told {
    document: Value,
    status: Option<i32>,
}

impl Told {
    /// Runs it.
    pub fn by(arguments: &[&str]) -> Self {
        let output = run_netpath(&[&["doctor", "-j"], arguments].concat());
        Self::of(&output)
    }

    /// Of a run that is over.
    pub fn of(output: &std::process::Output) -> Self {
        let document = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
        let validator: Validator = jsonschema::draft202012::new(&schema).expect("a schema");
        let errors: Vec<String> = validator
            .iter_errors(&document)
            .map(|it| it.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
        Self {
            document,
            status: output.status.code(),
        }
    }

    /// What was found, but what is so where other tests run too.
    pub fn found(&self) -> Vec<&Value> {
        let mut found = self.all();
        found.retain(|it| !OF_THE_PLACE.contains(&it["id"].as_str().expect("text")));
        found
    }

    /// All that was found.
    pub fn all(&self) -> Vec<&Value> {
        let checks = self.document["checks"].as_array().expect("a list");
        let found = checks
            .iter()
            .flat_map(|check| check["found"].as_array().expect("a list"));
        found.collect()
    }

    /// The same as `id of object`, sorted, without the lab's prefix.
    pub fn words(&self, lab: &Lab) -> Vec<String> {
        let text = |it: &Value| it.as_str().expect("text").replace(lab.prefix(), "");
        let found = self.found().into_iter();
        let mut words: Vec<String> = found
            .map(|it| format!("{} of {}", text(&it["id"]), text(&it["object"])))
            .collect();
        words.sort();
        words.dedup();
        words
    }

    /// The states of the checks that are not ok, but for where the tests run.
    pub fn not_ok(&self) -> Vec<String> {
        let checks = self.document["checks"].as_array().expect("a list");
        let bad = checks
            .iter()
            .filter(|it| it["state"] != "ok" && it["id"] != "mounts" && it["id"] != "others");
        bad.map(|it| it.to_string()).collect()
    }

    /// The cure of a finding.
    pub fn cure(&self, id: &str) -> String {
        let found = self.found().into_iter().find(|it| it["id"] == id);
        let found = found.unwrap_or_else(|| panic!("no {id} in {self:?}"));
        assert!(!found["why"].as_str().expect("text").is_empty(), "{found}");
        found["cure"].as_str().expect("text").to_owned()
    }
}

/// Runs the commands that a cure names, as somebody does who is logged in to the machine.
pub fn obey(cure: &str) {
    let commands: Vec<&str> = cure.split('`').skip(1).step_by(2).collect();
    assert!(!commands.is_empty(), "no command in: {cure}");
    for command in commands {
        let output = typed(command).output().expect("start");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let is_done = matches!(output.status.code(), Some(0 | 3));
        assert!(is_done, "{command}: {stderr}");
    }
}

/// A line as a shell takes it, which finds netpath.
pub fn typed(line: &str) -> Command {
    let netpath = binary();
    let directory = netpath.parent().unwrap_or(Path::new("/"));
    let path = std::env::var("PATH").expect("a search path");
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .env("PATH", format!("{}:{path}", directory.display()))
        .stdin(Stdio::null());
    command
}

/// A lab that is up, and its file.
pub struct Patient {
    /// The lab.
    pub lab: Lab,
    /// Its topology, as it was brought up.
    pub file: TempFile,
}

impl Patient {
    /// Brings it up.
    pub fn new(text: &str) -> Self {
        let lab = Lab::up(text);
        let file = TempFile::new(lab.text());
        Self { lab, file }
    }

    /// What is told of it.
    pub fn told(&self) -> Told {
        Told::by(&["-f", self.file.path()])
    }

    /// Runs lines such as `A: ip link set va1 down` in the namespaces that they name.
    pub fn plant(&self, lines: &[&str]) {
        for line in lines {
            let (place, line) = line.split_once(": ").expect("a place");
            self.lab.run(place, &line.replace('@', self.lab.prefix()));
        }
    }
}

#[test]
fn with_clsact_it_is_the_same() {
    again_with_clsact(&[
        "healthy::a_healthy_lab_is_ok",
        "healthy::a_healthy_machine_is_ok",
        "notes::what_is_unpinned_or_switched_off_is_found",
    ]);
}
