//! What few nodes need: a bit for each in the node's `meta`, so that all others pay one load and one branch for
//! all of them together.

use netpath_common::Meta;

use crate::records::META;

/// The bits of [`Meta::features`] that are set on this node.
#[derive(Clone, Copy)]
pub struct Features(u32);

impl Features {
    /// As they are now.
    #[inline(always)]
    pub fn of_node() -> Self {
        Self(META.get(0).map_or(0, |meta| meta.features))
    }

    /// Whether some prefix may be routed to an endpoint of this node.
    #[inline(always)]
    pub fn local_prefixes(self) -> bool {
        self.0 & Meta::LOCAL_PREFIXES != 0
    }

    /// Whether the kernel filters by reverse path on some uplink.
    #[inline(always)]
    pub fn reverse_path(self) -> bool {
        self.0 & Meta::REVERSE_PATH != 0
    }
}
