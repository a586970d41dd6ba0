//! What other nodes record. What cannot be read proves nothing: another node's trouble is not this one's.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        error::ProvisionError,
        records::{self, Records},
    },
    Subject,
};
use crate::{
    datapath::{Datapath, DatapathError, nodes},
    model::NodePlace,
    reconcile::{NamespaceOwner, NamespaceState, Observed, Recorded, WireClaim},
};

/// Which other nodes have a record that proves a namespace theirs, where one stands at a name that is wanted here. Where
/// nobody is known to have one, and a node cannot be read, it may be that one's.
pub(super) fn owners(
    subject: &Subject<'_>,
    observed: &Observed,
) -> Result<BTreeMap<String, NamespaceOwner>, ProvisionError> {
    let strangers = strangers(subject, observed);
    let mut owners = BTreeMap::new();
    if strangers.is_empty() {
        return Ok(owners);
    }
    let mut unreadable = None;
    for other in nodes()?.into_iter().filter(|other| other != subject.name) {
        let cookies = match Datapath::open(&other) {
            Ok(None) => continue,
            Ok(Some(datapath)) => cookies(&other, &datapath),
            Err(error) => Err(error),
        };
        match cookies {
            Ok(cookies) => {
                owners.extend(cookies.into_iter().filter_map(|(cookie, owner)| {
                    Some((strangers.get(&cookie)?.to_string(), owner))
                }))
            }
            Err(DatapathError::Lock(error)) => return Err(error.into()),
            Err(_) => unreadable = Some(other),
        }
    }
    if let Some(node) = unreadable {
        for name in strangers.values() {
            let owner = || NamespaceOwner::Perhaps(node.clone());
            owners.entry((*name).to_owned()).or_insert_with(owner);
        }
    }
    Ok(owners)
}

/// The namespaces that stand at wanted names and that no record of this node proves its own, by cookie.
fn strangers<'a>(subject: &Subject<'a>, observed: &Observed) -> BTreeMap<u64, &'a str> {
    let recorded = |name: &str| {
        let node = subject.recorded;
        let endpoint = node.and_then(|node| node.endpoints.get(name));
        endpoint.map_or(0, |endpoint| endpoint.cookie)
    };
    let mut strangers = BTreeMap::new();
    for endpoint in subject.wanted.into_iter().flat_map(|node| &node.endpoints) {
        let name = endpoint.name.as_str();
        let state = observed.endpoints.get(name).map(|there| there.state);
        if let Some(NamespaceState::Present(cookie)) = state
            && cookie != recorded(name)
        {
            strangers.insert(cookie, name);
        }
    }
    if let (None, NodePlace::Lab, NamespaceState::Present(cookie)) =
        (subject.recorded, subject.place, observed.node.state)
    {
        strangers.insert(cookie, subject.name);
    }
    strangers
}

/// The namespaces that a node's records prove its own.
fn cookies(name: &str, datapath: &Datapath) -> Result<Vec<(u64, NamespaceOwner)>, DatapathError> {
    let maps = &datapath.maps;
    let endpoints = maps.endpoint_records.all()?;
    let endpoints = endpoints.values().map(|record| record.netns_cookie);
    let own = maps.meta.get()?.netns_cookie;
    let of_endpoint = |cookie| (cookie, NamespaceOwner::EndpointOf(name.to_owned()));
    let own = (own, NamespaceOwner::Node(name.to_owned()));
    Ok(endpoints.map(of_endpoint).chain([own]).collect())
}

/// What other nodes in the same network namespace record, and one that cannot be read: it may be there too.
pub(super) fn in_namespace(
    name: &str,
    state: NamespaceState,
) -> Result<(BTreeMap<String, Recorded>, Option<String>), ProvisionError> {
    let mut others = BTreeMap::new();
    let mut unreadable = None;
    for other in nodes()?.into_iter().filter(|other| other != name) {
        match recorded_in(&other, state) {
            Ok(None) => {}
            Ok(Some(records)) => {
                // What cannot be read of it may say that it has more here.
                if !records.damaged.is_empty() {
                    unreadable = Some(other.clone());
                }
                others.insert(other, records.recorded);
            }
            Err(ProvisionError::Lock(error)) => return Err(error.into()),
            Err(_) => unreadable = Some(other),
        }
    }
    Ok((others, unreadable))
}

/// What a node records, if it is in this namespace.
fn recorded_in(name: &str, state: NamespaceState) -> Result<Option<Records>, ProvisionError> {
    let Some(datapath) = Datapath::open(name)? else {
        return Ok(None);
    };
    let cookie = datapath.maps.meta.get()?.netns_cookie;
    if state != NamespaceState::Present(cookie) {
        return Ok(None);
    }
    Ok(Some(records::read(&datapath.maps)?))
}

/// The names of the endpoints of other nodes, as far as they can be read.
pub fn endpoints_of_others(name: &str) -> Result<BTreeSet<String>, ProvisionError> {
    let mut names = BTreeSet::new();
    for other in nodes()?.into_iter().filter(|other| other != name) {
        if let Ok(Some(datapath)) = Datapath::open(&other)
            && let Ok(records) = datapath.maps.endpoint_records.all()
        {
            let named = records
                .keys()
                .filter_map(|key| netpath_common::text(&key.name));
            names.extend(named.map(str::to_owned));
        }
    }
    Ok(names)
}

/// Whether a node has an endpoint of this name. One that cannot be read proves nothing.
pub fn has_endpoint(node: &str, name: &str) -> Result<bool, ProvisionError> {
    let key = records::key(name)?;
    let found = match Datapath::open(node) {
        Ok(None) => return Ok(false),
        Ok(Some(datapath)) => datapath.maps.endpoint_records.get(&key),
        Err(error) => Err(error),
    };
    match found {
        Ok(record) => Ok(record.is_some()),
        Err(DatapathError::Lock(error)) => Err(error.into()),
        Err(_) => Ok(false),
    }
}

/// What other nodes say of wires. What cannot be read proves nothing, and may claim anything: another node's trouble is
/// not this one's.
pub(super) fn claims(name: &str) -> Result<Vec<WireClaim>, ProvisionError> {
    let mut claims = Vec::new();
    for other in nodes()?.into_iter().filter(|other| other != name) {
        let uplinks = match Datapath::open(&other) {
            Ok(None) => continue,
            Ok(Some(datapath)) => datapath.maps.uplink_records.all(),
            Err(error) => Err(error),
        };
        match uplinks {
            Ok(uplinks) => {
                for record in uplinks.values().filter(|record| record.wire_cookie != 0) {
                    claims.push(match netpath_common::text(&record.wire) {
                        Some(wire) => WireClaim::Recorded {
                            wire: wire.to_owned(),
                            cookie: record.wire_cookie,
                        },
                        None => WireClaim::Unknown(other.clone()),
                    });
                }
            }
            Err(DatapathError::Lock(error)) => return Err(error.into()),
            Err(_) => claims.push(WireClaim::Unknown(other)),
        }
    }
    Ok(claims)
}
