//! Routes: no two for one destination, none for what is on the node, next hops that are there.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;

use super::prefixes::nested;
use crate::model::{
    Name, NodePlace,
    address::{family, is_link_local, reserved_in_subnet},
    fault::{Fault, FaultKind},
    findings::{At, Findings},
    read::{DraftNode, DraftRoute, DraftUplink},
};

const VIA: &str = "node.route.via";

/// How many of a wire's addresses a cure names.
const EXAMPLES: usize = 4;

/// A node's routes against each other, its endpoints and its uplinks.
pub(super) fn consistent(node: &DraftNode, findings: &mut Findings<'_>) {
    let own = own_addresses(node);
    let mut seen: HashMap<IpNet, usize> = HashMap::new();
    for route in &node.routes {
        let At { line, value: dst } = route.dst;
        if let Some(first) = seen.get(&dst) {
            let problem = format!("node {} has a route to {dst} already", node.name.value);
            let fault = Fault::new(
                FaultKind::DuplicateRoute,
                format!("{problem} (line {first})"),
                "write each destination once in a node",
            );
            findings.add(line, route.key, fault);
        } else {
            seen.insert(dst, line);
        }
        let connected = |at: &&At<IpNet>| at.value.trunc() == dst;
        for uplink in &node.uplinks {
            if route.via.is_some() && uplink.addresses.iter().find(connected).is_some() {
                let problem = format!(
                    "{dst} is the prefix of the node's uplink {}",
                    uplink.dev.value
                );
                let cure = "remove it: the uplink's address makes this route";
                findings.add(
                    line,
                    route.key,
                    Fault::new(FaultKind::RouteToUplink, problem, cure),
                );
            }
        }
        if let Some(via) = &route.via {
            next_hop(&own, dst, via, findings);
            device(node, route, via, findings);
        }
    }
    local_destinations(node, findings);
}

/// The node's own addresses, and why none can be a next hop.
fn own_addresses(node: &DraftNode) -> HashMap<IpAddr, Fault> {
    let mut own = HashMap::new();
    for endpoint in &node.endpoints {
        for address in endpoint.addresses.iter().map(|at| at.value.addr()) {
            let problem = format!("{address} is endpoint {}'s address", endpoint.name.value);
            let cure = "write another node's address: endpoints do not forward";
            own.insert(address, Fault::new(FaultKind::NextHopOwn, problem, cure));
        }
    }
    for uplink in &node.uplinks {
        for address in uplink.addresses.iter().map(|at| at.value.addr()) {
            let problem = format!(
                "{address} is the node's own address, on {}",
                uplink.dev.value
            );
            let cure = "write the address of the node that has the destination's endpoints";
            own.insert(address, Fault::new(FaultKind::NextHopOwn, problem, cure));
        }
    }
    own
}

/// A next hop by itself and with its destination.
fn next_hop(
    own: &HashMap<IpAddr, Fault>,
    dst: IpNet,
    via: &At<IpAddr>,
    findings: &mut Findings<'_>,
) {
    let At { line, value: via } = *via;
    let (of_dst, of_via) = (family(dst.addr()), family(via));
    if dst.addr().is_ipv6() && via.is_ipv4() {
        let problem = format!("{via} is {of_via} and the destination {dst} is {of_dst}");
        let cure = "write the next hop's IPv6 address: the kernel leads IPv6 over no IPv4 next hop";
        findings.add(
            line,
            VIA,
            Fault::new(FaultKind::NextHopFamily, problem, cure),
        );
    }
    if let Some(fault) = own.get(&via) {
        findings.add(line, VIA, fault.clone());
    }
}

