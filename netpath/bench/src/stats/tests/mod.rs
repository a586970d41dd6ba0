//! Crafted documents whose answers are known.

mod goals;

use super::*;
use crate::{Machine, PathState, Rejected, SCHEMA, Settings};

const CELL: Cell = Cell {
    reach: Reach::SameNode,
    family: Family::V4,
    measure: Measure::UdpPacket,
};

fn document(rounds: u32) -> Results {
    let paths = [Path::Direct, Path::Netpath, Path::Iptables];
    Results {
        schema: SCHEMA,
        machine: Machine {
            cpu: "cpu".into(),
            cores: 2,
            memory: 1 << 30,
            kernel: "6.18".into(),
            virtual_machine: true,
            netpath: "0.1.0".into(),
            iptables: None,
            nft: None,
            started: 0,
        },
        settings: Settings {
            rounds,
            seed: 1,
            cell_ms: 100,
            warm_up_ms: 10,
            udp_payload: 64,
            request: 64,
            processors: vec![0],
            quick: false,
        },
        paths: paths
            .map(|path| PathState {
                path,
                missing: None,
            })
            .to_vec(),
        samples: Vec::new(),
        rejected: Vec::new(),
        warnings: Vec::new(),
    }
}

fn sample(round: u32, path: Path, cell: Cell, value: f64) -> Sample {
    Sample {
        round,
        path,
        reach: cell.reach,
        family: cell.family,
        measure: cell.measure,
        value,
        elapsed_ns: 1_000_000,
        cpu_ns: 900_000,
        sent: 1000,
        received: 1000,
        round_trips_ns: Vec::new(),
    }
}

/// One sample for each value of each path, in rounds from 0.
fn with(cell: Cell, values: &[(Path, &[f64])]) -> Results {
    let mut results = document(values.iter().map(|(_, v)| v.len()).max().unwrap_or(0) as u32);
    for (path, values) in values {
        for (round, value) in values.iter().enumerate() {
            results
                .samples
                .push(sample(round as u32, *path, cell, *value));
        }
    }
    results
}

fn netpath_to_direct(figure: Figure) -> Selector {
    Selector {
        path: Path::Netpath,
        base: Path::Direct,
        cell: CELL,
        figure,
    }
}

#[test]
fn ratios_are_paired_within_rounds() {
    // The machine gets ten times slower on the way; the ratio of medians would be 11 / 5.
    let results = with(
        CELL,
        &[
            (Path::Direct, &[1.0, 10.0, 5.0]),
            (Path::Netpath, &[1.1, 11.0, 20.0]),
        ],
    );
    let ratio = paired(&results, &netpath_to_direct(Figure::Value)).unwrap();
    assert!((ratio.median - 1.1).abs() < 1e-12);
    assert_eq!((ratio.high, ratio.rounds, ratio.coverage), (4.0, 3, 0.75));
}

#[test]
fn a_round_without_its_partner_is_left_out() {
    let mut results = with(
        CELL,
        &[
            (Path::Direct, &[2.0, 2.0, 2.0]),
            (Path::Netpath, &[3.0, 4.0, 5.0]),
        ],
    );
    results.samples.remove(1);
    let other = Cell {
        family: Family::V6,
        ..CELL
    };
    results.samples.push(sample(1, Path::Direct, other, 100.0));
    let ratio = paired(&results, &netpath_to_direct(Figure::Value)).unwrap();
    assert_eq!(
        (ratio.low, ratio.median, ratio.high, ratio.rounds),
        (1.5, 2.0, 2.5, 2)
    );
    assert_eq!(
        paired(
            &results,
            &Selector {
                base: Path::Kernel,
                ..netpath_to_direct(Figure::Value)
            }
        ),
        None
    );
}

