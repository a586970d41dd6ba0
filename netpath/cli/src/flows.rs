//! `netpath flows`.

use std::net::SocketAddr;

use netpath::{
    api,
    capabilities::Work,
    flows::{self, Flows},
    model::Name,
    mounts,
    provision::ProvisionError,
};

use super::{Context, Exit, Failure, Refusal, Table, completions, note};

/// Arguments of `netpath flows`.
#[derive(Debug, clap::Args)]
pub struct FlowsArgs {
    /// Only this node [default: all that are up]
    #[arg(long, value_name = "NODE", add = completions::nodes())]
    node: Option<Name>,

    /// Only connections of this endpoint
    #[arg(long, value_name = "ENDPOINT", add = completions::endpoints())]
    endpoint: Option<Name>,

    /// Only connections of this side: those of the kernel are all that are kept
    #[arg(long, value_enum, value_name = "SIDE")]
    side: Option<Side>,
}

/// Who forwards a connection's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Side {
    /// The kernel, in both directions
    Kernel,
    /// The fast path, which keeps no connections: refused
    Fast,
}

/// Shows connections.
pub fn run(args: &FlowsArgs, context: &Context) -> Result<Exit, Failure> {
    if args.side == Some(Side::Fast) {
        return Err(Refusal(
            "the fast path keeps no connections, and there are none to list: whatever is between two routed ends and not in \
             `netpath flows --side kernel` takes it; `netpath stats` counts its packets"
                .to_owned(),
        )
        .into());
    }
    context.require(Work::Count)?;
    mounts::require_visible("flows")?;
    let found = args.read()?;
    for error in &found.unread {
        note(error);
    }
    if found.flows.is_empty() {
        note("no connection is known to be the kernel's");
    }
    let document = api::Flows::from(&found);
    context
        .output
        .show(&document, || vec![table(&document), fill(&document)])?;
    Ok(match found.unread.is_empty() {
        true => Exit::Done,
        false => Exit::Degraded,
    })
}

impl FlowsArgs {
    fn read(&self) -> Result<Flows, Failure> {
        let mut found = flows::read_all(self.node.as_ref().map(Name::as_ref))?;
        if let Some(endpoint) = &self.endpoint {
            let endpoint = endpoint.as_ref();
            if !found.endpoints.contains(endpoint) {
                return Err(ProvisionError::NotUp {
                    object: "endpoint",
                    name: endpoint.to_owned(),
                }
                .into());
            }
            found.retain_endpoint(endpoint);
        }
        Ok(found)
    }
}

/// Both ends of a connection are one cell: two IPv6 addresses with their ports have no room side by side, and go on in the line
/// below.
fn table(document: &api::Flows) -> Table {
    let mut table = Table::new([
        "node",
        "+side",
        "protocol",
        "connection",
        "+ingress",
        "#age",
        "#idle",
    ]);
    for flow in &document.flows {
        table.row([
            flow.node.clone(),
            flow.side.to_owned(),
            match flow.identifier {
                Some(identifier) => format!("{} {identifier}", flow.protocol),
                None => flow.protocol.clone(),
            },
            format!("{} > {}", end(&flow.source), end(&flow.destination)),
            flow.ingress.clone().unwrap_or_default(),
            time(flow.age),
            time(flow.idle),
        ]);
    }
    table
}

/// An end of a connection, with the endpoint that it is.
fn end(end: &api::FlowEnd) -> String {
    let address = socket(end);
    match &end.endpoint {
        Some(endpoint) => format!("{address} {endpoint}"),
        None => address,
    }
}

fn socket(end: &api::FlowEnd) -> String {
    let address = end.address.parse().ok();
    match address.zip(end.port) {
        Some((address, port)) => SocketAddr::new(address, port).to_string(),
        None => end.address.clone(),
    }
}

/// A number of seconds, with two digits at least that are not rounded.
fn time(seconds: u64) -> String {
    const UNITS: [(u64, char); 3] = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let fitting = UNITS.iter().find(|(unit, _)| seconds >= 2 * unit);
    match fitting {
        Some((unit, sign)) => format!("{}{sign}", seconds / unit),
        None => format!("{seconds}s"),
    }
}

/// How full the tables are.
fn fill(document: &api::Flows) -> Table {
    let mut table = Table::new([
        "node", "family", "#entries", "#room", "#entered", "#evicted",
    ]);
    for row in &document.tables {
        let numbers = [row.entries, row.room, row.entered, row.evicted];
        let numbers = numbers.map(|number| number.to_string());
        let names = [row.node.clone(), row.family.clone()];
        table.row(names.into_iter().chain(numbers));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_ends_fit_and_stay_whole() {
        let end = |address: &str, port, endpoint: &str| api::FlowEnd {
            address: address.to_owned(),
            port: Some(port),
            endpoint: Some(endpoint.to_owned()),
        };
        let ends = [
            "2001:db8:1234:5678:9abc:def0:1234:5678",
            "fd00:1111:2222:3333:4444:5555:6666:7777",
        ];
        let flow = api::Flow {
            node: "node03".to_owned(),
            side: "kernel",
            protocol: "tcp".to_owned(),
            protocol_number: 6,
            source: end(ends[0], 40_000, "demo01"),
            destination: end(ends[1], 8080, "demo02"),
            identifier: None,
            ingress: Some("vethhost01".to_owned()),
            age: 119,
            idle: 7,
        };
        let document = api::Flows {
            flows: vec![flow],
            ..api::Flows::from(&Flows::default())
        };
        let text = table(&document).render_within(false, Some(80));
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        let words: Vec<&str> = text.split_whitespace().collect();
        for word in [
            format!("[{}]:40000", ends[0]),
            format!("[{}]:8080", ends[1]),
            "demo01".to_owned(),
            "demo02".to_owned(),
        ] {
            assert!(words.contains(&&*word), "no {word} in {text}");
        }
    }

    #[test]
    fn times_are_short() {
        let told = [0, 59, 119, 120, 7_199, 7_200, 172_799, 172_800].map(time);
        let expected = ["0s", "59s", "119s", "2m", "119m", "2h", "47h", "2d"];
        assert_eq!(told, expected);
    }
}
