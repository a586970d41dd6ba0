//! The `netpath` command: parses, calls the libraries, prints, and chooses the exit status.

mod advice;
mod audit;
mod bench;
mod bugreport;
mod capabilities;
mod completions;
mod context;
mod debug_log;
mod demo;
mod doctor;
mod down;
mod endpoint;
mod expedite;
mod explain;
mod failure;
mod fastpath;
mod file;
mod flows;
mod init;
mod man;
mod maps;
mod output;
mod show;
mod signals;
mod stats;
mod table;
mod trace;
mod up;

use std::{path::Path, process::ExitCode};

use clap::{ArgAction, ColorChoice, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use self::{
    context::Context,
    failure::{Failure, Refusal},
    output::{Format, Output, note},
    table::Table,
};

const EXIT_STATUSES: &str = "\
Exit status:
  0  done; explain: the packet arrives
  1  failed, or interrupted and undone; also where no node or endpoint of a
     name is up; explain: the packet does not arrive
  2  wrong usage, or refused before anything was touched: a word, a map or a
     file that there is not, a topology file with mistakes, something of that
     name that is not netpath's, a capability that is lacking
  3  done, but degraded: not all is as it should be, counters overflowed,
     something keeps alive what was removed, cells of the benchmark were
     rejected, the fast path changes what becomes of packets (audit), or a
     packet may arrive (explain)";

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// As wanted.
    Done,
    /// Not at all.
    Failed,
    /// Wrong usage or input; nothing was touched.
    Refused,
    /// Done, but something is not as it should be.
    Degraded,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::from(0),
            Exit::Failed => Self::from(1),
            Exit::Refused => Self::from(2),
            Exit::Degraded => Self::from(3),
        }
    }
}

/// Routed pod networking with a TC eBPF fast path
#[derive(Debug, Parser)]
#[command(
    name = "netpath",
    version,
    propagate_version = true,
    max_term_width = 100
)]
struct Cli {
    /// How to print what was found or done
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value = "table"
    )]
    output: Format,

    /// Short for `--output json`
    #[arg(short, long, global = true, conflicts_with = "output")]
    json: bool,

    /// Colours; `auto` where a terminal shows them and NO_COLOR is not set
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        alias = "colour"
    )]
    color: ColorChoice,

    /// Say on stderr what is looked at and done; twice for each operation, three times for each request to the kernel
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a topology file to start from, which works as it stands
    Init(init::InitArgs),
    /// Make a topology true: namespaces, veths, addresses, routes, fast path
    Up(up::UpArgs),
    /// Remove a topology and leave the machine as it was
    Down(down::DownArgs),
    /// Show nodes, endpoints, uplinks, routes and the state of the fast path
    Show(show::ShowArgs),
    /// Add or remove one endpoint without a file, also into a namespace that exists
    Endpoint(endpoint::EndpointArgs),
    /// Attach or detach the fast path; nothing is re-created
    Fastpath(fastpath::FastpathArgs),
    /// Show per-hop counters, or rates
    Stats(stats::StatsArgs),
    /// Show connections: which side each is on, and between which endpoints
    Flows(flows::FlowsArgs),
    /// Say where a packet goes and why, without sending it, and what cures it where it does not arrive
    Explain(explain::ExplainArgs),
    /// Send probes, or follow an endpoint's traffic, and show what each packet meets
    Trace(trace::TraceArgs),
    /// Show what the fast path bypasses: rules, policies and filters, and which change what becomes of packets
    Audit(audit::AuditArgs),
    /// Show the raw maps, decoded
    Maps(maps::MapsArgs),
    /// Tell what is wrong: the machine, nodes, a topology file; each fault with why and its cure
    Doctor(doctor::DoctorArgs),
    /// Pack what somebody needs to know who is to help into one archive, without secrets
    Bugreport(bugreport::BugreportArgs),
    /// Tell the story of the built-in lab, each step checked
    Demo(demo::command::DemoArgs),
    /// Measure the fast path beside the kernel's, iptables' and nftables' paths
    Bench(bench::BenchArgs),
    /// Print completions for a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page
    Man(man::ManArgs),
}

