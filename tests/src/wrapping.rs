//! What may stand around an IP packet on Ethernet beside the plain header, so that the kernel has to look at it.

use netpath::probe::frame::{TPID_QINQ, TPID_VLAN, Tag};
use netpath_common::{Mac, PuntReason};

use crate::UNKNOWN_MAC;

/// Length of both MACs in bytes: what precedes a tag or a length.
const MACS: usize = 12;
/// The most VLAN tags in a frame's bytes that the programs look behind: the kernel's `VLAN_MAX_DEPTH`.
const TAGS_MAX: usize = 8;

/// One way to wrap a plain Ethernet frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrapping {
    /// What it is called.
    pub name: &'static str,
    /// The destination MAC in the place of the interface's.
    pub destination: Option<Mac>,
    /// VLAN tags, the outermost first.
    pub tags: &'static [Tag],
    /// The organisation code of an LLC/SNAP header (IEEE 802) in the place of the EtherType.
    pub snap: Option<[u8; 3]>,
    /// As what it is punted when its source is right.
    pub reason: PuntReason,
}

const fn tag(tpid: u16, tci: u16) -> Tag {
    Tag { tpid, tci }
}

const PLAIN: Wrapping = Wrapping {
    name: "",
    destination: None,
    tags: &[],
    snap: None,
    reason: PuntReason::EtherType,
};

const fn tagged(name: &'static str, tags: &'static [Tag]) -> Wrapping {
    Wrapping {
        name,
        tags,
        reason: PuntReason::Vlan,
        ..PLAIN
    }
}

const fn to(name: &'static str, destination: Mac, reason: PuntReason) -> Wrapping {
    Wrapping {
        name,
        destination: Some(destination),
        reason,
        ..PLAIN
    }
}

const BROADCAST: Mac = Mac([0xff; 6]);
/// All IPv6 nodes of the link (RFC 2464); a multicast MAC also for an IPv4 packet.
const MULTICAST: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);
/// A tag that says the priority only.
const PRIORITY: Tag = tag(TPID_VLAN, 0xa000);

impl Wrapping {
    /// All.
    pub const ALL: [Self; 17] = [
        tagged("VLAN 0", &[tag(TPID_VLAN, 0)]),
        tagged("VLAN 0 with a priority", &[PRIORITY]),
        tagged("service VLAN 0", &[tag(TPID_QINQ, 0)]),
        tagged("VLAN 7", &[tag(TPID_VLAN, 7)]),
        tagged("service VLAN 7", &[tag(TPID_QINQ, 7)]),
        tagged("QinQ", &[tag(TPID_QINQ, 3), tag(TPID_VLAN, 7)]),
        tagged("VLAN 0 in VLAN 0", &[PRIORITY; 2]),
        tagged("VLAN 7 in VLAN 0", &[PRIORITY, tag(TPID_VLAN, 7)]),
        tagged("eight times VLAN 0", &[PRIORITY; TAGS_MAX]),
        to("to everybody", BROADCAST, PuntReason::Broadcast),
        to("to a group", MULTICAST, PuntReason::Multicast),
        to("to another host", UNKNOWN_MAC, PuntReason::NotToThisHost),
        Self {
            destination: Some(BROADCAST),
            ..tagged("VLAN 0, to everybody", &[PRIORITY])
        },
        Self {
            destination: Some(UNKNOWN_MAC),
            ..tagged("VLAN 0, to another host", &[PRIORITY])
        },
        Self {
            name: "LLC/SNAP",
            snap: Some([0; 3]),
            ..PLAIN
        },
        // IEEE 802.1H: the tunnel of bridges.
        Self {
            name: "LLC/SNAP of a bridge",
            snap: Some([0, 0, 0xf8]),
            ..PLAIN
        },
        Self {
            snap: Some([0; 3]),
            ..tagged("LLC/SNAP in VLAN 0", &[PRIORITY])
        },
    ];

    /// More tags than anybody looks behind.
    pub const TOO_DEEP: Self = tagged("ten times VLAN 0", &[PRIORITY; TAGS_MAX + 2]);

    /// Whether, from an uplink, it is for another interface or host than this one: it has a VLAN of its own, or
    /// somebody else's MAC.
    pub fn is_for_others(&self) -> bool {
        self.tags.iter().any(|tag| tag.tci & 0xfff != 0) || self.destination == Some(UNKNOWN_MAC)
    }

    /// Wraps a plain frame.
    pub fn wrap(&self, frame: &[u8]) -> Vec<u8> {
        let (macs, rest) = frame.split_at(MACS);
        let mut wrapped = macs.to_vec();
        if let Some(destination) = self.destination {
            wrapped[..6].copy_from_slice(&destination.0);
        }
        for tag in self.tags {
            wrapped.extend(tag.tpid.to_be_bytes());
            wrapped.extend(tag.tci.to_be_bytes());
        }
        if let Some(code) = self.snap {
            let length = (rest.len() + 6) as u16;
            wrapped.extend(length.to_be_bytes());
            wrapped.extend([0xaa, 0xaa, 3]);
            wrapped.extend(code);
        }
        wrapped.extend(rest);
        wrapped
    }

    /// How much of a wrapped frame a program sees, in bytes: the kernel takes the outermost tag out before it.
    pub fn seen(&self, wrapped: &[u8]) -> usize {
        let taken_out = if self.tags.is_empty() { 0 } else { 4 };
        wrapped.len() - taken_out
    }
}
