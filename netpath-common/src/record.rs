//! What netpath made, so that it can be proven later: written only by user space, before the thing is made.

use crate::{EndpointId, IFNAME_SIZE, Ifindex, Mac, NAME_SIZE, map_type};

/// Most addresses that one endpoint or uplink can have.
pub const ADDRESSES_MAX: usize = 16;

/// Most prefixes that can be routed to one endpoint.
pub const PREFIXES_MAX: usize = 16;

/// The one entry of the `meta` map. `abi_version` is its first field in every version.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// [`ABI_VERSION`](crate::ABI_VERSION) of the program that made the directory.
    pub abi_version: u32,
    /// The next [`EndpointId`] to give out.
    pub next_endpoint_id: EndpointId,
    /// `SO_NETNS_COOKIE` of the node's namespace: unique for as long as the machine is up.
    pub netns_cookie: u64,
    /// 1 if netpath made the node's namespace, 0 if it is the machine's own.
    pub netns_made: u32,
    /// 1 if the fast path is wanted on, 0 if off.
    pub fast_path: u32,
    /// 1 if netpath set the iptables FORWARD policy of the node to DROP.
    pub forward_drop: u32,
    /// 1 once all settings of the node's namespace were made.
    pub configured: u32,
    /// Name of the node, zero-terminated.
    pub name: [u8; NAME_SIZE],
    /// Fingerprint of the BPF object whose programs are pinned.
    pub object: u64,
    /// What the programs have to look at on this node beyond the usual: a bit each, as [`Meta::LOCAL_PREFIXES`].
    pub features: u32,
    /// Zero.
    pub padding: u32,
}

impl Meta {
    /// Of [`Meta::features`]: some prefix may be routed to an endpoint of this node.
    pub const LOCAL_PREFIXES: u32 = 1;
    /// Of [`Meta::features`]: the kernel filters by reverse path on some uplink.
    pub const REVERSE_PATH: u32 = 2;
}

/// Key of a record: a name, zero-terminated.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameKey {
    /// The name, zero-terminated.
    pub name: [u8; NAME_SIZE],
}

/// How far a recorded thing has come.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordState {
    /// Being made or removed: parts of it may exist.
    Pending = 1,
    /// Complete.
    Complete = 2,
    /// Complete, and the operator switched the fast path of this endpoint off by itself. A build that does not know
    /// this number takes the endpoint for half-made, and its `up` makes it whole again with the fast path on.
    SwitchedOff = 3,
}

/// An address with its prefix length, or a prefix, of either family.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrefixBytes {
    /// 4 or 6; 0 in an unused slot.
    pub family: u8,
    /// Prefix length in bits.
    pub length: u8,
    /// Zero.
    pub padding: [u8; 2],
    /// The address in network order; IPv4 uses the first four bytes.
    pub address: [u8; 16],
}

/// One endpoint, in the `endpoint_records` map, keyed by its name.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointRecord {
    /// `SO_NETNS_COOKIE` of the endpoint's namespace.
    pub netns_cookie: u64,
    /// Its id.
    pub id: EndpointId,
    /// Number of the [`RecordState`].
    pub state: u32,
    /// Index of the host-side veth; 0 while pending.
    pub host_ifindex: Ifindex,
    /// MAC of the interface inside. Random, chosen before the veth is made: it proves whose the veth is.
    pub endpoint_mac: Mac,
    /// MAC of the host-side veth.
    pub host_mac: Mac,
    /// Name of the interface inside, zero-terminated.
    pub dev: [u8; IFNAME_SIZE],
    /// Name of the host-side veth, zero-terminated.
    pub host_dev: [u8; IFNAME_SIZE],
    /// Addresses with their prefix lengths; unused slots have family 0.
    pub addresses: [PrefixBytes; ADDRESSES_MAX],
    /// Prefixes that are routed to it; unused slots have family 0.
    pub prefixes: [PrefixBytes; PREFIXES_MAX],
}

/// One uplink, in the `uplink_records` map, keyed by its device name.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UplinkRecord {
    /// `SO_NETNS_COOKIE` of the wire's namespace; 0 where netpath did not make the uplink.
    pub wire_cookie: u64,
    /// Number of the [`RecordState`].
    pub state: u32,
    /// Its index; 0 while pending.
    pub ifindex: Ifindex,
    /// 1 if netpath made the interface, 0 if it was there.
    pub made: u32,
    /// Its MAC; where netpath made it, random and chosen before.
    pub mac: Mac,
    /// MAC of its port on the wire.
    pub port_mac: Mac,
    /// Name of the wire, zero-terminated; empty where there is none.
    pub wire: [u8; NAME_SIZE],
    /// Addresses with their prefix lengths; unused slots have family 0.
    pub addresses: [PrefixBytes; ADDRESSES_MAX],
}

/// One route towards another node, in the `route_records` map, keyed by its destination.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRecord {
    /// The next hop, with a full prefix length.
    pub via: PrefixBytes,
    /// 1 if netpath put the route into the kernel's table, 0 if it was there.
    pub made: u32,
}

map_type!(Meta, 112);
map_type!(NameKey, 64);
map_type!(PrefixBytes, 20);
map_type!(EndpointRecord, 704);
map_type!(UplinkRecord, 416);
map_type!(RouteRecord, 24);
