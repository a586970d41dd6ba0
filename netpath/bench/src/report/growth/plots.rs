//! Which plots a run of `netpath bench scale` yields.

use super::memory;
use crate::report::format;
use crate::report::plot::{
    Axis, Colour, LineChart, Mark, Point, Points, Scale, Series, Style, lines,
};
use crate::report::plots::Plot;
use crate::scale::summary::{self, HopCost, ProgramCost};
use crate::scale::{PacketKind, ScaleResults, Size, Table};
use crate::{Family, Path, Reach};

/// What a plot's x axis counts.
#[derive(Clone, Copy)]
enum By {
    /// [`Size::endpoints`].
    Endpoints,
    /// [`Size::routes`].
    Routes,
}

impl By {
    fn of(self, size: Size) -> f64 {
        f64::from(match self {
            Self::Endpoints => size.endpoints,
            Self::Routes => size.routes,
        })
    }

    fn axis(self) -> Axis {
        let label = match self {
            Self::Endpoints => "endpoint addresses in the tables, of each family",
            Self::Routes => "prefixes in the tables, of each family",
        };
        Axis {
            label: label.into(),
            scale: Scale::Log,
            format: format::count,
        }
    }
}

/// All plots that `results` has data for.
pub fn plots(results: &ScaleResults) -> Vec<Plot> {
    let hops = summary::hops(results);
    let programs = summary::programs(results);
    [
        hop_plot(&hops, Reach::SameNode, By::Endpoints),
        hop_plot(&hops, Reach::TwoNodes, By::Routes),
        rule_plot(&hops),
        program_plot(&programs, PacketKind::SameNode, By::Endpoints),
        program_plot(&programs, PacketKind::Remote, By::Routes),
        program_plot(&programs, PacketKind::Uplink, By::Endpoints),
        install_plot(results),
        memory_plot(results),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A plot, unless nothing was measured of it.
fn plot(
    name: &str,
    caption: &str,
    title: String,
    axes: (Axis, Axis),
    series: Vec<Series>,
) -> Option<Plot> {
    let empty = |series: &Series| match &series.points {
        Points::Measured(points) => points.is_empty(),
        Points::Curve(points) => points.is_empty(),
        Points::Level(_) => false,
    };
    let series: Vec<_> = series.into_iter().filter(|series| !empty(series)).collect();
    (!series.is_empty()).then(|| Plot {
        name: format!("scale_{name}"),
        caption: caption.to_owned(),
        svg: lines(&LineChart {
            title,
            x: axes.0,
            y: axes.1,
            series,
        }),
    })
}

/// IPv4 and IPv6, to one destination and to many.
const KINDS: [(Family, bool, &str, Style); 4] = [
    (
        Family::V4,
        false,
        "IPv4",
        Style {
            colour: Colour::Blue,
            dash: "",
        },
    ),
    (
        Family::V4,
        true,
        "IPv4, spread",
        Style {
            colour: Colour::Blue,
            dash: "6 3",
        },
    ),
    (
        Family::V6,
        false,
        "IPv6",
        Style {
            colour: Colour::Vermilion,
            dash: "",
        },
    ),
    (
        Family::V6,
        true,
        "IPv6, spread",
        Style {
            colour: Colour::Vermilion,
            dash: "6 3",
        },
    ),
];

fn nanoseconds(label: &str, scale: Scale) -> Axis {
    Axis {
        label: label.into(),
        scale,
        format: format::ns,
    }
}

fn hop_plot(hops: &[HopCost], reach: Reach, by: By) -> Option<Plot> {
    let series = KINDS.iter().map(|(family, spread, label, style)| {
        let found = hops.iter().filter(|hop| {
            (hop.path, hop.reach, hop.family) == (Path::Netpath, reach, *family)
                && (hop.destinations > 1) == *spread
        });
        let points = found.map(|hop| Point {
            x: by.of(hop.size),
            y: Mark::from(hop.hop),
        });
        Series {
            label: (*label).into(),
            style: *style,
            points: Points::Measured(points.collect()),
        }
    });
    let (name, place) = match reach {
        Reach::SameNode => ("hops_same_node", "same node"),
        Reach::TwoNodes => ("hops_two_nodes", "to another node"),
    };
    plot(
        name,
        "Lower is better. Time per packet beyond that of a veth pair between the same two endpoints, measured in \
         turn; spread: over many destinations in random order. Whiskers are 95 % intervals.",
        format!("Hop cost: {place}"),
        (by.axis(), nanoseconds("hop cost", Scale::Linear)),
        series.collect(),
    )
}

/// netpath is a level here: the smallest tables to one destination, as the rules have no tables to fill.
fn rule_plot(hops: &[HopCost]) -> Option<Plot> {
    let same = |hop: &&HopCost| hop.reach == Reach::SameNode;
    let of_family = |family: Family, dash: &'static str| {
        let ours = move |hop: &&HopCost| same(hop) && hop.family == family;
        let points = hops.iter().filter(ours).filter_map(|hop| match hop.path {
            Path::IptablesRules(rules) => Some(Point {
                x: f64::from(rules),
                y: Mark::from(hop.hop),
            }),
            _ => None,
        });
        let name = family.title();
        let mut series = vec![Series {
            label: format!("iptables, {name}"),
            style: Style {
                colour: Colour::Vermilion,
                dash,
            },
            points: Points::Measured(points.collect()),
        }];
        for (path, colour) in [(Path::Kernel, Colour::Green), (Path::Netpath, Colour::Blue)] {
            let found = hops.iter().filter(ours).filter(|hop| hop.path == path);
            if let Some(hop) = found.min_by_key(|hop| (hop.size, hop.destinations)) {
                series.push(Series {
                    label: format!("{path}, {name}"),
                    style: Style { colour, dash },
                    points: Points::Level(Mark::from(hop.hop)),
                });
            }
        }
        series
    };
    if !hops
        .iter()
        .any(|hop| matches!(hop.path, Path::IptablesRules(_)))
    {
        return None;
    }
    let mut series = of_family(Family::V4, "");
    series.extend(of_family(Family::V6, "6 3"));
    plot(
        "rules",
        "Lower is better. Hop cost against the rules in the FORWARD chain that a packet has to pass; kernel and \
         netpath are levels. Whiskers and bands are 95 % intervals.",
        "Hop cost against FORWARD rules".into(),
        (
            Axis {
                label: "FORWARD rules".into(),
                scale: Scale::Log,
                format: format::count,
            },
            nanoseconds("hop cost", Scale::Log),
        ),
        series,
    )
}

fn program_plot(programs: &[ProgramCost], packet: PacketKind, by: By) -> Option<Plot> {
    let series = KINDS.iter().map(|(family, spread, label, style)| {
        let found = programs
            .iter()
            .filter(|cost| (cost.packet, cost.family) == (packet, *family));
        let points = found.map(|cost| Point {
            x: by.of(cost.size),
            y: Mark::from(if *spread { cost.spread } else { cost.same }),
        });
        Series {
            label: (*label).into(),
            style: *style,
            points: Points::Measured(points.collect()),
        }
    });
    plot(
        &format!("program_{}", packet.slug()),
        "Lower is better. Time of one run of the program minus that of an empty one, run in the same way just \
         before; spread: one run for each of many destinations. Whiskers are 95 % intervals.",
        format!("In the program: {}", packet.title()),
        (
            by.axis(),
            nanoseconds("above the empty program", Scale::Linear),
        ),
        series.collect(),
    )
}

fn install_plot(results: &ScaleResults) -> Option<Plot> {
    type Of = fn(&Table) -> (u32, u64);
    let kinds: [(&str, Colour, &'static str, Of); 4] = [
        ("endpoints, IPv4", Colour::Blue, "6 3", |t| {
            (t.size.endpoints, t.endpoints_ns.v4)
        }),
        ("endpoints, IPv6", Colour::Vermilion, "6 3", |t| {
            (t.size.endpoints, t.endpoints_ns.v6)
        }),
        ("routes, IPv4", Colour::Blue, "", |t| {
            (t.size.routes, t.routes_ns.v4)
        }),
        ("routes, IPv6", Colour::Vermilion, "", |t| {
            (t.size.routes, t.routes_ns.v6)
        }),
    ];
    let series = kinds.into_iter().map(|(label, colour, dash, of)| {
        let points = results.tables.iter().map(of);
        let points = points.map(|(x, y)| Point {
            x: f64::from(x),
            y: Mark::exact(y as f64),
        });
        Series {
            label: label.into(),
            style: Style { colour, dash },
            points: Points::Measured(points.collect()),
        }
    });
    plot(
        "install",
        "Lower is better. Time to write so many entries into the tables of one family.",
        "Time to install".into(),
        (
            Axis {
                label: "entries".into(),
                scale: Scale::Log,
                format: format::count,
            },
            nanoseconds("time", Scale::Log),
        ),
        series.collect(),
    )
}

fn memory_plot(results: &ScaleResults) -> Option<Plot> {
    let kinds = [
        ("endpoints_", By::Endpoints, Colour::Blue),
        ("routes_", By::Routes, Colour::Green),
    ];
    let series = kinds.into_iter().map(|(prefix, by, colour)| {
        let points = results.tables.iter().filter_map(|table| {
            Some(Point {
                x: by.of(table.size),
                y: Mark::exact(memory(&table.maps_after, prefix)?),
            })
        });
        Series {
            label: prefix.trim_end_matches('_').into(),
            style: Style { colour, dash: "" },
            points: Points::Measured(points.collect()),
        }
    });
    plot(
        "memory",
        "Lower is better. Memory of the maps of both families as the kernel accounts it, at the capacity that the \
         settings state.",
        "Memory of the maps".into(),
        (
            Axis {
                label: "entries of each family".into(),
                scale: Scale::Log,
                format: format::count,
            },
            Axis {
                label: "memory".into(),
                scale: Scale::Log,
                format: format::bytes,
            },
        ),
        series.collect(),
    )
}