/// The interface of a next hop is an uplink, and one that is good on its link only says on which.
fn device(node: &DraftNode, route: &DraftRoute, via: &At<IpAddr>, findings: &mut Findings<'_>) {
    let names: Vec<&str> = node
        .uplinks
        .iter()
        .map(|uplink| uplink.dev.value.as_ref())
        .collect();
    match &route.dev {
        Some(dev) if !names.contains(&dev.value.as_ref()) => {
            let problem = format!("{} is no uplink of node {}", dev.value, node.name.value);
            let cure = match names.as_slice() {
                [] => "add it as a [[node.uplink]]".to_owned(),
                names => format!(
                    "write {}, or add it as a [[node.uplink]]",
                    names.join(" or ")
                ),
            };
            let fault = Fault::new(FaultKind::RouteDevUnknown, problem, cure);
            findings.add(dev.line, "node.route.dev", fault);
        }
        None if is_link_local(via.value) => {
            let problem = format!(
                "{} is link-local: it does not say on which uplink",
                via.value
            );
            let example = names.first().unwrap_or(&"enp2s0");
            let cure = format!("add dev = {example:?}");
            let fault = Fault::new(FaultKind::NextHopWithoutDev, problem, cure);
            findings.add(via.line, VIA, fault);
        }
        _ => {}
    }
}

