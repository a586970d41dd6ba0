//! The FORWARD policy of a lab node, in both families.

use netpath_common::Family;

use super::error::ProvisionError;
use crate::{
    netfilter::{Iptables, NetfilterError, Policy},
    netns::Inside,
    reconcile::Refusal,
};

/// Fails if iptables is not installed.
pub fn require() -> Result<(), ProvisionError> {
    for iptables in Family::ALL.map(Iptables::new) {
        let refused = |_| Refusal::NoIptables(iptables.program()).of("this machine");
        iptables.require().map_err(refused)?;
    }
    Ok(())
}

/// Sets the FORWARD policy of both families.
pub fn set_forward_policy(_inside: &Inside<'_>, drop: bool) -> Result<(), ProvisionError> {
    let policy = if drop { Policy::Drop } else { Policy::Accept };
    for iptables in Family::ALL.map(Iptables::new) {
        let set = iptables.set_policy("FORWARD", policy);
        set.map_err(NetfilterError::from)?;
    }
    Ok(())
}

/// Whether the FORWARD policy of both families is DROP.
pub fn forward_policy_is_drop(_inside: &Inside<'_>) -> Result<bool, ProvisionError> {
    for iptables in Family::ALL.map(Iptables::new) {
        if iptables.policy("FORWARD")? != Policy::Drop {
            return Ok(false);
        }
    }
    Ok(true)
}
