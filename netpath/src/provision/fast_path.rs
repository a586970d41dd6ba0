//! Attaching and detaching, and nothing else.

use netpath_common::Mac;

use super::{
    Selection,
    change::{Action, Change, Object},
    error::ProvisionError,
    netlink::Netlink,
    node::{Found, HeldNode, Node, find, find_held, text},
    uplink,
};
use crate::{
    datapath::{AttachMode, Datapath, ObjectKind, ProgramKind, attach_mode, nodes},
    lock::TopologyLock,
    netns::Netns,
};

/// The programs on an endpoint's host-side veth.
const ENDPOINT: [ProgramKind; 2] = [ProgramKind::FromEndpoint, ProgramKind::ToEndpoint];
/// The program on an uplink.
const UPLINK: [ProgramKind; 1] = [ProgramKind::FromUplink];

/// Attaches the programs of an endpoint's veth, in the calling thread's namespace.
pub fn attach_endpoint(datapath: &Datapath, dev: &str) -> Result<bool, ProvisionError> {
    attach(datapath, &ENDPOINT, dev)
}

/// Attaches the program of an uplink, in the calling thread's namespace.
pub fn attach_uplink(datapath: &Datapath, dev: &str) -> Result<bool, ProvisionError> {
    attach(datapath, &UPLINK, dev)
}

/// Detaches the programs of an endpoint's veth.
pub fn detach_endpoint(
    datapath: &Datapath,
    netns: &Netns,
    dev: &str,
) -> Result<bool, ProvisionError> {
    netns.run(|| detach(datapath, &ENDPOINT, dev))?
}

/// Detaches the program of an uplink.
pub fn detach_uplink(
    datapath: &Datapath,
    netns: &Netns,
    dev: &str,
) -> Result<bool, ProvisionError> {
    netns.run(|| detach(datapath, &UPLINK, dev))?
}

fn attach(
    datapath: &Datapath,
    programs: &[ProgramKind],
    dev: &str,
) -> Result<bool, ProvisionError> {
    let mut changed = false;
    for &program in programs {
        changed |= datapath.attach(program, dev)?;
    }
    Ok(changed)
}

fn detach(
    datapath: &Datapath,
    programs: &[ProgramKind],
    dev: &str,
) -> Result<bool, ProvisionError> {
    let mut changed = false;
    for &program in programs {
        changed |= datapath.detach(program, dev)?;
    }
    Ok(changed)
}

/// Whether all the programs of an interface are attached, in the calling thread's namespace.
pub fn is_attached(datapath: &Datapath, uplink: bool, dev: &str) -> Result<bool, ProvisionError> {
    let programs: &[ProgramKind] = if uplink { &UPLINK } else { &ENDPOINT };
    for &program in programs {
        let attached = match attach_mode()? {
            AttachMode::Tcx => datapath.is_attached(program, dev)?,
            AttachMode::Clsact => is_filter(datapath, program, dev)?,
        };
        if !attached {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a program runs as a filter of a clsact qdisc, which only netlink tells.
fn is_filter(datapath: &Datapath, program: ProgramKind, dev: &str) -> Result<bool, ProvisionError> {
    let netlink = Netlink::open()?;
    let Some(link) = netlink.link(dev)? else {
        return Ok(false);
    };
    let ours = datapath.program_id(program)?;
    Ok(netlink
        .filter_programs(&link, program.hook())?
        .contains(&ours))
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
    /// Whether it is there, in the calling thread's namespace. Another's interface of that name is not it; and
    /// one that is gone gets its programs when it is made again.
    fn is_there(&self) -> Result<bool, ProvisionError> {
        let link = Netlink::open()?.link(&self.dev)?;
        Ok(link.is_some_and(|link| self.mac.is_none() || link.mac == self.mac))
    }
}

fn places(node: &Node) -> Result<Vec<Place>, ProvisionError> {
    let datapath = node.datapath();
    let endpoints = datapath.maps.endpoint_records.all()?;
    let uplinks = datapath.maps.uplink_records.all()?;
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
    node: &HeldNode<'_>,
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
        let changed = node.inside(|| match (on, &place.endpoint) {
            (true, _) if !place.is_there()? => Ok(false),
            (true, Some(_)) => attach_endpoint(datapath, dev),
            (true, None) => attach_uplink(datapath, dev),
            (false, Some(_)) => detach(datapath, &ENDPOINT, dev),
            (false, None) => detach(datapath, &UPLINK, dev),
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
        node.update_settings(|settings| settings.fast_path = u32::from(on))?;
    }
    Ok(changes)
}

/// See [`super::set_fast_path`].
pub fn set(on: bool, selection: &Selection) -> Result<Vec<Change>, ProvisionError> {
    let lock = TopologyLock::take(&selection.interrupted)?;
    let names = match &selection.node {
        Some(name) => vec![name.clone()],
        None => nodes()?,
    };
    let mut changes = Vec::new();
    let mut errors = Vec::new();
    let mut matched = false;
    for name in names {
        let found = match on {
            true => find_held(&name, ObjectKind::Plain, &lock),
            false => find(&name).map(|found| found.held(&lock)),
        };
        let found = match found {
            // Another node's trouble is not this one's.
            Err(error) if selection.node.is_none() && error.is_about_a_directory() => {
                errors.push(error);
                continue;
            }
            found => found?,
        };
        let Found::Up(node) = found else {
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
    if !errors.is_empty() {
        return Err(ProvisionError::Several(errors));
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
