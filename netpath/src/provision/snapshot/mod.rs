//! What is there of one node, taken once: the only place of provisioning that looks before it acts.

mod audit;
mod census;
mod datapath;
mod machine;
mod namespace;
mod others;
mod ways;

pub use self::{
    audit::audit,
    others::{endpoints_of_others, has_endpoint},
};

use std::collections::{BTreeMap, BTreeSet};

use netpath_common::{FastPathMode, PuntReason};

use super::{
    error::ProvisionError,
    records::{self, Damaged},
};
use crate::{
    datapath::Datapath,
    model::{self, NodePlace},
    netns::{self, NameState, Netns, name_state, path_of},
    reconcile::{
        self, Home, Namespace, NamespaceState, Object, Observed, Recorded, Refusal, Wanted,
        WantedUplink, WireClaim, World,
    },
    sysctl,
};

/// A node as it is, and what is open of it.
pub struct Snapshot {
    /// What is there.
    pub world: World,
    /// The node's maps and programs, if it has any.
    pub datapath: Option<Datapath>,
    /// The node's namespace, if it is there and is the recorded one.
    pub netns: Option<Netns>,
    /// Records that cannot be read. What they prove is not in the world.
    pub damaged: Vec<Damaged>,
}

/// Takes what is there of a node, of all that is recorded and of all that is wanted. Refuses one whose records cannot all be
/// read: what is netpath's would be taken for somebody else's.
pub fn take(name: &str, wanted: Option<&Wanted>) -> Result<Snapshot, ProvisionError> {
    whole(name, look(name, wanted, Looks::default())?)
}

/// As [`take`], of a node whose fast path is to be switched; unless that is on, the kernel is left all that it took.
pub fn take_to_switch(name: &str, mode: FastPathMode) -> Result<Snapshot, ProvisionError> {
    let looks = Looks {
        is_left: mode != FastPathMode::On,
        ..Looks::default()
    };
    whole(name, look(name, None, looks)?)
}

fn whole(name: &str, snapshot: Snapshot) -> Result<Snapshot, ProvisionError> {
    if snapshot.damaged.is_empty() {
        return Ok(snapshot);
    }
    let damaged = snapshot.damaged.iter().map(ToString::to_string);
    let refusal = Refusal::DamagedRecords(damaged.collect());
    Err(refusal.of(Object::Node.told(name, name)).on(name).into())
}

/// As [`take`], of what can be read.
pub fn take_readable(name: &str, wanted: Option<&Wanted>) -> Result<Snapshot, ProvisionError> {
    look(name, wanted, Looks::default())
}

/// As [`take`], where only this endpoint is looked at: what the kernel has of others costs time for each. Of those it is only
/// known what is recorded, and what the maps say.
pub fn take_one(
    name: &str,
    wanted: Option<&Wanted>,
    endpoint: &str,
) -> Result<Snapshot, ProvisionError> {
    let looks = Looks {
        only: Some(endpoint),
        ..Looks::default()
    };
    whole(name, look(name, wanted, looks)?)
}

/// As [`take`], of a node by itself, where no endpoint is looked at.
pub fn take_node(name: &str) -> Result<Snapshot, ProvisionError> {
    let looks = Looks {
        // No endpoint's name.
        only: Some(""),
        ..Looks::default()
    };
    whole(name, look(name, None, looks)?)
}

/// Asks anew where the kernel leads packets, of a world that is as it was planned.
pub fn ask_again(name: &str, world: &mut World) -> Result<(), ProvisionError> {
    let Some(recorded) = &world.recorded else {
        return Ok(());
    };
    let netns = match recorded.place {
        NodePlace::Lab => Netns::named(name)?,
        NodePlace::Host => Netns::current()?,
    };
    world.observed.census.ways = netns.enter(|inside| census::ways(recorded, inside))??;
    Ok(())
}

/// What is looked at.
#[derive(Clone, Copy, Default)]
struct Looks<'a> {
    /// The kernel is to be left what the fast path takes.
    is_left: bool,
    /// Of the endpoints, only this one is looked at.
    only: Option<&'a str>,
}

