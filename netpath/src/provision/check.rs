//! Everything that can be refused before anything is touched.

use std::collections::{HashMap, HashSet};

use netpath_common::Mac;
use nix::unistd::Uid;

use super::{
    endpoint::own_netns,
    error::ProvisionError,
    iptables,
    node::{Found, Node, find, foreign_namespace, key, text},
    route, uplink,
};
use crate::{
    datapath::Datapath,
    model::{self, ForwardPolicy, NodePlace, Topology},
    netlink::{Link, Netlink, Route, Table},
    netns::{Inside, NameState, Netns, name_state},
    sysctl::{self, Tree},
};

/// Fails unless run by root.
pub fn root() -> Result<(), ProvisionError> {
    if Uid::effective().is_root() {
        Ok(())
    } else {
        Err(ProvisionError::NotRoot)
    }
}

/// Refuses what cannot be made; reports everything that is wrong, not only the first.
pub fn topology(wanted: &Topology) -> Result<(), ProvisionError> {
    root()?;
    Datapath::check_kernel()?;
    let mut errors = Vec::new();
    if wanted
        .nodes
        .iter()
        .any(|node| node.forward_policy == ForwardPolicy::Drop)
    {
        errors.extend(iptables::require().err());
    }
    for node in &wanted.nodes {
        if let Err(error) = self::node(node, &mut errors) {
            errors.push(error);
        }
    }
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0)),
        _ => Err(ProvisionError::Several(errors)),
    }
}

fn node(wanted: &model::Node, errors: &mut Vec<ProvisionError>) -> Result<(), ProvisionError> {
    let name = wanted.name.as_ref();
    let lab = wanted.place == NodePlace::Lab;
    let found = match find(name)? {
        Found::Absent => {
            if lab && name_state(name)? != NameState::Free {
                return Err(foreign_namespace(name));
            }
            None
        }
        Found::Remains(datapath) => {
            endpoint_names(wanted, Some(&datapath), errors)?;
            return Ok(());
        }
        Found::Up(node) => Some(node),
    };
    if let Some(node) = &found
        && node.lab != lab
    {
        return Err(ProvisionError::Unmet {
            problem: format!("node {name} is up, but not in the place that the file says"),
            remedy: "run `netpath down` with the file that it was made from, first".into(),
        });
    }
    endpoint_names(
        wanted,
        found.as_ref().map(Node::datapath).as_deref(),
        errors,
    )?;
    for wire in wanted
        .uplinks
        .iter()
        .filter_map(|uplink| uplink.wire.as_ref())
    {
        errors.extend(uplink::check_wire(wire).err());
    }
    match (&found, lab) {
        (Some(node), _) => interfaces(wanted, &node.netns, Some(&node.datapath()), errors)?,
        (None, true) => {}
        (None, false) => interfaces(wanted, &Netns::current()?, None, errors)?,
    }
    if !lab {
        machine(wanted, errors)?;
    }
    Ok(())
}

/// No endpoint's name may be a namespace that is not netpath's.
fn endpoint_names(
    wanted: &model::Node,
    datapath: Option<&Datapath>,
    errors: &mut Vec<ProvisionError>,
) -> Result<(), ProvisionError> {
    let records = match datapath {
        Some(datapath) => datapath.maps.endpoint_records()?,
        None => Default::default(),
    };
    for endpoint in &wanted.endpoints {
        let name = endpoint.name.as_ref();
        let ours = match (name_state(name)?, records.get(&key(name)?)) {
            (NameState::Free, _) => true,
            (NameState::EmptyFile, Some(record)) => record.netns_cookie != 0,
            (NameState::Namespace, Some(record)) => own_netns(name, record)?.is_some(),
            _ => false,
        };
        if !ours {
            errors.push(foreign_namespace(name));
        }
    }
    Ok(())
}

