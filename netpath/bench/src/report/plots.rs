//! Which plots a run yields.

use super::plot::{
    Axis, BarChart, Colour, LineChart, Mark, Point, Points, Row, Scale, Series, bars, cdf, lines,
};
use super::{format, label};
use crate::stats::{Cell, Estimate, Figure, absolute, hop_cost};
use crate::{Family, Measure, Path, Reach, Results};

/// A plot and what is said of it.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Name of its file without `.svg`.
    pub name: String,
    /// What the reader should know to read it.
    pub caption: String,
    /// The document.
    pub svg: String,
}

/// The FORWARD rules of [`Path::Iptables`] itself.
const DEMO_RULES: u32 = 4;

/// All plots that `results` has data for.
pub fn plots(results: &Results) -> Vec<Plot> {
    let mut plots: Vec<_> = measures(results)
        .into_iter()
        .flat_map(|measure| [by_path(results, measure), cpu(results, measure)])
        .collect();
    if measures(results).contains(&Measure::UdpPacket) {
        plots.insert(1, hop_costs(results));
    }
    for place in places(results) {
        plots.extend(latency(results, place));
        plots.extend(rules(results, place));
    }
    plots
}

/// The measures that were measured, in order.
pub fn measures(results: &Results) -> Vec<Measure> {
    let mut measures: Vec<_> = Cell::all(results).iter().map(|cell| cell.measure).collect();
    measures.sort_unstable();
    measures.dedup();
    measures
}

/// The reaches and families that were measured, in order.
pub fn places(results: &Results) -> Vec<(Reach, Family)> {
    let mut places: Vec<_> = Cell::all(results)
        .iter()
        .map(|cell| (cell.reach, cell.family))
        .collect();
    places.dedup();
    places.sort_unstable();
    places.dedup();
    places
}

/// How the main figure of a measure is shown: the figure, its axis and the factor from one to the other.
pub fn main_figure(measure: Measure) -> (Figure, &'static str, fn(f64) -> String) {
    match measure {
        Measure::UdpPacket => (Figure::Value, "time per packet", format::ns),
        Measure::TcpRequest => (Figure::Value, "median round trip", format::ns),
        Measure::TcpConnect => (Figure::Rate, "connections per second", format::count),
        Measure::TcpBulk => (Figure::Rate, "throughput", format::gbit),
    }
}

fn by_path(results: &Results, measure: Measure) -> Plot {
    let (figure, axis, format) = main_figure(measure);
    let title = format!("{}: {axis}", measure.title());
    let axis = Axis {
        label: axis.into(),
        scale: Scale::Linear,
        format,
    };
    let better = if figure == Figure::Rate {
        "Longer"
    } else {
        "Shorter"
    };
    Plot {
        name: measure.slug().into(),
        caption: format!(
            "{better} is better. Medians of the rounds; whiskers are 95 % intervals, which hold the \
             machine's own drift: paths are compared by the paired ratios in the tables."
        ),
        svg: bars(&chart(results, title, axis, |path, place| {
            absolute(results, path, cell(place, measure), figure)
        })),
    }
}

fn cpu(results: &Results, measure: Measure) -> Plot {
    let unit = measure.unit();
    let title = format!("{}: CPU time per {unit}", measure.title());
    let axis = Axis {
        label: format!("CPU time per {unit}"),
        scale: Scale::Linear,
        format: format::ns,
    };
    Plot {
        name: format!("cpu_{}", measure.slug()),
        caption: format!(
            "Shorter is better. CPU time of both applications and of the kernel on their processors, for \
             each {unit} that arrived; whiskers are 95 % intervals."
        ),
        svg: bars(&chart(results, title, axis, |path, place| {
            absolute(results, path, cell(place, measure), Figure::Cpu)
        })),
    }
}

fn hop_costs(results: &Results) -> Plot {
    let axis = Axis {
        label: "time per packet beyond direct's".into(),
        scale: Scale::Linear,
        format: format::ns,
    };
    Plot {
        name: "hop_cost".into(),
        caption: "Shorter is better. Time per packet minus that of direct in the same round; whiskers are \
                  95 % intervals."
            .into(),
        svg: bars(&chart(results, "Hop cost".into(), axis, |path, place| {
            let cell = cell(place, Measure::UdpPacket);
            (path != Path::Direct).then(|| hop_cost(results, path, cell)).flatten()
        })),
    }
}

