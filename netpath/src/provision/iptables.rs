//! The FORWARD policy of a lab node, in both families.

use netpath_common::Family;

use super::{error::ProvisionError, refuse_lacking};
use crate::{
    capabilities::{Capability, lacking_of_others},
    command::CommandError,
    netfilter::{
        Iptables, NetfilterError, Policy, legacy_tables,
        nft::{Elements, Ruleset},
    },
    netns::Inside,
    reconcile::Refusal,
    sysctl,
};

/// The families that the kernel has: where there is no IPv6, ip6tables fails.
fn families() -> &'static [Family] {
    match sysctl::has_ipv6() {
        true => &Family::ALL,
        false => &[Family::V4],
    }
}

fn programs() -> impl Iterator<Item = Iptables> {
    families().iter().copied().map(Iptables::new)
}

/// Refuses where iptables may not do what it is for.
pub fn require_allowed() -> Result<(), ProvisionError> {
    refuse_lacking(&lacking_of_others(&[Capability::NetAdmin]))
}

/// Fails if iptables is not installed.
pub fn require() -> Result<(), ProvisionError> {
    for iptables in programs() {
        iptables.require().map_err(|error| match error {
            CommandError::Interrupted { .. } => ProvisionError::Interrupted,
            _ => Refusal::NoIptables(iptables.program())
                .of("this machine")
                .into(),
        })?;
    }
    Ok(())
}

/// Sets the FORWARD policy of both families.
pub fn set_forward_policy(_inside: &Inside<'_>, drop: bool) -> Result<(), ProvisionError> {
    let policy = if drop { Policy::Drop } else { Policy::Accept };
    for iptables in programs() {
        let set = iptables.set_policy("FORWARD", policy);
        set.map_err(NetfilterError::from)?;
    }
    Ok(())
}

/// Whether the FORWARD policy is DROP, of IPv4 and of IPv6; where there is no IPv6, twice that of IPv4.
pub fn forward_drops(_inside: &Inside<'_>) -> Result<[bool; 2], ProvisionError> {
    let mut drops = [None; 2];
    for (drops, iptables) in drops.iter_mut().zip(programs()) {
        *drops = Some(iptables.policy("FORWARD")? == Policy::Drop);
    }
    let [v4, v6] = drops;
    let v4 = v4.unwrap_or_default();
    Ok([v4, v6.unwrap_or(v4)])
}

/// Whether somebody has made a table that may have a FORWARD policy, so that it is worth to ask: asking the legacy
/// iptables makes one.
pub fn may_drop_forward(inside: &Inside<'_>) -> Result<bool, ProvisionError> {
    let ruleset = Ruleset::read(inside, Elements::OfVerdicts)?;
    let mut chains = ruleset.base_chains();
    if chains.any(|(id, _, base)| id.name == "FORWARD" && base.policy == Policy::Drop) {
        return Ok(true);
    }
    for family in Family::ALL {
        let tables = legacy_tables(inside, family)?;
        if tables.iter().any(|table| table == "filter") {
            return Ok(true);
        }
    }
    Ok(false)
}