impl Command {
    /// Whether it shows what the programs log of each packet.
    fn logs_packets(&self) -> bool {
        match self {
            Self::Up(args) => args.debug.debug_datapath,
            Self::Fastpath(args) => args.logs_packets(),
            Self::Demo(args) => args.debug_datapath,
            Self::Init(_)
            | Self::Down(_)
            | Self::Endpoint(_)
            | Self::Show(_)
            | Self::Stats(_)
            | Self::Flows(_)
            | Self::Explain(_)
            | Self::Trace(_)
            | Self::Audit(_)
            | Self::Maps(_)
            | Self::Doctor(_)
            | Self::Bugreport(_)
            | Self::Bench(_)
            | Self::Completions(_)
            | Self::Man(_) => false,
        }
    }

    /// Whether it is to say so when it is interrupted.
    fn changes_something(&self) -> bool {
        match self {
            Self::Doctor(args) => args.changes_something(),
            Self::Up(_)
            | Self::Down(_)
            | Self::Endpoint(_)
            | Self::Fastpath(_)
            | Self::Demo(_)
            | Self::Bench(_) => true,
            Self::Init(_)
            | Self::Show(_)
            | Self::Stats(_)
            | Self::Flows(_)
            | Self::Explain(_)
            | Self::Trace(_)
            | Self::Audit(_)
            | Self::Maps(_)
            | Self::Bugreport(_)
            | Self::Completions(_)
            | Self::Man(_) => false,
        }
    }

    /// The topology file that it is about, where it was given one.
    fn file(&self) -> Option<&Path> {
        match self {
            Self::Up(args) => args.file.as_deref(),
            Self::Down(args) => args.file.as_deref(),
            Self::Show(args) => args.file.as_deref(),
            Self::Doctor(args) => args.file.as_deref(),
            Self::Bugreport(args) => args.file.as_deref(),
            Self::Audit(args) => args.file.as_deref(),
            Self::Init(_)
            | Self::Endpoint(_)
            | Self::Fastpath(_)
            | Self::Stats(_)
            | Self::Flows(_)
            | Self::Explain(_)
            | Self::Trace(_)
            | Self::Maps(_)
            | Self::Demo(_)
            | Self::Bench(_)
            | Self::Completions(_)
            | Self::Man(_) => None,
        }
    }

    fn run(&self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Init(args) => init::run(args, context),
            Self::Up(args) => up::run(args, context),
            Self::Down(args) => down::run(args, context),
            Self::Show(args) => show::run(args, context),
            Self::Endpoint(args) => endpoint::run(args, context),
            Self::Fastpath(args) => fastpath::run(args, context),
            Self::Stats(args) => stats::run(args, context),
            Self::Flows(args) => flows::run(args, context),
            Self::Explain(args) => explain::run(args, context),
            Self::Trace(args) => trace::run(args, context),
            Self::Audit(args) => audit::run(args, context),
            Self::Maps(args) => maps::run(args, context),
            Self::Doctor(args) => doctor::run(args, context),
            Self::Bugreport(args) => bugreport::run(args, context),
            Self::Demo(args) => demo::command::run(args, context),
            Self::Bench(args) => bench::run(args, context),
            Self::Completions(args) => completions::run(args, context),
            Self::Man(args) => man::run(args, context),
        }
    }
}

/// The command with all that `--help` shows.
fn command() -> clap::Command {
    let command = Cli::command().mut_subcommands(|command| {
        let needs = capabilities::help(Some(command.get_name()));
        with_end(command, &needs)
    });
    let needs = capabilities::help(None);
    command.after_long_help(needs + EXIT_STATUSES)
}

/// What the help of a command, and of those below it, ends with.
fn with_end(command: clap::Command, needs: &str) -> clap::Command {
    command
        .after_long_help(format!("{needs}{EXIT_STATUSES}"))
        .mut_subcommands(|below| with_end(below, needs))
}

