//! What few nodes need: a bit for each in the map `features`, so that all others pay one load and one branch for
//! all of them together.

use netpath_common::FeatureBits;

use crate::records::FEATURES;

/// The bits of [`FeatureBits`] that are set on this node.
#[derive(Clone, Copy)]
pub struct Features(u32);

impl Features {
    /// As they are now.
    #[inline(always)]
    pub fn of_node() -> Self {
        Self(FEATURES.get(0).map_or(0, |features| features.bits))
    }

    /// Whether some prefix may be routed to an endpoint of this node.
    #[inline(always)]
    pub fn local_prefixes(self) -> bool {
        self.0 & FeatureBits::LOCAL_PREFIXES != 0
    }

    /// Whether the kernel filters by reverse path on some uplink.
    #[inline(always)]
    pub fn reverse_path(self) -> bool {
        self.0 & FeatureBits::REVERSE_PATH != 0
    }
}
