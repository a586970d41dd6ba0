//! The document's tables as typed drafts: every value checked by itself, with its line.

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::{
    ADDRESSES_MAX, Bypass, CONNECTIONS_DEFAULT, ENDPOINTS_DEFAULT, PREFIXES_MAX, ROUTES_DEFAULT,
};

use super::{
    CAPACITY_RANGE, CONNECTIONS_RANGE, Capacity, Endpoint, ForwardPolicy, InterfaceName, MTU_RANGE,
    Name, Node, NodePlace, Route, Uplink, address, derived_host_dev,
    document::{self, Schema, Schemas, Table, boolean, integer, string},
    fault::{Fault, FaultKind},
    findings::{At, Findings},
};

const ROOT: Schema = Schema {
    path: "",
    keys: &["node"],
};
const NODE: Schema = Schema {
    path: "node",
    keys: &[
        "name",
        "netns",
        "forward_policy",
        "bypass",
        "fast_prefixes",
        "expedite",
        "mtu",
        "max_endpoints",
        "max_routes",
        "max_connections",
        "uplink",
        "route",
        "endpoint",
    ],
};
const UPLINK: Schema = Schema {
    path: "node.uplink",
    keys: &["dev", "addresses", "wire"],
};
const ROUTE: Schema = Schema {
    path: "node.route",
    keys: &["dst", "via", "dev"],
};
const ENDPOINT: Schema = Schema {
    path: "node.endpoint",
    keys: &["name", "addresses", "prefixes", "mtu", "dev", "host_dev"],
};
const SCHEMAS: &Schemas = &[&ROOT, &NODE, &UPLINK, &ROUTE, &ENDPOINT];

/// Every key of every table of a file: the keys that lead to the table, such as `node.uplink`, and the key.
pub fn keys() -> impl Iterator<Item = (&'static str, &'static str)> {
    let of = |schema: &'static Schema| schema.keys.iter().map(|key| (schema.path, *key));
    SCHEMAS.iter().copied().flat_map(of)
}

/// The full key of a route's destination.
const ROUTE_DST: &str = "node.route.dst";
/// The full key of the prefixes whose next hops are the kernel's.
const FAST_PREFIXES: &str = "node.fast_prefixes";

/// The interface inside an endpoint, as container runtimes name it.
pub(super) const DEV_DEFAULT: &str = "eth0";

/// A node with the lines of its values.
pub(super) struct DraftNode {
    pub(super) name: At<Name>,
    pub(super) place: At<NodePlace>,
    pub(super) forward_policy: Option<At<ForwardPolicy>>,
    pub(super) bypass: Bypass,
    pub(super) expedite: Option<At<bool>>,
    pub(super) mtu: Option<At<u32>>,
    pub(super) max_endpoints: At<u32>,
    pub(super) max_routes: At<u32>,
    pub(super) max_connections: At<u32>,
    pub(super) uplinks: Vec<DraftUplink>,
    pub(super) routes: Vec<DraftRoute>,
    pub(super) endpoints: Vec<DraftEndpoint>,
}

/// An uplink with the lines of its values.
pub(super) struct DraftUplink {
    pub(super) dev: At<InterfaceName>,
    pub(super) addresses: Vec<At<IpNet>>,
    pub(super) wire: Option<At<Name>>,
}

/// A route, or one of the prefixes of the key `fast_prefixes`, with the lines of its values.
pub(super) struct DraftRoute {
    /// The key of its destination.
    pub(super) key: &'static str,
    pub(super) dst: At<IpNet>,
    pub(super) via: Option<At<IpAddr>>,
    pub(super) dev: Option<At<InterfaceName>>,
}

/// An endpoint with the lines of its values.
pub(super) struct DraftEndpoint {
    pub(super) name: At<Name>,
    pub(super) addresses: Vec<At<IpNet>>,
    pub(super) prefixes: Vec<At<IpNet>>,
    pub(super) mtu: Option<At<u32>>,
    pub(super) dev: At<InterfaceName>,
    pub(super) host_dev: At<InterfaceName>,
}

