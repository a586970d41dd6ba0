//! Crafted documents whose answers are known.

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
fn goals_are_met_missed_or_undecided_by_the_whole_interval() {
    let judge =
        |values: [f64; 6], bound: Bound| bound.judge(Estimate::new(values.to_vec()).as_ref());
    let values = [1.01, 1.02, 1.03, 1.04, 1.05, 1.08];
    assert_eq!(judge(values, Bound::AtMost(1.08)), Verdict::Met);
    assert_eq!(judge(values, Bound::AtMost(1.07)), Verdict::Undecided);
    assert_eq!(judge(values, Bound::AtMost(1.00)), Verdict::Missed);
    assert_eq!(judge(values, Bound::AtLeast(1.01)), Verdict::Met);
    assert_eq!(judge(values, Bound::AtLeast(1.02)), Verdict::Undecided);
    assert_eq!(judge(values, Bound::AtLeast(1.09)), Verdict::Missed);
    assert_eq!(Bound::AtMost(2.0).judge(None), Verdict::NotMeasured);
    let few = Estimate::new(vec![1.0; 5]);
    assert_eq!(Bound::AtMost(2.0).judge(few.as_ref()), Verdict::Undecided);
    assert_eq!(Bound::Stated.judge(few.as_ref()), Verdict::Met);
}

#[test]
fn what_is_measured_once_counts_itself() {
    for (bound, figure, verdict) in [
        (Bound::AtMost(2.0), Some(2.0), Verdict::Met),
        (Bound::AtMost(2.0), Some(2.1), Verdict::Missed),
        (Bound::AtLeast(2.0), Some(2.0), Verdict::Met),
        (Bound::AtLeast(2.0), Some(1.9), Verdict::Missed),
        (Bound::Stated, Some(9.0), Verdict::Met),
        (Bound::Stated, None, Verdict::NotMeasured),
    ] {
        assert_eq!(bound.judge_once(figure), verdict, "{bound:?} {figure:?}");
    }
}

/// Adds six rounds of a path in a cell.
fn add(results: &mut Results, cell: Cell, path: Path, value: f64) {
    results
        .samples
        .extend((0..6).map(|round| sample(round, path, cell, value)));
}

#[test]
fn goals_read_the_cells_that_they_name() {
    let mut results = document(6);
    for (path, value) in [
        (Path::Direct, 100.0),
        (Path::Floor, 104.0),
        (Path::Netpath, 110.0),
        (Path::Iptables, 200.0),
    ] {
        add(&mut results, CELL, path, value);
    }
    let connect = Cell {
        measure: Measure::TcpConnect,
        ..CELL
    };
    for (path, value) in [(Path::Direct, 90.0), (Path::Netpath, 100.0)] {
        add(&mut results, connect, path, value);
    }
    let remote = Cell {
        reach: Reach::TwoNodes,
        family: Family::V6,
        ..CELL
    };
    for (path, value) in [
        (Path::Direct, 100.0),
        (Path::FloorRemote, 135.0),
        (Path::Netpath, 200.0),
        (Path::Kernel, 260.0),
    ] {
        add(&mut results, remote, path, value);
    }
    let request = Cell {
        measure: Measure::TcpRequest,
        ..CELL
    };
    for (path, trip) in [
        (Path::Direct, 1000),
        (Path::Floor, 1020),
        (Path::Netpath, 1030),
    ] {
        // The median of the cell is no figure of the goal's.
        add(&mut results, request, path, 1.0);
        let added = results.samples.iter_mut().rev().take(6);
        added.for_each(|sample| sample.round_trips_ns = vec![trip; 3]);
    }
    let goals = goals(&results);
    let found: Vec<_> = goals
        .iter()
        .filter_map(|goal| {
            let median = goal.measured?.median;
            Some((
                goal.number,
                goal.family?,
                (median * 1e6).round() / 1e6,
                goal.unit,
                goal.verdict,
            ))
        })
        .collect();
    use Unit::{Nanoseconds, Ratio};
    assert_eq!(
        found,
        [
            (1, Family::V4, 1.1, Ratio, Verdict::Missed),
            (1, Family::V4, 6.0, Nanoseconds, Verdict::Met),
            (2, Family::V4, 0.1, Ratio, Verdict::Met),
            (4, Family::V4, 0.01, Ratio, Verdict::Met),
            (7, Family::V4, 0.9, Ratio, Verdict::Missed),
            (3, Family::V6, 0.625, Ratio, Verdict::Met),
            (3, Family::V6, 65.0, Nanoseconds, Verdict::Missed),
        ]
    );
    assert_eq!(
        goals
            .iter()
            .filter(|g| g.verdict == Verdict::NotMeasured)
            .count(),
        2 * 7 - 7
    );
}

#[test]
fn the_bounds_are_those_of_the_table() {
    let bounds: Vec<_> = goals(&document(0)).iter().map(|goal| goal.wanted).collect();
    let expected = [
        Bound::AtMost(1.06),
        Bound::AtMost(40.0),
        Bound::AtMost(0.12),
        Bound::AtMost(0.63),
        Bound::AtMost(60.0),
        Bound::AtMost(0.015),
        Bound::AtLeast(0.95),
    ];
    assert_eq!(bounds, [expected, expected].concat());
}

#[test]
fn what_is_too_noisy_is_neither_met_nor_missed() {
    let wide = [90.0, 92.0, 95.0, 100.0, 104.0, 105.0];
    let netpath = |values: &[f64; 6]| {
        with(
            CELL,
            &[
                (Path::Direct, &[100.0; 6]),
                (Path::Netpath, values),
                (Path::Floor, &[40.0; 6]),
                (Path::Iptables, &[1000.0; 6]),
            ],
        )
    };
    let verdicts = |results: &Results| -> Vec<_> {
        let of = goals(results)
            .into_iter()
            .filter(|goal| goal.measured.is_some());
        of.map(|goal| (goal.number, goal.verdict)).collect()
    };
    // 0.90 to 1.05: below the bound of 1.06 as a whole, and says nothing.
    let noisy = netpath(&wide);
    assert!(matches!(warnings(&noisy)[..], [Warning::Wide { .. }]));
    let nothing = [1, 1, 2].map(|number| (number, Verdict::TooNoisy));
    assert_eq!(verdicts(&noisy), nothing);
    // The same of a path that is no goal's is no matter.
    let mut other = netpath(&[103.0; 6]);
    for (round, value) in (0..).zip(wide) {
        other.samples.push(sample(round, Path::Kernel, CELL, value));
    }
    other.paths.push(PathState {
        path: Path::Kernel,
        missing: None,
    });
    assert!(matches!(warnings(&other)[..], [Warning::Wide { .. }]));
    let decided = [(1, Verdict::Met), (1, Verdict::Missed), (2, Verdict::Met)];
    assert_eq!(verdicts(&other), decided);
}

#[test]
fn a_machine_that_drifts_is_not_too_noisy_where_rounds_are_compared() {
    let direct = [80.0, 90.0, 100.0, 110.0, 120.0, 100.0];
    let netpath = direct.map(|value| value * 1.05);
    let drifting = with(CELL, &[(Path::Direct, &direct), (Path::Netpath, &netpath)]);
    assert_eq!(warnings(&drifting), []);
    assert_eq!(goals(&drifting)[0].verdict, Verdict::Met);
    // Without netpath beside it nothing shows that it can be compared.
    let alone = with(CELL, &[(Path::Direct, &direct)]);
    assert!(matches!(warnings(&alone)[..], [Warning::Spread { .. }]));
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
