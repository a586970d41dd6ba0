//! The addresses of a [`TestNode`](crate::TestNode): the textbook lab's, and some that nobody has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netpath::probe::frame::FrameBuilder;
use netpath_common::Mac;

/// A MAC that no interface of a test has.
pub const UNKNOWN_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x99]);

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    fn pick(self, v4: [u8; 4], v6: [u16; 8]) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::from(v4).into(),
            Self::V6 => Ipv6Addr::from(v6).into(),
        }
    }

    /// Endpoint a's address.
    pub fn a(self) -> IpAddr {
        self.subnet(1, 2)
    }

    /// Endpoint b's address.
    pub fn b(self) -> IpAddr {
        self.subnet(2, 2)
    }

    /// A second address of endpoint a.
    pub fn a_too(self) -> IpAddr {
        self.subnet(1, 3)
    }

    /// An address behind the other node.
    pub fn remote(self) -> IpAddr {
        self.subnet(3, 2)
    }

    /// An address of the node itself.
    pub fn node(self) -> IpAddr {
        self.pick([100, 100, 198, 250], [0xfd00, 0x198, 0, 0, 0, 0, 0, 0x250])
    }

    /// The other node.
    pub fn gateway(self) -> IpAddr {
        self.pick([100, 100, 198, 253], [0xfd00, 0x198, 0, 0, 0, 0, 0, 0x253])
    }

    /// An address outside of every routed prefix.
    pub fn outside(self) -> IpAddr {
        self.pick([192, 0, 2, 1], [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])
    }

    /// An address of a subnet of the routed prefix: 10.0.N.H or fd00:N::H. The node has no kernel route to
    /// subnets from 4 on.
    pub fn subnet(self, subnet: u8, host: u8) -> IpAddr {
        self.pick(
            [10, 0, subnet, host],
            [0xfd00, subnet.into(), 0, 0, 0, 0, 0, host.into()],
        )
    }

    /// An address of 10.9.0.0/28 or fd00:9::/64, which nobody has unless a test routes them somewhere.
    pub fn routed(self) -> IpAddr {
        self.pick([10, 9, 0, 5], [0xfd00, 9, 0, 0, 0, 0, 0, 5])
    }

    /// Length of the Ethernet and IP headers, in bytes.
    pub fn headers(self) -> usize {
        match self {
            Self::V4 => 14 + 20,
            Self::V6 => 14 + 40,
        }
    }

    /// As `ip` and sysctl paths name it.
    pub fn sysctl_name(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

/// Adds an IP header of the addresses' family.
pub fn between(frame: FrameBuilder, source: IpAddr, destination: IpAddr) -> FrameBuilder {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => frame.ipv4(source, destination),
        (IpAddr::V6(source), IpAddr::V6(destination)) => frame.ipv6(source, destination),
        _ => panic!("{source} and {destination} are of different families"),
    }
}
