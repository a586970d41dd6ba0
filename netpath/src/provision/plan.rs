//! The difference between what is wanted and what is there, as steps.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use netpath_common::{EndpointRecord, RouteRecord, UplinkRecord};

use super::{
    UpOptions,
    change::{Action, Change, Object},
    endpoint::{self, addresses},
    error::ProvisionError,
    fast_path,
    netlink::{Link, Netlink, Route},
    node::{self, Found, Node, find, text},
    route, uplink,
};
use crate::{
    datapath::from_bytes,
    model::{self, ForwardPolicy},
};

/// One thing to do for a node, and how it is told.
pub struct Step<'a> {
    pub work: Work<'a>,
    pub change: Change,
}

/// What is to be done.
pub enum Work<'a> {
    /// Remove what an interrupted run left of the node.
    ClearRemains,
    /// Make the node.
    CreateNode,
    /// Bring the node's settings and programs to what is wanted.
    ConfigureNode,
    /// Remove an endpoint that is wanted no more.
    RemoveEndpoint(String, Box<EndpointRecord>),
    /// Remove a route that is wanted no more.
    RemoveRoute(IpNet, RouteRecord),
    /// Remove an uplink that is wanted no more.
    RemoveUplink(String, Box<UplinkRecord>),
    /// Make an uplink true.
    EnsureUplink(&'a model::Uplink),
    /// Make a route true.
    EnsureRoute(&'a model::Route),
    /// Make an endpoint true; the record is what is there of it.
    EnsureEndpoint(&'a model::Endpoint, Option<Box<EndpointRecord>>),
    /// Switch the fast path.
    FastPath(bool),
}

/// A namespace's interfaces and routes, listed once.
pub struct Inventory {
    pub links: Vec<Link>,
    pub routes: Vec<Route>,
}

impl Inventory {
    pub fn of(node: &Node) -> Result<Self, ProvisionError> {
        node.inside(|| {
            let netlink = Netlink::open()?;
            Ok(Self {
                links: netlink.links()?,
                routes: netlink.routes()?,
            })
        })
    }
}

fn step<'a>(
    node: &model::Node,
    action: Action,
    object: Object,
    name: impl Into<String>,
    detail: impl Into<String>,
    work: Work<'a>,
) -> Step<'a> {
    Step {
        work,
        change: Change {
            action,
            object,
            node: node.name.to_string(),
            name: name.into(),
            detail: detail.into(),
        },
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The steps that make one node true; none if it is.
pub fn node<'a>(
    wanted: &'a model::Node,
    options: &UpOptions,
) -> Result<Vec<Step<'a>>, ProvisionError> {
    match find(wanted.name.as_ref())? {
        Found::Absent => Ok(new_node(wanted, options)),
        Found::Remains(_) => {
            let mut steps = vec![step(
                wanted,
                Action::Remove,
                Object::Node,
                wanted.name.as_ref(),
                "what an interrupted run left of it",
                Work::ClearRemains,
            )];
            steps.extend(new_node(wanted, options));
            Ok(steps)
        }
        Found::Up(node) => existing_node(wanted, options, &node),
    }
}

fn new_node<'a>(wanted: &'a model::Node, options: &UpOptions) -> Vec<Step<'a>> {
    let place = match wanted.place {
        model::NodePlace::Lab => format!("namespace {}", wanted.name),
        model::NodePlace::Host => "this machine".to_owned(),
    };
    let policy = match wanted.forward_policy {
        ForwardPolicy::Accept => "",
        ForwardPolicy::Drop => ", FORWARD policy DROP",
    };
    let on = options.fast_path.unwrap_or(true);
    let fast_path = if on { "fast path on" } else { "fast path off" };
    let mut steps = vec![step(
        wanted,
        Action::Create,
        Object::Node,
        wanted.name.as_ref(),
        format!("{place}{policy}, {fast_path}"),
        Work::CreateNode,
    )];
    let uplinks = wanted.uplinks.iter();
    steps.extend(uplinks.map(|uplink| ensure_uplink(wanted, uplink, Action::Create, None)));
    let routes = wanted.routes.iter();
    steps.extend(routes.map(|route| ensure_route(wanted, route, Action::Create)));
    let endpoints = wanted.endpoints.iter();
    steps.extend(
        endpoints.map(|endpoint| ensure_endpoint(wanted, endpoint, Action::Create, None, None)),
    );
    steps
}

fn ensure_uplink<'a>(
    node: &model::Node,
    uplink: &'a model::Uplink,
    action: Action,
    why: Option<String>,
) -> Step<'a> {
    let detail = why.unwrap_or_else(|| {
        let wire = uplink
            .wire
            .as_ref()
            .map_or_else(String::new, |wire| format!(", wire {wire}"));
        format!("{}{wire}", list(&uplink.addresses))
    });
    let work = Work::EnsureUplink(uplink);
    step(
        node,
        action,
        Object::Uplink,
        uplink.dev.as_ref(),
        detail,
        work,
    )
}

