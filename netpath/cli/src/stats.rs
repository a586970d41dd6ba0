//! `netpath stats`.

use std::time::{Duration, Instant};

use netpath::{
    api::{Hop, Hops, Rate, Rates},
    counters::{self, Counters, HopRow},
    model::Name,
    mounts,
};

use super::{Context, Exit, Failure, Table, note};

/// Arguments of `netpath stats`.
#[derive(Debug, clap::Args)]
pub struct StatsArgs {
    /// Only this node [default: all that are up]
    #[arg(long, value_name = "NODE")]
    node: Option<Name>,

    /// Show rates of the hops that packets take, again and again until Ctrl-C
    #[arg(short, long)]
    watch: bool,

    /// Time between two looks
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "1",
        value_parser = interval,
        requires = "watch"
    )]
    interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .filter(|seconds| (0.1..=3600.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "write a number of seconds from 0.1 to 3600".to_owned())
}

/// Shows counters or rates.
pub fn run(args: &StatsArgs, context: &Context) -> Result<Exit, Failure> {
    context.require_root()?;
    mounts::require_visible("stats")?;
    let node = args.node.as_ref().map(Name::as_ref);
    let Counters { rows, unread } = counters::read_all(node)?;
    for error in &unread {
        note(error);
    }
    let rows = if args.watch {
        watch(args.interval, node, rows, context)?
    } else {
        if rows.is_empty() {
            note("no packet was counted");
        }
        let document = Hops::from(&rows[..]);
        context
            .output
            .show(&document, || vec![table(&document.hops)])?;
        rows
    };
    if rows.iter().any(HopRow::is_overflow) {
        note(
            "the per-hop counters are full: the (overflow) rows count the rest by outcome and reason only",
        );
        return Ok(Exit::Degraded);
    }
    Ok(match unread.is_empty() {
        true => Exit::Done,
        false => Exit::Degraded,
    })
}

fn watch(
    interval: Duration,
    node: Option<&str>,
    mut before: Vec<HopRow>,
    context: &Context,
) -> Result<Vec<HopRow>, Failure> {
    context.catch_signals()?;
    let mut then = Instant::now();
    loop {
        context.wait(interval);
        if context.is_interrupted() {
            return Ok(before);
        }
        let after = counters::read_all(node)?.rows;
        let now = Instant::now();
        let rates = rates(&before, &after, now - then);
        context.output.show_next(&rates, || rate_table(&rates))?;
        (before, then) = (after, now);
    }
}

fn rates(before: &[HopRow], after: &[HopRow], time: Duration) -> Rates {
    let seconds = time.as_secs_f64();
    let hops = counters::difference(before, after)
        .into_iter()
        .map(|hop| Rate {
            packets_per_second: rounded(hop.packets as f64 / seconds),
            bytes_per_second: rounded(hop.bytes as f64 / seconds),
            hop: Hop::from(&hop),
        })
        .collect();
    Rates {
        hops,
        seconds: (seconds * 1000.0).round() / 1000.0,
        version: Hops::VERSION,
    }
}

/// To a tenth: the time between two looks is not known any better.
fn rounded(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

const HOP_COLUMNS: [&str; 6] = ["node", "ingress", "egress", "endpoint", "outcome", "reason"];

fn hop_cells(row: &Hop) -> [String; 6] {
    [
        row.node.clone(),
        row.ingress.clone(),
        row.egress.clone().unwrap_or_default(),
        row.endpoint.clone().unwrap_or_default(),
        row.outcome.to_owned(),
        row.reason.clone().unwrap_or_default(),
    ]
}

fn table(rows: &[Hop]) -> Table {
    let mut table = Table::new(HOP_COLUMNS.into_iter().chain(["#packets", "#bytes"]));
    for row in rows {
        let counts = [row.packets.to_string(), row.bytes.to_string()];
        table.row(hop_cells(row).into_iter().chain(counts));
    }
    table
}

fn rate_table(rates: &Rates) -> Table {
    let mut table = Table::new(HOP_COLUMNS.into_iter().chain(["#packets/s", "#bytes/s"]));
    for rate in &rates.hops {
        let rates = [
            format!("{:.1}", rate.packets_per_second),
            format!("{:.0}", rate.bytes_per_second),
        ];
        table.row(hop_cells(&rate.hop).into_iter().chain(rates));
    }
    table
}

#[cfg(test)]
mod tests {
    use netpath::counters::Reason;
    use netpath_common::{Outcome, PuntReason};

    use super::*;

    fn rows() -> Vec<HopRow> {
        vec![
            HopRow {
                node: "node03".into(),
                ingress: "np-demo01".into(),
                egress: None,
                endpoint: Some("demo01".into()),
                outcome: Outcome::Punt,
                reason: Some(Reason::Punt(PuntReason::Arp)),
                packets: 2,
                bytes: 84,
            },
            HopRow {
                node: "node03".into(),
                ingress: "np-demo01".into(),
                egress: Some("np-demo02".into()),
                endpoint: Some("demo01".into()),
                outcome: Outcome::RedirectPeer,
                reason: None,
                packets: 10_000,
                bytes: 980_000,
            },
        ]
    }

    #[test]
    fn a_row_per_hop() {
        let expected = "\
NODE    INGRESS    EGRESS     ENDPOINT  OUTCOME        REASON  PACKETS   BYTES
node03  np-demo01  -          demo01    punt           arp           2      84
node03  np-demo01  np-demo02  demo01    redirect_peer  -         10000  980000
";
        assert_eq!(table(&Hops::from(&rows()[..]).hops).render(false), expected);
    }

    #[test]
    fn the_contract_holds_in_yaml() {
        let yaml = serde_yaml_ng::to_string(&Hops::from(&rows()[..1])).expect("serializes");
        assert!(
            yaml.starts_with("hops:\n- node: node03\n  ingress: np-demo01\n  egress: null\n"),
            "{yaml}"
        );
    }

    #[test]
    fn rates_are_of_what_moved() {
        let rates = rates(&rows()[..1], &rows(), Duration::from_secs(3));
        let expected = "\
NODE    INGRESS    EGRESS     ENDPOINT  OUTCOME        REASON  PACKETS/S  BYTES/S
node03  np-demo01  np-demo02  demo01    redirect_peer  -          3333.3   326667
";
        assert_eq!(rate_table(&rates).render(false), expected);
        let json = serde_json::to_string(&rates).expect("serializes");
        assert!(
            json.ends_with(
                r#""packets":10000,"bytes":980000,"packets_per_second":3333.3,"bytes_per_second":326666.7}],"seconds":3.0,"version":1}"#
            ),
            "{json}"
        );
    }
}
