//! What the kernel has of a namespace.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    os::fd::{AsFd as _, BorrowedFd},
    sync::PoisonError,
};

use netpath_common::{Ifindex, ProgramKind};

use super::{Subject, census};
use crate::{
    datapath::{Datapath, Running},
    model::{NodePlace, is_forwardable},
    netlink::{self, LinkKind, NeighbourState, Netlink, RouteKind, Table, XdpMode},
    netns::{Inside, Netns},
    provision::{error::ProvisionError, iptables},
    reconcile::{
        self, Link, Namespace, NamespaceState, Neighbour, Observed, Route, Sysctls,
        endpoint_sysctls, node_sysctls, reverse_path_sysctls, veth_sysctls, wire_sysctls,
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
    let keys = node_keys(subject);
    let state = observed.node.state;
    let is_lab = subject.place == NodePlace::Lab;
    let may_drop = subject.wanted.is_some_and(|node| node.forward_drop)
        || subject.recorded.is_some_and(|node| node.forward_drop);
    let datapath = datapath.map(std::sync::Mutex::new);
    let is_machine = subject.place == NodePlace::Host;
    let (node, own, local, forward_drop, attached, census) = netns.enter(|inside| {
        let netlink = Netlink::open(inside)?;
        let node = read(inside, &netlink, state, &keys, None)?;
        let taken = netlink.routes(Table::Local)?;
        let own = taken.iter().filter_map(own_address).collect();
        let local = match is_machine {
            true => taken.iter().map(route).collect(),
            false => Vec::new(),
        };
        let asked = is_lab && (may_drop || iptables::may_drop_forward(inside)?);
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
        let census = census::take(subject, inside, &netlink, datapath, &node.sysctls)?;
        Ok::<_, ProvisionError>((node, own, local, drop, attached, census))
    })??;
    observed.node = node;
    observed.own = own;
    observed.local = local;
    observed.forward_drop = forward_drop;
    (observed.attached, observed.loose) = attached;
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
    let endpoints = recorded.endpoints.values().map(|endpoint| {
        let programs: &[ProgramKind] = &[ProgramKind::FromEndpoint, ProgramKind::ToEndpoint];
        (endpoint.host_dev.as_str(), programs)
    });
    let uplinks = recorded.uplinks.keys().map(|dev| {
        let programs: &[ProgramKind] = &[ProgramKind::FromUplink];
        (dev.as_str(), programs)
    });
    let (mut attached, mut loose) = (Programs::new(), Programs::new());
    for (dev, programs) in endpoints.chain(uplinks) {
        let Some(link) = node.link(dev) else {
            continue;
        };
        for &program in programs {
            let running = datapath.runs(inside, program, &link.name)?;
            if running != Running::No {
                attached.insert((link.ifindex, program));
            }
            if running == Running::Loose {
                loose.insert((link.ifindex, program));
            }
        }
    }
    Ok((attached, loose))
}

/// The sysctls that netpath sets in a node's namespace, or goes by there.
fn node_keys(subject: &Subject<'_>) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    keys.extend(node_sysctls().into_iter().map(|(key, _)| key));
    keys.push(census::PATH_MTU.to_owned());
    for dev in subject.host_devs() {
        keys.extend(veth_sysctls(dev).into_iter().map(|(key, _)| key));
    }
    for dev in subject.uplinks() {
        keys.extend(reverse_path_sysctls(dev));
        keys.push(sysctl::of_interface(sysctl::Tree::Ipv4, dev, "forwarding"));
        keys.push(sysctl::of_interface(
            sysctl::Tree::Ipv6,
            dev,
            "disable_ipv6",
        ));
    }
    keys
}

/// An endpoint's, with which of its interfaces have their other end in the node's.
pub(super) fn endpoint(
    netns: &Netns,
    state: NamespaceState,
    dev: &str,
    node: Option<&Netns>,
) -> Result<Namespace, ProvisionError> {
    let mut keys: Vec<String> = endpoint_sysctls().into_iter().map(|(key, _)| key).collect();
    if !dev.is_empty() {
        keys.push(sysctl::of_interface(
            sysctl::Tree::Ipv6,
            dev,
            "disable_ipv6",
        ));
    }
    let node = node.map(Netns::as_fd);
    netns.enter(|inside| read(inside, &Netlink::open(inside)?, state, &keys, node))?
}

/// A wire's, with which of its ports have their other end in the node's.
pub(super) fn wire(
    netns: &Netns,
    state: NamespaceState,
    node: Option<&Netns>,
) -> Result<Namespace, ProvisionError> {
    let keys: Vec<String> = wire_sysctls().into_iter().map(|(key, _)| key).collect();
    let node = node.map(Netns::as_fd);
    netns.enter(|inside| read(inside, &Netlink::open(inside)?, state, &keys, node))?
}

fn read(
    inside: &Inside<'_>,
    netlink: &Netlink,
    state: NamespaceState,
    keys: &[String],
    node: Option<BorrowedFd<'_>>,
) -> Result<Namespace, ProvisionError> {
    let mut links: BTreeMap<Ifindex, Link> = BTreeMap::new();
    let found = netlink.links()?;
    // Afterwards: the kernel gives it one when it tells of an interface whose other end is there.
    let node = match node {
        Some(node) => netlink.namespace_id(node)?,
        None => None,
    };
    for link in found {
        let peer = link
            .peer
            .filter(|peer| node.is_some() && peer.netns == node);
        links.insert(
            link.ifindex,
            Link {
                ifindex: link.ifindex,
                name: link.name,
                mac: link.mac,
                veth: link.kind == LinkKind::Veth,
                up: link.up,
                mtu: link.mtu,
                controller: link.controller,
                other_end: peer.map(|peer| peer.ifindex),
                xdp: link.xdp.iter().any(|xdp| xdp.mode == XdpMode::Native),
                addresses: Vec::new(),
            },
        );
    }
    for (ifindex, found) in netlink.all_addresses()? {
        if let Some(link) = links.get_mut(&ifindex) {
            link.addresses.push(found.address);
        }
    }
    let neighbours = netlink.neighbours()?.into_iter().filter_map(|found| {
        let permanent = found.state == NeighbourState::Permanent;
        let mac = found.mac.filter(|_| permanent)?;
        Some(Neighbour {
            ifindex: found.ifindex,
            address: found.address,
            mac,
        })
    });
    Ok(Namespace {
        state,
        neighbours: neighbours.collect(),
        routes: netlink.routes(Table::Main)?.iter().map(route).collect(),
        links: links.into_values().collect(),
        sysctls: sysctls(inside, keys)?,
    })
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
/// whatever interface has it, or none. An IPv6 address that turned out to be somebody else's is not there.
fn own_address(found: &netlink::Route) -> Option<IpAddr> {
    let is_address = found.dst.prefix_len() == found.dst.max_prefix_len();
    let address = found.dst.addr();
    (found.kind == RouteKind::Local && is_address && is_forwardable(address)).then_some(address)
}

/// A route that is not plain (of another type, over several next hops) has neither next hop nor interface here: it is
/// never one that netpath made.
fn route(found: &netlink::Route) -> Route {
    let plain = match found.next_hops.as_slice() {
        [hop] if found.kind == RouteKind::Unicast && found.nexthop_id.is_none() => Some(hop),
        _ => None,
    };
    reconcile::Route {
        dst: found.dst,
        via: plain.and_then(|hop| hop.via),
        ifindex: plain.and_then(|hop| hop.ifindex),
        source: found.source,
        ours: found.is_ours() && plain.is_some(),
        kernel: found.protocol == RTPROT_KERNEL,
        told: match found.kind {
            RouteKind::Unicast => format!("{} {}", found.dst, found.way()),
            kind => format!("{kind} {}", found.dst),
        },
        text: text(found),
    }
}

/// As `ip route del` takes it.
fn text(found: &netlink::Route) -> String {
    let kind = match found.kind {
        RouteKind::Unicast => String::new(),
        kind => format!("{kind} "),
    };
    let via = match found.next_hops.as_slice() {
        [hop] => hop
            .via
            .map_or_else(String::new, |via| format!(" via {via}")),
        _ => String::new(),
    };
    let metric = match found.metric {
        0 => String::new(),
        metric => format!(" metric {metric}"),
    };
    format!("{kind}{}{via}{metric}", found.dst)
}

/// `RTPROT_KERNEL` of linux/rtnetlink.h.
const RTPROT_KERNEL: u8 = 2;
