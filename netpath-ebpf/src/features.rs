//! What few nodes need: a bit for each in the map `features`, so that all others pay one load and one branch for
//! all of them together.

use netpath_common::FeatureBits;

use crate::records::FEATURES;

/// What is set of [`FeatureBits`] on this node.
#[derive(Clone, Copy)]
pub struct Features(FeatureBits);

impl Features {
    /// As they are now.
    #[inline(always)]
    pub fn of_node() -> Self {
        const NONE: FeatureBits = FeatureBits {
            bits: 0,
            route_mtu: 0,
        };
        Self(FEATURES.get(0).copied().unwrap_or(NONE))
    }

    /// Whether some prefix may be routed to an endpoint of this node.
    #[inline(always)]
    pub fn local_prefixes(self) -> bool {
        self.0.bits & FeatureBits::LOCAL_PREFIXES != 0
    }

    /// Whether the kernel filters by reverse path on some uplink.
    #[inline(always)]
    pub fn reverse_path(self) -> bool {
        self.0.bits & FeatureBits::REVERSE_PATH != 0
    }

    /// Whether what comes in by some uplink is the kernel's.
    #[inline(always)]
    pub fn punt_ingress(self) -> bool {
        self.0.bits & FeatureBits::PUNT_INGRESS != 0
    }

    /// Whether the kernel goes by paths' MTUs when it forwards IPv4.
    #[inline(always)]
    pub fn path_mtu(self) -> bool {
        self.0.bits & FeatureBits::PATH_MTU != 0
    }

    /// Whether the packets of some uplink have no header of the link's.
    #[inline(always)]
    pub fn bare_uplinks(self) -> bool {
        self.0.bits & FeatureBits::BARE_UPLINKS != 0
    }

    /// Whether some interface is in shadow mode.
    #[inline(always)]
    pub fn shadow(self) -> bool {
        self.0.bits & FeatureBits::SHADOW != 0
    }

    /// The least MTU that a route has of its own, in bytes; 0 where none has.
    #[inline(always)]
    pub fn route_mtu(self) -> u32 {
        self.0.route_mtu
    }
}
