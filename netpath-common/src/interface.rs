//! The interfaces that netpath's programs are attached to: the `interfaces` map, keyed by ifindex.

use crate::{EndpointId, IFNAME_SIZE, NAME_SIZE, map_type};

/// What an interface leads to.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterfaceKind {
    /// The host-side veth of an endpoint.
    Endpoint = 1,
    /// Towards other nodes.
    Uplink = 2,
}

impl InterfaceKind {
    /// The kind with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Endpoint),
            2 => Some(Self::Uplink),
            _ => None,
        }
    }

    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Uplink => "uplink",
        }
    }
}

/// Whether an interface's data is complete.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterfaceState {
    /// Being set up or taken down: its packets are dropped.
    Preparing = 1,
    /// Complete.
    Ready = 2,
}

/// One interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceEntry {
    /// Number of the [`InterfaceKind`].
    pub kind: u32,
    /// Number of the [`InterfaceState`].
    pub state: u32,
    /// The endpoint behind it; 0 for an uplink.
    pub endpoint_id: EndpointId,
    /// Of an uplink, the mode of the kernel's IPv4 reverse-path filter that the programs go by: 0 off, 1 strict,
    /// 2 loose, as in `rp_filter` of Linux's ip-sysctl.rst. 0 for an endpoint, whose source is checked anyway.
    pub rp_filter: u32,
    /// Name of the interface, zero-terminated.
    pub name: [u8; IFNAME_SIZE],
    /// Name of the endpoint, zero-terminated; empty for an uplink.
    pub endpoint: [u8; NAME_SIZE],
}

map_type!(
    InterfaceEntry,
    96,
    [kind, state, endpoint_id, rp_filter, name, endpoint]
);
