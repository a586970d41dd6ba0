//! What the kernel does with packets beside routing them, and the fast path may pass by knowingly.

use crate::PuntReason;

/// What may be passed by knowingly: `bypass` in the topology file. A bit each, as it is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bypass(pub u32);

/// As a list of names.
impl serde::Serialize for Bypass {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.listed())
    }
}

/// Each that may be accepted, with its bit's number. The numbers are part of the ABI.
const ACCEPTABLE: [(PuntReason, u32); 7] = [
    (PuntReason::Ipsec, 0),
    (PuntReason::Vrf, 1),
    (PuntReason::Shaped, 2),
    (PuntReason::NetdevHook, 3),
    (PuntReason::Xdp, 4),
    (PuntReason::Rules, 5),
    (PuntReason::BridgePort, 6),
];

/// Filter FORWARD, NAT between what is routed, and logs: what the fast path is there to pass by, where that changes what becomes
/// of packets. No reason to leave them to the kernel.
const FORWARD: (&str, u32) = ("forward", 7);

/// Each name with its bit's number.
fn acceptable() -> impl Iterator<Item = (&'static str, u32)> {
    let reasons = ACCEPTABLE.iter().map(|(reason, bit)| (reason.name(), *bit));
    reasons.chain([FORWARD])
}

impl Bypass {
    /// With [`Self::accepts_forward`] and nothing else.
    pub const OF_FORWARD: Self = Self(1 << FORWARD.1);

    /// By name, as in the topology file; `None` for another name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let found = acceptable().find(|(known, _)| *known == name);
        found.map(|(_, bit)| Self(1 << bit))
    }

    /// The names that there are.
    pub fn names() -> impl Iterator<Item = &'static str> {
        acceptable().map(|(name, _)| name)
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without bits that mean nothing.
    #[must_use]
    pub fn known(self) -> Self {
        let bits = acceptable().fold(0, |bits, (_, bit)| bits | 1 << bit);
        Self(self.0 & bits)
    }

    /// The names of all that are accepted.
    #[must_use]
    pub fn listed(self) -> Vec<&'static str> {
        let accepted = acceptable().filter(|(_, bit)| self.0 & 1 << bit != 0);
        accepted.map(|(name, _)| name).collect()
    }

    /// Whether filter FORWARD and the like may be passed by though that changes what becomes of packets.
    #[must_use]
    pub fn accepts_forward(self) -> bool {
        self.0 & Self::OF_FORWARD.0 != 0
    }

    /// Whether packets need not be punted for a reason.
    #[must_use]
    pub fn has(self, reason: PuntReason) -> bool {
        let mut bits = ACCEPTABLE.iter().filter(|(known, _)| *known == reason);
        bits.any(|(_, bit)| self.0 & 1 << bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_bit_of_its_own() {
        let bits: BTreeSet<u32> = acceptable().map(|(_, bit)| bit).collect();
        assert_eq!(bits.len(), ACCEPTABLE.len() + 1);
        let forward = Bypass::named("forward").expect("it is one");
        assert_eq!(forward, Bypass::OF_FORWARD);
        assert_eq!(
            (forward.listed(), forward.known()),
            (vec!["forward"], forward)
        );
        assert!(forward.accepts_forward() && !forward.has(PuntReason::Rules));
        for name in Bypass::names() {
            assert!(Bypass::named(name).is_some(), "{name}");
        }
        assert_eq!(Bypass::named("no_route"), None);
    }
}
