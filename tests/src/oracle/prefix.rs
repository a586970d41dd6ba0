//! Addresses of both families as strings of bits.

use std::{fmt, net::IpAddr};

/// An address as a number of 32 or 128 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The bits; the first of the address is the most significant of `width`.
    pub bits: u128,
    /// 32 or 128.
    pub width: u32,
}

impl Address {
    /// The address behind its text, for the well-known.
    pub fn of(text: &str) -> Self {
        Self::from(text.parse::<IpAddr>().expect("an address"))
    }

    /// With one bit turned over; the first bit is 0.
    pub fn flipped(self, bit: u32) -> Self {
        Self {
            bits: self.bits ^ 1 << (self.width - 1 - bit),
            ..self
        }
    }

    /// The IP address.
    pub fn ip(self) -> IpAddr {
        match self.width {
            32 => IpAddr::from((self.bits as u32).to_be_bytes()),
            _ => IpAddr::from(self.bits.to_be_bytes()),
        }
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self {
                bits: u32::from(v4).into(),
                width: 32,
            },
            IpAddr::V6(v6) => Self {
                bits: v6.into(),
                width: 128,
            },
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ip())
    }
}

/// All addresses that begin alike.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    /// The first of them.
    pub first: Address,
    /// How many bits are alike.
    pub length: u32,
}

impl Prefix {
    /// The prefix of this length around an address.
    pub fn around(address: Address, length: u32) -> Self {
        let rest = address.width - length;
        let first = Address {
            bits: address
                .bits
                .checked_shr(rest)
                .unwrap_or(0)
                .checked_shl(rest)
                .unwrap_or(0),
            ..address
        };
        Self { first, length }
    }

    /// The prefix behind its text.
    pub fn of(text: &str) -> Self {
        let (address, length) = text.split_once('/').expect("a prefix");
        Self::around(Address::of(address), length.parse().expect("a length"))
    }

    /// Whether an address begins so.
    pub fn contains(self, address: Address) -> bool {
        self.first.width == address.width && Self::around(address, self.length) == self
    }

    /// The last of its addresses.
    pub fn last(self) -> Address {
        let rest = self.first.width - self.length;
        let ones = 1_u128.checked_shl(rest).map_or(u128::MAX, |end| end - 1);
        Address {
            bits: self.first.bits | ones,
            ..self.first
        }
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}", self.first, self.length)
    }
}

/// What the longest of the prefixes that contain an address leads to.
pub fn longest<T: Copy>(table: &[(Prefix, T)], address: Address) -> Option<T> {
    let matching = table.iter().filter(|(prefix, _)| prefix.contains(address));
    matching
        .max_by_key(|(prefix, _)| prefix.length)
        .map(|&(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_is_found() {
        let table = [
            "10.0.0.0/8",
            "10.1.0.0/16",
            "0.0.0.0/1",
            "10.1.2.3/32",
            "fd00::/8",
        ];
        let table: Vec<_> = table.map(|text| (Prefix::of(text), text)).to_vec();
        for (address, expected) in [
            ("10.1.2.3", Some("10.1.2.3/32")),
            ("10.1.2.4", Some("10.1.0.0/16")),
            ("10.2.2.4", Some("10.0.0.0/8")),
            ("127.0.0.1", Some("0.0.0.0/1")),
            ("128.0.0.1", None),
            ("fd12::1", Some("fd00::/8")),
            ("fe12::1", None),
        ] {
            assert_eq!(longest(&table, Address::of(address)), expected, "{address}");
        }
    }

    #[test]
    fn ends_of_a_prefix() {
        assert_eq!(
            Prefix::of("10.1.0.0/16").last(),
            Address::of("10.1.255.255")
        );
        assert_eq!(Prefix::of("fd00::/128").last(), Address::of("fd00::"));
        assert_eq!(Prefix::of("10.255.1.1/9").first, Address::of("10.128.0.0"));
    }
}
