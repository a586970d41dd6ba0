//! A map entry that somebody took away or altered is drift: `show` names it and `up` mends it.

use std::{fs, sync::atomic::AtomicBool};

use aya::Pod;
use netpath::{
    Ends as _,
    datapath::{AttachMode, DatapathError, Maps, Table, Writable, Writer, attach_mode},
    lock::TopologyLock,
    provision::{self, FastPath, Remaining, Removed, Selection, Unproven},
};
use netpath_common::{EndpointId, FeatureBits, Ifindex};
use netpath_tests::lab::{Lab, TWO_NODES, addresses, on_a_machine, run};

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

/// Numbers that nothing but the maps themselves keeps are compared with what they follow from.
#[test]
fn altered_numbers_are_told_and_mended() {
    type Alter = fn(&Writer<'_>) -> Result<(), DatapathError>;
    let cases: [(&str, Alter); 10] = [
        ("interfaces", |maps| {
            alter(&maps.interfaces, |entry| entry.name = [0xff; 16])
        }),
        ("features", |maps| {
            maps.features.set(&FeatureBits::default())
        }),
        ("features", |maps| {
            maps.features.update(|features| features.route_mtu = 1280)
        }),
        ("ids", |maps| {
            maps.ids.update(|ids| ids.next_endpoint_id = EndpointId(1))
        }),
        ("settings", |maps| {
            maps.settings.update(|settings| settings.max_endpoints = 7)
        }),
        ("settings", |maps| {
            maps.settings.update(|settings| settings.max_routes += 1)
        }),
        ("uplink_records", |maps| {
            alter(&maps.uplink_records, |record| record.ifindex = Ifindex(0))
        }),
        ("uplink_records", |maps| {
            alter(&maps.uplink_records, |record| record.ifindex.0 += 1)
        }),
        ("uplink_records", |maps| {
            alter(&maps.uplink_records, |record| record.wire_cookie += 1)
        }),
        ("endpoint_records", |maps| {
            alter(&maps.endpoint_records, |record| record.host_ifindex.0 += 1)
        }),
    ];
    let prefixes = "host_dev = \"va1\", prefixes = [\"10.9.0.0/28\"]";
    let lab = Lab::up(&TWO_NODES.replacen("host_dev = \"va1\"", prefixes, 1));
    for (map, alter) in cases {
        let before = entries(&lab, map);
        {
            let datapath = lab.datapath("A");
            let lock = TopologyLock::take(&AtomicBool::new(false)).expect("the lock");
            alter(&datapath.writer(&lock)).expect("write");
        }
        assert_ne!(entries(&lab, map), before, "{map}");
        let words = format!("in map {map} was altered");
        let plan = lab.plan();
        assert!(
            plan.iter().any(|line| line.contains(&words)),
            "{map}: {plan:?}"
        );
        assert_told_and_mended(&lab, map);
        assert_eq!(entries(&lab, map), before, "{map}");
    }
}

/// Alters the first entry of a map.
fn alter<K: Pod + Ord, V: Pod>(
    map: &Writable<'_, Table<K, V>>,
    with: impl FnOnce(&mut V),
) -> Result<(), DatapathError> {
    let (key, mut value) = map.all()?.pop_first().expect("an entry");
    with(&mut value);
    map.set(&key, &value)
}

/// Every map of a node.
fn maps() -> impl Iterator<Item = &'static str> {
    netpath::datapath::map_names()
}

fn map_id(lab: &Lab, map: &'static str) -> u32 {
    let info = Maps::info(&lab.name("A"), map);
    info.unwrap_or_else(|error| panic!("{map}: {error}")).id
}

/// What `show` says of node A, which cannot be read.
fn unreadable(lab: &Lab, map: &str) {
    let nodes = provision::observe().unwrap_or_else(|error| panic!("{map}: {error}"));
    let [a, b] = ["A", "B"].map(|name| {
        let mut rows = nodes.iter().filter(|node| node.name == lab.name(name));
        rows.next()
            .unwrap_or_else(|| panic!("{map}: no row of {name}"))
    });
    assert_eq!(a.fast_path, FastPath::Unknown, "{map}");
    assert!(format!("{a:?}").contains(map), "{map}: {a:?}");
    assert_eq!(b.endpoints.len(), 2, "{map}");
}

