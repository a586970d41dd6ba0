//! The conditions of a rule, as far as they are about families, addresses and interfaces.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netpath_common::{Family, Ifindex};

use super::about::About;

/// How much of some packets a condition holds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Share {
    None,
    Some,
    All,
}

impl Share {
    fn not(self, negated: bool) -> Self {
        match (self, negated) {
            (Self::None, true) => Self::All,
            (Self::All, true) => Self::None,
            (share, _) => share,
        }
    }

    pub(super) fn whole(holds: bool) -> Self {
        if holds { Self::All } else { Self::None }
    }
}

/// Packets that are asked about.
#[derive(Clone, Copy, Debug)]
pub struct Packets<'a> {
    /// From these addresses.
    pub source: IpNet,
    /// To these. Of another family than the source's there are none.
    pub destination: IpNet,
    /// By what they came in; `None`: by whatever.
    pub iif: Option<Device<'a>>,
    /// By what they leave; `None`: by whatever, or it is not known yet.
    pub oif: Option<Device<'a>>,
}

/// An interface that is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// Its index.
    pub ifindex: Ifindex,
    /// Its name.
    pub name: &'a str,
}

/// A name, or the beginning of some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePattern {
    /// This one.
    Exact(String),
    /// All that begin so.
    Prefix(String),
}

impl NamePattern {
    /// Whether it is a name's.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => name == exact,
            Self::Prefix(prefix) => name.starts_with(prefix),
        }
    }
}

/// A rule asks for a family. `None` is one that is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyTest {
    /// Which.
    pub family: Option<Family>,
    /// It must not be that.
    pub negated: bool,
}

/// A rule asks for an address: `address & mask == value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressTest {
    /// Of which family.
    pub family: Family,
    /// The value; of IPv4, its lowest 32 bits.
    pub value: u128,
    /// The bits that are compared.
    pub mask: u128,
    /// It must not be that.
    pub negated: bool,
}

/// A rule asks for an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceTest {
    /// Which.
    pub interface: Interface,
    /// It must not be that.
    pub negated: bool,
}

/// An interface that a rule asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interface {
    /// By name.
    Name(NamePattern),
    /// By index.
    Index(Ifindex),
}

/// What must be true of a packet, all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Of its family.
    pub family: Vec<FamilyTest>,
    /// Of its source address.
    pub source: Vec<AddressTest>,
    /// Of its destination address.
    pub destination: Vec<AddressTest>,
    /// Of the interface that it came by.
    pub iif: Vec<InterfaceTest>,
    /// Of the interface that it leaves by.
    pub oif: Vec<InterfaceTest>,
    /// Anything else that is asked of it, by name.
    pub others: Vec<String>,
    /// What each of those is about.
    pub abouts: Vec<About>,
}

impl Conditions {
    /// Something else is asked.
    pub(super) fn ask(&mut self, name: impl Into<String>, about: About) {
        self.others.push(name.into());
        self.abouts.push(about);
    }

    /// Whether nothing else is asked than what is understood here.
    pub fn exact(&self) -> bool {
        self.others.is_empty()
    }

    /// The family that it must have, if it must have a certain one.
    pub(super) fn known_family(&self) -> Option<Family> {
        let positive = self.family.iter().find(|test| !test.negated)?;
        positive.family
    }

    pub(super) fn share(&self, packets: &Packets<'_>) -> Share {
        let known = self.known_share(packets);
        let others = self.others.iter().map(|_| Share::Some);
        others.min().map_or(known, |others| known.min(others))
    }

    /// As far as it is about families, addresses and interfaces.
    pub(super) fn known_share(&self, packets: &Packets<'_>) -> Share {
        let family = Family::of(packets.source.addr());
        if family != Family::of(packets.destination.addr()) {
            return Share::None;
        }
        let families = self
            .family
            .iter()
            .map(|test| Share::whole(test.family == Some(family)).not(test.negated));
        let addresses = [
            (&self.source, packets.source),
            (&self.destination, packets.destination),
        ];
        let addresses = addresses
            .iter()
            .flat_map(|(tests, prefix)| tests.iter().map(|test| test.share(*prefix)));
        let interfaces = [(&self.iif, packets.iif), (&self.oif, packets.oif)];
        let interfaces = interfaces
            .iter()
            .flat_map(|(tests, device)| tests.iter().map(|test| test.share(*device)));
        families
            .chain(addresses)
            .chain(interfaces)
            .min()
            .unwrap_or(Share::All)
    }
}

impl AddressTest {
    /// The prefix that it asks for, if its mask is one.
    pub fn prefix(&self) -> Option<IpNet> {
        let width = self.width();
        let length = width - self.mask.trailing_zeros().min(width);
        if self.mask != mask(width, length) {
            return None;
        }
        let length = u8::try_from(length).ok()?;
        let net = match self.family {
            Family::V4 => Ipv4Net::new(u32::try_from(self.value).ok()?.into(), length)
                .ok()?
                .into(),
            Family::V6 => Ipv6Net::new(self.value.into(), length).ok()?.into(),
        };
        Some(net)
    }

    fn width(&self) -> u32 {
        match self.family {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    fn share(&self, prefix: IpNet) -> Share {
        let (family, address) = match prefix.addr() {
            IpAddr::V4(address) => (Family::V4, u128::from(address.to_bits())),
            IpAddr::V6(address) => (Family::V6, address.to_bits()),
        };
        if family != self.family {
            return Share::None;
        }
        let fixed = mask(self.width(), u32::from(prefix.prefix_len()));
        let share = if (self.value ^ address) & self.mask & fixed != 0 {
            Share::None
        } else {
            match self.mask & !fixed {
                0 => Share::All,
                _ => Share::Some,
            }
        };
        share.not(self.negated)
    }
}

/// The first bits of an address.
fn mask(width: u32, length: u32) -> u128 {
    let all = u128::MAX >> (128 - width);
    all ^ all.checked_shr(length).unwrap_or(0)
}

impl InterfaceTest {
    fn share(&self, device: Option<Device<'_>>) -> Share {
        let share = match (&self.interface, device) {
            (_, None) => Share::Some,
            (Interface::Name(pattern), Some(device)) => Share::whole(pattern.matches(device.name)),
            (Interface::Index(index), Some(device)) => Share::whole(*index == device.ifindex),
        };
        share.not(self.negated)
    }
}
