//! What legacy xtables does. Its rules are listed by its own program alone, which is not started where there is no table that
//! matters: starting it makes none, and takes milliseconds.

use netpath_common::Family;

use crate::{
    capabilities::{Capability, lacking_of_others},
    netfilter::{legacy_rules, legacy_tables, nft::Ruleset},
    netns::Inside,
    provision::{error::ProvisionError, refuse_lacking},
};

/// Tables of which a chain stands before filter FORWARD, or behind it and is none of it.
pub(super) const OUTSIDE: [&str; 3] = ["raw", "mangle", "security"];
/// That of filter FORWARD.
pub(super) const FILTER: [&str; 1] = ["filter"];

/// What such tables of one family hold.
pub(super) enum Legacy {
    Rules(Ruleset),
    /// Nobody here can say, as where the program is not installed: it may be anything.
    Unread(Family),
}

/// Reads all in the node's namespace, of each family that has one of these tables.
pub(super) fn read(
    inside: &Inside<'_>,
    that_matter: &[&str],
) -> Result<Vec<Legacy>, ProvisionError> {
    let mut found = Vec::new();
    for family in Family::ALL {
        let tables = legacy_tables(inside, family)?;
        if !tables.iter().any(|table| that_matter.contains(&&**table)) {
            continue;
        }
        // Without these it would only be refused.
        refuse_lacking(&lacking_of_others(&[
            Capability::NetAdmin,
            Capability::NetRaw,
        ]))?;
        found.push(match legacy_rules(inside, family) {
            Ok(rules) => Legacy::Rules(rules),
            Err(error) => {
                tracing::info!(%error, "what legacy tables of {family} hold is not known: it may be any rule");
                Legacy::Unread(family)
            }
        });
    }
    Ok(found)
}
