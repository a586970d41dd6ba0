//! What the kernel has of a namespace.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
    net::IpAddr,
    os::fd::{AsFd as _, BorrowedFd},
    sync::PoisonError,
    time::Duration,
};

use ipnet::IpNet;
use netpath_common::{Ifindex, InterfaceKind, ProgramKind};

use super::{
    Subject, census,
    machine::{self, Machine},
};
use crate::{
    datapath::{Clsact, Datapath, Running},
    model::{NodePlace, is_forwardable},
    netlink::{
        self, InterfaceAddress, LinkKind, NeighbourState, Netlink, NextHop, RouteKind, Scope,
        Table, XdpMode,
    },
    netns::{Inside, Netns},
    provision::{error::ProvisionError, iptables},
    reconcile::{
        self, Framing, Hop, Ipv6, Link, Namespace, NamespaceState, Neighbour, Observed, Route,
        Sysctls, endpoint_sysctls, forwards_v4, forwards_v6, inside_sysctls, is_address,
        node_sysctls, reverse_path_sysctls, uplink_sysctls, veth_sysctls, wire_sysctls,
    },
    sysctl,
};

/// The node's own, and which programs run in it.
pub(super) fn node(
    subject: &Subject<'_>,
    netns: &Netns,
    datapath: Option<&Datapath>,
    observed: &mut Observed,
) -> Result<(), ProvisionError> {
    let state = observed.node.state;
    let is_lab = subject.place == NodePlace::Lab;
    let may_drop = subject.wanted.is_some_and(|node| node.forward_drop)
        || subject.recorded.is_some_and(|node| node.forward_drop);
    let datapath = datapath.map(std::sync::Mutex::new);
    let is_machine = subject.place == NodePlace::Host;
    let (node, own, machine, forward_drop, attached, clsact, census) =
        netns.enter(|inside| {
            let netlink = Netlink::open(inside)?;
            // Each list is long where there are many endpoints, and read once.
            let links = netlink.links()?;
            // Before the routes that they get.
            let addresses = netlink.all_addresses()?;
            let routes = netlink.routes(Table::All)?;
            let of = |table: Table| -> Vec<netlink::Route> {
                let routes = routes.iter().filter(|route| table.has(route));
                routes.cloned().collect()
            };
            let (main, taken) = (of(Table::Main), of(Table::Local));
            let found = Found {
                links: &links,
                addresses: &addresses,
                main: &main,
            };
            let mut node = read(inside, &netlink, state, &[], found, None)?;
            node.sysctls = sysctls(inside, &node_keys(subject, &node))?;
            let own = (
                taken
                    .iter()
                    .filter_map(own_address)
                    .chain(coming(&links, &addresses))
                    .collect(),
                taken.iter().filter_map(own_prefix).collect(),
            );
            let machine = match is_machine {
                true => machine::read(inside, &node, &main, &taken)?,
                false => Machine::default(),
            };
            // Where one endpoint is looked at the policy is nobody's to change.
            let asks = is_lab && subject.only.is_none();
            let asked = asks && (may_drop || iptables::may_drop_forward(inside)?);
            let drop = match asked {
                true => Some(iptables::forward_drops(inside)?),
                false => None,
            };
            let datapath = datapath
                .as_ref()
                .map(|datapath| datapath.lock().unwrap_or_else(PoisonError::into_inner));
            let datapath = datapath.as_deref().copied();
            let attached = match datapath {
                Some(datapath) => attached(subject, inside, &node, datapath)?,
                None => Default::default(),
            };
            let clsact = match is_machine {
                true => clsact(subject, inside, &netlink, &node, datapath)?,
                false => BTreeMap::new(),
            };
            let census = {
                let node = census::Node {
                    links: &links,
                    routes: &routes,
                    sysctls: &node.sysctls,
                };
                census::take(subject, inside, &netlink, datapath, node)?
            };
            Ok::<_, ProvisionError>((node, own, machine, drop, attached, clsact, census))
        })??;
    observed.node = node;
    (observed.own, observed.own_prefixes) = own;
    observed.local = machine.local;
    observed.advertised = machine.advertised;
    observed.entry = machine.entry;
    observed.forward_drop = forward_drop;
    (observed.attached, observed.loose) = attached;
    observed.clsact = clsact;
    observed.census = census;
    Ok(())
}

