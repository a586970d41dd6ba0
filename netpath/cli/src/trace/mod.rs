//! `netpath trace`.

pub(crate) mod show;

use std::{
    fs::File,
    io::BufWriter,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use netpath::{
    api,
    capabilities::Work,
    model::Name,
    mounts,
    probe::{
        Fragmentation,
        shot::{Kind, ShotOptions},
    },
    trace::{
        Direction, Fate, Filter, Found, LiveRequest, ProbeRequest, Session, Traced, pcapng::Pcapng,
    },
};
use netpath_common::Family;

use super::{Context, Exit, Failure, Refusal, completions, note};

const FORMS: &str = "\
netpath trace SRC DST sends probes from an endpoint or a node to an endpoint, a
node or an address, and follows each. It ends with 0 where all arrived or left
this machine, and with 1 where one vanished.

netpath trace --endpoint E [FILTER] follows the traffic of an endpoint until
Ctrl-C. FILTER is of pcap-filter(7): host, net, port, portrange, proto, with src
and dst, ip, ip6, tcp, udp, icmp, icmp6, and, or, not, parentheses; anything else
is refused. More than 1000 packets a second on a processor are not all followed;
how many were not is said at the end.

While a trace runs, the nodes' decision caches keep nothing, and their traffic
takes longer. Nothing else changes, and nothing stays.";

/// Arguments of `netpath trace`.
#[derive(Debug, clap::Args)]
#[command(after_help = FORMS)]
pub struct TraceArgs {
    /// SRC and DST; with --endpoint a filter
    #[arg(value_name = "SRC DST | FILTER", add = completions::objects())]
    words: Vec<String>,

    /// Follow the traffic of this endpoint, instead of probes
    #[arg(short, long, value_name = "ENDPOINT", add = completions::endpoints())]
    endpoint: Option<Name>,

    /// So many probes [default: 1]; with --endpoint end after so many packets
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: Option<u16>,

    /// What to send
    #[arg(
        long,
        value_enum,
        value_name = "PROTOCOL",
        default_value = "icmp",
        conflicts_with = "endpoint"
    )]
    proto: Proto,

    /// Source port of UDP or TCP [default: any]
    #[arg(
        long,
        value_name = "PORT",
        default_value = "0",
        hide_default_value = true,
        conflicts_with = "endpoint"
    )]
    sport: u16,

    /// Destination port of UDP or TCP [default: 33434 of UDP, 80 of TCP]
    #[arg(long, value_name = "PORT", conflicts_with = "endpoint")]
    dport: Option<u16>,

    /// TTL or hop limit
    #[arg(long, value_name = "TTL", value_parser = clap::value_parser!(u8).range(1..), conflicts_with = "endpoint")]
    ttl: Option<u8>,

    /// Bytes behind the ICMP or UDP header
    #[arg(long, value_name = "BYTES", default_value = "56", value_parser = clap::value_parser!(u16).range(..=65_000), conflicts_with = "endpoint")]
    size: u16,

    /// Do not fragment: what is larger than an MTU is answered with an error
    #[arg(long, conflicts_with = "endpoint")]
    df: bool,

    /// Send from this address, be it SRC's or not [default: SRC's first of the family]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "endpoint")]
    source: Option<IpAddr>,

    /// ipv4 or ipv6, where SRC and DST have both [default: ipv4]
    #[arg(long, value_name = "FAMILY", conflicts_with = "endpoint")]
    family: Option<Family>,

    /// How long to wait for what becomes of a probe: a neighbour that does not answer is given up after 3 s
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = clap::value_parser!(u8).range(1..=60), conflicts_with = "endpoint")]
    timeout: u8,

    /// Show only packets that were dropped or lost
    #[arg(long, requires = "endpoint")]
    drops: bool,

    /// Follow one of so many packets
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..), requires = "endpoint")]
    sample: u32,

    /// End after so long [default: at Ctrl-C]
    #[arg(long, value_name = "SECONDS", requires = "endpoint")]
    duration: Option<u32>,

    /// Also write the packets to a pcapng file, as they were at each place of their way
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Proto {
    /// Echo requests
    Icmp,
    /// Datagrams
    Udp,
    /// Segments that open a connection
    Tcp,
}

impl Proto {
    fn kind(self) -> Kind {
        match self {
            Self::Icmp => Kind::Icmp,
            Self::Udp => Kind::Udp,
            Self::Tcp => Kind::Tcp,
        }
    }

    /// Where traceroute sends to, and where most servers are.
    fn port(self) -> u16 {
        match self {
            Self::Icmp => 0,
            Self::Udp => 33_434,
            Self::Tcp => 80,
        }
    }
}

/// Traces.
pub fn run(args: &TraceArgs, context: &Context) -> Result<Exit, Failure> {
    context.require(Work::Trace)?;
    mounts::require_visible("trace")?;
    match &args.endpoint {
        Some(endpoint) => live(args, endpoint, context),
        None => probes(args, context),
    }
}

