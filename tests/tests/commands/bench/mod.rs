//! `netpath bench --quick`: that it measures what it says, all of it, and leaves nothing. How fast anything is, no
//! test asserts: machines differ, and the other tests take their share of this one.

mod paths;
mod people;

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Output},
    thread,
    time::{Duration, Instant},
};

use netpath::{datapath, netns::NETNS_DIR};
use netpath_bench::{Family, Measure, Path, Reach, Results, SCHEMA, Sample, stats};
use netpath_tests::{kernel, netpath};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// What `--quick` promises.
const LONGEST: Duration = Duration::from_secs(60);

/// A document as docs/schema describes it.
fn document(output: &Output) -> serde_json::Value {
    const SCHEMA: &str = include_str!("../../../../docs/schema/bench.json");
    let schema = serde_json::from_str(SCHEMA).expect("JSON");
    let document = serde_json::from_slice(&output.stdout).expect("JSON");
    if let Err(error) = jsonschema::draft202012::validate(&schema, &document) {
        panic!("{error} at {}", error.instance_path());
    }
    document
}

/// The same as netpath reads it.
fn results(output: &Output) -> Results {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_value(document(output)).expect("the document")
}

/// A benchmark of which nothing may be left.
struct Bench {
    child: Child,
    began: Instant,
}

impl Bench {
    fn start(arguments: &[&str]) -> Self {
        Self {
            child: netpath(arguments).spawn().expect("netpath starts"),
            began: Instant::now(),
        }
    }

    fn end(self) -> (Output, Duration) {
        let prefix = prefix(&self.child);
        let output = self.child.wait_with_output().expect("netpath ends");
        let took = self.began.elapsed();
        assert_eq!(left(&prefix), Vec::<String>::new());
        let stderr = text(&output.stderr);
        assert!(!stderr.contains("lives on"), "{stderr}");
        (output, took)
    }
}

/// What the names of its lab start with.
fn prefix(child: &Child) -> String {
    format!("npb-{}-", child.id())
}

