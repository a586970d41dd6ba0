//! What things are called in tables, in reports and in the names of plots.

use super::results::{ChangeKind, PacketKind};

impl PacketKind {
    /// In tables and titles.
    pub fn title(self) -> &'static str {
        match self {
            Self::SameNode => "to an endpoint of the node",
            Self::Remote => "to another node",
            Self::Uplink => "from another node",
            Self::Spoofed => "spoofed, dropped",
            Self::NoRoute => "no route, punted",
        }
    }

    /// As in the document, and as part of a file name.
    pub fn slug(self) -> &'static str {
        match self {
            Self::SameNode => "same_node",
            Self::Remote => "remote",
            Self::Uplink => "uplink",
            Self::Spoofed => "spoofed",
            Self::NoRoute => "no_route",
        }
    }
}

impl ChangeKind {
    /// In tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::NextHop => "next hop of a kernel route",
            Self::Prefix => "prefix in netpath's table",
            Self::Endpoint => "endpoint in netpath's table",
        }
    }
}