/// The programs hold every map, so that nothing is lost with a pin.
#[test]
fn a_missing_map_pin_is_told_and_made_again() {
    let lab = Lab::up(TWO_NODES);
    for map in maps() {
        let id = map_id(&lab, map);
        fs::remove_file(path(&lab, map)).expect("unpin");
        unreadable(&lab, map);
        let told = format!("~ node A: pins that were gone: {map}");
        assert_eq!(lab.plan(), [told.as_str()], "{map}");
        assert_eq!(lab.converge(), [told], "{map}");
        assert_eq!(map_id(&lab, map), id, "{map}");
        assert_works(&lab);
    }
    // All of them at once, and the programs: links hold those. Filters do too, but have no pins to find them by.
    let at_once: &[&[&str]] = match attach_mode().expect("the kernel answers") {
        AttachMode::Tcx => &[&["maps", "programs"]],
        AttachMode::Clsact => &[&["maps"], &["programs"]],
    };
    for directories in at_once {
        for directory in *directories {
            unpin_all(&lab, directory);
        }
        assert_eq!(lab.converge().len(), 1);
        assert_works(&lab);
    }
    fs::remove_file(path(&lab, "endpoint_records")).expect("unpin");
    // Removes all of it.
    lab.down();
}

/// Whole directories of pins: what is in them is made again, and so are they.
#[test]
fn directories_of_pins_that_are_gone_are_made_again() {
    for directories in [
        &["links"][..],
        &["programs"],
        &["programs", "links"],
        &["maps"],
    ] {
        let lab = Lab::up(TWO_NODES);
        for directory in directories {
            fs::remove_dir_all(directory_of(&lab, directory)).expect("remove");
        }
        assert_ne!(lab.plan(), Vec::<String>::new(), "{directories:?}");
        lab.converge();
        assert_works(&lab);
    }
    // A switch attaches, too.
    let lab = Lab::up(TWO_NODES);
    fs::remove_dir_all(directory_of(&lab, "links")).expect("remove");
    assert!(!lab.fast_path(true, "A", None).is_empty());
    assert_works(&lab);
}

fn directory_of(lab: &Lab, directory: &str) -> String {
    format!("/sys/fs/bpf/netpath/{}/{directory}", lab.name("A"))
}

fn unpin_all(lab: &Lab, directory: &str) {
    for pin in fs::read_dir(directory_of(lab, directory)).expect("pins") {
        fs::remove_file(pin.expect("pin").path()).expect("unpin");
    }
}

/// Takes all programs and one map from node A: then what was in the map is gone.
fn lose(lab: &Lab, map: &str) {
    for directory in ["links", "programs"] {
        unpin_all(lab, directory);
    }
    fs::remove_file(path(lab, map)).expect("unpin");
}

