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

/// One figure of a path, written.
struct Column {
    heading: &'static str,
    write: fn(&Results, Path, Cell) -> Option<String>,
}

/// The median of a figure.
fn median(results: &Results, path: Path, cell: Cell, figure: Figure) -> Option<f64> {
    absolute(results, path, cell, figure).map(|estimate| estimate.median)
}

/// The median of the ratios to a base, and its interval of 95 %.
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
    Column {
        heading: "#udp ns/packet",
        write: |r, p, c| Some(format!("{:.0}", median(r, p, c, Figure::Value)?)),
    },
    Column {
        heading: "#packets/s",
        write: |r, p, c| Some(format!("{:.0}", median(r, p, c, Figure::Rate)?)),
    },
    Column {
        heading: "#lost",
        write: |r, p, c| Some(format!("{:.2} %", 100.0 * loss(r, p, c)?)),
    },
    Column {
        heading: "#cpu ns",
        write: |r, p, c| Some(format!("{:.0}", median(r, p, c, Figure::Cpu)?)),
    },
    Column {
        heading: "#hop cost ns",
        write: |r, p, c| match p {
            Path::Direct => None,
            _ => Some(format!("{:.0}", hop_cost(r, p, c)?.median)),
        },
    },
    Column {
        heading: "#to direct",
        write: |r, p, c| ratio(r, p, Path::Direct, c, Figure::Value),
    },
    Column {
        heading: "#to iptables",
        write: |r, p, c| ratio(r, p, Path::Iptables, c, Figure::Value),
    },
    Column {
        heading: "#cpu to direct",
        write: |r, p, c| ratio(r, p, Path::Direct, c, Figure::Cpu),
    },
];

const REQUEST: [Column; 7] = [
    Column {
        heading: "#request p50 us",
        write: |r, p, c| microseconds(median(r, p, c, P50)),
    },
    Column {
        heading: "#p99 us",
        write: |r, p, c| microseconds(median(r, p, c, P99)),
    },
    Column {
        heading: "#p99.9 us",
        write: |r, p, c| microseconds(median(r, p, c, P99_9)),
    },
    Column {
        heading: "#cpu us",
        write: |r, p, c| microseconds(median(r, p, c, Figure::Cpu)),
    },
    Column {
        heading: "#p50 to direct",
        write: |r, p, c| ratio(r, p, Path::Direct, c, P50),
    },
    Column {
        heading: "#p99 to direct",
        write: |r, p, c| ratio(r, p, Path::Direct, c, P99),
    },
    Column {
        heading: "#p50 to iptables",
        write: |r, p, c| ratio(r, p, Path::Iptables, c, P50),
    },
];

const CONNECT: [Column; 4] = [
    Column {
        heading: "#connections/s",
        write: |r, p, c| Some(format!("{:.0}", median(r, p, c, Figure::Rate)?)),
    },
    Column {
        heading: "#cpu us",
        write: |r, p, c| microseconds(median(r, p, c, Figure::Cpu)),
    },
    Column {
        heading: "#to direct",
        write: |r, p, c| ratio(r, p, Path::Direct, c, Figure::Rate),
    },
    Column {
        heading: "#to iptables",
        write: |r, p, c| ratio(r, p, Path::Iptables, c, Figure::Rate),
    },
];

const BULK: [Column; 5] = [
    Column {
        heading: "#bulk Gbit/s",
        write: |r, p, c| Some(format!("{:.2}", 8e-9 * median(r, p, c, Figure::Rate)?)),
    },
    Column {
        heading: "#cpu ns/byte",
        write: |r, p, c| Some(format!("{:.3}", median(r, p, c, Figure::Cpu)?)),
    },
    Column {
        heading: "#to direct",
        write: |r, p, c| ratio(r, p, Path::Direct, c, Figure::Rate),
    },
    Column {
        heading: "#to iptables",
        write: |r, p, c| ratio(r, p, Path::Iptables, c, Figure::Rate),
    },
    Column {
        heading: "#cpu to direct",
        write: |r, p, c| ratio(r, p, Path::Direct, c, Figure::Cpu),
    },
];

fn microseconds(nanoseconds: Option<f64>) -> Option<String> {
    Some(format!("{:.2}", nanoseconds? / 1e3))
}

/// The paths that have samples of a measure, wherever the endpoints are.
fn of_measure(results: &Results, measure: Measure) -> Table {
    let columns: &[Column] = match measure {
        Measure::UdpPacket => &UDP,
        Measure::TcpRequest => &REQUEST,
        Measure::TcpConnect => &CONNECT,
        Measure::TcpBulk => &BULK,
    };
    let headings = columns.iter().map(|column| column.heading);
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
                    .map(|column| (column.write)(results, path, cell).unwrap_or_default());
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