fn ensure_route<'a>(node: &model::Node, route: &'a model::Route, action: Action) -> Step<'a> {
    let detail = format!("via {}", route.via);
    let work = Work::EnsureRoute(route);
    step(
        node,
        action,
        Object::Route,
        route.dst.to_string(),
        detail,
        work,
    )
}

fn ensure_endpoint<'a>(
    node: &model::Node,
    endpoint: &'a model::Endpoint,
    action: Action,
    why: Option<String>,
    record: Option<EndpointRecord>,
) -> Step<'a> {
    let detail = why.unwrap_or_else(|| {
        format!(
            "{}{}, {} to {}",
            list(&endpoint.addresses),
            match endpoint.prefixes.as_slice() {
                [] => String::new(),
                prefixes => format!(", prefixes {}", list(prefixes)),
            },
            endpoint.dev,
            endpoint.host_dev
        )
    });
    let work = Work::EnsureEndpoint(endpoint, record.map(Box::new));
    step(
        node,
        action,
        Object::Endpoint,
        endpoint.name.as_ref(),
        detail,
        work,
    )
}

fn existing_node<'a>(
    wanted: &'a model::Node,
    options: &UpOptions,
    node: &Node,
) -> Result<Vec<Step<'a>>, ProvisionError> {
    let inventory = Inventory::of(node)?;
    let mut steps = Vec::new();
    let settings = settings(wanted, options, node)?;
    if !settings.is_empty() {
        let detail = settings.join(", ");
        let work = Work::ConfigureNode;
        let name = wanted.name.as_ref();
        steps.push(step(
            wanted,
            Action::Update,
            Object::Node,
            name,
            detail,
            work,
        ));
    }
    surplus(wanted, node, &mut steps)?;
    let missing = match options.fast_path {
        // Switched as a whole: that is a step of its own.
        Some(_) => BTreeMap::new(),
        None => fast_path::missing(node, &inventory.links)?,
    };
    uplinks(wanted, node, &inventory, &missing, &mut steps)?;
    routes(wanted, node, &inventory, &mut steps)?;
    endpoints(wanted, node, &inventory, &missing, &mut steps)?;
    let is_on = node.meta()?.fast_path != 0;
    let switch = match options.fast_path {
        Some(true) => (!is_on || missing_programs(node, &inventory)?).then_some(true),
        Some(false) => is_on.then_some(false),
        None => None,
    };
    if let Some(on) = switch {
        let detail = if on { "on" } else { "off" };
        let work = Work::FastPath(on);
        let name = wanted.name.as_ref();
        steps.push(step(
            wanted,
            Action::Update,
            Object::FastPath,
            name,
            detail,
            work,
        ));
    }
    Ok(steps)
}

/// What of the node itself is to be changed.
fn settings(
    wanted: &model::Node,
    options: &UpOptions,
    node: &Node,
) -> Result<Vec<String>, ProvisionError> {
    let mut settings = Vec::new();
    if node.lab && node.meta()?.configured == 0 {
        settings.push("was left half-made".into());
    }
    if node.lab && !node::forwards(node)? {
        settings.push("forwarding".into());
    }
    let drop = wanted.forward_policy == ForwardPolicy::Drop;
    let recorded = node.meta()?.forward_drop != 0;
    if drop != recorded || (drop && !node::forward_is_dropped(node)?) {
        settings.push(format!(
            "FORWARD policy {}",
            if drop { "DROP" } else { "ACCEPT" }
        ));
    }
    if !node.datapath().has_object(options.object)? {
        settings.push("programs of this version".into());
    }
    Ok(settings)
}

/// What is there and is wanted no more goes first: it may hold addresses that others are to have.
fn surplus<'a>(
    wanted: &'a model::Node,
    node: &Node,
    steps: &mut Vec<Step<'a>>,
) -> Result<(), ProvisionError> {
    let datapath = node.datapath();
    let names: BTreeSet<&str> = wanted.endpoints.iter().map(|e| e.name.as_ref()).collect();
    for (name, record) in datapath.maps.endpoint_records()? {
        let name = text(&name.name);
        if !names.contains(name.as_str()) {
            let detail = list(&addresses(&record.addresses));
            let work = Work::RemoveEndpoint(name.clone(), Box::new(record));
            steps.push(step(
                wanted,
                Action::Remove,
                Object::Endpoint,
                name,
                detail,
                work,
            ));
        }
    }
    let destinations: BTreeSet<IpNet> = wanted.routes.iter().map(|route| route.dst).collect();
    for (dst, record) in datapath.maps.route_records()? {
        let Some(dst) = from_bytes(&dst) else {
            continue;
        };
        if !destinations.contains(&dst) {
            let work = Work::RemoveRoute(dst, record);
            steps.push(step(
                wanted,
                Action::Remove,
                Object::Route,
                dst.to_string(),
                "",
                work,
            ));
        }
    }
    for (dev, record) in datapath.maps.uplink_records()? {
        let dev = text(&dev.name);
        if !wanted
            .uplinks
            .iter()
            .any(|uplink| uplink.dev.as_ref() == dev)
        {
            let work = Work::RemoveUplink(dev.clone(), Box::new(record));
            steps.push(step(wanted, Action::Remove, Object::Uplink, dev, "", work));
        }
    }
    Ok(())
}