/// Where programs run.
type Programs = BTreeSet<(Ifindex, ProgramKind)>;

/// Which run, and which of them no pin of netpath's holds.
fn attached(
    subject: &Subject<'_>,
    inside: &Inside<'_>,
    node: &Namespace,
    datapath: &Datapath,
) -> Result<(Programs, Programs), ProvisionError> {
    let Some(recorded) = subject.recorded else {
        return Ok(Default::default());
    };
    let seen = recorded.endpoints.iter();
    let seen = seen.filter(|(name, _)| subject.sees(name));
    let endpoints = seen.map(|(_, endpoint)| {
        let programs = InterfaceKind::Endpoint.programs();
        (endpoint.host_dev.as_str(), programs, false)
    });
    let uplinks = recorded.uplinks.iter().flat_map(|(dev, uplink)| {
        let programs = InterfaceKind::Uplink.programs();
        let is_it = node.link(dev).map(|link| link.ifindex) == Some(uplink.ifindex);
        let renamed = node.name_of(uplink.ifindex).filter(|_| !is_it);
        let renamed = renamed.map(|now| (now, programs, true));
        iter::once((dev.as_str(), programs, false)).chain(renamed)
    });
    let (mut attached, mut loose) = (Programs::new(), Programs::new());
    for (dev, programs, is_renamed) in endpoints.chain(uplinks) {
        let Some(link) = node.link(dev) else {
            continue;
        };
        for &program in programs {
            let running = datapath.runs(inside, program, dev)?;
            if running != Running::No {
                attached.insert((link.ifindex, program));
            }
            // The pin of one that was renamed has the name that is recorded.
            if running == Running::Loose && !is_renamed {
                loose.insert((link.ifindex, program));
            }
        }
    }
    Ok((attached, loose))
}

/// The clsact qdiscs of uplinks.
fn clsact(
    subject: &Subject<'_>,
    inside: &Inside<'_>,
    netlink: &Netlink,
    node: &Namespace,
    datapath: Option<&Datapath>,
) -> Result<BTreeMap<String, reconcile::Clsact>, ProvisionError> {
    let mut found = BTreeMap::new();
    let recorded = subject.recorded.into_iter();
    let recorded = recorded.flat_map(|recorded| recorded.uplinks.values());
    let renamed = recorded.filter_map(|uplink| node.name_of(uplink.ifindex));
    let devs: BTreeSet<&str> = subject.uplinks().into_iter().chain(renamed).collect();
    for dev in devs {
        let Some(link) = netlink.link(dev)? else {
            continue;
        };
        if let Some(clsact) = Clsact::of(inside, netlink, datapath, &link)? {
            let clsact = reconcile::Clsact {
                has_others: clsact.has_others,
                taken: clsact.taken,
            };
            found.insert(dev.to_owned(), clsact);
        }
    }
    Ok(found)
}
/// All that may be set is looked at.
const ALL: Ipv6 = Ipv6::Used;

/// The sysctls that netpath sets in a node's namespace, or goes by there.
fn node_keys(subject: &Subject<'_>, node: &Namespace) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    keys.extend(node_sysctls(ALL).into_iter().map(|(key, _)| key));
    keys.push(census::PATH_MTU.to_owned());
    for dev in subject.seen_host_devs() {
        keys.extend(forwards_v4(dev));
        keys.extend(forwards_v6(dev));
        keys.extend(veth_sysctls(dev, ALL).into_iter().map(|(key, _)| key));
    }
    for dev in subject.uplinks() {
        let dev = node.kernel_name(dev);
        keys.extend(forwards_v4(dev));
        keys.extend(forwards_v6(dev));
        keys.extend(reverse_path_sysctls(dev));
        keys.extend(uplink_sysctls(dev, ALL).into_iter().map(|(key, _)| key));
    }
    // Some are asked of each interface.
    keys.sort();
    keys.dedup();
    keys
}

