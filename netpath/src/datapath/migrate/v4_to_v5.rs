//! ABI 4 to 5: records of uplinks say who made the clsact qdisc; what a node is stands in `settings`, too.

use super::{super::error::DatapathError, Contents};

/// Key and value of the uplinks' records in ABI 4.
const NAME: usize = 64;
const UPLINK: usize = 424;
/// `meta`, the same in both: abi_version, netns_made (4 bytes each), netns_cookie (8), and what follows.
const META: usize = 128;
/// `settings` of ABI 4, the last 4 bytes of them padding.
const SETTINGS: usize = 40;
const SETTINGS_USED: usize = SETTINGS - 4;

pub(super) fn step(contents: &mut Contents<'_>) -> Result<(), DatapathError> {
    let uplinks = contents.entries("uplink_records", NAME, UPLINK)?;
    // New at the end: clsact_made, padding. Nobody noted who made a qdisc, so it was not netpath.
    let longer = |(key, value): (Vec<u8>, Vec<u8>)| (key, [&value[..], &[0; 8]].concat());
    contents.put("uplink_records", uplinks.into_iter().map(longer).collect());
    let mut meta = contents.value("meta", META)?;
    let settings = contents.value("settings", SETTINGS)?;
    // New: netns_made in the place of the padding, and netns_cookie.
    let (used, netns) = (&settings[..SETTINGS_USED], &meta[4..16]);
    contents.put_value("settings", [used, netns].concat());
    meta[..4].copy_from_slice(&5u32.to_ne_bytes());
    contents.put_value("meta", meta);
    Ok(())
}
