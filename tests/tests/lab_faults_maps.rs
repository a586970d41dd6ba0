//! A map entry that somebody took away or altered is drift: `show` names it and `up` mends it.

use std::fs;

use netpath::provision::{self, FastPath};
use netpath_tests::lab::{Lab, TWO_NODES, addresses};

const MAPS: [&str; 6] = [
    "endpoints_v4",
    "endpoints_v6",
    "routes_v4",
    "routes_v6",
    "interfaces",
    "devices",
];

fn path(lab: &Lab, map: &str) -> String {
    format!("/sys/fs/bpf/netpath/{}/maps/{map}", lab.name("A"))
}

/// A map's entries, as bpftool takes them: key and value, each byte by byte.
fn entries(lab: &Lab, map: &str) -> Vec<(String, String)> {
    let text = lab.run(
        "A",
        &format!("bpftool -j map dump pinned {}", path(lab, map)),
    );
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let bytes = |value: &serde_json::Value| {
        let bytes = value.as_array().expect("bytes").iter();
        let bytes = bytes.map(|byte| byte.as_str().expect("text").trim_start_matches("0x"));
        bytes.collect::<Vec<_>>().join(" ")
    };
    let entries = json.as_array().expect("entries").iter();
    entries
        .map(|entry| (bytes(&entry["key"]), bytes(&entry["value"])))
        .collect()
}

fn assert_works(lab: &Lab) {
    assert_eq!(lab.plan(), Vec::<String>::new());
    for (from, to, ttl) in [("a1", "a2", 63), ("b1", "a2", 62), ("a1", "b2", 62)] {
        for dst in addresses(to) {
            lab.assert_reaches(from, dst, ttl);
        }
    }
}

/// A pin that is under another name, until this is dropped.
struct Aside(String);

impl Aside {
    fn put(pin: &str) -> Self {
        fs::rename(pin, format!("{pin}_aside")).expect("rename");
        Self(pin.to_owned())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let back = fs::rename(format!("{}_aside", self.0), &self.0);
        if let Err(error) = back {
            eprintln!("{}: {error}", self.0);
        }
    }
}

/// `show` says so, and one `up` mends it.
fn assert_told_and_mended(lab: &Lab, what: &str) {
    let nodes = provision::observe().unwrap_or_else(|error| panic!("{what}: {error}"));
    let node = nodes.iter().find(|node| node.name == lab.name("A"));
    let node = node.unwrap_or_else(|| panic!("{what}: no row"));
    let is_told = !node.drift.is_empty()
        || node.uplinks.iter().any(|uplink| !uplink.drift.is_empty())
        || node
            .endpoints
            .iter()
            .any(|endpoint| !endpoint.drift.is_empty());
    assert!(is_told, "{what}: {node:?}");
    assert_ne!(lab.plan(), Vec::<String>::new(), "{what}");
    lab.converge();
    assert_works(lab);
}

#[test]
fn an_emptied_map_is_told_and_mended() {
    for map in MAPS {
        let lab = Lab::up(TWO_NODES);
        let before = entries(&lab, map);
        assert!(!before.is_empty(), "{map}");
        for (key, _) in &before {
            let line = format!(
                "bpftool map delete pinned {} key hex {key}",
                path(&lab, map)
            );
            lab.run("A", &line);
        }
        assert_told_and_mended(&lab, map);
        assert_eq!(entries(&lab, map), before, "{map}");
    }
}

#[test]
fn an_altered_entry_is_told_and_mended() {
    // A device map takes only devices, so another one is no damage that the rest does not have.
    for map in &MAPS[..5] {
        let lab = Lab::up(TWO_NODES);
        let before = entries(&lab, map);
        let (key, value) = before.first().expect("an entry");
        // The first byte is part of a number in each of them.
        let altered = format!("7f{}", &value[2..]);
        assert_ne!(*value, altered);
        let line = format!(
            "bpftool map update pinned {} key hex {key} value hex {altered}",
            path(&lab, map)
        );
        lab.run("A", &line);
        assert_told_and_mended(&lab, map);
    }
}

/// A map that is pinned nowhere may be gone for good: the node is one row that says so, and nothing is made over it.
#[test]
fn a_missing_map_pin_is_told_and_refused() {
    for map in MAPS.iter().chain(&["hops", "endpoint_records"]) {
        let lab = Lab::up(TWO_NODES);
        let pin = path(&lab, map);
        let aside = Aside::put(&pin);
        let nodes = provision::observe().unwrap_or_else(|error| panic!("{map}: {error}"));
        let [a, b] = ["A", "B"].map(|name| {
            let mut rows = nodes.iter().filter(|node| node.name == lab.name(name));
            rows.next()
                .unwrap_or_else(|| panic!("{map}: no row of {name}"))
        });
        assert_eq!(a.fast_path, FastPath::Unknown, "{map}");
        assert!(
            a.drift.iter().any(|finding| finding.problem.contains(map)),
            "{map}: {a:?}"
        );
        assert_eq!(b.endpoints.len(), 2, "{map}");
        let error = lab.try_converge().expect_err("a map is missing");
        assert!(error.to_string().contains(map), "{map}: {error}");
        drop(aside);
        assert_eq!(lab.plan(), Vec::<String>::new(), "{map}");
        assert_works(&lab);
    }
}