/// Reads the nodes. Tables without which nothing more can be said of them are left out, never without a
/// finding.
pub(super) fn nodes(text: &str, findings: &mut Findings<'_>) -> Vec<DraftNode> {
    let Some(document) = document::parse(text, findings) else {
        return Vec::new();
    };
    let root = Table::new(&ROOT, SCHEMAS, &document, 1, findings);
    let tables = root.tables(&NODE, SCHEMAS, findings);
    if tables.is_empty() && findings.is_empty() {
        let cure = "write at least one [[node]] with a name and its [[node.endpoint]]s";
        findings.add(
            1,
            "node",
            Fault::new(FaultKind::NoNodes, "the file has no node", cure),
        );
    }
    tables
        .iter()
        .filter_map(|table| node(table, findings))
        .collect()
}

fn node(table: &Table<'_, '_>, findings: &mut Findings<'_>) -> Option<DraftNode> {
    let name = table.required("name", "\"node01\"", findings, string(name));
    let place = if table.has("netns") {
        table.optional("netns", findings, string(netns))
    } else {
        Some(At {
            line: table.line(),
            value: NodePlace::Lab,
        })
    };
    let forward_policy = table.optional("forward_policy", findings, string(forward_policy));
    let bypass = table.list("bypass", findings, string(bypass));
    let expedite = table.optional("expedite", findings, boolean);
    let mtu = table.optional("mtu", findings, integer(MTU_RANGE));
    let mut capacity = |key, range, default| {
        let written = table.optional(key, findings, integer(range));
        written.unwrap_or(At {
            line: table.line(),
            value: default,
        })
    };
    let max_endpoints = capacity("max_endpoints", CAPACITY_RANGE, ENDPOINTS_DEFAULT);
    let max_routes = capacity("max_routes", CAPACITY_RANGE, ROUTES_DEFAULT);
    let max_connections = capacity("max_connections", CONNECTIONS_RANGE, CONNECTIONS_DEFAULT);

    let uplinks = table.tables(&UPLINK, SCHEMAS, findings);
    let is_lab = place.is_some_and(|place| place.value == NodePlace::Lab);
    let uplinks = uplinks
        .iter()
        .filter_map(|table| uplink(table, is_lab, findings))
        .collect();
    let mut routes = fast_prefixes(table, findings);
    let tables = table.tables(&ROUTE, SCHEMAS, findings);
    routes.extend(tables.iter().filter_map(|table| route(table, findings)));
    let endpoints = table.tables(&ENDPOINT, SCHEMAS, findings);
    let node_name = name.as_ref().map(|name| &name.value);
    let endpoints = endpoints
        .iter()
        .filter_map(|table| endpoint(table, node_name, findings))
        .collect();

    Some(DraftNode {
        name: name?,
        place: place?,
        forward_policy,
        bypass: bypass.map_or(Bypass::default(), |list| {
            let names = list.value.into_iter().map(|name| name.value);
            names.fold(Bypass::default(), Bypass::and)
        }),
        expedite,
        mtu,
        max_endpoints,
        max_routes,
        max_connections,
        uplinks,
        routes,
        endpoints,
    })
}

fn uplink(table: &Table<'_, '_>, is_lab: bool, findings: &mut Findings<'_>) -> Option<DraftUplink> {
    let dev = table.required("dev", "\"eth0\"", findings, string(interface));
    // The machine gives its interfaces their addresses itself.
    let needed = is_lab.then_some("[\"192.0.2.1/24\"]");
    let addresses = addresses(table, needed, findings);
    let wire = table.optional("wire", findings, string(name));
    if is_lab && !table.has("wire") {
        let cure = "add wire = \"lan\"; uplinks with the same wire share a segment";
        let fault = Fault::new(
            FaultKind::MissingKey,
            "an uplink of a lab node needs a wire",
            cure,
        );
        findings.add(table.line(), table.key("wire"), fault);
    }
    Some(DraftUplink {
        dev: dev?,
        addresses,
        wire,
    })
}