/// An endpoint's, with which of its interfaces have their other end in the node's.
pub(super) fn endpoint(
    netns: &Netns,
    state: NamespaceState,
    dev: &str,
    node: Option<&Netns>,
) -> Result<Namespace, ProvisionError> {
    let mut sysctls = endpoint_sysctls(ALL);
    if !dev.is_empty() {
        sysctls.extend(inside_sysctls(dev, ALL));
    }
    let keys: Vec<String> = sysctls.into_iter().map(|(key, _)| key).collect();
    let node = node.map(Netns::as_fd);
    netns.enter(|inside| read_all(inside, state, &keys, node))?
}

/// A wire's, with which of its ports have their other end in the node's.
pub(super) fn wire(
    netns: &Netns,
    state: NamespaceState,
    node: Option<&Netns>,
) -> Result<Namespace, ProvisionError> {
    let keys: Vec<String> = wire_sysctls(ALL).into_iter().map(|(key, _)| key).collect();
    let node = node.map(Netns::as_fd);
    netns.enter(|inside| read_all(inside, state, &keys, node))?
}

fn read_all(
    inside: &Inside<'_>,
    state: NamespaceState,
    keys: &[String],
    node: Option<BorrowedFd<'_>>,
) -> Result<Namespace, ProvisionError> {
    let netlink = Netlink::open(inside)?;
    let links = netlink.links()?;
    let addresses = netlink.all_addresses()?;
    let main = netlink.routes(Table::Main)?;
    let found = Found {
        links: &links,
        addresses: &addresses,
        main: &main,
    };
    read(inside, &netlink, state, keys, found, node)
}

/// What is read of a namespace already: its interfaces, their addresses, and the routes of its main table.
#[derive(Clone, Copy)]
struct Found<'a> {
    links: &'a [netlink::Link],
    addresses: &'a [(Ifindex, InterfaceAddress)],
    main: &'a [netlink::Route],
}

fn read(
    inside: &Inside<'_>,
    netlink: &Netlink,
    state: NamespaceState,
    keys: &[String],
    found: Found<'_>,
    node: Option<BorrowedFd<'_>>,
) -> Result<Namespace, ProvisionError> {
    let mut links: BTreeMap<Ifindex, Link> = BTreeMap::new();
    let Found {
        links: all,
        addresses,
        main,
    } = found;
    // Afterwards: the kernel gives it one when it tells of an interface whose other end is there.
    let node = match node {
        Some(node) => netlink.namespace_id(node)?,
        None => None,
    };
    for link in all {
        let peer = link
            .peer
            .filter(|peer| node.is_some() && peer.netns == node);
        links.insert(
            link.ifindex,
            Link {
                ifindex: link.ifindex,
                name: link.name.clone(),
                altnames: link.altnames.clone(),
                mac: link.mac,
                framing: Framing::of(link.hardware, link.point_to_point),
                veth: link.kind == LinkKind::Veth,
                up: link.up,
                carrier: link.carrier,
                no_arp: needs_arp(link) && link.no_arp,
                mtu: link.mtu,
                controller: link.controller,
                other_end: peer.map(|peer| peer.ifindex),
                xdp: link.xdp.iter().any(|xdp| xdp.mode == XdpMode::Native),
                addresses: Vec::new(),
                no_sources: BTreeSet::new(),
            },
        );
    }
    for (ifindex, found) in addresses {
        if let Some(link) = links.get_mut(ifindex) {
            link.addresses.push(found.address);
            if found.scope == Scope::Host {
                link.no_sources.insert(found.address);
            }
        }
    }
    let found = netlink.neighbours()?;
    let silent = found.iter().filter(|found| is_silent(found));
    let silent = silent.map(|found| (found.ifindex, found.address)).collect();
    let known = found.iter().filter(|found| is_known(found, &links));
    let known = known.map(|found| (found.ifindex, found.address)).collect();
    let neighbours = found.into_iter().filter_map(|found| {
        let permanent = found.state == NeighbourState::Permanent;
        let mac = found.mac.filter(|_| permanent)?;
        Some(Neighbour {
            ifindex: found.ifindex,
            address: found.address,
            mac,
            is_router: found.is_router,
        })
    });
    Ok(Namespace {
        state,
        neighbours: neighbours.collect(),
        known,
        silent,
        routes: routes(main, &links),
        links: links.into_values().collect(),
        sysctls: sysctls(inside, keys)?,
    })
}

