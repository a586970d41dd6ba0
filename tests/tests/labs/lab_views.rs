//! What `stats` and `show` show: sums, choices, widths and colours, of a lab with traffic of both families.

use std::process::Command;

use netpath_tests::{
    binary,
    command::{assert_ends, run_netpath, stdout},
    lab::{Lab, TWO_NODES, addresses, on_a_machine},
};
use serde_json::Value;

const STATS: &str = include_str!("../../../docs/schema/stats.json");
const SHOW: &str = include_str!("../../../docs/schema/show.json");

fn document(schema: &str, arguments: &[&str]) -> Value {
    let output = run_netpath(arguments);
    assert_ends(&output, 0, &[]);
    let document = serde_json::from_slice(&output.stdout).expect("JSON");
    let schema = serde_json::from_str(schema).expect("JSON");
    jsonschema::draft202012::validate(&schema, &document)
        .unwrap_or_else(|error| panic!("{error}: {document}"));
    document
}

/// Packets and bytes of the hops for which this holds.
fn sum(hops: &Value, holds: impl Fn(&Value) -> bool) -> [u64; 2] {
    let rows = hops["hops"].as_array().expect("hops").iter();
    let rows: Vec<&Value> = rows.filter(|row| holds(row)).collect();
    ["packets", "bytes"].map(|key| rows.iter().filter_map(|row| row[key].as_u64()).sum())
}

fn count(count: &Value) -> [u64; 2] {
    ["packets", "bytes"].map(|key| count[key].as_u64().expect("a number"))
}

fn with_traffic() -> Lab {
    let lab = Lab::up(TWO_NODES);
    for family in [0, 1] {
        lab.assert_reaches("a1", addresses("a2")[family], 63);
        lab.assert_reaches("a1", addresses("b1")[family], 62);
    }
    lab
}

#[test]
fn sums_are_those_of_the_hops() {
    let lab = with_traffic();
    let node = lab.name("A");
    let of = |arguments: &[&str]| {
        let all: Vec<&str> = ["stats", "--node", &node, "-j"]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        document(STATS, &all)
    };
    // Nothing moves that a test did not send but what the kernel says of itself: taken again where that came between.
    let (hops, interfaces, endpoints, reasons) = loop {
        let before = of(&[]);
        let sums = ["interface", "endpoint", "reason"].map(|by| of(&["--by", by]));
        if of(&[]) == before {
            let [interfaces, endpoints, reasons] = sums;
            break (before, interfaces, endpoints, reasons);
        }
    };
    let group = |document: &Value, name: &str| {
        let groups = document["groups"].as_array().expect("groups").iter();
        let mut named = groups.filter(|group| group["name"] == name);
        named
            .next()
            .unwrap_or_else(|| panic!("no {name}: {document}"))
            .clone()
    };
    let went = |row: &Value| row["outcome"] != "punt" && row["outcome"] != "drop";
    let is_its = |group: &Value, dev: &str, name: &str| {
        let from = sum(&hops, |row| {
            row["ingress"] == dev && row["outcome"] != "deliver"
        });
        assert_eq!(count(&group["from"]), from, "from {name}");
        let to = sum(&hops, |row| row["egress"] == dev && went(row));
        assert_eq!(count(&group["to"]), to, "to {name}");
        let parts = ["redirected", "punted", "dropped"];
        let parts = parts.map(|key| group[key].as_u64().expect("a number"));
        assert_eq!(parts.iter().sum::<u64>(), from[0], "{name}");
    };
    let interfaces = interfaces["groups"].as_array().expect("groups");
    assert!(interfaces.len() >= 3, "{interfaces:?}");
    for interface in interfaces {
        let dev = interface["name"].as_str().expect("a name");
        is_its(interface, dev, dev);
    }
    for (endpoint, dev) in [("a1", "va1"), ("a2", "va2")] {
        is_its(&group(&endpoints, &lab.name(endpoint)), dev, endpoint);
    }
    let a1 = group(&endpoints, &lab.name("a1"));
    // Three echo requests of each family to each of two, and the answers.
    assert_eq!(
        (&a1["redirected"], a1["to"]["packets"].as_u64() >= Some(12)),
        (&12.into(), true)
    );
    let reasons = reasons["groups"].as_array().expect("groups");
    let peers = reasons
        .iter()
        .find(|group| group["outcome"] == "redirect_peer")
        .expect("redirects");
    assert_eq!(
        count(&peers["from"]),
        sum(&hops, |row| row["outcome"] == "redirect_peer")
    );
}

#[test]
fn one_endpoints_hops_sorted_and_in_bits() {
    let lab = with_traffic();
    let (a2, node) = (lab.name("a2"), lab.name("A"));
    let hops = document(
        STATS,
        &["stats", "--endpoint", &a2, "-j", "--sort", "packets"],
    );
    let rows = hops["hops"].as_array().expect("hops");
    assert!(
        !rows.is_empty()
            && rows
                .iter()
                .all(|row| row["ingress"] == "va2" || row["egress"] == "va2"),
        "{hops}"
    );
    let packets: Vec<u64> = rows
        .iter()
        .filter_map(|row| row["packets"].as_u64())
        .collect();
    assert!(packets.is_sorted_by(|a, b| a >= b), "{packets:?}");
    assert_ends(
        &run_netpath(&["stats", "--endpoint", "nobody"]),
        1,
        &["no endpoint nobody is up"],
    );

    let table = |arguments: &[&str]| {
        let output = run_netpath(arguments);
        assert_ends(&output, 0, &[]);
        stdout(&output)
    };
    let text = table(&["stats", "--node", &node, "--by", "endpoint", "--bits"]);
    let last = text.lines().last().expect("a sum");
    assert!(
        text.contains("BITS") && !text.contains("BYTES") && last.starts_with("total"),
        "{text}"
    );
}

