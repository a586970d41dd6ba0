//! The pinned maps, by type. Nothing else writes to them.

use std::{collections::BTreeMap, net::IpAddr};

use aya::{
    Pod,
    maps::{
        Array, DevMapHash, HashMap, LpmTrie, Map, MapData, MapError, PerCpuHashMap, PerCpuValues,
        lpm_trie::Key, xdp::XdpMapError,
    },
};
use ipnet::IpNet;
use netpath_common::{
    EndpointEntry, EndpointId, EndpointRecord, HopCounter, HopKey, Ifindex, InterfaceEntry,
    InterfaceState, Meta, NameKey, Outcome, PrefixBytes, RouteEntry, RouteRecord, UplinkRecord,
    ready_bit, ready_word,
};

use super::{
    error::{DatapathError, file, map},
    pins::Pins,
};

/// The name of every map, as it is pinned.
pub const MAPS: [&str; 13] = [
    "devices",
    "endpoint_records",
    "endpoints_v4",
    "endpoints_v6",
    "hop_overflow",
    "hops",
    "interfaces",
    "meta",
    "ready",
    "route_records",
    "routes_v4",
    "routes_v6",
    "uplink_records",
];

/// The maps of one node.
pub struct Maps {
    pub(super) meta: Array<MapData, Meta>,
    devices: DevMapHash<MapData>,
    endpoints_v4: HashMap<MapData, [u8; 4], EndpointEntry>,
    endpoints_v6: HashMap<MapData, [u8; 16], EndpointEntry>,
    routes_v4: LpmTrie<MapData, [u8; 4], RouteEntry>,
    routes_v6: LpmTrie<MapData, [u8; 16], RouteEntry>,
    interfaces: HashMap<MapData, Ifindex, InterfaceEntry>,
    ready: Array<MapData, u64>,
    hops: PerCpuHashMap<MapData, HopKey, HopCounter>,
    hop_overflow: PerCpuHashMap<MapData, HopKey, HopCounter>,
    endpoint_records: HashMap<MapData, NameKey, EndpointRecord>,
    uplink_records: HashMap<MapData, NameKey, UplinkRecord>,
    route_records: HashMap<MapData, PrefixBytes, RouteRecord>,
}

impl std::fmt::Debug for Maps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maps").finish_non_exhaustive()
    }
}

/// Opens one pinned map, refusing one whose key or value is not of the size that is expected.
fn open<M>(pins: &Pins, name: &'static str) -> Result<M, DatapathError>
where
    M: TryFrom<Map, Error = MapError>,
{
    let path = pins.map(name);
    let data = MapData::from_pin(&path).map_err(map(name))?;
    let opened = Map::from_map_data(data).map_err(map(name))?;
    M::try_from(opened).map_err(|error| DatapathError::Foreign {
        path,
        problem: format!("map {name} has another layout: {error}"),
    })
}

fn all<K: Pod, V>(
    name: &'static str,
    entries: impl Iterator<Item = Result<(K, V), MapError>>,
) -> Result<Vec<(K, V)>, DatapathError> {
    entries.collect::<Result<_, _>>().map_err(map(name))
}

/// What is not there need not be removed.
fn gone(name: &'static str, result: Result<(), MapError>) -> Result<(), DatapathError> {
    match result {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(())
        }
        Err(error) => Err(map(name)(error)),
    }
}

fn found<V>(name: &'static str, result: Result<V, MapError>) -> Result<Option<V>, DatapathError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(map(name)(error)),
    }
}