/// Whether packets need the Ethernet address of whom they are for. The drivers of some interfaces with Ethernet headers find the
/// way by the IP address, and always have `IFF_NOARP` (`ipvlan_set_port_mode`, `netkit_new_link`).
fn needs_arp(link: &netlink::Link) -> bool {
    let by_address = matches!(&link.kind, LinkKind::Other(kind) if ["ipvlan", "netkit"].contains(&kind.as_str()));
    Framing::of(link.hardware, link.point_to_point) == Framing::Ethernet && !by_address
}

/// A neighbour that somebody has given an Ethernet address, where the kernel asks for none. By itself it takes that of the
/// interface (`arp_constructor`, `ndisc_constructor`).
fn is_known(found: &netlink::Neighbour, links: &BTreeMap<Ifindex, Link>) -> bool {
    let link = links.get(&found.ifindex).filter(|link| link.no_arp);
    link.is_some_and(|link| found.mac.is_some() && found.mac != link.mac)
}

/// A neighbour that is being asked for, or was just now, and does not answer. The kernel keeps it as one that failed until it
/// asks again, which it does with the next packet for it: what it knew some time ago says nothing of now.
fn is_silent(found: &netlink::Neighbour) -> bool {
    match found.state {
        NeighbourState::Incomplete => true,
        NeighbourState::Failed => found.age.is_none_or(|age| age < STILL_KNOWN),
        _ => false,
    }
}

/// How long it is known of a neighbour that it did not answer: where packets go there all the time, the kernel asks all the
/// time, for three seconds each (`mcast_solicit`, `retrans_time_ms`).
const STILL_KNOWN: Duration = Duration::from_secs(10);

/// The routes of a table, in a namespace with these interfaces.
pub(super) fn routes(found: &[netlink::Route], links: &BTreeMap<Ifindex, Link>) -> Vec<Route> {
    found.iter().map(|found| route(found, links)).collect()
}

