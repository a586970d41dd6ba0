//! `netpath demo`.

use std::fmt::Display;

use netpath::{Ends as _, capabilities::Work, datapath::ObjectKind, model::Topology};
use netpath_common::Family;

use super::{
    Check, CountedHop, CountedInterface, DemoError, DemoOptions, DemoReport, Event, Hint,
    Measurement, Narrator, Path,
};
use crate::{Context, Exit, Failure, Output, Table, note, output::StdoutError};

/// Arguments of `netpath demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Leave the lab up and say what to try next
    #[arg(long)]
    pub keep: bool,

    /// Log every packet to stderr; nothing is measured then
    #[arg(long)]
    pub debug_datapath: bool,
}

/// Tells the story of the built-in lab.
pub fn run(args: &DemoArgs, context: &Context) -> Result<Exit, Failure> {
    context.require(Work::Demo)?;
    context.catch_signals()?;
    let options = DemoOptions {
        keep: args.keep,
        object: if args.debug_datapath {
            ObjectKind::Logging
        } else {
            ObjectKind::Plain
        },
        interrupted: context.interrupted.clone(),
    };
    let report = if context.output.is_table() {
        aloud(&options, context.output)?
    } else {
        let report = super::run(&options, &mut ()).map_err(ended)?;
        context.output.show(&report, Vec::new)?;
        report
    };
    if report.passed {
        return Ok(Exit::Done);
    }
    let failed = report.steps.iter().flat_map(|step| &step.checks);
    for check in failed.filter(|check| !check.passed) {
        note(failure(check));
    }
    Ok(Exit::Failed)
}

fn aloud(options: &DemoOptions, output: Output) -> Result<DemoReport, Failure> {
    let mut teller = Teller {
        output,
        colour: output.is_coloured(),
        unwritten: None,
    };
    let report = super::run(options, &mut teller).map_err(ended)?;
    teller.close(&report);
    match teller.unwritten {
        // That nobody reads any more is no failure.
        None | Some(StdoutError::Closed) => Ok(report),
        Some(error) => Err(error.into()),
    }
}

/// Whatever went wrong, what was made is gone; where it is not, or nothing was made, the error says so itself.
fn ended(error: DemoError) -> Failure {
    let told =
        error.is_refusal() || matches!(error, DemoError::Interrupted | DemoError::Removal { .. });
    let failure = Failure::from(error);
    if told {
        failure
    } else {
        failure.and("the lab was removed")
    }
}

fn failure(check: &Check) -> String {
    format!(
        "check failed: {}{}: expected {}, seen {}",
        check
            .family
            .map_or_else(String::new, |family| format!("{family}: ")),
        check.what,
        check.expected,
        check.seen
    )
}

/// Prints the story while it happens.
struct Teller {
    output: Output,
    colour: bool,
    /// The first failure to print. It is no reason to stop half-way.
    unwritten: Option<StdoutError>,
}

#[derive(Clone, Copy)]
enum Style {
    Heading,
    Command,
    Passed,
    Failed,
}

impl Style {
    /// Select Graphic Rendition (ECMA-48, 8.3.117): bold, cyan, green, bold red.
    const fn code(self) -> &'static str {
        match self {
            Self::Heading => "1",
            Self::Command => "36",
            Self::Passed => "32",
            Self::Failed => "1;31",
        }
    }
}

impl Narrator for Teller {
    fn tell(&mut self, event: Event<'_>) {
        match event {
            Event::Step { number, of, title } => self.step(number, of, title),
            Event::Lab(topology) => self.table(&lab(topology)),
            Event::Command(command) => {
                let command = self.styled(Style::Command, format!("$ {command}"));
                self.line(format!("  {command}"));
            }
            Event::Output(text) => text
                .lines()
                .for_each(|line| self.line(format!("    {line}"))),
            Event::Say(text) => self.line(format!("  {text}")),
            Event::Check(check) => self.check(check),
            Event::Measured(measurements) => self.measured(measurements),
            Event::Hops(hops) => self.table(&hop_table(hops)),
            Event::Interfaces(interfaces) => self.table(&interface_table(interfaces)),
            Event::Hints(hints) => self.hints(hints),
        }
    }
}

impl Teller {
    fn line(&mut self, line: impl Display) {
        if self.unwritten.is_none() {
            self.unwritten = self.output.line(line).err();
        }
    }

    fn styled(&self, style: Style, text: impl Display) -> String {
        if self.colour {
            format!("\x1b[{}m{text}\x1b[0m", style.code())
        } else {
            text.to_string()
        }
    }

    fn step(&mut self, number: usize, of: usize, title: &str) {
        if number > 1 {
            self.line("");
        }
        let heading = self.styled(Style::Heading, format!("{number}/{of}  {title}"));
        self.line(heading);
    }

    fn check(&mut self, check: &Check) {
        let family = check
            .family
            .map_or_else(String::new, |family| format!("{family}  "));
        let Check {
            what,
            expected,
            seen,
            ..
        } = check;
        let line = if check.passed {
            let mark = self.styled(Style::Passed, "ok");
            format!("  {mark}  {family}{what}: {seen}")
        } else {
            let mark = self.styled(Style::Failed, "FAILED");
            format!("  {mark}  {family}{what}: expected {expected}, seen {seen}")
        };
        self.line(line);
    }

    fn table(&mut self, table: &Table) {
        for line in table.render(self.colour).lines() {
            self.line(format!("    {line}"));
        }
    }

