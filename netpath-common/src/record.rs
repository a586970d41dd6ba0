//! What netpath made, so that it can be proven later: written only by user space, before the thing is made.

use crate::{EndpointId, IFNAME_SIZE, Ifindex, Mac, NAME_SIZE, map_type};

/// Most addresses that one endpoint or uplink can have.
pub const ADDRESSES_MAX: usize = 16;

/// Most prefixes that can be routed to one endpoint.
pub const PREFIXES_MAX: usize = 16;

/// Room for the path of a namespace that was given, with its terminating zero.
pub const NETNS_PATH_SIZE: usize = 256;

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
}

/// Who asked for a thing, and so may take it away again.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The topology file of `netpath up`, which removes what its file lacks.
    File = 1,
    /// A command, such as `netpath endpoint add`.
    Command = 2,
    /// A container runtime, by CNI.
    Cni = 3,
}

impl Origin {
    /// The origin with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::File),
            2 => Some(Self::Command),
            3 => Some(Self::Cni),
            _ => None,
        }
    }

    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Command => "command",
            Self::Cni => "cni",
        }
    }
}

/// Where an endpoint's namespace comes from.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NetnsKind {
    /// netpath made it, under the endpoint's name, and removes it with the endpoint.
    Made = 1,
    /// Somebody else's, at [`EndpointRecord::netns_path`]; it stays.
    Given = 2,
}

impl NetnsKind {
    /// The kind with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Made),
            2 => Some(Self::Given),
            _ => None,
        }
    }

    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Given => "given",
        }
    }
}

/// What the fast path is wanted to be.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FastPathMode {
    /// No program is attached.
    Off = 0,
    /// Programs take packets.
    On = 1,
    /// Programs are attached and count what they would do; each packet is the kernel's.
    Shadow = 2,
}

impl FastPathMode {
    /// The mode with this number; any other is a damaged one, and on.
    pub const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Off,
            2 => Self::Shadow,
            _ => Self::On,
        }
    }

    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Shadow => "shadow",
        }
    }

    /// Whether programs are to be attached.
    pub const fn attaches(self) -> bool {
        matches!(self, Self::On | Self::Shadow)
    }
}

impl From<bool> for FastPathMode {
    fn from(on: bool) -> Self {
        if on { Self::On } else { Self::Off }
    }
}

/// What the operator wants of the fast path on one interface.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FastPathWish {
    /// On where the node's is on.
    AsNode = 0,
    /// Off, whatever the node's is: `netpath fastpath off --endpoint`.
    Off = 1,
    /// On, whatever the node's is: `netpath fastpath on --endpoint`.
    On = 2,
    /// In shadow mode, whatever the node's is: `netpath fastpath shadow --endpoint`.
    Shadow = 3,
}

impl FastPathWish {
    /// The wish with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::AsNode),
            1 => Some(Self::Off),
            2 => Some(Self::On),
            3 => Some(Self::Shadow),
            _ => None,
        }
    }

    /// That of an interface which is to be in a mode, where its node's is another one.
    pub const fn for_mode(mode: FastPathMode) -> Self {
        match mode {
            FastPathMode::Off => Self::Off,
            FastPathMode::On => Self::On,
            FastPathMode::Shadow => Self::Shadow,
        }
    }

    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AsNode => "as_node",
            Self::Off => "off",
            Self::On => "on",
            Self::Shadow => "shadow",
        }
    }

    /// The mode that is wanted of the interface, where the node's is this.
    pub const fn wants(self, node: FastPathMode) -> FastPathMode {
        match self {
            Self::AsNode => node,
            Self::Off => FastPathMode::Off,
            Self::On => FastPathMode::On,
            Self::Shadow => FastPathMode::Shadow,
        }
    }
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
    /// Number of the [`Origin`].
    pub origin: u32,
    /// Number of the [`NetnsKind`].
    pub netns_kind: u32,
    /// Number of the [`FastPathWish`].
    pub fast_path: u32,
    /// The MTU that is wanted of its veth, in bytes; 0 for the least of the node's uplinks.
    pub mtu: u32,
    /// Path of a namespace that was given, zero-terminated; empty for one that netpath made.
    pub netns_path: [u8; NETNS_PATH_SIZE],
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
    /// Number of the [`FastPathWish`].
    pub fast_path: u32,
    /// Its place among the node's uplinks, from 0.
    pub position: u32,
    /// 1 if netpath made the interface's clsact qdisc, 0 if there is none or it was there. It is netpath's as long as one of
    /// netpath's filters is in it: a qdisc takes its filters with it when it goes.
    pub clsact_made: u32,
    /// Zero.
    pub padding: u32,
}

/// One route towards another node, in the `route_records` map, keyed by its destination.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRecord {
    /// The next hop, with a full prefix length; family 0 where the kernel's own routes say where the prefix leads.
    pub via: PrefixBytes,
    /// 1 if netpath put the route into the kernel's table, 0 if it was there.
    pub made: u32,
    /// Number of the [`Origin`].
    pub origin: u32,
    /// Metric of the route in the kernel's table; 0 for the kernel's default.
    pub metric: u32,
    /// Name of the uplink that the next hop is on the link of, zero-terminated; empty where its address says so.
    pub dev: [u8; IFNAME_SIZE],
}

map_type!(NameKey, 64, [name]);
map_type!(PrefixBytes, 20, [family, length, padding, address]);
map_type!(
    EndpointRecord,
    976,
    [
        netns_cookie,
        id,
        state,
        host_ifindex,
        endpoint_mac,
        host_mac,
        dev,
        host_dev,
        origin,
        netns_kind,
        fast_path,
        mtu,
        netns_path,
        addresses,
        prefixes
    ]
);
map_type!(
    UplinkRecord,
    432,
    [
        wire_cookie,
        state,
        ifindex,
        made,
        mac,
        port_mac,
        wire,
        addresses,
        fast_path,
        position,
        clsact_made,
        padding
    ]
);
map_type!(RouteRecord, 48, [via, made, origin, metric, dev]);
