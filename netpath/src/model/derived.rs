//! Names that netpath makes from other names.

use netpath_common::Mac;

use super::{InterfaceName, Name};
use crate::hash::fnv1a_64;

/// What every wire's namespace starts with; no node or endpoint may.
pub const WIRE_NAMESPACE_PREFIX: &str = "netpath-wire-";

/// Most bytes of a wire's name, so that its namespace's name fits.
pub(super) const WIRE_MAX: usize = Name::MAX - WIRE_NAMESPACE_PREFIX.len();

/// The namespace that plays a wire: `netpath-wire-<wire>`. A wire's name that is too long for that, which
/// no [`Topology`](super::Topology) holds, is replaced by its hash.
#[must_use]
pub fn wire_namespace(wire: &Name) -> Name {
    let wire = wire.as_ref();
    if wire.len() <= WIRE_MAX {
        Name::trusted(format!("{WIRE_NAMESPACE_PREFIX}{wire}"))
    } else {
        Name::trusted(format!("{WIRE_NAMESPACE_PREFIX}{:012x}", fnv1a_48(wire)))
    }
}

/// A node's port on a wire, in the wire's namespace: `w` and the hash of `<node>/<dev>`.
#[must_use]
pub fn wire_port(node: &Name, dev: &InterfaceName) -> InterfaceName {
    InterfaceName::trusted(format!("w{:012x}", fnv1a_48(&format!("{node}/{dev}"))))
}

/// The MAC of an uplink's end in a node (`role` `uplink`) or on its wire (`port`): the hash of `<node>/<dev>/<role>`, made
/// a locally administered unicast address (IEEE 802, the two lowest bits of the first byte).
#[must_use]
pub fn derived_mac(node: &Name, dev: &InterfaceName, role: &str) -> Mac {
    let hash = fnv1a_48(&format!("{node}/{dev}/{role}")).to_be_bytes();
    let [_, _, a, b, c, d, e, f] = hash;
    Mac([(a & 0xfc) | 0x02, b, c, d, e, f])
}

/// The default of an endpoint's `host_dev`: `np-<endpoint>` where that fits an interface name, else `np-`
/// and the hash of `<node>/<endpoint>`.
#[must_use]
pub fn derived_host_dev(node: &Name, endpoint: &Name) -> InterfaceName {
    let plain = format!("np-{endpoint}");
    if plain.len() <= InterfaceName::MAX {
        InterfaceName::trusted(plain)
    } else {
        let hash = fnv1a_48(&format!("{node}/{endpoint}"));
        InterfaceName::trusted(format!("np-{hash:012x}"))
    }
}

/// 48-bit FNV-1a: the 64-bit hash, xor-folded (RFC 9923, sections 2 and 3). Interface names on running
/// machines depend on it: it never changes.
fn fnv1a_48(text: &str) -> u64 {
    let hash = fnv1a_64(text.as_bytes());
    (hash >> 48) ^ (hash & 0xffff_ffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_folded() {
        assert_eq!(fnv1a_48("foobar"), 0x8594 ^ 0x4171_f739_67e8);
    }

    #[test]
    fn derived_names_fit_and_are_stable() -> Result<(), Box<dyn std::error::Error>> {
        let (node, long) = ("n1".parse()?, "a-rather-long-endpoint-name".parse()?);
        assert_eq!(
            derived_host_dev(&node, &"demo01".parse()?).as_ref(),
            "np-demo01"
        );
        assert_eq!(
            derived_host_dev(&node, &"twelve-bytes".parse()?).as_ref(),
            "np-twelve-bytes"
        );
        let hashed = derived_host_dev(&node, &long);
        assert_eq!(hashed.as_ref().len(), 15);
        assert_ne!(hashed, derived_host_dev(&"n2".parse()?, &long));
        assert_eq!(wire_port(&node, &"enp2s0".parse()?).as_ref().len(), 13);

        assert_eq!(wire_namespace(&"lan".parse()?).as_ref(), "netpath-wire-lan");
        let longest: Name = "x".repeat(WIRE_MAX).parse()?;
        assert_eq!(wire_namespace(&longest).as_ref().len(), Name::MAX);
        let too_long: Name = "x".repeat(WIRE_MAX + 1).parse()?;
        assert!(wire_namespace(&too_long).as_ref().parse::<Name>().is_ok());
        Ok(())
    }
}
