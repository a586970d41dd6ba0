//! The page of a run of `netpath bench`.

use super::page::{Entry, document, figures, machine_and_settings, plain, table, words};
use super::plot::escaped;
use super::plots::{Plot, main_figure, measures, places};
use super::{explained, format, goal, headline, label};
use crate::stats::{
    Cell, Figure, Percentile, Selector, absolute, goals, hop_cost, loss, paired, rounds, warnings,
};
use crate::{Measure, Path, Results};

/// The page of a run with its plots.
pub fn page(results: &Results, plots: &[Plot]) -> String {
    let machine = &results.machine;
    let heading = format!("netpath bench: {}, Linux {}", machine.cpu, machine.kernel);
    let sections = [
        format!("<p class=\"result\">{}</p>", escaped(&headline(results))),
        warning_list(results),
        goal::section(&goals(results), GOALS),
        ways(results),
        instead(results),
        figures(plots),
        measures(results)
            .into_iter()
            .map(|measure| of_measure(results, measure))
            .collect(),
        circumstances(results),
        left_out(results),
        METHOD.to_owned(),
    ];
    document(&heading, &sections)
}

const GOALS: &str = "Endpoints of one node, unless it says otherwise; 5, 6 and 8 are judged by netpath bench scale. A goal \
is met or missed when the whole 95 % interval is, else undecided; where the machine was too noisy it is neither, wherever \
the interval lies. Bulk TCP decides none: it is copying that takes its time, and where the scheduler puts the two \
applications moves it more than any path does.";

const METHOD: &str = "<h2>How the figures are computed</h2>\
<p>Paths are measured in turn, in rounds. A ratio is that of two paths within one round; stated is the median of \
the rounds' ratios, and below it the 95 % interval of that median by order statistics of the binomial \
distribution, which assumes nothing about the noise. Hop cost is the time per packet minus that of direct in the \
same round. Less than 1 is better in ratios of time, more than 1 in ratios of rates.</p>";

fn warning_list(results: &Results) -> String {
    let found = warnings(results);
    let found = found.iter().map(label::warning);
    let warnings: Vec<_> = results.warnings.iter().cloned().chain(found).collect();
    if warnings.is_empty() {
        return "<p>No warnings: the machine was quiet enough.</p>".into();
    }
    let items: String = warnings
        .iter()
        .map(|warning| format!("<li>{}</li>", escaped(warning)))
        .collect();
    let count = match warnings.len() {
        1 => "1 warning".to_owned(),
        more => format!("{more} warnings"),
    };
    format!("<details class=\"warnings\"><summary>{count}</summary><ul>{items}</ul></details>")
}

/// What each path is.
fn ways(results: &Results) -> String {
    let rows = results.paths.iter().map(|state| {
        let path = state.path;
        vec![path.to_string(), explained(path)]
    });
    let head = ["path", "what lies between the two endpoints"];
    format!("<h2>The paths</h2>{}", words(&head, rows.collect()))
}

/// The paths that somebody would have instead of netpath's.
const INSTEAD: [Path; 8] = [
    Path::Kernel,
    Path::Iptables,
    Path::Bridge,
    Path::Macvlan,
    Path::Ipvlan,
    Path::Vxlan,
    Path::Ipip,
    Path::Nat,
];

