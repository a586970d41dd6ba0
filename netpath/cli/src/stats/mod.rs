//! `netpath stats`.

mod tables;

use std::{
    cmp::Reverse,
    time::{Duration, Instant},
};

use netpath::{
    api::{Groups, Hop, Hops, Rate, Rates},
    capabilities::Work,
    counters::{self, Counters, Group, GroupBy, HopRow},
    model::Name,
    mounts,
    provision::ProvisionError,
};

use self::tables::Units;
use super::{Context, Exit, Failure, completions, note};

/// Arguments of `netpath stats`.
#[derive(Debug, clap::Args)]
pub struct StatsArgs {
    /// Only this node [default: all that are up]
    #[arg(long, value_name = "NODE", add = completions::nodes())]
    node: Option<Name>,

    /// Only what this endpoint sent or got
    #[arg(long, value_name = "ENDPOINT", add = completions::endpoints())]
    endpoint: Option<Name>,

    /// What to sum up by
    #[arg(long, value_enum, value_name = "WHAT", default_value = "hop")]
    by: By,

    /// The order of the rows
    #[arg(long, value_enum, value_name = "ORDER", default_value = "name")]
    sort: Sort,

    /// Bits instead of bytes, in tables
    #[arg(long)]
    bits: bool,

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

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// A way through a node: both interfaces, what became of the packets, and why
    Hop,
    /// An interface: what came in by it and what left by it
    Interface,
    /// An endpoint: what it sent and what it got
    Endpoint,
    /// What became of packets, and why
    Reason,
}

/// Which rows come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Sort {
    /// By their names
    Name,
    /// Those with most packets first
    Packets,
    /// Those with most bytes first
    Bytes,
}

impl By {
    fn group(self) -> Option<GroupBy> {
        match self {
            Self::Hop => None,
            Self::Interface => Some(GroupBy::Interface),
            Self::Endpoint => Some(GroupBy::Endpoint),
            Self::Reason => Some(GroupBy::Reason),
        }
    }
}

impl Sort {
    fn rows(self, rows: &mut [HopRow]) {
        match self {
            Self::Name => {}
            Self::Packets => rows.sort_by_key(|row| Reverse(row.packets)),
            Self::Bytes => rows.sort_by_key(|row| Reverse(row.bytes)),
        }
    }

    fn groups(self, groups: &mut [Group]) {
        match self {
            Self::Name => {}
            Self::Packets => {
                groups.sort_by_key(|group| Reverse(group.from.packets + group.to.packets));
            }
            Self::Bytes => groups.sort_by_key(|group| Reverse(group.from.bytes + group.to.bytes)),
        }
    }
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
    context.require(Work::Count)?;
    mounts::require_visible("stats")?;
    let counters = args.read()?;
    let exit = match counters.unread.is_empty() {
        true => Exit::Done,
        false => Exit::Degraded,
    };
    for error in &counters.unread {
        note(error);
    }
    let counters = if args.watch {
        args.watch(counters, context)?
    } else {
        args.show(&counters, context)?;
        counters
    };
    if counters.rows.iter().any(HopRow::is_overflow) {
        note(
            "the per-hop counters are full: the (overflow) rows count the rest by outcome and reason only",
        );
        return Ok(Exit::Degraded);
    }
    Ok(exit)
}

impl StatsArgs {
    /// What was asked for, of what is counted now.
    fn read(&self) -> Result<Counters, Failure> {
        let mut counters = counters::read_all(self.node.as_ref().map(Name::as_ref))?;
        if let Some(endpoint) = &self.endpoint {
            let endpoint = endpoint.as_ref();
            let is_known = counters.knows_endpoint(endpoint);
            counters.retain_endpoint(endpoint);
            if !is_known && counters.rows.is_empty() {
                return Err(ProvisionError::NotUp {
                    object: "endpoint",
                    name: endpoint.to_owned(),
                }
                .into());
            }
        }
        Ok(counters)
    }

    fn show(&self, counters: &Counters, context: &Context) -> Result<(), Failure> {
        if counters.rows.is_empty() {
            note("no packet was counted");
        }
        let units = Units {
            bits: self.bits,
            seconds: None,
        };
        let Some(by) = self.by.group() else {
            let mut rows = counters.rows.clone();
            self.sort.rows(&mut rows);
            let document = Hops::from(&rows[..]);
            context.output.show(&document, || {
                vec![tables::hops(document.hops.iter(), units)]
            })?;
            return Ok(());
        };
        let mut groups = counters.groups(&counters.rows, by);
        self.sort.groups(&mut groups);
        let document = Groups::new(by, &groups, None);
        context
            .output
            .show(&document, || vec![tables::groups(&groups, by, units)])?;
        Ok(())
    }