fn look(
    name: &str,
    wanted: Option<&Wanted>,
    Looks { is_left, only }: Looks<'_>,
) -> Result<Snapshot, ProvisionError> {
    tracing::info!("node {name}: looking at what is there");
    let datapath = Datapath::open(name)?;
    let records = match &datapath {
        Some(datapath) => {
            datapath.verify()?;
            Some(records::read(&datapath.maps)?)
        }
        None => None,
    };
    let (recorded, damaged, overwritten) = match records {
        Some(records) => (Some(records.recorded), records.damaged, records.overwritten),
        None => Default::default(),
    };
    let place = place(recorded.as_ref(), wanted);
    let (mut state, netns) = node_namespace(name, place, recorded.as_ref())?;
    let mut elsewhere = None;
    if let (NodePlace::Host, None, Some(datapath), Some(node)) =
        (place, &netns, &datapath, &recorded)
    {
        elsewhere = netns::name_of(node.cookie);
        if elsewhere.is_none() && is_gone(datapath, node.cookie)? {
            state = NamespaceState::Absent;
        }
    }
    let mut observed = Observed {
        node: Namespace {
            state,
            ..Namespace::default()
        },
        overwritten,
        elsewhere,
        ipv6_absent: !sysctl::has_ipv6(),
        ..Observed::default()
    };
    let subject = Subject {
        name,
        place,
        recorded: recorded.as_ref(),
        wanted,
        is_left,
        only,
    };
    if let Some(netns) = &netns {
        namespace::node(&subject, netns, datapath.as_ref(), &mut observed)?;
    }
    if let Some(datapath) = &datapath {
        datapath::maps(&subject, datapath, &mut observed)?;
    }
    observed.pins_links = datapath::pins_links()?;
    observed.endpoints = endpoints(&subject, netns.as_ref())?;
    inside_endpoints(&mut observed, &subject);
    wires(&subject, netns.as_ref(), &mut observed)?;
    observed.machines = machines(&subject)?;
    observed.owners = others::owners(&subject, &observed)?;
    if netns.is_some() {
        let found = others::in_namespace(name, observed.node.state)?;
        (observed.others, observed.unreadable) = found;
    }
    if place == NodePlace::Lab {
        observed.entry = format!("nsenter --net={} ", path_of(name).display());
    }
    let mut world = World { recorded, observed };
    reconcile::prove_routes(&mut world);
    Ok(Snapshot {
        world,
        datapath,
        netns,
        damaged,
    })
}

/// Of what a snapshot is taken.
struct Subject<'a> {
    name: &'a str,
    place: NodePlace,
    recorded: Option<&'a Recorded>,
    wanted: Option<&'a Wanted>,
    /// The kernel is to be left what the fast path takes.
    is_left: bool,
    /// Of the endpoints, only this one is looked at.
    only: Option<&'a str>,
}

impl Subject<'_> {
    /// The host-side veths, recorded and wanted.
    fn host_devs(&self) -> BTreeSet<&str> {
        self.host_devs_of(|_| true)
    }

    /// Those of the endpoints that are looked at.
    fn seen_host_devs(&self) -> BTreeSet<&str> {
        self.host_devs_of(|name| self.sees(name))
    }

    fn host_devs_of(&self, is_one: impl Fn(&str) -> bool) -> BTreeSet<&str> {
        let recorded = self.recorded.into_iter().flat_map(|node| &node.endpoints);
        let recorded = recorded.map(|(name, endpoint)| (name, &endpoint.host_dev));
        let wanted = self.wanted.into_iter().flat_map(|node| &node.endpoints);
        let wanted = wanted.map(|endpoint| (&endpoint.name, &endpoint.host_dev));
        recorded
            .chain(wanted)
            .filter(|(name, dev)| is_one(name) && !dev.is_empty())
            .map(|(_, dev)| dev.as_str())
            .collect()
    }

    /// Whether an endpoint is the one that is looked at, and only because it goes: then it is routed no more.
    fn loses(&self, endpoint: &str) -> bool {
        let mut wanted = self.wanted.into_iter().flat_map(|node| &node.endpoints);
        self.only == Some(endpoint) && !wanted.any(|wanted| wanted.name == endpoint)
    }

    /// Whether an endpoint is looked at.
    fn sees(&self, endpoint: &str) -> bool {
        self.only.is_none_or(|only| only == endpoint)
    }

    /// The uplinks, recorded and wanted.
    fn uplinks(&self) -> BTreeSet<&str> {
        let recorded = self
            .recorded
            .into_iter()
            .flat_map(|node| node.uplinks.keys());
        let wanted = self.wanted.into_iter().flat_map(|node| &node.uplinks);
        recorded
            .map(String::as_str)
            .chain(wanted.map(|uplink: &WantedUplink| uplink.dev.as_str()))
            .collect()
    }
}

