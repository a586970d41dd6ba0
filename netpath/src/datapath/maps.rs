//! The pinned maps, by type.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use netpath_common::{
    ConnectionCount, ConnectionEntry, ConnectionFamily, ConnectionKey, DeviceEntry, EndpointEntry,
    EndpointId, EndpointRecord, Epoch, FeatureBits, Gate, GateWord, HopCounter, HopKey, Identity,
    Ids, Ifindex, InterfaceEntry, LastEntered, NameKey, PrefixBytes, RouteEntry, RouteRecord,
    Settings, TrieKey, UplinkRecord, gate_word, interfaces_of_word, tables,
    tables::{TABLES, spec},
};

use super::{
    error::{DatapathError, file, map},
    pins::Pins,
    table::{Open as _, PerCpuTable, Single, Table, Writable},
};
use crate::lock::TopologyLock;

/// Types of the registry's kinds of map.
mod kinds {
    use super::{PerCpuTable, Table};

    pub type Array<K, V> = Table<K, V>;
    pub type DevMapHash<K, V> = Table<K, V>;
    pub type Hash<K, V> = Table<K, V>;
    pub type LpmTrie<K, V> = Table<K, V>;
    pub type LruHash<K, V> = Table<K, V>;
    pub type PerCpuArray<K, V> = PerCpuTable<K, V>;
    pub type PerCpuHash<K, V> = PerCpuTable<K, V>;
    pub type Single<K, V> = super::Single<K, V>;
}

macro_rules! maps {
    ($($name:ident: $kind:ident<$key:ty, $value:ty>, $flags:expr, $room:expr, $since:literal, $about:literal;)+) => {
        /// The maps of one node, to be read.
        pub struct Maps {
            $(
                #[doc = concat!("The map `", stringify!($name), "`: ", $about, ".")]
                pub $name: kinds::$kind<$key, $value>,)+
        }

        impl Maps {
            pub(super) fn open(pins: &Pins) -> Result<Self, DatapathError> {
                Ok(Self {
                    $($name: kinds::$kind::open(pins, const { spec(stringify!($name)) })?,)+
                })
            }
        }

        /// The maps of one node, to be changed: only the holder of the topology lock gets it, so that no two processes
        /// change what they have read at the same time.
        pub struct Writer<'a> {
            /// To read them.
            pub reader: &'a Maps,
            $(
                #[doc = concat!("The map `", stringify!($name), "`: ", $about, ".")]
                pub $name: Writable<'a, kinds::$kind<$key, $value>>,)+
        }

        impl<'a> Writer<'a> {
            /// For maps that nobody else can see yet.
            pub(super) fn unlocked(maps: &'a Maps) -> Self {
                let epoch = &maps.epoch;
                Self {
                    reader: maps,
                    $($name: Writable::new(&maps.$name, epoch),)+
                }
            }
        }
    };
}
tables!(maps);

impl std::fmt::Debug for Maps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maps").finish_non_exhaustive()
    }
}

/// The name of every map, as it is pinned.
pub fn map_names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|spec| spec.name)
}

impl Maps {
    /// Kernel identity of a pinned map: type, sizes, capacity, id.
    ///
    /// # Errors
    /// When the map is not pinned.
    pub fn info(node: &str, name: &'static str) -> Result<MapSummary, DatapathError> {
        let path = Pins::of(node).map(name);
        let info = aya::maps::MapInfo::from_pin(&path).map_err(map(name))?;
        Ok(MapSummary {
            name,
            id: info.id(),
            kind: info
                .map_type()
                .map_or_else(|_| "unknown".to_owned(), |kind| format!("{kind:?}")),
            key_size: info.key_size(),
            value_size: info.value_size(),
            max_entries: info.max_entries(),
            memory: memory_of(&path, info.fd().map_err(map(name))?)?,
        })
    }

