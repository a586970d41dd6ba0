//! The interfaces that netpath's programs are attached to: the `interfaces` map, keyed by ifindex.

use crate::{EndpointId, IFNAME_SIZE, Ifindex, NAME_SIZE, map_type};

/// Words of the `ready` map: an array of `u64` in the host's order, with a bit for each interface whose index is
/// below 64 times as many. Of an interface beyond it, its entry's [`InterfaceState`] alone tells.
pub const READY_WORDS: u32 = 16_384;

/// The word of the `ready` map that has an interface's bit; `None` where the index is beyond it.
#[inline(always)]
pub const fn ready_word(ifindex: Ifindex) -> Option<u32> {
    let word = ifindex.0 / u64::BITS;
    if word < READY_WORDS { Some(word) } else { None }
}

/// An interface's bit in its word of the `ready` map: set if its packets are let in.
#[inline(always)]
pub const fn ready_bit(ifindex: Ifindex) -> u64 {
    1 << (ifindex.0 % u64::BITS)
}

/// What an interface leads to.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterfaceKind {
    /// The host-side veth of an endpoint.
    Endpoint = 1,
    /// Towards other nodes.
    Uplink = 2,
}

impl InterfaceKind {
    /// The kind with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Endpoint),
            2 => Some(Self::Uplink),
            _ => None,
        }
    }

    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Uplink => "uplink",
        }
    }
}

/// Whether an interface's data is complete. The bit in the `ready` map, by which the programs go, is set after the
/// entry says [`Self::Ready`] and taken back before it no longer does.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterfaceState {
    /// Being set up: an endpoint's packets are dropped, whatever other entries there are. An uplink never is.
    Preparing = 1,
    /// Complete.
    Ready = 2,
}

/// One interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceEntry {
    /// Number of the [`InterfaceKind`].
    pub kind: u32,
    /// Number of the [`InterfaceState`].
    pub state: u32,
    /// The endpoint behind it; 0 for an uplink.
    pub endpoint_id: EndpointId,
    /// Of an uplink, the mode of the kernel's IPv4 reverse-path filter that the programs go by: 0 off, 1 strict,
    /// 2 loose, as in `rp_filter` of Linux's ip-sysctl.rst. 0 for an endpoint, whose source is checked anyway.
    pub rp_filter: u32,
    /// Name of the interface, zero-terminated.
    pub name: [u8; IFNAME_SIZE],
    /// Name of the endpoint, zero-terminated; empty for an uplink.
    pub endpoint: [u8; NAME_SIZE],
}

map_type!(
    InterfaceEntry,
    96,
    [kind, state, endpoint_id, rp_filter, name, endpoint]
);

/// One word of the `ready` map: the bits of 64 interfaces, by [`ready_word`] and [`ready_bit`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadyWord {
    /// A bit for each interface that is ready.
    pub bits: u64,
}

map_type!(ReadyWord, 8, [bits]);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_interface_has_a_bit_of_its_own() {
        // From one word to the next, and from the last one to none.
        let last = READY_WORDS * u64::BITS - 1;
        let indexes = [0, 1, 62, 63, 64, 65, 127, 128, 4_095, 4_096, last - 1, last];
        let bits = indexes.map(|index| (ready_word(Ifindex(index)), ready_bit(Ifindex(index))));
        assert!(
            bits.iter()
                .all(|(word, bit)| word.is_some() && bit.count_ones() == 1)
        );
        assert_eq!(BTreeSet::from(bits).len(), indexes.len());
        assert_eq!(bits[0], (Some(0), 1));
        assert_eq!(bits[3], (Some(0), 1 << 63));
        assert_eq!(bits[4], (Some(1), 1));
        assert_eq!(bits[11], (Some(READY_WORDS - 1), 1 << 63));
    }

    #[test]
    fn beyond_the_map_there_is_none() {
        assert_eq!(READY_WORDS * u64::BITS, 1_048_576);
        for index in [1_048_576, 1_048_577, 0x7fff_ffff, u32::MAX] {
            assert_eq!(ready_word(Ifindex(index)), None);
        }
    }
}
