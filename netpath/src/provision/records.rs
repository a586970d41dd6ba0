//! Between the records of the maps, which are bytes, and what they say.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::IpNet;
use netpath_common::{
    ADDRESSES_MAX, Bypass, EndpointId, EndpointRecord, FastPathMode, FastPathWish, Mac, NameKey,
    NetnsKind, Origin, PrefixBytes, RecordState, RouteRecord, UplinkRecord,
};

use super::error::ProvisionError;
use crate::{
    datapath::{Maps, from_bytes, to_bytes},
    model::{InterfaceName, Name, NodePlace},
    reconcile::{Home, Recorded, RecordedEndpoint, RecordedRoute, RecordedUplink, Refusal},
};

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// The map that it is in.
    pub map: &'static str,
    /// Its key, as far as that can be read.
    key: String,
    /// What is wrong with it.
    problem: String,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { map, key, problem } = self;
        write!(f, "that of {key} in map {map} ({problem})")
    }
}

/// What a node's maps record.
pub struct Records {
    /// What they say.
    pub recorded: Recorded,
    /// What of it cannot be read.
    pub damaged: Vec<Damaged>,
    /// Records that say what they should, and hold besides what netpath never writes there: the map, and the key.
    pub overwritten: BTreeSet<(&'static str, String)>,
}

/// Records of one kind, as they are read.
struct Reader {
    map: &'static str,
    damaged: Vec<Damaged>,
    overwritten: BTreeSet<(&'static str, String)>,
}

impl Reader {
    fn of(map: &'static str) -> Self {
        Self {
            map,
            damaged: Vec::new(),
            overwritten: BTreeSet::new(),
        }
    }

