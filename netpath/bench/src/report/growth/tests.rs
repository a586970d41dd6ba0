//! A run of known growth.

use std::collections::BTreeSet;

use roxmltree::{Document, ParsingOptions};

use super::*;
use crate::report::GoalRow;
use crate::scale::{
    ChangeKind, HopSample, PacketKind, ProgramSample, Reaction, RealEndpoints, RejectedHop,
    SCALE_SCHEMA, ScaleSettings, Size, Table,
};
use crate::{Family, Path, Reach};

const SIZES: [Size; 4] = [
    Size {
        endpoints: 10,
        routes: 10,
    },
    Size {
        endpoints: 1000,
        routes: 10_000,
    },
    Size {
        endpoints: 10_000,
        routes: 100_000,
    },
    Size {
        endpoints: 100_000,
        routes: 1_000_000,
    },
];
const RULES: [u32; 4] = [10, 100, 1000, 5000];
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

fn run() -> ScaleResults {
    let mut results = ScaleResults {
        schema: SCALE_SCHEMA,
        machine: crate::report::fixture::machine(),
        settings: ScaleSettings {
            rounds: 7,
            seed: 3,
            cell_ms: 40,
            udp_payload: 64,
            destinations_max: 65_536,
            max_endpoints: 100_064,
            max_routes: 1_000_064,
            processor: 0,
            quick: false,
        },
        tables: SIZES.map(table).to_vec(),
        programs: Vec::new(),
        hops: Vec::new(),
        rejected: vec![RejectedHop {
            round: 2,
            path: Path::Kernel,
            size: Size::default(),
            reach: Reach::SameNode,
            family: Family::V6,
            reason: "FORWARD saw <none>".into(),
        }],
        reactions: vec![Reaction {
            round: 0,
            path: Path::Netpath,
            change: ChangeKind::Prefix,
            family: Family::V4,
            request_ns: 12_000,
            first_packet_ns: 34_500,
            interval_ns: 1_500,
        }],
        endpoints: RealEndpoints {
            count: 1000,
            up_ns: 3_000_000_000,
            plain_up_ns: Some(32_000_000_000),
            tenths_ns: vec![1_200_000_000; 10],
            down_ns: 9_000_000_000,
            memory: 1000 * 300 * 1024,
            maps: Some(1000 * 512),
        },
    };
    for round in 0..7 {
        let drift = 1.0 + f64::from(round) / 100.0;
        for family in FAMILIES {
            for (index, size) in SIZES.into_iter().enumerate() {
                for spread in [false, true] {
                    let cost = 60.0
                        + if spread {
                            25.0 * index as f64
                        } else {
                            index as f64
                        };
                    for reach in [Reach::SameNode, Reach::TwoNodes] {
                        let of = (round, Path::Netpath, size, reach, family, spread);
                        results.hops.push(hop(of, cost * drift));
                    }
                    for packet in [PacketKind::SameNode, PacketKind::Remote, PacketKind::Uplink] {
                        results.programs.push(ProgramSample {
                            round,
                            size,
                            packet,
                            family,
                            spread,
                            destinations: if spread { 4096 } else { 1 },
                            run_ps: ((0.4 * cost * drift + 20.0) * 1e3) as u64,
                            empty_ps: 20_000,
                        });
                    }
                }
            }
            let mut others = vec![(Path::Kernel, 300.0)];
            others.extend(RULES.map(|n| (Path::IptablesRules(n), 600.0 + 5.0 * f64::from(n))));
            for (path, cost) in others {
                let of = (round, path, Size::default(), Reach::SameNode, family, false);
                results.hops.push(hop(of, cost * drift));
            }
        }
    }
    results
}

fn table(size: Size) -> Table {
    let both = |ns: u64| ByFamily { v4: ns, v6: ns * 2 };
    let maps = |of: u64| {
        vec![
            MapMemory {
                map: "endpoints_v4".into(),
                bytes: Some(1 << 20),
            },
            MapMemory {
                map: "routes_v4".into(),
                bytes: Some(of),
            },
            MapMemory {
                map: "hops".into(),
                bytes: Some(4096),
            },
        ]
    };
    Table {
        size,
        endpoints_ns: both(u64::from(size.endpoints) * 300),
        routes_ns: both(u64::from(size.routes) * 400),
        single_ns: both(9000),
        single: 10,
        maps_before: maps(4096),
        maps_after: maps(4096 + u64::from(size.routes) * 64),
    }
}

