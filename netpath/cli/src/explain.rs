//! `netpath explain`.

use std::num::ParseIntError;

use netpath::{
    api,
    capabilities::Work,
    explain::{self, Arrives, By, Hop, Protocol, Question, Target, Way},
    model::Name,
    mounts,
};

use super::{
    Context, Exit, Failure, Refusal, advice, completions, note,
    output::{WIDTH, folded},
};

/// Arguments of `netpath explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// Where the packet comes from: an endpoint, a node, or an address of one, or of somebody outside
    #[arg(value_name = "SRC", add = completions::objects())]
    source: Target,

    /// Where it goes, said likewise
    #[arg(value_name = "DST", add = completions::objects())]
    destination: Target,

    /// What it carries: the first packet of a connection, a datagram, or an echo as `ping` sends it
    #[arg(long, value_enum, value_name = "PROTO", default_value = "icmp")]
    proto: Proto,

    /// Its source port, of TCP and UDP
    #[arg(long, value_name = "PORT")]
    sport: Option<u16>,

    /// Its destination port [default: 80 for TCP, 33434 for UDP]
    #[arg(long, value_name = "PORT")]
    dport: Option<u16>,

    /// Its TTL or hop limit [default: 64]
    #[arg(long, value_name = "TTL")]
    ttl: Option<u8>,

    /// Bytes of the IP packet with its header
    #[arg(long, value_name = "BYTES")]
    size: Option<u32>,

    /// It must not be fragmented, of IPv6 not by its sender either
    #[arg(long)]
    df: bool,

    /// The mark that its sender gives it, such as 0x10
    #[arg(long, value_name = "MARK", value_parser = number, default_value = "0")]
    mark: u32,

    /// Its DSCP, 0 to 63
    #[arg(long, value_name = "DSCP", value_parser = clap::value_parser!(u8).range(0..64), default_value_t = 0)]
    dscp: u8,

    /// Explain the way back, too: the default where both ends have names
    #[arg(long, conflicts_with = "no_reply")]
    reply: bool,

    /// Explain the way there only
    #[arg(long)]
    no_reply: bool,

    /// The node that a packet from outside comes to, or that SRC is on [default: where DST is]
    #[arg(long, value_name = "NODE", add = completions::nodes())]
    node: Option<Name>,

    /// Where the fast path decides, say also what the kernel would do
    #[arg(long)]
    diff: bool,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Proto {
    /// The first packet of a TCP connection
    Tcp,
    /// A UDP datagram
    Udp,
    /// An ICMP or ICMPv6 echo
    Icmp,
}

/// A number as `ip` takes marks.
fn number(text: &str) -> Result<u32, ParseIntError> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    }
}

/// Explains the way of a packet.
pub fn run(args: &ExplainArgs, context: &Context) -> Result<Exit, Failure> {
    if args.proto == Proto::Icmp && (args.sport.is_some() || args.dport.is_some()) {
        return Err(Refusal::ports_of_icmp().into());
    }
    context.require(Work::Nodes)?;
    mounts::require_visible("explain")?;
    let found = explain::explain(&args.question())?;
    for problem in &found.unread {
        note(problem);
    }
    if context.output.is_table() {
        context.output.raw(text(&found).as_bytes())?;
    } else {
        let document = api::Explanation::from(&found);
        context.output.show(&document, Vec::new)?;
    }
    Ok(match found.arrives {
        Arrives::Yes => Exit::Done,
        Arrives::No => Exit::Failed,
        Arrives::May => Exit::Degraded,
    })
}

impl ExplainArgs {
    fn question(&self) -> Question {
        Question {
            source: self.source.clone(),
            destination: self.destination.clone(),
            protocol: match self.proto {
                Proto::Tcp => Protocol::Tcp,
                Proto::Udp => Protocol::Udp,
                Proto::Icmp => Protocol::Icmp,
            },
            source_port: self.sport,
            destination_port: self.dport,
            ttl: self.ttl,
            size: self.size,
            dont_fragment: self.df,
            mark: self.mark,
            dscp: self.dscp,
            reply: match (self.reply, self.no_reply) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                (false, false) => None,
            },
            node: self.node.clone(),
            diff: self.diff,
        }
    }
}

/// All of it for people.
fn text(found: &explain::Explanation) -> String {
    let mut text = way("there", &found.there);
    if let Some(back) = &found.back {
        text += "\n";
        text += &way("back", back);
    }
    let sign = match found.arrives {
        Arrives::Yes => "arrives",
        Arrives::No => "does not arrive",
        Arrives::May => "may arrive",
    };
    text += &format!("\n{}\n", wrapped(&format!("{sign}: {}", found.verdict), 0));
    if let Some(finding) = &found.finding {
        let cure = advice::typed(&format!("cure, on {}: {}", finding.object, finding.cure));
        text += &format!("{}\n", wrapped(&cure, 0));
    }
    text
}

/// A way as a tree: a branch for each namespace.
fn way(which: &str, way: &Way) -> String {
    let mut text = format!("{}\n", wrapped(&format!("{which}: {}", way.packet), 0));
    for hop in &way.hops {
        text += &branch(hop);
    }
    let end = format!("it {}", way.end);
    text += &prefixed("└─ ", "   ", &end);
    text
}

fn branch(hop: &Hop) -> String {
    let by = match hop.by {
        By::FastPath => "the fast path decides",
        By::Kernel => "the kernel decides",
    };
    let ingress = match &hop.ingress {
        Some(dev) => format!("in by {dev}"),
        None => "sent here".to_owned(),
    };
    let title = format!("{} {}, {ingress}: {by}", hop.kind.name(), hop.name);
    let mut text = prefixed("├─ ", "│  ", &title);
    for step in &hop.steps {
        text += &prefixed("│    ", "│      ", &format!("{}: {}", step.what, step.text));
    }
    text += &prefixed("│  > ", "│    ", &hop.outcome);
    if let Some(kernel) = &hop.kernel {
        let sign = match kernel.agrees {
            true => "the kernel would do the same",
            false => "the kernel would do otherwise",
        };
        text += &prefixed("│  ~ ", "│    ", &format!("{sign}: it {}", kernel.text));
    }
    text
}

fn wrapped(text: &str, indent: usize) -> String {
    folded(text, usize::from(WIDTH) - indent)
}

/// A text whose first line begins so, and its others otherwise.
fn prefixed(first: &str, others: &str, text: &str) -> String {
    let width = first.chars().count().max(others.chars().count());
    let lines = wrapped(text, width);
    let mut told = String::new();
    for (at, line) in lines.lines().enumerate() {
        let prefix = if at == 0 { first } else { others };
        told += &format!("{prefix}{line}\n");
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_as_ip_takes_them() {
        assert_eq!(number("0x10"), Ok(16));
        assert_eq!(number("16"), Ok(16));
        assert!(number("0xg").is_err() && number("-1").is_err());
    }

    #[test]
    fn lines_of_a_branch_fit_a_terminal() {
        let text = prefixed("├─ ", "│  ", &"word ".repeat(60));
        assert!(text.lines().count() > 3, "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert!(text.lines().skip(1).all(|line| line.starts_with("│  ")));
    }
}