fn sysctls(inside: &Inside<'_>, keys: &[String]) -> Result<Sysctls, ProvisionError> {
    let mut sysctls = Sysctls::new();
    for key in keys {
        match sysctl::get(inside, key) {
            Ok(value) => drop(sysctls.insert(key.clone(), value)),
            // Of an interface that is not there, or without IPv6.
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sysctls)
}

/// The address of a route of table local, if it is one that packets may come from: what the kernel takes for its own,
/// whatever interface has it, or none, and the broadcast addresses of its subnets. From neither does it take anything that
/// comes in (`__fib_validate_source`). An IPv6 address that turned out to be somebody else's is not there.
fn own_address(found: &netlink::Route) -> Option<IpAddr> {
    let is_own = matches!(found.kind, RouteKind::Local | RouteKind::Broadcast);
    let address = found.dst.addr();
    (is_own && is_address(&found.dst) && is_forwardable(address)).then_some(address)
}

/// IPv6 addresses of interfaces that are in use, which the kernel takes in when its worker has come to them, or when it has
/// asked for long enough whether somebody else has them.
fn coming(
    links: &[netlink::Link],
    addresses: &[(Ifindex, InterfaceAddress)],
) -> impl Iterator<Item = IpAddr> {
    let used = links.iter().filter(|link| link.up && link.carrier);
    let used: BTreeSet<Ifindex> = used.map(|link| link.ifindex).collect();
    let own = addresses
        .iter()
        .filter(move |(ifindex, found)| used.contains(ifindex) && !found.duplicate);
    let own = own.map(|(_, found)| found.address.addr());
    own.filter(|address| address.is_ipv6() && is_forwardable(*address))
}

/// The same of a prefix that it takes in as a whole.
fn own_prefix(found: &netlink::Route) -> Option<IpNet> {
    let is_one = found.kind == RouteKind::Local && !is_address(&found.dst);
    let is_default = found.dst.prefix_len() == 0;
    (is_one && !is_default && is_forwardable(found.dst.addr())).then_some(found.dst)
}

/// A route that is not plain (of another type, over several next hops) has neither next hop nor interface here: it is
/// never one that netpath made.
fn route(found: &netlink::Route, links: &BTreeMap<Ifindex, Link>) -> Route {
    let plain = match found.next_hops.as_slice() {
        [hop] if found.kind == RouteKind::Unicast && found.nexthop_id.is_none() => Some(hop),
        _ => None,
    };
    reconcile::Route {
        dst: found.dst,
        via: plain.and_then(|hop| hop.via),
        ifindex: plain.and_then(|hop| hop.ifindex),
        hops: match found.kind {
            RouteKind::Unicast => found.next_hops.iter().map(hop).collect(),
            _ => Vec::new(),
        },
        refuses: found.kind != RouteKind::Unicast,
        metric: found.metric,
        source: found.source,
        for_all: (found.tos, found.from) == (0, None),
        ours: found.is_as_made(),
        like_ours: found.is_as_made(),
        kernel: found.protocol == RTPROT_KERNEL,
        told: match found.kind {
            RouteKind::Unicast => format!("{} {}", found.dst, found.way()),
            kind => format!("{kind} {}", found.dst),
        },
        text: text(found, links),
    }
}

fn hop(found: &netlink::NextHop) -> Hop {
    Hop {
        via: found.via,
        ifindex: found.ifindex,
    }
}

/// As `ip route del` takes it, whole: it takes the first that it fits.
fn text(found: &netlink::Route, links: &BTreeMap<Ifindex, Link>) -> String {
    let mut text = match found.kind {
        RouteKind::Unicast => String::new(),
        kind => format!("{kind} "),
    };
    text += &found.dst.to_string();
    if found.tos != 0 {
        text += &format!(" tos {:#x}", found.tos);
    }
    let hops: Vec<String> = found
        .next_hops
        .iter()
        .map(|hop| hop_text(hop, found, links))
        .collect();
    // Several come last.
    let (one, several) = match hops.as_slice() {
        [one] => (one.clone(), String::new()),
        several => (
            String::new(),
            several.iter().map(|hop| format!(" nexthop{hop}")).collect(),
        ),
    };
    text += &one;
    if found.metric != 0 {
        text += &format!(" metric {}", found.metric);
    }
    let table = match found.table {
        MAIN => "main".to_owned(),
        LOCAL => "local".to_owned(),
        number => number.to_string(),
    };
    format!("{text} table {table}{several}")
}

fn hop_text(hop: &NextHop, route: &netlink::Route, links: &BTreeMap<Ifindex, Link>) -> String {
    let mut text = match hop.via {
        Some(via) if via.is_ipv4() != route.dst.addr().is_ipv4() => format!(" via inet6 {via}"),
        Some(via) => format!(" via {via}"),
        None => String::new(),
    };
    if let Some(link) = hop.ifindex.and_then(|ifindex| links.get(&ifindex)) {
        text += &format!(" dev {}", link.name);
    }
    text
}

/// `RT_TABLE_MAIN` and `RT_TABLE_LOCAL` of linux/rtnetlink.h.
const MAIN: u32 = 254;
const LOCAL: u32 = 255;

/// `RTPROT_KERNEL` of linux/rtnetlink.h.
const RTPROT_KERNEL: u8 = 2;
