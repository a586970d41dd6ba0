//! Values against each other: what no value shows by itself.
//!
//! A rule that says "nothing there has this" (an unreachable next hop, a missing family) is checked only
//! when all values could be read; else it would blame one mistake for another.

pub(super) mod prefixes;
mod routes;

use std::collections::HashMap;

use super::{
    IPV6_MIN_MTU, InterfaceName, Name, NodePlace, WIRE_NAMESPACE_PREFIX,
    address::family,
    derived::WIRE_MAX,
    fault::{Fault, FaultKind},
    findings::{At, Findings},
    read::DraftNode,
};

/// Checks what the reader could make of the file.
pub(super) fn nodes(nodes: &[DraftNode], findings: &mut Findings<'_>) {
    let all_read = findings.is_empty();
    names(nodes, findings);
    places(nodes, findings);
    for node in nodes {
        devices(node, findings);
        capacity(node, findings);
        mtus(node, findings);
    }
    prefixes::unshared(nodes, findings);
    prefixes::of_endpoints(nodes, all_read, findings);
    for (index, node) in nodes.iter().enumerate() {
        routes::consistent(node, findings);
        if all_read {
            routes::reachable(nodes, index, findings);
            families(node, findings);
        }
    }
}

/// Names of nodes and endpoints share /run/netns with each other and with the wires' namespaces.
fn names(nodes: &[DraftNode], findings: &mut Findings<'_>) {
    let mut seen = HashMap::new();
    for node in nodes {
        let in_host = node.place.value == NodePlace::Host;
        name(&node.name, "node", in_host, &mut seen, findings);
        for endpoint in &node.endpoints {
            name(&endpoint.name, "endpoint", false, &mut seen, findings);
        }
        for wire in node
            .uplinks
            .iter()
            .filter_map(|uplink| uplink.wire.as_ref())
        {
            let length = wire.value.as_ref().len();
            if length > WIRE_MAX {
                let problem = format!("name {:?} has {length} bytes", wire.value.as_ref());
                let cure = format!(
                    "write at most {WIRE_MAX}, as its namespace is {WIRE_NAMESPACE_PREFIX}<wire>"
                );
                findings.add(
                    wire.line,
                    "node.uplink.wire",
                    Fault::new(FaultKind::BadName, problem, cure),
                );
            }
        }
    }
}

fn name<'n>(
    name: &'n At<Name>,
    kind: &'static str,
    may_be_host: bool,
    seen: &mut HashMap<&'n Name, (&'static str, usize)>,
    findings: &mut Findings<'_>,
) {
    let key = if kind == "node" {
        "node.name"
    } else {
        "node.endpoint.name"
    };
    let text = name.value.as_ref();
    if let Some(mut fault) = reserved_name(&name.value, may_be_host) {
        if (kind, text) == ("node", "host") {
            fault.cure += "; for this machine itself add netns = \"host\"";
        }
        findings.add(name.line, key, fault);
    }
    if let Some((other, line)) = seen.get(&name.value) {
        let problem = format!("{text:?} is the name of another {other} too (line {line})");
        let cure = "give each node and each endpoint its own name: all share /run/netns";
        findings.add(
            name.line,
            key,
            Fault::new(FaultKind::DuplicateName, problem, cure),
        );
    } else {
        seen.insert(&name.value, (kind, name.line));
    }
}

/// Why a name cannot be had by a node or an endpoint, if it cannot: it means something else.
pub(super) fn reserved_name(name: &Name, may_be_host: bool) -> Option<Fault> {
    let text = name.as_ref();
    let reserved = match text {
        "host" => !may_be_host,
        "default" | "self" | "current" => true,
        _ => false,
    };
    let (problem, cure) = if reserved {
        (
            format!("{text:?} is a reserved name"),
            "choose another name",
        )
    } else if text.starts_with(WIRE_NAMESPACE_PREFIX) {
        (
            format!("{text:?} starts with {WIRE_NAMESPACE_PREFIX}"),
            "choose another name: the wires' namespaces are called so",
        )
    } else {
        return None;
    };
    Some(Fault::new(FaultKind::ReservedName, problem, cure))
}

/// What only a lab node can have, and that there is one machine.
fn places(nodes: &[DraftNode], findings: &mut Findings<'_>) {
    let mut host: Option<&DraftNode> = None;
    for node in nodes {
        if node.place.value == NodePlace::Lab {
            continue;
        }
        let lab_only = "lab nodes only, and this node is the machine itself";
        if let Some(policy) = &node.forward_policy {
            let cure = "remove it: netpath leaves the machine's own FORWARD chain as it is";
            let fault = Fault::new(FaultKind::LabOnly, format!("a setting of {lab_only}"), cure);
            findings.add(policy.line, "node.forward_policy", fault);
        }
        for wire in node
            .uplinks
            .iter()
            .filter_map(|uplink| uplink.wire.as_ref())
        {
            let cure = "remove it: the machine's uplink is on a wire already";
            let fault = Fault::new(FaultKind::LabOnly, format!("a setting of {lab_only}"), cure);
            findings.add(wire.line, "node.uplink.wire", fault);
        }
        if let Some(first) = host {
            let problem = format!(
                "node {} is the machine itself already (line {})",
                first.name.value, first.place.line
            );
            let cure = "keep one node with netns = \"host\"";
            findings.add(
                node.place.line,
                "node.netns",
                Fault::new(FaultKind::SecondHost, problem, cure),
            );
        }
        host = host.or(Some(node));
    }
}

