//! Many entries in one system call, `BPF_MAP_UPDATE_BATCH` (hash maps since Linux 5.6, tries since 5.13), which
//! aya does not offer. It makes the same changes as one call for each entry would, in order.

use std::{cmp::Ordering, io, net::IpAddr, os::fd::AsRawFd as _};

use aya::maps::MapData;
use ipnet::IpNet;
use netpath_common::{EndpointEntry, RouteEntry};

use super::{
    Datapath,
    error::{DatapathError, map},
    pins::Pins,
    sys::bpf,
};

/// `BPF_MAP_UPDATE_BATCH` of `linux/bpf.h`.
const MAP_UPDATE_BATCH: libc::c_int = 26;

/// Entries in one call: as many as keep the copies in the processor's cache.
const CHUNK: usize = 4096;

/// The key of a trie: `struct bpf_lpm_trie_key_u8` of `linux/bpf.h`. The length is in host order.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Prefix<const N: usize> {
    length: u32,
    address: [u8; N],
}

impl<const N: usize> Ord for Prefix<N> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.address, self.length).cmp(&(other.address, other.length))
    }
}

impl<const N: usize> PartialOrd for Prefix<N> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `union bpf_attr` of `linux/bpf.h` as the batch commands use it.
#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

impl Datapath {
    /// Lets packets of many addresses in and out, all of one endpoint.
    ///
    /// # Errors
    /// When the kernel refuses an entry: those before it are there, the others are not.
    pub fn set_endpoints(
        &mut self,
        addresses: &[IpAddr],
        entry: &EndpointEntry,
    ) -> Result<(), DatapathError> {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for address in addresses {
            match address {
                IpAddr::V4(v4_address) => v4.push(v4_address.octets()),
                IpAddr::V6(v6_address) => v6.push(v6_address.octets()),
            }
        }
        update(&self.pins, "endpoints_v4", &v4, *entry)?;
        update(&self.pins, "endpoints_v6", &v6, *entry)
    }

    /// Routes many prefixes to other nodes.
    ///
    /// # Errors
    /// As for [`Datapath::set_endpoints`].
    pub fn set_remote_routes(&mut self, prefixes: &[IpNet]) -> Result<(), DatapathError> {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for prefix in prefixes {
            let length = prefix.prefix_len().into();
            match prefix.addr() {
                IpAddr::V4(address) => v4.push(Prefix {
                    length,
                    address: address.octets(),
                }),
                IpAddr::V6(address) => v6.push(Prefix {
                    length,
                    address: address.octets(),
                }),
            }
        }
        // In the order of the trie: neighbours in it share what the walk to them has fetched, which saves a quarter
        // of the time.
        v4.sort_unstable();
        v6.sort_unstable();
        let entry = RouteEntry::REMOTE;
        update(&self.pins, "routes_v4", &v4, entry)?;
        update(&self.pins, "routes_v6", &v6, entry)
    }
}

/// Sets many keys to one value.
fn update<K, V: Copy>(
    pins: &Pins,
    name: &'static str,
    keys: &[K],
    value: V,
) -> Result<(), DatapathError> {
    if keys.is_empty() {
        return Ok(());
    }
    let path = pins.map(name);
    let data = MapData::from_pin(&path).map_err(map(name))?;
    let info = data.info().map_err(map(name))?;
    // The kernel reads as much as the map says.
    if info.key_size() as usize != size_of::<K>() || info.value_size() as usize != size_of::<V>() {
        return Err(DatapathError::Foreign {
            path,
            problem: format!("map {name} has another layout"),
        });
    }
    let values = vec![value; keys.len().min(CHUNK)];
    for chunk in keys.chunks(CHUNK) {
        update_chunk(&data, chunk, &values[..chunk.len()]).map_err(|source| {
            DatapathError::File {
                path: path.clone(),
                action: "set many entries",
                source,
            }
        })?;
    }
    Ok(())
}

fn update_chunk<K, V>(data: &MapData, keys: &[K], values: &[V]) -> io::Result<()> {
    use std::os::fd::AsFd as _;
    let fd = data.fd().as_fd().as_raw_fd();
    let mut batch = Batch {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: u32::try_from(keys.len()).map_err(io::Error::other)?,
        map_fd: fd.cast_unsigned(),
        ..Batch::default()
    };
    // SAFETY: both slices outlive the call, hold `count` elements of the sizes that the map has (checked by
    // the caller), and are only read.
    unsafe { bpf(MAP_UPDATE_BATCH, &mut batch) }.map(drop)
}