    /// The endpoint that has an address.
    ///
    /// # Errors
    /// When the kernel refuses, as for every method here.
    pub fn endpoint(&self, address: IpAddr) -> Result<Option<EndpointEntry>, DatapathError> {
        match address {
            IpAddr::V4(v4) => self.endpoints_v4.get(&v4.octets()),
            IpAddr::V6(v6) => self.endpoints_v6.get(&v6.octets()),
        }
    }

    /// Every endpoint address, and the node's own.
    ///
    /// # Errors
    /// As for every method here.
    pub fn endpoints(&self) -> Result<BTreeMap<IpAddr, EndpointEntry>, DatapathError> {
        let v4 = self.endpoints_v4.all()?;
        let v6 = self.endpoints_v6.all()?;
        let v4 = v4.into_iter().map(|(key, entry)| (key.into(), entry));
        let v6 = v6.into_iter().map(|(key, entry)| (key.into(), entry));
        Ok(v4.chain(v6).collect())
    }

    /// What the programs know of an interface for every packet: what its entry says, unless somebody changed one of them.
    ///
    /// # Errors
    /// As for every method here.
    pub fn gate(&self, ifindex: Ifindex, entry: &InterfaceEntry) -> Result<Gate, DatapathError> {
        match gate_word(ifindex) {
            Some(word) => Ok(self.gates.get(&word)?.unwrap_or_default().gate(ifindex)),
            None => Ok(entry.gate()),
        }
    }

    /// The interfaces whose byte says anything to the programs.
    ///
    /// # Errors
    /// As for every method here.
    pub fn open_gates(&self) -> Result<Vec<Ifindex>, DatapathError> {
        let words = self.gates.set_words()?;
        let gates = words.into_iter().flat_map(|(index, bits)| {
            let word = GateWord { bits };
            let open = move |ifindex: &Ifindex| word.gate(*ifindex) != Gate::default();
            interfaces_of_word(index).filter(open)
        });
        Ok(gates.collect())
    }

    /// The entry of the longest prefix that holds all of this one: its own, if it has one.
    ///
    /// # Errors
    /// As for every method here.
    pub fn route(&self, prefix: IpNet) -> Result<Option<RouteEntry>, DatapathError> {
        match trie_key(prefix) {
            EitherKey::V4(key) => self.routes_v4.get(&key),
            EitherKey::V6(key) => self.routes_v6.get(&key),
        }
    }

    /// The longest prefix of the route table that holds an address.
    ///
    /// # Errors
    /// As for every method here.
    pub fn longest_prefix(&self, address: IpAddr) -> Result<Option<IpNet>, DatapathError> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        for length in (0..=bits).rev() {
            let Ok(prefix) = IpNet::new(address, length) else {
                continue;
            };
            let is_there = match trie_key(prefix.trunc()) {
                EitherKey::V4(key) => self.routes_v4.has_exactly(&key)?,
                EitherKey::V6(key) => self.routes_v6.has_exactly(&key)?,
            };
            if is_there {
                return Ok(Some(prefix.trunc()));
            }
        }
        Ok(None)
    }

    /// Every prefix of the route table.
    ///
    /// # Errors
    /// As for every method here.
    pub fn routes(&self) -> Result<BTreeMap<IpNet, RouteEntry>, DatapathError> {
        let v4 = self.routes_v4.all()?;
        let v6 = self.routes_v6.all()?;
        let v4 = v4
            .into_iter()
            .map(|(key, entry)| (prefix(key.address().into(), key.length()), entry));
        let v6 = v6
            .into_iter()
            .map(|(key, entry)| (prefix(key.address().into(), key.length()), entry));
        v4.chain(v6)
            .map(|(prefix, entry)| Ok((prefix?, entry)))
            .collect()
    }

    /// To change them.
    pub(super) fn writer<'a>(&'a self, _proof: &'a TopologyLock) -> Writer<'a> {
        Writer::unlocked(self)
    }
}