fn place(recorded: Option<&Recorded>, wanted: Option<&Wanted>) -> NodePlace {
    let recorded = recorded.map(|node| node.place);
    recorded
        .or(wanted.map(|node| node.place))
        .unwrap_or(NodePlace::Lab)
}

/// What stands at the node's name, and the namespace if it is the recorded one or, of a new node of this machine, the
/// calling thread's.
fn node_namespace(
    name: &str,
    place: NodePlace,
    recorded: Option<&Recorded>,
) -> Result<(NamespaceState, Option<Netns>), ProvisionError> {
    let (state, netns) = match place {
        NodePlace::Lab => named(name)?,
        NodePlace::Host => {
            let netns = Netns::current()?;
            (NamespaceState::Present(netns.cookie()?), Some(netns))
        }
    };
    let is_it = match (recorded, place) {
        (Some(node), _) => state == NamespaceState::Present(node.cookie),
        (None, NodePlace::Host) => true,
        (None, NodePlace::Lab) => false,
    };
    Ok((state, netns.filter(|_| is_it)))
}

/// Whether the namespace of a node that is not here is no more. It is not enough that none can be found: a socket or a
/// mount may keep one that has no name. But then its interfaces are there, and of those with programs the kernel says so.
fn is_gone(datapath: &Datapath, cookie: u64) -> Result<bool, ProvisionError> {
    let is_empty = datapath.maps.devices.all()?.is_empty();
    Ok(is_empty && !datapath.has_living_link()? && !netns::is_there(cookie))
}

/// What stands at a namespace's name.
fn named(name: &str) -> Result<(NamespaceState, Option<Netns>), ProvisionError> {
    Ok(match name_state(name)? {
        NameState::Free => (NamespaceState::Absent, None),
        NameState::EmptyFile => (NamespaceState::EmptyFile, None),
        NameState::Foreign => (NamespaceState::NotANamespace, None),
        NameState::Namespace => {
            let netns = Netns::named(name)?;
            (NamespaceState::Present(netns.cookie()?), Some(netns))
        }
    })
}

/// What stands at a path that somebody gave.
fn given(path: &str) -> Result<(NamespaceState, Option<Netns>), ProvisionError> {
    let path = std::path::Path::new(path);
    if !path.exists() {
        return Ok((NamespaceState::Absent, None));
    }
    match Netns::at(path) {
        Ok(netns) => Ok((NamespaceState::Present(netns.cookie()?), Some(netns))),
        // Somebody's file that is no namespace.
        Err(_) => Ok((NamespaceState::NotANamespace, None)),
    }
}

/// Opens the namespace of a home.
pub fn home(name: &str, home: &Home) -> Result<(NamespaceState, Option<Netns>), ProvisionError> {
    match home {
        Home::Made => named(name),
        Home::Given(path) => given(path),
    }
}

fn endpoints(
    subject: &Subject<'_>,
    node: Option<&Netns>,
) -> Result<BTreeMap<String, Namespace>, ProvisionError> {
    let mut homes: BTreeMap<&str, (&Home, &str, u64)> = BTreeMap::new();
    for endpoint in subject.wanted.into_iter().flat_map(|node| &node.endpoints) {
        homes.insert(&endpoint.name, (&endpoint.home, &endpoint.dev, 0));
    }
    for (name, endpoint) in subject
        .recorded
        .into_iter()
        .flat_map(|node| &node.endpoints)
    {
        if !subject.sees(name) {
            continue;
        }
        let home = homes
            .get(name.as_str())
            .map_or(&endpoint.home, |(home, ..)| home);
        homes.insert(name, (home, &endpoint.dev, endpoint.cookie));
    }
    let mut namespaces = BTreeMap::new();
    for (name, (home, dev, cookie)) in homes {
        let (state, netns) = self::home(name, home)?;
        let is_ours = cookie != 0 && state == NamespaceState::Present(cookie);
        let is_given = matches!(home, Home::Given(_));
        let is_new = is_given && cookie == 0;
        let namespace = match netns.filter(|_| is_ours || is_new) {
            Some(netns) => namespace::endpoint(&netns, state, dev, node)?,
            None => Namespace {
                state,
                ..Namespace::default()
            },
        };
        namespaces.insert(name.to_owned(), namespace);
    }
    Ok(namespaces)
}

