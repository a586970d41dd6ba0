//! What netpath's kernel programs and user space share: map keys and values, verdicts, the ABI version.
//!
//! # Byte order
//!
//! Addresses and MACs are byte arrays in network order, exactly as they stand in a packet. Every other
//! integer is in the host's order. Structures are `repr(C)`, hold no implicit padding, and are zero in
//! every byte that has no meaning, because hash maps compare keys byte by byte.
//!
//! # Compatibility
//!
//! Pinned maps outlive the process that made them. Any change of a key, a value or a map's type raises
//! [`ABI_VERSION`]; user space refuses a pinned directory of another version.
#![cfg_attr(not(any(test, feature = "user")), no_std)]

#[cfg(feature = "user")]
mod bypass;
mod connection;
mod counter;
mod endpoint;
mod family;
mod id;
mod interface;
mod node;
mod program;
mod record;
mod route;
pub mod tables;
pub mod trace;
mod trail;
mod verdict;

#[cfg(feature = "user")]
pub use bypass::Bypass;
pub use connection::{
    CONNECTIONS_NEW, ConnectionCount, ConnectionEntry, ConnectionFamily, ConnectionKey,
    LastEntered, has_ports,
};
pub use counter::{HOP_ROWS, HopCounter, HopKey};
pub use endpoint::{DeviceEntry, EndpointEntry};
pub use family::{Family, UnknownFamily};
pub use id::{EndpointId, Ifindex, Mac};
pub use interface::{
    GATE_WORDS, Gate, GateWord, InterfaceEntry, InterfaceKind, InterfaceState, gate_word,
    interfaces_of_word,
};
pub use node::{Epoch, FeatureBits, Identity, Ids, Settings};
pub use program::{CLSACT_PRIORITY, Hook, ProgramKind};
pub use record::{
    ADDRESSES_MAX, EndpointRecord, FastPathMode, FastPathWish, NETNS_PATH_SIZE, NameKey, NetnsKind,
    Origin, PREFIXES_MAX, PrefixBytes, RecordState, RouteRecord, UplinkRecord,
};
pub use route::{RouteEntry, RouteKind, TrieKey};
pub use trail::{TRAIL_SIGN, TRAILS, Trail, TrailKey};
pub use verdict::{DropReason, Outcome, PuntReason, Verdict};

/// Version of every pinned layout. A pinned directory of another version is refused, never misread.
pub const ABI_VERSION: u32 = 9;

/// The gateway of every endpoint, an address of each host-side veth: link-local (RFC 3927), so that it takes nobody's.
pub const GATEWAY_V4: [u8; 4] = [169, 254, 1, 1];
/// The same for IPv6 (RFC 4291, 2.5.6).
pub const GATEWAY_V6: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Default capacity of each endpoint map, in addresses.
pub const ENDPOINTS_DEFAULT: u32 = 65_536;

/// Default capacity of each route map, in prefixes.
pub const ROUTES_DEFAULT: u32 = 1_048_576;

/// Default capacity of each connection map, in connections. The kernel makes room for all of them at once: 80 bytes each for
/// IPv4, 104 for IPv6.
pub const CONNECTIONS_DEFAULT: u32 = 65_536;

/// Largest capacity of the hop counters, in (ingress, egress, outcome, reason) rows. Rows beyond the capacity are counted
/// together, by verdict, in the `hop_overflow` map.
pub const HOPS_MAX: u32 = 262_144;

/// The least capacity of the hop counters, in rows.
pub const HOPS_LEAST: u32 = 16_384;

/// Rows of the hop counters for each endpoint address, between the least and the largest capacity.
pub const HOPS_PER_ENDPOINT: u32 = 16;

/// Least capacity of the map that says which routes netpath made, in routes. It grows with the file.
pub const ROUTE_RECORDS_LEAST: u32 = 16_384;

/// Capacity of the `hop_overflow` map: more than there are outcomes and reasons.
pub const OVERFLOW_ROWS: u32 = 128;

/// Capacity of each map that says what netpath made: twice [`ENDPOINTS_DEFAULT`], for endpoints of one
/// family each.
pub const RECORDS_MAX: u32 = 131_072;

/// Size of an interface name with its terminating zero (`IFNAMSIZ` in `linux/if.h`).
pub const IFNAME_SIZE: usize = 16;

/// Size of a node's, endpoint's or wire's name with its terminating zero.
pub const NAME_SIZE: usize = 64;

/// One field of a key or value, as it lies in memory.
#[cfg(feature = "user")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name; a number in a newtype.
    pub name: &'static str,
    /// From the start of the structure, in bytes.
    pub offset: usize,
    /// In bytes.
    pub size: usize,
}

/// A key or value whose fields are known, so that its layout can be compared with the one that was published.
#[cfg(feature = "user")]
pub trait Layout {
    /// Its fields in their order; none where it is a plain integer or array of bytes.
    const FIELDS: &'static [Field];
}

#[cfg(feature = "user")]
macro_rules! plain_layout {
    ($($type:ty),+) => {
        $(impl Layout for $type {
            const FIELDS: &'static [Field] = &[];
        })+
    };
}
#[cfg(feature = "user")]
plain_layout!(u32, u64, [u8; 4], [u8; 16]);

/// Size of the field that a projection leads to, in bytes.
pub(crate) const fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    core::mem::size_of::<F>()
}

/// Makes a structure a map key or value for aya, after checking at compile time that all its fields are named, that it
/// has the size stated, and that its fields fill it.
macro_rules! map_type {
    ($type:ident, $size:expr, [$($field:tt),+ $(,)?]) => {
        const _: () = {
            assert!(
                core::mem::size_of::<$type>() == $size,
                "the layout changed: raise ABI_VERSION"
            );
            assert!(
                0 $(+ $crate::size_of_field::<$type, _>(|value| &value.$field))+ == $size,
                "implicit padding"
            );
            let _all_fields_are_named: fn(&$type) = |value| {
                let $type { $($field: _),+ } = value;
            };
        };
        #[cfg(feature = "user")]
        impl $crate::Layout for $type {
            const FIELDS: &'static [$crate::Field] = &[$($crate::Field {
                name: stringify!($field),
                offset: core::mem::offset_of!($type, $field),
                size: $crate::size_of_field::<$type, _>(|value| &value.$field),
            }),+];
        }
        // SAFETY: Copy, no invalid bit pattern, and no padding: every field is an integer, a byte array or another
        // such structure, and the assertion above says that they fill the structure.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $type {}
    };
}
pub(crate) use map_type;

/// A text in a fixed-size, zero-terminated field; `None` where it does not fit or holds a zero byte.
pub fn fixed<const N: usize>(text: &str) -> Option<[u8; N]> {
    let bytes = text.as_bytes();
    if bytes.len() >= N || bytes.contains(&0) {
        return None;
    }
    let mut field = [0; N];
    field[..bytes.len()].copy_from_slice(bytes);
    Some(field)
}

/// The text of a fixed-size, zero-terminated field; `None` where it is not UTF-8.
pub fn text(field: &[u8]) -> Option<&str> {
    let end = field.iter().position(|&byte| byte == 0)?;
    core::str::from_utf8(&field[..end]).ok()
}
