//! What the decision cache knows a flow by, and which packets it may decide of: TCP and UDP that has nothing unusual, so that
//! every other packet of the same flow still takes the way through the stages.

use netpath_common::CONNECTIONS_NEW;
use network_types::ip::IpProto;

use crate::{
    access::{LinkDestination, Skb, View as _},
    checks,
    family::{Family, V4, V6},
    fib::{Route, words},
    parse::{ETHERNET, FRAGMENT_MASK, IPV4_END, IPV6_END, Network, checksum_is_right},
};

/// The shortest headers: UDP's has eight bytes (RFC 768).
const IPV4_UDP: usize = IPV4_END + 8;
const IPV6_UDP: usize = IPV6_END + 8;
/// TCP's up to its flags (RFC 9293, section 3.1).
const IPV4_FLAGS: usize = IPV4_END + FLAGS_END;
const IPV6_FLAGS: usize = IPV6_END + FLAGS_END;
const FLAGS_END: usize = 14;

/// The flag of TCP that begins a connection: of those the stages decide, which ask whose it is.
const SYN: u8 = 0x02;
/// DSCP, without ECN, in IPv4's second byte (RFC 2474).
const DSCP: u8 = 0xfc;
/// DSCP and flow label in IPv6's first word: without version and ECN (RFC 8200).
const CLASS: u32 = 0x0fcf_ffffu32.to_be();
/// A bit of that word's version: the packet is UDP, not TCP.
const IS_UDP: u32 = 0x1000_0000u32.to_be();

/// 2^64 divided by the golden ratio, for multiplicative hashing (Knuth, The Art of Computer Programming, volume 3, 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A family's flows.
pub trait Flows: Family {
    /// Addresses, ports, protocol, class and ingress, in words.
    type Key: Copy + 'static;

    /// The key of a packet of this family; none where it is not a plain one of TCP or UDP, of whose header enough can be read.
    fn key(skb: &Skb) -> Option<Self::Key>;

    /// Whether two are the same: word by word, for the compiler calls `memcmp` for arrays, which takes a step for each byte.
    fn is_same(a: &Self::Key, b: &Self::Key) -> bool;

    /// A hash of it, whose upper bits are its best.
    fn hash(key: &Self::Key) -> u64;

    /// Where it is noted that connections between its ends were entered: the same for both directions.
    fn index(key: &Self::Key) -> u32;

    /// The same by the ends; ports in the host's order.
    fn index_of(source: &Self::Address, destination: &Self::Address, ports: [u16; 2]) -> u32;

    /// The length that a packet's header states, in bytes from it on, if the header is right and it may be forwarded once more.
    fn stated_length(skb: &Skb) -> Option<u32>;

    /// Whether a packet that has a key begins a TCP connection, or answers one that does.
    fn is_syn(skb: &Skb) -> bool;
}

/// The family of a frame that is for this host, without a tag, a mark or an unusual EtherType.
#[inline(always)]
pub fn network(skb: &Skb) -> Option<Network> {
    let header = skb.header::<ETHERNET>()?;
    let is_plain = matches!(skb.link_destination(), LinkDestination::ThisHost)
        && skb.vlan_tag().is_none()
        && skb.mark() == 0;
    let ether_type = header.half::<12>();
    if is_plain {
        Network::of(ether_type)
    } else {
        None
    }
}

/// A hash with one more word in it. Its upper bits are its best.
#[inline(always)]
pub fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(GOLDEN);
    product ^ product >> 32
}

/// Of both ends' addresses and ports, mixed without regard to their order, an index of `connections_new`.
#[inline(always)]
fn index(addresses: u32, ports: u16) -> u32 {
    // 2^32 divided by the golden ratio, as for the hash.
    (addresses ^ u32::from(ports)).wrapping_mul(0x9e37_79b9)
        >> (u32::BITS - CONNECTIONS_NEW.ilog2())
}

/// The halves of a word, one laid over the other.
#[inline(always)]
fn folded(word: u64) -> u32 {
    word as u32 ^ (word >> 32) as u32
}

/// Source and destination port, as they stand in a packet, one laid over the other.
#[inline(always)]
fn folded_ports(word: u64) -> u16 {
    word as u16 ^ (word >> 16) as u16
}

const _: () = assert!(CONNECTIONS_NEW.is_power_of_two());

impl Flows for V4 {
    type Key = [u64; 3];

    #[inline(always)]
    fn key(skb: &Skb) -> Option<[u64; 3]> {
        let header = skb.header::<IPV4_UDP>()?;
        let (version_and_length, tos) = (header.byte::<14>(), header.byte::<15>());
        let (fragment, protocol) = (header.half::<20>(), header.byte::<23>());
        if version_and_length != 0x45 || fragment & FRAGMENT_MASK.to_be() != 0 {
            return None;
        }
        if protocol == IpProto::Tcp as u8 {
            skb.header::<IPV4_FLAGS>()?;
        } else if protocol != IpProto::Udp as u8 {
            return None;
        }
        let what = u32::from(tos & DSCP) | u32::from(protocol) << 8;
        Some([
            header.double::<26>(),
            u64::from(header.word::<34>()) | u64::from(what) << 32,
            u64::from(skb.interface().0),
        ])
    }

