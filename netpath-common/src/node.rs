//! One node, by who writes it: its identity once, its wishes, its id allocator, and what programs read. Each is the only
//! entry of an array.

use crate::{EndpointId, NAME_SIZE, map_type};

/// The `meta` map: what a node is, written once. `abi_version` is its first field in every version. Its size is that of
/// a later version, too: every netpath can read a `meta` of 128 bytes, and so refuse it for its version.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// [`ABI_VERSION`](crate::ABI_VERSION) of the directory.
    pub abi_version: u32,
    /// 1 if netpath made the node's namespace, 0 if it is the machine's own.
    pub netns_made: u32,
    /// `SO_NETNS_COOKIE` of the node's namespace: unique for as long as the machine is up.
    pub netns_cookie: u64,
    /// Name of the node, zero-terminated.
    pub name: [u8; NAME_SIZE],
    /// Zero.
    pub reserved: [u8; 48],
}

/// The `settings` map: what is wanted of a node, and how far that has come.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Fingerprint of the BPF object whose programs are pinned.
    pub object: u64,
    /// Number of the [`FastPathMode`](crate::FastPathMode) that is wanted.
    pub fast_path: u32,
    /// 1 if netpath set the iptables FORWARD policy of the node to DROP.
    pub forward_drop: u32,
    /// 1 once all settings of the node's namespace were made.
    pub configured: u32,
    /// Endpoint addresses of each family that there is to be room for.
    pub max_endpoints: u32,
    /// Routed prefixes of each family that there is to be room for.
    pub max_routes: u32,
    /// Routes of the topology file, of both families together, that there is to be room for.
    pub max_route_records: u32,
    /// What of the kernel's doing may be passed by knowingly, a bit each.
    pub bypass: u32,
    /// [`Identity::netns_made`] once more: with it a `meta` that somebody overwrote is written again.
    pub netns_made: u32,
    /// [`Identity::netns_cookie`] once more.
    pub netns_cookie: u64,
    /// Connections of each family that there is to be room for.
    pub max_connections: u32,
    /// Zero.
    pub reserved: u32,
}

/// The `ids` map: what was given out.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The next [`EndpointId`] to give out.
    pub next_endpoint_id: EndpointId,
}

/// The `features` map: what the programs have to look at on this node beyond the usual. They read it for every packet
/// that needs it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureBits {
    /// [`FeatureBits::LOCAL_PREFIXES`] and the others.
    pub bits: u32,
    /// The least MTU that a route of the node's has of its own, in bytes: a larger packet to another node may not fit
    /// its route, whatever its device takes. 0 where no route has one.
    pub route_mtu: u32,
}

/// The `epoch` map: a number that is another one after each change that user space makes of what the programs go by. What they
/// remember of a decision is good for one epoch only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch {
    /// When that was: nanoseconds of `CLOCK_MONOTONIC`. Never twice the same.
    pub changed: u64,
}

impl FeatureBits {
    /// Some prefix may be routed to an endpoint of this node.
    pub const LOCAL_PREFIXES: u32 = 1;
    /// The kernel filters by reverse path on some uplink.
    pub const REVERSE_PATH: u32 = 2;
    /// What comes in by some uplink is the kernel's.
    pub const PUNT_INGRESS: u32 = 4;
    /// The kernel goes by paths' MTUs when it forwards IPv4 (`ip_forward_use_pmtu` of Linux's ip-sysctl.rst).
    pub const PATH_MTU: u32 = 8;
    /// The packets of some uplink have no header of the link's ([`InterfaceKind::BareUplink`](crate::InterfaceKind)).
    pub const BARE_UPLINKS: u32 = 16;
    /// Some interface is in shadow mode.
    pub const SHADOW: u32 = 32;
}

map_type!(
    Identity,
    128,
    [abi_version, netns_made, netns_cookie, name, reserved]
);
map_type!(
    Settings,
    56,
    [
        object,
        fast_path,
        forward_drop,
        configured,
        max_endpoints,
        max_routes,
        max_route_records,
        bypass,
        netns_made,
        netns_cookie,
        max_connections,
        reserved
    ]
);
map_type!(Ids, 4, [next_endpoint_id]);
map_type!(FeatureBits, 8, [bits, route_mtu]);
map_type!(Epoch, 8, [changed]);
