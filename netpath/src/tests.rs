//! What no module can say alone: all kinds of finding, and the page that lists them.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use crate::{
    doctor::Fault,
    explain::Obstacle,
    finding::Kind,
    model::FaultKind,
    provision::UNREADABLE,
    reconcile::{Drift, Refusal},
};

/// Set to write the page.
const WRITE: &str = "NETPATH_WRITE";

/// The parts of the page: a title, what is said before the table, the kinds.
fn parts() -> [(&'static str, &'static str, Vec<&'static Kind>); 5] {
    [
        (
            "Topology files",
            "What can be wrong with a topology file: told on stderr with file, line and key, exit status 2.",
            FaultKind::KINDS.iter().collect(),
        ),
        (
            "Refusals",
            "Why an object is not made as it is wanted: told on stderr, exit status 2. Nothing is touched, or what \
             was is undone.\nA node that is not where it was made is told so by `netpath show` too, in its `drift`.",
            Refusal::KINDS.iter().collect(),
        ),
        (
            "Drift",
            "What differs from what was made is told by `netpath show`, exit status 3, and stands in `drift` of \
             `netpath show -j`;\nwhat differs from the file is told by `netpath up --dry-run`.",
            [&UNREADABLE].into_iter().chain(Drift::KINDS).collect(),
        ),
        (
            "Doctor",
            "What `netpath doctor` alone looks at, besides all of the above that is true of what it looks at. What stands in\n`netpath doctor -j` with `notice` is worth a word and no fault.",
            Fault::KINDS.iter().collect(),
        ),
        (
            "Obstacles",
            "Why a packet does not arrive: told by `netpath explain`, exit status 1, and in `finding` of `netpath explain -j`.",
            Obstacle::KINDS.iter().collect(),
        ),
    ]
}

/// A sentence as it stands in a cell.
fn cell(text: &str) -> String {
    text.trim().replace('|', "\\|")
}

fn page() -> String {
    let mut text = "# Findings\n\n\
        Written by a test (netpath/src/tests.rs) from the kinds in the code; do not edit.\n\n\
        A finding says with what something is wrong (`object`), what is wrong (`problem`) and what mends it (`cure`),\n\
        and is of a kind, whose id is stable: it is never changed, and never given to another kind. New kinds may\n\
        come. The cure in a finding is often more precise than the one here.\n"
        .to_owned();
    for (title, about, kinds) in parts() {
        write!(
            text,
            "\n## {title}\n\n{about}\n\n| id | what it means | cure |\n|---|---|---|\n"
        )
        .expect("a string takes it");
        for kind in kinds {
            let (means, cure) = (cell(kind.means), cell(kind.cure));
            writeln!(text, "| `{}` | {means} | {cure} |", kind.id).expect("a string takes it");
        }
    }
    text
}

#[test]
fn ids_are_unique_and_in_snake_case() {
    let mut ids = BTreeSet::new();
    for kind in parts().into_iter().flat_map(|(_, _, kinds)| kinds) {
        let id = kind.id;
        let is_snake_case = id.split('_').all(|word| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        });
        assert!(is_snake_case, "{id}");
        assert!(ids.insert(id), "two kinds are called {id}");
        assert!(kind.means.trim().ends_with('.'), "{id}: {}", kind.means);
        assert!(!kind.cure.is_empty() && !kind.cure.ends_with('.'), "{id}");
    }
}

#[test]
fn the_page_of_the_findings_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/findings.md");
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, page()).expect("it can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(page(), written, "write docs/findings.md with {WRITE}=1");
}
