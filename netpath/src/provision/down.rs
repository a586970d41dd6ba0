//! Removing what netpath made, whatever became of it meanwhile.

use super::{
    change::{Action, Change, Object},
    check, endpoint,
    error::ProvisionError,
    netlink::Netlink,
    node::{Found, Node, find, text},
    route,
    uplink::{self, Leaving},
};
use crate::{
    datapath::{self, Datapath, from_bytes},
    lock::{Lock, Subject},
    mounts,
    netns::{NameState, Netns, name_state},
};

/// See [`super::down`].
pub fn down(
    nodes: &[String],
    progress: &mut dyn FnMut(&Change),
) -> Result<Vec<Change>, ProvisionError> {
    check::root()?;
    mounts::require_visible("down")?;
    // Nothing of the nodes may be up; then nothing is unmounted either.
    if datapath::nodes()?.iter().any(|name| nodes.contains(name)) {
        mounts::require_shared_namespaces("down")?;
    }
    let _lock = Lock::take(Subject::Topology)?;
    let mut changes = Vec::new();
    let mut errors = Vec::new();
    for name in nodes {
        let result = node(name, &mut |change| {
            progress(&change);
            changes.push(change);
        });
        errors.extend(result.err());
    }
    match errors.len() {
        0 => Ok(changes),
        1 => Err(errors.remove(0)),
        _ => Err(ProvisionError::Several(errors)),
    }
}

/// Removes one node with all that is on it. One that is not there is no error.
pub fn node(name: &str, report: &mut dyn FnMut(Change)) -> Result<(), ProvisionError> {
    let changed = |action: Object, name: String, node: &str| Change {
        action: Action::Remove,
        object: action,
        node: node.to_owned(),
        name,
        detail: String::new(),
    };
    let node = match find(name)? {
        Found::Absent => return Ok(Datapath::remove_unfinished(name)?),
        Found::Remains(_) => {
            remains(name)?;
            report(changed(Object::Node, name.to_owned(), name));
            return Ok(());
        }
        Found::Up(node) => node,
    };
    let mut errors = Vec::new();
    let endpoints = node.datapath().maps.endpoint_records()?;
    for (endpoint, record) in endpoints {
        let endpoint = text(&endpoint.name);
        let removed = if node.lab {
            // Its veth ends with the node's namespace, all of them in one go.
            endpoint::remove_netns(&endpoint, &record)
        } else {
            endpoint::remove(&node, &endpoint, &record)
        };
        match removed {
            Ok(()) => report(changed(Object::Endpoint, endpoint, name)),
            Err(error) => errors.push(error),
        }
    }
    let routes = node.datapath().maps.route_records()?;
    let netlink = node.inside(Netlink::open)?;
    for (dst, record) in routes {
        let Some(dst) = from_bytes(&dst) else {
            continue;
        };
        match route::remove(&netlink, &node, dst, &record) {
            Ok(()) => report(changed(Object::Route, dst.to_string(), name)),
            Err(error) => errors.push(error),
        }
    }
    let uplinks = node.datapath().maps.uplink_records()?;
    for (dev, record) in uplinks {
        let dev = text(&dev.name);
        match uplink::remove(&node, &dev, &record) {
            Ok(()) => report(changed(Object::Uplink, dev, name)),
            Err(error) => errors.push(error),
        }
    }
    // The pins are what proves the rest to be netpath's: they stay as long as anything does.
    if !errors.is_empty() {
        return Err(ProvisionError::Several(errors));
    }
    remove_node(node)?;
    report(changed(Object::Node, name.to_owned(), name));
    Ok(())
}

fn remove_node(node: Node) -> Result<(), ProvisionError> {
    if node.lab {
        Netns::remove(&node.name)?;
    }
    Ok(node.into_datapath().remove()?)
}

/// Removes what is left of a lab node whose namespace is gone, and with it its interfaces.
pub fn remains(name: &str) -> Result<(), ProvisionError> {
    let Some(datapath) = Datapath::open(name)? else {
        return Ok(());
    };
    for (endpoint, record) in datapath.maps.endpoint_records()? {
        endpoint::remove_netns(&text(&endpoint.name), &record)?;
    }
    for record in datapath.maps.uplink_records()?.values() {
        uplink::remove_wire(record, Leaving::Node(name))?;
    }
    if name_state(name)? == NameState::EmptyFile {
        Netns::remove(name)?;
    }
    Ok(datapath.remove()?)
}