/// A row for each path, a bar for each reach and family. Where the paths with thousands of rules would press
/// all others against the axis, they are cut.
fn chart(
    results: &Results,
    title: String,
    axis: Axis,
    figure: impl Fn(Path, (Reach, Family)) -> Option<Estimate>,
) -> BarChart {
    let places = places(results);
    let series = places
        .iter()
        .map(|of| (label::place(*of), label::place_colour(*of)))
        .collect();
    let marks = |path| {
        places
            .iter()
            .map(|of| figure(path, *of).map(Mark::from))
            .collect()
    };
    let rows: Vec<(Path, Vec<Option<Mark>>)> = results
        .paths
        .iter()
        .map(|state| (state.path, marks(state.path)))
        .collect();
    let longest = |of: fn(Path) -> bool| {
        let chosen = rows.iter().filter(|(path, _)| of(*path));
        chosen
            .flat_map(|(_, marks)| marks)
            .flatten()
            .map(|mark| mark.high)
            .fold(0.0, f64::max)
    };
    let plain = longest(|path| rules_of(path).is_none());
    let limit = (plain > 0.0 && longest(|_| true) > 3.0 * plain).then_some(1.8 * plain);
    let rows = rows
        .into_iter()
        .map(|(path, bars)| Row {
            label: path.to_string(),
            bars,
        })
        .collect();
    BarChart {
        title,
        axis,
        series,
        rows,
        limit,
    }
}

/// Distribution of the round trips of all rounds.
fn latency(results: &Results, place: (Reach, Family)) -> Option<Plot> {
    let samples: Vec<_> = results
        .paths
        .iter()
        .map(|state| {
            let path = state.path;
            let trips = results
                .samples
                .iter()
                .filter(|s| s.path == path && Cell::of(s) == cell(place, Measure::TcpRequest))
                .flat_map(|sample| sample.round_trips_ns.iter().copied())
                .collect::<Vec<u32>>();
            (path.to_string(), label::style(path), trips)
        })
        .filter(|(_, _, trips)| !trips.is_empty())
        .collect();
    (!samples.is_empty()).then(|| Plot {
        name: format!("latency_{}", label::place_slug(place)),
        caption: "Further left is better. Round trips of all rounds together; the upper axis is stretched \
                  towards the slowest, one step for each nine."
            .into(),
        svg: cdf(
            format!("TCP round trips: {}", label::place(place)),
            Axis { label: "round trip".into(), scale: Scale::Log, format: format::ns },
            samples,
        ),
    })
}

/// Time per packet against the number of rules, if there is a path with rules.
fn rules(results: &Results, place: (Reach, Family)) -> Option<Plot> {
    let mark = |path| {
        absolute(
            results,
            path,
            cell(place, Measure::UdpPacket),
            Figure::Value,
        )
        .map(Mark::from)
    };
    let growing = |label: &str, kind: fn(Path) -> bool, colour| {
        let points = results
            .paths
            .iter()
            .map(|state| state.path)
            .filter(|path| kind(*path));
        let points: Vec<_> = points
            .filter_map(|path| {
                let x = f64::from(rules_of(path).unwrap_or(0) + DEMO_RULES);
                Some(Point { x, y: mark(path)? })
            })
            .collect();
        let style = super::plot::Style { colour, dash: "" };
        (!points.is_empty()).then(|| Series {
            label: label.to_owned(),
            style,
            points: Points::Measured(points),
        })
    };
    let level = |path| {
        mark(path).map(|mark| Series {
            label: path.to_string(),
            style: label::style(path),
            points: Points::Level(mark),
        })
    };
    let iptables = |path| matches!(path, Path::Iptables | Path::IptablesRules(_));
    let series = [
        growing("iptables", iptables, Colour::Vermilion),
        growing(
            "nft rules",
            |path| matches!(path, Path::NftRules(_)),
            Colour::Orange,
        ),
        growing(
            "nft set",
            |path| matches!(path, Path::NftSet(_)),
            Colour::Purple,
        ),
        level(Path::Kernel),
        level(Path::Netpath),
        level(Path::Direct),
    ];
    let measured = results.samples.iter().any(|sample| {
        Cell::of(sample) == cell(place, Measure::UdpPacket) && rules_of(sample.path).is_some()
    });
    measured.then(|| Plot {
        name: format!("rules_{}", label::place_slug(place)),
        caption: "Lower is better. Rules in the FORWARD chain, or elements of the nftables set, that a \
                  packet has to pass; paths without such rules are levels. Whiskers and bands are 95 % \
                  intervals."
            .into(),
        svg: lines(&LineChart {
            title: format!("Cost against rules: {}", label::place(place)),
            x: Axis {
                label: "FORWARD rules or set elements".into(),
                scale: Scale::Log,
                format: format::count,
            },
            y: Axis {
                label: "time per packet".into(),
                scale: Scale::Log,
                format: format::ns,
            },
            series: series.into_iter().flatten().collect(),
        }),
    })
}

/// The further rules of a path; `None` for paths that are not named by a number of them.
fn rules_of(path: Path) -> Option<u32> {
    match path {
        Path::IptablesRules(rules) | Path::NftRules(rules) | Path::NftSet(rules) => Some(rules),
        Path::Direct
        | Path::Floor
        | Path::FloorRemote
        | Path::Netpath
        | Path::Kernel
        | Path::Iptables
        | Path::NftFlowtable
        | Path::Nat
        | Path::Bridge
        | Path::Macvlan
        | Path::Ipvlan
        | Path::Vxlan
        | Path::Ipip => None,
    }
}

fn cell(of: (Reach, Family), measure: Measure) -> Cell {
    Cell {
        reach: of.0,
        family: of.1,
        measure,
    }
}
