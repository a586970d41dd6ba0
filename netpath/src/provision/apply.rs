//! Carrying out a plan, and undoing it in reverse where it fails.

use std::sync::atomic::Ordering;

use ipnet::IpNet;
use netpath_common::EndpointRecord;

use super::{
    UpOptions,
    change::Change,
    check, down,
    endpoint::{self, addresses},
    error::ProvisionError,
    fast_path,
    node::{self, Found, Node, Sources, find, key, text},
    plan::{self, Work},
    route, uplink,
};
use crate::{
    datapath::to_bytes,
    lock::{Lock, Subject},
    model::{self, Topology},
};

/// How to take back one step of this run.
enum Undo {
    Node(String),
    Uplink(String, String),
    Route(String, IpNet),
    Endpoint(String, String),
    Restore(String, Box<model::Endpoint>, Sources),
}

/// See [`super::plan`].
pub fn plan(topology: &Topology, options: &UpOptions) -> Result<Vec<Change>, ProvisionError> {
    check::topology(topology)?;
    let mut changes = Vec::new();
    for wanted in &topology.nodes {
        let steps = plan::node(wanted, options)?;
        changes.extend(steps.into_iter().map(|step| step.change));
    }
    Ok(changes)
}

/// See [`super::up`].
pub fn up(
    topology: &Topology,
    options: &UpOptions,
    progress: &mut dyn FnMut(&Change),
) -> Result<Vec<Change>, ProvisionError> {
    check::root()?;
    let _lock = Lock::take(Subject::Topology)?;
    check::topology(topology)?;
    let mut changes = Vec::new();
    let mut undo = Vec::new();
    let mut report = |change: Change| {
        progress(&change);
        changes.push(change);
    };
    for wanted in &topology.nodes {
        if let Err(cause) = node(wanted, options, &mut undo, &mut report) {
            return Err(take_back(cause, undo));
        }
    }
    Ok(changes)
}

/// Makes one node true. Each step is noted for undoing before it is begun, so that a step which fails
/// half-way is undone too.
fn node(
    wanted: &model::Node,
    options: &UpOptions,
    undo: &mut Vec<Undo>,
    report: &mut dyn FnMut(Change),
) -> Result<(), ProvisionError> {
    let name = wanted.name.to_string();
    let steps = plan::node(wanted, options)?;
    let sources = Sources::of(wanted);
    let mut live: Option<Node> = None;
    let mut table: Option<route::Table> = None;
    let mut uplink_changed = false;
    for step in steps {
        if options.interrupted.load(Ordering::Relaxed) {
            return Err(ProvisionError::Interrupted);
        }
        match step.work {
            Work::ClearRemains => down::remains(&name)?,
            Work::CreateNode => {
                undo.push(Undo::Node(name.clone()));
                let node = node::create(wanted, options.object)?;
                node::configure(&node, wanted)?;
                let on = options.fast_path.unwrap_or(true);
                node.update_meta(|meta| meta.fast_path = u32::from(on))?;
                live = Some(node);
            }
            Work::ConfigureNode => {
                let node = opened(&mut live, &name)?;
                node::configure(node, wanted)?;
                node.datapath().upgrade(options.object)?;
            }
            Work::RemoveEndpoint(endpoint, record) => {
                endpoint::remove(opened(&mut live, &name)?, &endpoint, &record)?;
            }
            Work::RemoveRoute(dst, record) => {
                let node = opened(&mut live, &name)?;
                table_of(&mut table, node)?.remove(node, dst, &record)?;
            }
            Work::RemoveUplink(dev, record) => {
                uplink::remove(opened(&mut live, &name)?, &dev, &record)?;
            }
            Work::EnsureUplink(uplink) => {
                let node = opened(&mut live, &name)?;
                // The kernel's own routes come and go with it.
                table = None;
                let dev = uplink.dev.to_string();
                let records = node.datapath().maps.uplink_records()?;
                if records.contains_key(&key(&dev)?) {
                    uplink_changed = true;
                } else {
                    undo.push(Undo::Uplink(name.clone(), dev));
                }
                uplink::ensure(node, &wanted.name, uplink)?;
            }
            Work::EnsureRoute(wanted_route) => {
                let node = opened(&mut live, &name)?;
                let dst = wanted_route.dst;
                let record = node.datapath().maps.route_record(&to_bytes(dst))?;
                if record.is_none() {
                    undo.push(Undo::Route(name.clone(), dst));
                }
                table_of(&mut table, node)?.ensure(node, wanted_route)?;
            }
            Work::EnsureEndpoint(endpoint, record) => {
                undo.push(
                    match record.as_deref().and_then(|old| before(endpoint, old)) {
                        Some(old) => Undo::Restore(name.clone(), Box::new(old), sources),
                        None => Undo::Endpoint(name.clone(), endpoint.name.to_string()),
                    },
                );
                endpoint::ensure(opened(&mut live, &name)?, endpoint, sources)?;
            }
            Work::FastPath(on) => {
                let node = opened(&mut live, &name)?;
                fast_path::switch(node, on, None)?;
            }
        }
        report(step.change);
    }
    if uplink_changed {
        // With an address the kernel takes away the IPv4 routes that need it, as next hop or as source.
        let node = opened(&mut live, &name)?;
        let table = route::Table::of(node)?;
        for wanted_route in &wanted.routes {
            table.ensure(node, wanted_route)?;
        }
        for endpoint in &wanted.endpoints {
            endpoint::ensure_routes(&table, node, endpoint, sources)?;
        }
    }
    match &live {
        Some(node) => node::forget_features(node, wanted),
        None => Ok(()),
    }
}

