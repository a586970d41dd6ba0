//! Between the records of the maps, which are bytes, and what they say.

use std::collections::BTreeMap;

use ipnet::IpNet;
use netpath_common::{
    ADDRESSES_MAX, Bypass, EndpointRecord, FastPathWish, NameKey, NetnsKind, Origin, PrefixBytes,
    RecordState, RouteRecord, UplinkRecord,
};

use super::error::ProvisionError;
use crate::{
    datapath::{Maps, from_bytes, to_bytes},
    model::NodePlace,
    reconcile::{Home, Recorded, RecordedEndpoint, RecordedRoute, RecordedUplink, Refusal},
};

/// All that a node's maps record.
pub fn read(maps: &Maps) -> Result<Recorded, ProvisionError> {
    let identity = maps.meta.get()?;
    let settings = maps.settings.get()?;
    let mut endpoints = BTreeMap::new();
    for (name, record) in maps.endpoint_records.all()? {
        endpoints.insert(text(&name.name)?, endpoint(&record)?);
    }
    let mut uplinks = BTreeMap::new();
    for (dev, record) in maps.uplink_records.all()? {
        uplinks.insert(text(&dev.name)?, uplink(&record)?);
    }
    let mut routes = BTreeMap::new();
    for (dst, record) in maps.route_records.all()? {
        routes.insert(net(&dst)?, route(&record)?);
    }
    Ok(Recorded {
        place: match identity.netns_made {
            0 => NodePlace::Host,
            _ => NodePlace::Lab,
        },
        cookie: identity.netns_cookie,
        fast_path: settings.fast_path != 0,
        forward_drop: settings.forward_drop != 0,
        configured: settings.configured != 0,
        bypass: Bypass(settings.bypass),
        next_id: maps.ids.get()?.next_endpoint_id,
        endpoints,
        uplinks,
        routes,
    })
}

fn endpoint(record: &EndpointRecord) -> Result<RecordedEndpoint, ProvisionError> {
    Ok(RecordedEndpoint {
        origin: Origin::from_number(record.origin)
            .ok_or_else(|| damaged("origin", record.origin))?,
        home: home(record)?,
        cookie: record.netns_cookie,
        id: record.id,
        complete: record.state == RecordState::Complete as u32,
        ifindex: record.host_ifindex,
        endpoint_mac: record.endpoint_mac,
        host_mac: record.host_mac,
        dev: text(&record.dev)?,
        host_dev: text(&record.host_dev)?,
        addresses: nets(&record.addresses),
        prefixes: nets(&record.prefixes),
        fast_path: FastPathWish::from_number(record.fast_path)
            .ok_or_else(|| damaged("wish for the fast path", record.fast_path))?,
    })
}

fn uplink(record: &UplinkRecord) -> Result<RecordedUplink, ProvisionError> {
    Ok(RecordedUplink {
        wire: text(&record.wire)?,
        wire_cookie: record.wire_cookie,
        complete: record.state == RecordState::Complete as u32,
        ifindex: record.ifindex,
        made: record.made != 0,
        mac: record.mac,
        port_mac: record.port_mac,
        addresses: nets(&record.addresses),
        position: record.position,
    })
}

fn route(record: &RouteRecord) -> Result<RecordedRoute, ProvisionError> {
    Ok(RecordedRoute {
        via: net(&record.via)?.addr(),
        made: record.made != 0,
    })
}

/// An endpoint's record in bytes.
pub fn endpoint_bytes(record: &RecordedEndpoint) -> Result<EndpointRecord, ProvisionError> {
    let (kind, path) = match &record.home {
        Home::Made => (NetnsKind::Made, ""),
        Home::Given(path) => (NetnsKind::Given, path.as_str()),
    };
    Ok(EndpointRecord {
        netns_cookie: record.cookie,
        id: record.id,
        state: state(record.complete),
        host_ifindex: record.ifindex,
        endpoint_mac: record.endpoint_mac,
        host_mac: record.host_mac,
        dev: fixed(&record.dev)?,
        host_dev: fixed(&record.host_dev)?,
        origin: record.origin as u32,
        netns_kind: kind as u32,
        fast_path: record.fast_path as u32,
        padding: 0,
        netns_path: fixed(path)?,
        addresses: slots(&record.addresses),
        prefixes: slots(&record.prefixes),
    })
}

/// An uplink's record in bytes.
pub fn uplink_bytes(record: &RecordedUplink) -> Result<UplinkRecord, ProvisionError> {
    Ok(UplinkRecord {
        wire_cookie: record.wire_cookie,
        state: state(record.complete),
        ifindex: record.ifindex,
        made: u32::from(record.made),
        mac: record.mac,
        port_mac: record.port_mac,
        wire: fixed(&record.wire)?,
        addresses: slots::<ADDRESSES_MAX>(&record.addresses),
        fast_path: FastPathWish::AsNode as u32,
        position: record.position,
    })
}

/// A route's record in bytes.
pub fn route_bytes(record: &RecordedRoute) -> RouteRecord {
    RouteRecord {
        via: to_bytes(IpNet::from(record.via)),
        made: u32::from(record.made),
        origin: Origin::File as u32,
        metric: 0,
    }
}

/// The key of a name in the record maps. The model has checked its length.
pub fn key(name: &str) -> Result<NameKey, ProvisionError> {
    Ok(NameKey { name: fixed(name)? })
}

/// A text in a field of a record. The model has checked its length.
pub fn fixed<const N: usize>(text: &str) -> Result<[u8; N], ProvisionError> {
    netpath_common::fixed(text).ok_or_else(|| {
        let refused = Refusal::NameTooLong.of(format!("name {text}"));
        ProvisionError::from(refused)
    })
}

/// The text of a field.
pub fn text(field: &[u8]) -> Result<String, ProvisionError> {
    match netpath_common::text(field) {
        Some(text) => Ok(text.to_owned()),
        None => Err(ProvisionError::DamagedRecord(format!(
            "a name in it is no text: {field:?}"
        ))),
    }
}

fn damaged(what: &str, number: u32) -> ProvisionError {
    ProvisionError::DamagedRecord(format!("{number} is no {what} that this netpath knows"))
}

fn net(bytes: &PrefixBytes) -> Result<IpNet, ProvisionError> {
    from_bytes(bytes)
        .ok_or_else(|| ProvisionError::DamagedRecord(format!("{bytes:?} is no prefix")))
}

/// Unused slots are empty.
fn nets(slots: &[PrefixBytes]) -> Vec<IpNet> {
    slots.iter().filter_map(from_bytes).collect()
}

/// The model has checked their number.
fn slots<const N: usize>(nets: &[IpNet]) -> [PrefixBytes; N] {
    let mut slots = [PrefixBytes::default(); N];
    for (slot, net) in slots.iter_mut().zip(nets) {
        *slot = to_bytes(*net);
    }
    slots
}

fn state(complete: bool) -> u32 {
    match complete {
        true => RecordState::Complete as u32,
        false => RecordState::Pending as u32,
    }
}

/// Where an endpoint's namespace is.
pub fn home(record: &EndpointRecord) -> Result<Home, ProvisionError> {
    match NetnsKind::from_number(record.netns_kind) {
        Some(NetnsKind::Made) => Ok(Home::Made),
        Some(NetnsKind::Given) => Ok(Home::Given(text(&record.netns_path)?)),
        None => Err(damaged("kind of namespace", record.netns_kind)),
    }
}