fn down(lab: &Lab) -> Removed {
    let removed = provision::down_unless(&lab.nodes(), &AtomicBool::new(false), &mut |_| {});
    removed.unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_map_that_is_lost_is_told_and_the_rest_removed() {
    for map in maps().filter(|map| *map != "meta") {
        let lab = Lab::up(TWO_NODES);
        lose(&lab, map);
        unreadable(&lab, map);
        let error = lab.try_converge().expect_err("a map is lost");
        assert!(error.is_refusal(), "{map}: {error}");
        let text = error.to_string();
        assert!(
            text.contains(map) && text.contains("netpath down"),
            "{map}: {text}"
        );
        let remaining = down(&lab).remaining;
        let expected = match map {
            "endpoint_records" => vec![
                format!("ip netns del {}", lab.name("a1")),
                format!("ip netns del {}", lab.name("a2")),
            ],
            "uplink_records" => {
                vec!["ip netns del netpath-wire-..., where no other node is on the wire".to_owned()]
            }
            "route_records" => Vec::new(),
            _ => {
                assert_eq!(remaining, [], "{map}");
                lab.assert_nothing_left();
                continue;
            }
        };
        let unproven = Unproven {
            node: lab.name("A"),
            lost: vec![map],
            damaged: Vec::new(),
            commands: expected,
        };
        assert_eq!(remaining, [Remaining::Unproven(unproven)], "{map}");
        without_wire(&lab, map);
        let left = lab.leftovers().len();
        for command in ["a1", "a2"].iter().filter(|_| map == "endpoint_records") {
            run(&format!("ip netns del {}", lab.name(command)));
        }
        if map == "endpoint_records" {
            assert_eq!(left, 2);
        }
        lab.assert_nothing_left();
    }
}

/// A record that cannot be read is told by map and key, and does not keep the rest from being removed.
#[test]
fn a_damaged_record_is_told_and_the_rest_removed() {
    type Alter = fn(&Writer<'_>) -> Result<(), DatapathError>;
    let cases: [(&str, &str, Alter); 7] = [
        ("route_records", "10.0.3.0/24", |maps| {
            alter(&maps.route_records, |record| record.via.length = 34)
        }),
        ("route_records", "10.0.3.0/34", |maps| {
            let (mut key, value) = maps.route_records.all()?.pop_first().expect("one");
            maps.route_records.remove(&key)?;
            key.length = 34;
            maps.route_records.set(&key, &value)
        }),
        ("endpoint_records", "a1", |maps| {
            alter(&maps.endpoint_records, |record| record.origin = 99)
        }),
        ("endpoint_records", "a1", |maps| {
            alter(&maps.endpoint_records, |record| record.host_dev[1] = 0xff)
        }),
        ("endpoint_records", "a1", |maps| {
            alter(&maps.endpoint_records, |record| {
                record.addresses[1].family = 5
            })
        }),
        ("uplink_records", "up0", |maps| {
            alter(&maps.uplink_records, |record| record.wire[0] = 0xff)
        }),
        ("uplink_records", "up0", |maps| {
            alter(&maps.uplink_records, |record| {
                record.addresses[0].length = 64
            })
        }),
    ];
    for (map, key, alter) in cases {
        let lab = Lab::up(TWO_NODES);
        {
            let datapath = lab.datapath("A");
            let lock = TopologyLock::take(&AtomicBool::new(false)).expect("the lock");
            alter(&datapath.writer(&lock)).expect("write");
        }
        unreadable(&lab, map);
        let selection = Selection {
            node: Some(lab.name("A")),
            ..Selection::default()
        };
        let errors = [
            lab.try_converge().expect_err("a refusal"),
            provision::plan(lab.topology(), &Default::default()).expect_err("a refusal"),
            provision::set_fast_path(false, &selection, &mut |_| {}).expect_err("a refusal"),
        ];
        for error in errors {
            assert!(error.is_refusal(), "{map}: {error}");
            let text = error.to_string();
            for word in [map, key, "netpath down"] {
                assert!(text.contains(word), "{word}: {text}");
            }
        }
        // The other node is none the worse.
        for dst in addresses("b2") {
            lab.assert_reaches("b1", dst, 63);
        }
        let remaining = down(&lab).remaining;
        let [Remaining::Unproven(unproven)] = remaining.as_slice() else {
            panic!("{map}: {remaining:?}");
        };
        let [told] = unproven.damaged.as_slice() else {
            panic!("{map}: {unproven:?}");
        };
        assert!(told.contains(map) && told.contains(key), "{told}");
        if map == "endpoint_records" {
            let command = format!("ip netns del {}", lab.name("a1"));
            assert_eq!(unproven.commands, [command.as_str()]);
            run(&command);
        }
        without_wire(&lab, map);
        lab.assert_nothing_left();
    }
}

/// Where the uplinks' records are gone, the wire may be left, as is told: it goes with the other node only if the kernel
/// is done with this one's port by then.
fn without_wire(lab: &Lab, map: &str) {
    let wire = lab.wire_namespace("w");
    if map == "uplink_records" && fs::exists(format!("/run/netns/{wire}")).expect("asked") {
        run(&format!("ip netns del {wire}"));
    }
}

/// A machine keeps what no record proves netpath's.
#[test]
fn on_a_machine_nothing_is_guessed() {
    on_a_machine(|lab| {
        lab.converge();
        let directory = format!("/sys/fs/bpf/netpath/{}", lab.nodes()[0]);
        for place in ["links", "programs"] {
            for pin in fs::read_dir(format!("{directory}/{place}")).expect("pins") {
                fs::remove_file(pin.expect("pin").path()).expect("unpin");
            }
        }
        fs::remove_file(format!("{directory}/maps/endpoint_records")).expect("unpin");
        let removed = down(lab);
        let [Remaining::Unproven(unproven)] = removed.remaining.as_slice() else {
            panic!("{removed:?}");
        };
        assert_eq!(unproven.commands.len(), 4, "{unproven:?}");
        assert!(run("ip -o link").contains("va1"));
        for command in &unproven.commands {
            run(command);
        }
        lab.assert_nothing_left();
    });
}

/// Without its identity nobody can say whose a namespace is.
#[test]
fn without_identity_the_steps_are_named() {
    let lab = Lab::up(TWO_NODES);
    lose(&lab, "meta");
    let error = provision::down(&lab.nodes(), &mut |_| {}).expect_err("a refusal");
    let text = error.to_string();
    assert!(
        text.contains("rm -r") && text.contains("ip netns"),
        "{text}"
    );
    run(&format!("rm -r {}", directory_of(&lab, "")));
    for place in ["A", "a1", "a2"] {
        run(&format!("ip netns del {}", lab.name(place)));
    }
    // A node that could not be read might have been on the wire.
    run(&format!("ip netns del {}", lab.wire_namespace("w")));
    lab.assert_nothing_left();
}
