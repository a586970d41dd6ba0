//! Synthetic addresses and prefixes, the same for the same seed.
//!
//! | block | what |
//! |---|---|
//! | 10.64.0.0/10, fd10::/16 | endpoints of the node |
//! | 16.0.0.0 to 95.255.255.255, fd20::/12 | prefixes of other nodes |
//! | 96.0.0.0/4, fd50::/16 | behind the direct veth pair |
//!
//! Nothing of this leaves the lab's namespaces.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use netpath::random::SplitMix64;

use crate::Family;

/// Blocks of other nodes' prefixes: what the kernel routes to the next hop.
pub const REMOTE_V4: [&str; 3] = ["16.0.0.0/4", "32.0.0.0/3", "64.0.0.0/3"];
/// The same for IPv6.
pub const REMOTE_V6: [&str; 1] = ["fd20::/12"];
/// The block of the node's synthetic endpoints.
pub const LOCAL_V4: &str = "10.64.0.0/10";
/// The same for IPv6.
pub const LOCAL_V6: &str = "fd10::/16";
/// The block behind the direct veth pair.
pub const DIRECT_V4: &str = "96.0.0.0/4";
/// The same for IPv6.
pub const DIRECT_V6: &str = "fd50::/16";
/// A destination without a route.
pub const UNROUTED_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The same for IPv6.
pub const UNROUTED_V6: Ipv6Addr = Ipv6Addr::new(0xfd60, 0, 0, 0, 0, 0, 0, 1);

/// Share of each prefix length per thousand. IPv4 after the usual sizes of pod subnets, from a cluster's to a
/// few pods'; with prefixes inside others, as there are 20,480 of 16 bits only.
const LENGTHS_V4: [(u8, usize); 6] = [(16, 5), (20, 55), (22, 100), (24, 600), (26, 150), (28, 90)];
/// The same for IPv6.
const LENGTHS_V6: [(u8, usize); 5] = [(32, 5), (40, 45), (48, 350), (56, 250), (64, 350)];

/// So many different addresses of endpoints.
pub fn endpoints(family: Family, count: usize, seed: u64) -> Vec<IpAddr> {
    distinct(count, seed, |random| address_in(family, random, local))
}

/// So many different addresses behind the direct veth pair.
pub fn direct(family: Family, count: usize, seed: u64) -> Vec<IpAddr> {
    distinct(count, seed, |random| {
        address_in(family, random, direct_block)
    })
}

/// So many different prefixes of mixed lengths, also one inside another.
pub fn prefixes(family: Family, count: usize, seed: u64) -> Vec<IpNet> {
    distinct(count, seed, |random| {
        let lengths: &[(u8, usize)] = match family {
            Family::V4 => &LENGTHS_V4,
            Family::V6 => &LENGTHS_V6,
        };
        let mut ticket = random.below(1000);
        let mut length = 0;
        for &(candidate, share) in lengths {
            length = candidate;
            if ticket < share {
                break;
            }
            ticket -= share;
        }
        let address = match family {
            Family::V4 => {
                let first = 16 + random.below(80) as u32;
                Ipv4Addr::from(first << 24 | random.next() as u32 >> 8).into()
            }
            Family::V6 => {
                let block = 0xfd20_u128 << 112;
                let host = (u128::from(random.next()) << 64 | u128::from(random.next())) >> 12;
                Ipv6Addr::from(block | host).into()
            }
        };
        IpNet::new(address, length)
            .unwrap_or_else(|_| IpNet::from(address))
            .trunc()
    })
}

/// An address inside a prefix.
pub fn inside(prefix: IpNet, random: &mut SplitMix64) -> IpAddr {
    match prefix {
        IpNet::V4(v4) => {
            let host = random.next() as u32 & u32::from(v4.hostmask());
            Ipv4Addr::from(u32::from(v4.network()) | host).into()
        }
        IpNet::V6(v6) => {
            let host = u128::from(random.next()) & u128::from(v6.hostmask());
            Ipv6Addr::from(u128::from(v6.network()) | host).into()
        }
    }
}

fn local(family: Family) -> (u32, u16) {
    match family {
        Family::V4 => (0x0a40_0000, 10),
        Family::V6 => (0, 0xfd10),
    }
}

fn direct_block(family: Family) -> (u32, u16) {
    match family {
        Family::V4 => (0x6000_0000, 4),
        Family::V6 => (0, 0xfd50),
    }
}

/// An address of a block: for IPv4 its network and length, for IPv6 its first 16 bits, with a subnet for each
/// endpoint.
fn address_in(family: Family, random: &mut SplitMix64, block: fn(Family) -> (u32, u16)) -> IpAddr {
    let (network, word) = block(family);
    match family {
        Family::V4 => Ipv4Addr::from(network | random.next() as u32 >> word).into(),
        Family::V6 => {
            let subnet = u128::from(random.next() >> 16);
            Ipv6Addr::from(u128::from(word) << 112 | subnet << 64 | 2).into()
        }
    }
}

fn distinct<T: Copy + Eq + std::hash::Hash>(
    count: usize,
    seed: u64,
    mut make: impl FnMut(&mut SplitMix64) -> T,
) -> Vec<T> {
    let mut random = SplitMix64::new(seed);
    let mut seen = HashSet::with_capacity(count);
    let mut items = Vec::with_capacity(count);
    while items.len() < count {
        let item = make(&mut random);
        if seen.insert(item) {
            items.push(item);
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_different_and_in_their_blocks() {
        let block = |text: &str| text.parse::<IpNet>().expect("a prefix");
        for (family, local, remote) in [
            (Family::V4, LOCAL_V4, &REMOTE_V4[..]),
            (Family::V6, LOCAL_V6, &REMOTE_V6[..]),
        ] {
            let addresses = endpoints(family, 5_000, 1);
            assert!(addresses.iter().all(|a| block(local).contains(a)));
            assert_eq!(addresses.iter().collect::<HashSet<_>>().len(), 5_000);
            let routes = prefixes(family, 20_000, 1);
            assert_eq!(routes.iter().collect::<HashSet<_>>().len(), 20_000);
            let mut random = SplitMix64::new(2);
            for route in &routes {
                assert_eq!(*route, route.trunc());
                let address = inside(*route, &mut random);
                assert!(route.contains(&address), "{address} in {route}");
                assert!(
                    remote.iter().any(|outer| block(outer).contains(&address)),
                    "{address}"
                );
            }
            let lengths: HashSet<u8> = routes.iter().map(IpNet::prefix_len).collect();
            assert_eq!(lengths.len(), if family == Family::V4 { 6 } else { 5 });
            assert_eq!(routes, prefixes(family, 20_000, 1));
        }
        for (family, text) in [(Family::V4, DIRECT_V4), (Family::V6, DIRECT_V6)] {
            let addresses = direct(family, 1_000, 3);
            assert!(addresses.iter().all(|a| block(text).contains(a)));
        }
    }
}
