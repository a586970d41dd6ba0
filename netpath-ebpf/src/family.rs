//! The two address families. What they do differently in a stage stands in that stage's file, as a trait
//! that both implement, so that each stage is written once.

use netpath_common::{GATEWAY_V4, GATEWAY_V6, PuntReason};

/// Kinds of address that no endpoint can have, or that no router forwards.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AddressClass {
    /// Any other.
    Unicast,
    /// 224/4, ff00::/8.
    Multicast,
    /// 255.255.255.255.
    Broadcast,
    /// 169.254/16, fe80::/10.
    LinkLocal,
    /// 0.0.0.0 or `::`.
    Unspecified,
    /// The rest of 0/8; 127/8, 240/4, `::1`, and IPv4-mapped addresses.
    Martian,
}

/// An address family.
pub trait Family: Copy {
    /// An address in network order: the key of the endpoint map.
    type Address: Copy + PartialEq;

    /// What every host-side veth has.
    const GATEWAY: Self::Address;

    /// For what reason all of the other family's packets, and none of this one's, are the kernel's.
    const NOT_FORWARDED_OTHER: PuntReason;

    /// What kind of address this is.
    fn classify(address: &Self::Address) -> AddressClass;
}

/// IPv4.
#[derive(Clone, Copy)]
pub struct V4;

/// IPv6.
#[derive(Clone, Copy)]
pub struct V6;

impl Family for V4 {
    type Address = [u8; 4];

    const GATEWAY: [u8; 4] = GATEWAY_V4;

    const NOT_FORWARDED_OTHER: PuntReason = PuntReason::Ipv6ForwardingDisabled;

    #[inline(always)]
    fn classify(address: &[u8; 4]) -> AddressClass {
        match *address {
            [0, 0, 0, 0] => AddressClass::Unspecified,
            [255, 255, 255, 255] => AddressClass::Broadcast,
            [169, 254, ..] => AddressClass::LinkLocal,
            [224..=239, ..] => AddressClass::Multicast,
            [0 | 127 | 240..=255, ..] => AddressClass::Martian,
            _ => AddressClass::Unicast,
        }
    }
}

impl Family for V6 {
    type Address = [u8; 16];

    const GATEWAY: [u8; 16] = GATEWAY_V6;

    const NOT_FORWARDED_OTHER: PuntReason = PuntReason::Ipv4ForwardingDisabled;

    #[inline(always)]
    fn classify(address: &[u8; 16]) -> AddressClass {
        match *address {
            [0xff, ..] => AddressClass::Multicast,
            [0xfe, 0x80..=0xbf, ..] => AddressClass::LinkLocal,
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, tail @ ..] => match tail {
                [0, 0, 0, 0, 0, 0] => AddressClass::Unspecified,
                [0, 0, 0, 0, 0, 1] | [0xff, 0xff, ..] => AddressClass::Martian,
                _ => AddressClass::Unicast,
            },
            _ => AddressClass::Unicast,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::{AddressClass::*, *};

    /// The first and the last address of each range, and those beside it.
    #[test]
    fn ipv4_by_its_registries() {
        for (address, class) in [
            ("0.0.0.0", Unspecified),
            ("0.0.0.1", Martian),
            ("0.255.255.255", Martian),
            ("1.0.0.0", Unicast),
            ("10.0.1.2", Unicast),
            ("126.255.255.255", Unicast),
            ("127.0.0.0", Martian),
            ("127.255.255.255", Martian),
            ("128.0.0.0", Unicast),
            ("169.253.255.255", Unicast),
            ("169.254.0.0", LinkLocal),
            ("169.254.255.255", LinkLocal),
            ("169.255.0.0", Unicast),
            ("223.255.255.255", Unicast),
            ("224.0.0.0", Multicast),
            ("239.255.255.255", Multicast),
            ("240.0.0.0", Martian),
            ("255.255.255.254", Martian),
            ("255.255.255.255", Broadcast),
        ] {
            let octets = address.parse::<Ipv4Addr>().expect(address).octets();
            assert!(V4::classify(&octets) == class, "{address}");
        }
    }

    #[test]
    fn ipv6_by_its_registries() {
        for (address, class) in [
            ("::", Unspecified),
            ("::1", Martian),
            ("::2", Unicast),
            ("::1:0:0", Unicast),
            ("::fffe:ffff:ffff", Unicast),
            ("::ffff:0:0", Martian),
            ("::ffff:255.255.255.255", Martian),
            ("::1:0:0:0", Unicast),
            ("64:ff9b::a00:1", Unicast),
            ("fd00:1::2", Unicast),
            ("fe7f:ffff::", Unicast),
            ("fe80::", LinkLocal),
            ("febf:ffff::", LinkLocal),
            ("fec0::", Unicast),
            ("feff:ffff::", Unicast),
            ("ff00::", Multicast),
            ("ffff:ffff::", Multicast),
        ] {
            let octets = address.parse::<Ipv6Addr>().expect(address).octets();
            assert!(V6::classify(&octets) == class, "{address}");
        }
    }
}
