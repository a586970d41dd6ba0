//! Rows of the maps: each deleted, each field of each altered, and a foreign one beside them.

use std::{collections::BTreeSet, net::IpAddr};

use netpath::datapath::map_names;
use netpath_common::{
    ABI_VERSION, EndpointEntry, EndpointRecord, FeatureBits, Field, Identity, Ids, InterfaceEntry,
    Layout, RouteEntry, RouteRecord, Settings, UplinkRecord,
    tables::{MapKind, TABLES, TableSpec},
};
use netpath_tests::lab::{Lab, addresses};

use super::{
    Damage, End, Undo,
    forgery::{Forgery, Sender},
};

/// Maps that hold what was counted: nothing else knows what they should hold.
const COUNTED: [&str; 4] = ["hops", "hop_overflow", "hop_hits", "hop_rows"];

/// A row, in bytes.
type Row = (Vec<u8>, Vec<u8>);

fn path(lab: &Lab, map: &str) -> String {
    format!("/sys/fs/bpf/netpath/{}/maps/{map}", lab.name("A"))
}

fn hex(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(" ")
}

/// Writes a row as somebody with bpftool does.
pub fn write(lab: &Lab, map: &str, key: &[u8], value: &[u8]) {
    let (path, key, value) = (path(lab, map), hex(key), hex(value));
    let line = format!("bpftool map update pinned {path} key hex {key} value hex {value}");
    lab.run("A", &line);
}

fn delete(lab: &Lab, map: &str, key: &[u8]) {
    let line = format!(
        "bpftool map delete pinned {} key hex {}",
        path(lab, map),
        hex(key)
    );
    lab.run("A", &line);
}

fn all(lab: &Lab, map: &str) -> Vec<Row> {
    let text = lab.run(
        "A",
        &format!("bpftool -j map dump pinned {}", path(lab, map)),
    );
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let bytes = |value: &serde_json::Value| -> Vec<u8> {
        let bytes = value.as_array().expect("bytes").iter();
        let bytes = bytes.map(|byte| byte.as_str().expect("text").trim_start_matches("0x"));
        bytes
            .map(|byte| u8::from_str_radix(byte, 16).expect("a byte"))
            .collect()
    };
    let rows = json.as_array().expect("rows").iter();
    let mut rows: Vec<Row> = rows
        .map(|row| (bytes(&row["key"]), bytes(&row["value"])))
        .collect();
    rows.sort();
    rows
}

/// What kind of row it is: of the node or of an endpoint, of an endpoint's or of an uplink's interface. Rows of one kind are
/// altered once.
fn kind(map: &str, (_, value): &Row) -> u32 {
    let number = u32::from_ne_bytes(value[..4].try_into().expect("four bytes"));
    match map {
        "endpoints_v4" | "endpoints_v6" | "routes_v4" | "routes_v6" => u32::from(number != 0),
        "interfaces" => number,
        _ => 0,
    }
}

/// The fields of a map's values.
fn fields(map: &str) -> &'static [Field] {
    match map {
        "endpoints_v4" | "endpoints_v6" => <EndpointEntry as Layout>::FIELDS,
        "routes_v4" | "routes_v6" => <RouteEntry as Layout>::FIELDS,
        "interfaces" => <InterfaceEntry as Layout>::FIELDS,
        "endpoint_records" => <EndpointRecord as Layout>::FIELDS,
        "uplink_records" => <UplinkRecord as Layout>::FIELDS,
        "route_records" => <RouteRecord as Layout>::FIELDS,
        "settings" => <Settings as Layout>::FIELDS,
        "features" => <FeatureBits as Layout>::FIELDS,
        "ids" => <Ids as Layout>::FIELDS,
        "meta" => <Identity as Layout>::FIELDS,
        _ => &[],
    }
}

/// Rows of all maps but those that only count, and the gates, which are looked at bit by bit.
pub fn rows(lab: &Lab) -> Vec<Damage> {
    let mut damages = Vec::new();
    // What makes interfaces anew comes last: their indexes are keys of others.
    let (last, first): (Vec<_>, Vec<_>) = map_names().partition(|map| map.ends_with("_records"));
    for map in first
        .into_iter()
        .chain(last)
        .filter(|map| !COUNTED.contains(map) && *map != "gates")
    {
        let spec = TABLES.iter().find(|spec| spec.name == map).expect("a map");
        let mut kinds = BTreeSet::new();
        for row in &all(lab, map) {
            damages.extend(deleted(spec, row));
            if kinds.insert(kind(map, row)) {
                damages.extend(altered(spec, row));
            }
        }
        damages.extend(foreign(lab, spec));
        damages.extend(of_another(map));
    }
    damages
}

fn deleted(spec: &'static TableSpec, row: &Row) -> Option<Damage> {
    let is_array = matches!(spec.kind, MapKind::Single);
    (!is_array).then(|| of(spec.name, row, "delete", None))
}

/// Each field, its first byte. Of devices the kernel takes nothing but devices.
fn altered(spec: &'static TableSpec, row: &Row) -> Vec<Damage> {
    let fields = fields(spec.name).iter();
    let fields = fields.map(|field| {
        of(
            spec.name,
            row,
            &format!("alter {}", field.name),
            Some(field.offset),
        )
    });
    fields.collect()
}

