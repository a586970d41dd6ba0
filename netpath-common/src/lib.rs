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

mod counter;
mod endpoint;
mod id;
mod interface;
mod record;
mod route;
mod verdict;

pub use counter::{HopCounter, HopKey};
pub use endpoint::EndpointEntry;
pub use id::{EndpointId, Ifindex, Mac};
pub use interface::{
    InterfaceEntry, InterfaceKind, InterfaceState, READY_WORDS, ready_bit, ready_word,
};
pub use record::{
    ADDRESSES_MAX, EndpointRecord, Meta, NameKey, PREFIXES_MAX, PrefixBytes, RecordState,
    RouteRecord, UplinkRecord,
};
pub use route::{RouteEntry, RouteKind};
pub use verdict::{DropReason, Outcome, PuntReason, Verdict};

/// Version of every pinned layout. A pinned directory of another version is refused, never misread.
pub const ABI_VERSION: u32 = 2;

/// Default capacity of each endpoint map, in addresses.
pub const ENDPOINTS_DEFAULT: u32 = 65_536;

/// Default capacity of each route map, in prefixes.
pub const ROUTES_DEFAULT: u32 = 1_048_576;

/// Capacity of the hop counters, in (ingress, egress, outcome, reason) rows. Rows beyond it are counted
/// together, by verdict, in the `hop_overflow` map.
pub const HOPS_MAX: u32 = 262_144;

/// Capacity of the `hop_overflow` map: more than there are outcomes and reasons.
pub const OVERFLOW_ROWS: u32 = 128;

/// Capacity of each map that says what netpath made: twice [`ENDPOINTS_DEFAULT`], for endpoints of one
/// family each.
pub const RECORDS_MAX: u32 = 131_072;

/// Size of an interface name with its terminating zero (`IFNAMSIZ` in `linux/if.h`).
pub const IFNAME_SIZE: usize = 16;

/// Size of a node's, endpoint's or wire's name with its terminating zero.
pub const NAME_SIZE: usize = 64;

/// Makes a structure a map key or value for aya, after checking its size at compile time.
macro_rules! map_type {
    ($type:ty, $size:expr) => {
        const _: () = assert!(
            core::mem::size_of::<$type>() == $size,
            "the layout changed: raise ABI_VERSION"
        );
        // SAFETY: repr(C), Copy, no padding and no invalid bit pattern: every field is an integer, a
        // byte array or another such structure, and the size assertion above leaves no room for padding.
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
