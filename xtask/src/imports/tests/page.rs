//! The table of docs/architecture.md is the table of the rules, and its invariants name what checks them.

use std::{collections::BTreeSet, fs, path::Path};

use super::super::rules::{LIBRARY, PURE};

const HEAD: &str = "| module | answers | may use |";

/// A module's name, what it may import, and whether it does no I/O.
type Row = (String, BTreeSet<String>, bool);

fn names(cell: &str) -> BTreeSet<String> {
    let parts = cell.split('`').skip(1).step_by(2);
    parts.map(str::to_owned).collect()
}

/// The rows of the page's table; a row may be about several modules.
fn rows(page: &str) -> Vec<Row> {
    let (_, table) = page.split_once(HEAD).expect("the table");
    let lines = table.lines().skip(2).take_while(|line| !line.is_empty());
    let mut rows = Vec::new();
    for line in lines {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [modules, _, may] = cells.as_slice() else {
            panic!("three cells: {line}");
        };
        let is_pure = may.ends_with("pure");
        for module in names(modules) {
            rows.push((module, names(may), is_pure));
        }
    }
    rows
}

fn page() -> String {
    fs::read_to_string(super::root().join("docs/architecture.md")).expect("the page")
}

#[test]
fn the_page_says_who_may_import_whom() {
    let mut told = rows(&page());
    told.sort();
    let mut rules: Vec<Row> = LIBRARY
        .iter()
        .map(|(module, allowed)| {
            let allowed = allowed.iter().map(|name| (*name).to_owned()).collect();
            ((*module).to_owned(), allowed, PURE.contains(module))
        })
        .collect();
    rules.sort();
    let difference = |from: &[Row], without: &[Row]| -> Vec<Row> {
        let rest = from.iter().filter(|row| !without.contains(row));
        rest.cloned().collect()
    };
    assert_eq!(
        (difference(&told, &rules), difference(&rules, &told)),
        (Vec::new(), Vec::new()),
        "rows of the page that are not the rules', rules that are not the page's"
    );
    assert_eq!(told.len(), rules.len(), "a module has one row");
}

/// Adds the names of all functions below a folder, those of tests included, and of the sources themselves.
fn checks(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        let stem = path.file_stem().expect("a name").to_string_lossy();
        names.insert(stem.into_owned());
        if path.is_dir() {
            checks(&path, names);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = fs::read_to_string(&path).expect("readable");
            let after = text.split("fn ").skip(1);
            let name = |text: &str| text.split(['(', '<']).next().map(str::to_owned);
            names.extend(after.filter_map(name));
        }
    }
}

/// The invariants' texts, in order.
fn invariants(page: &str) -> Vec<String> {
    let (_, section) = page.split_once("\n## Invariants\n").expect("the section");
    let mut found: Vec<String> = Vec::new();
    for line in section.lines() {
        if line.starts_with(&format!("{}. ", found.len() + 1)) {
            found.push(String::new());
        }
        if let Some(last) = found.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    found
}

#[test]
fn each_invariant_names_what_checks_it() {
    let mut all = BTreeSet::new();
    for package in [
        "netpath",
        "netpath-common",
        "netpath-ebpf",
        "tests",
        "xtask",
    ] {
        checks(&super::root().join(package), &mut all);
    }
    let invariants = invariants(&page());
    assert!(invariants.len() >= 17, "{invariants:#?}");
    for text in invariants {
        let names = names(&text);
        // Tests have names of several words.
        let tests = names.iter().filter(|name| name.matches('_').count() > 1);
        let (there, gone): (Vec<_>, Vec<_>) = tests.partition(|name| all.contains(*name));
        assert_eq!(gone, Vec::<&String>::new(), "no such test: {text}");
        let others = ["`cargo xtask lint`", "Cargo.toml", "`tests/tests/"];
        let is_checked = !there.is_empty() || others.iter().any(|check| text.contains(check));
        assert!(is_checked, "{text}");
    }
}
