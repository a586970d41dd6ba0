//! The two address families. What they do differently in a stage stands in that stage's file, as a trait
//! that both implement, so that each stage is written once.

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
