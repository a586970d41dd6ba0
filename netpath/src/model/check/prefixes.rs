//! Addresses and prefixes of endpoints and uplinks: each belongs to one of them.

use std::{collections::HashMap, fmt, net::IpAddr};

use ipnet::IpNet;

use crate::model::{
    InterfaceName, Name,
    address::{family, host_length},
    fault::{Fault, FaultKind},
    findings::{At, Findings},
    read::DraftNode,
};

/// Whose an address is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner<'n> {
    /// An endpoint. Names can be duplicates, so the indices of node and endpoint say which.
    Endpoint {
        index: (usize, usize),
        name: &'n Name,
    },
    /// An uplink; likewise.
    Uplink {
        index: (usize, usize),
        dev: &'n InterfaceName,
        node: &'n Name,
    },
}

const PREFIXES: &str = "node.endpoint.prefixes";

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint { name, .. } => write!(f, "endpoint {name}"),
            Self::Uplink { dev, node, .. } => write!(f, "uplink {dev} of node {node}"),
        }
    }
}

/// An address or a prefix in the file.
#[derive(Clone, Copy)]
struct Claim<'n> {
    owner: Owner<'n>,
    line: usize,
    net: IpNet,
    /// A prefix that is routed to an endpoint, and no address.
    routed: bool,
}

impl Claim<'_> {
    fn key(&self) -> &'static str {
        match (self.owner, self.routed) {
            (Owner::Endpoint { .. }, true) => PREFIXES,
            (Owner::Endpoint { .. }, false) => "node.endpoint.addresses",
            (Owner::Uplink { .. }, _) => "node.uplink.addresses",
        }
    }
}

/// No address is used twice in the topology, and no prefix shared ([`overlaps`]).
pub(super) fn unshared(nodes: &[DraftNode], findings: &mut Findings<'_>) {
    let mut seen: HashMap<IpAddr, Claim<'_>> = HashMap::new();
    let mut distinct = Vec::new();
    for claim in claims(nodes) {
        if claim.routed {
            distinct.push(claim);
        } else if let Some(first) = seen.get(&claim.net.addr()) {
            findings.add(claim.line, claim.key(), duplicate(&claim, first));
        } else {
            seen.insert(claim.net.addr(), claim);
            distinct.push(claim);
        }
    }
    overlaps(&distinct, findings);
}

fn duplicate(claim: &Claim<'_>, first: &Claim<'_>) -> Fault {
    let (address, line) = (claim.net, first.line);
    if first.owner == claim.owner {
        let problem = format!("{address} is in the list already (line {line})");
        return Fault::new(
            FaultKind::DuplicateAddress,
            problem,
            "write each address once",
        );
    }
    let cure = match claim.owner {
        Owner::Endpoint { .. } => "give each endpoint its own address",
        Owner::Uplink { .. } => "give each uplink its own address",
    };
    let problem = format!("{address} is used by {} too (line {line})", first.owner);
    Fault::new(FaultKind::DuplicateAddress, problem, cure)
}

/// No endpoint's prefix overlaps another endpoint's or an uplink's anywhere, and no uplink's another's of
/// its node. Different nodes' uplinks share the prefix of their segment.
fn overlaps(claims: &[Claim<'_>], findings: &mut Findings<'_>) {
    let nets = claims.iter().map(|claim| (claim.net.trunc(), claim));
    let conflict = |a: &Claim<'_>, b: &Claim<'_>| match (a.owner, b.owner) {
        (Owner::Uplink { index: a, .. }, Owner::Uplink { index: b, .. }) => {
            a.0 == b.0 && a.1 != b.1
        }
        (a, b) => a != b,
    };
    for (outer, inner) in nested(nets.collect(), conflict) {
        let (first, second) = if outer.line <= inner.line {
            (outer, inner)
        } else {
            (inner, outer)
        };
        let problem = format!(
            "overlapping prefixes: {} and {} of {} (line {})",
            second.net, first.net, first.owner, first.line
        );
        let cure = match (first.owner, second.owner) {
            (Owner::Endpoint { .. }, Owner::Endpoint { .. }) if first.routed || second.routed => {
                format!(
                    "give each endpoint prefixes of its own; an address that is written with /{} claims no more \
                     than itself",
                    host_length(second.net.addr())
                )
            }
            (Owner::Endpoint { .. }, Owner::Endpoint { .. }) => format!(
                "give each endpoint a prefix of its own, or write /{} in both",
                host_length(second.net.addr())
            ),
            (Owner::Uplink { .. }, Owner::Uplink { .. }) => {
                "give each uplink of a node a prefix of its own".to_owned()
            }
            _ => "endpoints are routed, not bridged: give them a prefix outside of the uplinks'"
                .to_owned(),
        };
        findings.add(
            second.line,
            second.key(),
            Fault::new(FaultKind::PrefixOverlap, problem, cure),
        );
    }
}

/// An endpoint's prefixes against each other and against its own addresses.
pub(super) fn of_endpoints(nodes: &[DraftNode], all_read: bool, findings: &mut Findings<'_>) {
    for endpoint in nodes.iter().flat_map(|node| &node.endpoints) {
        let nets = Nets {
            name: &endpoint.name.value,
            addresses: &endpoint.addresses,
            prefixes: &endpoint.prefixes,
        };
        for (line, fault) in nets.faults(all_read) {
            findings.add(line, PREFIXES, fault);
        }
    }
}

/// What an endpoint has, of a file or not.
pub(in crate::model) struct Nets<'a> {
    pub name: &'a Name,
    pub addresses: &'a [At<IpNet>],
    pub prefixes: &'a [At<IpNet>],
}