fn uplinks<'a>(
    wanted: &'a model::Node,
    node: &Node,
    inventory: &Inventory,
    missing: &BTreeMap<String, Vec<String>>,
    steps: &mut Vec<Step<'a>>,
) -> Result<(), ProvisionError> {
    let records = node.datapath().maps.uplink_records()?;
    for uplink in &wanted.uplinks {
        let Some(record) = records.get(&node::key(uplink.dev.as_ref())?) else {
            steps.push(ensure_uplink(wanted, uplink, Action::Create, None));
            continue;
        };
        let mut why = uplink::drift(node, uplink.dev.as_ref(), record, &inventory.links)?;
        why.extend(
            missing
                .get(uplink.dev.as_ref())
                .cloned()
                .unwrap_or_default(),
        );
        if addresses(&record.addresses) != uplink.addresses {
            why.push(format!("addresses {}", list(&uplink.addresses)));
        }
        let wire = uplink.wire.as_ref().map_or("", AsRef::as_ref);
        if text(&record.wire) != wire {
            why.push(format!("wire {wire}"));
        }
        if !why.is_empty() {
            let why = Some(why.join(", "));
            steps.push(ensure_uplink(wanted, uplink, Action::Update, why));
        }
    }
    Ok(())
}

fn routes<'a>(
    wanted: &'a model::Node,
    node: &Node,
    inventory: &Inventory,
    steps: &mut Vec<Step<'a>>,
) -> Result<(), ProvisionError> {
    let records = node.datapath().maps.route_records()?;
    let ways = route::Ways::of(&inventory.routes);
    for wanted_route in &wanted.routes {
        let action = match records.get(&crate::datapath::to_bytes(wanted_route.dst)) {
            None => Action::Create,
            Some(record) => {
                let same = from_bytes(&record.via).map(|via| via.addr()) == Some(wanted_route.via);
                if same && ways.has(wanted_route.dst, record) {
                    continue;
                }
                Action::Update
            }
        };
        steps.push(ensure_route(wanted, wanted_route, action));
    }
    Ok(())
}

fn endpoints<'a>(
    wanted: &'a model::Node,
    node: &Node,
    inventory: &Inventory,
    missing: &BTreeMap<String, Vec<String>>,
    steps: &mut Vec<Step<'a>>,
) -> Result<(), ProvisionError> {
    let records = node.datapath().maps.endpoint_records()?;
    for endpoint in &wanted.endpoints {
        let name = endpoint.name.as_ref();
        let Some(record) = records.get(&node::key(name)?) else {
            steps.push(ensure_endpoint(
                wanted,
                endpoint,
                Action::Create,
                None,
                None,
            ));
            continue;
        };
        let mut why = endpoint::drift(name, record, &inventory.links, &inventory.routes)?;
        why.extend(
            missing
                .get(&text(&record.host_dev))
                .cloned()
                .unwrap_or_default(),
        );
        if addresses(&record.addresses) != endpoint.addresses {
            why.push(format!("addresses {}", list(&endpoint.addresses)));
        }
        if addresses(&record.prefixes) != endpoint.prefixes {
            why.push(match endpoint.prefixes.as_slice() {
                [] => "no prefixes".to_owned(),
                prefixes => format!("prefixes {}", list(prefixes)),
            });
        }
        if text(&record.dev) != endpoint.dev.as_ref() {
            why.push(format!("interface {}", endpoint.dev));
        }
        if text(&record.host_dev) != endpoint.host_dev.as_ref() {
            why.push(format!("host interface {}", endpoint.host_dev));
        }
        if !why.is_empty() {
            let why = Some(why.join(", "));
            steps.push(ensure_endpoint(
                wanted,
                endpoint,
                Action::Update,
                why,
                Some(*record),
            ));
        }
    }
    Ok(())
}

/// Whether an interface of a node is without its programs, as `netpath fastpath off --endpoint` leaves it.
fn missing_programs(node: &Node, inventory: &Inventory) -> Result<bool, ProvisionError> {
    let datapath = node.datapath();
    let endpoints = datapath.maps.endpoint_records()?;
    let uplinks = datapath.maps.uplink_records()?;
    let endpoints = endpoints
        .values()
        .map(|record| (false, text(&record.host_dev)));
    let uplinks = uplinks.keys().map(|dev| (true, text(&dev.name)));
    // One that is gone gets them when it is made again.
    let present: Vec<(bool, String)> = endpoints
        .chain(uplinks)
        .filter(|(_, dev)| inventory.links.iter().any(|link| link.name == *dev))
        .collect();
    let datapath = &*datapath;
    node.inside(|| {
        for (uplink, dev) in &present {
            if !fast_path::are_attached(datapath, *uplink, dev)? {
                return Ok(true);
            }
        }
        Ok(false)
    })
}
