//! Entries of the pinned maps, field by field, under the names that the fields have in netpath-common.

use std::net::IpAddr;

use netpath::datapath::{DatapathError, Maps, from_bytes};
use netpath_common::{
    ConnectionCount, ConnectionEntry, ConnectionFamily, ConnectionKey, DeviceEntry, DropReason,
    EndpointEntry, EndpointId, EndpointRecord, Epoch, FastPathWish, FeatureBits, GateWord,
    HopCounter, HopKey, Identity, Ids, Ifindex, InterfaceEntry, InterfaceKind, InterfaceState,
    LastEntered, Mac, NameKey, NetnsKind, Origin, Outcome, PrefixBytes, PuntReason, RecordState,
    RouteEntry, RouteRecord, Settings, TrieKey, UplinkRecord, tables, text,
};
use serde::{Serialize, Serializer, ser::SerializeMap as _};

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

/// A key or value of a map, by its fields.
trait Decode {
    fn decode(&self) -> Vec<(&'static str, Field)>;
}

macro_rules! decode {
    ($($type:ty: $with:expr;)+) => {
        $(impl Decode for $type {
            fn decode(&self) -> Vec<(&'static str, Field)> {
                let with: fn(&$type) -> Vec<(&'static str, Field)> = $with;
                with(self)
            }
        })+
    };
}
decode! {
    u32: |index| vec![("index", number(*index))];
    u64: |sequence| vec![("sequence", Field::Number(*sequence))];
    GateWord: |word| match word.bits {
        0 => Vec::new(),
        bits => vec![("bits", Field::Text(format!("{bits:#018x}")))],
    };
    [u8; 4]: |octets| address((*octets).into());
    [u8; 16]: |octets| address((*octets).into());
    TrieKey<4>: |key| network(key.address().into(), key.length());
    TrieKey<16>: |key| network(key.address().into(), key.length());
    ConnectionCount: |count| vec![("entered", Field::Number(count.entered))];
    ConnectionEntry: connection;
    ConnectionFamily: |family| vec![("version", number(family.version))];
    ConnectionKey<4>: |key| ends(key.low.into(), key.high.into(), key.low_port, key.high_port, key.protocol);
    ConnectionKey<16>: |key| ends(key.low.into(), key.high.into(), key.low_port, key.high_port, key.protocol);
    DeviceEntry: |device| vec![("ifindex", number(device.ifindex.0))];
    EndpointEntry: endpoint;
    EndpointId: |id| vec![("endpoint_id", number(id.0))];
    EndpointRecord: endpoint_record;
    LastEntered: |last| match last.tick {
        0 => Vec::new(),
        tick => vec![("tick", number(tick))],
    };
    Epoch: |epoch| vec![("changed", Field::Number(epoch.changed))];
    FeatureBits: |features| vec![
        ("bits", Field::List(feature_names(features.bits))),
        ("route_mtu", number(features.route_mtu)),
    ];
    HopCounter: counter;
    HopKey: hop;
    Identity: identity;
    Ids: |ids| vec![("next_endpoint_id", number(ids.next_endpoint_id.0))];
    Ifindex: |ifindex| vec![("ifindex", number(ifindex.0))];
    InterfaceEntry: interface;
    NameKey: |key| vec![("name", name(&key.name))];
    PrefixBytes: |prefix| vec![("prefix", prefix_field(prefix))];
    RouteEntry: route;
    RouteRecord: route_record;
    Settings: settings;
    UplinkRecord: uplink_record;
}

macro_rules! entries {
    ($($name:ident: $kind:ident<$key:ty, $value:ty>, $flags:expr, $room:expr, $since:literal, $about:literal;)+) => {
        /// Every entry of a map, by key, as it lies there; none where there is no map of that name.
        pub(super) fn entries(maps: &Maps, map: &str) -> Result<Vec<Entry>, DatapathError> {
            $(if map == stringify!($name) {
                return Ok(decode(maps.$name.all()?));
            })+
            Ok(Vec::new())
        }
    };
}
tables!(entries);

fn decode<K: Decode, V: Decode>(entries: impl IntoIterator<Item = (K, V)>) -> Vec<Entry> {
    entries
        .into_iter()
        .map(|(key, value)| Entry {
            key: Fields(key.decode()),
            value: Fields(value.decode()),
        })
        // An array has an entry for every index; one that says nothing is not shown.
        .filter(|entry| !entry.value.0.is_empty())
        .collect()
}

fn address(address: IpAddr) -> Vec<(&'static str, Field)> {
    vec![("address", Field::Text(address.to_string()))]
}

fn ends(
    low: IpAddr,
    high: IpAddr,
    low_port: u16,
    high_port: u16,
    protocol: u32,
) -> Vec<(&'static str, Field)> {
    vec![
        ("low", Field::Text(low.to_string())),
        ("high", Field::Text(high.to_string())),
        ("low_port", number(low_port.into())),
        ("high_port", number(high_port.into())),
        ("protocol", number(protocol)),
    ]
}

fn connection(entry: &ConnectionEntry) -> Vec<(&'static str, Field)> {
    vec![
        ("entered", Field::Number(entry.entered)),
        ("seen", Field::Number(entry.seen)),
        ("ingress", number(entry.ingress.0)),
        ("from_high", number(entry.from_high.into())),
        ("translated", number(entry.translated.into())),
    ]
}

fn network(address: IpAddr, length: u32) -> Vec<(&'static str, Field)> {
    vec![("prefix", Field::Text(format!("{address}/{length}")))]
}

fn hop(key: &HopKey) -> Vec<(&'static str, Field)> {
    let outcome = Outcome::from_number(key.outcome);
    vec![
        ("ingress", number(key.ingress.0)),
        ("egress", number(key.egress.0)),
        ("reason", reason(key.reason)),
        (
            "outcome",
            Field::Coded {
                name: outcome.map(Outcome::name),
                number: key.outcome.into(),
            },
        ),
    ]
}

fn reason(number: u16) -> Field {
    match number {
        0 => Field::Nothing,
        number => Field::Coded {
            name: PuntReason::from_number(number)
                .map(PuntReason::name)
                .or_else(|| DropReason::from_number(number).map(DropReason::name)),
            number: number.into(),
        },
    }
}

/// The whole number, with the bit that says that the address is alone; the name is the reason's.
fn between(entry: &EndpointEntry) -> Field {
    match (entry.punt_between, reason(entry.between())) {
        (number, Field::Coded { name, .. }) => Field::Coded {
            name,
            number: number.into(),
        },
        (_, none) => none,
    }
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
        ("punt_to", reason(entry.punt_to)),
        ("punt_between", between(entry)),
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
    let state = match (entry.state & !InterfaceEntry::SHADOW, entry.is_shadow()) {
        (PREPARING, _) => Some("preparing"),
        (READY, false) => Some("ready"),
        (READY, true) => Some("shadow"),
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

fn identity(identity: &Identity) -> Vec<(&'static str, Field)> {
    vec![
        ("abi_version", number(identity.abi_version)),
        ("netns_made", number(identity.netns_made)),
        ("netns_cookie", Field::Number(identity.netns_cookie)),
        ("name", name(&identity.name)),
    ]
}

fn settings(settings: &Settings) -> Vec<(&'static str, Field)> {
    vec![
        // A fingerprint, and larger than the integers that every JSON reader can hold.
        ("object", Field::Text(format!("{:#018x}", settings.object))),
        ("fast_path", number(settings.fast_path)),
        ("forward_drop", number(settings.forward_drop)),
        ("configured", number(settings.configured)),
        ("max_endpoints", number(settings.max_endpoints)),
        ("max_routes", number(settings.max_routes)),
        ("max_route_records", number(settings.max_route_records)),
        ("max_connections", number(settings.max_connections)),
    ]
}

/// The names of the bits that are set; one that only a newer version knows is shown as its number.
fn feature_names(bits: u32) -> Vec<String> {
    (0..u32::BITS)
        .map(|bit| bits & 1 << bit)
        .filter(|&bit| bit != 0)
        .map(|bit| match bit {
            FeatureBits::LOCAL_PREFIXES => "local_prefixes".to_owned(),
            FeatureBits::REVERSE_PATH => "reverse_path".to_owned(),
            FeatureBits::PUNT_INGRESS => "punt_ingress".to_owned(),
            FeatureBits::PATH_MTU => "path_mtu".to_owned(),
            FeatureBits::BARE_UPLINKS => "bare_uplinks".to_owned(),
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
        (
            "origin",
            coded(
                Origin::from_number(record.origin).map(Origin::name),
                record.origin,
            ),
        ),
        (
            "netns_kind",
            coded(
                NetnsKind::from_number(record.netns_kind).map(NetnsKind::name),
                record.netns_kind,
            ),
        ),
        ("fast_path", fast_path_wish(record.fast_path)),
        ("mtu", number(record.mtu)),
        ("netns_path", name(&record.netns_path)),
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
        ("fast_path", fast_path_wish(record.fast_path)),
    ]
}

fn route_record(record: &RouteRecord) -> Vec<(&'static str, Field)> {
    vec![
        ("via", prefix_field(&record.via)),
        ("made", number(record.made)),
        (
            "origin",
            coded(
                Origin::from_number(record.origin).map(Origin::name),
                record.origin,
            ),
        ),
        ("metric", number(record.metric)),
        ("dev", name(&record.dev)),
    ]
}

fn coded(name: Option<&'static str>, number: u32) -> Field {
    Field::Coded { name, number }
}

fn fast_path_wish(wish: u32) -> Field {
    coded(
        FastPathWish::from_number(wish).map(FastPathWish::name),
        wish,
    )
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
    use netpath::datapath::to_bytes;
    use netpath_common::{ADDRESSES_MAX, NETNS_PATH_SIZE, PREFIXES_MAX, Verdict, fixed};

    use super::*;

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
        let [entry] = decode([(key, value)]).try_into().expect("one");
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
        assert_eq!(feature_names(0), [""; 0]);
        assert_eq!(
            feature_names(FeatureBits::LOCAL_PREFIXES | 0x8000_0000),
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
            punt_to: PuntReason::Ipsec.number(),
            punt_between: PuntReason::Vrf.number() | EndpointEntry::ALONE,
        });
        let prefixes = [
            TrieKey::new(28, [10, 9, 0, 0]),
            TrieKey::new(8, [10, 0, 0, 0]),
        ];
        let entries = decode(prefixes.into_iter().zip([local, RouteEntry::REMOTE]));
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
                    "02:00:00:00:00:bb",
                    &*format!("ipsec ({})", PuntReason::Ipsec.number()),
                    &*format!("vrf ({})", PuntReason::Vrf.number() | EndpointEntry::ALONE),
                ],
                [
                    "10.0.0.0/8",
                    "remote",
                    "0",
                    "0",
                    "00:00:00:00:00:00",
                    "00:00:00:00:00:00",
                    "",
                    ""
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
            origin: Origin::File as u32,
            netns_kind: NetnsKind::Made as u32,
            fast_path: FastPathWish::AsNode as u32,
            mtu: 1400,
            netns_path: [0; NETNS_PATH_SIZE],
            addresses: slots,
            prefixes: prefix_slots,
        };
        let [entry] = decode([(key, record)]).try_into().expect("one");
        assert_eq!(
            json(&entry),
            r#"{"key":{"name":"demo01"},"value":{"netns_cookie":4242,"id":1,"state":{"name":"complete","number":2},"host_ifindex":3,"endpoint_mac":"02:00:00:00:00:aa","host_mac":"02:00:00:00:00:bb","dev":"eth0","host_dev":"np-demo01","origin":{"name":"file","number":1},"netns_kind":{"name":"made","number":1},"fast_path":{"name":"as_node","number":0},"mtu":1400,"netns_path":"","addresses":["10.0.1.2/24","fd00:1::2/64"],"prefixes":["10.9.0.0/28"]}}"#
        );
    }
}