impl Maps {
    pub(super) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        Ok(Self {
            meta: open(pins, "meta")?,
            devices: open(pins, "devices")?,
            endpoints_v4: open(pins, "endpoints_v4")?,
            endpoints_v6: open(pins, "endpoints_v6")?,
            routes_v4: open(pins, "routes_v4")?,
            routes_v6: open(pins, "routes_v6")?,
            interfaces: open(pins, "interfaces")?,
            ready: open(pins, "ready")?,
            hops: open(pins, "hops")?,
            hop_overflow: open(pins, "hop_overflow")?,
            endpoint_records: open(pins, "endpoint_records")?,
            uplink_records: open(pins, "uplink_records")?,
            route_records: open(pins, "route_records")?,
        })
    }

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

    /// The node's identity.
    ///
    /// # Errors
    /// When the kernel refuses, as for every method here; then nothing was changed.
    pub fn meta(&self) -> Result<Meta, DatapathError> {
        self.meta.get(&0, 0).map_err(map("meta"))
    }

    /// Writes the node's identity.
    ///
    /// # Errors
    /// As for every method here.
    pub fn set_meta(&mut self, meta: &Meta) -> Result<(), DatapathError> {
        self.meta.set(0, *meta, 0).map_err(map("meta"))
    }

    /// The endpoint that has an address.
    ///
    /// # Errors
    /// As for every method here.
    pub fn endpoint(&self, address: IpAddr) -> Result<Option<EndpointEntry>, DatapathError> {
        match address {
            IpAddr::V4(v4) => found("endpoints_v4", self.endpoints_v4.get(&v4.octets(), 0)),
            IpAddr::V6(v6) => found("endpoints_v6", self.endpoints_v6.get(&v6.octets(), 0)),
        }
    }

    /// Every endpoint address.
    ///
    /// # Errors
    /// As for every method here.
    pub fn endpoints(&self) -> Result<Vec<(IpAddr, EndpointEntry)>, DatapathError> {
        let v4 = all("endpoints_v4", self.endpoints_v4.iter())?;
        let v6 = all("endpoints_v6", self.endpoints_v6.iter())?;
        let v4 = v4
            .into_iter()
            .map(|(key, value)| (IpAddr::from(key), value));
        let v6 = v6
            .into_iter()
            .map(|(key, value)| (IpAddr::from(key), value));
        Ok(v4.chain(v6).collect())
    }

    /// Lets packets of an address in and out.
    ///
    /// # Errors
    /// As for every method here.
    pub fn set_endpoint(
        &mut self,
        address: IpAddr,
        entry: &EndpointEntry,
    ) -> Result<(), DatapathError> {
        match address {
            IpAddr::V4(v4) => self
                .endpoints_v4
                .insert(v4.octets(), entry, 0)
                .map_err(map("endpoints_v4")),
            IpAddr::V6(v6) => self
                .endpoints_v6
                .insert(v6.octets(), entry, 0)
                .map_err(map("endpoints_v6")),
        }
    }

    /// Lets packets of an address in and out no more.
    ///
    /// # Errors
    /// As for every method here.
    pub fn remove_endpoint(&mut self, address: IpAddr) -> Result<(), DatapathError> {
        match address {
            IpAddr::V4(v4) => gone("endpoints_v4", self.endpoints_v4.remove(&v4.octets())),
            IpAddr::V6(v6) => gone("endpoints_v6", self.endpoints_v6.remove(&v6.octets())),
        }
    }

    /// The host-side veth of every endpoint. The kernel takes out those that are gone.
    ///
    /// # Errors
    /// As for every method here.
    pub fn devices(&self) -> Result<BTreeMap<EndpointId, Ifindex>, DatapathError> {
        let devices: Vec<_> = all("devices", self.devices.iter())?;
        Ok(devices
            .into_iter()
            .map(|(id, device)| (EndpointId(id), Ifindex(device.if_index)))
            .collect())
    }

    /// Says which interface of the calling thread's namespace is an endpoint's host-side veth: without one,
    /// packets for it are left to the kernel.
    ///
    /// # Errors
    /// When there is no such interface, or the kernel refuses.
    pub fn set_device(&mut self, id: EndpointId, ifindex: Ifindex) -> Result<(), DatapathError> {
        let known = found("devices", self.devices.get(id.0, 0))?;
        if known.is_some_and(|device| device.if_index == ifindex.0) {
            // The kernel takes the old entry out before it puts the new one in (`__dev_map_hash_update_elem`), and
            // the packets in between would not find the endpoint.
            return Ok(());
        }
        let result = self.devices.insert(id.0, ifindex.0, None, 0);
        result.map_err(|error| match error {
            XdpMapError::MapError(error) => map("devices")(error),
            XdpMapError::ChainedProgramNotSupported => map("devices")(MapError::ProgIdNotSupported),
        })
    }

    /// Forgets an endpoint's host-side veth.
    ///
    /// # Errors
    /// As for every method here.
    pub fn remove_device(&mut self, id: EndpointId) -> Result<(), DatapathError> {
        gone("devices", self.devices.remove(id.0))
    }

    /// Every prefix of the route table.
    ///
    /// # Errors
    /// As for every method here.
    pub fn routes(&self) -> Result<Vec<(IpNet, RouteEntry)>, DatapathError> {
        let v4 = all("routes_v4", self.routes_v4.iter())?;
        let v6 = all("routes_v6", self.routes_v6.iter())?;
        let v4 = v4
            .into_iter()
            .map(|(key, value)| (prefix(key.data().into(), key.prefix_len()), value));
        let v6 = v6
            .into_iter()
            .map(|(key, value)| (prefix(key.data().into(), key.prefix_len()), value));
        v4.chain(v6)
            .map(|(prefix, value)| Ok((prefix?, value)))
            .collect()
    }

    /// The entry of the longest prefix that holds all of this one: its own, if it has one.
    ///
    /// # Errors
    /// As for every method here.
    pub fn route(&self, prefix: IpNet) -> Result<Option<RouteEntry>, DatapathError> {
        let length = u32::from(prefix.prefix_len());
        match prefix.addr() {
            IpAddr::V4(v4) => found(
                "routes_v4",
                self.routes_v4.get(&Key::new(length, v4.octets()), 0),
            ),
            IpAddr::V6(v6) => found(
                "routes_v6",
                self.routes_v6.get(&Key::new(length, v6.octets()), 0),
            ),
        }
    }

    /// Routes a prefix.
    ///
    /// # Errors
    /// As for every method here.
    pub fn set_route(&mut self, prefix: IpNet, entry: &RouteEntry) -> Result<(), DatapathError> {
        let length = u32::from(prefix.prefix_len());
        match prefix.addr() {
            IpAddr::V4(v4) => self
                .routes_v4
                .insert(&Key::new(length, v4.octets()), entry, 0)
                .map_err(map("routes_v4")),
            IpAddr::V6(v6) => self
                .routes_v6
                .insert(&Key::new(length, v6.octets()), entry, 0)
                .map_err(map("routes_v6")),
        }
    }

    /// Routes a prefix no more.
    ///
    /// # Errors
    /// As for every method here.
    pub fn remove_route(&mut self, prefix: IpNet) -> Result<(), DatapathError> {
        let length = u32::from(prefix.prefix_len());
        match prefix.addr() {
            IpAddr::V4(v4) => gone(
                "routes_v4",
                self.routes_v4.remove(&Key::new(length, v4.octets())),
            ),
            IpAddr::V6(v6) => gone(
                "routes_v6",
                self.routes_v6.remove(&Key::new(length, v6.octets())),
            ),
        }
    }

    /// Every interface that programs are attached to.
    ///
    /// # Errors
    /// As for every method here.
    pub fn interfaces(&self) -> Result<BTreeMap<Ifindex, InterfaceEntry>, DatapathError> {
        Ok(all("interfaces", self.interfaces.iter())?
            .into_iter()
            .collect())
    }

    /// One interface that programs are attached to.
    ///
    /// # Errors
    /// As for every method here.
    pub fn interface(&self, ifindex: Ifindex) -> Result<Option<InterfaceEntry>, DatapathError> {
        found("interfaces", self.interfaces.get(&ifindex, 0))
    }

    /// Describes an interface. Its packets are let in when the entry is there and says that it is ready, and no
    /// longer before the entry says otherwise.
    ///
    /// # Errors
    /// As for every method here; the interface is then not ready, if it was not before.
    pub fn set_interface(
        &mut self,
        ifindex: Ifindex,
        entry: &InterfaceEntry,
    ) -> Result<(), DatapathError> {
        let ready = entry.state == InterfaceState::Ready as u32;
        if !ready {
            self.set_ready(ifindex, false)?;
        }
        self.interfaces
            .insert(ifindex, entry, 0)
            .map_err(map("interfaces"))?;
        if ready {
            self.set_ready(ifindex, true)?;
        }
        Ok(())
    }

    /// Forgets an interface; its packets are let in no more.
    ///
    /// # Errors
    /// As for every method here.
    pub fn remove_interface(&mut self, ifindex: Ifindex) -> Result<(), DatapathError> {
        self.set_ready(ifindex, false)?;
        gone("interfaces", self.interfaces.remove(&ifindex))
    }

    /// The words of the `ready` map that have a bit set, by their index.
    ///
    /// # Errors
    /// As for every method here.
    pub fn ready(&self) -> Result<Vec<(u32, u64)>, DatapathError> {
        let words = (0..).zip(self.ready.iter());
        let words = words.map(|(index, word)| Ok((index, word.map_err(map("ready"))?)));
        let is_set = |word: &Result<(u32, u64), _>| !matches!(word, Ok((_, 0)));
        words.filter(is_set).collect()
    }

    /// Sets or clears an interface's bit. The word is read and written back: only the holder of the topology lock
    /// writes, and programs that read it meanwhile find each other interface's bit as it is.
    fn set_ready(&mut self, ifindex: Ifindex, ready: bool) -> Result<(), DatapathError> {
        let Some(index) = ready_word(ifindex) else {
            return Ok(());
        };
        let before = self.ready.get(&index, 0).map_err(map("ready"))?;
        let bit = ready_bit(ifindex);
        let after = if ready { before | bit } else { before & !bit };
        if after == before {
            return Ok(());
        }
        self.ready.set(index, after, 0).map_err(map("ready"))
    }

    /// Per-hop counters, summed over CPUs.
    ///
    /// # Errors
    /// As for every method here.
    pub fn hops(&self) -> Result<BTreeMap<HopKey, HopCounter>, DatapathError> {
        sums("hops", &self.hops)
    }

    /// What found no room in the per-hop counters, by outcome and reason.
    ///
    /// # Errors
    /// As for every method here.
    pub fn hop_overflow(&self) -> Result<BTreeMap<HopKey, HopCounter>, DatapathError> {
        sums("hop_overflow", &self.hop_overflow)
    }

    /// Removes the counters of an interface that is gone, so that the next one with its index does not
    /// inherit them. What other interfaces sent to it stays counted as theirs, without an egress: what came
    /// in by them still adds up.
    ///
    /// # Errors
    /// As for every method here.
    pub fn forget_hops(&mut self, ifindex: Ifindex) -> Result<(), DatapathError> {
        for key in self.hops()?.into_keys() {
            let is_others = key.egress == ifindex
                && key.ingress != ifindex
                && key.outcome != Outcome::Deliver.number();
            if is_others {
                self.forget_egress(&key)?;
            }
            if key.ingress == ifindex || key.egress == ifindex {
                gone("hops", self.hops.remove(&key))?;
            }
        }
        Ok(())
    }

    /// Adds a row to the one without an egress. Programs never count a redirect there, so nobody writes to it
    /// meanwhile.
    fn forget_egress(&mut self, key: &HopKey) -> Result<(), DatapathError> {
        let kept = HopKey {
            egress: Ifindex(0),
            ..*key
        };
        let Some(row) = found("hops", self.hops.get(key, 0))? else {
            return Ok(());
        };
        let mut sum = row.to_vec();
        if let Some(before) = found("hops", self.hops.get(&kept, 0))? {
            for (sum, before) in sum.iter_mut().zip(before.iter()) {
                *sum += *before;
            }
        }
        let sum = PerCpuValues::try_from(sum).map_err(|error| map("hops")(error.into()))?;
        self.hops.insert(kept, sum, 0).map_err(map("hops"))
    }

    /// What netpath made for each endpoint.
    ///
    /// # Errors
    /// As for every method here.
    pub fn endpoint_records(&self) -> Result<BTreeMap<NameKey, EndpointRecord>, DatapathError> {
        Ok(all("endpoint_records", self.endpoint_records.iter())?
            .into_iter()
            .collect())
    }

    /// What netpath noted of one endpoint.
    ///
    /// # Errors
    /// As for every method here.
    pub fn endpoint_record(&self, name: &NameKey) -> Result<Option<EndpointRecord>, DatapathError> {
        found("endpoint_records", self.endpoint_records.get(name, 0))
    }

    /// Notes what is made for an endpoint.
    ///
    /// # Errors
    /// As for every method here.
    pub fn set_endpoint_record(
        &mut self,
        name: NameKey,
        record: &EndpointRecord,
    ) -> Result<(), DatapathError> {
        self.endpoint_records
            .insert(name, record, 0)
            .map_err(map("endpoint_records"))
    }

    /// Forgets an endpoint.
    ///
    /// # Errors
    /// As for every method here.
    pub fn remove_endpoint_record(&mut self, name: NameKey) -> Result<(), DatapathError> {
        gone("endpoint_records", self.endpoint_records.remove(&name))
    }

    /// What netpath made or found for each uplink.
    ///
    /// # Errors
    /// As for every method here.
    pub fn uplink_records(&self) -> Result<BTreeMap<NameKey, UplinkRecord>, DatapathError> {
        Ok(all("uplink_records", self.uplink_records.iter())?
            .into_iter()
            .collect())
    }

    /// What netpath noted of one uplink.
    ///
    /// # Errors
    /// As for every method here.
    pub fn uplink_record(&self, name: &NameKey) -> Result<Option<UplinkRecord>, DatapathError> {
        found("uplink_records", self.uplink_records.get(name, 0))
    }

    /// What is noted of a route.
    ///
    /// # Errors
    /// As for every method here.
    pub fn route_record(
        &self,
        destination: &PrefixBytes,
    ) -> Result<Option<RouteRecord>, DatapathError> {
        found("route_records", self.route_records.get(destination, 0))
    }

    /// Notes what is made for an uplink.
    ///
    /// # Errors
    /// As for every method here.
    pub fn set_uplink_record(
        &mut self,
        dev: NameKey,
        record: &UplinkRecord,
    ) -> Result<(), DatapathError> {
        self.uplink_records
            .insert(dev, record, 0)
            .map_err(map("uplink_records"))
    }

    /// Forgets an uplink.
    ///
    /// # Errors
    /// As for every method here.
    pub fn remove_uplink_record(&mut self, dev: NameKey) -> Result<(), DatapathError> {
        gone("uplink_records", self.uplink_records.remove(&dev))
    }

    /// What netpath put into the kernel's route table.
    ///
    /// # Errors
    /// As for every method here.
    pub fn route_records(&self) -> Result<BTreeMap<PrefixBytes, RouteRecord>, DatapathError> {
        Ok(all("route_records", self.route_records.iter())?
            .into_iter()
            .collect())
    }

    /// Notes a route.
    ///
    /// # Errors
    /// As for every method here.
    pub fn set_route_record(
        &mut self,
        destination: PrefixBytes,
        record: &RouteRecord,
    ) -> Result<(), DatapathError> {
        self.route_records
            .insert(destination, record, 0)
            .map_err(map("route_records"))
    }

    /// Forgets a route.
    ///
    /// # Errors
    /// As for every method here.
    pub fn remove_route_record(&mut self, destination: PrefixBytes) -> Result<(), DatapathError> {
        gone("route_records", self.route_records.remove(&destination))
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

fn sums(
    name: &'static str,
    counters: &PerCpuHashMap<MapData, HopKey, HopCounter>,
) -> Result<BTreeMap<HopKey, HopCounter>, DatapathError> {
    let rows = all(name, counters.iter())?;
    Ok(rows
        .into_iter()
        .map(|(key, per_cpu)| {
            let mut sum = HopCounter::default();
            per_cpu.iter().for_each(|&counter| sum += counter);
            (key, sum)
        })
        .collect())
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
