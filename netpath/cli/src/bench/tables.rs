//! What a run found, for people: absolute figures to read, and ratios to compare by.

use netpath_bench::{
    Family, Measure, Path, Reach, Rejected, Results,
    report::GoalRow,
    stats::{
        self, Cell, Estimate, Figure, Goal, Percentile, Selector, absolute, hop_cost, loss, paired,
    },
};

use crate::Table;

/// All tables.
pub(super) fn all(results: &Results) -> Vec<Table> {
    let mut tables: Vec<_> = Measure::ALL
        .into_iter()
        .map(|measure| of_measure(results, measure))
        .collect();
    tables.push(missing(results));
    tables.push(goals(&stats::goals(results)));
    tables
}

/// The numbers to reach, and whether they are.
pub(super) fn goals(goals: &[Goal]) -> Table {
    let mut table = Table::new([
        "goal",
        "family",
        "what",
        "#wanted",
        "#measured",
        "#95 %",
        "verdict",
    ]);
    for row in goals.iter().map(GoalRow::of) {
        table.row([
            row.number,
            row.family.to_owned(),
            row.text,
            row.wanted,
            row.measured,
            row.interval,
            row.verdict.to_string(),
        ]);
    }
    table
}

/// One line about a cell that was thrown away.
pub(super) fn rejected(rejected: &Rejected) -> String {
    let Rejected {
        round,
        path,
        reach,
        family,
        measure,
        reason,
    } = rejected;
    format!("rejected: round {round}, {path}, {reach}, {family}, {measure}: {reason}")
}

/// A heading, and what stands below it.
type Column = (&'static str, Entry);

/// One figure of a path, as it is written.
#[derive(Clone, Copy)]
enum Entry {
    /// The median of a figure, multiplied by this, with so many decimals.
    Median(Figure, f64, usize),
    /// The median of the ratios to a path, and its interval of 95 %.
    Ratio(Path, Figure),
    /// The share of packets that did not arrive.
    Lost,
    /// What a passage through a node costs beyond the path without a router, in nanoseconds.
    HopCost,
}

impl Entry {
    /// A figure as it is measured, without decimals.
    const fn whole(figure: Figure) -> Self {
        Self::Median(figure, 1.0, 0)
    }

    /// A figure that is measured in nanoseconds.
    const fn microseconds(figure: Figure) -> Self {
        Self::Median(figure, 1e-3, 2)
    }

    fn write(self, results: &Results, path: Path, cell: Cell) -> Option<String> {
        match self {
            Self::Median(figure, factor, decimals) => {
                let median = absolute(results, path, cell, figure)?.median;
                Some(format!("{:.decimals$}", factor * median))
            }
            Self::Ratio(base, figure) => ratio(results, path, base, cell, figure),
            Self::Lost => Some(format!("{:.2} %", 100.0 * loss(results, path, cell)?)),
            Self::HopCost if path == Path::Direct => None,
            Self::HopCost => Some(format!("{:.0}", hop_cost(results, path, cell)?.median)),
        }
    }
}

fn ratio(results: &Results, path: Path, base: Path, cell: Cell, figure: Figure) -> Option<String> {
    let selector = Selector {
        path,
        base,
        cell,
        figure,
    };
    (path != base).then(|| paired(results, &selector))?.map(
        |Estimate {
             median, low, high, ..
         }| format!("{median:.3} ({low:.3}-{high:.3})"),
    )
}

const P50: Figure = Figure::RoundTrip(Percentile::P50);
const P99: Figure = Figure::RoundTrip(Percentile::P99);
const P99_9: Figure = Figure::RoundTrip(Percentile::P99_9);

const UDP: [Column; 8] = [
    ("#udp ns/packet", Entry::whole(Figure::Value)),
    ("#packets/s", Entry::whole(Figure::Rate)),
    ("#lost", Entry::Lost),
    ("#cpu ns", Entry::whole(Figure::Cpu)),
    ("#hop cost ns", Entry::HopCost),
    ("#to direct", Entry::Ratio(Path::Direct, Figure::Value)),
    ("#to iptables", Entry::Ratio(Path::Iptables, Figure::Value)),
    ("#cpu to direct", Entry::Ratio(Path::Direct, Figure::Cpu)),
];

const REQUEST: [Column; 7] = [
    ("#request p50 us", Entry::microseconds(P50)),
    ("#p99 us", Entry::microseconds(P99)),
    ("#p99.9 us", Entry::microseconds(P99_9)),
    ("#cpu us", Entry::microseconds(Figure::Cpu)),
    ("#p50 to direct", Entry::Ratio(Path::Direct, P50)),
    ("#p99 to direct", Entry::Ratio(Path::Direct, P99)),
    ("#p50 to iptables", Entry::Ratio(Path::Iptables, P50)),
];

const CONNECT: [Column; 4] = [
    ("#connections/s", Entry::whole(Figure::Rate)),
    ("#cpu us", Entry::microseconds(Figure::Cpu)),
    ("#to direct", Entry::Ratio(Path::Direct, Figure::Rate)),
    ("#to iptables", Entry::Ratio(Path::Iptables, Figure::Rate)),
];

const BULK: [Column; 5] = [
    ("#bulk Gbit/s", Entry::Median(Figure::Rate, 8e-9, 2)),
    ("#cpu ns/byte", Entry::Median(Figure::Cpu, 1.0, 3)),
    ("#to direct", Entry::Ratio(Path::Direct, Figure::Rate)),
    ("#to iptables", Entry::Ratio(Path::Iptables, Figure::Rate)),
    ("#cpu to direct", Entry::Ratio(Path::Direct, Figure::Cpu)),
];

/// The paths that have samples of a measure, wherever the endpoints are.
fn of_measure(results: &Results, measure: Measure) -> Table {
    let columns: &[Column] = match measure {
        Measure::UdpPacket => &UDP,
        Measure::TcpRequest => &REQUEST,
        Measure::TcpConnect => &CONNECT,
        Measure::TcpBulk => &BULK,
    };
    let headings = columns.iter().map(|(heading, _)| *heading);
    let mut table = Table::new(["endpoints", "family", "path"].into_iter().chain(headings));
    for reach in Reach::ALL {
        for family in Family::ALL {
            let cell = Cell {
                reach,
                family,
                measure,
            };
            for path in results.paths.iter().map(|state| state.path) {
                if absolute(results, path, cell, Figure::Value).is_none() {
                    continue;
                }
                let labels = [reach.to_string(), family.to_string(), path.to_string()];
                let figures = columns
                    .iter()
                    .map(|(_, entry)| entry.write(results, path, cell).unwrap_or_default());
                table.row(labels.into_iter().chain(figures));
            }
        }
    }
    table
}

fn missing(results: &Results) -> Table {
    let mut table = Table::new(["path", "not measured"]);
    for state in &results.paths {
        if let Some(reason) = &state.missing {
            table.row([state.path.to_string(), reason.clone()]);
        }
    }
    table
}
