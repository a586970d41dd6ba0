//! `netpath endpoint`.

use netpath::{
    Ends as _,
    capabilities::Work,
    model::{Endpoint, EndpointText, Name},
    provision::{self, GivenNetns, NewEndpoint, OldEndpoint, ProvisionError},
};
use netpath_common::Origin;

use super::{Context, Exit, Failure, completions, expedite::ExpediteArgs, note, up::ChangeReport};

/// Arguments of `netpath endpoint`.
#[derive(Debug, clap::Args)]
pub struct EndpointArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Add an endpoint to a node that is up; `netpath up` then leaves it alone
    ///
    /// All of it is made, or nothing. The same command again mends what somebody changed of it.
    Add(AddArgs),
    /// Remove an endpoint that was added; a namespace that was given stays
    Remove(RemoveArgs),
}

#[derive(Debug, clap::Args)]
struct AddArgs {
    /// Its name
    name: String,

    /// The node that it is added to
    #[arg(long, value_name = "NODE", add = completions::nodes())]
    node: Name,

    /// One of its addresses, with its prefix length; several times for several
    #[arg(long = "address", value_name = "ADDRESS/LENGTH", required = true)]
    addresses: Vec<String>,

    /// A prefix that is routed to it; several times for several
    #[arg(long = "prefix", value_name = "PREFIX")]
    prefixes: Vec<String>,

    /// The interface inside [default: eth0]
    #[arg(long, value_name = "DEV")]
    dev: Option<String>,

    /// The interface in the node's namespace [default: made of the name]
    #[arg(long, value_name = "DEV")]
    host_dev: Option<String>,

    /// A namespace that is there already, such as a container's: a name of /run/netns, a path that begins with /, or the
    /// number of a process; it is never removed [default: one is made, under the endpoint's name]
    #[arg(long, value_name = "NAME|PATH|PID", add = completions::namespaces())]
    netns: Option<GivenNetns>,

    /// The MTU of its veth in bytes: 68 to 65535, with IPv6 1280 at least [default: the least of the node's uplinks]
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u32>,

    #[command(flatten)]
    expedite: ExpediteArgs,
}

#[derive(Debug, clap::Args)]
struct RemoveArgs {
    /// Its name
    #[arg(value_name = "ENDPOINT", add = completions::added_endpoints())]
    name: Name,

    /// Its node [default: the one that has it]
    #[arg(long, value_name = "NODE", add = completions::nodes())]
    node: Option<Name>,

    #[command(flatten)]
    expedite: ExpediteArgs,
}

/// Adds or removes.
pub fn run(args: &EndpointArgs, context: &Context) -> Result<Exit, Failure> {
    match &args.action {
        Action::Add(args) => add(args, context),
        Action::Remove(args) => remove(args, context),
    }
}

fn add(args: &AddArgs, context: &Context) -> Result<Exit, Failure> {
    let text = EndpointText {
        name: args.name.clone(),
        addresses: args.addresses.clone(),
        prefixes: args.prefixes.clone(),
        dev: args.dev.clone(),
        host_dev: args.host_dev.clone(),
        mtu: args.mtu,
    };
    let endpoint = Endpoint::of_text(&args.node, &text)?;
    context.require(Work::Nodes)?;
    context.catch_signals()?;
    let _expedited = args.expedite.begin()?;
    let new = NewEndpoint {
        node: args.node.clone(),
        endpoint,
        netns: args.netns.clone(),
        origin: Origin::Command,
        interrupted: context.interrupted.clone(),
    };
    let mut report = ChangeReport::new(context);
    match provision::add_endpoint(&new, &mut |change| report.add(change)) {
        Ok(_) => report.finish()?,
        // What it said it had done is undone.
        Err(ProvisionError::Interrupted) => return Err(Failure::new("interrupted; undone")),
        Err(error) if error.is_refusal() => return Err(error.into()),
        Err(error) => return Err(report.fail(error.into())),
    }
    Ok(Exit::Done)
}

fn remove(args: &RemoveArgs, context: &Context) -> Result<Exit, Failure> {
    context.require(Work::Nodes)?;
    context.catch_signals()?;
    let _expedited = args.expedite.begin()?;
    let old = OldEndpoint {
        name: args.name.clone(),
        node: args.node.clone(),
        origin: Origin::Command,
        interrupted: context.interrupted.clone(),
    };
    let mut report = ChangeReport::new(context);
    let removed = match provision::remove_endpoint(&old, &mut |change| report.add(change)) {
        Ok(removed) => removed,
        Err(error) => return Err(report.fail(error.into())),
    };
    report.finish()?;
    removed.remaining.iter().for_each(note);
    match removed.remaining.is_empty() {
        true => Ok(Exit::Done),
        false => Ok(Exit::Degraded),
    }
}