#[test]
fn what_is_shown_fits_80_columns() {
    let lab = with_traffic();
    let [node, a1] = ["A", "a1"].map(|name| lab.name(name));
    let name = node.as_str();
    for arguments in [
        &["show", name][..],
        &["show", name, "--brief"],
        &["show", &a1],
        &["stats", "--node", name],
        &["stats", "--node", name, "--by", "endpoint"],
        &["stats", "--node", name, "--by", "interface"],
        &["maps", "--node", name],
        &["maps", "dump", "endpoints_v6", "--node", name],
    ] {
        let output = run_netpath(arguments);
        assert_ends(&output, 0, &[]);
        let text = stdout(&output);
        assert!(!text.is_empty(), "{arguments:?}");
        for line in text.lines() {
            assert!(
                line.chars().count() <= 80,
                "{arguments:?}: {line:?}\n{text}"
            );
        }
    }
    let wide = stdout(&run_netpath(&["show", name, "-o", "wide"]));
    assert!(
        wide.contains("MAC") && wide.lines().any(|line| line.len() > 80),
        "{wide}"
    );
    assert!(!stdout(&run_netpath(&["show", name])).contains("MAC"));
}

#[test]
fn show_takes_names() {
    let lab = Lab::up(TWO_NODES);
    let [node, other, a1] = ["A", "B", "a1"].map(|name| lab.name(name));
    let shown = document(SHOW, &["show", &a1, "-j"]);
    assert_eq!(shown["nodes"].as_array().map(Vec::len), Some(1));
    let only = &shown["nodes"][0];
    assert_eq!(
        (&only["name"], only["endpoints"].as_array().map(Vec::len)),
        (&node.clone().into(), Some(1))
    );
    assert_eq!(only["endpoints"][0]["name"], a1.as_str());
    let shown = document(SHOW, &["show", &other, "-j"]);
    assert_eq!(
        shown["nodes"][0]["endpoints"].as_array().map(Vec::len),
        Some(2)
    );
    let brief = stdout(&run_netpath(&["show", &node, &other, "--brief"]));
    assert_eq!(brief.lines().count(), 3, "{brief}");
    assert_ends(
        &run_netpath(&["show", &node, "nobody"]),
        1,
        &["nobody is up"],
    );
}

/// A name that is nowhere may be on a node that is not seen from here: it is said where that is.
#[test]
fn a_name_on_a_node_of_another_namespace_is_told_with_where_that_is() {
    on_a_machine(|lab| {
        lab.converge();
        let mut elsewhere = Command::new("nsenter");
        elsewhere.arg("--net=/proc/1/ns/net").arg(binary());
        let output = elsewhere.args(["show", &lab.name("a1")]).output();
        let way = format!("nsenter --net=/run/netns/{} netpath", lab.name("H"));
        let missing = format!("no node or endpoint {} is up", lab.name("a1"));
        assert_ends(&output.expect("start"), 1, &[&way, &missing]);
    });
}

/// With the command that makes it, and not another file's.
#[test]
fn a_node_that_is_not_up_is_told_with_its_file() {
    let lab = Lab::prepare(TWO_NODES);
    let path = std::env::temp_dir().join(format!("{}-views.toml", lab.prefix()));
    std::fs::write(&path, lab.text()).expect("a file");
    let file = path.display().to_string();
    let output = run_netpath(&["show", "-f", &file]);
    std::fs::remove_file(&path).expect("its own file");
    let cure = format!(
        "node {} is not up: `netpath up -f {file}` makes it",
        lab.name("B")
    );
    assert_ends(&output, 3, &[&cure]);
}

#[test]
fn drift_is_coloured_as_asked() {
    let lab = Lab::up(TWO_NODES);
    let node = lab.name("A");
    lab.ip("A", "link set va1 down");
    let shown = |choice: &[&str], no_color: &str| {
        let mut netpath = Command::new(binary());
        netpath
            .args(["show", &node])
            .args(choice)
            .env("NO_COLOR", no_color);
        let output = netpath.output().expect("start netpath");
        assert_ends(&output, 3, &["interface va1 is down"]);
        stdout(&output)
    };
    const RED: &str = "\x1b[31mdrift\x1b[0m";
    // The endpoint and its node.
    assert_eq!(shown(&["--color", "always"], "1").matches(RED).count(), 2);
    for (choice, no_color) in [
        (&[][..], ""),
        (&["--color", "never"], ""),
        (&["--color=auto"], "1"),
    ] {
        let text = shown(choice, no_color);
        assert!(text.contains("drift") && !text.contains('\x1b'), "{text:?}");
    }
}