#[test]
fn figures_of_a_sample() {
    let mut one = sample(0, Path::Direct, CELL, 500.0);
    one.round_trips_ns = (1..=200).collect();
    assert_eq!(Figure::Value.of(&one), Some(500.0));
    assert_eq!(Figure::Rate.of(&one), Some(2e6));
    assert_eq!(Figure::Cpu.of(&one), Some(900.0));
    assert_eq!(Figure::RoundTrip(Percentile::P99).of(&one), Some(198.0));
    one.received = 0;
    one.round_trips_ns.clear();
    assert_eq!(Figure::Cpu.of(&one), None);
    assert_eq!(Figure::RoundTrip(Percentile::P50).of(&one), None);
}

#[test]
fn hop_cost_is_the_difference_to_direct_of_the_same_round() {
    let results = with(
        CELL,
        &[
            (Path::Direct, &[100.0, 200.0, 300.0]),
            (Path::Netpath, &[110.0, 208.0, 312.0]),
            (Path::Iptables, &[200.0, 300.0, 400.0]),
        ],
    );
    let cost = hop_cost(&results, Path::Netpath, CELL).unwrap();
    assert_eq!((cost.low, cost.median, cost.high), (8.0, 10.0, 12.0));
    let ratio = hop_cost_ratio(&results, Path::Netpath, Path::Iptables, CELL).unwrap();
    assert_eq!((ratio.low, ratio.median, ratio.high), (0.08, 0.10, 0.12));
}

#[test]
fn a_base_that_costs_nothing_counts_against_the_path() {
    let direct = [100.0; 10];
    let mut iptables = [200.0; 10];
    (iptables[0], iptables[1]) = (99.0, 100.0);
    let results = with(
        CELL,
        &[
            (Path::Direct, &direct),
            (Path::Netpath, &[110.0; 10]),
            (Path::Iptables, &iptables),
        ],
    );
    let ratio = hop_cost_ratio(&results, Path::Netpath, Path::Iptables, CELL).unwrap();
    assert_eq!(
        (ratio.low, ratio.median, ratio.high, ratio.rounds),
        (0.1, 0.1, f64::INFINITY, 10)
    );
    assert_eq!(Bound::AtMost(0.2).judge(Some(&ratio)), Verdict::Undecided);
}

#[test]
fn loss_is_of_all_rounds() {
    let mut results = with(CELL, &[(Path::Direct, &[1.0, 1.0])]);
    results.samples[0].received = 970;
    assert_eq!(loss(&results, Path::Direct, CELL), Some(0.015));
    assert_eq!(loss(&results, Path::Netpath, CELL), None);
    assert!(warnings(&results).contains(&Warning::Loss {
        path: Path::Direct,
        cell: CELL,
        lost: 0.015
    }));
}

#[test]
fn a_quiet_run_has_no_warnings() {
    let direct = [100.0, 101.0, 99.0, 100.5, 99.5, 100.0];
    let netpath = direct.map(|value| value * 1.05);
    let results = with(CELL, &[(Path::Direct, &direct), (Path::Netpath, &netpath)]);
    assert_eq!(warnings(&results), []);
}

#[test]
fn each_kind_of_noise_is_warned_of() {
    let mut results = with(
        CELL,
        &[
            (Path::Direct, &[80.0, 90.0, 100.0, 110.0, 120.0]),
            (Path::Netpath, &[90.0, 80.0, 100.0, 120.0, 110.0]),
        ],
    );
    // Those that were measured count, not those that were asked for.
    results.settings.rounds = 10;
    results.rejected.push(Rejected {
        round: 0,
        path: Path::Iptables,
        reach: CELL.reach,
        family: CELL.family,
        measure: CELL.measure,
        reason: "counter".into(),
    });
    let found = warnings(&results);
    assert_eq!(
        found[..2],
        [
            Warning::FewRounds { rounds: 5 },
            Warning::Rejected { cells: 1 }
        ]
    );
    assert_eq!(
        found[2],
        Warning::Spread {
            cell: CELL,
            spread: 0.2
        }
    );
    let Warning::Wide { path, ratio, .. } = found[3] else {
        panic!("{found:?}")
    };
    assert_eq!(
        (path, ratio.low, ratio.high),
        (Path::Netpath, 80.0 / 90.0, 1.125)
    );
    assert_eq!(found.len(), 4);
}
