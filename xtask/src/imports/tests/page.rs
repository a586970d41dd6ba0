//! The table of docs/architecture.md is the table of the rules.

use std::{collections::BTreeSet, fs};

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

#[test]
fn the_page_says_who_may_import_whom() {
    let page = fs::read_to_string(super::root().join("docs/architecture.md")).expect("the page");
    let mut told = rows(&page);
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
