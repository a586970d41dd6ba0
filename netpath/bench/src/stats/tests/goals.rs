//! What is judged of them.

use super::*;

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
