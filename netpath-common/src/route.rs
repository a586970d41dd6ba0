//! Longest-prefix-match route table: the `routes_v4` and `routes_v6` maps. A key is the prefix length in
//! bits (u32, host order) and the address in network order.

use crate::map_type;

/// What a prefix leads to.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// Endpoints of another node: the kernel's FIB knows the next hop.
    Remote = 1,
}

impl RouteKind {
    /// The kind with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Remote),
            _ => None,
        }
    }

    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Remote => "remote",
        }
    }
}

/// Value of a prefix.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteEntry {
    /// Number of the [`RouteKind`].
    pub kind: u32,
}

impl RouteEntry {
    /// An entry of this kind.
    pub const fn new(kind: RouteKind) -> Self {
        Self { kind: kind as u32 }
    }
}

map_type!(RouteEntry, 4);