/// Uplinks and the host sides of endpoints share the node's namespace.
fn devices(node: &DraftNode, findings: &mut Findings<'_>) {
    let uplinks = node.uplinks.iter().map(|uplink| {
        (
            &uplink.dev,
            "node.uplink.dev",
            format!("an uplink of {}", node.name.value),
        )
    });
    let endpoints = node.endpoints.iter().map(|endpoint| {
        (
            &endpoint.host_dev,
            "node.endpoint.host_dev",
            format!("endpoint {}", endpoint.name.value),
        )
    });
    let mut seen: HashMap<&InterfaceName, (String, usize)> = HashMap::new();
    for (dev, key, user) in uplinks.chain(endpoints) {
        if let Some((other, line)) = seen.get(&dev.value) {
            let problem = format!("{} is used by {other} too (line {line})", dev.value);
            let cure = "give each interface of a node its own name";
            findings.add(
                dev.line,
                key,
                Fault::new(FaultKind::DuplicateInterface, problem, cure),
            );
        } else {
            seen.insert(&dev.value, (user, dev.line));
        }
    }
}

/// An endpoint with IPv6 addresses has an MTU with which the kernel does IPv6. That of a node is told once.
fn mtus(node: &DraftNode, findings: &mut Findings<'_>) {
    let is_small = |mtu: &&At<u32>| mtu.value < IPV6_MIN_MTU;
    let mut told = false;
    for endpoint in &node.endpoints {
        let has_ipv6 = endpoint
            .addresses
            .iter()
            .any(|it| it.value.addr().is_ipv6());
        let (mtu, key, is_nodes) = match (&endpoint.mtu, &node.mtu) {
            (Some(mtu), _) => (mtu, "node.endpoint.mtu", false),
            (None, Some(mtu)) => (mtu, "node.mtu", true),
            (None, None) => continue,
        };
        if !has_ipv6 || Some(mtu).filter(is_small).is_none() || (is_nodes && told) {
            continue;
        }
        told |= is_nodes;
        let fault = too_small_for_ipv6(mtu.value, &endpoint.name.value);
        findings.add(mtu.line, key, fault);
    }
}

/// An MTU with which the kernel does no IPv6, of an endpoint that has IPv6 addresses.
pub(super) fn too_small_for_ipv6(mtu: u32, endpoint: &Name) -> Fault {
    let problem = format!("{mtu} is too small for IPv6, of which {endpoint} has an address");
    let cure = format!("write at least {IPV6_MIN_MTU}, or leave out IPv6 addresses");
    Fault::new(FaultKind::OutOfRange, problem, cure)
}

/// What the file itself names has room in the maps.
fn capacity(node: &DraftNode, findings: &mut Findings<'_>) {
    for is_ipv4 in [true, false] {
        let addresses = node
            .endpoints
            .iter()
            .flat_map(|endpoint| &endpoint.addresses);
        let addresses = addresses
            .filter(|at| at.value.addr().is_ipv4() == is_ipv4)
            .count();
        let routes = node.routes.iter();
        let routes = routes
            .map(|route| &route.dst)
            .chain(node.endpoints.iter().flat_map(|e| &e.prefixes))
            .filter(|at| at.value.addr().is_ipv4() == is_ipv4)
            .count();
        let family = if is_ipv4 { "IPv4" } else { "IPv6" };
        for (limit, key, needed, what) in [
            (
                &node.max_endpoints,
                "node.max_endpoints",
                addresses,
                "endpoint addresses",
            ),
            (
                &node.max_routes,
                "node.max_routes",
                routes,
                "routes and prefixes",
            ),
        ] {
            if u32::try_from(needed).is_ok_and(|needed| needed <= limit.value) {
                continue;
            }
            let problem = format!(
                "{} is too few for {needed} {family} {what} in this file",
                limit.value
            );
            let cure = format!("write at least {needed}");
            findings.add(
                limit.line,
                key,
                Fault::new(FaultKind::CapacityTooSmall, problem, cure),
            );
        }
    }
}

/// A node with uplinks has addresses of each family that its endpoints have, or a route that needs none; else what they send
/// would never leave it.
fn families(node: &DraftNode, findings: &mut Findings<'_>) {
    let unknown = node
        .uplinks
        .iter()
        .any(|uplink| uplink.addresses.is_empty());
    if node.uplinks.is_empty() || unknown {
        return;
    }
    let uplink_addresses = || node.uplinks.iter().flat_map(|uplink| &uplink.addresses);
    let has_a_way = |is_ipv4: bool| {
        let mut routes = node.routes.iter();
        routes.any(|route| {
            let via = route.via.map(|via| via.value);
            let needs_none = via.is_none_or(|via| via.is_ipv4() != is_ipv4) || route.dev.is_some();
            route.dst.value.addr().is_ipv4() == is_ipv4 && needs_none
        })
    };
    for endpoint in &node.endpoints {
        for address in &endpoint.addresses {
            let is_ipv4 = address.value.addr().is_ipv4();
            let has_one = uplink_addresses().any(|at| at.value.addr().is_ipv4() == is_ipv4);
            if has_one || has_a_way(is_ipv4) {
                continue;
            }
            let family = family(address.value.addr());
            let problem = format!(
                "{} is {family}, and no uplink of {} has an {family} address",
                address.value, node.name.value
            );
            let cure = format!("add an {family} address to the uplink, or remove this one");
            let key = "node.endpoint.addresses";
            findings.add(
                address.line,
                key,
                Fault::new(FaultKind::FamilyWithoutUplink, problem, cure),
            );
        }
    }
}