impl Writer<'_> {
    /// Lets packets of an address in and out.
    ///
    /// # Errors
    /// When the kernel refuses, as for every method here.
    pub fn set_endpoint(
        &self,
        address: IpAddr,
        entry: &EndpointEntry,
    ) -> Result<(), DatapathError> {
        match address {
            IpAddr::V4(v4) => self.endpoints_v4.set(&v4.octets(), entry),
            IpAddr::V6(v6) => self.endpoints_v6.set(&v6.octets(), entry),
        }
    }

    /// The same for many addresses of one endpoint, in few calls.
    ///
    /// # Errors
    /// When the kernel refuses an entry: those before it are there, the others are not.
    pub fn set_endpoints(
        &self,
        addresses: &[IpAddr],
        entry: &EndpointEntry,
    ) -> Result<(), DatapathError> {
        let v4 = addresses.iter().filter_map(|address| match address {
            IpAddr::V4(v4) => Some((v4.octets(), *entry)),
            IpAddr::V6(_) => None,
        });
        self.endpoints_v4.set_many(v4)?;
        let v6 = addresses.iter().filter_map(|address| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => Some((v6.octets(), *entry)),
        });
        self.endpoints_v6.set_many(v6)
    }

    /// Lets packets of an address in and out no more.
    ///
    /// # Errors
    /// As for every method here.
    pub fn remove_endpoint(&self, address: IpAddr) -> Result<(), DatapathError> {
        match address {
            IpAddr::V4(v4) => self.endpoints_v4.remove(&v4.octets()),
            IpAddr::V6(v6) => self.endpoints_v6.remove(&v6.octets()),
        }
    }

    /// Says which interface of the calling thread's namespace is an endpoint's host-side veth: without one,
    /// packets for it are left to the kernel.
    ///
    /// # Errors
    /// When there is no such interface, or the kernel refuses.
    pub fn set_device(&self, id: EndpointId, ifindex: Ifindex) -> Result<(), DatapathError> {
        let known = self.devices.get(&id)?;
        if known.is_some_and(|device| device.ifindex == ifindex) {
            // The kernel takes the old entry out before it puts the new one in (`__dev_map_hash_update_elem`), and
            // the packets in between would not find the endpoint.
            return Ok(());
        }
        let entry = DeviceEntry {
            ifindex,
            program: 0,
        };
        self.devices.set(&id, &entry)
    }

    /// Describes an interface. Its packets are let in when the entry is there and says that it is ready, and no
    /// longer before the entry says otherwise; they are the kernel's before the entry says so no more.
    ///
    /// # Errors
    /// As for every method here; the interface is then not ready, if it was not before.
    pub fn set_interface(
        &self,
        ifindex: Ifindex,
        entry: &InterfaceEntry,
    ) -> Result<(), DatapathError> {
        let gate = entry.gate();
        if !gate.has(Gate::READY) {
            self.set_gate(ifindex, gate)?;
        }
        self.interfaces.set(&ifindex, entry)?;
        self.set_gate(ifindex, gate)
    }

    /// Sets the byte by which programs go; of an index beyond the map they go by the entry itself.
    pub(super) fn set_gate(&self, ifindex: Ifindex, gate: Gate) -> Result<(), DatapathError> {
        let Some(index) = gate_word(ifindex) else {
            return Ok(());
        };
        let before = self.gates.get(&index)?.unwrap_or_default();
        let word = before.with(ifindex, gate);
        if word == before {
            return Ok(());
        }
        self.gates.set(&index, &word)
    }

    /// Routes a prefix.
    ///
    /// # Errors
    /// As for every method here.
    pub fn set_route(&self, prefix: IpNet, entry: &RouteEntry) -> Result<(), DatapathError> {
        match trie_key(prefix) {
            EitherKey::V4(key) => self.routes_v4.set(&key, entry),
            EitherKey::V6(key) => self.routes_v6.set(&key, entry),
        }
    }

    /// Routes many prefixes to other nodes, in few calls.
    ///
    /// # Errors
    /// As for [`Writer::set_endpoints`].
    pub fn set_remote_routes(&self, prefixes: &[IpNet]) -> Result<(), DatapathError> {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for prefix in prefixes {
            match trie_key(*prefix) {
                EitherKey::V4(key) => v4.push(key),
                EitherKey::V6(key) => v6.push(key),
            }
        }
        // In the order of the trie: a quarter of the time less.
        v4.sort_unstable();
        v6.sort_unstable();
        self.routes_v4
            .set_many(v4.into_iter().map(|key| (key, RouteEntry::REMOTE)))?;
        self.routes_v6
            .set_many(v6.into_iter().map(|key| (key, RouteEntry::REMOTE)))
    }

    /// Routes a prefix no more.
    ///
    /// # Errors
    /// As for every method here.
    pub fn remove_route(&self, prefix: IpNet) -> Result<(), DatapathError> {
        match trie_key(prefix) {
            EitherKey::V4(key) => self.routes_v4.remove(&key),
            EitherKey::V6(key) => self.routes_v6.remove(&key),
        }
    }
}