/// How they compare; nothing where none was measured beside netpath.
fn instead(results: &Results) -> String {
    let mut rows = Vec::new();
    for place in places(results) {
        for path in INSTEAD {
            let to_netpath = |measure| {
                let (reach, family) = place;
                let of = Selector {
                    path,
                    base: Path::Netpath,
                    cell: Cell {
                        reach,
                        family,
                        measure,
                    },
                    figure: Figure::Value,
                };
                paired(results, &of)
            };
            let [packet, request] = [Measure::UdpPacket, Measure::TcpRequest].map(to_netpath);
            if packet.is_some() || request.is_some() {
                let entries = [packet, request].map(|it| Entry::of(it, format::ratio).html());
                rows.push(
                    plain(&label::place(place)) + &plain(&path.to_string()) + &entries.concat(),
                );
            }
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let head = ["where", "path", "time per packet", "TCP round trip p50"].map(str::to_owned);
    format!(
        "<h2>Beside netpath</h2><p>Medians of the rounds' ratios to netpath, and their 95 % intervals: more than 1 is \
         slower than netpath. What goes to a service (nat) is not netpath's to hasten.</p>{}",
        table("", &head, rows.into_iter())
    )
}

/// What a column says of a path.
type Say = dyn Fn(&Results, Path, Cell) -> Entry;

/// A column of a measure's table.
struct Column {
    head: String,
    entry: Box<Say>,
}

impl Column {
    fn new(head: &str, entry: impl Fn(&Results, Path, Cell) -> Entry + 'static) -> Self {
        Self {
            head: head.to_owned(),
            entry: Box::new(entry),
        }
    }

    fn absolute(head: &str, figure: Figure, format: fn(f64) -> String) -> Self {
        Self::new(head, move |results, path, cell| {
            Entry::of(absolute(results, path, cell, figure), format)
        })
    }

    fn ratio(base: Path, figure: Figure) -> Self {
        Self::new(&format!("to {base}"), move |results, path, cell| {
            let of = Selector {
                path,
                base,
                cell,
                figure,
            };
            Entry::of(paired(results, &of).filter(|_| path != base), format::ratio)
        })
    }

    /// A figure with its ratios to `direct` and to `iptables`.
    fn compared(head: &str, figure: Figure, format: fn(f64) -> String) -> [Self; 3] {
        [
            Self::absolute(head, figure, format),
            Self::ratio(Path::Direct, figure),
            Self::ratio(Path::Iptables, figure),
        ]
    }
}

fn columns(measure: Measure) -> Vec<Column> {
    let mut columns = Vec::new();
    if measure == Measure::TcpRequest {
        for (head, percentile) in [
            ("p50", Percentile::P50),
            ("p99", Percentile::P99),
            ("p99.9", Percentile::P99_9),
        ] {
            columns.extend(Column::compared(
                head,
                Figure::RoundTrip(percentile),
                format::ns,
            ));
        }
    } else {
        let (figure, head, format) = main_figure(measure);
        columns.extend(Column::compared(head, figure, format));
    }
    if measure == Measure::UdpPacket {
        columns.push(Column::new("hop cost", |results, path, cell| {
            let cost = hop_cost(results, path, cell).filter(|_| path != Path::Direct);
            Entry::of(cost, format::ns)
        }));
    }
    let cpu = format!("CPU per {}", measure.unit());
    columns.extend(Column::compared(&cpu, Figure::Cpu, format::ns));
    columns.push(Column::new("lost", |results, path, cell| {
        let lost = loss(results, path, cell);
        Entry(lost.map_or("–".into(), format::share), String::new())
    }));
    columns
}

fn of_measure(results: &Results, measure: Measure) -> String {
    let columns = columns(measure);
    let head: Vec<_> = ["path".to_owned()]
        .into_iter()
        .chain(columns.iter().map(|c| c.head.clone()))
        .collect();
    let name = escaped(measure.title());
    let tables = places(results).into_iter().map(|(reach, family)| {
        let cell = Cell {
            reach,
            family,
            measure,
        };
        let rows = results.paths.iter().map(|state| state.path);
        let rows = rows.filter_map(|path| {
            let rounds = absolute(results, path, cell, Figure::Value)?.rounds;
            let entries = columns
                .iter()
                .map(|column| (column.entry)(results, path, cell).html());
            let entries: String = entries.collect();
            let rounds = format!("{rounds} rounds");
            Some(Entry(path.to_string(), rounds).html() + &entries)
        });
        format!(
            "<h3>{name}: {}</h3>{}",
            label::place((reach, family)),
            table("", &head, rows)
        )
    });
    format!("<h2>{name}</h2>\n{}", tables.collect::<String>())
}

fn circumstances(results: &Results) -> String {
    let settings = &results.settings;
    let processors: Vec<_> = settings.processors.iter().map(u32::to_string).collect();
    let rows = [
        (
            "rounds",
            format!("{} of {} asked for", rounds(results), settings.rounds),
        ),
        ("seed", settings.seed.to_string()),
        (
            "each cell",
            format!(
                "{} ms after {} ms warm-up",
                settings.cell_ms, settings.warm_up_ms
            ),
        ),
        ("UDP payload", format!("{} bytes", settings.udp_payload)),
        (
            "TCP request and response",
            format!("{} bytes", settings.request),
        ),
        ("pinned to processors", processors.join(", ")),
        ("quick run", label::yes_no(settings.quick).to_owned()),
    ];
    machine_and_settings(&results.machine, &rows)
}

fn left_out(results: &Results) -> String {
    let missing: Vec<_> = results
        .paths
        .iter()
        .filter_map(|state| Some(vec![state.path.to_string(), state.missing.clone()?]))
        .collect();
    let rejected: Vec<_> = results
        .rejected
        .iter()
        .map(|cell| {
            vec![
                cell.round.to_string(),
                cell.path.to_string(),
                cell.measure.title().to_owned(),
                label::place((cell.reach, cell.family)),
                cell.reason.clone(),
            ]
        })
        .collect();
    let mut section = String::from("<h2>What is not here</h2>");
    if missing.is_empty() {
        section += "<p>Every path that was asked for was measured.</p>";
    } else {
        section += &words(&["path", "why this machine does not have it"], missing);
    }
    if rejected.is_empty() {
        section += "<p>No cell was thrown away: all traffic took the path that it claims.</p>";
    } else {
        section += &words(
            &[
                "round",
                "path",
                "measure",
                "where",
                "why it was thrown away",
            ],
            rejected,
        );
    }
    section
}
