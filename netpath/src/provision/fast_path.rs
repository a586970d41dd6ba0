//! Attaching and detaching, and nothing else.

use std::collections::BTreeMap;

use netpath_common::{Mac, RecordState};

use super::{
    Selection,
    change::{Action, Change, Object},
    error::ProvisionError,
    netlink::{Link, Netlink},
    node::{Found, Node, find, key, text},
    uplink,
};
use crate::{
    datapath::{AttachMode, Datapath, ProgramKind, attach_mode, nodes},
    lock::{Lock, Subject},
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
pub fn are_attached(datapath: &Datapath, uplink: bool, dev: &str) -> Result<bool, ProvisionError> {
    let programs: &[ProgramKind] = if uplink { &UPLINK } else { &ENDPOINT };
    for &program in programs {
        if !is_attached(datapath, program, dev)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a program is attached to an interface of the calling thread's namespace.
fn is_attached(
    datapath: &Datapath,
    program: ProgramKind,
    dev: &str,
) -> Result<bool, ProvisionError> {
    match attach_mode() {
        AttachMode::Tcx => Ok(datapath.is_attached(program, dev)?),
        AttachMode::Clsact => is_filter(datapath, program, dev),
    }
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

/// Programs that are wanted on interfaces of a node and are not there, in words, by interface. An interface that is gone
/// gets its programs when it is made again.
pub fn missing(
    node: &Node,
    links: &[Link],
) -> Result<BTreeMap<String, Vec<String>>, ProvisionError> {
    if node.meta()?.fast_path == 0 {
        return Ok(BTreeMap::new());
    }
    let mut places = places(node)?;
    places.retain(|place| {
        place.state == RecordState::Complete as u32 && links.iter().any(|link| place.is_link(link))
    });
    let datapath = node.datapath();
    let datapath = &*datapath;
    node.inside(|| {
        let mut missing = BTreeMap::new();
        for place in places {
            match place.missing(datapath) {
                Ok(words) if words.is_empty() => {}
                // It may have gone after it was listed, and then there is nothing to ask.
                result if place.is_there()? => {
                    missing.insert(place.dev, result?);
                }
                _ => {}
            }
        }
        Ok(missing)
    })
}

/// An interface of a node that programs belong on.
struct Place {
    dev: String,
    /// Number of the record's [`RecordState`].
    state: u32,
    /// None for an uplink.
    endpoint: Option<String>,
    /// What proves it to be netpath's own; none where netpath did not make it.
    mac: Option<Mac>,
}

impl Place {
    fn programs(&self) -> &'static [ProgramKind] {
        match self.endpoint {
            Some(_) => &ENDPOINT,
            None => &UPLINK,
        }
    }

    /// Its programs that are not attached, in words, in the calling thread's namespace.
    fn missing(&self, datapath: &Datapath) -> Result<Vec<String>, ProvisionError> {
        let mut words = Vec::new();
        for &program in self.programs() {
            if !is_attached(datapath, program, &self.dev)? {
                let (program, dev) = (program.name(), &self.dev);
                words.push(format!("program {program} is not attached to {dev}"));
            }
        }
        Ok(words)
    }

    fn is_link(&self, link: &Link) -> bool {
        link.name == self.dev && (self.mac.is_none() || link.mac == self.mac)
    }

    /// Whether it is there, in the calling thread's namespace. Another's interface of that name is not it; and
    /// one that is gone gets its programs when it is made again.
    fn is_there(&self) -> Result<bool, ProvisionError> {
        let link = Netlink::open()?.link(&self.dev)?;
        Ok(link.is_some_and(|link| self.is_link(&link)))
    }
}

fn places(node: &Node) -> Result<Vec<Place>, ProvisionError> {
    let datapath = node.datapath();
    let endpoints = datapath.maps.endpoint_records()?;
    let uplinks = datapath.maps.uplink_records()?;
    let endpoints = endpoints.iter().map(|(name, record)| Place {
        dev: text(&record.host_dev),
        state: record.state,
        endpoint: Some(text(&name.name)),
        mac: Some(record.host_mac),
    });
    let uplinks = uplinks.iter().map(|(dev, record)| Place {
        dev: text(&dev.name),
        state: record.state,
        endpoint: None,
        mac: (record.made != 0).then_some(record.mac),
    });
    Ok(endpoints.chain(uplinks).collect())
}

/// Switches a whole node, or one endpoint of it.
pub fn switch(
    node: &Node,
    on: bool,
    selected: Option<&str>,
) -> Result<Vec<Change>, ProvisionError> {
    let mut changes = Vec::new();
    for place in places(node)? {
        let dev = &place.dev;
        if selected.is_some() && place.endpoint.as_deref() != selected {
            continue;
        }
        if on && place.endpoint.is_none() {
            uplink::note_reverse_path_filter(node, dev)?;
        }
        let changed = {
            let datapath = node.datapath();
            let datapath = &*datapath;
            node.inside(|| match (on, &place.endpoint) {
                (true, _) if !place.is_there()? => Ok(false),
                (true, Some(_)) => attach_endpoint(datapath, dev),
                (true, None) => attach_uplink(datapath, dev),
                (false, Some(_)) => detach(datapath, &ENDPOINT, dev),
                (false, None) => detach(datapath, &UPLINK, dev),
            })?
        };
        if let Some(endpoint) = &place.endpoint {
            note_wish(node, endpoint, on || selected.is_none())?;
        }
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
    if selected.is_none() {
        node.update_meta(|meta| meta.fast_path = u32::from(on))?;
    }
    Ok(changes)
}

/// Notes whether an endpoint's fast path is to be as the node's, or off by itself.
fn note_wish(node: &Node, endpoint: &str, as_the_nodes: bool) -> Result<(), ProvisionError> {
    let mut datapath = node.datapath();
    let name = key(endpoint)?;
    let Some(mut record) = datapath.maps.endpoint_record(&name)? else {
        return Ok(());
    };
    let (from, to) = if as_the_nodes {
        (RecordState::SwitchedOff, RecordState::Complete)
    } else {
        (RecordState::Complete, RecordState::SwitchedOff)
    };
    if record.state == from as u32 {
        record.state = to as u32;
        datapath.maps.set_endpoint_record(name, &record)?;
    }
    Ok(())
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