/// A destination that is an endpoint's of the node's own, or lies in what an endpoint has, would take that elsewhere. A wider
/// one is fine: what is longer goes first.
fn local_destinations(node: &DraftNode, findings: &mut Findings<'_>) {
    /// A prefix of the node.
    enum Claim<'n> {
        /// A route's destination.
        Route(&'n DraftRoute),
        /// An endpoint's, as it is written.
        Endpoint(At<IpNet>, &'n Name),
        /// An endpoint's address alone, of which a subnet is written.
        Address(At<IpNet>, &'n Name),
    }

    let routes = node.routes.iter();
    let routes = routes.map(|route| (route.dst.value, Claim::Route(route)));
    let endpoints = node.endpoints.iter().flat_map(|endpoint| {
        let name = &endpoint.name.value;
        let prefixes = endpoint.prefixes.iter();
        let prefixes = prefixes.map(move |at| (at.value, Claim::Address(*at, name)));
        let addresses = endpoint.addresses.iter().flat_map(move |at| {
            [
                (at.value.trunc(), Claim::Endpoint(*at, name)),
                (at.value.addr().into(), Claim::Address(*at, name)),
            ]
        });
        prefixes.chain(addresses)
    });
    let claims: Vec<(IpNet, Claim<'_>)> = routes.chain(endpoints).collect();
    let items = claims.iter().map(|claim| (claim.0, claim)).collect();
    // Without a next hop of its own it leads nothing away from an endpoint's neighbours.
    let takes = |route: &DraftRoute, other: &Claim<'_>| match other {
        Claim::Route(_) => false,
        Claim::Endpoint(..) => route.via.is_some(),
        Claim::Address(..) => true,
    };
    let conflict = |outer: &(IpNet, Claim<'_>), inner: &(IpNet, Claim<'_>)| match (outer, inner) {
        ((_, other), (_, Claim::Route(route))) => takes(route, other),
        ((outer, Claim::Route(route)), (inner, other)) => outer == inner && takes(route, other),
        _ => false,
    };
    let mut last = None;
    for (outer, inner) in nested(items, conflict) {
        let (route, endpoint, name) = match (&outer.1, &inner.1) {
            (Claim::Route(route), Claim::Endpoint(at, name) | Claim::Address(at, name))
            | (Claim::Endpoint(at, name) | Claim::Address(at, name), Claim::Route(route)) => {
                (route, at, name)
            }
            _ => continue,
        };
        let dst = route.dst;
        // An endpoint's claims follow each other.
        if last.replace(dst.value) == Some(dst.value) {
            continue;
        }
        let problem = format!(
            "{} overlaps {} of the node's own endpoint {name} (line {})",
            dst.value, endpoint.value, endpoint.line
        );
        let cure = "write a wider prefix, or only prefixes of other nodes' endpoints";
        findings.add(
            dst.line,
            route.key,
            Fault::new(FaultKind::RouteToOwnEndpoint, problem, cure),
        );
    }
}

/// Each next hop is on an uplink's subnet and, where the file knows all of the wire, is there.
pub(super) fn reachable(nodes: &[DraftNode], index: usize, findings: &mut Findings<'_>) {
    let node = &nodes[index];
    // The machine's uplink may have addresses that the file does not list.
    if node
        .uplinks
        .iter()
        .any(|uplink| uplink.addresses.is_empty())
    {
        return;
    }
    for route in &node.routes {
        let Some(At { line, value: via }) = route.via else {
            continue;
        };
        if let Some(fault) = unreached(nodes, node, route, via) {
            findings.add(line, VIA, fault);
        }
    }
}

/// Why a next hop is not there, if it is not. One on a link that `dev` names needs no subnet, and a link-local one is not in the
/// file.
fn unreached(
    nodes: &[DraftNode],
    node: &DraftNode,
    route: &DraftRoute,
    via: IpAddr,
) -> Option<Fault> {
    let is_it = |uplink: &&DraftUplink| {
        let dev = route.dev.as_ref();
        dev.is_none_or(|dev| dev.value == uplink.dev.value)
    };
    let mut subnets = node.uplinks.iter().filter(is_it).filter_map(|uplink| {
        let mut nets = uplink.addresses.iter().map(|at| at.value);
        Some((uplink, nets.find(|net| net.contains(&via))?))
    });
    match (subnets.next(), &route.dev) {
        // Without `dev` it is told already.
        (None, _) if is_link_local(via) => None,
        (None, None) => Some(unreachable(node, via)),
        (None, Some(_)) => {
            let uplink = node.uplinks.iter().find(is_it);
            uplink.and_then(|uplink| nobody(nodes, node, uplink, via))
        }
        (Some((_, net)), _) if net.addr() == via => None,
        (Some((uplink, net)), _) => match reserved_in_subnet(via, &net) {
            Some(what) => Some(Fault::new(
                FaultKind::SubnetReserved,
                format!("{via} is {what}"),
                format!("write the address of another node in {}", net.trunc()),
            )),
            None => nobody(nodes, node, uplink, via),
        },
    }
}

fn unreachable(node: &DraftNode, via: IpAddr) -> Fault {
    let nets = node.uplinks.iter().flat_map(|uplink| &uplink.addresses);
    let nets = nets.filter(|at| at.value.addr().is_ipv4() == via.is_ipv4());
    let nets: Vec<_> = nets.map(|at| at.value.trunc().to_string()).collect();
    let problem = format!(
        "next hop {via} is unreachable: no uplink of {} has",
        node.name.value
    );
    if nets.is_empty() {
        let family = family(via);
        Fault::new(
            FaultKind::NextHopUnreachable,
            format!("{problem} an {family} address"),
            format!("add an {family} address in the next hop's subnet to an uplink"),
        )
    } else {
        Fault::new(
            FaultKind::NextHopUnreachable,
            format!("{problem} a subnet that contains it"),
            format!(
                "write an address in {}, or add dev = \"...\" with the uplink that it is on the link of",
                nets.join(" or ")
            ),
        )
    }
}

/// A next hop on a wire that no node on the wire has. What else is on it is known only in a lab.
fn nobody(
    nodes: &[DraftNode],
    node: &DraftNode,
    uplink: &DraftUplink,
    via: IpAddr,
) -> Option<Fault> {
    let wire = &uplink.wire.as_ref()?.value;
    if node.place.value != NodePlace::Lab {
        return None;
    }
    let on_wire = |uplink: &&DraftUplink| uplink.wire.as_ref().is_some_and(|w| w.value == *wire);
    let uplinks = nodes.iter().flat_map(|node| &node.uplinks).filter(on_wire);
    let mut others = Vec::new();
    for at in uplinks.flat_map(|uplink| &uplink.addresses) {
        let address = at.value.addr();
        if address == via {
            return None;
        }
        let own = uplink
            .addresses
            .iter()
            .any(|own| own.value.addr() == address);
        if address.is_ipv4() == via.is_ipv4() && !own && others.len() < EXAMPLES {
            others.push(address.to_string());
        }
    }
    let cure = if others.is_empty() {
        format!("put the other node's uplink on wire {wire} too")
    } else {
        format!("write the address of one, such as {}", others.join(", "))
    };
    Some(Fault::new(
        FaultKind::NextHopUnknown,
        format!("no node on wire {wire} has the address {via}"),
        cure,
    ))
}