/// Namespaces and pinned nodes of a lab.
fn left(prefix: &str) -> Vec<String> {
    let namespaces = fs::read_dir(NETNS_DIR).map_or_else(
        |_| Vec::new(),
        |entries| {
            let names = entries.flatten().map(|entry| entry.file_name());
            names
                .map(|name| name.to_string_lossy().into_owned())
                .collect()
        },
    );
    let nodes = datapath::nodes().expect("readable");
    let mut all: Vec<String> = namespaces.into_iter().chain(nodes).collect();
    all.retain(|name| name.contains(prefix));
    all
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_quick_run_is_complete_and_in_time() {
    let (output, took) = Bench::start(&["bench", "--quick", "--seed", "7", "-j"]).end();
    assert!(took < LONGEST || kernel::is_emulated(), "{took:?}");
    let results = results(&output);
    assert_eq!(results.schema, SCHEMA);
    assert_eq!(results.rejected, []);
    let settings = &results.settings;
    assert_eq!((settings.seed, settings.quick), (7, true));
    assert_eq!((settings.udp_payload, settings.request), (64, 64));

    let paths: Vec<Path> = results.paths.iter().map(|state| state.path).collect();
    let expected = [
        Path::Direct,
        Path::Floor,
        Path::FloorRemote,
        Path::Netpath,
        Path::Kernel,
        Path::Iptables,
        Path::IptablesRules(1_000),
        Path::NftRules(1_000),
        Path::NftSet(1_000),
        Path::NftFlowtable,
    ];
    assert_eq!(paths, expected);
    assert_missing(&results);
    assert_every_cell_in_every_round(&results);
    results
        .samples
        .iter()
        .for_each(|sample| assert_adds_up(sample, settings.processors.len()));
}

/// What `cargo xtask setup` gets is there; only the kernel's build decides about some paths, and says so.
fn assert_missing(results: &Results) {
    for state in &results.paths {
        let Some(reason) = &state.missing else {
            continue;
        };
        let expected = match state.path {
            Path::NftFlowtable => "not here: nft -f -: ",
            Path::Macvlan | Path::Ipvlan | Path::Vxlan | Path::Ipip => {
                "not here: ip -batch -: Error: Unknown device type."
            }
            other => panic!("{other} is everywhere, and not here: {reason}"),
        };
        assert!(reason.starts_with(expected), "{}: {reason}", state.path);
    }
}

/// Where a path may be: those of one node, of two, and of both.
fn joins(path: Path, reach: Reach, family: Family) -> bool {
    match path {
        Path::Floor | Path::Bridge | Path::Macvlan | Path::Ipvlan => reach == Reach::SameNode,
        Path::FloorRemote | Path::Vxlan => reach == Reach::TwoNodes,
        Path::Ipip => reach == Reach::TwoNodes && family == Family::V4,
        _ => true,
    }
}

/// Four paths take all measures; the others UDP packets and requests, and those of many rules on one node only.
fn has(path: Path, reach: Reach, family: Family, measure: Measure) -> bool {
    let by_packet = matches!(measure, Measure::UdpPacket | Measure::TcpRequest);
    joins(path, reach, family)
        && match path {
            Path::Direct | Path::Netpath | Path::Kernel | Path::Iptables => true,
            Path::IptablesRules(_) | Path::NftRules(_) | Path::NftSet(_) | Path::NftFlowtable => {
                reach == Reach::SameNode && by_packet
            }
            _ => by_packet,
        }
}

fn assert_every_cell_in_every_round(results: &Results) {
    let mut rounds: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for sample in &results.samples {
        let cell = (sample.path, sample.reach, sample.family, sample.measure);
        rounds.entry(sample.round).or_default().push(cell);
    }
    let mut expected = Vec::new();
    for state in results.paths.iter().filter(|state| state.missing.is_none()) {
        for reach in Reach::ALL {
            for family in Family::ALL {
                for measure in Measure::ALL {
                    if has(state.path, reach, family, measure) {
                        expected.push((state.path, reach, family, measure));
                    }
                }
            }
        }
    }
    expected.sort();
    let count = u32::try_from(rounds.len()).expect("few");
    assert!(rounds.keys().copied().eq(0..count) && count > 0);
    let mut orders = Vec::new();
    for cells in rounds.values() {
        orders.push(cells.clone());
        let mut cells = cells.clone();
        cells.sort();
        assert_eq!(cells, expected);
    }
    if count < results.settings.rounds {
        let said = format!(
            "time was up after {count} of {} rounds",
            results.settings.rounds
        );
        assert!(results.warnings.contains(&said), "{:?}", results.warnings);
    }
    // Interleaved, and each round in its own order.
    orders.dedup();
    assert_eq!(orders.len(), rounds.len());
}

/// The figures of a sample agree with each other.
fn assert_adds_up(sample: &Sample, processors: usize) {
    let cell = format!(
        "round {}, {}, {}, {}, {}",
        sample.round, sample.path, sample.reach, sample.family, sample.measure
    );
    assert!(sample.received > 0, "{cell}");
    assert!(sample.received <= sample.sent, "{cell}");
    assert!(sample.elapsed_ns > 0 && sample.cpu_ns > 0, "{cell}");
    // Nobody takes more time than the processors have; clocks are not read at one moment.
    let available = sample.elapsed_ns * processors as u64 + 20_000_000;
    assert!(
        sample.cpu_ns <= available,
        "{cell}: {} ns of CPU",
        sample.cpu_ns
    );
    let value = if sample.measure == Measure::TcpRequest {
        let mut sorted = sample.round_trips_ns.clone();
        assert_eq!(sorted.len() as u64, sample.received, "{cell}");
        let sum: u64 = sorted.iter().copied().map(u64::from).sum();
        assert!(sum <= sample.elapsed_ns, "{cell}: {sum} ns in round trips");
        sorted.sort_unstable();
        f64::from(sorted[(sorted.len() - 1) / 2])
    } else {
        assert!(sample.round_trips_ns.is_empty(), "{cell}");
        sample.elapsed_ns as f64 / sample.received as f64
    };
    let difference = (sample.value - value).abs();
    assert!(
        difference <= value * 1e-9,
        "{cell}: {} is not {value}",
        sample.value
    );
}

#[test]
fn a_signal_ends_it_and_nothing_is_left() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let bench = Bench::start(&["bench", "--rounds", "1000", "--paths", "direct,iptables"]);
        let prefix = prefix(&bench.child);
        let deadline = Instant::now() + Duration::from_secs(60);
        // Two nodes, four endpoints, and their pins.
        while left(&prefix).len() < 2 * 2 + 4 {
            assert!(Instant::now() < deadline, "no lab: {:?}", left(&prefix));
            thread::sleep(Duration::from_millis(10));
        }
        let pid = Pid::from_raw(i32::try_from(bench.child.id()).expect("a process"));
        kill(pid, signal).expect("its own child");
        let (output, _) = bench.end();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("interrupted"), "{stderr}");
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn wrong_usage_touches_nothing() {
    for arguments in [
        &["bench", "--paths", "iptables-0"][..],
        &["bench", "--measures", "udp,latency"],
        &["bench", "--rounds", "0"],
        &["bench", "--paths", "ipip", "--family", "ipv6"],
    ] {
        let (output, _) = Bench::start(arguments).end();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "");
    }
}
