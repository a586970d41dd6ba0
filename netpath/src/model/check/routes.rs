//! Routes: no two for one destination, none for what is on the node, next hops that are there.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;

use super::prefixes::nested;
use crate::model::{
    Name, NodePlace,
    address::{family, reserved_in_subnet},
    fault::{Fault, FaultKind},
    findings::{At, Findings},
    read::{DraftNode, DraftUplink},
};

const DST: &str = "node.route.dst";
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
            findings.add(line, DST, fault);
        } else {
            seen.insert(dst, line);
        }
        let connected = |at: &&At<IpNet>| at.value.trunc() == dst;
        for uplink in &node.uplinks {
            if uplink.addresses.iter().find(connected).is_some() {
                let problem = format!(
                    "{dst} is the prefix of the node's uplink {}",
                    uplink.dev.value
                );
                let cure = "remove it: the uplink's address makes this route";
                findings.add(
                    line,
                    DST,
                    Fault::new(FaultKind::RouteToUplink, problem, cure),
                );
            }
        }
        next_hop(&own, dst, &route.via, findings);
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
    if of_dst != of_via {
        let problem = format!("{via} is {of_via} and the destination {dst} is {of_dst}");
        let cure = format!(
            "write the next hop's {of_dst} address: a next hop of the other family is not supported"
        );
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

/// A destination in which the node itself has an endpoint would take the endpoint's neighbours elsewhere.
fn local_destinations(node: &DraftNode, findings: &mut Findings<'_>) {
    /// A prefix of the node, and the endpoint's name or none for a route's destination.
    struct Claim<'n>(At<IpNet>, Option<&'n Name>);

    let routes = node.routes.iter().map(|route| Claim(route.dst, None));
    let endpoints = node.endpoints.iter().flat_map(|endpoint| {
        let name = &endpoint.name.value;
        endpoint
            .addresses
            .iter()
            .chain(&endpoint.prefixes)
            .map(move |address| Claim(*address, Some(name)))
    });
    let claims: Vec<_> = routes.chain(endpoints).collect();
    let items = claims
        .iter()
        .map(|claim| (claim.0.value.trunc(), claim))
        .collect();
    let mut last_line = 0;
    for (outer, inner) in nested(items, |a, b| a.1.is_some() != b.1.is_some()) {
        let (route, endpoint, name) = match (outer.1, inner.1) {
            (Some(name), _) => (inner.0, outer.0, name),
            (None, Some(name)) => (outer.0, inner.0, name),
            (None, None) => continue,
        };
        // A wide destination has many endpoints; they follow each other.
        if std::mem::replace(&mut last_line, route.line) == route.line {
            continue;
        }
        let problem = format!(
            "{} overlaps {} of the node's own endpoint {name} (line {})",
            route.value, endpoint.value, endpoint.line
        );
        let cure = "write only prefixes of other nodes' endpoints";
        findings.add(
            route.line,
            DST,
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
    let of_dst = |net: &IpNet, via: IpAddr| net.addr().is_ipv4() == via.is_ipv4();
    for route in &node.routes {
        let At { line, value: via } = route.via;
        if !of_dst(&route.dst.value, via) {
            continue;
        }
        let subnet = |uplink: &DraftUplink| {
            uplink
                .addresses
                .iter()
                .map(|at| at.value)
                .find(|net| net.contains(&via))
        };
        let found = node
            .uplinks
            .iter()
            .find_map(|uplink| Some((uplink, subnet(uplink)?)));
        let fault = match found {
            None => Some(unreachable(node, via)),
            Some((_, net)) if net.addr() == via => None,
            Some((uplink, net)) => match reserved_in_subnet(via, &net) {
                Some(what) => Some(Fault::new(
                    FaultKind::SubnetReserved,
                    format!("{via} is {what}"),
                    format!("write the address of another node in {}", net.trunc()),
                )),
                None => nobody(nodes, node, uplink, via),
            },
        };
        if let Some(fault) = fault {
            findings.add(line, VIA, fault);
        }
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
                "write an address in {}, or add an uplink",
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
