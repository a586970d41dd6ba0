//! Attaching and detaching, and nothing else.

use netpath_common::Mac;

use super::{
    Selection,
    change::{Action, Change, Object},
    error::ProvisionError,
    node::{Found, Node, find, text},
    uplink,
};
use crate::{
    datapath::{Datapath, ProgramKind, nodes},
    lock::{Lock, Subject},
    netlink::Netlink,
    netns::{Inside, Netns},
};

/// The programs on an endpoint's host-side veth.
const ENDPOINT: [ProgramKind; 2] = [ProgramKind::FromEndpoint, ProgramKind::ToEndpoint];
/// The program on an uplink.
const UPLINK: [ProgramKind; 1] = [ProgramKind::FromUplink];

/// Attaches the programs of an endpoint's veth.
pub fn attach_endpoint(
    inside: &Inside<'_>,
    datapath: &Datapath,
    dev: &str,
) -> Result<bool, ProvisionError> {
    attach(inside, datapath, &ENDPOINT, dev)
}

/// Attaches the program of an uplink.
pub fn attach_uplink(
    inside: &Inside<'_>,
    datapath: &Datapath,
    dev: &str,
) -> Result<bool, ProvisionError> {
    attach(inside, datapath, &UPLINK, dev)
}

/// Detaches the programs of an endpoint's veth.
pub fn detach_endpoint(
    datapath: &Datapath,
    netns: &Netns,
    dev: &str,
) -> Result<bool, ProvisionError> {
    netns.enter(|inside| detach(inside, datapath, &ENDPOINT, dev))?
}

/// Detaches the program of an uplink.
pub fn detach_uplink(
    datapath: &Datapath,
    netns: &Netns,
    dev: &str,
) -> Result<bool, ProvisionError> {
    netns.enter(|inside| detach(inside, datapath, &UPLINK, dev))?
}

fn attach(
    inside: &Inside<'_>,
    datapath: &Datapath,
    programs: &[ProgramKind],
    dev: &str,
) -> Result<bool, ProvisionError> {
    let mut changed = false;
    for &program in programs {
        changed |= datapath.attach(inside, program, dev)?;
    }
    Ok(changed)
}

fn detach(
    inside: &Inside<'_>,
    datapath: &Datapath,
    programs: &[ProgramKind],
    dev: &str,
) -> Result<bool, ProvisionError> {
    let mut changed = false;
    for &program in programs {
        changed |= datapath.detach(inside, program, dev)?;
    }
    Ok(changed)
}

/// Whether all the programs of an interface are attached.
pub fn is_attached(
    inside: &Inside<'_>,
    datapath: &Datapath,
    uplink: bool,
    dev: &str,
) -> Result<bool, ProvisionError> {
    let programs: &[ProgramKind] = if uplink { &UPLINK } else { &ENDPOINT };
    for &program in programs {
        if !datapath.is_attached(inside, program, dev)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// An interface of a node that programs belong on.
struct Place {
    dev: String,
    /// None for an uplink.
    endpoint: Option<String>,
    /// What proves it to be netpath's own; none where netpath did not make it.
    mac: Option<Mac>,
}

impl Place {
    /// Whether it is there. Another's interface of that name is not it; and one that is gone gets its programs when it
    /// is made again.
    fn is_there(&self, inside: &Inside<'_>) -> Result<bool, ProvisionError> {
        let link = Netlink::open(inside)?.link(&self.dev)?;
        Ok(link.is_some_and(|link| self.mac.is_none() || link.mac == self.mac))
    }
}

fn places(node: &Node) -> Result<Vec<Place>, ProvisionError> {
    let datapath = node.datapath();
    let endpoints = datapath.maps.endpoint_records()?;
    let uplinks = datapath.maps.uplink_records()?;
    let endpoints = endpoints.iter().map(|(name, record)| Place {
        dev: text(&record.host_dev),
        endpoint: Some(text(&name.name)),
        mac: Some(record.host_mac),
    });
    let uplinks = uplinks.iter().map(|(dev, record)| Place {
        dev: text(&dev.name),
        endpoint: None,
        mac: (record.made != 0).then_some(record.mac),
    });
    Ok(endpoints.chain(uplinks).collect())
}

/// Switches a whole node, or one endpoint of it.
pub fn switch(
    node: &Node,
    on: bool,
    endpoint: Option<&str>,
) -> Result<Vec<Change>, ProvisionError> {
    let mut changes = Vec::new();
    for place in places(node)? {
        let dev = &place.dev;
        if endpoint.is_some() && place.endpoint.as_deref() != endpoint {
            continue;
        }
        if on && place.endpoint.is_none() {
            uplink::note_reverse_path_filter(node, dev)?;
        }
        let datapath = node.datapath();
        let datapath = &*datapath;
        let changed = node.inside(|inside| match (on, &place.endpoint) {
            (true, _) if !place.is_there(inside)? => Ok(false),
            (true, Some(_)) => attach_endpoint(inside, datapath, dev),
            (true, None) => attach_uplink(inside, datapath, dev),
            (false, Some(_)) => detach(inside, datapath, &ENDPOINT, dev),
            (false, None) => detach(inside, datapath, &UPLINK, dev),
        })?;
        if changed {
            changes.push(Change {
                action: Action::Update,
                object: Object::FastPath,
                node: node.name.clone(),
                name: place.dev,
                detail: if on { "on" } else { "off" }.to_owned(),
            });
        }
    }
    if endpoint.is_none() {
        node.update_meta(|meta| meta.fast_path = u32::from(on))?;
    }
    Ok(changes)
}

/// See [`super::set_fast_path`].
pub fn set(on: bool, selection: &Selection) -> Result<Vec<Change>, ProvisionError> {
    let _lock = Lock::take(Subject::Topology)?;
    let names = match &selection.node {
        Some(name) => vec![name.clone()],
        None => nodes()?,
    };
    let mut changes = Vec::new();
    let mut matched = false;
    for name in names {
        let Found::Up(node) = find(&name)? else {
            if selection.node.is_some() {
                return Err(ProvisionError::NotUp {
                    object: "node",
                    name,
                });
            }
            continue;
        };
        if let Some(endpoint) = &selection.endpoint {
            let places = places(&node)?;
            if !places
                .iter()
                .any(|place| place.endpoint.as_ref() == Some(endpoint))
            {
                continue;
            }
        }
        matched = true;
        changes.extend(switch(&node, on, selection.endpoint.as_deref())?);
    }
    match (&selection.endpoint, matched) {
        (Some(endpoint), false) => Err(ProvisionError::NotUp {
            object: "endpoint",
            name: endpoint.clone(),
        }),
        (None, false) => Err(ProvisionError::NotUp {
            object: "node",
            name: "at all".into(),
        }),
        (_, true) => Ok(changes),
    }
}
