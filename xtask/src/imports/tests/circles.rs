//! Modules of `provision` use each other, and none is used by what it uses.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::super::{files, modules, source};

/// Which modules of a folder name which others of it. What the folder's mod.rs gives on is counted as the module's that has it.
fn uses(inside: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let library = super::root().join("netpath/src");
    let folder = library.join(inside);
    let here = inside.display().to_string();
    let modules = modules(&folder).expect("readable");
    let read = |file: &Path| {
        let text = fs::read_to_string(file).expect("readable");
        source::read(file.strip_prefix(&library).expect("below"), &text).expect("Rust")
    };
    // The module and the name in it, or the name alone.
    let below = |path: &[String]| -> Option<Vec<String>> {
        let [first, second, rest @ ..] = path else {
            return None;
        };
        (first == "crate" && *second == here).then(|| rest.to_vec())
    };
    let mut given_on = BTreeMap::new();
    for named in read(&folder.join("mod.rs")).names {
        if let Some([module, .., name]) = below(&named.path).as_deref()
            && modules.contains(module)
        {
            given_on.insert(name.clone(), module.clone());
        }
    }
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files(&folder).expect("readable") {
        let at = file
            .strip_prefix(&folder)
            .expect("below")
            .with_extension("");
        let module = at.iter().next().expect("a name").to_string_lossy();
        if module == "mod" {
            continue;
        }
        for named in read(&file).names {
            let Some(named) = below(&named.path).and_then(|path| path.into_iter().next()) else {
                continue;
            };
            let used = given_on.get(&named).unwrap_or(&named);
            if modules.contains(used) && *used != module {
                let of = uses.entry(module.clone().into_owned()).or_default();
                of.insert(used.clone());
            }
        }
    }
    uses
}

/// A circle that can be reached from the end of a way, from the module where it closes on.
fn circle(
    uses: &BTreeMap<String, BTreeSet<String>>,
    way: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    let last = way.last()?.clone();
    for next in uses.get(&last).into_iter().flatten() {
        if let Some(at) = way.iter().position(|module| module == next) {
            return Some(way[at..].to_vec());
        }
        if done.contains(next) {
            continue;
        }
        way.push(next.clone());
        if let Some(found) = circle(uses, way, done) {
            return Some(found);
        }
        way.pop();
    }
    done.insert(last);
    None
}

fn first_circle(uses: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    uses.keys()
        .find_map(|module| circle(uses, &mut vec![module.clone()], &mut done))
}

#[test]
fn modules_of_provision_have_no_circle() {
    let uses = uses(Path::new("provision"));
    let all: usize = uses.values().map(BTreeSet::len).sum();
    assert!(all > 20, "what uses what is seen: {uses:?}");
    assert_eq!(first_circle(&uses), None, "{uses:#?}");
}

#[test]
fn a_circle_is_found() {
    let of = |pairs: &[(&str, &[&str])]| {
        let row = |(module, used): &(&str, &[&str])| {
            let used = used.iter().map(|name| (*name).to_owned()).collect();
            ((*module).to_owned(), used)
        };
        pairs.iter().map(row).collect::<BTreeMap<_, BTreeSet<_>>>()
    };
    let tree = of(&[("up", &["error", "mend"]), ("mend", &["error"])]);
    assert_eq!(first_circle(&tree), None);
    let round = of(&[
        ("down", &["error", "up"]),
        ("mend", &["records"]),
        ("records", &["up"]),
        ("up", &["mend"]),
    ]);
    let found = first_circle(&round).expect("a circle");
    assert_eq!(found, ["up", "mend", "records"]);
}
