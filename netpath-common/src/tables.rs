//! The one registry of maps. User space derives its tables, decoders and docs/maps.md from it; what the programs declare
//! is compared with it by a test of `netpath::datapath`.

use crate::{
    CONNECTIONS_DEFAULT, ENDPOINTS_DEFAULT, HOPS_LEAST, HOPS_MAX, HOPS_PER_ENDPOINT,
    ROUTE_RECORDS_LEAST, ROUTES_DEFAULT,
};

/// Most uplinks of a node.
pub const UPLINKS_MAX: u32 = 1024;

/// Most interfaces that may be in `retired` before their counters are swept.
pub const RETIRED_MAX: u32 = 1024;

/// Room for the node's own addresses beside those of endpoints, of each family: as many as its uplinks may have in a
/// topology, each with the broadcast address of its subnet, and more than most machines have on all of their interfaces.
pub const UPLINK_ADDRESSES: u32 = 2 * UPLINKS_MAX * crate::ADDRESSES_MAX as u32;

/// A map type, by its number in `enum bpf_map_type` of `linux/bpf.h`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// `BPF_MAP_TYPE_HASH`.
    Hash = 1,
    /// `BPF_MAP_TYPE_ARRAY` with one entry.
    Single = 2,
    /// `BPF_MAP_TYPE_PERCPU_HASH`.
    PerCpuHash = 5,
    /// `BPF_MAP_TYPE_PERCPU_ARRAY`.
    PerCpuArray = 6,
    /// `BPF_MAP_TYPE_LRU_HASH`.
    LruHash = 9,
    /// `BPF_MAP_TYPE_LPM_TRIE`.
    LpmTrie = 11,
    /// `BPF_MAP_TYPE_DEVMAP_HASH`.
    DevMapHash = 25,
}

impl MapKind {
    /// `BPF_MAP_TYPE_ARRAY` with many entries: of the same type as one with a single one.
    #[expect(
        non_upper_case_globals,
        reason = "the registry names kinds of table, of which this is one"
    )]
    pub const Array: Self = Self::Single;

    /// Whether each CPU has a value of its own.
    pub const fn is_per_cpu(self) -> bool {
        matches!(self, Self::PerCpuHash | Self::PerCpuArray)
    }

    /// As bpftool names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Single => "array",
            Self::PerCpuHash => "percpu_hash",
            Self::PerCpuArray => "percpu_array",
            Self::LruHash => "lru_hash",
            Self::LpmTrie => "lpm_trie",
            Self::DevMapHash => "devmap_hash",
        }
    }
}

/// How much a node is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Endpoint addresses, of each family.
    pub endpoints: u32,
    /// Routed prefixes, of each family.
    pub routes: u32,
    /// Routes of the topology file, of both families together.
    pub route_records: u32,
    /// Connections that are the kernel's, of each family.
    pub connections: u32,
}

impl Capacity {
    /// What a node holds unless its file says otherwise.
    pub const DEFAULT: Self = Self {
        endpoints: ENDPOINTS_DEFAULT,
        routes: ROUTES_DEFAULT,
        route_records: ROUTE_RECORDS_LEAST,
        connections: CONNECTIONS_DEFAULT,
    };
}

/// How the number of a map's entries follows from a node's [`Capacity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Always the same.
    Fixed(u32),
    /// The endpoint addresses of one family, and the node's own.
    Addresses,
    /// Endpoints, each of which has an address of one family at least.
    Endpoints,
    /// Endpoints and uplinks.
    Interfaces,
    /// Rows of the hop counters: some for each endpoint address. A node for few endpoints counts as exactly with few, and who reads
    /// a hash walks over all that it has room for.
    Hops,
    /// The routed prefixes of one family.
    Routes,
    /// The routes that the file names. They do not follow from [`Capacity::routes`]: room for two million records would
    /// take 32 MB of every node, and prefixes come by the million from routing daemons, not from files.
    RouteRecords,
    /// The connections of one family that are the kernel's.
    Connections,
}

impl Room {
    /// Entries of a map of this room.
    pub const fn entries(self, capacity: &Capacity) -> u32 {
        let endpoints = capacity.endpoints.saturating_mul(2);
        match self {
            Self::Fixed(entries) => entries,
            Self::Addresses => capacity.endpoints.saturating_add(UPLINK_ADDRESSES),
            Self::Endpoints => endpoints,
            Self::Interfaces => endpoints.saturating_add(UPLINKS_MAX),
            Self::Hops => {
                let rows = capacity.endpoints.saturating_mul(HOPS_PER_ENDPOINT);
                if rows < HOPS_LEAST {
                    HOPS_LEAST
                } else if rows > HOPS_MAX {
                    HOPS_MAX
                } else {
                    rows
                }
            }
            Self::Routes => capacity.routes,
            Self::RouteRecords => capacity.route_records,
            Self::Connections => capacity.connections,
        }
    }
}

/// What the registry says of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSpec {
    /// Its name, in the object and on bpffs.
    pub name: &'static str,
    /// What is in it.
    pub about: &'static str,
    /// Its type.
    pub kind: MapKind,
    /// `BPF_F_...` flags of `linux/bpf.h`.
    pub flags: u32,
    /// How much it holds.
    pub room: Room,
    /// The [`ABI_VERSION`](crate::ABI_VERSION) that brought it; 2 also for what is older.
    pub since: u32,
    /// Size of a key, in bytes.
    pub key_size: usize,
    /// Size of a value, of one CPU's where each has its own, in bytes.
    pub value_size: usize,
    /// Fields of a key.
    #[cfg(feature = "user")]
    pub key_fields: &'static [crate::Field],
    /// Fields of a value.
    #[cfg(feature = "user")]
    pub value_fields: &'static [crate::Field],
}