fn probes(args: &TraceArgs, context: &Context) -> Result<Exit, Failure> {
    let [from, to] = &args.words[..] else {
        let problem = "name who sends and where to: `netpath trace SRC DST`, or `netpath trace --endpoint E [FILTER]`";
        return Err(Refusal(problem.to_owned()).into());
    };
    if args.proto == Proto::Icmp && (args.sport != 0 || args.dport.is_some()) {
        return Err(Refusal::ports_of_icmp().into());
    }
    let request = ProbeRequest {
        from: from.clone(),
        to: to.clone(),
        family: args.family,
        count: args.count.unwrap_or(1),
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(args.timeout.into()),
        shot: ShotOptions {
            kind: args.proto.kind(),
            src: args.source,
            source_port: args.sport,
            destination_port: args.dport.unwrap_or(args.proto.port()),
            payload_len: args.size.into(),
            ttl: args.ttl,
            fragmentation: match args.df {
                true => Fragmentation::Probe,
                false => Fragmentation::Allow,
            },
        },
    };
    context.catch_signals()?;
    let file = match &args.write {
        Some(path) => Some((begin(path)?, path)),
        None => None,
    };
    let mut session = Session::new()?;
    let found = session.probe(&request, &context.interrupted)?;
    for text in session.notes.iter().chain(&found.refused) {
        note(text);
    }
    tell_losses(found.untold.lost, found.untold.skipped);
    let document = api::Trace::of(&found, &session);
    if let Some((mut file, path)) = file {
        for (traced, shown) in found.packets.iter().zip(&document.packets) {
            let written = file.packet(&traced.packet, &session.places, &show::verdict(shown));
            written.map_err(|error| unwritten(path, &error))?;
        }
        file.finish().map_err(|error| unwritten(path, &error))?;
    }
    match context.output.is_table() {
        true => {
            for packet in &document.packets {
                context.output.raw(show::packet(packet).as_bytes())?;
            }
        }
        false => context.output.show(&document, Vec::new)?,
    }
    Ok(outcome(&found, request.count))
}

/// Whether all probes came to where they were sent, or left this machine.
fn outcome(found: &Found, count: u16) -> Exit {
    let there = found
        .packets
        .iter()
        .filter(|it| it.direction == Direction::There);
    let is_well = |it: &Traced| matches!(it.fate, Fate::Arrived(_) | Fate::Left(_));
    let (well, ill): (Vec<_>, Vec<_>) = there.partition(|it| is_well(it));
    if well.is_empty() && ill.is_empty() {
        note("no probe was seen: were they sent?");
    }
    match ill.is_empty() && well.len() >= usize::from(count) {
        true => Exit::Done,
        false => Exit::Failed,
    }
}

fn live(args: &TraceArgs, endpoint: &Name, context: &Context) -> Result<Exit, Failure> {
    let request = LiveRequest {
        endpoint: endpoint.to_string(),
        filter: Filter::parse(&args.words.join(" ")).map_err(netpath::trace::TraceError::from)?,
        sample: args.sample,
    };
    context.catch_signals()?;
    let mut file = match &args.write {
        Some(path) => Some((begin(path)?, path)),
        None => None,
    };
    let over = args
        .duration
        .map(|it| Instant::now() + Duration::from_secs(it.into()));
    let mut session = Session::new()?;
    let mut shown = 0;
    let mut trouble = None;
    let untold = session.live(&request, &context.interrupted, over, |session, traced| {
        let is_ill = matches!(traced.fate, Fate::Dropped(_) | Fate::Lost(_));
        if args.drops && !is_ill {
            return false;
        }
        if let Err(failure) = one(&traced, session, context, file.as_mut()) {
            trouble = Some(failure);
            return true;
        }
        shown += 1;
        args.count.is_some_and(|count| shown >= count)
    })?;
    for text in &session.notes {
        note(text);
    }
    tell_losses(untold.lost, untold.skipped);
    if let Some(failure) = trouble {
        return Err(failure);
    }
    if let Some((file, path)) = file {
        file.finish().map_err(|error| unwritten(path, &error))?;
    }
    Ok(Exit::Done)
}

/// A file, and what it is called.
type Written<'a> = (Pcapng<BufWriter<File>>, &'a PathBuf);

fn one(
    traced: &Traced,
    session: &Session,
    context: &Context,
    file: Option<&mut Written<'_>>,
) -> Result<(), Failure> {
    let packet = api::TracedPacket::of(traced, session);
    if let Some((file, path)) = file {
        let written = file.packet(&traced.packet, &session.places, &show::verdict(&packet));
        written.map_err(|error| unwritten(path, &error))?;
    }
    match context.output.is_table() {
        true => context.output.raw(show::packet(&packet).as_bytes())?,
        false => context.output.show_line(&packet)?,
    }
    Ok(())
}

fn tell_losses(lost: u64, skipped: u64) {
    if lost > 0 {
        note(format!(
            "{lost} events were lost, as more came than could be read: steps are missing"
        ));
    }
    if skipped > 0 {
        note(format!(
            "{skipped} packets were not followed, as more came than may be followed at a time"
        ));
    }
}

/// What others may read: it is written as the one who asked for it.
fn begin(path: &Path) -> Result<Pcapng<BufWriter<File>>, Failure> {
    if path == Path::new("-") {
        let problem =
            "-w: packets are written to a file, and what became of them to stdout: name a file";
        return Err(Refusal(problem.to_owned()).into());
    }
    netpath::capabilities::act_as_self();
    let file = File::create(path).map_err(|error| unwritten(path, &error))?;
    Pcapng::new(BufWriter::new(file)).map_err(|error| unwritten(path, &error))
}

fn unwritten(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}