fn main() -> ExitCode {
    completions::answer();
    if let Err(error) = signals::catch() {
        note(format!("catching signals: {error}"));
        return Exit::Failed.into();
    }
    let parsed = command()
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return explain_usage(&error).into(),
    };
    if !cli.command.changes_something() {
        signals::leave();
    }
    advice::is_typed_as(cli.command.file());
    context::trace(cli.verbose, cli.command.logs_packets(), cli.color);
    let format = if cli.json { Format::Json } else { cli.output };
    let context = Context::new(Output::new(format, cli.color));
    cli.command
        .run(&context)
        .unwrap_or_else(|failure| failure.report())
        .into()
}

/// Wrong usage, or `--help` and `--version`, which clap treats as an error.
fn explain_usage(error: &clap::Error) -> Exit {
    let text = error.render().to_string();
    match text.strip_prefix("error: ") {
        Some(text) => note(text.trim_end()),
        None => {
            // If not even this can be printed, the exit status has to say it.
            let _unprintable = error.print();
        }
    }
    if error.use_stderr() {
        Exit::Refused
    } else {
        Exit::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Cli, clap::Error> {
        let arguments = std::iter::once("netpath").chain(arguments.split_whitespace());
        Cli::from_arg_matches(&command().try_get_matches_from(arguments)?)
    }

    #[test]
    fn the_command_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn valid_usage() {
        for arguments in [
            "up",
            "up -f lab.toml --dry-run",
            "up --file lab.toml --no-fast-path",
            "up --expedite",
            "down --all --expedite",
            "fastpath on --expedite",
            "up --debug-datapath -v",
            "init",
            "init --lab",
            "init --host",
            "down",
            "down node03 node02",
            "down --prune -f lab.toml",
            "down -f lab.toml",
            "down --all",
            "show -o yaml",
            "-j show",
            "show -j -f lab.toml",
            "endpoint add c1 --node node03 --address 10.0.5.2/24",
            "endpoint add c1 --node node03 --address 10.0.5.2/24 --address fd00:5::2/64 --netns 4711 --mtu 1400",
            "endpoint add c1 --node node03 --address 10.0.5.2/24 --prefix 10.9.0.0/28 --dev eth1 --netns /proc/7/ns/net",
            "endpoint remove c1 --expedite",
            "endpoint remove c1 --node node03",
            "fastpath on",
            "fastpath off --node node03 --endpoint demo01",
            "fastpath on --debug-datapath",
            "fastpath on --debug-datapath --debug-filter outcome=drop --debug-filter address=10.0.1.2",
            "stats -j --node node03",
            "stats --by endpoint --sort bytes --bits",
            "stats --by reason --endpoint demo01 -w",
            "stats -o wide --color always",
            "show --brief --color never",
            "show demo01 node03",
            "stats --watch",
            "stats --watch --interval 0.5",
            "flows",
            "flows --endpoint demo01 --node node03 --side kernel -j",
            "flows --side fast -o wide",
            "explain demo01 demo03",
            "explain demo01 10.0.3.2 --proto tcp --sport 1 --dport 443 --reply --diff -j",
            "explain fd00:9::1 demo03 --node node02 --size 1400 --df --ttl 1 --mark 0x10 --dscp 46",
            "explain demo01 demo03 --no-reply",
            "trace demo01 demo02",
            "trace demo01 10.0.3.2 -c 3 --proto tcp --dport 443 --ttl 3 --df -w way.pcapng",
            "trace demo01 demo02 --family ipv6 --source fd00:9::1 --size 1400 -j",
            "trace --endpoint demo01 --drops",
            "trace --endpoint demo01 -c 10 --sample 100 tcp port 80",
            "audit",
            "audit --node node03 -j",
            "audit --shadow --seconds 3",
            "audit -f lab.toml --all",
            "up --accept-bypass",
            "fastpath on --accept-bypass",
            "fastpath shadow --endpoint demo01",
            "maps",
            "maps --node node03",
            "maps list -j",
            "maps dump hops --node node03",
            "doctor",
            "doctor -f lab.toml --node node03 --fix --probe -j",
            "bugreport",
            "bugreport -f lab.toml --to report.tar.gz -j",
            "demo --keep",
            "demo --debug-datapath",
            "bench --quick -j",
            "bench scale --quick -j --rounds 7 --endpoints 10",
            "bench --paths direct,netpath,iptables-1000 --measures udp,bulk --family ipv6",
            "bench --rounds 20 --seed 7",
            "completions bash",
            "man",
            "man --dir /tmp/man",
        ] {
            assert!(
                parse(arguments).is_ok(),
                "{arguments}: {:?}",
                parse(arguments)
            );
        }
    }

    #[test]
    fn wrong_usage() {
        for arguments in [
            "",
            "up -j -o json",
            "up -o xml",
            "up --dry-run --debug-datapath",
            "init --lab --host",
            "down --all -f lab.toml",
            "down node03 -f lab.toml",
            "down node03 --all",
            "down ../node03",
            "down --prune",
            "down --prune --all -f lab.toml",
            "down --prune -f lab.toml node03",
            "endpoint",
            "endpoint add c1 --address 10.0.5.2/24",
            "endpoint add c1 --node node03",
            "endpoint add c1 --node node03 --address 10.0.5.2/24 --netns a/b",
            "endpoint remove",
            "endpoint remove ../c1",
            "fastpath",
            "fastpath off --debug-datapath",
            "fastpath shadow --debug-datapath",
            "fastpath off --accept-bypass",
            "audit --seconds 3",
            "audit --shadow -f lab.toml",
            "up --dry-run --debug-datapath",
            "up --no-fast-path --debug-datapath",
            "up --debug-filter outcome=drop",
            "up --debug-datapath --debug-filter outcome=lost",
            "fastpath on --node ../node03",
            "stats --by colour",
            "stats --sort age",
            "show --color sometimes",
            "show ..",
            "stats --interval 1",
            "stats --watch --interval 0",
            "stats --watch --interval nan",
            "flows --side both",
            "flows --endpoint ../demo01",
            "explain",
            "explain demo01",
            "explain demo01 ../demo03",
            "explain demo01 demo03 --proto sctp",
            "explain demo01 demo03 --dscp 64",
            "explain demo01 demo03 --reply --no-reply",
            "explain demo01 demo03 --mark -1",
            "trace --ttl 0 demo01 demo02",
            "trace --proto sctp demo01 demo02",
            "trace demo01 demo02 --drops",
            "trace --endpoint demo01 --ttl 3",
            "trace --endpoint ../demo01",
            "maps dump",
            "maps dump hops --node a/b",
            "doctor lab.toml",
            "doctor --node a/b",
            "bench --paths netpaht",
            "bench --measures latency",
            "bench --rounds 0",
            "completions cmd.exe",
        ] {
            let error = parse(arguments).expect_err(arguments);
            assert_eq!(error.exit_code(), 2, "{arguments}");
        }
    }

    #[test]
    fn json_is_short_for_the_format() {
        let cli = parse("stats -j").expect("valid");
        assert!(cli.json);
        let cli = parse("stats -o json").expect("valid");
        assert_eq!(cli.output, Format::Json);
    }

    #[test]
    fn every_help_tells_the_exit_statuses_and_who_may() {
        use netpath::capabilities::Work;
        let tells = |name: &str, help: &str| {
            let mut works = Work::ALL.into_iter();
            let work = works.find(|work| work.commands().contains(&name));
            let needs = work.map_or_else(Vec::new, |work| work.needs().to_vec());
            let told = help.split_once("capabilities(7)").map(|(_, it)| it);
            let told = told.and_then(|it| it.split_once("\nand "));
            let told: Vec<&str> = told.map_or_else(Vec::new, |(it, _)| {
                it.split([' ', ',', '\n'])
                    .filter(|it| it.starts_with("CAP_"))
                    .collect()
            });
            let needs: Vec<String> = needs.iter().map(ToString::to_string).collect();
            assert_eq!(told, needs, "{name}");
        };
        for command in command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            tells(command.get_name(), &help);
        }
        fn check(mut command: clap::Command) {
            let help = command.render_long_help().to_string();
            let name = command.get_name();
            assert!(help.contains("3  done, but degraded"), "{name}");
            // clap adds `help` itself.
            let own = command.get_subcommands().filter(|c| c.get_name() != "help");
            own.cloned().for_each(check);
        }
        check(command());
    }
}
