//! The addresses of a [`TestNode`](crate::TestNode): the textbook lab's, and some that nobody has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netpath::probe::frame::FrameBuilder;
use netpath_common::{Family, Mac};

/// A MAC that no interface of a test has.
pub const UNKNOWN_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x99]);

/// Who has which address, in a family.
pub trait Addresses: Copy + Into<Family> {
    /// Endpoint a's address.
    fn a(self) -> IpAddr {
        self.subnet(1, 2)
    }

    /// Endpoint b's address.
    fn b(self) -> IpAddr {
        self.subnet(2, 2)
    }

    /// A second address of endpoint a.
    fn a_too(self) -> IpAddr {
        self.subnet(1, 3)
    }

    /// An address behind the other node.
    fn remote(self) -> IpAddr {
        self.subnet(3, 2)
    }

    /// An address of the node itself.
    fn node(self) -> IpAddr {
        pick(
            self,
            [100, 100, 198, 250],
            [0xfd00, 0x198, 0, 0, 0, 0, 0, 0x250],
        )
    }

    /// The other node.
    fn gateway(self) -> IpAddr {
        pick(
            self,
            [100, 100, 198, 253],
            [0xfd00, 0x198, 0, 0, 0, 0, 0, 0x253],
        )
    }

    /// An address outside of every routed prefix.
    fn outside(self) -> IpAddr {
        pick(self, [192, 0, 2, 1], [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])
    }

    /// An address of a subnet of the routed prefix: 10.0.N.H or fd00:N::H. The node has no kernel route to
    /// subnets from 4 on.
    fn subnet(self, subnet: u8, host: u8) -> IpAddr {
        pick(
            self,
            [10, 0, subnet, host],
            [0xfd00, subnet.into(), 0, 0, 0, 0, 0, host.into()],
        )
    }

    /// An address of 10.9.0.0/28 or fd00:9::/64, which nobody has unless a test routes them somewhere.
    fn routed(self) -> IpAddr {
        pick(self, [10, 9, 0, 5], [0xfd00, 9, 0, 0, 0, 0, 0, 5])
    }

    /// Length of the Ethernet and IP headers, in bytes.
    fn headers(self) -> usize {
        match self.into() {
            Family::V4 => 14 + 20,
            Family::V6 => 14 + 40,
        }
    }
}

impl Addresses for Family {}

fn pick(family: impl Into<Family>, v4: [u8; 4], v6: [u16; 8]) -> IpAddr {
    match family.into() {
        Family::V4 => Ipv4Addr::from(v4).into(),
        Family::V6 => Ipv6Addr::from(v6).into(),
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
