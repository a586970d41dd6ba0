//! The FORWARD policy of a lab node, in both families.

use netpath_common::Family;

use super::error::ProvisionError;
use crate::{
    netfilter::{Iptables, NetfilterError, Policy},
    netns::Inside,
};

/// Fails if iptables is not installed.
pub fn require() -> Result<(), ProvisionError> {
    for iptables in Family::ALL.map(Iptables::new) {
        iptables.require().map_err(|_| ProvisionError::Unmet {
            problem: format!(
                "forward_policy = \"drop\" needs {}, which is not there",
                iptables.program()
            ),
            remedy: "install the package iptables, or leave forward_policy out".into(),
        })?;
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
