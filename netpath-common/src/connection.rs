//! Connections that are the kernel's: what it delivered or sent on itself goes past the fast path in both directions, so that
//! its connection tracking and NAT see all of it.

use crate::{Ifindex, map_type};

/// A connection of the family with addresses of `N` bytes, whichever end a packet comes from: the end with the lower address
/// (in network order) comes first; where both are one, that with the lower port.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionKey<const N: usize> {
    /// Address of the first end, in network order.
    pub low: [u8; N],
    /// Address of the other end, in network order.
    pub high: [u8; N],
    /// Port of the first end: of TCP, UDP, SCTP, DCCP and UDP-Lite; the identifier of an ICMP echo; 0 of all else. What is
    /// cut into fragments has a second entry with zeros, by which each fragment is found.
    pub low_port: u16,
    /// Port of the other end.
    pub high_port: u16,
    /// Protocol number (IANA).
    pub protocol: u32,
}

impl<const N: usize> ConnectionKey<N> {
    /// The key of the connection that a packet from one end to the other is of, each an address and a port, and whether it comes
    /// from the end that is second in the key.
    #[cfg(any(test, feature = "user"))]
    pub fn of(source: ([u8; N], u16), destination: ([u8; N], u16), protocol: u8) -> (Self, bool) {
        let from_high = destination < source;
        let key = Self::between(source, destination, protocol, from_high);
        (key, from_high)
    }

    /// The same for who has found out which end is second: the programs compare addresses as numbers.
    #[inline(always)]
    pub fn between(
        source: ([u8; N], u16),
        destination: ([u8; N], u16),
        protocol: u8,
        from_high: bool,
    ) -> Self {
        let (low, high) = match from_high {
            true => (destination, source),
            false => (source, destination),
        };
        Self {
            low: low.0,
            high: high.0,
            low_port: low.1,
            high_port: high.1,
            protocol: protocol.into(),
        }
    }

    /// The same without ports: what fragments between its ends are found by.
    #[inline(always)]
    pub const fn without_ports(&self) -> Self {
        Self {
            low_port: 0,
            high_port: 0,
            ..*self
        }
    }
}

/// What is known of a connection that is the kernel's.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionEntry {
    /// When it was entered, in nanoseconds of `CLOCK_MONOTONIC_COARSE`.
    pub entered: u64,
    /// When one of its packets was last noted, which happens at most once per [`ConnectionEntry::NOTED_EACH`].
    pub seen: u64,
    /// The interface that its first packet came in by; 0 where it was read from the kernel's table.
    pub ingress: Ifindex,
    /// 1 where that packet came from the end that is second in the key, else 0.
    pub from_high: u16,
    /// 1 where that packet was for somebody else before the kernel translated it, else 0: a packet from the same end that looks like
    /// it as it comes in is of another connection.
    pub translated: u16,
}

impl ConnectionEntry {
    /// How often a packet is noted at most, in nanoseconds.
    pub const NOTED_EACH: u64 = 1_000_000_000;
}

/// Values of the `connections_new` map.
pub const CONNECTIONS_NEW: u32 = 1024;

/// Value of the `connections_new` map, at the index that is a hash of two ends. What the decision cache remembers of a flow between
/// them in that tick may be from before.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastEntered {
    /// The lower half of the tick; 0 for none yet.
    pub tick: u32,
}

/// Key of the `connection_counts` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionFamily {
    /// 4 or 6.
    pub version: u32,
}

/// Value of the `connection_counts` map. Those that are not in the family's table any more were evicted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionCount {
    /// Entries that the programs have made, less those that they have taken out: added up without regard to overflow.
    pub entered: u64,
}

impl core::ops::AddAssign for ConnectionCount {
    fn add_assign(&mut self, other: Self) {
        self.entered = self.entered.wrapping_add(other.entered);
    }
}

map_type!(ConnectionFamily, 4, [version]);
map_type!(ConnectionCount, 8, [entered]);
map_type!(LastEntered, 4, [tick]);
map_type!(
    ConnectionEntry,
    24,
    [entered, seen, ingress, from_high, translated]
);

/// Whether a connection of a protocol is told from others by its ports: TCP, UDP, SCTP, DCCP and UDP-Lite (IANA).
#[inline(always)]
pub const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 33 | 132 | 136)
}

macro_rules! key_type {
    ($size:literal, $bytes:literal) => {
        const _: () = assert!(size_of::<ConnectionKey<$size>>() == $bytes);
        #[cfg(feature = "user")]
        impl crate::Layout for ConnectionKey<$size> {
            const FIELDS: &'static [crate::Field] = &[
                crate::Field {
                    name: "low",
                    offset: 0,
                    size: $size,
                },
                crate::Field {
                    name: "high",
                    offset: $size,
                    size: $size,
                },
                crate::Field {
                    name: "low_port",
                    offset: 2 * $size,
                    size: 2,
                },
                crate::Field {
                    name: "high_port",
                    offset: 2 * $size + 2,
                    size: 2,
                },
                crate::Field {
                    name: "protocol",
                    offset: 2 * $size + 4,
                    size: 4,
                },
            ];
        }
        // SAFETY: Copy, no invalid bit pattern, and no padding: the sizes of its fields add up to its own, as the assertion
        // above says.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for ConnectionKey<$size> {}
    };
}
key_type!(4, 16);
key_type!(16, 40);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_one_key_whichever_way_a_packet_goes() {
        let (a, b) = (([10, 0, 1, 2], 40_000), ([10, 0, 2, 2], 80));
        let (key, from_high) = ConnectionKey::of(a, b, 6);
        assert!(!from_high);
        assert_eq!((key.low, key.low_port), a);
        assert_eq!((key.high, key.high_port, key.protocol), (b.0, b.1, 6));
        assert_eq!(ConnectionKey::of(b, a, 6), (key, true));
        // One with itself: by the ports.
        let (own, from_high) = ConnectionKey::of((a.0, 9), (a.0, 7), 17);
        assert!(from_high);
        assert_eq!((own.low_port, own.high_port), (7, 9));
        assert_eq!(ConnectionKey::of((a.0, 7), (a.0, 9), 17), (own, false));
        assert_eq!(own.without_ports().high_port, 0);
    }
}