/// No host-side device may be an interface that is not netpath's.
fn interfaces(
    wanted: &model::Node,
    netns: &Netns,
    datapath: Option<&Datapath>,
    errors: &mut Vec<ProvisionError>,
) -> Result<(), ProvisionError> {
    let records = match datapath {
        Some(datapath) => datapath.maps.endpoint_records()?,
        None => Default::default(),
    };
    netns.enter(|inside| {
        let netlink = Netlink::open(inside)?;
        let links = netlink.links()?;
        let links: HashMap<&str, &Link> = links
            .iter()
            .map(|link| (link.name.as_str(), link))
            .collect();
        let made: HashSet<(String, Option<Mac>)> = records
            .values()
            .map(|record| (text(&record.host_dev), Some(record.host_mac)))
            .collect();
        for endpoint in &wanted.endpoints {
            let dev = endpoint.host_dev.as_ref();
            let Some(link) = links.get(dev) else {
                continue;
            };
            // Its random MAC says whose it is.
            if !made.contains(&(dev.to_owned(), link.mac)) {
                errors.push(ProvisionError::NotOurs {
                    object: "interface",
                    name: dev.to_owned(),
                    netns: None,
                    remedy: "set host_dev in the topology file to another name",
                });
            }
        }
        Ok(())
    })?
}

/// A node on the machine itself: what netpath needs there and does not change.
fn machine(wanted: &model::Node, errors: &mut Vec<ProvisionError>) -> Result<(), ProvisionError> {
    let inside = &Inside::current();
    let netlink = Netlink::open(inside)?;
    let links = netlink.links()?;
    for uplink in &wanted.uplinks {
        let dev = uplink.dev.as_ref();
        let Some(link) = links.iter().find(|link| link.name == dev) else {
            errors.push(uplink::no_such_uplink(dev));
            continue;
        };
        let present = netlink.addresses(link.ifindex)?;
        for &address in uplink
            .addresses
            .iter()
            .filter(|address| !present.contains(address))
        {
            errors.push(ProvisionError::NoAddress {
                dev: dev.to_owned(),
                address,
            });
        }
        must_forward(
            inside,
            &sysctl::of_interface(Tree::Ipv4, dev, "forwarding"),
            errors,
        )?;
    }
    let has_v6 = wanted
        .endpoints
        .iter()
        .flat_map(|endpoint| &endpoint.addresses)
        .any(|address| address.addr().is_ipv6());
    if has_v6 {
        // IPv6 forwards between interfaces only where the whole namespace does.
        must_forward(inside, "ipv6/conf/all/forwarding", errors)?;
    }
    let routes = netlink.routes(Table::Main)?;
    prefixes(wanted, &netlink, &links, &routes, errors)?;
    for wanted in &wanted.routes {
        let foreign = routes.iter().find(|found| {
            found.dst == wanted.dst && !found.is_ours() && !found.is_only_via(wanted.via)
        });
        errors.extend(foreign.map(|found| route::foreign_route(wanted, found)));
    }
    Ok(())
}

/// All of a prefix is the endpoint's: nothing of it may be the machine's own, or be routed elsewhere.
fn prefixes(
    wanted: &model::Node,
    netlink: &Netlink,
    links: &[Link],
    routes: &[Route],
    errors: &mut Vec<ProvisionError>,
) -> Result<(), ProvisionError> {
    let mut prefixes = wanted.endpoints.iter().flat_map(|e| &e.prefixes).peekable();
    if prefixes.peek().is_none() {
        return Ok(());
    }
    let mut own = Vec::new();
    for link in links {
        let addresses = netlink.addresses(link.ifindex)?;
        own.extend(addresses.into_iter().map(|address| (address.addr(), link)));
    }
    for prefix in prefixes {
        if let Some((address, link)) = own.iter().find(|(its, _)| prefix.contains(its)) {
            errors.push(ProvisionError::Unmet {
                problem: format!(
                    "{address} of {prefix} is this machine's own address, on {}",
                    link.name
                ),
                remedy: "route only prefixes to an endpoint that are wholly its own".into(),
            });
        }
        let foreign = routes
            .iter()
            .find(|found| prefix.contains(&found.dst) && !found.is_ours());
        errors.extend(foreign.map(|found| route::foreign_prefix(*prefix, found)));
    }
    Ok(())
}

fn must_forward(
    inside: &Inside<'_>,
    key: &str,
    errors: &mut Vec<ProvisionError>,
) -> Result<(), ProvisionError> {
    if sysctl::get(inside, key)? != "1" {
        // An interface's name may have dots in it; then only slashes say what is meant.
        let name = if key.contains('.') {
            format!("net/{key}")
        } else {
            format!("net.{}", key.replace('/', "."))
        };
        errors.push(ProvisionError::Unmet {
            problem: format!("this machine does not forward: {name} is 0"),
            remedy: format!(
                "set it with `sysctl -w {name}=1` (netpath changes no setting of the machine's)"
            ),
        });
    }
    Ok(())
}