    #[inline(always)]
    fn is_same(a: &[u64; 3], b: &[u64; 3]) -> bool {
        a[0] == b[0] && a[1] == b[1] && a[2] == b[2]
    }

    #[inline(always)]
    fn index(key: &[u64; 3]) -> u32 {
        index(folded(key[0]), folded_ports(key[1]))
    }

    #[inline(always)]
    fn index_of(source: &[u8; 4], destination: &[u8; 4], ports: [u16; 2]) -> u32 {
        let addresses = u32::from_ne_bytes(*source) ^ u32::from_ne_bytes(*destination);
        index(addresses, (ports[0] ^ ports[1]).to_be())
    }

    #[inline(always)]
    fn hash(key: &[u64; 3]) -> u64 {
        mix(mix(key[0], 0), key[1]).wrapping_mul(GOLDEN)
    }

    #[inline(always)]
    fn stated_length(skb: &Skb) -> Option<u32> {
        let header = skb.header::<IPV4_END>()?;
        if header.byte::<22>() <= 1 || !checksum_is_right(header) {
            return None;
        }
        Some(u32::from(u16::from_be(header.half::<16>())))
    }

    #[inline(always)]
    fn is_syn(skb: &Skb) -> bool {
        let header = skb.header::<IPV4_FLAGS>();
        header.is_some_and(|header| {
            header.byte::<23>() == IpProto::Tcp as u8 && header.byte::<47>() & SYN != 0
        })
    }
}

impl Flows for V6 {
    type Key = [u64; 6];

    #[inline(always)]
    fn key(skb: &Skb) -> Option<[u64; 6]> {
        let header = skb.header::<IPV6_UDP>()?;
        let (first, protocol) = (header.word::<14>(), header.byte::<20>());
        let mut what = first & CLASS;
        if header.byte::<14>() >> 4 != 6 {
            return None;
        }
        if protocol == IpProto::Udp as u8 {
            what |= IS_UDP;
        } else if protocol == IpProto::Tcp as u8 {
            skb.header::<IPV6_FLAGS>()?;
        } else {
            return None;
        }
        Some([
            header.double::<22>(),
            header.double::<30>(),
            header.double::<38>(),
            header.double::<46>(),
            u64::from(header.word::<54>()) | u64::from(what) << 32,
            u64::from(skb.interface().0),
        ])
    }

    #[inline(always)]
    fn is_same(a: &[u64; 6], b: &[u64; 6]) -> bool {
        let addresses = a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
        addresses && a[4] == b[4] && a[5] == b[5]
    }

    #[inline(always)]
    fn index(key: &[u64; 6]) -> u32 {
        index(
            folded(key[0] ^ key[1] ^ key[2] ^ key[3]),
            folded_ports(key[4]),
        )
    }

    #[inline(always)]
    fn index_of(source: &[u8; 16], destination: &[u8; 16], ports: [u16; 2]) -> u32 {
        let [a, b, c, d] = words(*source);
        let [e, f, g, h] = words(*destination);
        let addresses = a ^ b ^ c ^ d ^ e ^ f ^ g ^ h;
        index(addresses, (ports[0] ^ ports[1]).to_be())
    }

    #[inline(always)]
    fn hash(key: &[u64; 6]) -> u64 {
        let [a, b, c, d, e, _] = *key;
        mix(mix(mix(a ^ c.rotate_left(32), b), d), e).wrapping_mul(GOLDEN)
    }

    #[inline(always)]
    fn stated_length(skb: &Skb) -> Option<u32> {
        let header = skb.header::<IPV6_END>()?;
        if header.byte::<21>() <= 1 {
            return None;
        }
        let behind = u16::from_be(header.half::<18>());
        // A longer one than the field can say has a 0 there.
        Some(if behind == 0 {
            0
        } else {
            u32::from(behind) + 40
        })
    }

    #[inline(always)]
    fn is_syn(skb: &Skb) -> bool {
        let header = skb.header::<IPV6_FLAGS>();
        header.is_some_and(|header| {
            header.byte::<20>() == IpProto::Tcp as u8 && header.byte::<67>() & SYN != 0
        })
    }
}

/// A packet with a key may go as others of its flow did, by a way that takes packets of so many bytes.
#[inline(always)]
pub fn is_taken<F: Flows + Route>(skb: &Skb, longest: u32) -> Option<()> {
    let stated = F::stated_length(skb)?;
    let length = skb.length() - ETHERNET as u32;
    // All of it is there, and nothing behind it.
    let is_whole = stated == length || stated == 0 && skb.is_gso();
    if !is_whole || F::is_syn(skb) {
        return None;
    }
    let fits = length <= longest || skb.is_gso() && checks::segment::<F>(skb)? <= longest;
    fits.then_some(())
}