/// The namespaces that are the machine's own, where one of somebody's is to be an endpoint's.
fn machines(subject: &Subject<'_>) -> Result<BTreeSet<u64>, ProvisionError> {
    let wanted = subject.wanted.into_iter().flat_map(|node| &node.endpoints);
    let mut given = wanted.filter(|endpoint| matches!(endpoint.home, Home::Given(_)));
    if given.next().is_none() {
        return Ok(BTreeSet::new());
    }
    let first = Netns::at(std::path::Path::new("/proc/1/ns/net"))?;
    Ok(BTreeSet::from([
        first.cookie()?,
        Netns::current()?.cookie()?,
    ]))
}

/// What acts at the inner end of an endpoint's veth: a native XDP program is passed by, as `bpf_redirect_peer` gives
/// packets to the stack behind it.
fn inside_endpoints(observed: &mut Observed, subject: &Subject<'_>) {
    let recorded = subject.recorded.into_iter();
    for (name, endpoint) in recorded.flat_map(|node| &node.endpoints) {
        let there = observed.endpoints.get(name);
        let has_xdp = there
            .and_then(|there| there.link(&endpoint.dev))
            .is_some_and(|link| link.xdp);
        let outside = observed.node.link(&endpoint.host_dev);
        if let (true, Some(outside)) = (has_xdp, outside) {
            let census = observed.census.interfaces.entry(outside.ifindex);
            census.or_default().egress.insert(PuntReason::Xdp);
        }
    }
}

fn wires(
    subject: &Subject<'_>,
    node: Option<&Netns>,
    observed: &mut Observed,
) -> Result<(), ProvisionError> {
    let recorded = subject
        .recorded
        .into_iter()
        .flat_map(|node| node.uplinks.values());
    let wanted = subject.wanted.into_iter().flat_map(|node| &node.uplinks);
    let wires: BTreeSet<&str> = recorded
        .map(|uplink| uplink.wire.as_str())
        .chain(
            wanted
                .filter_map(|uplink| uplink.wire.as_ref())
                .map(|wire| wire.name.as_str()),
        )
        .filter(|wire| !wire.is_empty())
        .collect();
    if wires.is_empty() {
        return Ok(());
    }
    observed.claims = others::claims(subject.name)?;
    for wire in wires {
        let name = wire_namespace(wire)?;
        let (state, netns) = named(&name)?;
        let own = subject
            .recorded
            .into_iter()
            .flat_map(|node| node.uplinks.values());
        let claims = own
            .map(|uplink| (uplink.wire.as_str(), uplink.wire_cookie))
            .chain(observed.claims.iter().filter_map(|claim| match claim {
                WireClaim::Recorded { wire, cookie } => Some((wire.as_str(), *cookie)),
                WireClaim::Unknown(_) => None,
            }));
        let is_ours = claims
            .into_iter()
            .any(|(claimed, cookie)| claimed == wire && state == NamespaceState::Present(cookie));
        let namespace = match netns.filter(|_| is_ours) {
            Some(netns) => namespace::wire(&netns, state, node)?,
            None => Namespace {
                state,
                ..Namespace::default()
            },
        };
        observed.wires.insert(wire.to_owned(), namespace);
    }
    Ok(())
}

/// The name of a wire's namespace.
pub fn wire_namespace(wire: &str) -> Result<String, ProvisionError> {
    let wire: model::Name = wire
        .parse()
        .map_err(|_| ProvisionError::DamagedRecord(format!("{wire:?} is no wire's name")))?;
    Ok(model::wire_namespace(&wire).to_string())
}