fn opened<'a>(live: &'a mut Option<Node>, name: &str) -> Result<&'a Node, ProvisionError> {
    if live.is_none()
        && let Found::Up(node) = find(name)?
    {
        *live = Some(node);
    }
    live.as_ref().ok_or_else(|| ProvisionError::NotUp {
        object: "node",
        name: name.to_owned(),
    })
}

fn table_of<'a>(
    table: &'a mut Option<route::Table>,
    node: &Node,
) -> Result<&'a route::Table, ProvisionError> {
    let read = match table.take() {
        Some(read) => read,
        None => route::Table::of(node)?,
    };
    Ok(table.insert(read))
}

/// The endpoint as it was before this run.
fn before(wanted: &model::Endpoint, old: &EndpointRecord) -> Option<model::Endpoint> {
    Some(model::Endpoint {
        name: wanted.name.clone(),
        addresses: addresses(&old.addresses),
        prefixes: addresses(&old.prefixes),
        dev: text(&old.dev).parse().ok()?,
        host_dev: text(&old.host_dev).parse().ok()?,
    })
}

fn take_back(cause: ProvisionError, undo: Vec<Undo>) -> ProvisionError {
    let mut undoing = Vec::new();
    for step in undo.into_iter().rev() {
        undoing.extend(undo_one(step).err());
    }
    if undoing.is_empty() {
        return cause;
    }
    ProvisionError::Undo {
        cause: Box::new(cause),
        undoing,
    }
}

fn undo_one(step: Undo) -> Result<(), ProvisionError> {
    let node = match &step {
        Undo::Node(name) => return down::node(name, &mut |_| {}),
        Undo::Uplink(node, _)
        | Undo::Route(node, _)
        | Undo::Endpoint(node, _)
        | Undo::Restore(node, ..) => match find(node)? {
            Found::Up(node) => node,
            // Then there is nothing of it left to undo, or the node's own undoing will see to it.
            Found::Absent | Found::Remains(_) => return Ok(()),
        },
    };
    match step {
        Undo::Node(_) => Ok(()),
        Undo::Uplink(_, dev) => {
            let record = node.datapath().maps.uplink_record(&key(&dev)?)?;
            record.map_or(Ok(()), |record| uplink::remove(&node, &dev, &record))
        }
        Undo::Route(_, dst) => {
            let record = node.datapath().maps.route_record(&to_bytes(dst))?;
            record.map_or(Ok(()), |record| {
                route::remove(&node.netlink()?, &node, dst, &record)
            })
        }
        Undo::Endpoint(_, name) => {
            let record = node.datapath().maps.endpoint_record(&key(&name)?)?;
            record.map_or(Ok(()), |record| endpoint::remove(&node, &name, &record))
        }
        Undo::Restore(_, old, sources) => endpoint::ensure(&node, &old, sources),
    }
}
