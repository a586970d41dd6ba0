//! A directory of an older ABI version, and maps that are too small: made anew under running traffic.

use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use netpath::{
    Ends as _,
    datapath::{Datapath, DatapathError, Maps},
    probe::{
        measure::StopOnDrop,
        stream::{StreamOptions, udp_stream},
    },
    provision,
};
use netpath_common::{
    ABI_VERSION, CONNECTIONS_DEFAULT, EndpointRecord, HopCounter, HopKey, Identity, Ids, NameKey,
    PrefixBytes, RouteRecord, Settings, UplinkRecord,
};
use netpath_tests::{
    aged::{self, Version},
    lab::{self, Lab, TWO_NODES, addresses},
    netpath as binary,
};
use serde_json::Value;

#[test]
#[ignore = "a process for the other tests"]
fn helper() {
    lab::helper();
}

/// All that is kept of a node.
#[derive(Debug, PartialEq)]
struct Kept {
    identity: Identity,
    settings: Settings,
    ids: Ids,
    features: u32,
    endpoints: BTreeMap<NameKey, EndpointRecord>,
    uplinks: BTreeMap<NameKey, UplinkRecord>,
    routes: BTreeMap<PrefixBytes, RouteRecord>,
    addresses: Vec<String>,
    prefixes: Vec<String>,
    devices: Vec<String>,
    interfaces: Vec<String>,
}

fn debug<T: std::fmt::Debug>(entries: impl IntoIterator<Item = T>) -> Vec<String> {
    let text = |entry| format!("{entry:?}");
    entries.into_iter().map(text).collect()
}

/// Route records that version 2 had room for.
const ROUTE_RECORDS_OF_TWO: u32 = 131_072;

/// A lab whose nodes have the rooms that they had when a file could not say how large.
fn with_all_rooms() -> Lab {
    let rooms = format!("[[node]]\nmax_connections = {CONNECTIONS_DEFAULT}\n");
    Lab::up(&TWO_NODES.replace("[[node]]\n", &rooms))
}

fn kept(lab: &Lab, node: &str) -> Kept {
    let maps = &lab.datapath(node).maps;
    let mut settings = maps.settings.get().expect("settings");
    // Each version of this test is brought up to date behind version 2, which had room for more.
    settings.max_route_records = settings.max_route_records.max(ROUTE_RECORDS_OF_TWO);
    Kept {
        identity: maps.meta.get().expect("meta"),
        settings,
        ids: maps.ids.get().expect("ids"),
        features: maps.features.get().expect("features").bits,
        endpoints: maps.endpoint_records.all().expect("records"),
        uplinks: maps.uplink_records.all().expect("records"),
        routes: maps.route_records.all().expect("records"),
        addresses: debug(maps.endpoints().expect("endpoints")),
        prefixes: debug(maps.routes().expect("routes")),
        devices: debug(maps.devices.all().expect("devices")),
        interfaces: debug(maps.interfaces.all().expect("interfaces")),
    }
}

fn hops(lab: &Lab, node: &str) -> BTreeMap<HopKey, HopCounter> {
    lab.datapath(node).maps.hops().expect("hops")
}

/// Packets that went from endpoint to endpoint of a node.
fn redirected(lab: &Lab, node: &str) -> u64 {
    let hops = hops(lab, node);
    let between = hops.iter().filter(|(key, _)| key.egress.0 != 0);
    between.map(|(_, counter)| counter.packets).sum()
}

fn map_id(lab: &Lab, node: &str, map: &'static str) -> u32 {
    Maps::info(&lab.name(node), map).expect(map).id
}

/// Has a stream between a1 and a2 running while `work` is done; not a packet may be lost.
fn under_traffic<T>(lab: &Lab, work: impl FnOnce() -> T) -> (T, u64) {
    let (a1, a2) = (lab.netns("a1"), lab.netns("a2"));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let stream = scope.spawn(|| {
            let mut sent = 0;
            while !done.load(Ordering::Acquire) {
                let options = StreamOptions {
                    packets: 500,
                    window: Some(4),
                    deadline: Duration::from_secs(60),
                    ..StreamOptions::new(addresses("a1")[0], addresses("a2")[0])
                };
                let report = udp_stream(&a1, &a2, &options).expect("stream");
                assert!(report.is_exact(500), "{report:?}");
                sent += 500;
            }
            sent
        });
        let finish = StopOnDrop(&done);
        let before = redirected(lab, "A");
        let result = {
            while redirected(lab, "A") < before + 100 {
                thread::yield_now();
            }
            work()
        };
        drop(finish);
        (result, stream.join().expect("the stream"))
    })
}

