//! ABI 2 to 3: `meta` is cut into identity, settings, ids and features; records say who asked for a thing.

use std::collections::BTreeMap;

use super::{super::error::DatapathError, Contents, Entries};

/// `meta` of ABI 2: abi_version, next_endpoint_id, netns_cookie (8), netns_made, fast_path, forward_drop, configured, name
/// (64), object (8), features, padding; where no size is given, 4 bytes.
const META: usize = 112;
/// Keys and values of its records.
const NAME: usize = 64;
const PREFIX: usize = 20;
const ENDPOINT: usize = 704;
const UPLINK: usize = 416;
const ROUTE: usize = 24;
const INTERFACE: usize = 96;
/// The state of an interface that is ready.
const READY: u32 = 2;
/// Words of `ready`, 64 interfaces each.
const READY_WORDS: u32 = 16_384;
/// Where the prefixes and addresses of an endpoint begin; before them ABI 3 puts what is new.
const ENDPOINT_HEAD: usize = 64;

/// Whatever ABI 2 has, a topology file has asked for.
const ORIGIN_FILE: u32 = 1;
/// netpath made every namespace.
const NETNS_MADE: u32 = 1;
/// ABI 2 noted no wish for one endpoint: its programs stay as they are.
const AS_NODE: u32 = 0;
/// Room for a namespace's path.
const NETNS_PATH: usize = 256;
/// Room for route records in ABI 2, and in ABI 3 unless the file has more.
const ROUTE_RECORDS: u32 = 131_072;

pub(super) fn step(contents: &mut Contents<'_>) -> Result<(), DatapathError> {
    let meta = contents.value("meta", META)?;
    let max_endpoints = contents.max_entries("endpoints_v4")?;
    let max_routes = contents.max_entries("routes_v4")?;
    let endpoints = contents.entries("endpoint_records", NAME, ENDPOINT)?;
    let uplinks = contents.entries("uplink_records", NAME, UPLINK)?;
    let routes = contents.entries("route_records", PREFIX, ROUTE)?;
    contents.put_value("meta", identity(&meta));
    contents.put_value("settings", settings(&meta, max_endpoints, max_routes));
    contents.put_value("ids", meta[4..8].to_vec());
    contents.put_value("features", meta[104..108].to_vec());
    contents.put("endpoint_records", converted(endpoints, endpoint));
    contents.put("uplink_records", positioned(uplinks));
    contents.put("route_records", converted(routes, route));
    contents.put("retired", Entries::new());
    let interfaces = contents.entries("interfaces", 4, INTERFACE)?;
    contents.put("ready", ready(&interfaces));
    Ok(())
}

/// A bit for each interface that is ready: key an index, value kind and state (4 bytes each) and what follows.
fn ready(interfaces: &Entries) -> Entries {
    let mut words: BTreeMap<u32, u64> = BTreeMap::new();
    for (key, value) in interfaces {
        let ifindex = word(key);
        if word(&value[4..]) == READY && ifindex / 64 < READY_WORDS {
            *words.entry(ifindex / 64).or_default() |= 1 << (ifindex % 64);
        }
    }
    let entries = words.into_iter();
    entries
        .map(|(word, bits)| (word.to_ne_bytes().to_vec(), bits.to_ne_bytes().to_vec()))
        .collect()
}

fn converted(entries: Entries, convert: fn(Vec<u8>) -> Vec<u8>) -> Entries {
    entries
        .into_iter()
        .map(|(key, value)| (key, convert(value)))
        .collect()
}

/// abi_version, netns_made, netns_cookie (8), name (64), reserved (48).
fn identity(meta: &[u8]) -> Vec<u8> {
    let version = 3u32.to_ne_bytes();
    [
        &version,
        &meta[16..20],
        &meta[8..16],
        &meta[32..96],
        &[0; 48],
    ]
    .concat()
}

/// object (8), fast_path, forward_drop, configured, max_endpoints, max_routes, max_route_records.
fn settings(meta: &[u8], max_endpoints: u32, max_routes: u32) -> Vec<u8> {
    [
        &meta[96..104],
        &meta[20..32],
        &max_endpoints.to_ne_bytes(),
        &max_routes.to_ne_bytes(),
        &ROUTE_RECORDS.to_ne_bytes(),
    ]
    .concat()
}

/// New between host_dev and addresses: origin, netns_kind, fast_path, padding, netns_path.
fn endpoint(record: Vec<u8>) -> Vec<u8> {
    let (head, lists) = record.split_at(ENDPOINT_HEAD);
    [
        head,
        &ORIGIN_FILE.to_ne_bytes(),
        &NETNS_MADE.to_ne_bytes(),
        &AS_NODE.to_ne_bytes(),
        &[0; 4],
        &[0; NETNS_PATH],
        lists,
    ]
    .concat()
}

/// Where an uplink's record has its index; behind it (4 bytes each) whether netpath made it.
const UPLINK_INDEX: usize = 12;

/// New at the end: fast_path, position. The order of a file's uplinks was not recorded. netpath made those of a lab in that
/// order, and the kernel counts up; of the machine's own the index tells nothing, and all of them are first until an `up`
/// notes it.
fn positioned(uplinks: Entries) -> Entries {
    let index = |record: &[u8]| word(&record[UPLINK_INDEX..]);
    let made = |record: &[u8]| word(&record[UPLINK_INDEX + 4..]) != 0;
    let mut order: Vec<u32> = uplinks.iter().map(|(_, record)| index(record)).collect();
    order.sort_unstable();
    let place = |record: &[u8]| match made(record) {
        true => order.partition_point(|other| *other < index(record)),
        false => 0,
    };
    uplinks
        .iter()
        .map(|(key, record)| {
            let place = u32::try_from(place(record)).unwrap_or(u32::MAX);
            let new = [AS_NODE.to_ne_bytes(), place.to_ne_bytes()].concat();
            (key.clone(), [record.as_slice(), &new].concat())
        })
        .collect()
}

/// The number that these bytes begin with.
fn word(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk()
        .map_or(0, |word| u32::from_ne_bytes(*word))
}

/// New at the end: origin, metric.
fn route(mut record: Vec<u8>) -> Vec<u8> {
    record.extend(ORIGIN_FILE.to_ne_bytes());
    record.extend([0; 4]);
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records by name, with index and whether it was made; returns the positions.
    fn positions(uplinks: [(&str, u32, u32); 3]) -> Vec<(Vec<u8>, u32)> {
        let old = uplinks.map(|(name, ifindex, made)| {
            let mut record = vec![0; UPLINK];
            record[UPLINK_INDEX..UPLINK_INDEX + 4].copy_from_slice(&ifindex.to_ne_bytes());
            record[UPLINK_INDEX + 4..UPLINK_INDEX + 8].copy_from_slice(&made.to_ne_bytes());
            (name.as_bytes().to_vec(), record)
        });
        let new = positioned(old.to_vec()).into_iter();
        new.map(|(name, record)| {
            assert_eq!(record.len(), UPLINK + 8);
            (name, word(&record[UPLINK + 4..]))
        })
        .collect()
    }

    #[test]
    fn uplinks_of_a_lab_keep_their_order() {
        let found = positions([("c", 7, 1), ("a", 12, 1), ("b", 3, 1)]);
        let order: Vec<u32> = found.into_iter().map(|(_, position)| position).collect();
        assert_eq!(order, [1, 2, 0]);
    }

    #[test]
    fn of_a_machines_nothing_is_guessed() {
        let found = positions([("c", 7, 0), ("a", 12, 0), ("b", 3, 0)]);
        assert!(found.iter().all(|(_, position)| *position == 0));
    }
}
