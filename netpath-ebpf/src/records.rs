//! Maps that only user space writes, and of which the programs read the node's features only. They are declared here
//! so that one object describes every pinned map, with its BTF.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap},
    macros::btf_map,
};
use netpath_common::{
    EndpointRecord, FeatureBits, Identity, Ids, Ifindex, NameKey, PrefixBytes, RECORDS_MAX,
    RouteRecord, Settings, UplinkRecord,
    tables::{RETIRED_MAX, UPLINKS_MAX},
};

const FLAGS: usize = BPF_F_NO_PREALLOC as usize;
const MAX: usize = RECORDS_MAX as usize;

/// ABI version and identity of the node.
#[btf_map(name = "meta")]
pub static META: Array<Identity, 1> = Array::new();

/// What is wanted of the node.
#[btf_map(name = "settings")]
pub static SETTINGS: Array<Settings, 1> = Array::new();

/// What was given out on the node.
#[btf_map(name = "ids")]
pub static IDS: Array<Ids, 1> = Array::new();

/// What the programs have to look at beyond the usual.
#[btf_map(name = "features")]
pub static FEATURES: Array<FeatureBits, 1> = Array::new();

/// What netpath made for each endpoint, by name.
#[btf_map(name = "endpoint_records")]
pub static ENDPOINT_RECORDS: HashMap<NameKey, EndpointRecord, MAX, FLAGS> = HashMap::new();

/// What netpath made or found for each uplink, by device name.
#[btf_map(name = "uplink_records")]
pub static UPLINK_RECORDS: HashMap<NameKey, UplinkRecord, { UPLINKS_MAX as usize }, FLAGS> =
    HashMap::new();

/// What netpath put into the kernel's route table, by destination.
#[btf_map(name = "route_records")]
pub static ROUTE_RECORDS: HashMap<PrefixBytes, RouteRecord, MAX, FLAGS> = HashMap::new();

/// Interfaces that are gone and whose counters are yet to be swept.
#[btf_map(name = "retired")]
pub static RETIRED: HashMap<Ifindex, u64, { 2 * RETIRED_MAX as usize }, FLAGS> = HashMap::new();
