//! What a run found, for people.

use crate::{
    bench::{Family, Measure, Path, Reach, Rejected, Results, Sample},
    cli::Table,
};

/// All tables.
pub(super) fn all(results: &Results) -> Vec<Table> {
    let mut tables = Vec::new();
    for reach in Reach::ALL {
        for family in Family::ALL {
            tables.push(udp(results, reach, family));
        }
    }
    tables
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

fn udp(results: &Results, reach: Reach, family: Family) -> Table {
    let mut table = Table::new([
        "path",
        "#udp ns",
        "#lost",
        "#request ns",
        "#connect ns",
        "#bulk ns/B",
    ]);
    for state in &results.paths {
        let of = |measure| {
            let mut values: Vec<f64> = results
                .samples
                .iter()
                .filter(|s| {
                    s.path == state.path
                        && s.reach == reach
                        && s.family == family
                        && s.measure == measure
                })
                .map(|sample| sample.value)
                .collect();
            values.sort_by(f64::total_cmp);
            values
                .get(values.len() / 2)
                .map_or_else(String::new, |v| format!("{v:.2}"))
        };
        let lost: u64 = results
            .samples
            .iter()
            .filter(|s: &&Sample| s.path == state.path && s.reach == reach && s.family == family)
            .map(|s| s.sent - s.received)
            .sum();
        let path: Path = state.path;
        table.row([
            path.to_string(),
            of(Measure::UdpPacket),
            lost.to_string(),
            of(Measure::TcpRequest),
            of(Measure::TcpConnect),
            of(Measure::TcpBulk),
        ]);
    }
    table
}