impl Nets<'_> {
    /// What is wrong with its prefixes, each with the line of the prefix.
    pub fn faults(&self, all_read: bool) -> Vec<(usize, Fault)> {
        let prefixes = self.prefixes.iter().enumerate();
        let faults = prefixes.filter_map(|(index, prefix)| {
            let fault = among(&self.prefixes[..index], prefix.value)
                .or_else(|| own_address(self.addresses, prefix.value))
                .or_else(|| all_read.then(|| self.no_next_hop(prefix.value))?);
            Some((prefix.line, fault?))
        });
        faults.collect()
    }

    /// A prefix of a family that the endpoint has no address of.
    fn no_next_hop(&self, prefix: IpNet) -> Option<Fault> {
        let is_ipv4 = prefix.addr().is_ipv4();
        let mut addresses = self.addresses.iter();
        if addresses.any(|at| at.value.addr().is_ipv4() == is_ipv4) {
            return None;
        }
        let (family, name) = (family(prefix.addr()), self.name);
        Some(Fault::new(
            FaultKind::PrefixWithoutNextHop,
            format!(
                "{prefix} needs an {family} next hop, and endpoint {name} has no {family} address"
            ),
            format!("add an {family} address to the endpoint, or remove this prefix"),
        ))
    }
}

/// A prefix that shares addresses with one that comes before it in the list.
fn among(before: &[At<IpNet>], prefix: IpNet) -> Option<Fault> {
    let at = before
        .iter()
        .find(|at| at.value.contains(&prefix) || prefix.contains(&at.value))?;
    let (first, place) = (at.value, at.place());
    Some(if first == prefix {
        let problem = format!("{prefix} is in the list already{place}");
        Fault::new(
            FaultKind::DuplicatePrefix,
            problem,
            "write each prefix once",
        )
    } else {
        let problem = format!("{prefix} overlaps {first} of the same endpoint{place}");
        Fault::new(
            FaultKind::PrefixOverlap,
            problem,
            "write the wider one alone",
        )
    })
}

/// A prefix that is no more than an address that the endpoint has itself.
fn own_address(addresses: &[At<IpNet>], prefix: IpNet) -> Option<Fault> {
    let mut addresses = addresses.iter();
    let at = addresses.find(|at| IpNet::from(at.value.addr()) == prefix)?;
    let problem = format!(
        "{prefix} is an address of the endpoint itself{}",
        at.place()
    );
    Some(Fault::new(
        FaultKind::PrefixIsOwnAddress,
        problem,
        "remove it: its addresses are routed to it anyway",
    ))
}

/// For each prefix the outermost other one, if any, that contains it (or equals it and comes earlier) and
/// that `conflict` says it must not share addresses with. O(n log n) as long as few prefixes are nested.
///
/// Prefixes overlap only by one containing the other, so in sorted order all that contain a prefix are on
/// the stack when it comes.
pub(super) fn nested<T>(
    mut items: Vec<(IpNet, &T)>,
    conflict: impl Fn(&T, &T) -> bool,
) -> Vec<(&T, &T)> {
    items.sort_by_key(|(net, _)| *net);
    let mut stack: Vec<(IpNet, &T)> = Vec::new();
    let mut pairs = Vec::new();
    for (net, item) in items {
        while stack.last().is_some_and(|(outer, _)| !outer.contains(&net)) {
            stack.pop();
        }
        pairs.extend(
            stack
                .iter()
                .find(|(_, o)| conflict(o, item))
                .map(|(_, o)| (*o, item)),
        );
        stack.push((net, item));
    }
    pairs
}

fn claims(nodes: &[DraftNode]) -> impl Iterator<Item = Claim<'_>> {
    let claim = |owner, routed| {
        move |at: &At<IpNet>| Claim {
            owner,
            line: at.line,
            net: at.value,
            routed,
        }
    };
    nodes.iter().enumerate().flat_map(move |(n, node)| {
        let uplinks = node
            .uplinks
            .iter()
            .enumerate()
            .flat_map(move |(u, uplink)| {
                let (dev, node) = (&uplink.dev.value, &node.name.value);
                let owner = Owner::Uplink {
                    index: (n, u),
                    dev,
                    node,
                };
                uplink.addresses.iter().map(claim(owner, false))
            });
        let endpoints = node
            .endpoints
            .iter()
            .enumerate()
            .flat_map(move |(e, endpoint)| {
                let name = &endpoint.name.value;
                let owner = Owner::Endpoint {
                    index: (n, e),
                    name,
                };
                let addresses = endpoint.addresses.iter().map(claim(owner, false));
                addresses.chain(endpoint.prefixes.iter().map(claim(owner, true)))
            });
        uplinks.chain(endpoints)
    })
}