/// A prefix as the key of its family's trie.
enum EitherKey {
    V4(TrieKey<4>),
    V6(TrieKey<16>),
}

fn trie_key(prefix: IpNet) -> EitherKey {
    let length = prefix.prefix_len().into();
    match prefix.addr() {
        IpAddr::V4(v4) => EitherKey::V4(TrieKey::new(length, v4.octets())),
        IpAddr::V6(v6) => EitherKey::V6(TrieKey::new(length, v6.octets())),
    }
}

/// What `netpath maps list` shows of a map.
#[derive(Clone, Debug, serde::Serialize)]
pub struct MapSummary {
    /// Its name.
    pub name: &'static str,
    /// The kernel's id.
    pub id: u32,
    /// The kernel's map type.
    pub kind: String,
    /// In bytes.
    pub key_size: u32,
    /// In bytes.
    pub value_size: u32,
    /// Capacity.
    pub max_entries: u32,
    /// What the kernel holds for it, in bytes (`memlock` of its fdinfo).
    pub memory: u64,
}

fn memory_of(path: &std::path::Path, fd: aya::maps::MapFd) -> Result<u64, DatapathError> {
    use std::os::fd::{AsFd as _, AsRawFd as _};
    let info = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let text = std::fs::read_to_string(&info).map_err(file(&info, "read"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok())
        .ok_or_else(|| DatapathError::Foreign {
            path: path.to_owned(),
            problem: "the kernel does not say how much memory it takes".to_owned(),
        })
}

fn prefix(address: IpAddr, length: u32) -> Result<IpNet, DatapathError> {
    u8::try_from(length)
        .ok()
        .and_then(|length| IpNet::new(address, length).ok())
        .ok_or_else(|| DatapathError::Foreign {
            path: "routes".into(),
            problem: format!("prefix length {length}"),
        })
}

/// The stored form of an address with its prefix length.
pub fn to_bytes(prefix: IpNet) -> PrefixBytes {
    let mut address = [0; 16];
    let family = match prefix.addr() {
        IpAddr::V4(v4) => {
            address[..4].copy_from_slice(&v4.octets());
            4
        }
        IpAddr::V6(v6) => {
            address = v6.octets();
            6
        }
    };
    PrefixBytes {
        family,
        length: prefix.prefix_len(),
        padding: [0; 2],
        address,
    }
}

/// The address with its prefix length; `None` in an unused slot.
pub fn from_bytes(bytes: &PrefixBytes) -> Option<IpNet> {
    let address = match bytes.family {
        4 => {
            let [a, b, c, d, ..] = bytes.address;
            IpAddr::from([a, b, c, d])
        }
        6 => IpAddr::from(bytes.address),
        _ => return None,
    };
    IpNet::new(address, bytes.length).ok()
}