fn hop(of: (u32, Path, Size, Reach, Family, bool), cost: f64) -> HopSample {
    let (round, path, size, reach, family, spread) = of;
    HopSample {
        round,
        path,
        size,
        reach,
        family,
        spread,
        destinations: if spread { 65_536 } else { 1 },
        ns: 650.0 + cost,
        direct_ns: 650.0,
        batch_ns: 640.0 + cost,
        direct_batch_ns: 640.0,
        sent: 1000,
        received: 1000,
        direct_sent: 1000,
        direct_received: 1000,
    }
}

/// Texts that appear when a plot's dots and levels are pointed at.
fn titles(svg: &str) -> BTreeSet<String> {
    let document = Document::parse(svg).unwrap();
    let titles = document
        .descendants()
        .filter(|node| node.tag_name().name() == "title");
    titles
        .filter_map(|node| node.text().map(str::to_owned))
        .collect()
}

fn svg(name: &str) -> String {
    plots(&run())
        .into_iter()
        .find(|plot| plot.name == name)
        .unwrap()
        .svg
}

#[test]
fn every_plot_is_there_once() {
    let names: Vec<_> = plots(&run()).into_iter().map(|plot| plot.name).collect();
    assert_eq!(
        names,
        [
            "scale_hops_same_node",
            "scale_hops_two_nodes",
            "scale_rules",
            "scale_program_same_node",
            "scale_program_remote",
            "scale_program_uplink",
            "scale_install",
            "scale_memory",
        ]
    );
}

#[test]
fn points_are_at_their_sizes() {
    let hops = titles(&svg("scale_hops_same_node"));
    // The cost grows by 3 % from the first round to the fourth, the median.
    assert!(
        hops.contains("IPv4, 10: 61.8 ns (60.0 ns to 63.6 ns)"),
        "{hops:?}"
    );
    assert!(
        hops.contains("IPv6, spread, 100 k: 139 ns (135 ns to 143 ns)"),
        "{hops:?}"
    );
    let programs = titles(&svg("scale_program_remote"));
    assert!(
        programs.contains("IPv4, 1.00 M: 26.0 ns (25.2 ns to 26.7 ns)"),
        "{programs:?}"
    );
    let install = titles(&svg("scale_install"));
    assert!(
        install.contains("routes, IPv6, 1.00 M: 800 ms"),
        "{install:?}"
    );
    let memory = titles(&svg("scale_memory"));
    assert!(memory.contains("routes, 1.00 M: 64.0 MB"), "{memory:?}");
    assert!(memory.contains("endpoints, 10: 1.05 MB"), "{memory:?}");
}

#[test]
fn netpath_and_kernel_are_levels_among_rules() {
    let rules = titles(&svg("scale_rules"));
    for expected in [
        "iptables, IPv4, 5000: 26.4 µs (25.6 µs to 27.1 µs)",
        "netpath, IPv6: 61.8 ns (60.0 ns to 63.6 ns)",
        "kernel, IPv4: 309 ns (300 ns to 318 ns)",
    ] {
        assert!(rules.contains(expected), "{expected}: {rules:?}");
    }
}

#[test]
fn the_page_holds_every_table() {
    let results = run();
    let text = page(&results, &plots(&results));
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(&text, options).unwrap();
    let all: Vec<_> = document
        .descendants()
        .filter(|node| node.tag_name().name() == "td")
        .filter_map(|node| node.text())
        .collect();
    for expected in [
        "Fast & <Cheap>",
        "FORWARD saw <none>",
        "prefix in netpath's table",
        "34.5 µs",
        "3.00 s",
        "307 kB",
        "3.00 µs / 6.00 µs",
        "400 ms / 800 ms",
        "1.05",
        "1000064",
        "hop cost with 100,000 endpoints and 1,000,000 routes, to that with 10 endpoints and routes",
        "≤ 30.0 ns",
        "32.0 s",
        "stated",
        "not measured",
    ] {
        let found = all.iter().any(|cell| cell.starts_with(expected));
        assert!(found, "{expected}: {all:?}");
    }
}

#[test]
fn memory_that_the_kernel_does_not_count_is_not_told_as_none() {
    let mut results = run();
    results.endpoints.maps = None;
    for table in &mut results.tables {
        let maps = table.maps_before.iter_mut().chain(&mut table.maps_after);
        maps.for_each(|map| map.bytes = None);
    }
    let plots = plots(&results);
    assert!(plots.iter().all(|plot| plot.name != "scale_memory"));
    // Before and after for each table, and those of the endpoints.
    let cells = page(&results, &plots)
        .matches("<td>not counted by this kernel</td>")
        .count();
    assert_eq!(cells, 2 * results.tables.len() + 1);
}

