//! The report of `netpath bench scale`: what grows with endpoints, routes and rules.

mod plots;

use super::page::{document, figures, machine_and_settings, words};
use super::plot::Mark;
use super::plots::Plot;
use super::{format, goal, label};
use crate::scale::{ByFamily, MapMemory, ScaleResults, goals, summary};
use crate::stats::Estimate;

pub use plots::plots;

/// How the goals are judged.
const HOW: &str = "Endpoints of one node, unless it says otherwise. 5 and 6 are judged by the 95 % interval of the \
rounds' median: met or missed when the whole of it is, else undecided. What 8 asks for is measured once in a run (where \
several tables yield it, the worst counts), and judged by the figure itself.";

/// The page of a run with its plots.
pub fn page(results: &ScaleResults, plots: &[Plot]) -> String {
    document(
        &format!(
            "netpath bench scale: {}, Linux {}",
            results.machine.cpu, results.machine.kernel
        ),
        &[
            goal::section(&goals(results), HOW),
            figures(plots),
            install_table(results),
            endpoint_table(results),
            program_table(results),
            hop_table(results),
            reaction_table(results),
            rejected_table(results),
            settings_table(results),
        ],
    )
}

fn install_table(results: &ScaleResults) -> String {
    let both = |figure: ByFamily| {
        format!(
            "{} / {}",
            format::ns(figure.v4 as f64),
            format::ns(figure.v6 as f64)
        )
    };
    let rows = results.tables.iter().map(|table| {
        let sum = |maps: &[MapMemory]| counted(memory(maps, ""), format::bytes);
        vec![
            table.size.endpoints.to_string(),
            table.size.routes.to_string(),
            both(table.endpoints_ns),
            both(table.routes_ns),
            both(table.single_ns),
            table.single.to_string(),
            sum(&table.maps_before),
            sum(&table.maps_after),
        ]
    });
    let head = [
        "endpoints",
        "routes",
        "to write endpoints, IPv4 / IPv6",
        "to write routes, IPv4 / IPv6",
        "one by one before, IPv4 / IPv6",
        "how many these were",
        "maps before",
        "maps after",
    ];
    format!(
        "<h2>Filling the tables</h2>{}",
        words(&head, rows.collect())
    )
}

fn endpoint_table(results: &ScaleResults) -> String {
    let found = &results.endpoints;
    let each = |bytes: f64| format::bytes(bytes / f64::from(found.count.max(1)));
    let tenths: Vec<_> = found
        .tenths_ns
        .iter()
        .map(|ns| format::ns(*ns as f64))
        .collect();
    let rows = vec![vec![
        found.count.to_string(),
        format::ns(found.up_ns as f64),
        found
            .plain_up_ns
            .map_or_else(|| "–".to_owned(), |ns| format::ns(ns as f64)),
        tenths.join(", "),
        format::ns(found.down_ns as f64),
        each(found.memory as f64),
        counted(found.maps.map(|bytes| bytes as f64), each),
    ]];
    let head = [
        "endpoints",
        "up",
        "up without expedited grace periods",
        "each tenth of them",
        "down",
        "memory each",
        "of it maps",
    ];
    format!("<h2>Real endpoints</h2>{}", words(&head, rows))
}

fn program_table(results: &ScaleResults) -> String {
    let rows = summary::programs(results).into_iter().map(|cost| {
        vec![
            cost.packet.title().to_owned(),
            cost.family.title().to_owned(),
            cost.size.endpoints.to_string(),
            cost.size.routes.to_string(),
            Mark::from(cost.same).say(format::ns),
            Mark::from(cost.spread).say(format::ns),
        ]
    });
    let head = [
        "packet",
        "family",
        "endpoints",
        "routes",
        "one packet",
        "many destinations",
    ];
    format!("<h2>In the program</h2>{}", words(&head, rows.collect()))
}

fn hop_table(results: &ScaleResults) -> String {
    let rows = summary::hops(results).into_iter().map(|hop| {
        vec![
            hop.path.to_string(),
            label::place((hop.reach, hop.family)),
            hop.size.endpoints.to_string(),
            hop.size.routes.to_string(),
            hop.destinations.to_string(),
            Mark::from(hop.packet).say(format::ns),
            Mark::from(hop.hop).say(format::ns),
            hop.growth
                .map_or("–".into(), |growth| Mark::from(growth).say(format::ratio)),
        ]
    });
    let head = [
        "path",
        "where",
        "endpoints",
        "routes",
        "destinations",
        "per packet",
        "hop cost",
        "to the smallest tables'",
    ];
    format!("<h2>On the wire</h2>{}", words(&head, rows.collect()))
}

fn reaction_table(results: &ScaleResults) -> String {
    let microseconds = |median: Estimate| Mark::from(median).say(|value| format::ns(value * 1e3));
    let rows = summary::reactions(results).into_iter().map(|time| {
        vec![
            time.change.title().to_owned(),
            time.path.to_string(),
            time.family.title().to_owned(),
            microseconds(time.request),
            microseconds(time.first_packet),
            microseconds(time.interval),
        ]
    });
    let head = [
        "change",
        "path",
        "family",
        "request",
        "first packet",
        "between packets",
    ];
    format!(
        "<h2>How soon a change takes effect</h2>{}",
        words(&head, rows.collect())
    )
}

fn rejected_table(results: &ScaleResults) -> String {
    if results.rejected.is_empty() {
        return "<p>No measurement was thrown away: all traffic took the path that it claims.</p>"
            .into();
    }
    let rows = results.rejected.iter().map(|hop| {
        vec![
            hop.round.to_string(),
            hop.path.to_string(),
            label::place((hop.reach, hop.family)),
            hop.size.endpoints.to_string(),
            hop.size.routes.to_string(),
            hop.reason.clone(),
        ]
    });
    let head = [
        "round",
        "path",
        "where",
        "endpoints",
        "routes",
        "why it was thrown away",
    ];
    format!("<h2>What is not here</h2>{}", words(&head, rows.collect()))
}

fn settings_table(results: &ScaleResults) -> String {
    let settings = &results.settings;
    let rows = [
        ("rounds", settings.rounds.to_string()),
        ("seed", settings.seed.to_string()),
        ("each measurement", format!("{} ms", settings.cell_ms)),
        ("UDP payload", format!("{} bytes", settings.udp_payload)),
        ("most destinations", settings.destinations_max.to_string()),
        (
            "room for endpoint addresses of each family",
            settings.max_endpoints.to_string(),
        ),
        (
            "room for prefixes of each family",
            settings.max_routes.to_string(),
        ),
        ("pinned to processor", settings.processor.to_string()),
        ("quick run", label::yes_no(settings.quick).to_owned()),
    ];
    machine_and_settings(&results.machine, &rows)
}

/// Memory of the maps whose names start so, where the kernel counts it.
fn memory(maps: &[MapMemory], prefix: &str) -> Option<f64> {
    maps.iter()
        .filter(|map| map.map.starts_with(prefix))
        .map(|map| map.bytes.map(|bytes| bytes as f64))
        .sum()
}

fn counted(bytes: Option<f64>, format: impl Fn(f64) -> String) -> String {
    bytes.map_or_else(|| "not counted by this kernel".to_owned(), format)
}

#[cfg(test)]
mod tests;
