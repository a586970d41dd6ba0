//! The numbers to reach that growth decides, judged by a run.

use super::{
    results::{ByFamily, PacketKind, ScaleResults, Size, Table},
    summary,
};
use crate::{
    Family, Path, Reach,
    names::grouped,
    stats::{Bound, Estimate, Goal, Unit},
};

/// The tables that growth is counted from.
const SMALL: Size = Size {
    endpoints: 10,
    routes: 10,
};

/// The tables that it is counted to.
const LARGE: Size = Size {
    endpoints: 100_000,
    routes: 1_000_000,
};

/// Routes that are to be installed within [`INSTALLED`].
const ROUTES: u32 = 100_000;
const INSTALLED: Bound = Bound::AtMost(1e9);

/// Endpoints that are to be up within [`UP`].
const ENDPOINTS: u32 = 1_000;
const UP: Bound = Bound::AtMost(30e9);
/// The same while the kernel expedites its grace periods.
const UP_EXPEDITED: Bound = Bound::AtMost(5e9);

/// Destinations that packets are spread over, and the most that a hop may cost then, in nanoseconds.
const SPREAD: u32 = 65_536;
const SPREAD_COST: Bound = Bound::AtMost(250.0);

/// Most that a hop may cost with [`LARGE`] tables, to [`SMALL`] ones.
const GROWTH: Bound = Bound::AtMost(1.15);

/// The goals 5, 6 and 8 of docs/performance.md.
pub fn goals(results: &ScaleResults) -> Vec<Goal> {
    let mut goals = programs(results);
    goals.extend(Family::ALL.map(|family| Goal {
        text: format!(
            "hop cost with {}, spread over {} destinations",
            size(LARGE),
            grouped(SPREAD)
        ),
        ..judged(
            6,
            family,
            SPREAD_COST,
            Unit::Nanoseconds,
            spread(results, family),
        )
    }));
    goals.extend(Family::ALL.map(|family| Goal {
        text: format!(
            "hop cost with {}, to that with {}",
            size(LARGE),
            size(SMALL)
        ),
        ..judged(6, family, GROWTH, Unit::Ratio, growth(results, family))
    }));
    goals.extend(installed(results));
    goals.extend(endpoints(results));
    goals
}

/// In-program cost of one packet again and again, with the smallest and with the largest tables.
fn programs(results: &ScaleResults) -> Vec<Goal> {
    let costs = summary::programs(results);
    let mut goals = Vec::new();
    for (packet, most) in [(PacketKind::SameNode, 30.0), (PacketKind::Remote, 40.0)] {
        for tables in [SMALL, LARGE] {
            for family in Family::ALL {
                let of = (packet, family, tables);
                let found = costs
                    .iter()
                    .find(|it| (it.packet, it.family, it.size) == of);
                let measured = found.map(|cost| cost.same);
                goals.push(Goal {
                    text: format!(
                        "above an empty program, {}, {}",
                        packet.title(),
                        size(tables)
                    ),
                    ..judged(5, family, Bound::AtMost(most), Unit::Nanoseconds, measured)
                });
            }
        }
    }
    goals
}

fn growth(results: &ScaleResults, family: Family) -> Option<Estimate> {
    // Growth is against the smallest tables of the run.
    if results.tables.iter().map(|table| table.size).min() != Some(SMALL) {
        return None;
    }
    let of = (Path::Netpath, Reach::SameNode, family, LARGE, 1);
    hop(results, of)?.growth
}

fn spread(results: &ScaleResults, family: Family) -> Option<Estimate> {
    let of = (Path::Netpath, Reach::SameNode, family, LARGE, SPREAD);
    Some(hop(results, of)?.hop)
}

fn hop(results: &ScaleResults, of: (Path, Reach, Family, Size, u32)) -> Option<summary::HopCost> {
    summary::hops(results)
        .into_iter()
        .find(|hop| (hop.path, hop.reach, hop.family, hop.size, hop.destinations) == of)
}

/// How many prefixes one way of writing took how long.
type Installed = fn(&Table) -> (u32, ByFamily);

fn installed(results: &ScaleResults) -> impl Iterator<Item = Goal> {
    let slowest = |family, of: Installed| {
        let all = results.tables.iter().map(of);
        let times = all.filter(|(count, _)| *count == ROUTES);
        times
            .map(|(_, time)| time.of(family) as f64)
            .max_by(f64::total_cmp)
    };
    let ways: [(&str, Installed); 2] = [
        ("in order and many in a system call", |table| {
            (table.size.routes, table.routes_ns)
        }),
        ("a system call each", |table| {
            (table.single, table.single_ns)
        }),
    ];
    let goals = ways.map(|(way, of)| {
        Family::ALL.map(|family| Goal {
            text: format!("to install {} routes, {way}", grouped(ROUTES)),
            family: Some(family),
            ..once(INSTALLED, Unit::Nanoseconds, slowest(family, of))
        })
    });
    goals.into_iter().flatten()
}

fn endpoints(results: &ScaleResults) -> [Goal; 3] {
    let found = &results.endpoints;
    let up = |nanoseconds: u64| (found.count == ENDPOINTS).then_some(nanoseconds as f64);
    let plain = found.plain_up_ns.and_then(up);
    let memory = (found.count > 0).then(|| found.memory as f64 / f64::from(found.count));
    [
        Goal {
            text: format!("{} endpoints up", grouped(ENDPOINTS)),
            ..once(UP, Unit::Nanoseconds, plain)
        },
        Goal {
            text: format!(
                "{} endpoints up, grace periods expedited",
                grouped(ENDPOINTS)
            ),
            ..once(UP_EXPEDITED, Unit::Nanoseconds, up(found.up_ns))
        },
        Goal {
            text: "memory of an endpoint".to_owned(),
            ..once(Bound::Stated, Unit::Bytes, memory)
        },
    ]
}

/// A goal without its text, by the rounds' interval.
fn judged(number: u8, family: Family, wanted: Bound, unit: Unit, of: Option<Estimate>) -> Goal {
    Goal {
        number,
        text: String::new(),
        family: Some(family),
        wanted,
        unit,
        measured: of,
        verdict: wanted.judge(of.as_ref()),
    }
}

/// One of goal 8's without its text, by the figure itself.
fn once(wanted: Bound, unit: Unit, figure: Option<f64>) -> Goal {
    Goal {
        number: 8,
        text: String::new(),
        family: None,
        wanted,
        unit,
        measured: figure.and_then(|figure| Estimate::new(vec![figure])),
        verdict: wanted.judge_once(figure),
    }
}

fn size(size: Size) -> String {
    if size == SMALL {
        return format!("{} endpoints and routes", SMALL.endpoints);
    }
    format!(
        "{} endpoints and {} routes",
        grouped(size.endpoints),
        grouped(size.routes)
    )
}