#[test]
fn a_run_without_anything_is_a_page_without_plots() {
    let mut results = run();
    results.tables.clear();
    results.hops.clear();
    results.programs.clear();
    assert_eq!(plots(&results).len(), 0);
}

/// Number, family, median and interval, verdict.
fn judged(results: &ScaleResults) -> Vec<(String, &'static str, String, String)> {
    goals(results)
        .iter()
        .map(GoalRow::of)
        .map(|row| {
            let measured = format!("{} ({})", row.measured, row.interval);
            (row.number, row.family, measured, row.verdict.to_string())
        })
        .collect()
}

#[test]
fn goals_are_judged_at_the_ends_of_the_range() {
    let mut results = run();
    // With the smallest tables as in the fixture, with the largest at twice the cost inside the program for IPv6.
    for sample in &mut results.programs {
        let slow = sample.packet == PacketKind::SameNode && sample.family == Family::V6;
        if slow && sample.size == SIZES[3] {
            sample.run_ps = sample.run_ps * 2 + sample.empty_ps;
        }
    }
    for sample in &mut results.hops {
        if sample.family == Family::V6 && sample.size == SIZES[3] && !sample.spread {
            sample.batch_ns += 20.0;
        }
    }
    for (table, slow) in results.tables.iter_mut().rev().zip([1, 2]) {
        table.single = 100_000;
        table.single_ns = ByFamily {
            v4: 400_000_000 * slow,
            v6: 600_000_000 * slow,
        };
    }
    let expected = [
        ("5", "IPv4", "24.7 ns (24.0 to 25.4 ns)", "met"),
        ("5", "IPv6", "24.7 ns (24.0 to 25.4 ns)", "met"),
        ("5", "IPv4", "26.0 ns (25.2 to 26.7 ns)", "met"),
        ("5", "IPv6", "91.9 ns (90.4 to 93.4 ns)", "missed"),
        ("5", "IPv4", "24.7 ns (24.0 to 25.4 ns)", "met"),
        ("5", "IPv6", "24.7 ns (24.0 to 25.4 ns)", "met"),
        ("5", "IPv4", "26.0 ns (25.2 to 26.7 ns)", "met"),
        ("5", "IPv6", "26.0 ns (25.2 to 26.7 ns)", "met"),
        ("6", "IPv4", "139 ns (135 to 143 ns)", "met"),
        ("6", "IPv6", "139 ns (135 to 143 ns)", "met"),
        ("6", "IPv4", "1.050 (1.050 to 1.050)", "met"),
        ("6", "IPv6", "1.374 (1.364 to 1.383)", "missed"),
        ("8", "IPv4", "40.0 ms ()", "met"),
        ("8", "IPv6", "80.0 ms ()", "met"),
        ("8", "IPv4", "800 ms ()", "met"),
        ("8", "IPv6", "1.20 s ()", "missed"),
        ("8", "both", "32.0 s ()", "missed"),
        ("8", "both", "3.00 s ()", "met"),
        ("8", "both", "307 kB ()", "met"),
    ];
    let expected = expected.map(|(number, family, measured, verdict)| {
        (number.into(), family, measured.into(), verdict.into())
    });
    assert_eq!(judged(&results), expected);

    // Two rounds decide nothing of 5 and 6; 8 is measured once anyway.
    results.programs.retain(|sample| sample.round < 2);
    results.hops.retain(|sample| sample.round < 2);
    let verdicts: Vec<_> = judged(&results).into_iter().map(|row| row.3).collect();
    assert_eq!(verdicts[..12], ["undecided"; 12]);
    assert_eq!(verdicts[15], "missed");
}

#[test]
fn other_sizes_than_the_goals_are_not_judged_by_them() {
    let mut results = run();
    results.endpoints.count = 999;
    results.tables.retain(|table| table.size.routes != 100_000);
    for sample in &mut results.hops {
        if sample.size == SIZES[3] {
            sample.size.routes -= 1;
        }
    }
    let missing: Vec<_> = judged(&results)
        .into_iter()
        .filter(|(_, _, measured, verdict)| measured == "– ()" && verdict == "not measured")
        .map(|(number, family, ..)| (number, family))
        .collect();
    let expected = [
        ("6", "IPv4"),
        ("6", "IPv6"),
        ("6", "IPv4"),
        ("6", "IPv6"),
        ("8", "IPv4"),
        ("8", "IPv6"),
        ("8", "IPv4"),
        ("8", "IPv6"),
        ("8", "both"),
        ("8", "both"),
    ];
    assert_eq!(
        missing,
        expected.map(|(number, family)| (number.into(), family))
    );
}