fn route(table: &Table<'_, '_>, findings: &mut Findings<'_>) -> Option<DraftRoute> {
    let dst = table.required(
        "dst",
        "\"10.0.3.0/24\"",
        findings,
        string(address::destination),
    );
    let via = table.optional("via", findings, string(address::next_hop));
    let dev = table.optional("dev", findings, string(interface));
    if table.has("dev") && !table.has("via") {
        let fault = Fault::new(
            FaultKind::MissingKey,
            "an interface without a next hop",
            "add via = \"192.0.2.1\", or remove dev: without via the kernel's own routes say where it leads",
        );
        findings.add(table.line(), table.key("via"), fault);
    }
    // A next hop that could not be read is not one that was left out.
    if table.has("via") && via.is_none() || table.has("dev") && dev.is_none() {
        return None;
    }
    Some(DraftRoute {
        key: ROUTE_DST,
        dst: dst?,
        via,
        dev,
    })
}

/// The key `fast_prefixes`: each like a route without a next hop.
fn fast_prefixes(table: &Table<'_, '_>, findings: &mut Findings<'_>) -> Vec<DraftRoute> {
    let list = table.list("fast_prefixes", findings, string(address::destination));
    let prefixes = list.into_iter().flat_map(|list| list.value);
    let route = |dst| DraftRoute {
        key: FAST_PREFIXES,
        dst,
        via: None,
        dev: None,
    };
    prefixes.map(route).collect()
}

fn endpoint(
    table: &Table<'_, '_>,
    node: Option<&Name>,
    findings: &mut Findings<'_>,
) -> Option<DraftEndpoint> {
    let name = table.required("name", "\"demo01\"", findings, string(name));
    let addresses = addresses(table, Some("[\"10.0.1.2/24\"]"), findings);
    let prefixes = prefixes(table, findings);
    let mtu = table.optional("mtu", findings, integer(MTU_RANGE));
    let dev = table.optional("dev", findings, string(interface));
    let host_dev = table.optional("host_dev", findings, string(interface));

    let (name, node) = (name?, node?);
    let dev = dev.unwrap_or_else(|| At {
        line: name.line,
        value: InterfaceName::trusted(DEV_DEFAULT.to_owned()),
    });
    let host_dev = host_dev.unwrap_or_else(|| At {
        line: name.line,
        value: derived_host_dev(node, &name.value),
    });
    Some(DraftEndpoint {
        name,
        addresses,
        prefixes,
        mtu,
        dev,
        host_dev,
    })
}

/// The key `prefixes`.
fn prefixes(table: &Table<'_, '_>, findings: &mut Findings<'_>) -> Vec<At<IpNet>> {
    const KEY: &str = "prefixes";
    let Some(At { line, value: list }) = table.list(KEY, findings, string(address::routed_prefix))
    else {
        return Vec::new();
    };
    if list.len() > PREFIXES_MAX {
        let problem = format!("{} prefixes", list.len());
        let cure = format!("write at most {PREFIXES_MAX}; a wider one can hold several");
        findings.add(
            line,
            table.key(KEY),
            Fault::new(FaultKind::TooMany, problem, cure),
        );
    }
    list
}

/// The key `addresses`. `needed` is what to write when there must be one.
fn addresses(
    table: &Table<'_, '_>,
    needed: Option<&str>,
    findings: &mut Findings<'_>,
) -> Vec<At<IpNet>> {
    const KEY: &str = "addresses";
    let before = findings.len();
    let list = table.list(KEY, findings, string(address::interface_address));
    let line = list.as_ref().map_or(table.line(), |list| list.line);
    let list = list.map(|list| list.value).unwrap_or_default();
    if list.len() > ADDRESSES_MAX {
        let problem = format!("{} addresses", list.len());
        let cure = format!("write at most {ADDRESSES_MAX}");
        findings.add(
            line,
            table.key(KEY),
            Fault::new(FaultKind::TooMany, problem, cure),
        );
    }
    if let (true, Some(example)) = (list.is_empty() && findings.len() == before, needed) {
        let fault = Fault::new(
            FaultKind::NoAddresses,
            "no address",
            format!("add at least one: {KEY} = {example}"),
        );
        findings.add(line, table.key(KEY), fault);
    }
    list
}

