//! Maps that only user space writes, and of which the programs read the node's features at most. They are declared
//! here so that one object describes every pinned map, with its BTF.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap},
    macros::btf_map,
};
use netpath_common::{
    EndpointRecord, Meta, NameKey, PrefixBytes, RECORDS_MAX, RouteRecord, UplinkRecord,
};

const FLAGS: usize = BPF_F_NO_PREALLOC as usize;
const MAX: usize = RECORDS_MAX as usize;

/// ABI version, identity and features of the node.
#[btf_map(name = "meta")]
pub static META: Array<Meta, 1> = Array::new();

/// What netpath made for each endpoint, by name.
#[btf_map(name = "endpoint_records")]
pub static ENDPOINT_RECORDS: HashMap<NameKey, EndpointRecord, MAX, FLAGS> = HashMap::new();

/// What netpath made or found for each uplink, by device name.
#[btf_map(name = "uplink_records")]
pub static UPLINK_RECORDS: HashMap<NameKey, UplinkRecord, 1024, FLAGS> = HashMap::new();

/// What netpath put into the kernel's route table, by destination.
#[btf_map(name = "route_records")]
pub static ROUTE_RECORDS: HashMap<PrefixBytes, RouteRecord, MAX, FLAGS> = HashMap::new();
