//! Counters and rates for people.

use netpath::{
    api::{Hop, Rate},
    counters::{Group, GroupBy},
};
use netpath_common::{HopCounter, Outcome};

use crate::Table;

/// What the columns of numbers show.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Units {
    /// Bits instead of bytes.
    pub(super) bits: bool,
    /// The time in which it was counted: then it is shown by the second.
    pub(super) seconds: Option<f64>,
}

impl Units {
    fn heading(self, word: &str) -> String {
        let time = if self.seconds.is_some() { "/s" } else { "" };
        format!("#{word}{time}")
    }

    fn size(self) -> &'static str {
        if self.bits { "bits" } else { "bytes" }
    }

    fn packets(self, packets: u64) -> String {
        match self.seconds {
            Some(seconds) => format!("{:.1}", packets as f64 / seconds),
            None => packets.to_string(),
        }
    }

    fn bytes(self, bytes: u64) -> String {
        let factor = if self.bits { 8 } else { 1 };
        match self.seconds {
            Some(seconds) => format!("{:.0}", factor as f64 * bytes as f64 / seconds),
            None => (u128::from(bytes) * factor).to_string(),
        }
    }

    fn cells(self, counter: HopCounter) -> [String; 2] {
        [self.packets(counter.packets), self.bytes(counter.bytes)]
    }
}

/// A row for each hop, and what came in and what the kernel delivered in all.
pub(super) fn hops<'a>(rows: impl Iterator<Item = &'a Hop>, units: Units) -> Table {
    let names = [
        "node",
        "ingress",
        "egress",
        "+endpoint",
        "outcome",
        "reason",
    ];
    let mut table = Table::new(
        names
            .map(str::to_owned)
            .into_iter()
            .chain([units.heading("packets"), units.heading(units.size())]),
    );
    let (mut came, mut delivered) = (HopCounter::default(), HopCounter::default());
    let (mut count, mut deliveries) = (0, 0);
    for row in rows {
        let counter = HopCounter {
            packets: row.packets,
            bytes: row.bytes,
        };
        if row.outcome == Outcome::Deliver.name() {
            delivered += counter;
            deliveries += 1;
        } else {
            came += counter;
        }
        count += 1;
        table.row(hop_cells(row).into_iter().chain(units.cells(counter)));
    }
    if count > 1 {
        let mut total = |what: &str, counter| {
            let cells = ["total", "", "", "", what, ""].map(str::to_owned);
            table.row(cells.into_iter().chain(units.cells(counter)));
        };
        total("in", came);
        if deliveries > 0 {
            total("deliver", delivered);
        }
    }
    table
}

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

/// The hops of rates.
pub(super) fn rates(rows: &[Rate], units: Units) -> Table {
    hops(rows.iter().map(|rate| &rate.hop), units)
}

/// A row for each group, and their sum.
pub(super) fn groups(groups: &[Group], by: GroupBy, units: Units) -> Table {
    let size = units.size();
    match by {
        GroupBy::Reason => {
            let mut table = Table::new(
                ["node", "outcome", "reason"]
                    .map(str::to_owned)
                    .into_iter()
                    .chain([units.heading("packets"), units.heading(size)]),
            );
            for group in groups {
                let outcome = group.outcome.map(|outcome| outcome.name().to_owned());
                let reason = group.reason.map(|reason| reason.to_string());
                let names =
                    [Some(group.node.clone()), outcome, reason].map(Option::unwrap_or_default);
                table.row(names.into_iter().chain(units.cells(group.from)));
            }
            table
        }
        GroupBy::Interface => ends(groups, by, units, ["in", "out"]),
        GroupBy::Endpoint => ends(groups, by, units, ["sent", "received"]),
    }
}

/// What came from each and what went to it; `words` for these two.
fn ends(groups: &[Group], by: GroupBy, units: Units, words: [&str; 2]) -> Table {
    let [from, to] = words;
    let size = units.size();
    let mut table = Table::new([
        "node".to_owned(),
        by.name().to_owned(),
        units.heading(from),
        units.heading(size),
        "+".to_owned() + &units.heading("redirected"),
        units.heading("punted"),
        units.heading("dropped"),
        units.heading(to),
        units.heading(size),
    ]);
    let mut row = |node: &str, name: &str, group: &Group| {
        let Group { from, to, .. } = group;
        let [sent, sent_bytes] = units.cells(*from);
        let [got, got_bytes] = units.cells(*to);
        table.row([
            node.to_owned(),
            name.to_owned(),
            sent,
            sent_bytes,
            units.packets(group.redirected),
            units.packets(group.punted),
            units.packets(group.dropped),
            got,
            got_bytes,
        ]);
    };
    let mut sum = Group::default();
    for group in groups {
        row(
            &group.node,
            group.name.as_deref().unwrap_or_default(),
            group,
        );
        sum.from += group.from;
        sum.redirected += group.redirected;
        sum.punted += group.punted;
        sum.dropped += group.dropped;
        sum.to += group.to;
    }
    if groups.len() > 1 {
        row("total", "", &sum);
    }
    table
}
