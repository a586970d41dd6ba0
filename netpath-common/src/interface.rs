//! The interfaces that netpath's programs are attached to: the `interfaces` map, keyed by ifindex.

use crate::{EndpointId, IFNAME_SIZE, Ifindex, NAME_SIZE, ProgramKind, map_type};

/// Words of the `gates` map: an array of `u64` in the host's order, with a byte for each interface whose index is below
/// eight times as many. Of an interface beyond it, its entry alone tells.
pub const GATE_WORDS: u32 = 32_768;

/// Interfaces that share a word of the `gates` map.
const GATES_PER_WORD: u32 = u64::BITS / Gate::BITS;

/// The word of the `gates` map that has an interface's byte; `None` where the index is beyond it.
#[inline(always)]
pub const fn gate_word(ifindex: Ifindex) -> Option<u32> {
    let word = ifindex.0 / GATES_PER_WORD;
    if word < GATE_WORDS { Some(word) } else { None }
}

/// The interfaces whose bytes are in a word of the `gates` map.
pub fn interfaces_of_word(word: u32) -> impl Iterator<Item = Ifindex> {
    let first = word * GATES_PER_WORD;
    (first..first + GATES_PER_WORD).map(Ifindex)
}

/// What the programs have to know of an interface for every packet, as bits of one byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gate(pub u8);

impl Gate {
    /// Its packets are let in: see [`InterfaceState`].
    pub const READY: u8 = 1;
    /// It leads to other nodes: what goes to them may leave by it.
    pub const UPLINK: u8 = 2;
    /// What comes in by it is the kernel's, for the reason that its entry says.
    pub const PUNT_INGRESS: u8 = 4;
    /// What would leave by it is the kernel's, for the reason that its entry says.
    pub const PUNT_EGRESS: u8 = 8;
    /// Its packets have no Ethernet header, nor any other of the link's: see [`InterfaceKind::BareUplink`].
    pub const BARE: u8 = 16;
    /// In shadow mode: what is decided of packets that come in or would leave by it is counted, and the packets are the kernel's.
    pub const SHADOW: u8 = 32;

    /// Bits of a gate.
    const BITS: u32 = u8::BITS;

    /// Whether all of these bits are set.
    #[inline(always)]
    pub const fn has_all(self, bits: u8) -> bool {
        self.0 & bits == bits
    }

    /// Whether one of these bits is set.
    #[inline(always)]
    pub const fn has(self, bits: u8) -> bool {
        self.0 & bits != 0
    }
}

/// What an interface leads to.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterfaceKind {
    /// The host-side veth of an endpoint.
    Endpoint = 1,
    /// Towards other nodes.
    Uplink = 2,
    /// Towards other nodes, without a header of the link's before the packets: a tunnel, or a point-to-point link (tun,
    /// WireGuard, ppp, ipip, ...).
    BareUplink = 3,
}

impl InterfaceKind {
    /// The kind with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Endpoint),
            2 => Some(Self::Uplink),
            3 => Some(Self::BareUplink),
            _ => None,
        }
    }

    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Uplink => "uplink",
            Self::BareUplink => "bare_uplink",
        }
    }

    /// The programs that belong on it.
    pub const fn programs(self) -> &'static [ProgramKind] {
        match self {
            Self::Endpoint => &[ProgramKind::FromEndpoint, ProgramKind::ToEndpoint],
            Self::Uplink | Self::BareUplink => &[ProgramKind::FromUplink, ProgramKind::ToUplink],
        }
    }

    /// Whether it leads to other nodes.
    #[inline(always)]
    pub const fn is_uplink(self) -> bool {
        matches!(self, Self::Uplink | Self::BareUplink)
    }
}

/// Whether an interface's data is complete. [`Gate::READY`], by which the programs go, is set after the entry says
/// [`Self::Ready`] and taken back before it no longer does.
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
    /// Number of the [`InterfaceState`], with [`InterfaceEntry::SHADOW`] in shadow mode.
    pub state: u32,
    /// The endpoint behind it; 0 for an uplink.
    pub endpoint_id: EndpointId,
    /// Of an uplink, the mode of the kernel's IPv4 reverse-path filter that the programs go by: 0 off, 1 strict,
    /// 2 loose, as in `rp_filter` of Linux's ip-sysctl.rst. 0 for an endpoint, whose source is checked anyway.
    pub rp_filter: u32,
    /// Number of the [`PuntReason`](crate::PuntReason) for which what comes in by it is the kernel's; 0 for none.
    pub punt_ingress: u16,
    /// Number of the [`PuntReason`](crate::PuntReason) for which what would leave by it is the kernel's; 0 for none.
    pub punt_egress: u16,
    /// Name of the interface, zero-terminated.
    pub name: [u8; IFNAME_SIZE],
    /// Name of the endpoint, zero-terminated; empty for an uplink.
    pub endpoint: [u8; NAME_SIZE],
}

impl InterfaceEntry {
    /// A bit of [`InterfaceEntry::state`]; no state's number has it.
    pub const SHADOW: u32 = 1 << 16;