/// The registry's entry for a map; fails to compile, or panics, where there is none of that name.
pub const fn spec(name: &str) -> &'static TableSpec {
    let mut index = 0;
    while index < TABLES.len() {
        if is_same(TABLES[index].name, name) {
            return &TABLES[index];
        }
        index += 1;
    }
    panic!("no map of that name")
}

const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut index = 0;
    while index < a.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// Calls the macro `$then` with every map: its name, kind, key, value, flags, room and since when, and what is in it.
#[macro_export]
macro_rules! tables {
    ($then:ident) => {
        $then! {
            connection_counts: PerCpuHash<ConnectionFamily, ConnectionCount>, 0, Fixed(2), 7,
                "how many connections were entered as the kernel's, by family (4 or 6)";
            connections_new: Array<u32, LastEntered>, 0, Fixed(CONNECTIONS_NEW), 8,
                "in which tick of the kernel's clock connections of a hash were last entered";
            connections_v4: LruHash<ConnectionKey<4>, ConnectionEntry>, 0, Connections, 7,
                "IPv4 connections between routed ends that are the kernel's";
            connections_v6: LruHash<ConnectionKey<16>, ConnectionEntry>, 0, Connections, 7,
                "IPv6 connections between routed ends that are the kernel's";
            devices: DevMapHash<EndpointId, DeviceEntry>, 0, Endpoints, 2,
                "the host-side veth of each endpoint; the kernel takes out devices that go";
            endpoint_records: Hash<NameKey, EndpointRecord>, NO_PREALLOC, Endpoints, 2,
                "what netpath made for each endpoint";
            endpoints_v4: Hash<[u8; 4], EndpointEntry>, NO_PREALLOC, Addresses, 2,
                "IPv4 addresses of endpoints and of the node";
            endpoints_v6: Hash<[u8; 16], EndpointEntry>, NO_PREALLOC, Addresses, 2,
                "IPv6 addresses of endpoints and of the node";
            epoch: Single<u32, Epoch>, 0, Fixed(1), 8,
                "when what the programs go by was last changed";
            features: Single<u32, FeatureBits>, 0, Fixed(1), 3,
                "what the programs look at beyond the usual";
            gates: Array<u32, GateWord>, MMAPABLE, Fixed(GATE_WORDS), 4,
                "a byte for each interface: whether its packets are let in, and what of them is the kernel's";
            hop_hits: PerCpuArray<u32, HopCounter>, 0, Fixed(HOP_ROWS), 8,
                "per-hop counters of what the decision cache decided, beside `hops`";
            hop_overflow: PerCpuHash<HopKey, HopCounter>, 0, Fixed(OVERFLOW_ROWS), 2,
                "what found no room in `hops`, by outcome and reason";
            hop_rows: Hash<u32, HopKey>, 0, Fixed(HOP_ROWS), 8,
                "which hop is counted at an index of `hop_hits`";
            hops: PerCpuHash<HopKey, HopCounter>, NO_PREALLOC, Hops, 2,
                "per-hop counters";
            ids: Single<u32, Ids>, 0, Fixed(1), 3,
                "what was given out on the node";
            interfaces: Hash<Ifindex, InterfaceEntry>, NO_PREALLOC, Interfaces, 2,
                "the interfaces that programs are attached to";
            meta: Single<u32, Identity>, 0, Fixed(1), 2,
                "ABI version and identity of the node";
            retired: Hash<Ifindex, u64>, NO_PREALLOC, Fixed(2 * RETIRED_MAX), 3,
                "interfaces that are gone and whose counters are yet to be swept, in the order that they went";
            route_records: Hash<PrefixBytes, RouteRecord>, NO_PREALLOC, RouteRecords, 2,
                "what netpath put into the kernel's route table";
            routes_v4: LpmTrie<TrieKey<4>, RouteEntry>, NO_PREALLOC, Routes, 2,
                "IPv4 prefixes that netpath routes";
            routes_v6: LpmTrie<TrieKey<16>, RouteEntry>, NO_PREALLOC, Routes, 2,
                "IPv6 prefixes that netpath routes";
            settings: Single<u32, Settings>, 0, Fixed(1), 3,
                "what is wanted of the node";
            uplink_records: Hash<NameKey, UplinkRecord>, NO_PREALLOC, Fixed(UPLINKS_MAX), 2,
                "what netpath made or found for each uplink";
        }
    };
}

/// `BPF_F_NO_PREALLOC` of `linux/bpf.h`.
pub const NO_PREALLOC: u32 = 1;

/// `BPF_F_MMAPABLE` of `linux/bpf.h`: user space reads all of it at once, where each entry would be copied by a call of its own.
pub const MMAPABLE: u32 = 1 << 10;

/// Flags that say how a map is made. The kernel adds others of its own.
pub const FLAGS: u32 = NO_PREALLOC | MMAPABLE;

macro_rules! specs {
    ($($name:ident: $kind:ident<$key:ty, $value:ty>, $flags:expr, $room:expr, $since:literal, $about:literal;)+) => {
        /// Every map, in the order of their names.
        pub const TABLES: &[TableSpec] = {
            use crate::*;
            use Room::*;
            &[$(TableSpec {
                name: stringify!($name),
                about: $about,
                kind: MapKind::$kind,
                flags: $flags,
                room: $room,
                since: $since,
                key_size: size_of::<$key>(),
                value_size: size_of::<$value>(),
                #[cfg(feature = "user")]
                key_fields: <$key as Layout>::FIELDS,
                #[cfg(feature = "user")]
                value_fields: <$value as Layout>::FIELDS,
            }),+]
        };
    };
}
tables!(specs);
