//! ABI 3 to 4: what of a packet is the kernel's, by interface and by address; a byte for each interface instead of a bit.

use std::collections::BTreeMap;

use super::{super::error::DatapathError, Contents, Entries};

/// Values of ABI 3.
const ENDPOINT: usize = 20;
const INTERFACE: usize = 96;
const FEATURES: usize = 4;
const SETTINGS: usize = 32;
/// Keys.
const V4: usize = 4;
const V6: usize = 16;
const PREFIX_LENGTH: usize = 4;
/// Where the names of an interface begin; before them ABI 4 puts what is new.
const INTERFACE_HEAD: usize = 16;
/// New behind an endpoint's MACs: punt_to, punt_between. Nothing is the kernel's until `up` has looked.
const NOTHING: [u8; 4] = [0; 4];

/// The number of an uplink's kind.
const UPLINK: u32 = 2;
/// The state of an interface that is ready.
const READY: u32 = 2;
/// Bits of a gate.
const GATE_READY: u8 = 1;
const GATE_UPLINK: u8 = 2;
/// Words of `gates`, of eight interfaces each.
const GATE_WORDS: u32 = 32_768;

pub(super) fn step(contents: &mut Contents<'_>) -> Result<(), DatapathError> {
    let longer = |entries: Entries| -> Entries {
        let longer = |(key, value): (Vec<u8>, Vec<u8>)| (key, [&value[..], &NOTHING].concat());
        entries.into_iter().map(longer).collect()
    };
    for (name, key) in [
        ("endpoints_v4", V4),
        ("endpoints_v6", V6),
        ("routes_v4", PREFIX_LENGTH + V4),
        ("routes_v6", PREFIX_LENGTH + V6),
    ] {
        let entries = contents.entries(name, key, ENDPOINT)?;
        contents.put(name, longer(entries));
    }
    let interfaces = contents.entries("interfaces", 4, INTERFACE)?;
    contents.put("gates", gates(&interfaces));
    contents.remove("ready");
    let interfaces = interfaces.into_iter();
    let interfaces = interfaces.map(|(key, value)| (key, interface(&value)));
    contents.put("interfaces", interfaces.collect());
    let bits = contents.value("features", FEATURES)?;
    // New: route_mtu. `up` notes it; until then a route's own MTU is heeded where it is locked only, as before.
    contents.put_value("features", [&bits[..], &[0; 4]].concat());
    // New: bypass, padding. Nothing is accepted.
    let settings = contents.value("settings", SETTINGS)?;
    contents.put_value("settings", [&settings[..], &[0; 8]].concat());
    let mut meta = contents.value("meta", 128)?;
    meta[..4].copy_from_slice(&4u32.to_ne_bytes());
    contents.put_value("meta", meta);
    Ok(())
}

/// New before the names: punt_ingress, punt_egress.
fn interface(value: &[u8]) -> Vec<u8> {
    let (head, names) = value.split_at(INTERFACE_HEAD);
    [head, &NOTHING, names].concat()
}

/// A byte for each interface: key an index, value kind and state (4 bytes each) and what follows.
fn gates(interfaces: &Entries) -> Entries {
    let mut words: BTreeMap<u32, u64> = BTreeMap::new();
    let word = |bytes: &[u8]| {
        bytes
            .first_chunk()
            .map_or(0, |word| u32::from_ne_bytes(*word))
    };
    for (key, value) in interfaces {
        let ifindex = word(key);
        let mut gate = 0;
        if word(value) == UPLINK {
            gate |= GATE_UPLINK;
        }
        if word(&value[4..]) == READY {
            gate |= GATE_READY;
        }
        if gate != 0 && ifindex / 8 < GATE_WORDS {
            *words.entry(ifindex / 8).or_default() |= u64::from(gate) << (ifindex % 8 * 8);
        }
    }
    let entries = words.into_iter();
    entries
        .map(|(word, gates)| (word.to_ne_bytes().to_vec(), gates.to_ne_bytes().to_vec()))
        .collect()
}