    fn measured(&mut self, measurements: &[Measurement]) {
        if measurements.is_empty() {
            return;
        }
        self.line("  Latency of a UDP round trip on one core, and 64-byte UDP packets per second (a glance, not a benchmark):");
        self.table(&measurement_table(measurements));
    }

    fn hints(&mut self, hints: &[Hint]) {
        let width = hints
            .iter()
            .map(|hint| hint.command.len())
            .max()
            .unwrap_or(0);
        for Hint { command, shows } in hints {
            let command = self.styled(Style::Command, format!("{command:width$}"));
            self.line(format!("    {command}  {shows}"));
        }
    }

    fn close(&mut self, report: &DemoReport) {
        let checks = report.steps.iter().flat_map(|step| &step.checks);
        let (passed, failed): (Vec<_>, Vec<_>) = checks.partition(|check| check.passed);
        let text = if report.passed {
            self.styled(
                Style::Passed,
                format!("All {} checks are true", passed.len()),
            )
        } else {
            let all = passed.len() + failed.len();
            self.styled(
                Style::Failed,
                format!("{} of {all} checks failed", failed.len()),
            )
        };
        self.line("");
        self.line(format!("{text} ({:.1} s).", report.seconds));
    }
}

fn lab(topology: &Topology) -> Table {
    let list = |addresses: &[ipnet::IpNet]| {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        addresses.join(" ")
    };
    let mut table = Table::new(["node", "interface", "endpoint", "addresses"]);
    for node in &topology.nodes {
        for uplink in &node.uplinks {
            table.row([
                node.name.to_string(),
                uplink.dev.to_string(),
                String::new(),
                list(&uplink.addresses),
            ]);
        }
        for endpoint in &node.endpoints {
            table.row([
                node.name.to_string(),
                endpoint.host_dev.to_string(),
                endpoint.name.to_string(),
                list(&endpoint.addresses),
            ]);
        }
    }
    table
}

fn measurement_table(measurements: &[Measurement]) -> Table {
    let mut table = Table::new(["", "family", "#four rules", "#fast path", "#ratio"]);
    type Figure = (&'static str, fn(&Measurement) -> f64);
    let figures: [Figure; 3] = [
        ("latency, median (us)", |m| m.latency_p50_us),
        ("latency, 99th percentile (us)", |m| m.latency_p99_us),
        ("packets per second", |m| m.packets_per_second),
    ];
    for (name, figure) in figures {
        for family in Family::ALL {
            let of = |path| {
                measurements
                    .iter()
                    .find(|m| m.path == path && m.family == family)
                    .map(figure)
            };
            let (rules, fast) = (of(Path::ForwardRules), of(Path::FastPath));
            let ratio = rules.zip(fast).map(|(rules, fast)| fast / rules);
            table.row([
                name.to_owned(),
                family.to_string(),
                rules.map(amount).unwrap_or_default(),
                fast.map(amount).unwrap_or_default(),
                ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            ]);
        }
    }
    table
}

/// A tenth is worth showing of small amounts only.
fn amount(figure: f64) -> String {
    if figure < 1_000.0 {
        format!("{figure:.1}")
    } else {
        format!("{figure:.0}")
    }
}

fn hop_table(hops: &[CountedHop]) -> Table {
    let mut table = Table::new([
        "sent", "node", "ingress", "egress", "outcome", "reason", "#packets", "#bytes",
    ]);
    for CountedHop { family, hop } in hops {
        table.row([
            family.to_string(),
            hop.node.clone(),
            hop.ingress.clone(),
            hop.egress.clone().unwrap_or_default(),
            hop.outcome.name().to_owned(),
            hop.reason
                .map(|reason| reason.to_string())
                .unwrap_or_default(),
            hop.packets.to_string(),
            hop.bytes.to_string(),
        ]);
    }
    table
}

fn interface_table(interfaces: &[CountedInterface]) -> Table {
    let mut table = Table::new([
        "node",
        "interface",
        "#kernel received",
        "#redirected",
        "#punted",
        "#dropped",
    ]);
    for counted in interfaces {
        let CountedInterface {
            kernel_rx_packets,
            redirected,
            punted,
            dropped,
            ..
        } = counted;
        let counts = [kernel_rx_packets, redirected, punted, dropped].map(u64::to_string);
        table.row(
            [counted.node.clone(), counted.interface.clone()]
                .into_iter()
                .chain(counts),
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(path: Path, latency: f64) -> Measurement {
        Measurement {
            path,
            family: Family::V4,
            latency_p50_us: latency,
            latency_p99_us: 2.0 * latency,
            packets_per_second: 1e6 / latency,
        }
    }

    #[test]
    fn paths_are_shown_side_by_side() {
        let both = [
            measurement(Path::ForwardRules, 20.0),
            measurement(Path::FastPath, 10.0),
        ];
        let text = measurement_table(&both).render(false);
        let row = text
            .lines()
            .find(|line| line.contains("per second"))
            .expect("a row");
        let cells: Vec<_> = row.split_whitespace().collect();
        assert_eq!(
            cells,
            [
                "packets", "per", "second", "ipv4", "50000", "100000", "2.00"
            ]
        );
        let first = measurement_table(&both[..1]).render(false);
        let row = first
            .lines()
            .find(|line| line.contains("median"))
            .expect("a row");
        assert!(row.ends_with("20.0          -      -"), "{row:?}");
    }

    #[test]
    fn the_lab_is_shown_whole() {
        let text = lab(&Topology::builtin_lab()).render(false);
        assert_eq!(text.lines().count(), 1 + 2 + 4);
        assert!(text.contains("10.0.1.2/24 fd00:1::2/64"), "{text}");
    }
}