#[test]
fn an_older_directory_is_brought_up_to_date_under_traffic() {
    let lab = with_all_rooms();
    for version in Version::ALL {
        brought_up_to_date(&lab, version);
    }
}

fn brought_up_to_date(lab: &Lab, version: Version) {
    for dst in addresses("b1") {
        lab.assert_reaches("a1", dst, 62);
    }
    let before = kept(lab, "A");
    assert!(
        !before.endpoints.is_empty() && !before.uplinks.is_empty() && !before.routes.is_empty()
    );
    let counted = hops(lab, "A");
    let ids = ["hops", "hop_overflow", "devices"].map(|map| (map, map_id(lab, "A", map)));
    // Adding to the sum: the stream's own packets start here.
    let redirected_before = redirected_peer(lab);
    let ((), sent) = under_traffic(lab, || {
        aged::age(lab.datapath("A"), version);
        assert!(matches!(
            Datapath::open(&lab.name("A")),
            Err(DatapathError::Older {
                found,
                expected: ABI_VERSION,
                ..
            }) if found == version.number()
        ));
        let (from, to) = (version.number(), ABI_VERSION);
        let told = format!("~ node A: its maps, from ABI version {from} to {to}");
        assert_eq!(lab.plan(), [told.as_str()]);
        // It is new in version 7, which what is to come cannot be asked about.
        let new = "~ uplink up0 on A: program to_uplink is not attached to up0";
        let new = (!version.has_to_uplink()).then_some(new);
        assert_eq!(
            lab.converge(),
            [Some(told.as_str()), new]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
        );
    });
    assert_eq!(kept(lab, "A"), before);
    for (map, id) in ids {
        assert_eq!(map_id(lab, "A", map), id, "{map} is the same map");
    }
    // Every packet of the stream and none else, on the counters that were there.
    assert_eq!(redirected_peer(lab) - redirected_before, sent);
    let after = hops(lab, "A");
    for (key, counter) in counted {
        assert!(after[&key].packets >= counter.packets, "{key:?}");
    }
    assert_eq!(lab.plan(), Vec::<String>::new());
    for dst in addresses("b1") {
        lab.assert_reaches("a1", dst, 62);
    }
}

/// Packets of the stream: from a1 to a2, both on node A.
fn redirected_peer(lab: &Lab) -> u64 {
    let interface = |endpoint| lab.record("A", endpoint).host_ifindex;
    let key = HopKey::new(
        interface("a1"),
        interface("a2"),
        netpath_common::Verdict::RedirectPeer,
    );
    hops(lab, "A")
        .get(&key)
        .map_or(0, |counter| counter.packets)
}