    /// Whether it is in shadow mode.
    #[inline(always)]
    pub const fn is_shadow(&self) -> bool {
        self.state & Self::SHADOW != 0
    }

    /// Its byte in the `gates` map.
    #[inline(always)]
    pub const fn gate(&self) -> Gate {
        let mut bits = 0;
        if self.state & !Self::SHADOW == InterfaceState::Ready as u32 {
            bits |= Gate::READY;
        }
        if self.is_shadow() {
            bits |= Gate::SHADOW;
        }
        match InterfaceKind::from_number(self.kind) {
            Some(InterfaceKind::Uplink) => bits |= Gate::UPLINK,
            Some(InterfaceKind::BareUplink) => bits |= Gate::UPLINK | Gate::BARE,
            Some(InterfaceKind::Endpoint) | None => {}
        }
        if self.punt_ingress != 0 {
            bits |= Gate::PUNT_INGRESS;
        }
        if self.punt_egress != 0 {
            bits |= Gate::PUNT_EGRESS;
        }
        Gate(bits)
    }
}

map_type!(
    InterfaceEntry,
    100,
    [
        kind,
        state,
        endpoint_id,
        rp_filter,
        punt_ingress,
        punt_egress,
        name,
        endpoint
    ]
);

/// One word of the `gates` map: the gates of eight interfaces, by [`gate_word`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateWord {
    /// A byte for each interface, that of the lowest index in the lowest bits.
    pub bits: u64,
}

impl GateWord {
    #[inline(always)]
    const fn shift(ifindex: Ifindex) -> u32 {
        ifindex.0 % GATES_PER_WORD * Gate::BITS
    }

    /// The gate of an interface whose word this is.
    #[inline(always)]
    pub const fn gate(self, ifindex: Ifindex) -> Gate {
        Gate((self.bits >> Self::shift(ifindex)) as u8)
    }

    /// The word with another gate of an interface whose word this is.
    pub const fn with(self, ifindex: Ifindex, gate: Gate) -> Self {
        let others = self.bits & !((u8::MAX as u64) << Self::shift(ifindex));
        Self {
            bits: others | (gate.0 as u64) << Self::shift(ifindex),
        }
    }
}

map_type!(GateWord, 8, [bits]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_has_a_gate_of_its_own() {
        let mut word = GateWord::default();
        for index in 16..24 {
            assert_eq!(gate_word(Ifindex(index)), Some(2));
            word = word.with(Ifindex(index), Gate(index as u8));
        }
        for index in 16..24 {
            assert_eq!(word.gate(Ifindex(index)), Gate(index as u8));
        }
        // Another value takes the place of the first, and nothing of its neighbours'.
        word = word.with(Ifindex(17), Gate(0));
        let gates = [16, 17, 18].map(|index| word.gate(Ifindex(index)).0);
        assert_eq!(gates, [16, 0, 18]);
        assert_eq!(word.with(Ifindex(23), Gate(255)).bits >> 56, 255);
    }

    #[test]
    fn beyond_the_map_there_is_none() {
        let beyond = GATE_WORDS * GATES_PER_WORD;
        assert_eq!(beyond, 262_144);
        assert_eq!(gate_word(Ifindex(beyond - 1)), Some(GATE_WORDS - 1));
        for index in [beyond, beyond + 1, 0x7fff_ffff, u32::MAX] {
            assert_eq!(gate_word(Ifindex(index)), None);
        }
    }

    #[test]
    fn a_gate_says_what_its_entry_says() {
        let preparing = InterfaceEntry {
            kind: InterfaceKind::Endpoint as u32,
            state: InterfaceState::Preparing as u32,
            endpoint_id: EndpointId(7),
            rp_filter: 0,
            punt_ingress: 0,
            punt_egress: 0,
            name: [0; IFNAME_SIZE],
            endpoint: [0; NAME_SIZE],
        };
        assert_eq!(preparing.gate(), Gate(0));
        let uplink = InterfaceEntry {
            kind: InterfaceKind::Uplink as u32,
            state: InterfaceState::Ready as u32,
            punt_egress: 126,
            ..preparing
        };
        let bits = Gate::READY | Gate::UPLINK | Gate::PUNT_EGRESS;
        assert_eq!(uplink.gate(), Gate(bits));
        assert!(uplink.gate().has(Gate::UPLINK) && !uplink.gate().has(Gate::PUNT_INGRESS));
        let bare = InterfaceEntry {
            kind: InterfaceKind::BareUplink as u32,
            ..uplink
        };
        assert_eq!(bare.gate(), Gate(bits | Gate::BARE));
        let shadow = InterfaceEntry {
            state: InterfaceState::Ready as u32 | InterfaceEntry::SHADOW,
            ..uplink
        };
        assert_eq!(shadow.gate(), Gate(bits | Gate::SHADOW));
        let unknown = InterfaceEntry { kind: 4, ..uplink };
        assert_eq!(unknown.gate(), Gate(bits & !Gate::UPLINK));
    }
}
