use std::path::Path;

use super::{
    faults,
    rules::{Package, check},
    source::read,
};

fn faults_of(package: Package, inside: &str, text: &str) -> Vec<String> {
    let file = read(Path::new(inside), text).expect("Rust");
    check(package, inside, &file)
}

#[test]
fn todays_tree_keeps_the_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    assert_eq!(faults(root).expect("readable"), Vec::<String>::new());
}

#[test]
fn imports_go_down_only() {
    let library = |inside, text| faults_of(Package::Library, inside, text);
    for (inside, text) in [
        ("reconcile/plan/mod.rs", "use crate::netlink::Netlink;"),
        ("reconcile/plan/mod.rs", "use super::super::netlink;"),
        ("netlink/mod.rs", "fn f() { crate::provision::up(); }"),
        (
            "datapath/mod.rs",
            "use crate::{lock::Lock, provision::{self, up}};",
        ),
        (
            "datapath/maps.rs",
            "macro_rules! m { () => { crate::provision::up() }; }",
        ),
        ("new.rs", "use crate::netns::Netns;"),
    ] {
        assert_eq!(
            library(inside, text).len(),
            1 + usize::from(text.contains("self, up")),
            "{text}"
        );
    }
    for (inside, text) in [
        (
            "provision/up.rs",
            "use crate::{Ends, reconcile::{self, Plan}};",
        ),
        (
            "reconcile/plan/mod.rs",
            "use super::{Op, super::model};\nuse crate::model::Name;",
        ),
        (
            "netlink/mod.rs",
            "#[cfg(test)] mod t { use crate::provision; }",
        ),
        ("lib.rs", "pub use crate::provision;"),
    ] {
        assert_eq!(library(inside, text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn crates_io_and_prints_have_their_places() {
    for (inside, text) in [
        ("provision/up.rs", "use aya::Ebpf;"),
        ("probe/mod.rs", "fn f() { netlink_sys::Socket::new(0); }"),
        ("reconcile/mod.rs", "use std::fs;"),
        ("model/mod.rs", "fn f() { std::env::args(); }"),
        ("counters/mod.rs", "fn f() { println!(\"x\"); }"),
        ("counters/mod.rs", "use anyhow::Result;"),
    ] {
        let found = faults_of(Package::Library, inside, text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].starts_with(&format!("{inside}:1: ")), "{found:?}");
    }
    assert_eq!(
        faults_of(Package::Library, "datapath/mod.rs", "use aya::Ebpf;"),
        [""; 0]
    );
    assert_eq!(
        faults_of(Package::Bench, "run.rs", "fn f() { eprintln!(); }").len(),
        1
    );
    assert_eq!(
        faults_of(Package::Command, "up.rs", "fn f() { eprintln!(); }"),
        [""; 0]
    );
}
