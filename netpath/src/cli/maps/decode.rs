//! Entries of the pinned maps, field by field, under the names that the fields have in netpath-common.

use std::net::IpAddr;

use netpath_common::{
    DropReason, EndpointEntry, EndpointId, EndpointRecord, HopCounter, HopKey, Ifindex,
    InterfaceEntry, InterfaceKind, InterfaceState, Mac, Meta, NameKey, Outcome, PrefixBytes,
    PuntReason, RecordState, RouteEntry, RouteRecord, UplinkRecord, text,
};
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use crate::datapath::{DatapathError, Maps, from_bytes};

/// One entry of a map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Entry {
    key: Fields,
    value: Fields,
}

/// A structure's fields in their order. Padding has no meaning and is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fields(Vec<(&'static str, Field)>);

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Field {
    Number(u64),
    Text(String),
    List(Vec<String>),
    /// A number with a meaning; the name is missing where only a newer version knows it.
    Coded {
        name: Option<&'static str>,
        number: u32,
    },
    Nothing,
}

impl Entry {
    /// The names of the key's and the value's fields; a number's starts with `#`.
    pub(super) fn headings(&self) -> Vec<String> {
        self.fields()
            .map(|(name, field)| match field {
                Field::Number(_) => format!("#{name}"),
                Field::Text(_) | Field::List(_) | Field::Coded { .. } | Field::Nothing => {
                    (*name).to_owned()
                }
            })
            .collect()
    }

    /// The fields as text.
    pub(super) fn cells(&self) -> Vec<String> {
        self.fields()
            .map(|(_, field)| match field {
                Field::Number(number) => number.to_string(),
                Field::Text(text) => text.clone(),
                Field::List(list) => list.join(", "),
                Field::Coded { name, number } => {
                    format!("{} ({number})", name.unwrap_or("unknown"))
                }
                Field::Nothing => String::new(),
            })
            .collect()
    }

    fn fields(&self) -> impl Iterator<Item = &(&'static str, Field)> {
        self.key.0.iter().chain(&self.value.0)
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, field) in &self.0 {
            map.serialize_entry(name, field)?;
        }
        map.end()
    }
}

/// Every entry of a map, by key. `map` is one of [`MAPS`](crate::datapath::MAPS).
pub(super) fn entries(maps: &Maps, map: &str) -> Result<Vec<Entry>, DatapathError> {
    Ok(match map {
        "devices" => decode(maps.devices()?, endpoint_id, ifindex),
        "endpoint_records" => decode(maps.endpoint_records()?, name_key, endpoint_record),
        "endpoints_v4" => decode(endpoints(maps, IpAddr::is_ipv4)?, address, endpoint),
        "endpoints_v6" => decode(endpoints(maps, IpAddr::is_ipv6)?, address, endpoint),
        "hop_overflow" => decode(maps.hop_overflow()?, hop, counter),
        "hops" => decode(maps.hops()?, hop, counter),
        "interfaces" => decode(maps.interfaces()?, ifindex, interface),
        "meta" => decode([(0, maps.meta()?)], index, meta),
        "ready" => decode(maps.ready()?, index, ready),
        "route_records" => decode(maps.route_records()?, prefix, route_record),
        "routes_v4" => decode(routes(maps, IpAddr::is_ipv4)?, network, route),
        "routes_v6" => decode(routes(maps, IpAddr::is_ipv6)?, network, route),
        "uplink_records" => decode(maps.uplink_records()?, name_key, uplink_record),
        _ => Vec::new(),
    })
}