    fn watch(&self, mut before: Counters, context: &Context) -> Result<Counters, Failure> {
        context.catch_signals()?;
        let mut then = Instant::now();
        loop {
            context.wait(self.interval);
            if context.is_interrupted() {
                return Ok(before);
            }
            let after = self.read()?;
            let now = Instant::now();
            let mut moved = counters::difference(&before.rows, &after.rows);
            self.sort.rows(&mut moved);
            self.show_moved(&after, &moved, now - then, context)?;
            (before, then) = (after, now);
        }
    }

    fn show_moved(
        &self,
        counters: &Counters,
        moved: &[HopRow],
        time: Duration,
        context: &Context,
    ) -> Result<(), Failure> {
        let units = Units {
            bits: self.bits,
            seconds: Some(time.as_secs_f64()),
        };
        let Some(by) = self.by.group() else {
            let rates = rates(moved, time);
            context
                .output
                .show_next(&rates, || tables::rates(&rates.hops, units))?;
            return Ok(());
        };
        let mut groups = counters.groups(moved, by);
        self.sort.groups(&mut groups);
        let document = Groups::new(by, &groups, Some(milliseconds(time)));
        context
            .output
            .show_next(&document, || tables::groups(&groups, by, units))?;
        Ok(())
    }
}

fn rates(moved: &[HopRow], time: Duration) -> Rates {
    let seconds = time.as_secs_f64();
    let hops = moved
        .iter()
        .map(|hop| Rate {
            packets_per_second: rounded(hop.packets as f64 / seconds),
            bytes_per_second: rounded(hop.bytes as f64 / seconds),
            hop: Hop::from(hop),
        })
        .collect();
    Rates {
        hops,
        seconds: milliseconds(time),
        version: Hops::VERSION,
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// To a tenth: the time between two looks is not known any better.
fn rounded(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
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
total   -          -          -         in             -         10002  980084
";
        let hops = Hops::from(&rows()[..]).hops;
        let table = tables::hops(hops.iter(), Units::default());
        assert_eq!(table.render(false), expected);
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
        let time = Duration::from_secs(3);
        let rates = rates(&counters::difference(&rows()[..1], &rows()), time);
        let expected = "\
NODE    INGRESS    EGRESS     ENDPOINT  OUTCOME        REASON  PACKETS/S  BYTES/S
node03  np-demo01  np-demo02  demo01    redirect_peer  -          3333.3   326667
";
        let units = |bits| Units {
            bits,
            seconds: Some(3.0),
        };
        let table = tables::rates(&rates.hops, units(false));
        assert_eq!(table.render(false), expected);
        let table = tables::rates(&rates.hops, units(true)).render(false);
        assert!(
            table.contains("BITS/S\n") && table.contains(" 2613333\n"),
            "{table}"
        );
        let json = serde_json::to_string(&rates).expect("serializes");
        assert!(
            json.ends_with(
                r#""packets":10000,"bytes":980000,"packets_per_second":3333.3,"bytes_per_second":326666.7}],"seconds":3.0,"version":1}"#
            ),
            "{json}"
        );
    }

    fn counters() -> Counters {
        let ends = [("np-demo01", "demo01"), ("np-demo02", "demo02")];
        let endpoints =
            ends.map(|(dev, name)| (("node03".to_owned(), dev.to_owned()), name.to_owned()));
        Counters {
            rows: rows(),
            endpoints: endpoints.into(),
            unread: Vec::new(),
        }
    }

    fn summed(by: GroupBy, sort: Sort, bits: bool) -> String {
        let counters = counters();
        let mut groups = counters.groups(&counters.rows, by);
        sort.groups(&mut groups);
        let units = Units {
            bits,
            seconds: None,
        };
        tables::groups(&groups, by, units).render(false)
    }

    #[test]
    fn sums_by_what_was_asked_for() {
        let expected = "\
NODE    ENDPOINT   SENT   BYTES  REDIRECTED  PUNTED  DROPPED  RECEIVED   BYTES
node03  demo01    10002  980084       10000       2        0         0       0
node03  demo02        0       0           0       0        0     10000  980000
total   -         10002  980084       10000       2        0     10000  980000
";
        assert_eq!(summed(GroupBy::Endpoint, Sort::Name, false), expected);
        let interfaces = summed(GroupBy::Interface, Sort::Name, false);
        assert!(
            interfaces.starts_with("NODE    INTERFACE     IN "),
            "{interfaces}"
        );
        let expected = "\
NODE    OUTCOME        REASON  PACKETS     BITS
node03  redirect_peer  -         10000  7840000
node03  punt           arp           2      672
";
        assert_eq!(summed(GroupBy::Reason, Sort::Bytes, true), expected);
    }

    #[test]
    fn most_first_where_it_is_asked_for() {
        let packets = |sort: Sort| {
            let mut rows = rows();
            sort.rows(&mut rows);
            rows.iter().map(|row| row.packets).collect::<Vec<_>>()
        };
        assert_eq!(packets(Sort::Name), [2, 10_000]);
        assert_eq!(packets(Sort::Packets), [10_000, 2]);
        assert_eq!(packets(Sort::Bytes), [10_000, 2]);
    }
}