/// Deletes a row, or alters a byte of its value.
fn of(map: &'static str, row: &Row, what: &str, byte: Option<usize>) -> Damage {
    let key = row.0.clone();
    let bit = match what {
        // An id that is nobody's: 0 cannot be read.
        "alter id" => 4,
        // An older version: a newer one is not to be touched.
        "alter abi_version" => 1 << ABI_VERSION.trailing_zeros(),
        _ => 1,
    };
    let act = move |lab: &Lab| {
        // As it is by now: what was mended before may have made an interface anew.
        let mut rows = all(lab, map).into_iter();
        let (key, value) = rows.find(|(found, _)| *found == key).expect("the row");
        match byte {
            Some(byte) => {
                let mut altered = value.clone();
                altered[byte] ^= bit;
                write(lab, map, &key, &altered);
            }
            None => delete(lab, map, &key),
        }
        let undo: Undo = Box::new(move |lab| write(lab, map, &key, &value));
        undo
    };
    Damage {
        act: std::rc::Rc::new(act),
        end: end(map, what),
        remains: match what {
            "delete" => remains(map, &row.0),
            _ => Vec::new(),
        },
        ..Damage::new(format!("{what} in {map} at {}", hex(&row.0)), |_| {})
    }
}

/// What the wire may send when nothing says whose an address is: it is as one from outside, and the kernel's. Of IPv4 the
/// kernel itself takes none of its own addresses.
fn remains(map: &str, key: &[u8]) -> Vec<Forgery> {
    let is_of = |forgery: &Forgery| {
        let table = match forgery.family {
            0 => ["endpoints_v4", "routes_v4"],
            _ => ["endpoints_v6", "routes_v6"],
        };
        let octets = match forgery.address() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        match table.iter().position(|table| *table == map) {
            Some(0) => key == octets,
            // Behind the length: as much of the address as tells it from the lab's others.
            Some(_) => key[4..].starts_with(&octets[..3 + forgery.family]),
            None => false,
        }
    };
    let mut all = Forgery::all();
    all.retain(|forgery| {
        let by_kernel = (forgery.source, forgery.family) == ("A", 0);
        forgery.sender == Sender::Wire && !by_kernel && is_of(forgery)
    });
    all
}

/// The row of a1 for a2's address: a1 speaks for a2 until `up` has mended it.
fn of_another(map: &'static str) -> Option<Damage> {
    let family = match map {
        "endpoints_v4" => 0,
        "endpoints_v6" => 1,
        _ => return None,
    };
    let [own, other] = ["a1", "a2"].map(|name| match addresses(name)[family] {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    });
    // What is for the node itself the kernel's reverse-path filter of the veth takes, which IPv6 has not.
    let is_filtered = |forgery: &Forgery| (forgery.target, family) == ("A", 0);
    let mut remains = Forgery::all();
    remains.retain(|forgery| {
        let from = (forgery.sender, forgery.source, forgery.family);
        from == (Sender::Endpoint, "a2", family) && !is_filtered(forgery)
    });
    let act = move |lab: &Lab| {
        let rows = all(lab, map);
        let value = |key: &[u8]| {
            let mut rows = rows.iter();
            rows.find(|row| row.0 == key).expect("a row").1.clone()
        };
        let (before, key) = (value(&other), other.clone());
        write(lab, map, &other, &value(&own));
        let undo: Undo = Box::new(move |lab| write(lab, map, &key, &before));
        undo
    };
    Some(Damage {
        act: std::rc::Rc::new(act),
        remains,
        ..Damage::new(format!("a1's row for a2 in {map}"), |_| {})
    })
}

/// How it ends, where it does not end with `up` mending it.
fn end(map: &str, what: &str) -> End {
    match (map, what) {
        // What proves whose a namespace and an interface are.
        (
            "endpoint_records",
            "delete" | "alter netns_cookie" | "alter endpoint_mac" | "alter host_mac",
        ) => End::Refused,
        // What cannot be read.
        ("route_records", "alter via" | "alter dev") => End::Refused,
        (
            "uplink_records",
            "delete" | "alter made" | "alter mac" | "alter port_mac" | "alter addresses",
        ) => End::Refused,
        ("uplink_records", "alter position") => End::Unseen("only the file says the order"),
        (
            "endpoint_records",
            "alter origin" | "alter netns_kind" | "alter addresses" | "alter prefixes",
        ) => End::Refused,
        ("endpoint_records" | "settings", "alter fast_path") => End::Wish,
        ("settings", "alter object") => End::Unseen("only `up` knows which programs it would load"),
        ("settings", "alter bypass") => End::Unseen("it is a wish"),
        ("route_records", "alter made") => End::Unseen("nothing else says who made the route"),
        _ => End::Mended,
    }
}

/// A row that is nobody's.
fn foreign(lab: &Lab, spec: &'static TableSpec) -> Option<Damage> {
    let map = spec.name;
    let (mut key, value) = all(lab, map).into_iter().next()?;
    match (spec.kind, map) {
        (MapKind::Single, _) => return None,
        (_, "endpoint_records" | "uplink_records") => key[..2].copy_from_slice(b"zz"),
        // Of the address, not of its length.
        (_, "route_records") => key[6] ^= 0x40,
        _ => {
            let last = key.len()
                - if map.starts_with("routes") {
                    key.len() - 5
                } else {
                    1
                };
            key[last] ^= 0x40;
        }
    }
    // A copy of a record claims what another has.
    let end = match map {
        "endpoint_records" | "uplink_records" => End::Refused,
        _ => End::Mended,
    };
    let act = move |lab: &Lab| {
        write(lab, map, &key, &value);
        let key = key.clone();
        let undo: Undo = Box::new(move |lab| delete(lab, map, &key));
        undo
    };
    Some(Damage {
        act: std::rc::Rc::new(act),
        end,
        ..Damage::new(format!("a foreign row in {map}"), |_| {})
    })
}