fn decode<K, V>(
    entries: impl IntoIterator<Item = (K, V)>,
    key: fn(&K) -> Vec<(&'static str, Field)>,
    value: fn(&V) -> Vec<(&'static str, Field)>,
) -> Vec<Entry> {
    entries
        .into_iter()
        .map(|(k, v)| Entry {
            key: Fields(key(&k)),
            value: Fields(value(&v)),
        })
        .collect()
}

fn endpoints(
    maps: &Maps,
    family: fn(&IpAddr) -> bool,
) -> Result<Vec<(IpAddr, EndpointEntry)>, DatapathError> {
    let mut endpoints = maps.endpoints()?;
    endpoints.retain(|(address, _)| family(address));
    endpoints.sort_by_key(|(address, _)| *address);
    Ok(endpoints)
}

fn routes(
    maps: &Maps,
    family: fn(&IpAddr) -> bool,
) -> Result<Vec<(ipnet::IpNet, RouteEntry)>, DatapathError> {
    let mut routes = maps.routes()?;
    routes.retain(|(prefix, _)| family(&prefix.addr()));
    routes.sort_by_key(|(prefix, _)| *prefix);
    Ok(routes)
}

fn index(index: &u32) -> Vec<(&'static str, Field)> {
    vec![("index", number(*index))]
}

fn endpoint_id(id: &EndpointId) -> Vec<(&'static str, Field)> {
    vec![("endpoint_id", number(id.0))]
}

fn ifindex(ifindex: &Ifindex) -> Vec<(&'static str, Field)> {
    vec![("ifindex", number(ifindex.0))]
}

fn address(address: &IpAddr) -> Vec<(&'static str, Field)> {
    vec![("address", Field::Text(address.to_string()))]
}

fn network(prefix: &ipnet::IpNet) -> Vec<(&'static str, Field)> {
    vec![("prefix", Field::Text(prefix.to_string()))]
}

fn prefix(bytes: &PrefixBytes) -> Vec<(&'static str, Field)> {
    vec![("prefix", prefix_field(bytes))]
}

fn name_key(key: &NameKey) -> Vec<(&'static str, Field)> {
    vec![("name", name(&key.name))]
}

fn hop(key: &HopKey) -> Vec<(&'static str, Field)> {
    let outcome = Outcome::from_number(key.outcome);
    let reason = match key.reason {
        0 => Field::Nothing,
        reason => Field::Coded {
            name: PuntReason::from_number(reason)
                .map(PuntReason::name)
                .or_else(|| DropReason::from_number(reason).map(DropReason::name)),
            number: reason.into(),
        },
    };
    vec![
        ("ingress", number(key.ingress.0)),
        ("egress", number(key.egress.0)),
        ("reason", reason),
        (
            "outcome",
            Field::Coded {
                name: outcome.map(Outcome::name),
                number: key.outcome.into(),
            },
        ),
    ]
}

fn counter(counter: &HopCounter) -> Vec<(&'static str, Field)> {
    vec![
        ("packets", Field::Number(counter.packets)),
        ("bytes", Field::Number(counter.bytes)),
    ]
}

fn endpoint(entry: &EndpointEntry) -> Vec<(&'static str, Field)> {
    vec![
        ("ifindex", number(entry.ifindex.0)),
        ("id", number(entry.id.0)),
        ("endpoint_mac", mac(entry.endpoint_mac)),
        ("host_mac", mac(entry.host_mac)),
    ]
}

fn route(entry: &RouteEntry) -> Vec<(&'static str, Field)> {
    let mut fields = vec![("kind", Field::Text(entry.kind().name().to_owned()))];
    fields.extend(endpoint(&entry.endpoint));
    fields
}

fn interface(entry: &InterfaceEntry) -> Vec<(&'static str, Field)> {
    const PREPARING: u32 = InterfaceState::Preparing as u32;
    const READY: u32 = InterfaceState::Ready as u32;
    let state = match entry.state {
        PREPARING => Some("preparing"),
        READY => Some("ready"),
        _ => None,
    };
    vec![
        (
            "kind",
            Field::Coded {
                name: InterfaceKind::from_number(entry.kind).map(InterfaceKind::name),
                number: entry.kind,
            },
        ),
        (
            "state",
            Field::Coded {
                name: state,
                number: entry.state,
            },
        ),
        ("endpoint_id", number(entry.endpoint_id.0)),
        ("rp_filter", number(entry.rp_filter)),
        ("name", name(&entry.name)),
        ("endpoint", name(&entry.endpoint)),
    ]
}

/// The interfaces of a word cannot be told from it alone, and the word is larger than the integers that every JSON
/// reader can hold.
fn ready(word: &u64) -> Vec<(&'static str, Field)> {
    vec![("bits", Field::Text(format!("{word:#018x}")))]
}

fn meta(meta: &Meta) -> Vec<(&'static str, Field)> {
    vec![
        ("abi_version", number(meta.abi_version)),
        ("next_endpoint_id", number(meta.next_endpoint_id.0)),
        ("netns_cookie", Field::Number(meta.netns_cookie)),
        ("netns_made", number(meta.netns_made)),
        ("fast_path", number(meta.fast_path)),
        ("forward_drop", number(meta.forward_drop)),
        ("configured", number(meta.configured)),
        ("name", name(&meta.name)),
        // A fingerprint, and larger than the integers that every JSON reader can hold.
        ("object", Field::Text(format!("{:#018x}", meta.object))),
        ("features", Field::List(features(meta.features))),
    ]
}

/// The names of the bits that are set; one that only a newer version knows is shown as its number.
fn features(bits: u32) -> Vec<String> {
    (0..u32::BITS)
        .map(|bit| bits & 1 << bit)
        .filter(|&bit| bit != 0)
        .map(|bit| match bit {
            Meta::LOCAL_PREFIXES => "local_prefixes".to_owned(),
            Meta::REVERSE_PATH => "reverse_path".to_owned(),
            unknown => format!("unknown ({unknown:#x})"),
        })
        .collect()
}

fn endpoint_record(record: &EndpointRecord) -> Vec<(&'static str, Field)> {
    vec![
        ("netns_cookie", Field::Number(record.netns_cookie)),
        ("id", number(record.id.0)),
        ("state", record_state(record.state)),
        ("host_ifindex", number(record.host_ifindex.0)),
        ("endpoint_mac", mac(record.endpoint_mac)),
        ("host_mac", mac(record.host_mac)),
        ("dev", name(&record.dev)),
        ("host_dev", name(&record.host_dev)),
        ("addresses", addresses(&record.addresses)),
        ("prefixes", addresses(&record.prefixes)),
    ]
}

fn uplink_record(record: &UplinkRecord) -> Vec<(&'static str, Field)> {
    vec![
        ("wire_cookie", Field::Number(record.wire_cookie)),
        ("state", record_state(record.state)),
        ("ifindex", number(record.ifindex.0)),
        ("made", number(record.made)),
        ("mac", mac(record.mac)),
        ("port_mac", mac(record.port_mac)),
        ("wire", name(&record.wire)),
        ("addresses", addresses(&record.addresses)),
    ]
}

fn route_record(record: &RouteRecord) -> Vec<(&'static str, Field)> {
    vec![
        ("via", prefix_field(&record.via)),
        ("made", number(record.made)),
    ]
}

fn record_state(state: u32) -> Field {
    const PENDING: u32 = RecordState::Pending as u32;
    const COMPLETE: u32 = RecordState::Complete as u32;
    Field::Coded {
        name: match state {
            PENDING => Some("pending"),
            COMPLETE => Some("complete"),
            _ => None,
        },
        number: state,
    }
}

fn number(number: u32) -> Field {
    Field::Number(number.into())
}

fn mac(mac: Mac) -> Field {
    Field::Text(mac.to_string())
}

/// The text of a zero-terminated field. What is no text is shown as bytes.
fn name(field: &[u8]) -> Field {
    Field::Text(text(field).map_or_else(|| field.escape_ascii().to_string(), str::to_owned))
}

fn prefix_field(bytes: &PrefixBytes) -> Field {
    from_bytes(bytes).map_or(Field::Nothing, |prefix| Field::Text(prefix.to_string()))
}

fn addresses(slots: &[PrefixBytes]) -> Field {
    Field::List(
        slots
            .iter()
            .filter_map(from_bytes)
            .map(|address| address.to_string())
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use netpath_common::{ADDRESSES_MAX, PREFIXES_MAX, Verdict, fixed};

    use super::*;
    use crate::datapath::to_bytes;

    fn json(entry: &Entry) -> String {
        serde_json::to_string(entry).expect("serializes")
    }

    #[test]
    fn hops_have_names_and_numbers() {
        let key = HopKey::new(Ifindex(3), Ifindex(0), Verdict::Punt(PuntReason::NoRoute));
        let value = HopCounter {
            packets: 7,
            bytes: 686,
        };
        let [entry] = decode([(key, value)], hop, counter)
            .try_into()
            .expect("one");
        assert_eq!(
            json(&entry),
            r#"{"key":{"ingress":3,"egress":0,"reason":{"name":"no_route","number":113},"outcome":{"name":"punt","number":13}},"value":{"packets":7,"bytes":686}}"#
        );
        assert_eq!(
            entry.headings(),
            [
                "#ingress", "#egress", "reason", "outcome", "#packets", "#bytes"
            ]
        );
        assert_eq!(
            entry.cells(),
            ["3", "0", "no_route (113)", "punt (13)", "7", "686"]
        );
    }

    #[test]
    fn what_only_a_newer_version_knows_keeps_its_number() {
        assert_eq!(features(0), [""; 0]);
        assert_eq!(
            features(Meta::LOCAL_PREFIXES | 0x8000_0000),
            ["local_prefixes", "unknown (0x80000000)"]
        );
    }

    #[test]
    fn a_route_says_where_it_leads() {
        let local = RouteEntry::local(&EndpointEntry {
            ifindex: Ifindex(3),
            id: EndpointId(7),
            endpoint_mac: Mac([2, 0, 0, 0, 0, 0xaa]),
            host_mac: Mac([2, 0, 0, 0, 0, 0xbb]),
        });
        let prefixes = ["10.9.0.0/28", "10.0.0.0/8"].map(|p| p.parse().expect("valid"));
        let entries = decode(
            prefixes.into_iter().zip([local, RouteEntry::REMOTE]),
            network,
            route,
        );
        let cells: Vec<_> = entries.iter().map(Entry::cells).collect();
        assert_eq!(
            cells,
            [
                [
                    "10.9.0.0/28",
                    "local",
                    "3",
                    "7",
                    "02:00:00:00:00:aa",
                    "02:00:00:00:00:bb"
                ],
                [
                    "10.0.0.0/8",
                    "remote",
                    "0",
                    "0",
                    "00:00:00:00:00:00",
                    "00:00:00:00:00:00"
                ],
            ]
        );
    }

    #[test]
    fn an_endpoint_record_is_decoded_in_full() {
        let mut slots = [PrefixBytes::default(); ADDRESSES_MAX];
        slots[0] = to_bytes("10.0.1.2/24".parse().expect("valid"));
        slots[1] = to_bytes("fd00:1::2/64".parse().expect("valid"));
        let mut prefix_slots = [PrefixBytes::default(); PREFIXES_MAX];
        prefix_slots[0] = to_bytes("10.9.0.0/28".parse().expect("valid"));
        let key = NameKey {
            name: fixed("demo01").expect("fits"),
        };
        let record = EndpointRecord {
            netns_cookie: 4242,
            id: EndpointId(1),
            state: RecordState::Complete as u32,
            host_ifindex: Ifindex(3),
            endpoint_mac: Mac([2, 0, 0, 0, 0, 0xaa]),
            host_mac: Mac([2, 0, 0, 0, 0, 0xbb]),
            dev: fixed("eth0").expect("fits"),
            host_dev: fixed("np-demo01").expect("fits"),
            addresses: slots,
            prefixes: prefix_slots,
        };
        let [entry] = decode([(key, record)], name_key, endpoint_record)
            .try_into()
            .expect("one");
        assert_eq!(
            json(&entry),
            r#"{"key":{"name":"demo01"},"value":{"netns_cookie":4242,"id":1,"state":{"name":"complete","number":2},"host_ifindex":3,"endpoint_mac":"02:00:00:00:00:aa","host_mac":"02:00:00:00:00:bb","dev":"eth0","host_dev":"np-demo01","addresses":["10.0.1.2/24","fd00:1::2/64"],"prefixes":["10.9.0.0/28"]}}"#
        );
    }
}