    /// A record, unless it is damaged. `again` are the key and the value as netpath writes what was read.
    fn take<K: PartialEq, V: PartialEq, N: ToString, R>(
        &mut self,
        (key, value): (&K, &V),
        read: Result<(N, R), ProvisionError>,
        again: impl FnOnce(&N, &R) -> Result<(K, V), ProvisionError>,
        shown: impl FnOnce(&K) -> String,
    ) -> Result<Option<(N, R)>, ProvisionError> {
        let read = read.and_then(|(name, record)| {
            let (own_key, own_value) = again(&name, &record)?;
            if own_key != *key {
                let problem = "its key holds more than netpath writes there".to_owned();
                return Err(ProvisionError::DamagedRecord(problem));
            }
            if own_value != *value {
                self.overwritten.insert((self.map, name.to_string()));
            }
            Ok((name, record))
        });
        match read {
            Ok(record) => Ok(Some(record)),
            Err(ProvisionError::DamagedRecord(problem)) => {
                self.damaged.push(Damaged {
                    map: self.map,
                    key: shown(key),
                    problem,
                });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// What proves that something was made for a record's object.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Proof {
    Mac(Mac),
    Cookie(u64),
    Id(EndpointId),
}

impl Reader {
    /// Records that prove one thing twice prove nothing: what is of the one would be removed with the other.
    fn drop_doubles<R>(
        &mut self,
        records: &mut BTreeMap<String, R>,
        proofs: impl Fn(&R) -> Vec<Proof>,
    ) {
        let all: Vec<(String, Vec<Proof>)> = records
            .iter()
            .map(|(name, record)| (name.clone(), proofs(record)))
            .collect();
        let mut claims: HashMap<Proof, &str> = HashMap::new();
        let mut doubles: BTreeMap<String, String> = BTreeMap::new();
        for (name, proofs) in &all {
            for proof in proofs {
                if let Some(other) = claims.insert(*proof, name) {
                    doubles.insert(name.clone(), other.to_owned());
                    doubles.insert(other.to_owned(), name.clone());
                }
            }
        }
        for (key, other) in doubles {
            records.remove(&key);
            self.damaged.push(Damaged {
                map: self.map,
                problem: format!("that of {other} claims the same interface or namespace"),
                key,
            });
        }
    }
}

/// All that a node's maps record, and what of it cannot be read.
pub fn read(maps: &Maps) -> Result<Records, ProvisionError> {
    let identity = maps.meta.get()?;
    let settings = maps.settings.get()?;
    let mut of_endpoints = Reader::of("endpoint_records");
    let mut endpoints = BTreeMap::new();
    for (raw, record) in maps.endpoint_records.all()? {
        let read = name::<Name>(&raw.name).and_then(|name| Ok((name, endpoint(&record)?)));
        let again = |name: &String, record: &_| Ok((key(name)?, endpoint_bytes(record)?));
        let shown = |raw: &NameKey| shown(&raw.name);
        endpoints.extend(of_endpoints.take((&raw, &record), read, again, shown)?);
    }
    let mut of_uplinks = Reader::of("uplink_records");
    let mut uplinks = BTreeMap::new();
    for (raw, record) in maps.uplink_records.all()? {
        let read = name::<InterfaceName>(&raw.name).and_then(|dev| Ok((dev, uplink(&record)?)));
        let again = |dev: &String, record: &_| Ok((key(dev)?, uplink_bytes(record)?));
        let shown = |raw: &NameKey| shown(&raw.name);
        uplinks.extend(of_uplinks.take((&raw, &record), read, again, shown)?);
    }
    let mut of_routes = Reader::of("route_records");
    let mut routes = BTreeMap::new();
    for (raw, record) in maps.route_records.all()? {
        let read = net(&raw).and_then(|dst| Ok((dst, route(&record)?)));
        let again = |dst: &IpNet, record: &_| Ok((to_bytes(*dst), route_bytes(record)?));
        routes.extend(of_routes.take((&raw, &record), read, again, shown_net)?);
    }
    of_endpoints.drop_doubles(&mut endpoints, |record| {
        let cookie = Some(record.cookie).filter(|cookie| *cookie != 0);
        let macs = [record.host_mac, record.endpoint_mac].map(Proof::Mac);
        let numbers = [Some(Proof::Id(record.id)), cookie.map(Proof::Cookie)];
        macs.into_iter()
            .chain(numbers.into_iter().flatten())
            .collect()
    });
    of_uplinks.drop_doubles(&mut uplinks, |record: &RecordedUplink| {
        let made = record.made.then_some([record.mac, record.port_mac]);
        made.into_iter().flatten().map(Proof::Mac).collect()
    });
    let recorded = Recorded {
        place: match identity.netns_made {
            0 => NodePlace::Host,
            _ => NodePlace::Lab,
        },
        cookie: identity.netns_cookie,
        fast_path: FastPathMode::from_number(settings.fast_path),
        forward_drop: settings.forward_drop != 0,
        configured: settings.configured != 0,
        bypass: Bypass(settings.bypass),
        next_id: maps.ids.get()?.next_endpoint_id,
        endpoints,
        uplinks,
        routes,
    };
    let (mut damaged, mut overwritten) = (Vec::new(), BTreeSet::new());
    for reader in [of_endpoints, of_uplinks, of_routes] {
        damaged.extend(reader.damaged);
        overwritten.extend(reader.overwritten);
    }
    Ok(Records {
        recorded,
        damaged,
        overwritten,
    })
}

fn endpoint(record: &EndpointRecord) -> Result<RecordedEndpoint, ProvisionError> {
    Ok(RecordedEndpoint {
        origin: Origin::from_number(record.origin)
            .ok_or_else(|| damaged("origin", record.origin))?,
        home: home(record)?,
        cookie: record.netns_cookie,
        // 0 stands for no endpoint, and is every uplink's.
        id: match record.id {
            EndpointId(0) => return Err(damaged("id", 0)),
            id => id,
        },
        complete: record.state == RecordState::Complete as u32,
        ifindex: record.host_ifindex,
        endpoint_mac: unicast(record.endpoint_mac)?,
        host_mac: unicast(record.host_mac)?,
        dev: name::<InterfaceName>(&record.dev)?,
        host_dev: name::<InterfaceName>(&record.host_dev)?,
        addresses: nets(&record.addresses)?,
        prefixes: nets(&record.prefixes)?,
        mtu: match record.mtu {
            0 => None,
            mtu => Some(mtu),
        },
        fast_path: FastPathWish::from_number(record.fast_path)
            .ok_or_else(|| damaged("wish for the fast path", record.fast_path))?,
    })
}

fn uplink(record: &UplinkRecord) -> Result<RecordedUplink, ProvisionError> {
    Ok(RecordedUplink {
        wire: match text(&record.wire)?.as_str() {
            "" => String::new(),
            _ => name::<Name>(&record.wire)?,
        },
        wire_cookie: record.wire_cookie,
        complete: record.state == RecordState::Complete as u32,
        ifindex: record.ifindex,
        made: record.made != 0,
        mac: unicast(record.mac)?,
        port_mac: unicast(record.port_mac)?,
        addresses: nets(&record.addresses)?,
        position: record.position,
        // Where netpath made the interface, nobody asks who made the qdisc.
        clsact_made: record.made == 0 && record.clsact_made != 0,
    })
}

fn route(record: &RouteRecord) -> Result<RecordedRoute, ProvisionError> {
    let has_via = record.via != PrefixBytes::default();
    Ok(RecordedRoute {
        via: match has_via {
            true => Some(net(&record.via)?.addr()),
            false => None,
        },
        dev: match text(&record.dev)?.as_str() {
            "" => None,
            _ => Some(name::<InterfaceName>(&record.dev)?),
        },
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
        mtu: record.mtu.unwrap_or(0),
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
        clsact_made: u32::from(record.clsact_made),
        padding: 0,
    })
}

/// A route's record in bytes.
pub fn route_bytes(record: &RecordedRoute) -> Result<RouteRecord, ProvisionError> {
    let via = record.via.map(|via| to_bytes(IpNet::from(via)));
    Ok(RouteRecord {
        via: via.unwrap_or_default(),
        made: u32::from(record.made),
        origin: Origin::File as u32,
        metric: 0,
        dev: fixed(record.dev.as_deref().unwrap_or_default())?,
    })
}

/// The key of a name in the record maps. The model has checked its length.
pub fn key(name: &str) -> Result<NameKey, ProvisionError> {
    Ok(NameKey { name: fixed(name)? })
}

/// A MAC that an interface may have: no group's (IEEE 802, the lowest bit of the first byte).
fn unicast(mac: Mac) -> Result<Mac, ProvisionError> {
    match mac.0[0] & 1 {
        0 => Ok(mac),
        _ => Err(ProvisionError::DamagedRecord(format!(
            "{mac} is a group's MAC"
        ))),
    }
}

/// A text in a field of a record. The model has checked its length.
pub fn fixed<const N: usize>(text: &str) -> Result<[u8; N], ProvisionError> {
    netpath_common::fixed(text).ok_or_else(|| {
        let refused = Refusal::NameTooLong.of(format!("name {text}"));
        ProvisionError::from(refused)
    })
}

/// The text of a field.
fn text(field: &[u8]) -> Result<String, ProvisionError> {
    match netpath_common::text(field) {
        Some(text) => Ok(text.to_owned()),
        None => Err(ProvisionError::DamagedRecord(format!(
            "{} is no text",
            shown(field)
        ))),
    }
}

/// A field with a name such as netpath writes there.
fn name<T: FromStr>(field: &[u8]) -> Result<String, ProvisionError> {
    let text = text(field)?;
    match text.parse::<T>() {
        Ok(_) => Ok(text),
        Err(_) => Err(ProvisionError::DamagedRecord(format!(
            "{text:?} is no name that netpath writes"
        ))),
    }
}

/// A text field, also one that is none.
pub fn shown(field: &[u8]) -> String {
    let text = netpath_common::text(field).map(str::to_owned);
    text.unwrap_or_else(|| {
        let end = field
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last + 1);
        field[..end].escape_ascii().to_string()
    })
}

/// An address with its length, also where that is too long for it.
fn shown_net(bytes: &PrefixBytes) -> String {
    let length = bytes.length;
    match bytes.family {
        4 => {
            let [a, b, c, d, ..] = bytes.address;
            format!("{}/{length}", Ipv4Addr::new(a, b, c, d))
        }
        6 => format!("{}/{length}", Ipv6Addr::from(bytes.address)),
        family => format!("family {family}"),
    }
}

fn damaged(what: &str, number: u32) -> ProvisionError {
    ProvisionError::DamagedRecord(format!("{number} is no {what} that this netpath knows"))
}

fn net(bytes: &PrefixBytes) -> Result<IpNet, ProvisionError> {
    let problem = || format!("{} is no prefix", shown_net(bytes));
    from_bytes(bytes).ok_or_else(|| ProvisionError::DamagedRecord(problem()))
}

/// Unused slots are empty.
fn nets(slots: &[PrefixBytes]) -> Result<Vec<IpNet>, ProvisionError> {
    let used = slots.iter().filter(|slot| **slot != PrefixBytes::default());
    used.map(net).collect()
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