fn name(text: &str) -> Result<Name, Fault> {
    Ok(text.parse::<Name>()?)
}

fn interface(text: &str) -> Result<InterfaceName, Fault> {
    Ok(text.parse::<InterfaceName>()?)
}

fn netns(text: &str) -> Result<NodePlace, Fault> {
    if text == "host" {
        return Ok(NodePlace::Host);
    }
    Err(Fault::new(
        FaultKind::UnknownValue,
        format!("{text:?} is not a place for a node"),
        "write \"host\" for this machine, or remove the key for a lab node, whose namespace has its name",
    ))
}

fn forward_policy(text: &str) -> Result<ForwardPolicy, Fault> {
    match text {
        "accept" => Ok(ForwardPolicy::Accept),
        "drop" => Ok(ForwardPolicy::Drop),
        _ => Err(Fault::new(
            FaultKind::UnknownValue,
            format!("{text:?} is not a policy of the FORWARD chain"),
            "write \"accept\" or \"drop\"",
        )),
    }
}

fn bypass(text: &str) -> Result<Bypass, Fault> {
    Bypass::named(text).ok_or_else(|| {
        let names: Vec<String> = Bypass::names().map(|name| format!("{name:?}")).collect();
        Fault::new(
            FaultKind::UnknownValue,
            format!("{text:?} is nothing that the fast path could pass by"),
            format!("write {}", names.join(", ")),
        )
    })
}

impl From<DraftNode> for Node {
    fn from(draft: DraftNode) -> Self {
        Self {
            name: draft.name.value,
            place: draft.place.value,
            forward_policy: draft
                .forward_policy
                .map(|policy| policy.value)
                .unwrap_or_default(),
            bypass: draft.bypass,
            expedite: match draft.expedite {
                Some(expedite) => expedite.value,
                None => draft.place.value == NodePlace::Lab,
            },
            capacity: Capacity {
                endpoints: draft.max_endpoints.value,
                routes: draft.max_routes.value,
                connections: draft.max_connections.value,
            },
            uplinks: draft.uplinks.into_iter().map(Uplink::from).collect(),
            routes: draft.routes.into_iter().map(Route::from).collect(),
            endpoints: {
                let mtu = draft.mtu.map(|mtu| mtu.value);
                let endpoints = draft.endpoints.into_iter().map(Endpoint::from);
                endpoints
                    .map(|endpoint| Endpoint {
                        mtu: endpoint.mtu.or(mtu),
                        ..endpoint
                    })
                    .collect()
            },
        }
    }
}

impl From<DraftUplink> for Uplink {
    fn from(draft: DraftUplink) -> Self {
        Self {
            dev: draft.dev.value,
            addresses: values(draft.addresses),
            wire: draft.wire.map(|wire| wire.value),
        }
    }
}

impl From<DraftRoute> for Route {
    fn from(draft: DraftRoute) -> Self {
        Self {
            dst: draft.dst.value,
            via: draft.via.map(|via| via.value),
            dev: draft.dev.map(|dev| dev.value),
        }
    }
}

impl From<DraftEndpoint> for Endpoint {
    fn from(draft: DraftEndpoint) -> Self {
        Self {
            name: draft.name.value,
            addresses: values(draft.addresses),
            prefixes: values(draft.prefixes),
            mtu: draft.mtu.map(|mtu| mtu.value),
            dev: draft.dev.value,
            host_dev: draft.host_dev.value,
        }
    }
}

fn values<T>(list: Vec<At<T>>) -> Vec<T> {
    list.into_iter().map(|at| at.value).collect()
}
