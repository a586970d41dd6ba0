//! `netpath bench scale`.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
};

use netpath::capabilities::{self, Work};
use netpath_bench::{
    Path, Reach, report,
    scale::{self, MapMemory, Progress, ScaleOptions, ScaleResults, Size, summary},
    stats::Estimate,
};

use crate::{Context, Exit, Failure, Table, note};

/// Arguments of `netpath bench scale`.
#[derive(Debug, clap::Args)]
pub struct ScaleArgs {
    /// Small sizes and two rounds, to see that all works
    #[arg(long)]
    quick: bool,

    /// Rounds of every measurement
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,

    /// Seed of the synthetic addresses and of the order in each round
    #[arg(long)]
    seed: Option<u64>,

    /// Real endpoints to make and remove; a thousand may take half a minute
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    endpoints: Option<u32>,

    /// Also write scale.html and its plots into this directory, which is looked at before anything is measured
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

/// Measures how cost grows.
pub fn run(args: &ScaleArgs, context: &Context) -> Result<Exit, Failure> {
    context.require(Work::Bench)?;
    if let Some(directory) = &args.report {
        report::check(directory, report::Kind::Growth)?;
    }
    context.catch_signals()?;
    let mut options = if args.quick {
        ScaleOptions::quick()
    } else {
        ScaleOptions::full()
    };
    options.rounds = args.rounds.unwrap_or(options.rounds);
    options.seed = args.seed.unwrap_or(options.seed);
    options.real_endpoints = args.endpoints.unwrap_or(options.real_endpoints);
    options.interrupted = context.interrupted.clone();
    let terminal = io::stderr().is_terminal();
    let mut last = String::new();
    let result = scale::run(&options, &mut |progress| {
        show(&progress, terminal, &mut last);
    });
    if terminal {
        // Clears the line of the progress.
        let _unprintable = write!(io::stderr(), "\r\x1b[K");
    }
    let results = result?;
    context.output.show(&results, || tables(&results))?;
    for rejected in &results.rejected {
        note(format!(
            "round {}, {}: thrown away: {}",
            rejected.round + 1,
            rejected.path,
            rejected.reason
        ));
    }
    if let Some(directory) = &args.report {
        capabilities::act_as_self();
        super::tell(&report::write_scale(directory, &results)?);
    }
    Ok(if results.rejected.is_empty() {
        Exit::Done
    } else {
        Exit::Degraded
    })
}

/// A line that is written over on a terminal; elsewhere one line for each that differs from the last.
fn show(progress: &Progress, terminal: bool, last: &mut String) {
    let Progress {
        step,
        of,
        part,
        detail,
    } = progress;
    let line = format!("{part}: {detail}");
    // That progress cannot be shown is no reason to stop.
    let _unprintable = if terminal {
        write!(io::stderr(), "\r\x1b[K{step}/{of}  {line}")
    } else if line == *last {
        Ok(())
    } else {
        writeln!(io::stderr(), "{step}/{of}  {line}")
    };
    *last = line;
}

fn tables(results: &ScaleResults) -> Vec<Table> {
    vec![
        install(results),
        real_endpoints(results),
        programs(results),
        hops(results),
        reactions(results),
        super::tables::goals(&scale::goals(results)),
    ]
}

fn install(results: &ScaleResults) -> Table {
    let mut table = Table::new([
        "endpoints",
        "#routes",
        "#ipv4 endpoints (ms)",
        "#ipv6 endpoints (ms)",
        "#ipv4 routes (ms)",
        "#ipv6 routes (ms)",
        "#ns each",
        "#one by one",
        "#endpoint maps (MiB)",
        "#route maps (MiB)",
    ]);
    for found in &results.tables {
        let both = found.routes_ns.v4 + found.routes_ns.v6;
        let single = found.single_ns.v4 + found.single_ns.v6;
        table.row([
            found.size.endpoints.to_string(),
            found.size.routes.to_string(),
            milliseconds(found.endpoints_ns.v4),
            milliseconds(found.endpoints_ns.v6),
            milliseconds(found.routes_ns.v4),
            milliseconds(found.routes_ns.v6),
            each(both, found.size.routes),
            each(single, found.single),
            mebibytes(&found.maps_after, "endpoints_"),
            mebibytes(&found.maps_after, "routes_"),
        ]);
    }
    table
}

fn each(nanoseconds: u64, of_each_family: u32) -> String {
    match of_each_family {
        0 => String::new(),
        count => format!("{:.0}", nanoseconds as f64 / (2.0 * f64::from(count))),
    }
}

fn milliseconds(nanoseconds: u64) -> String {
    format!("{:.1}", nanoseconds as f64 / 1e6)
}

fn mebibytes(maps: &[MapMemory], prefix: &str) -> String {
    let ours = maps.iter().filter(|map| map.map.starts_with(prefix));
    let bytes: Option<u64> = ours.map(|map| map.bytes).sum();
    counted(bytes, f64::from(1 << 20))
}

fn counted(bytes: Option<u64>, of: f64) -> String {
    bytes.map_or_else(
        || "not counted".to_owned(),
        |bytes| format!("{:.1}", bytes as f64 / of),
    )
}

fn real_endpoints(results: &ScaleResults) -> Table {
    let found = &results.endpoints;
    let mut table = Table::new([
        "real endpoints",
        "#up (s)",
        "#not expedited (s)",
        "#first tenth (s)",
        "#last tenth (s)",
        "#down (s)",
        "#memory each (KiB)",
        "#of it maps (KiB)",
    ]);
    let seconds = |nanoseconds: u64| format!("{:.2}", nanoseconds as f64 / 1e9);
    let tenth = |tenth: Option<&u64>| tenth.map(|&tenth| seconds(tenth)).unwrap_or_default();
    let count = f64::from(found.count.max(1)) * 1024.0;
    table.row([
        found.count.to_string(),
        seconds(found.up_ns),
        found.plain_up_ns.map(seconds).unwrap_or_default(),
        tenth(found.tenths_ns.first()),
        tenth(found.tenths_ns.last()),
        seconds(found.down_ns),
        format!("{:.0}", found.memory as f64 / count),
        counted(found.maps, count),
    ]);
    table
}

fn programs(results: &ScaleResults) -> Table {
    let mut table = Table::new([
        "in the program",
        "family",
        "#endpoints",
        "#routes",
        "#same packet (ns)",
        "#95 %",
        "#many destinations (ns)",
        "#95 %",
    ]);
    for cost in summary::programs(results) {
        let Size { endpoints, routes } = cost.size;
        table.row([
            cost.packet.title().to_owned(),
            cost.family.to_string(),
            endpoints.to_string(),
            routes.to_string(),
            format!("{:.0}", cost.same.median),
            interval(cost.same, 0),
            format!("{:.0}", cost.spread.median),
            interval(cost.spread, 0),
        ]);
    }
    table
}

fn hops(results: &ScaleResults) -> Table {
    let mut table = Table::new([
        "path",
        "family",
        "#endpoints",
        "#routes",
        "#destinations",
        "#ns/packet",
        "#hop cost (ns)",
        "#95 %",
        "#to smallest",
        "#95 %",
    ]);
    for cost in summary::hops(results) {
        let ours = cost.path == Path::Netpath;
        let size = |figure: u32| {
            if ours {
                figure.to_string()
            } else {
                String::new()
            }
        };
        let growth = |show: &dyn Fn(Estimate) -> String| cost.growth.map(show).unwrap_or_default();
        table.row([
            match cost.reach {
                Reach::SameNode => cost.path.to_string(),
                Reach::TwoNodes => format!("{}, to another node", cost.path),
            },
            cost.family.to_string(),
            size(cost.size.endpoints),
            size(cost.size.routes),
            cost.destinations.to_string(),
            format!("{:.0}", cost.packet.median),
            format!("{:.0}", cost.hop.median),
            interval(cost.hop, 0),
            growth(&|median| format!("{:.2}", median.median)),
            growth(&|median| interval(median, 2)),
        ]);
    }
    table
}

fn reactions(results: &ScaleResults) -> Table {
    let mut table = Table::new([
        "change",
        "path",
        "family",
        "#request (us)",
        "#first packet (us)",
        "#95 %",
        "#between packets (us)",
    ]);
    for time in summary::reactions(results) {
        table.row([
            time.change.title().to_owned(),
            time.path.to_string(),
            time.family.to_string(),
            format!("{:.0}", time.request.median),
            format!("{:.0}", time.first_packet.median),
            interval(time.first_packet, 0),
            format!("{:.1}", time.interval.median),
        ]);
    }
    table
}

fn interval(median: Estimate, digits: usize) -> String {
    format!("{:.digits$} to {:.digits$}", median.low, median.high)
}
