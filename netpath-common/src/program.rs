//! The programs, by name and hook.

/// Priority of netpath's filters on a clsact qdisc, where the kernel has no TCX: the letters `np`.
pub const CLSACT_PRIORITY: u16 = 0x6e70;

/// A side of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// What comes in by it.
    Ingress,
    /// What goes out by it.
    Egress,
}

impl Hook {
    /// As `tc` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// One of netpath's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProgramKind {
    /// At the ingress of a host-side veth.
    FromEndpoint,
    /// At the ingress of an uplink.
    FromUplink,
    /// At the egress of a host-side veth.
    ToEndpoint,
    /// At the egress of an uplink.
    ToUplink,
}

impl ProgramKind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::FromEndpoint,
        Self::FromUplink,
        Self::ToEndpoint,
        Self::ToUplink,
    ];

    /// Its name in the object and on bpffs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromEndpoint => "from_endpoint",
            Self::FromUplink => "from_uplink",
            Self::ToEndpoint => "to_endpoint",
            Self::ToUplink => "to_uplink",
        }
    }

    /// The program of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The hook it belongs on.
    pub const fn hook(self) -> Hook {
        match self {
            Self::FromEndpoint | Self::FromUplink => Hook::Ingress,
            Self::ToEndpoint | Self::ToUplink => Hook::Egress,
        }
    }
}