#[test]
fn killed_at_any_moment_it_forwards_on_and_the_next_run_finishes() {
    const MOMENTS: u32 = 12;
    let lab = with_all_rooms();
    let before = kept(&lab, "A");
    let quiet = || {
        let mut command = lab.command("up");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    aged::age(lab.datapath("A"), Version::Two);
    let begun = Instant::now();
    assert!(quiet().status().expect("start").success());
    let time = begun.elapsed();
    for moment in 0..=MOMENTS {
        let version = Version::ALL[moment as usize % Version::ALL.len()];
        aged::age(lab.datapath("A"), version);
        let mut child = quiet().spawn().expect("start");
        thread::sleep(time * moment / MOMENTS);
        // SIGKILL; it may be done already.
        child.kill().expect("kill");
        child.wait().expect("wait");
        for (from, to, ttl) in [("a1", "a2", 63), ("a1", "b1", 62)] {
            lab.assert_reaches(from, addresses(to)[0], ttl);
        }
        lab.converge();
        assert_eq!(kept(&lab, "A"), before, "moment {moment}");
        assert_eq!(lab.plan(), Vec::<String>::new());
        for (from, to, ttl) in [("a1", "a2", 63), ("b1", "a2", 62)] {
            for dst in addresses(to) {
                lab.assert_reaches(from, dst, ttl);
            }
        }
    }
}

#[test]
fn an_older_node_is_taken_down() {
    for version in Version::ALL {
        let lab = Lab::up(TWO_NODES);
        aged::age(lab.datapath("A"), version);
        // Fails if anything is left.
        lab.down();
    }
}

#[test]
fn reading_commands_tell_an_older_node_and_go_on_with_the_others() {
    let lab = Lab::up(TWO_NODES);
    aged::age(lab.datapath("A"), Version::Two);
    let run = |arguments: &[&str]| {
        let output = binary(arguments).output().expect("start");
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {output:?}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("ABI version 2"), "{arguments:?}: {told}");
        assert!(!told.contains("remove"), "{told}");
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let shown = run(&["show", "-j"]);
    let node = |short: &str| {
        let nodes = shown["nodes"].as_array().expect("nodes");
        let named = nodes.iter().find(|node| node["name"] == lab.name(short));
        named.unwrap_or_else(|| panic!("no {short} in {shown}"))
    };
    assert_eq!(node("A")["fast_path"], "unknown");
    assert_eq!(node("B")["drift"], Value::Array(Vec::new()));
    let has_b = |document: &Value, list: &str| {
        let rows = document[list].as_array().expect(list);
        rows.iter().any(|row| row["node"] == lab.name("B"))
    };
    assert!(has_b(&run(&["maps", "-j"]), "maps"));
    run(&["stats", "-j"]);
    // What is asked for alone is refused.
    let output = binary(&["maps", "--node", &lab.name("A")])
        .output()
        .expect("start");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn a_live_node_gets_more_room_under_traffic() {
    let text = TWO_NODES.replacen(
        "name = \"@A\"",
        "name = \"@A\"\nmax_endpoints = 64\nmax_routes = 64\nmax_connections = 2048",
        1,
    );
    assert_ne!(text, TWO_NODES);
    let mut lab = Lab::up(&text);
    let before = kept(&lab, "A");
    let entries = |map| Maps::info(&lab.name("A"), map).expect(map).max_entries;
    assert_eq!(
        (entries("endpoints_v4"), entries("routes_v6")),
        (64 + 32_768, 64)
    );
    let counted = redirected_peer(&lab);

    lab.edit(
        "max_endpoints = 64\nmax_routes = 64\nmax_connections = 2048",
        "max_endpoints = 1000\nmax_routes = 2000\nmax_connections = 4096",
    );
    let (changes, sent) = under_traffic(&lab, || lab.converge());
    assert_eq!(
        changes,
        ["~ node A: room for 1000 endpoint addresses, 2000 prefixes and 4096 connections"]
    );
    let entries = |map| Maps::info(&lab.name("A"), map).expect(map).max_entries;
    assert_eq!(
        (entries("endpoints_v4"), entries("routes_v6")),
        (1000 + 32_768, 2000)
    );
    assert_eq!((entries("devices"), entries("interfaces")), (2000, 3024));
    assert_eq!(entries("connections_v6"), 4096);
    let after = kept(&lab, "A");
    let settings = Settings {
        max_endpoints: 1000,
        max_routes: 2000,
        max_connections: 4096,
        ..before.settings
    };
    assert_eq!(after, Kept { settings, ..before });
    assert_eq!(redirected_peer(&lab) - counted, sent);
    assert_eq!(lab.plan(), Vec::<String>::new());

    // Less room is no reason to do anything.
    lab.edit("max_routes = 2000", "max_routes = 100");
    assert_eq!(lab.plan(), Vec::<String>::new());
}

#[test]
fn a_newer_directory_is_refused_without_a_word_of_deleting() {
    let lab = Lab::up(TWO_NODES);
    let datapath = lab.datapath("A");
    let identity = datapath.maps.meta.get().expect("meta");
    let newer = Identity {
        abi_version: ABI_VERSION + 1,
        ..identity
    };
    let write = |identity: &Identity| {
        let lock = netpath::lock::TopologyLock::take(&AtomicBool::new(false)).expect("the lock");
        datapath.writer(&lock).meta.set(identity).expect("written");
    };
    write(&newer);
    let refusals = [
        lab.try_converge(),
        provision::down(&[lab.name("A")], &mut |_| {}),
    ];
    for refusal in refusals {
        let error = refusal.expect_err("a refusal");
        assert!(error.is_refusal(), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("newer netpath"), "{text}");
        assert!(
            !text.contains("remove") && !text.contains("delete"),
            "{text}"
        );
    }
    write(&identity);
}
