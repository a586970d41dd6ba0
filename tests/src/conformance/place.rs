//! Where things are in the lab, and by what names and addresses.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;

use crate::Family;

/// A namespace of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The router under test.
    NodeA,
    /// The router across the wire.
    NodeB,
    /// The router across node A's other wire.
    NodeC,
    /// Node A's endpoint that sends, and that packets from the wire are for.
    A1,
    /// Node A's endpoint that receives.
    A2,
    /// Node A's endpoint that has no part in it.
    A3,
    /// Node B's endpoint.
    B1,
    /// Node C's endpoint.
    C1,
    /// The bridge that plays the wire.
    Wire,
    /// The bridge that plays the wire to node C.
    WireC,
}

impl Place {
    /// All endpoints.
    pub const ENDPOINTS: [Self; 5] = [Self::A1, Self::A2, Self::A3, Self::B1, Self::C1];

    /// The interface that faces the rest of the lab.
    pub fn dev(self) -> &'static str {
        match self {
            Self::NodeA | Self::NodeB | Self::NodeC => UPLINK,
            Self::A1 | Self::A2 | Self::A3 | Self::B1 | Self::C1 => "eth0",
            Self::Wire | Self::WireC => "br0",
        }
    }

    /// The host-side veth of an endpoint.
    pub fn host_dev(self) -> &'static str {
        match self {
            Self::A1 => "va1",
            Self::A2 => "va2",
            Self::A3 => "va3",
            Self::B1 => "vb1",
            Self::C1 => "vc1",
            _ => panic!("{self} is no endpoint"),
        }
    }

    /// Its first address.
    pub fn address(self, family: Family) -> IpAddr {
        let (v4, v6) = match self {
            Self::NodeA => ("10.8.0.1", "fd00:8::1"),
            Self::NodeB => ("10.8.0.2", "fd00:8::2"),
            Self::NodeC => ("10.9.0.2", "fd00:9::2"),
            Self::A1 => ("10.1.1.2", "fd00:1:1::2"),
            Self::A2 => ("10.1.2.2", "fd00:1:2::2"),
            Self::A3 => ("10.1.3.2", "fd00:1:3::2"),
            Self::B1 => ("10.2.1.2", "fd00:2:1::2"),
            Self::C1 => ("10.3.1.2", "fd00:3:1::2"),
            Self::Wire | Self::WireC => panic!("a wire has no address"),
        };
        let text = match family {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        text.parse().expect(text)
    }
}

/// What an endpoint has beside its first addresses.
impl Place {
    /// Another address of an endpoint: its number in its subnet is 10.
    pub fn second_address(self, family: Family) -> IpAddr {
        match self.address(family) {
            IpAddr::V4(first) => IpAddr::V4((u32::from(first) + 8).into()),
            IpAddr::V6(first) => IpAddr::V6((u128::from(first) + 0xe).into()),
        }
    }

    /// The prefix that is routed to an endpoint: 10.1.91.0/28 and fd00:1:91::/64 for the first.
    pub(super) fn prefix(self, family: Family) -> IpNet {
        let (v4, v6) = match self {
            Self::A1 => ("10.1.91.0/28", "fd00:1:91::/64"),
            Self::A2 => ("10.1.92.0/28", "fd00:1:92::/64"),
            Self::A3 => ("10.1.93.0/28", "fd00:1:93::/64"),
            Self::B1 => ("10.2.91.0/28", "fd00:2:91::/64"),
            Self::C1 => ("10.3.91.0/28", "fd00:3:91::/64"),
            _ => panic!("{self} is no endpoint"),
        };
        let text = match family {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        text.parse().expect(text)
    }

    /// The first and the last address of its prefix.
    pub fn prefix_edges(self, family: Family) -> (IpAddr, IpAddr) {
        let prefix = self.prefix(family);
        (prefix.network(), prefix.broadcast())
    }

    /// The address in its prefix that an endpoint has on its loopback device.
    pub fn nested(self, family: Family) -> IpAddr {
        match self.prefix(family).network() {
            IpAddr::V4(first) => IpAddr::V4((u32::from(first) + 5).into()),
            IpAddr::V6(first) => IpAddr::V6((u128::from(first) + 5).into()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NodeA => "node A",
            Self::NodeB => "node B",
            Self::NodeC => "node C",
            Self::A1 => "a1",
            Self::A2 => "a2",
            Self::A3 => "a3",
            Self::B1 => "b1",
            Self::C1 => "c1",
            Self::Wire => "wire",
            Self::WireC => "wire to C",
        })
    }
}

/// The uplink of every node.
pub(super) const UPLINK: &str = "up0";
/// Node A's uplink to node C.
pub(super) const UPLINK_TO_C: &str = "up1";

/// a1's further IPv4 addresses: 10.1.1.10 and on.
pub(super) const SPARES: u8 = 12;
